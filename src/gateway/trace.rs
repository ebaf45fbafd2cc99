//! Trace context (W3C): where a caller's request stands in a larger trace, passed on when it can be read in
//! one way.
//!
//! A `traceparent` that is malformed or given twice is dropped, and `tracestate` with it, since it says
//! nothing alone; so the upstream begins a trace of its own. What passes is not changed: the gate is no step
//! of a trace.
//!
//! Never here: a trust in what these say.

use http::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Takes out what cannot be passed on.
pub(super) fn strip(headers: &mut HeaderMap) {
    if !has_readable_parent(headers) {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
    }
}

fn has_readable_parent(headers: &HeaderMap) -> bool {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let only = parents.next().filter(|_| parents.next().is_none());
    only.is_some_and(|parent| parent.to_str().is_ok_and(is_readable))
}

/// `version-trace-parent-flags`, in small hexadecimal digits. Versions behind the first may add to it.
fn is_readable(parent: &str) -> bool {
    let mut fields = parent.split('-');
    let mut field = |len: usize| fields.next().filter(|field| is_hex(field, len));
    let (version, trace, span, flags) = (field(2), field(32), field(16), field(2));
    let (Some(version), Some(trace), Some(span), Some(_)) = (version, trace, span, flags) else {
        return false;
    };
    let ends_here = fields.next().is_none();
    version != "ff" && (version != "00" || ends_here) && !is_zero(trace) && !is_zero(span)
}

fn is_hex(field: &str, len: usize) -> bool {
    field.len() == len && field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(field: &str) -> bool {
    field.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn left(parents: &[&str]) -> usize {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT, parent.parse().unwrap());
        }
        headers.insert(TRACESTATE, "vendor=1".parse().unwrap());
        headers.insert("baggage", "a=b".parse().unwrap());
        strip(&mut headers);
        assert!(headers.contains_key("baggage"));
        headers.len() - 1
    }

    #[test]
    fn a_trace_is_passed_on_when_it_can_be_read_and_dropped_whole_when_not() {
        for good in [GOOD, &GOOD.replacen("00", "01", 1), &format!("{}-more", GOOD.replacen("00", "cc", 1))] {
            assert_eq!(left(&[good]), 2, "{good}");
        }
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &format!("{GOOD}-more"),
            &format!("{GOOD},{GOOD}"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace('-', "_"),
            &GOOD[..54],
        ] {
            assert_eq!(left(&[bad]), 0, "{bad}");
        }
        assert_eq!(left(&[GOOD, GOOD]), 0);
        assert_eq!(left(&[]), 0);
    }
}

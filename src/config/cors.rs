//! The `[cors]` table of a profile: which pages browsers let call its REST door.
//!
//! An origin is written exactly as browsers send it, or it would never match and nobody would see why.
//!
//! Never here: a door that is open to pages because nobody said otherwise.

use http::HeaderName;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};

use super::quantity;
use super::reader::Field;
use crate::domain::signature::{SigningHeaders, V1_HEADER};
use crate::http::cors::{Cors, CorsOptions, Origins};

/// The most origins of one profile.
const ORIGINS_MAX: usize = 100;
/// The most headers in one list.
const HEADERS_MAX: usize = 64;
/// The longest origin, in bytes.
const ORIGIN_LEN_MAX: usize = 300;
/// For how long a browser may remember a preflight's answer, in seconds, where nothing is said: long enough
/// for a visit, short enough for a change to be seen.
const MAX_AGE_SECS: u32 = 600;
/// The longest that can be asked for, in seconds: no browser remembers for longer than a day.
const MAX_AGE_SECS_MAX: u32 = 86_400;

/// What the gate says itself that a page may want to read.
const SHOWN: [&str; 9] = [
    "ratelimit-policy",
    "ratelimit",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-quota-limit",
    "x-quota-remaining",
    "x-quota-reset",
    "x-quota-mark",
];

/// What browsers are told at a door whose keys come in these headers.
pub(super) fn cors(
    field: &Field<'_>,
    key_headers: &[String],
    signing: Option<&SigningHeaders>,
) -> Option<Cors> {
    let section = field.section()?;
    let origins = section.required("origins").and_then(|field| origins(&field));
    let with_credentials = section.field("credentials").and_then(|field| field.boolean()).unwrap_or(false);
    let max_age = section.field("max_age").map_or(Some(MAX_AGE_SECS), |field| max_age(&field));
    let own = [AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static(V1_HEADER)];
    let signing = signing.into_iter().flat_map(|names| [&names.timestamp, &names.signature]);
    let named = key_headers.iter().chain(signing).filter_map(|name| name.parse().ok());
    let asked_headers = own.into_iter().chain(named).chain(headers(section.field("headers"))).collect();
    let shown = SHOWN.map(HeaderName::from_static).into_iter().chain([RETRY_AFTER, WWW_AUTHENTICATE]);
    let shown_headers = shown.chain(headers(section.field("expose"))).collect();
    section.close();
    let origins = origins?;
    if with_credentials && origins == Origins::Any {
        section.problem("credentials = true needs origins by name: no browser takes \"*\" with cookies");
        return None;
    }
    let max_age_secs = max_age?;
    Some(Cors::new(CorsOptions { origins, asked_headers, shown_headers, max_age_secs, with_credentials }))
}

fn origins(field: &Field<'_>) -> Option<Origins> {
    let items = field.items(ORIGINS_MAX);
    let texts: Vec<_> = items.iter().filter_map(Field::text).collect();
    if texts == ["*"] {
        return Some(Origins::Any);
    }
    if items.is_empty() {
        return field.refused("expected at least one origin, or [\"*\"]");
    }
    let read = items.iter().map(|item| {
        let text = item.text()?;
        match origin_flaw(text) {
            Some(flaw) => item.refused(flaw),
            None => Some(text.to_owned()),
        }
    });
    // All of them are looked at, so that every problem is told.
    let read: Vec<_> = read.collect();
    read.into_iter().collect::<Option<_>>().map(Origins::Listed)
}

/// Why no browser would ever send this as a page's origin, if that is so.
fn origin_flaw(text: &str) -> Option<&'static str> {
    const FORM: &str = "expected an origin such as https://app.example or http://localhost:3000";
    if text == "*" {
        return Some("\"*\" stands alone or not at all");
    }
    if text == "null" {
        return Some("\"null\" is the origin of any sandboxed page, so it would let in all of them");
    }
    let Some((scheme, host)) = text.split_once("://") else { return Some(FORM) };
    if text.contains('*') {
        return Some("expected each origin by its whole name: there are no patterns, but [\"*\"] for any");
    }
    if host.contains(['/', '?', '#']) {
        return Some(
            "expected an origin: scheme, host and perhaps a port, with no slash or path behind them",
        );
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some("expected lower case: browsers send origins so");
    }
    let default_port = [("https", ":443"), ("http", ":80")].contains(&(scheme, port_of(host)));
    if default_port {
        return Some("expected no port that is the scheme's own: browsers leave it out");
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|byte| plain(byte) || b"+.-".contains(&byte));
    let is_host = !host.is_empty()
        && !host.starts_with(':')
        && host.bytes().all(|byte| plain(byte) || b"-._:[]".contains(&byte))
        && port_of(host).bytes().skip(1).all(|byte| byte.is_ascii_digit());
    (!is_scheme || !is_host || text.len() > ORIGIN_LEN_MAX).then_some(FORM)
}

/// The port of a host with its colon, or nothing.
fn port_of(host: &str) -> &str {
    let behind_address = host.rfind(']').map_or(0, |end| end + 1);
    let (_, rest) = host.split_at_checked(behind_address).unwrap_or((host, ""));
    rest.rfind(':').and_then(|place| rest.split_at_checked(place)).map_or("", |(_, port)| port)
}

fn headers(field: Option<Field<'_>>) -> Vec<HeaderName> {
    let items = field.map(|field| field.items(HEADERS_MAX)).unwrap_or_default();
    let form = "a header's name, each by itself: * would not cover Authorization";
    let read = |text: &str| HeaderName::from_bytes(text.as_bytes()).ok().filter(|_| text != "*");
    items.iter().filter_map(|item| item.parsed(form, read)).collect()
}

fn max_age(field: &Field<'_>) -> Option<u32> {
    let form = format!("a time of whole seconds such as \"10m\", up to \"{}m\"", MAX_AGE_SECS_MAX / 60);
    field.parsed(&form, |text| {
        let age = quantity::duration(text).filter(|age| age.subsec_nanos() == 0)?;
        u32::try_from(age.as_secs()).ok().filter(|secs| *secs <= MAX_AGE_SECS_MAX)
    })
}

#[cfg(test)]
mod tests {
    use crate::config::{load_profile, shipped};

    /// The problems of the shipped profile with this table.
    fn problems(table: &str) -> Vec<String> {
        let text = format!("{}\n[cors]\n{table}\n", shipped("socialcrm").unwrap());
        match load_profile(&text, "p.toml") {
            Ok(loaded) => {
                assert!(loaded.cors.is_some());
                Vec::new()
            }
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn an_origin_that_no_browser_would_send_is_refused_with_the_reason() {
        for good in [
            "https://app.example",
            "http://localhost:3000",
            "https://app.example:8443",
            "http://[::1]:3000",
            "http://[::1]",
            "chrome-extension://abcdef",
            "*",
        ] {
            assert_eq!(problems(&format!("origins = [\"{good}\"]")), Vec::<String>::new(), "{good}");
        }
        for (bad, told) in [
            ("\"https://app.example/\"", "no slash or path"),
            ("\"https://app.example/docs\"", "no slash or path"),
            ("\"app.example\"", "expected an origin such as"),
            ("\"https://App.example\"", "lower case"),
            ("\"https://app.example:443\"", "the scheme's own"),
            ("\"http://[::1]:80\"", "the scheme's own"),
            ("\"https://*.example\"", "no patterns"),
            ("\"https://app.example:x\"", "expected an origin such as"),
            ("\"https://\"", "expected an origin such as"),
            ("\"https://:8080\"", "expected an origin such as"),
            ("\"https://a b\"", "expected an origin such as"),
            ("\"null\"", "sandboxed"),
            ("\"*\", \"https://app.example\"", "stands alone"),
            ("", "at least one origin"),
        ] {
            let all = problems(&format!("origins = [{bad}]"));
            let [only] = &all[..] else { panic!("{bad}: {all:?}") };
            assert!(only.contains(told) && only.contains("cors.origins"), "{bad}: {only}");
        }
    }

    #[test]
    fn every_other_mistake_is_told_too() {
        const HERE: &str = "origins = [\"https://app.example\"]\n";
        let fine = format!(
            "{HERE}headers = [\"X-Trace\"]\nexpose = [\"X-Total\"]\nmax_age = \"24m\"\ncredentials = true"
        );
        assert_eq!(problems(&fine), Vec::<String>::new());
        for (table, told) in [
            ("origins = [\"*\"]\ncredentials = true".to_owned(), "needs origins by name"),
            (format!("{HERE}headers = [\"*\"]"), "cors.headers[0]: expected a header's name"),
            (format!("{HERE}expose = [\"a b\"]"), "cors.expose[0]: expected a header's name"),
            (format!("{HERE}max_age = \"25h\""), "cors.max_age: expected a time"),
            (format!("{HERE}max_age = \"1441m\""), "cors.max_age: expected a time"),
            (format!("{HERE}max_age = \"10ms\""), "cors.max_age: expected a time"),
            (
                format!("{HERE}methods = [\"GET\"]"),
                "known here: origins, credentials, max_age, headers, expose",
            ),
            ("credentials = true".to_owned(), "`origins` is missing"),
        ] {
            let all = problems(&table);
            assert!(all.iter().any(|problem| problem.contains(told)), "{table}: {all:?}");
        }
        let rpc_alone = format!("{}\n[cors]\n{HERE}", shipped("shingleai").unwrap());
        let all = load_profile(&rpc_alone, "p.toml").unwrap_err();
        assert!(all.iter().any(|problem| problem.message.contains("[rest]")), "{all:?}");
    }
}

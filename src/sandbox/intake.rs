//! Reading a request's body: JSON by its label, bounded, whole.
//!
//! A body over the bound is read on and thrown away up to a second bound, so that the peer has sent what it
//! wanted to and sees the answer instead of a broken connection.
//!
//! Never here: parsing. What comes out is bytes.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

/// Bytes of a JSON body at most.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;

/// Bytes of a long JSON body at most: a conversation with pictures in it.
pub(super) const LONG_BODY_BYTES_MAX: usize = 10 << 20;

/// Bytes of a body over the bound that are still read and thrown away.
const DISCARDED_BYTES_MAX: usize = 8 << 20;

/// Why there is no body to work on.
#[derive(Debug)]
pub(super) enum Unread {
    /// Not labelled as JSON, or as JSON in some coding.
    MediaType,
    /// Labelled as no form.
    NoForm,
    /// Over its bound.
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
    /// It ended before its end.
    Broken,
}

impl Unread {
    /// The sentence for the caller.
    pub(super) fn message(&self) -> String {
        match self {
            Self::MediaType => "Content-Type must be application/json.".to_owned(),
            Self::NoForm => "Content-Type must be multipart/form-data with a boundary.".to_owned(),
            Self::TooLarge { bytes_max } => format!("The body is larger than {bytes_max} bytes."),
            Self::Broken => "The body ended too early.".to_owned(),
        }
    }
}

/// The bytes of a JSON body.
pub(super) async fn json(request: Request<Incoming>) -> Result<Bytes, Unread> {
    json_of(request, BODY_BYTES_MAX).await
}

/// The bytes of a JSON body that may be long: at most [`LONG_BODY_BYTES_MAX`].
pub(super) async fn long_json(request: Request<Incoming>) -> Result<Bytes, Unread> {
    json_of(request, LONG_BODY_BYTES_MAX).await
}

async fn json_of(request: Request<Incoming>, bytes_max: usize) -> Result<Bytes, Unread> {
    if !says_json(request.headers()) || request.headers().contains_key(CONTENT_ENCODING) {
        return Err(Unread::MediaType);
    }
    read(request, bytes_max).await
}

/// The bytes of a body, whatever its label says.
pub(super) async fn any(request: Request<Incoming>) -> Result<Bytes, Unread> {
    read(request, BODY_BYTES_MAX).await
}

async fn read(request: Request<Incoming>, bytes_max: usize) -> Result<Bytes, Unread> {
    let mut body = request.into_body();
    match Limited::new(&mut body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            discard(&mut body).await;
            Err(Unread::TooLarge { bytes_max })
        }
        Err(_) => Err(Unread::Broken),
    }
}

/// Reads on for a while and throws away, so that the peer sees the answer.
pub(super) async fn discard(body: &mut Incoming) {
    let mut discarded = 0;
    while discarded < DISCARDED_BYTES_MAX {
        let Some(Ok(frame)) = body.frame().await else {
            return;
        };
        discarded += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// One `Content-Type` that is `application/json`, with no parameter but `charset=utf-8`.
fn says_json(headers: &HeaderMap) -> bool {
    let mut labels = headers.get_all(CONTENT_TYPE).iter();
    let (Some(label), None) = (labels.next(), labels.next()) else {
        return false;
    };
    let Ok(label) = label.to_str() else { return false };
    let (kind, parameters) = label.split_once(';').unwrap_or((label, ""));
    kind.trim().eq_ignore_ascii_case("application/json")
        && parameters.split(';').map(str::trim).filter(|parameter| !parameter.is_empty()).all(|parameter| {
            parameter.eq_ignore_ascii_case("charset=utf-8")
                || parameter.eq_ignore_ascii_case("charset=\"utf-8\"")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_the_one_label_is_json() {
        let labelled = |labels: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for label in labels {
                headers.append(CONTENT_TYPE, HeaderValue::from_static(label));
            }
            says_json(&headers)
        };
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json ;",
        ] {
            assert!(labelled(&[good]), "{good}");
        }
        for bad in [
            "",
            "text/json",
            "application/jsonp",
            "application/json; charset=latin1",
            "application/json; boundary=x",
            "application/json, text/plain",
        ] {
            assert!(!labelled(&[bad]), "{bad}");
        }
        assert!(!labelled(&[]));
        assert!(!labelled(&["application/json", "application/json"]));
    }
}

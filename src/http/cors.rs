//! What a browser asks before it lets a page call another origin, and what it must be told with each answer
//! (the Fetch standard, "CORS protocol").
//!
//! A preflight gets the same answer whatever it asks about, so it tells nobody which paths exist; the methods
//! told are all that a route can have. What an upstream says under these names does not stand beside ours.
//!
//! Never here: who may call. That a page may read an answer opens nothing, and a request from an origin that
//! is not listed is decided like any other.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// Every method that a route can have.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// What begins the name of every header that answers a browser here.
const FAMILY: &str = "access-control-";

/// The origins whose pages may call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origins {
    /// Every one.
    Any,
    /// These, exactly as browsers write them.
    Listed(Vec<String>),
}

/// What browsers are told at one door.
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Origins,
    asked_headers: HeaderValue,
    shown_headers: HeaderValue,
    max_age: HeaderValue,
    with_credentials: bool,
}

/// What a [`Cors`] is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CorsOptions {
    /// The origins whose pages may call.
    pub origins: Origins,
    /// The headers that a page may send.
    pub asked_headers: Vec<HeaderName>,
    /// The headers of an answer that a page may read, beside those that it always may.
    pub shown_headers: Vec<HeaderName>,
    /// For how long a browser may remember the answer to a preflight, in seconds.
    pub max_age_secs: u32,
    /// Whether a page may have cookies sent along. With any origin this is told to nobody.
    pub with_credentials: bool,
}

impl Cors {
    /// What browsers are told by these.
    pub fn new(options: CorsOptions) -> Self {
        let with_credentials = options.with_credentials && options.origins != Origins::Any;
        Self {
            origins: options.origins,
            asked_headers: list(&options.asked_headers),
            shown_headers: list(&options.shown_headers),
            max_age: options.max_age_secs.into(),
            with_credentials,
        }
    }

    /// Whether a page of this origin may call.
    pub fn permits(&self, origin: Option<&HeaderValue>) -> bool {
        match (&self.origins, origin) {
            (_, None) => false,
            (Origins::Any, Some(_)) => true,
            (Origins::Listed(listed), Some(origin)) => {
                listed.iter().any(|known| known.as_bytes() == origin.as_bytes())
            }
        }
    }

    /// Says with any answer whether the page that asked may read it. `origin` is the request's.
    pub fn write(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        let said: Vec<_> = answer.keys().filter(|name| name.as_str().starts_with(FAMILY)).cloned().collect();
        for name in said {
            answer.remove(name);
        }
        if self.origins != Origins::Any {
            answer.append(VARY, HeaderValue::from_static("Origin"));
        }
        let told = match origin {
            // The same to whoever asks: a cache that got it for a picture has it for a script as well.
            _ if self.origins == Origins::Any => HeaderValue::from_static("*"),
            Some(origin) if self.permits(Some(origin)) => origin.clone(),
            Some(_) | None => return,
        };
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, told);
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, self.shown_headers.clone());
        if self.with_credentials {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// Says what may be asked, beside what [`Self::write`] says.
    pub fn write_preflight(&self, answer: &mut HeaderMap) {
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.asked_headers.clone());
        answer.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        answer.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
    }
}

/// The one origin that a request names.
pub fn origin(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut given = headers.get_all(ORIGIN).iter();
    match (given.next(), given.next()) {
        (Some(only), None) => Some(only.clone()),
        (None | Some(_), _) => None,
    }
}

/// Whether a browser asks what it may ask.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn list(names: &[HeaderName]) -> HeaderValue {
    let text = names.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ");
    // Names are plain ASCII, so this is always a value.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: HeaderValue = HeaderValue::from_static("https://app.example");
    const THERE: HeaderValue = HeaderValue::from_static("https://app.example.evil");

    fn cors(origins: Origins, with_credentials: bool) -> Cors {
        Cors::new(CorsOptions {
            origins,
            asked_headers: vec![http::header::AUTHORIZATION, http::header::CONTENT_TYPE],
            shown_headers: vec![http::header::RETRY_AFTER],
            max_age_secs: 600,
            with_credentials,
        })
    }

    fn listed() -> Origins {
        Origins::Listed(vec!["https://app.example".to_owned()])
    }

    fn written(cors: &Cors, origin: Option<&HeaderValue>) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert("access-control-allow-private-network", HeaderValue::from_static("true"));
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        cors.write(origin, &mut headers);
        let lines = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        let mut lines: Vec<_> = lines.collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_listed_origin_is_told_its_own_name_and_no_other_is_told_anything() {
        let mine = [
            "access-control-allow-origin: https://app.example",
            "access-control-expose-headers: retry-after",
            "vary: Accept",
            "vary: Origin",
        ];
        assert_eq!(written(&cors(listed(), false), Some(&HERE)), mine);
        for other in [None, Some(&THERE), Some(&HeaderValue::from_static("null"))] {
            assert_eq!(written(&cors(listed(), false), other), mine[2..], "{other:?}");
        }
    }

    #[test]
    fn any_origin_is_a_star_that_never_goes_with_cookies() {
        // Without an origin too: the answer may be kept by a cache, and does not vary.
        for origin in [Some(&THERE), None] {
            let told = written(&cors(Origins::Any, true), origin);
            assert_eq!(
                told,
                [
                    "access-control-allow-origin: *",
                    "access-control-expose-headers: retry-after",
                    "vary: Accept"
                ]
            );
        }
        let told = written(&cors(listed(), true), Some(&HERE));
        assert!(told.contains(&"access-control-allow-credentials: true".to_owned()), "{told:?}");
    }

    #[test]
    fn an_origin_that_is_given_twice_is_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(origin(&headers), None);
        headers.append(ORIGIN, HERE);
        assert_eq!(origin(&headers), Some(HERE));
        headers.append(ORIGIN, HERE);
        assert_eq!(origin(&headers), None);
    }
}

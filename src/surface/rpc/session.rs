//! The session that a request belongs to, and what its answer makes of it.
//!
//! An id that names somebody else's session, or none, is one that nobody has heard of. What an upstream answers
//! decides what is known: an id that it gives belongs to whoever asked, one that it no longer knows is forgotten.
//!
//! Never here: a caller that is let in for naming a session.

use hyper::HeaderMap;

use super::headers;
use crate::domain::decision::Wanted;
use crate::domain::denial::{Denial, Invalid};
use crate::domain::profile::Profile;
use crate::engine::{Engine, SessionDigest, SessionUser};
use crate::http::Response;
use crate::surface::data::Product;

/// The status by which an upstream says that a session has ended.
const UNKNOWN_TO_UPSTREAM: u16 = 404;

/// The session of one exchange.
#[derive(Clone, Copy)]
pub(super) struct InSession {
    named: Option<SessionDigest>,
    user: SessionUser,
}

/// What a request does to its session, beside using it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    GoesOn,
    /// It is asked to end.
    Ends,
}

impl InSession {
    /// The session that a request names, which must be this user's to use. Without one the exchange may begin one.
    pub(super) fn of(
        engine: &Engine,
        product: &Product,
        headers: &HeaderMap,
        user: SessionUser,
    ) -> Result<Self, Invalid> {
        let named = headers::session(headers)?;
        // What an upstream elsewhere gave is not seen here, and whose it is is for whoever forwards.
        let named = named.filter(|_| !product.upstream.is_nobody());
        match named.map(|id| engine.session(&product.profile, id)) {
            Some(session) if !engine.may_use_session(session, user) => Err(Invalid::Session),
            named => Ok(Self { named, user }),
        }
    }

    /// Whether the request names one.
    pub(super) const fn is_named(&self) -> bool {
        self.named.is_some()
    }

    /// As [`InSession::of`] found it, for a caller whose wish is still to be decided on: it is refused there. A
    /// message that cannot be read is told so first.
    pub(super) fn or_refused(found: Result<Self, Invalid>, wanted: &mut Wanted, user: SessionUser) -> Self {
        found.unwrap_or_else(|invalid| {
            if !matches!(wanted, Wanted::Refused(Denial::Invalid(_))) {
                *wanted = Wanted::Refused(Denial::Invalid(invalid));
            }
            Self { named: None, user }
        })
    }

    /// Learns from the upstream's answer.
    pub(super) fn came_to(self, engine: &Engine, profile: &Profile, course: Course, answer: &Response) {
        let status = answer.status();
        if let Some(session) = self.named
            && (status.as_u16() == UNKNOWN_TO_UPSTREAM || (course == Course::Ends && status.is_success()))
        {
            engine.forget_session(session);
        } else if status.is_success()
            && course == Course::GoesOn
            && let Some(given) = headers::session_given(answer.headers())
        {
            engine.note_session(engine.session(profile, given), self.user);
        }
    }
}

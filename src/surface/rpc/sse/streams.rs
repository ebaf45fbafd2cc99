//! The open streams of the older transport, by their sessions.
//!
//! An entry is made when a stream's upstream has named its address, and gone when the stream is: there are never
//! more of them than streams. A session is 128 random bits, found by nobody but whoever was told it.
//!
//! Never here: a session in a `Debug`, or a wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::Uri;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use crate::domain::denial::{Denial, Fault, Refusal};
use crate::domain::id::KeyId;

/// What stands before the session in the query of our addresses.
pub(super) const SESSION_PARAMETER: &str = "session=";
/// Random bytes of a session.
const SESSION_BYTES: usize = 16;
/// The most bytes of an answer of ours that is put into a stream: an id is its sender's, of any length, and waits
/// until somebody reads it.
const TOLD_BYTES_MAX: usize = 8 * 1024;
/// When a caller may come back that does not read its stream, in seconds.
const FULL_RETRY_SECS: u32 = 1;

/// The open streams of a listener. Cheap to clone.
#[derive(Clone, Default)]
pub(in crate::surface) struct OlderStreams(Arc<Mutex<HashMap<Session, Posted>>>);

type Session = [u8; SESSION_BYTES];

/// Where a message goes that is posted to one of our addresses.
#[derive(Clone)]
pub(in crate::surface::rpc) struct Posted {
    /// Whose stream it is.
    key: KeyId,
    /// Path and query at the upstream.
    address: Uri,
    inlet: Sender<Bytes>,
}

/// A stream whose upstream has not named its address yet.
pub(super) struct Draft {
    streams: OlderStreams,
    session: Session,
    key: KeyId,
    inlet: Sender<Bytes>,
}

/// A stream that can be posted to, until this is dropped.
pub(super) struct Registered {
    streams: OlderStreams,
    session: Session,
}

impl OlderStreams {
    /// The stream with this session.
    pub(super) fn find(&self, session: &str) -> Option<Posted> {
        // Of two spellings that decode to the same, one is ours.
        let is_ours = session.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut read = Session::default();
        hex::decode_to_slice(session, &mut read).ok().filter(|()| is_ours)?;
        self.lock().get(&read).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Session, Posted>> {
        // Each change is one step, so a poisoned lock is still good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Posted {
    /// Whether the stream is this key's.
    pub(in crate::surface::rpc) fn is_of(&self, key: KeyId) -> bool {
        self.key == key
    }

    /// Path and query at the upstream.
    pub(in crate::surface::rpc) const fn address(&self) -> &Uri {
        &self.address
    }

    /// Whether an answer of ours is small enough to wait in a stream.
    pub(super) const fn fits(answer: &[u8]) -> bool {
        answer.len() <= TOLD_BYTES_MAX
    }

    /// Puts an answer of ours into the stream: one line of JSON.
    pub(super) fn tell(&self, answer: &[u8]) -> Result<(), Refusal> {
        let event = [b"event: message\ndata: ", answer, b"\n\n"].concat();
        self.inlet.try_send(event.into()).map_err(|refused| match refused {
            TrySendError::Full(_) => Fault::Busy { retry_after_secs: FULL_RETRY_SECS }.into(),
            TrySendError::Closed(_) => Denial::NotFound.into(),
        })
    }
}

impl Draft {
    /// A stream to be. None when there are no random bytes.
    pub(super) fn new(streams: &OlderStreams, key: KeyId, inlet: Sender<Bytes>) -> Option<Self> {
        let mut session = Session::default();
        getrandom::fill(&mut session).ok()?;
        Some(Self { streams: streams.clone(), session, key, inlet })
    }

    /// The stream, now that what is posted to it has somewhere to go.
    pub(super) fn register(self, address: Uri) -> Registered {
        let Self { streams, session, key, inlet } = self;
        streams.lock().insert(session, Posted { key, address, inlet });
        Registered { streams, session }
    }
}

impl Registered {
    /// The query of the address that its caller is told.
    pub(super) fn query(&self) -> String {
        format!("{SESSION_PARAMETER}{}", hex::encode(self.session))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.streams.lock().remove(&self.session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn a_session_is_found_in_its_own_spelling_for_as_long_as_its_stream_lasts() {
        let streams = OlderStreams::default();
        let (inlet, mut ours) = mpsc::channel(1);
        let key = KeyId::from_u128(7);
        let draft = Draft::new(&streams, key, inlet).unwrap();
        let session = hex::encode(draft.session);
        assert!(streams.find(&session).is_none(), "nobody was told it yet");
        let stream = draft.register(Uri::from_static("/messages?a=b"));
        assert_eq!(stream.query(), format!("session={session}"));
        let posted = streams.find(&session).unwrap();
        assert!(posted.is_of(key) && !posted.is_of(KeyId::from_u128(8)));
        assert_eq!(posted.address(), "/messages?a=b");
        for other in [&*session.to_uppercase(), &session[1..], &format!("{session}0"), "", "é"] {
            assert!(other == session || streams.find(other).is_none(), "{other}");
        }
        posted.tell(b"{}").unwrap();
        assert_eq!(posted.tell(b"{}"), Err(Fault::Busy { retry_after_secs: 1 }.into()));
        assert_eq!(ours.recv().await.unwrap(), "event: message\ndata: {}\n\n");
        assert!(Posted::fits(&[b' '; TOLD_BYTES_MAX]) && !Posted::fits(&[b' '; TOLD_BYTES_MAX + 1]));
        drop(ours);
        assert_eq!(posted.tell(b"{}"), Err(Denial::NotFound.into()));
        drop(stream);
        assert!(streams.find(&session).is_none() && streams.lock().is_empty());
    }
}

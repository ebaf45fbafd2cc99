//! What the log says of an upstream that fails.
//!
//! Read in the JSON form, which shows an error as its own text alone unless its causes are put into it.
//!
//! Never here: the subscriber of the whole process.

use super::*;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_says_why_an_upstream_was_not_reached() {
    let (upstream, listener) = on_tcp(UpstreamOptions::default()).await;
    drop(listener);
    let kept = Kept::default();
    let writer = kept.clone();
    let log = tracing_subscriber::fmt().json().without_time().with_writer(move || writer.clone()).finish();
    let logging = tracing::subscriber::set_default(log);
    let refused = upstream.forward(granted(), get("/a")).await.unwrap_err();
    drop(logging);
    assert_eq!(refused, Refusal::Failed(Fault::UpstreamUnreachable));
    let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("the upstream did not answer") && text.contains("os error"), "{text}");
}

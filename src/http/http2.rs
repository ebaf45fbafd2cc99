//! The life of one HTTP/2 connection.
//!
//! It is bounded in its streams, its heads, its windows and its time: without a stream it ends like an idle
//! HTTP/1.1 connection, with streams that its client leaves behind it ends at once, and an answer that its
//! client does not take is cut off. A stream that ends badly costs that stream alone. Everything that runs for
//! a connection has ended when it has.
//!
//! Never here: a look into a request, beyond bringing its head into the shape of HTTP/1.1.

mod head;
mod streams;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::time::Duration;

use http::StatusCode;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::connection::answered;
use super::server::{Peer, ServerOptions};
use super::wire::Wire;
use super::{Request, Response, answer};
use crate::domain::causes::Causes;
use streams::Streams;

/// The most streams of one connection at a time.
const STREAMS_MAX: u32 = 100;
/// Streams that a client may take back before we saw them, as RFC 9113 wants for a flood of them.
const RESETS_UNSEEN_MAX: usize = 20;
/// Streams that we may have to reset for a client's mistakes, for as long as the connection lives.
const RESETS_OF_OURS_MAX: usize = 100;
/// What a client may send ahead of us on one stream: as much as HTTP/1.1 buffers.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// What a client may send ahead of us on all streams.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// The most bytes of one answer that wait for its client's window.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of one request's headers, as HTTP/2 counts them: 32 more for each.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// The largest frame taken: the least that can be agreed on.
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// How often a connection is asked whether it still lives.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long it may take to say so.
const PONG_TIME_MAX: Duration = Duration::from_secs(10);

/// Serves the streams of one connection until it ends.
pub(super) async fn serve<T, S, F>(
    socket: T,
    peer: Peer,
    options: &ServerOptions,
    shutdown: &CancellationToken,
    handler: S,
) where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Fn(Request, Peer) -> F + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let streams = Streams::new(options.stall_max);
    let stop = shutdown.clone();
    let service = service_fn(move |request: http::Request<Incoming>| {
        let stop = stop.clone();
        let answering = head::in_shape(request).map(|request| {
            Box::pin(answered(catch_unwind(AssertUnwindSafe(|| handler(request, peer))).ok()))
        });
        async move {
            let mut answer = match answering {
                Ok(answering) => answering.await?,
                Err(head::TooManyHeaders) => answer::empty(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            };
            answer.body_mut().end_at(&stop);
            head::without_hops(&mut answer);
            Ok::<_, std::convert::Infallible>(streams::paced(answer))
        }
    });
    let wire = Wire::unwatched(socket, options.stall_max);
    let mut connection = pin!(
        hyper::server::conn::http2::Builder::new(streams.executor())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .max_pending_accept_reset_streams(RESETS_UNSEEN_MAX)
            .max_local_error_reset_streams(RESETS_OF_OURS_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_send_buf_size(SEND_BYTES_MAX)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_TIME_MAX)
            .serve_connection(TokioIo::new(wire), service)
    );
    let rest_max = tokio::select! {
        outcome = connection.as_mut() => {
            if let Err(error) = outcome {
                tracing::debug!(error = %Causes(&error), "a connection broke off");
            }
            Duration::ZERO
        }
        () = shutdown.cancelled() => options.drain_max,
        () = streams.idle_for(options.head_time_max) => options.linger_max,
        () = streams.left_behind() => {
            tracing::debug!("a connection whose client takes its requests back was cut off");
            Duration::ZERO
        }
    };
    if !rest_max.is_zero() {
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection.as_mut() => {}
            () = sleep(rest_max) => tracing::debug!("what was left of a connection was cut off"),
        }
    }
    streams.end().await;
}

#[cfg(test)]
mod tests;

//! One connection to an upstream in HTTP/1.1, run by whoever has its exchange.
//!
//! It has no task of its own. The exchange that holds it lets it go on while the answer is waited for and while
//! its body is asked for, in the same step that asks; so nobody is woken to hand over a request or an answer.
//! Whoever holds it owns it: what is dropped in the middle closes. It is free for the next exchange when hyper
//! wants the next request on it, which is when both messages have gone whole and nothing stands behind them.
//!
//! Never here: a choice among connections, or a request that is sent again.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::clients::BUFFER_BYTES_MAX;
use super::link::Link;
use crate::http::Body;

type Running = http1::Connection<TokioIo<Link>, Body>;

/// A connection that stands.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Body>,
    /// None once it has ended.
    running: Option<Running>,
    /// Tells the link that a new request begins.
    asked: Arc<AtomicBool>,
    turn: Arc<Turn>,
    /// Wakes whose turn it is.
    waker: Waker,
}

/// Why a connection has no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// It ended before anything of the request was sent.
    Unsent(Box<Request<Body>>, hyper::Error),
    /// It broke off, and nobody knows what has arrived.
    Broken(hyper::Error),
}

impl Connection {
    /// A connection over `link`, which nothing was said on.
    pub(super) async fn over(link: Link) -> hyper::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let io = TokioIo::new(link.counting_interim(Arc::clone(&asked)));
        let mut builder = http1::Builder::new();
        // Of headers hyper takes as many as `HEADERS_MAX` by itself, and asks for memory each time when told so.
        builder.max_buf_size(BUFFER_BYTES_MAX);
        let (sender, running) = builder.handshake(io).await?;
        let turn = Arc::new(Turn::default());
        let waker = Waker::from(Arc::clone(&turn));
        Ok(Self { sender, running: Some(running), asked, turn, waker })
    }

    /// Whether a connection that nobody used still stands: the upstream has not closed it, and has said
    /// nothing unasked.
    pub(super) fn still_stands(&mut self) -> bool {
        self.run().is_pending() && self.is_free()
    }

    /// Whether the next exchange can have it.
    pub(super) fn is_free(&self) -> bool {
        self.running.is_some() && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer. What comes of the body may have come already, so
    /// the connection may be free by now.
    pub(super) async fn ask(
        &mut self,
        request: Box<Request<Body>>,
    ) -> Result<Response<Incoming>, Unanswered> {
        self.asked.store(true, Ordering::Relaxed);
        let mut answering = pin!(self.sender.try_send_request(*request));
        let answered = poll_fn(|cx| {
            // What is said between connection and sender is heard here anyway.
            let mut unheard = Context::from_waker(Waker::noop());
            let ran = self.run_for(cx);
            if let Poll::Ready(answered) = answering.as_mut().poll(&mut unheard) {
                return Poll::Ready(answered);
            }
            if ran.is_ready() {
                // What lay in it comes back.
                self.running = None;
                return answering.as_mut().poll(&mut unheard);
            }
            Poll::Pending
        })
        .await;
        self.turn.rest();
        answered.map_err(|mut error| match error.take_message() {
            Some(request) => Unanswered::Unsent(Box::new(request), error.into_error()),
            None => Unanswered::Broken(error.into_error()),
        })
    }

    /// Asks for more of the body of its answer.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Incoming,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, hyper::Error>>> {
        let mut unheard = Context::from_waker(Waker::noop());
        let mut body = Pin::new(body);
        self.turn.rest();
        loop {
            // To take a frame wakes the connection, which is asked next time anyway.
            if let Poll::Ready(frame) = http_body::Body::poll_frame(body.as_mut(), &mut unheard) {
                return Poll::Ready(frame);
            }
            let ran = self.run_for(cx);
            self.turn.rest();
            if let Poll::Ready(frame) = http_body::Body::poll_frame(body.as_mut(), &mut unheard) {
                return Poll::Ready(frame);
            }
            if ran.is_ready() {
                // It has ended, and with it the body.
                return http_body::Body::poll_frame(body, cx);
            }
            if !self.turn.pass_to(cx.waker()) {
                return Poll::Pending;
            }
        }
    }

    /// Goes on until both messages have gone. Nothing more is sent on it.
    pub(super) async fn run_out(self) {
        let Self { sender, running, .. } = self;
        drop(sender);
        if let Some(running) = running {
            // How it ends is told to whoever reads the answer.
            let _ = running.await;
        }
    }

    /// Lets it go on until it can do no more; it then wakes `cx`.
    fn run_for(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.turn.pass_to(cx.waker());
        self.run()
    }

    fn run(&mut self) -> Poll<()> {
        let Some(running) = &mut self.running else { return Poll::Ready(()) };
        let ran = Pin::new(running).poll(&mut Context::from_waker(&self.waker));
        if ran.is_ready() {
            // Its error was told to the exchange, or there was none.
            self.running = None;
        }
        ran.map(drop)
    }
}

/// Whose turn it is to let a connection go on. Between two turns its wake-ups reach nobody, so that neither an
/// idle connection nor what an exchange does itself wakes an exchange.
#[derive(Debug, Default)]
struct Turn(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    whose: Option<Waker>,
    /// Whether it was woken since nobody's turn began.
    was_missed: bool,
}

impl Turn {
    /// Nobody's turn.
    fn rest(&self) {
        *self.lock() = State::default();
    }

    /// Whose turn it is from here on; true when a wake-up was missed meanwhile.
    fn pass_to(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        if !state.whose.as_ref().is_some_and(|whose| whose.will_wake(waker)) {
            state.whose = Some(waker.clone());
        }
        std::mem::take(&mut state.was_missed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is whole by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.lock();
        match &state.whose {
            Some(whose) => whose.wake_by_ref(),
            None => state.was_missed = true,
        }
    }
}

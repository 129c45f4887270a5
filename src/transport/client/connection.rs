//! A connection to a server, driven by its user: no task of its own, so dropping it is all it takes to end it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use async_io::Timer;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};

use super::error::{Error, Phase};
use super::payload::Payload;
use super::socket::{Stream, Watch};
use crate::transport::io::Io;

/// The largest head of an answer, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// The most a connection reads ahead, in bytes; a head must fit into it.
const MAX_BUFFER: usize = 32 << 10;

type Driver = http1::Connection<Io<Stream>, Payload>;

/// A deadline for one exchange after the other. The reactor's timer is only set again when it would be late: at a
/// steady call rate once in the length of a timeout, not once a call.
#[derive(Default)]
struct Alarm {
    timer: Option<Timer>,
    /// When `timer` fires, if it is set.
    set_for: Option<Instant>,
}

impl Alarm {
    fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let timer = self.timer.get_or_insert_with(Timer::never);
            if self.set_for.is_none_or(|instant| instant > deadline) {
                timer.set_at(deadline);
                self.set_for = Some(deadline);
            }
            if Pin::new(timer).poll(cx).is_pending() {
                return Poll::Pending;
            }
            let fired = self.set_for.take();
            if fired.is_some_and(|instant| instant >= deadline) {
                return Poll::Ready(());
            }
        }
    }
}

/// Why a request got no answer on a connection.
pub(super) enum Failure {
    /// Not sent: the connection was gone already. The request comes back.
    Unsent(Box<http::Request<Payload>>),
    /// Perhaps sent, at least in part.
    Lost(Error),
}

/// An open connection.
pub(in crate::transport) struct Connection {
    /// Host and port, the name of its place in the pool.
    pub(in crate::transport) key: Arc<str>,
    pub(in crate::transport) https: bool,
    /// Whether it has carried an exchange before.
    pub(super) reused: bool,
    pub(in crate::transport) idle_since: Instant,
    sender: SendRequest<Payload>,
    /// None after it has ended.
    driver: Option<Driver>,
    watch: Arc<Watch>,
    /// Wakes `watch`.
    waker: Waker,
    alarm: Alarm,
}

impl Connection {
    /// HTTP/1.1 over `stream`, whose socket reports to `watch`.
    pub(super) async fn new(key: Arc<str>, https: bool, stream: Stream, watch: Arc<Watch>) -> Result<Self, Error> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_BUFFER).max_header_size(MAX_HEAD);
        let handshake = builder.handshake(Io::new(stream)).await;
        let (sender, driver) = handshake.map_err(|error| Error::of_engine(&key, &error))?;
        let waker = Waker::from(Arc::clone(&watch));
        Ok(Self {
            key,
            https,
            reused: false,
            idle_since: Instant::now(),
            sender,
            driver: Some(driver),
            watch,
            waker,
            alarm: Alarm::default(),
        })
    }

    /// Sends `request` and waits for the head of the answer until `deadline`.
    pub(super) async fn send(
        &mut self,
        request: http::Request<Payload>,
        deadline: Instant,
    ) -> Result<http::Response<Incoming>, Failure> {
        self.watch.begin();
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            self.attend(cx);
            let waker = self.waker.clone();
            let mut own = Context::from_waker(&waker);
            self.drive(&mut own);
            match answer.as_mut().poll(&mut own) {
                Poll::Ready(Ok(answer)) => Poll::Ready(Ok(answer)),
                Poll::Ready(Err(mut refused)) => Poll::Ready(Err(match refused.take_message() {
                    Some(request) => Failure::Unsent(Box::new(request)),
                    None => Failure::Lost(Error::of_engine(&self.key, &refused.into_error())),
                })),
                Poll::Pending => {
                    self.poll_deadline(deadline, Phase::Head, &mut own).map(|error| Err(Failure::Lost(error)))
                }
            }
        })
        .await
    }

    /// Passes wake-ups on to the task of `cx` from now on.
    pub(super) fn attend(&self, cx: &Context<'_>) {
        self.watch.attend(cx);
    }

    /// Waker that the connection must be polled with.
    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Reads and writes what can be; a connection that has ended is let go, which wakes its waiters.
    pub(super) fn drive(&mut self, own: &mut Context<'_>) {
        let Some(driver) = &mut self.driver else { return };
        if let Poll::Ready(end) = driver.poll_without_shutdown(own) {
            if let Err(error) = end {
                log::debug!("connection to {}: {error}", self.key);
            }
            self.driver = None;
        }
    }

    /// Ready with the error when `deadline` has passed.
    pub(super) fn poll_deadline(&mut self, deadline: Instant, phase: Phase, own: &mut Context<'_>) -> Poll<Error> {
        self.alarm.poll(deadline, own).map(|()| Error::TimedOut { host: self.key.to_string(), phase })
    }

    /// Whether a byte of this exchange's answer has come.
    pub(super) fn has_heard(&self) -> bool {
        self.watch.has_heard()
    }

    /// Whether the exchange is over on both sides and another one may follow.
    pub(super) fn is_idle(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Whether an idle connection is still open and silent.
    pub(in crate::transport) fn is_alive(&mut self) -> bool {
        self.watch.begin();
        let waker = self.waker.clone();
        self.drive(&mut Context::from_waker(&waker));
        self.is_idle()
    }

    /// Before it goes back to the pool.
    pub(super) fn rest(&mut self, now: Instant) {
        self.reused = true;
        self.idle_since = now;
        self.watch.leave();
    }
}

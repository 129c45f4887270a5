//! Admission of requests: the [`Limiter`] with a lock, a clock and wakers around it.
//!
//! A request that is admitted at once costs two short locks and two looks at the clock. Nothing here has a timer, and
//! nothing runs while there is no request.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};

use super::{Session, Shared, Stats};
use crate::limit::{Admission, Limiter, LimiterSettings, RequestPermit, RequestRefusal, Ticket};
use crate::transport::TIME_LEFT;

/// The log tells of overload once in so long.
const LOGGED_EVERY: Duration = Duration::from_secs(60);

/// The limiter of a server, and what wakes the requests that wait in its queue.
pub(super) struct Gate {
    state: Mutex<State>,
    executor: Weak<smol::Executor<'static>>,
}

struct State {
    limiter: Limiter,
    /// Of requests that wait, once they have been polled.
    wakers: BTreeMap<Ticket, Waker>,
    logged_at: Option<Instant>,
}

impl Gate {
    pub(super) fn new(settings: LimiterSettings, executor: &Arc<smol::Executor<'static>>) -> Self {
        let state = State { limiter: Limiter::new(settings, Instant::now()), wakers: BTreeMap::new(), logged_at: None };
        Self { state: Mutex::new(state), executor: Arc::downgrade(executor) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes a line to the log, unless one was written lately.
    fn log(&mut self, refusal: &RequestRefusal, now: Instant) {
        if self.logged_at.is_some_and(|at| now.saturating_duration_since(at) < LOGGED_EVERY) {
            return;
        }
        self.logged_at = Some(now);
        let (running, waiting) = (self.limiter.running(), self.limiter.waiting());
        let wait = self.limiter.expected_wait().as_millis();
        log::warn!(
            "overloaded: requests are answered 503 ({}); {running} run, {waiting} wait, one more would wait {wait} ms \
             (server.concurrency)",
            refusal.reason
        );
    }

    /// Wakes those whose turn it is now.
    fn call(&mut self, stats: &Stats) {
        if self.limiter.waiting() == 0 {
            return;
        }
        while let Some(ticket) = self.limiter.call() {
            if let Some(waker) = self.wakers.remove(&ticket) {
                waker.wake(); // without one it has not been polled yet, and sees that it is called when it is
            }
        }
        stats.waiting.store(self.limiter.waiting(), Relaxed);
    }
}

/// A request on its way through the gate. Dropped early, it leaves the queue or gives its permit back.
pub(super) struct Entry<S> {
    pub(super) session: Arc<Session<S>>,
    stage: AdmissionState,
    /// When the caller stops waiting, if the request has to wait.
    deadline: Option<Instant>,
}

enum AdmissionState {
    /// Not limited.
    Outside,
    Waiting(Ticket, Instant),
    /// With the time, where the clock was looked at just now.
    Running(RequestPermit, Option<Instant>),
    Refused(RequestRefusal),
    Gone,
}

/// When the caller stops waiting, if it has told so: an extension of requests that had to wait for their turn.
#[derive(Debug, Clone, Copy)]
struct Deadline(Instant);

/// How long the caller of `request` still waits for the answer, if it has told so ([`TIME_LEFT`]). The time that the
/// request has waited for its turn is taken off; the header does not know of it.
pub fn time_left(request: &http_types::Request) -> Option<Duration> {
    if let Some(Deadline(until)) = request.ext().get::<Deadline>() {
        return Some(until.saturating_duration_since(Instant::now()));
    }
    millis(request.header(TIME_LEFT)?.last().as_str())
}

fn deadline(headers: &HeaderMap, now: Instant) -> Option<Instant> {
    const NAME: HeaderName = HeaderName::from_static(TIME_LEFT);
    now.checked_add(millis(headers.get_all(&NAME).iter().next_back()?.to_str().ok()?)?)
}

fn millis(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_millis)
}

impl<S> Entry<S> {
    /// An entry that waits for nothing and counts for nothing.
    pub(super) fn outside(session: Arc<Session<S>>) -> Self {
        Self { session, stage: AdmissionState::Outside, deadline: None }
    }

    /// Takes a permit or a place in the queue; false if it is refused.
    pub(super) fn arrive(&mut self, headers: &HeaderMap) -> bool {
        let now = Instant::now();
        let Shared { gate, stats, .. } = &*self.session.shared;
        let mut state = gate.lock();
        if let Some(permit) = state.limiter.try_run(now) {
            self.stage = AdmissionState::Running(permit, Some(now));
            return true;
        }
        let deadline = deadline(headers, now);
        match state.limiter.arrive(now, deadline) {
            Admission::Run(permit) => self.stage = AdmissionState::Running(permit, Some(now)),
            Admission::Queue(ticket) => {
                self.stage = AdmissionState::Waiting(ticket, now);
                self.deadline = deadline;
                state.call(stats);
            }
            Admission::Refuse(refusal) => {
                stats.requests_refused.fetch_add(1, Relaxed);
                state.log(&refusal, now);
                self.stage = AdmissionState::Refused(refusal);
                return false;
            }
        }
        true
    }

    /// Why it was refused as it came.
    pub(super) fn refusal(&self) -> Option<&RequestRefusal> {
        match &self.stage {
            AdmissionState::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Tells the handler by when to answer, where the header is no longer right.
    pub(super) fn extend(&self, request: &mut http_types::Request) {
        if let Some(deadline) = self.deadline {
            request.ext_mut().insert(Deadline(deadline));
        }
    }
}

impl<S: Send + Sync + 'static> Entry<S> {
    /// Polls `handler` if it is its turn; it is never polled after an error.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        handler: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Result<T, RequestRefusal>> {
        if let AdmissionState::Waiting(ticket, since) = self.stage {
            match self.poll_turn(cx, ticket, since) {
                Poll::Ready(Ok(stage)) => self.stage = stage,
                Poll::Ready(Err(refusal)) => {
                    self.stage = AdmissionState::Gone;
                    return Poll::Ready(Err(refusal));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        match std::mem::replace(&mut self.stage, AdmissionState::Gone) {
            AdmissionState::Running(permit, now) => self.poll_running(cx, permit, now, handler).map(Ok),
            other => {
                self.stage = other;
                handler(cx).map(Ok)
            }
        }
    }

    fn poll_turn(
        &self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        since: Instant,
    ) -> Poll<Result<AdmissionState, RequestRefusal>> {
        let Shared { gate, stats, .. } = &*self.session.shared;
        let mut state = gate.lock();
        if !state.limiter.is_called(ticket) {
            match state.wakers.get_mut(&ticket) {
                Some(waker) => waker.clone_from(cx.waker()),
                None => drop(state.wakers.insert(ticket, cx.waker().clone())),
            }
            return Poll::Pending;
        }
        let now = Instant::now();
        let started = state.limiter.start(ticket, now);
        stats.waited(now.saturating_duration_since(since));
        stats.waiting.store(state.limiter.waiting(), Relaxed);
        Poll::Ready(match started {
            Ok(permit) => Ok(AdmissionState::Running(permit, Some(now))),
            Err(refusal) => {
                stats.requests_late.fetch_add(1, Relaxed);
                state.log(&refusal, now);
                state.call(stats);
                Err(refusal)
            }
        })
    }

    /// Polls `handler`, and notes for how long. `now` is the time, if the clock was looked at just now.
    fn poll_running<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut permit: RequestPermit,
        now: Option<Instant>,
        handler: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Session { shared, progress, .. } = &*self.session;
        let Shared { gate, stats, .. } = &**shared;
        let before = now.unwrap_or_else(Instant::now);
        if permit.is_paused() {
            gate.lock().limiter.resume(&mut permit, before);
        }
        let polled = handler(cx);
        let now = Instant::now();
        let mut state = gate.lock();
        let begins_round = state.limiter.polled(&mut permit, now.saturating_duration_since(before));
        if polled.is_ready() {
            state.limiter.finish(permit, now);
        } else {
            if progress.is_body_awaited() {
                state.limiter.pause(&mut permit, now);
            }
            self.stage = AdmissionState::Running(permit, None);
        }
        state.call(stats);
        drop(state);
        if begins_round {
            round(&self.session.shared);
        }
        polled
    }
}

/// Ends the round once the executor has polled every task that is ready now.
fn round<S: Send + Sync + 'static>(shared: &Arc<Shared<S>>) {
    let Some(executor) = shared.gate.executor.upgrade() else { return }; // with it all connections end
    let shared = Arc::clone(shared);
    let end = async move {
        let mut state = shared.gate.lock();
        state.limiter.round_over();
        state.call(&shared.stats);
    };
    executor.spawn(end).detach();
}

impl<S> Drop for Entry<S> {
    fn drop(&mut self) {
        let Shared { gate, stats, .. } = &*self.session.shared;
        match std::mem::replace(&mut self.stage, AdmissionState::Gone) {
            AdmissionState::Outside | AdmissionState::Refused(_) | AdmissionState::Gone => {}
            AdmissionState::Waiting(ticket, _) => {
                let mut state = gate.lock();
                state.limiter.leave(ticket);
                state.wakers.remove(&ticket);
                stats.waiting.store(state.limiter.waiting(), Relaxed);
                stats.requests_left.fetch_add(1, Relaxed);
                state.call(stats);
            }
            AdmissionState::Running(permit, _) => {
                let mut state = gate.lock();
                state.limiter.abandon(permit, Instant::now());
                state.call(stats);
            }
        }
    }
}

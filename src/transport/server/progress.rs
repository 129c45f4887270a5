//! A connection waits for one of four things, and each may take another time; but a request that comes and goes as it
//! should must not touch a timer.
//!
//! So reader, writer and handler only note what happens ([`Progress`], one atomic), and [`Watchdog`] looks after each
//! poll of the connection: has the state changed, since when does it last, is that too long? Its one timer is armed at
//! or before the deadline; a deadline that has moved away is found out when it fires.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_io::Timer;

use super::Limits;
use super::refusal::Refusal;

const IDLE: u32 = 0;
const HEAD: u32 = 1;
const BUSY: u32 = 2;
const ANSWERING: u32 = 3;
const PHASE: u32 = 0b0011;
const BODY_AWAITED: u32 = 0b0100;
const STALLED: u32 = 0b1000;
const STATE: u32 = 0b1111;
/// Above the state: how often it changed, so that "idle, again" is not taken for "still idle".
const CHANGE: u32 = STATE + 1;

/// Event that a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AwaitedEvent {
    /// For the next request.
    Request,
    /// For the rest of a request's head.
    Head,
    /// For the body; `answering` if the answer has begun.
    Body { answering: bool },
    /// For the peer to take more of the answer.
    Peer,
    /// For the handler, which takes the time it needs.
    Handler,
}

impl AwaitedEvent {
    fn limit(self, limits: &Limits) -> Option<Duration> {
        match self {
            Self::Request => Some(limits.idle_timeout),
            Self::Head => Some(limits.header_timeout),
            Self::Body { .. } => Some(limits.body_timeout),
            Self::Peer => Some(limits.write_timeout),
            Self::Handler => None,
        }
    }
}

/// Progress of a connection, written by each of its parts.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: AtomicU32,
    /// Set when the peer may still be sending bytes that will not be read.
    unread: AtomicBool,
    body_too_large: AtomicBool,
    /// Refusal of bytes that the reader saw and hyper must not see.
    refused: OnceLock<&'static Refusal>,
}

impl Progress {
    fn change(&self, to: impl Fn(u32) -> u32) {
        let _ = self.state.fetch_update(Relaxed, Relaxed, |old| {
            let new = to(old) & STATE;
            (new != old & STATE).then(|| (old & !STATE).wrapping_add(CHANGE) | new)
        });
    }

    fn enter(&self, phase: u32) {
        self.change(|state| state & !PHASE | phase);
    }

    /// Bytes came: of a new request, if none was under way. Says whether that is so.
    ///
    /// After an answer that did not wait for the body only hyper could say; then it is no.
    pub(super) fn received(&self) -> bool {
        let begins = self.state.load(Relaxed) & PHASE == IDLE && !self.has_unread();
        if begins {
            self.enter(HEAD);
        }
        begins
    }

    /// A request's head is whole.
    pub(super) fn handling(&self) {
        if self.has_unread() {
            self.unread.store(false, Relaxed); // hyper has skipped it
        }
        self.enter(BUSY);
    }

    /// The handler waits for the body: from now on its time runs.
    pub(super) fn body_awaited(&self) {
        self.change(|state| state | BODY_AWAITED);
    }

    /// Whether the handler has waited for the body, which is not whole yet.
    pub(super) fn is_body_awaited(&self) -> bool {
        self.state.load(Relaxed) & BODY_AWAITED != 0
    }

    /// The body is read, or given up by the handler.
    pub(super) fn body_done(&self, whole: bool) {
        self.change(|state| state & !BODY_AWAITED);
        if !whole {
            self.leave_unread();
        }
    }

    /// The answer's head is known.
    pub(super) fn answering(&self) {
        self.enter(ANSWERING);
    }

    /// hyper has all of the answer.
    pub(super) fn answered(&self) {
        self.enter(IDLE);
    }

    /// The peer takes no more (`true`), or has taken some (`false`).
    pub(super) fn stalled(&self, stalled: bool) {
        self.change(|state| if stalled { state | STALLED } else { state & !STALLED });
    }

    /// Whether part of an answer lies unsent in hyper.
    pub(super) fn is_stalled(&self) -> bool {
        self.state.load(Relaxed) & STALLED != 0
    }

    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    pub(super) fn has_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    pub(super) fn body_is_too_large(&self) {
        self.body_too_large.store(true, Relaxed);
    }

    /// Whether the body was too large; asked once a request.
    pub(super) fn was_body_too_large(&self) -> bool {
        self.body_too_large.load(Relaxed) && self.body_too_large.swap(false, Relaxed)
    }

    /// The connection ends with this answer; a later one is not heard.
    pub(super) fn refuse(&self, refusal: &'static Refusal) {
        let _ = self.refused.set(refusal);
    }

    pub(super) fn refused(&self) -> Option<&'static Refusal> {
        self.refused.get().copied()
    }

    fn waits(state: u32) -> AwaitedEvent {
        let answering = state & PHASE == ANSWERING;
        match state & PHASE {
            _ if state & STALLED != 0 => AwaitedEvent::Peer,
            _ if state & BODY_AWAITED != 0 => AwaitedEvent::Body { answering },
            IDLE => AwaitedEvent::Request,
            HEAD => AwaitedEvent::Head,
            _ => AwaitedEvent::Handler,
        }
    }
}

/// Finds out that something takes too long.
pub(super) struct Watchdog {
    seen: u32,
    since: Instant,
    armed: Option<Instant>,
    timer: Timer,
}

impl Watchdog {
    pub(super) fn new(now: Instant) -> Self {
        Self { seen: 0, since: now, armed: None, timer: Timer::never() }
    }

    /// To be called after each poll of the connection, always by the same task: what has been waited for too long.
    pub(super) fn poll_overdue(
        &mut self,
        cx: &mut Context<'_>,
        progress: &Progress,
        limits: &Limits,
    ) -> Poll<AwaitedEvent> {
        let (overdue, arm) = self.look(progress.state.load(Relaxed), Instant::now(), limits);
        if let Some(waits) = overdue {
            return Poll::Ready(waits);
        }
        if let Some(at) = arm {
            self.timer.set_at(at);
            if Pin::new(&mut self.timer).poll(cx).is_ready() {
                cx.waker().wake_by_ref(); // it is that late already: look again
            }
        }
        Poll::Pending
    }

    /// Finds the wait that is overdue at `now`, or else when to arm the timer, if it is not armed in time already.
    fn look(&mut self, state: u32, now: Instant, limits: &Limits) -> (Option<AwaitedEvent>, Option<Instant>) {
        if state != self.seen {
            self.seen = state;
            self.since = now;
        }
        let waits = Progress::waits(state);
        let Some(deadline) = waits.limit(limits).and_then(|limit| self.since.checked_add(limit)) else {
            return (None, None);
        };
        if now >= deadline {
            return (Some(waits), None);
        }
        if self.armed.is_some_and(|at| now < at && at <= deadline) {
            return (None, None);
        }
        self.armed = Some(deadline);
        (None, Some(deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::LimiterSettings;

    fn limits() -> Limits {
        Limits {
            max_connections: 1,
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(1),
            max_body: 1,
            requests: LimiterSettings::default(),
        }
    }

    fn state(progress: &Progress) -> u32 {
        progress.state.load(Relaxed)
    }

    #[test]
    fn a_hundred_requests_arm_the_timer_once_and_it_is_rearmed_when_it_fires() {
        let (progress, start, limits) = (Progress::default(), Instant::now(), limits());
        let mut dog = Watchdog::new(start);
        assert_eq!(dog.look(state(&progress), start, &limits), (None, Some(start + limits.idle_timeout)));
        let mut last = start;
        for i in 0..100 {
            last = start + Duration::from_millis(250 * i);
            assert!(progress.received());
            progress.handling();
            progress.answering();
            progress.answered();
            assert_eq!(dog.look(state(&progress), last, &limits), (None, None), "request {i}");
        }
        let fired = start + limits.idle_timeout;
        assert_eq!(dog.look(state(&progress), fired, &limits), (None, Some(last + limits.idle_timeout)));
        let over = last + limits.idle_timeout;
        assert_eq!(dog.look(state(&progress), over, &limits), (Some(AwaitedEvent::Request), None));
    }

    #[test]
    fn a_head_in_pieces_has_its_time_from_the_first_byte_on() {
        let (progress, start, limits) = (Progress::default(), Instant::now(), limits());
        let mut dog = Watchdog::new(start);
        dog.look(state(&progress), start, &limits);
        progress.received();
        assert_eq!(dog.look(state(&progress), start, &limits).1, Some(start + limits.header_timeout));
        for second in 1..5 {
            assert!(!progress.received());
            assert_eq!(dog.look(state(&progress), start + Duration::from_secs(second), &limits), (None, None));
        }
        let over = start + limits.header_timeout;
        assert_eq!(dog.look(state(&progress), over, &limits).0, Some(AwaitedEvent::Head));
    }

    #[test]
    fn a_handler_has_no_deadline_but_the_body_and_the_peer_have() {
        let (progress, start, limits) = (Progress::default(), Instant::now(), limits());
        let mut dog = Watchdog::new(start);
        let hour = |n: u64| start + Duration::from_secs(3600 * n);
        progress.received();
        progress.handling();
        assert_eq!(dog.look(state(&progress), hour(0), &limits), (None, None));
        assert_eq!(dog.look(state(&progress), hour(1), &limits), (None, None));
        progress.body_awaited();
        assert_eq!(dog.look(state(&progress), hour(1), &limits).1, Some(hour(1) + limits.body_timeout));
        assert_eq!(dog.look(state(&progress), hour(2), &limits).0, Some(AwaitedEvent::Body { answering: false }));
        progress.body_done(true);
        progress.answering();
        progress.stalled(true);
        assert_eq!(dog.look(state(&progress), hour(2), &limits).1, Some(hour(2) + limits.write_timeout));
        progress.stalled(false);
        progress.stalled(true);
        let more = hour(2) + limits.write_timeout;
        assert_eq!(dog.look(state(&progress), more, &limits).0, None, "there was progress in between");
        assert_eq!(dog.look(state(&progress), hour(3), &limits).0, Some(AwaitedEvent::Peer));
    }
}

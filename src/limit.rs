//! Limits how many requests a server works on at a time, queues a few more, and refuses early what would wait too long.
//!
//! [`Limiter`] is the admission control of a server as a state machine: a semaphore with a bounded FIFO queue. It has
//! no I/O, clock or log, so the server drives it with sockets and a simulator with virtual time.
//!
//! - A request whose permit is free runs at once.
//! - The expected wait of one more request is (queue + 1) x the service demand of one request, where the demand is the
//!   larger of service time / `concurrency` and processor time / `threads` (the bottleneck of operational analysis).
//! - A request is refused if that wait is above `max_wait`, or above `standing_wait` if no request has waited less than
//!   `low_wait` for `low_within`: a standing queue, as CoDel defines it (RFC 8289). The wait of a request that leaves
//!   the queue is measured, and judged by the same bounds.
//! - A request is refused that cannot be answered by the caller's deadline. One that has to wait for nothing never is.
//!
//! The processor is a resource that a semaphore does not guard: a handler that computes for 33 ms before it first
//! awaits holds up the executor, and no two such handlers ever hold a permit at the same time. So handlers report how
//! long they were polled, and after [`SLICE`] of that no handler starts until the executor has polled all other tasks
//! once ([`Limiter::round_over`]): new requests are read meanwhile, and wait in this queue, where their wait is
//! measured, instead of in the executor's.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

mod contention;
mod decision;
mod estimate;
#[cfg(test)]
mod model;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use contention::{Contention, Run};
use estimate::Estimate;

pub use decision::{Admission, Reason, RequestPermit, RequestRefusal, Ticket};

/// Handlers are polled this long in all before the other tasks of the executor get their turn. Short beside the waits
/// that are judged, long beside the cost of a turn (about a microsecond).
pub const SLICE: Duration = Duration::from_millis(5);

/// The bounds of what a caller is told to wait. Below, callers come back before anything has changed; above, a short
/// overload would keep callers away after it has ended.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The limits of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimiterSettings {
    /// Requests that run at the same time; at least 1.
    pub concurrency: usize,
    /// Threads that poll handlers; at least 1.
    pub threads: usize,
    /// Requests that wait; one more is refused.
    pub queue: usize,
    /// The longest wait while the queue comes and goes. Below the attempt timeout of a caller (2 s), so that there is
    /// time left for the answer.
    pub max_wait: Duration,
    /// The longest wait while there is a standing queue.
    pub standing_wait: Duration,
    /// A wait below this proves that there is no standing queue.
    pub low_wait: Duration,
    /// How long the wait must have been above `low_wait` for the queue to count as standing.
    pub low_within: Duration,
    /// The longest expected wait while the queue has just begun to fill: a burst of one instant that is answered within
    /// its callers' patience, and not the beginning of an overload.
    pub burst_wait: Duration,
}

impl Default for LimiterSettings {
    fn default() -> Self {
        Self {
            concurrency: 64,
            threads: 1,
            queue: 512,
            max_wait: Duration::from_secs(1),
            standing_wait: Duration::from_millis(400),
            low_wait: Duration::from_millis(200),
            low_within: Duration::from_secs(5),
            burst_wait: Duration::from_millis(1500),
        }
    }
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    since: Instant,
    deadline: Option<Instant>,
    /// The longest wait that was allowed when it came.
    bound: Duration,
}

/// A queue that was empty, or short, so lately has just begun to fill.
const BURST: Duration = Duration::from_millis(250);

/// The admission control of a server; see the module.
#[derive(Debug)]
pub struct Limiter {
    settings: LimiterSettings,
    /// Permits in use. Above `concurrency` only by requests that went on after a pause.
    running: usize,
    /// By ticket, the oldest first. At most `settings.queue`.
    queue: VecDeque<Waiting>,
    /// How many of the queue, from its front, have been called and not started; a permit is reserved for each.
    called: usize,
    next: u64,
    service: Estimate,
    processor: Estimate,
    contention: Contention,
    /// Requests answered so far.
    answered: u64,
    /// For how long handlers were polled since all other tasks last had their turn.
    polled: Duration,
    /// Whether the executor polls all other tasks now, and no handler starts.
    in_round: bool,
    /// When a request was last started after a wait below `low_wait`.
    low_at: Instant,
}

impl Limiter {
    /// A limiter without requests. A bound of 0 counts as 1.
    pub fn new(settings: LimiterSettings, now: Instant) -> Self {
        let settings =
            LimiterSettings { concurrency: settings.concurrency.max(1), threads: settings.threads.max(1), ..settings };
        Self {
            settings,
            running: 0,
            queue: VecDeque::new(),
            called: 0,
            next: 0,
            service: Estimate::default(),
            processor: Estimate::default(),
            contention: Contention::new(now),
            answered: 0,
            polled: Duration::ZERO,
            in_round: false,
            low_at: now,
        }
    }

    /// A permit for a request that has just arrived, if it has to wait for nothing.
    pub fn try_run(&mut self, now: Instant) -> Option<RequestPermit> {
        if self.in_round || !self.queue.is_empty() || self.running >= self.limit() {
            return None;
        }
        self.low_at = now;
        self.contention.passes(now, self.settings.low_within);
        Some(self.permit(now))
    }

    /// Decides about a request that has just arrived, whose caller waits until `deadline` if it has told so.
    pub fn arrive(&mut self, now: Instant, deadline: Option<Instant>) -> Admission {
        if let Some(permit) = self.try_run(now) {
            return Admission::Run(permit);
        }
        self.contention.waits(now);
        let (wait, bound) = (self.expected_wait(), self.bound(now));
        let answered = now.checked_add(wait + self.least_service());
        let reason = if self.queue.len() >= self.settings.queue {
            Reason::QueueFull
        } else if wait > bound {
            Reason::TooSlow
        } else if deadline.is_some_and(|deadline| answered.is_none_or(|at| at > deadline)) {
            Reason::TooLate
        } else {
            let ticket = Ticket(self.next);
            self.next += 1;
            self.queue.push_back(Waiting { ticket, since: now, deadline, bound: bound.max(self.settings.max_wait) });
            return Admission::Queue(ticket);
        };
        Admission::Refuse(self.refusal(reason))
    }

    /// The next request that may start, if any: it keeps a permit reserved until [`Limiter::start`] or
    /// [`Limiter::leave`]. To be asked again until there is none, after each of the other functions.
    pub fn call(&mut self) -> Option<Ticket> {
        if self.in_round || self.called >= self.batch() || self.running + self.called >= self.limit() {
            return None;
        }
        let ticket = self.queue.get(self.called)?.ticket;
        self.called += 1;
        Some(ticket)
    }

    /// Whether [`Limiter::call`] has returned `ticket`.
    pub fn is_called(&self, ticket: Ticket) -> bool {
        self.place(ticket).is_some_and(|at| at < self.called)
    }

    /// Starts the request that was called, or drops it if it has waited too long.
    ///
    /// # Errors
    /// The refusal of a request that is dropped.
    pub fn start(&mut self, ticket: Ticket, now: Instant) -> Result<RequestPermit, RequestRefusal> {
        let Some(waiting) = self.remove(ticket) else {
            return Err(self.refusal(Reason::TooLate)); // it has left
        };
        let waited = now.saturating_duration_since(waiting.since);
        if waited < self.settings.low_wait {
            self.low_at = now;
        }
        if waiting.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(self.refusal(Reason::TooLate));
        }
        // What was queued for up to `max_wait` is not dropped because the queue has since been found to stand: new
        // requests are refused instead, which have not waited. A quarter more, for a wait is rarely just as expected.
        if waited > waiting.bound + waiting.bound / 4 {
            return Err(self.refusal(Reason::TooSlow));
        }
        Ok(self.permit(now))
    }

    /// The caller of a request that waits has left.
    pub fn leave(&mut self, ticket: Ticket) {
        self.remove(ticket);
    }

    /// A handler was polled for `took`. True if the executor must now poll all other tasks once, after which
    /// [`Limiter::round_over`] is due; until then no request starts.
    #[must_use]
    pub fn polled(&mut self, permit: &mut RequestPermit, took: Duration) -> bool {
        permit.processor += took;
        self.polled += took;
        if self.in_round || self.polled < SLICE {
            return false;
        }
        self.in_round = true;
        true
    }

    /// The executor has polled all other tasks.
    pub fn round_over(&mut self) {
        self.in_round = false;
        self.polled = Duration::ZERO;
    }

    /// The request waits for its caller to send the rest of it, and gives its permit back meanwhile.
    pub fn pause(&mut self, permit: &mut RequestPermit, now: Instant) {
        if !std::mem::replace(&mut permit.paused, true) {
            permit.served += now.saturating_duration_since(permit.since);
            self.running -= 1;
        }
    }

    /// The request goes on, without waiting again: it is bounded by what it has started with, not by `concurrency`.
    pub fn resume(&mut self, permit: &mut RequestPermit, now: Instant) {
        if std::mem::take(&mut permit.paused) {
            permit.since = now;
            self.running += 1;
        }
    }

    /// The request is answered.
    pub fn finish(&mut self, permit: RequestPermit, now: Instant) {
        let (run, processor) = self.give_back(permit, now);
        self.answered += 1;
        self.service.add(run.served);
        self.processor.add(processor);
        self.contention.answered(&run, now);
    }

    /// The request ends without an answer: its caller has left. What it took is a lower bound of the service time.
    pub fn abandon(&mut self, permit: RequestPermit, now: Instant) {
        let (run, processor) = self.give_back(permit, now);
        self.service.add_bound(run.served);
        self.processor.add_bound(processor);
        if run.served > self.settings.low_wait {
            self.contention.left(&run, self.running, now); // one that leaves sooner has not waited for the answer
        }
    }

    /// How long one more request would wait, were it queued now.
    pub fn expected_wait(&self) -> Duration {
        let service = self.service.mean() / u32::try_from(self.limit()).unwrap_or(u32::MAX);
        let processor = self.processor.mean() / u32::try_from(self.settings.threads).unwrap_or(u32::MAX);
        let places = u32::try_from(self.queue.len() + 1).unwrap_or(u32::MAX);
        service.max(processor).saturating_mul(places)
    }

    /// Requests that hold a permit.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn permit(&mut self, now: Instant) -> RequestPermit {
        let ahead = self.running;
        self.running += 1;
        RequestPermit {
            since: now,
            served: Duration::ZERO,
            processor: Duration::ZERO,
            ahead,
            answered: self.answered,
            paused: false,
        }
    }

    /// Requests that may run: `concurrency`, or fewer if they only wait for each other.
    fn limit(&self) -> usize {
        self.contention.limit(self.settings.concurrency)
    }

    /// The part of the service time that any request needs. Not its mean: that may be an upstream's, and the next
    /// request may be answered without it.
    fn least_service(&self) -> Duration {
        self.contention.wait_inside().max(self.processor.mean())
    }

    /// Gives back `permit`: the run that ends now, and its processor time.
    fn give_back(&mut self, mut permit: RequestPermit, now: Instant) -> (Run, Duration) {
        self.pause(&mut permit, now);
        let RequestPermit { since, served, processor, ahead, answered, .. } = permit;
        (Run { since, served, ahead, others: self.answered - answered }, processor)
    }

    /// How many may be called and not started: as many as fill a slice, so that one that computes for longer than that
    /// is followed by a round, not by another.
    fn batch(&self) -> usize {
        let each = self.processor.mean().as_micros().max(1);
        let fit = usize::try_from(SLICE.as_micros() / each).unwrap_or(usize::MAX);
        self.settings.threads.saturating_mul(fit.max(1))
    }

    fn bound(&self, now: Instant) -> Duration {
        match now.saturating_duration_since(self.low_at) {
            since if since > self.settings.low_within => self.settings.standing_wait,
            since if since <= BURST => self.settings.burst_wait.max(self.settings.max_wait),
            _ => self.settings.max_wait,
        }
    }

    /// Half of the expected wait: by then as much of the queue is gone, and there is still work.
    fn refusal(&self, reason: Reason) -> RequestRefusal {
        RequestRefusal { reason, retry_after: (self.expected_wait() / 2).clamp(RETRY_AFTER.0, RETRY_AFTER.1) }
    }

    fn place(&self, ticket: Ticket) -> Option<usize> {
        self.queue.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Waiting> {
        let at = self.place(ticket)?;
        if at < self.called {
            self.called -= 1;
        }
        self.queue.remove(at)
    }
}

use super::AttemptId;
use bramble::limit::{Admission, Limiter, LimiterSettings, RequestPermit, RequestRefusal, Ticket};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Entrance to a server's workers: a queue without end, or Bramble's early refusal.
#[derive(Debug)]
pub(super) enum Door {
    Queue { waiting: VecDeque<AttemptId>, running: usize, workers: usize },
    Limiter(Box<Limited>),
}

#[derive(Debug)]
pub(super) struct Limited {
    limiter: Limiter,
    waiting: BTreeMap<Ticket, AttemptId>,
    /// Admitted at once, and not yet begun.
    ready: VecDeque<(AttemptId, RequestPermit)>,
    running: BTreeMap<AttemptId, RequestPermit>,
}

/// Decision about the request at the head of the queue.
pub(super) enum Turn {
    Begin(AttemptId),
    /// Refuse: it has waited too long.
    Refuse(AttemptId, Duration),
}

impl Door {
    pub(super) fn new(workers: usize, early_refusal: bool, now: Instant) -> Self {
        if !early_refusal {
            return Self::Queue { waiting: VecDeque::new(), running: 0, workers };
        }
        Self::Limiter(Box::new(Limited {
            limiter: Limiter::new(LimiterSettings { concurrency: workers, ..LimiterSettings::default() }, now),
            waiting: BTreeMap::new(),
            ready: VecDeque::new(),
            running: BTreeMap::new(),
        }))
    }

    /// Takes a request in, or says when to come again.
    pub(super) fn arrive(&mut self, attempt: AttemptId, deadline: Instant, now: Instant) -> Result<(), Duration> {
        match self {
            Self::Queue { waiting, .. } => waiting.push_back(attempt),
            Self::Limiter(limited) => match limited.limiter.arrive(now, Some(deadline)) {
                Admission::Run(permit) => limited.ready.push_back((attempt, permit)),
                Admission::Queue(ticket) => {
                    limited.waiting.insert(ticket, attempt);
                }
                Admission::Refuse(refusal) => return Err(refusal.retry_after),
            },
        }
        Ok(())
    }

    /// The next request whose turn it is, if a worker is free.
    pub(super) fn turn(&mut self, now: Instant) -> Option<Turn> {
        match self {
            Self::Queue { waiting, running, workers } => {
                let attempt = if running < workers { waiting.pop_front() } else { None }?;
                *running += 1;
                Some(Turn::Begin(attempt))
            }
            Self::Limiter(limited) => limited.turn(now),
        }
    }

    pub(super) fn finish(&mut self, attempt: AttemptId, now: Instant) {
        match self {
            Self::Queue { running, .. } => *running -= 1,
            Self::Limiter(limited) => {
                if let Some(permit) = limited.running.remove(&attempt) {
                    limited.limiter.finish(permit, now);
                }
            }
        }
    }

    /// The caller of a request that may be waiting has left.
    pub(super) fn leave(&mut self, attempt: AttemptId) {
        match self {
            Self::Queue { waiting, .. } => waiting.retain(|other| *other != attempt),
            Self::Limiter(limited) => {
                let ticket = limited.waiting.iter().find(|(_, other)| **other == attempt).map(|(ticket, _)| *ticket);
                if let Some(ticket) = ticket {
                    limited.waiting.remove(&ticket);
                    limited.limiter.leave(ticket);
                }
            }
        }
    }

    /// The requests that wait.
    pub(super) fn waiting(&self) -> Vec<AttemptId> {
        match self {
            Self::Queue { waiting, .. } => waiting.iter().copied().collect(),
            Self::Limiter(limited) => limited.waiting.values().copied().collect(),
        }
    }
}

impl Limited {
    fn turn(&mut self, now: Instant) -> Option<Turn> {
        if let Some((attempt, permit)) = self.ready.pop_front() {
            self.running.insert(attempt, permit);
            return Some(Turn::Begin(attempt));
        }
        let ticket = self.limiter.call()?;
        let attempt = self.waiting.remove(&ticket)?;
        match self.limiter.start(ticket, now) {
            Ok(permit) => {
                self.running.insert(attempt, permit);
                Some(Turn::Begin(attempt))
            }
            Err(RequestRefusal { retry_after, .. }) => Some(Turn::Refuse(attempt, retry_after)),
        }
    }
}

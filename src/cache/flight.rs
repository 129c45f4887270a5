//! Many people ask the same question at the same moment, and one answer serves them all.
//!
//! A flight is one fetch under way. It belongs to none of its waiters: a caller that gives up takes nothing down.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use event_listener::Event;
use futures_lite::FutureExt;

use super::{CacheError, Entry, FetchFailure, FetchOrigin, FetchOutcome, Freshness, Shared};
use crate::timeout::timeout_at;

/// Fetches under way, by question.
pub(super) type Flights<V, E> = HashMap<Arc<str>, Arc<Flight<V, E>>>;

/// A fetch under way, or just over.
pub(super) struct Flight<V, E> {
    /// Answer that another process had, out of date by now, while a newer one is fetched.
    meanwhile: OnceLock<Entry<V>>,
    outcome: OnceLock<FetchOutcome<V, E>>,
    landed: Event,
}

impl<V: Clone, E: Clone> Flight<V, E> {
    pub(super) fn new() -> Self {
        Self { meanwhile: OnceLock::new(), outcome: OnceLock::new(), landed: Event::new() }
    }

    /// Lands with an outcome, which wakes all waiters. The first outcome counts.
    fn land(&self, outcome: FetchOutcome<V, E>) {
        let _ = self.outcome.set(outcome);
        self.landed.notify(usize::MAX);
    }

    /// Offers an answer to waiters that can do with it, before the fetch has one.
    fn offer(&self, entry: Entry<V>) {
        let _ = self.meanwhile.set(entry);
        self.landed.notify(usize::MAX);
    }

    fn answer(&self, will_do: impl Fn(&Entry<V>) -> bool) -> Option<FetchOutcome<V, E>> {
        let meanwhile = || self.meanwhile.get().filter(|entry| will_do(entry));
        self.outcome.get().cloned().or_else(|| meanwhile().map(|entry| Ok((entry.clone(), FetchOrigin::Store))))
    }

    /// The outcome, or what `will_do` meanwhile, or [`CacheError::Late`] if there is neither by `deadline`.
    pub(super) async fn wait(&self, deadline: Instant, will_do: impl Fn(&Entry<V>) -> bool) -> FetchOutcome<V, E> {
        loop {
            if let Some(answer) = self.answer(&will_do) {
                return answer;
            }
            let landed = self.landed.listen();
            if self.answer(&will_do).is_some() {
                continue;
            }
            if timeout_at(deadline, landed).await.is_none() {
                return self.answer(&will_do).unwrap_or(Err(CacheError::Late));
            }
        }
    }
}

/// Ends a flight however its task ends: landed, panicked, or dropped with the executor.
pub(super) struct Landing<V: Clone, E: FetchFailure> {
    pub(super) shared: Arc<Shared<V, E>>,
    pub(super) key: Arc<str>,
    pub(super) flight: Arc<Flight<V, E>>,
}

impl<V: Clone, E: FetchFailure> Landing<V, E> {
    pub(super) fn land(self, outcome: FetchOutcome<V, E>) {
        self.flight.land(outcome);
    }
}

impl<V: Clone, E: FetchFailure> Drop for Landing<V, E> {
    fn drop(&mut self) {
        self.shared.flights().remove(&self.key);
        self.flight.land(Err(CacheError::Lost));
    }
}

/// Looks whether another process has the answer, or else fetches it; keeps what came of it, and lands.
pub(super) async fn fly<V, E, Fut>(landing: Landing<V, E>, now: SystemTime, fetch: Fut)
where
    V: Clone + Send + Sync + 'static,
    E: FetchFailure,
    Fut: Future<Output = Result<V, E>> + Send + 'static,
{
    let shared = Arc::clone(&landing.shared);
    if let Some(kept) = shared.look_beyond(&landing.key, now).await {
        let entry = Entry { value: kept.value, stored_at: kept.stored_at };
        match kept.freshness {
            Freshness::Fresh => return landing.land(Ok((entry, FetchOrigin::Store))),
            Freshness::StaleWhileRevalidate => landing.flight.offer(entry),
            _ => {}
        }
    }
    shared.table.counters.fetches.fetch_add(1, Ordering::Relaxed);
    let started = Instant::now();
    let fetched = async {
        let fetched = timeout_at(started + shared.table.settings.fetch_for, fetch).await;
        fetched.map_or(Err(CacheError::TimedOut), |fetched| fetched.map_err(CacheError::Failed))
    };
    let outcome = AssertUnwindSafe(fetched).catch_unwind().await.unwrap_or_else(|_| {
        log::error!("a fetch for the cache panicked; key {}", landing.key);
        Err(CacheError::Lost)
    });
    match outcome.map(|value| Entry { value, stored_at: now }) {
        Ok(entry) => {
            let is_worth_it = shared.table.fetched(&landing.key, &entry, now);
            let key = Arc::clone(&landing.key);
            landing.land(Ok((entry.clone(), FetchOrigin::Fetch)));
            // After the landing: no caller waits for it.
            if is_worth_it {
                shared.keep_beyond(&key, &entry).await;
            }
        }
        Err(missed) => {
            shared.table.failed(&landing.key, &missed, now + started.elapsed());
            landing.land(Err(missed));
        }
    }
}

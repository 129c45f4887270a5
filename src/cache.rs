//! The weather of ten minutes ago is nearly always good enough, and the API that knows the present one is slow, limited
//! and sometimes gone. What was answered once is given again, and says how old it is.
//!
//! How long an answer may be given is RFC 5861's matter ([`Freshness`], a pure function of its age). [`Cache`] adds
//! what a guarded service needs beside it: equal questions at the same time make one fetch, a fetch outlives the caller
//! that started it, and a question that has just failed is not asked again at once.
//!
//! Time is handed in as the wall clock's, because ages must mean the same to other processes and after a restart. A
//! [`SharedStore`] (Redis) is asked inside the flight, between this memory and the fetch: the path of a fresh hit stays
//! one lock and one clone, and N equal questions are one there too.

mod answer;
mod flight;
mod freshness;
pub mod memory;
pub mod redis;
mod shared_store;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::call::CallSettings;
use crate::config;
use answer::MAX_REMEMBERED;
pub use answer::{Failure, Found, How, Kept, Missed};
use flight::{Flight, Flights, Landing, Origin, Outcome, fly};
pub use freshness::{Freshness, Lifetimes};
pub use memory::Entry;
use memory::{Bounds, Memory};
pub use shared_store::SharedStore;

/// Four times what the default 1,024 weather reports take; even at a million entries configured, a flood of long
/// answers takes no more of a Pi Zero's 512 MB.
pub const MAX_BYTES: usize = 4 << 20;

/// What bounds a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long an answer is good for what.
    pub lifetimes: Lifetimes,
    /// Answers kept.
    pub capacity: usize,
    /// Fetches under way at the same time, refreshes included.
    pub max_in_flight: usize,
    /// The longest a fetch may take.
    pub fetch_for: Duration,
}

impl Settings {
    /// As `[cache]` and `[call]` say.
    pub fn new(cache: &config::Cache, call: &CallSettings) -> Self {
        Self {
            lifetimes: cache.into(),
            capacity: cache.capacity,
            max_in_flight: call.max_concurrent,
            fetch_for: call.timeout,
        }
    }
}

/// What a cache has done since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions answered from fresh entries, of this process or another.
    pub fresh: u64,
    /// Questions answered from stale entries, of this process or another, while they are refreshed.
    pub revalidating: u64,
    /// Questions answered from stale entries because the fetch failed.
    pub stale_if_error: u64,
    /// Questions answered by a fetch of their own or an equal one.
    pub fetched: u64,
    /// Questions that got an error.
    pub missed: u64,
    /// Fetches started.
    pub fetches: u64,
    /// Entries that went for want of room.
    pub evicted: u64,
    /// Entries kept now.
    pub entries: u64,
    /// Bytes they take now.
    pub bytes: u64,
}

#[derive(Default)]
struct Counters {
    fresh: AtomicU64,
    revalidating: AtomicU64,
    stale_if_error: AtomicU64,
    fetched: AtomicU64,
    missed: AtomicU64,
    fetches: AtomicU64,
}

/// Answers by question. `E` is the error of its fetches; a cache that is only put into and looked at has none.
pub struct Cache<V: Clone, E: Failure = Infallible> {
    shared: Arc<Shared<V, E>>,
    executor: Arc<smol::Executor<'static>>,
}

struct Shared<V: Clone, E: Failure> {
    settings: Settings,
    weigh: fn(&V) -> Option<usize>,
    answers: Memory<V>,
    failures: Memory<Remembered<E>>,
    store: Option<SharedStore<V>>,
    /// One for each question that is being fetched; at most `max_in_flight`.
    flights: Mutex<Flights<V, E>>,
    counters: Counters,
}

#[derive(Clone)]
struct Remembered<E> {
    missed: Missed<E>,
    until: SystemTime,
}

/// What a question that needs a fetch comes upon.
enum Boarding<V, E> {
    Flight(Arc<Flight<V, E>>),
    /// A flight landed in this moment.
    There(Kept<V>),
    Refused(Missed<E>),
}

impl<V: Clone + Send + Sync + 'static, E: Failure> Cache<V, E> {
    /// An empty cache whose fetches run on `executor`. `weigh` says how many bytes a value takes, or None for an empty
    /// answer, which is never kept: it must not replace a good one.
    pub fn new(settings: Settings, weigh: fn(&V) -> Option<usize>, executor: Arc<smol::Executor<'static>>) -> Self {
        Self::with_store(settings, weigh, None, executor)
    }

    /// As [`Cache::new`], with a second level that other processes share: what is not fresh here is looked for there
    /// before it is fetched, and what was fetched is put there too. [`peek`](Self::peek) and [`put`](Self::put) are
    /// about this process alone.
    pub fn with_store(
        settings: Settings,
        weigh: fn(&V) -> Option<usize>,
        store: Option<SharedStore<V>>,
        executor: Arc<smol::Executor<'static>>,
    ) -> Self {
        let bounds = |keep_for| Bounds { entries: settings.capacity, bytes: MAX_BYTES, keep_for };
        let shared = Shared {
            settings,
            weigh,
            answers: Memory::new(bounds(settings.lifetimes.kept_for())),
            failures: Memory::new(bounds(MAX_REMEMBERED)),
            store,
            flights: Mutex::new(HashMap::new()),
            counters: Counters::default(),
        };
        Self { shared: Arc::new(shared), executor }
    }

    /// What is kept for `key`, if it is still good for anything.
    pub async fn peek(&self, key: &str, now: SystemTime) -> Option<Kept<V>> {
        self.shared.look(key, now)
    }

    /// What this process holds for `key`, without a fetch: a fresh answer, or the error of a fetch a moment ago that no
    /// old answer may stand in for. `None`: it would have to be fetched.
    pub fn held(&self, key: &str, now: SystemTime) -> Option<Result<Found<V, E>, Missed<E>>> {
        let outcome = match self.shared.look(key, now) {
            Some(kept) if kept.freshness == Freshness::Fresh => Ok(kept.found(How::Fresh)),
            _ => Err(self.shared.recall(key, now).filter(|missed| !missed.stale_may_stand_in())?),
        };
        let counters = &self.shared.counters;
        let counter = if outcome.is_ok() { &counters.fresh } else { &counters.missed };
        counter.fetch_add(1, Ordering::Relaxed);
        Some(outcome)
    }

    /// Keeps an answer that was asked for at `stored_at`. False if it is not kept: it is empty, too large or too old,
    /// or what is there is newer.
    ///
    /// Whoever puts the answer of another process, whose clock may be off, hands in its own `now` less the age it was
    /// told: an entry from the future has an age that nobody knows, and is not kept.
    pub async fn put(&self, key: &str, value: V, stored_at: SystemTime, now: SystemTime) -> bool {
        self.shared.keep(key, &Entry { value, stored_at }, now)
    }

    /// The answer to the question `key`: kept and fresh, or kept and stale while one `fetch` refreshes it, or fetched,
    /// or kept and stale because the fetch failed. `fetch` is called when nothing fresh is kept here, and must not block;
    /// what it returns is dropped without a poll if a shared store has a fresh answer. At most one fetch of a question
    /// is under way at any time; it runs on the executor up to [`Settings::fetch_for`], whether or not somebody still
    /// waits.
    ///
    /// # Errors
    /// The fetch failed (or did a moment ago), there was no answer by `deadline`, or too many fetches are under way;
    /// and no kept answer may stand in.
    pub async fn get_or_fetch<F, Fut>(
        &self,
        key: &str,
        now: SystemTime,
        deadline: Instant,
        fetch: F,
    ) -> Result<Found<V, E>, Missed<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let counters = &self.shared.counters;
        let kept = match self.shared.look(key, now) {
            Some(kept) if kept.freshness == Freshness::Fresh => {
                counters.fresh.fetch_add(1, Ordering::Relaxed);
                return Ok(kept.found(How::Fresh));
            }
            Some(kept) if kept.freshness == Freshness::StaleWhileRevalidate => {
                let _ = self.board(key, now, fetch); // whatever becomes of it, this caller has its answer
                counters.revalidating.fetch_add(1, Ordering::Relaxed);
                return Ok(kept.found(How::Revalidating));
            }
            kept => kept,
        };
        let outcome = if deadline <= Instant::now() {
            Err(Missed::Late)
        } else {
            match self.board(key, now, fetch) {
                Boarding::Flight(flight) => {
                    let lifetimes = self.shared.settings.lifetimes;
                    let will_do = |entry: &Entry<V>| {
                        let freshness = entry.age(now).map(|age| lifetimes.at(age));
                        matches!(freshness, Some(Freshness::Fresh | Freshness::StaleWhileRevalidate))
                    };
                    flight.wait(deadline, will_do).await
                }
                Boarding::There(kept) => {
                    counters.fresh.fetch_add(1, Ordering::Relaxed);
                    return Ok(kept.found(How::Fresh));
                }
                Boarding::Refused(missed) => Err(missed),
            }
        };
        // The flight may have brought an old answer from another process.
        let kept = if outcome.is_err() { self.shared.look(key, now).or(kept) } else { kept };
        self.shared.conclude(outcome, kept, now)
    }

    /// What it has done since its start.
    pub fn counts(&self) -> Counts {
        let Shared { counters, answers, .. } = &*self.shared;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            fresh: read(&counters.fresh),
            revalidating: read(&counters.revalidating),
            stale_if_error: read(&counters.stale_if_error),
            fetched: read(&counters.fetched),
            missed: read(&counters.missed),
            fetches: read(&counters.fetches),
            evicted: answers.evicted(),
            entries: answers.len() as u64,
            bytes: answers.bytes() as u64,
        }
    }

    /// Joins the flight for `key`, or starts it. All is decided under one lock: of any number of callers, one starts.
    fn board<F, Fut>(&self, key: &str, now: SystemTime, fetch: F) -> Boarding<V, E>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let mut flights = self.shared.flights();
        if let Some(flight) = flights.get(key) {
            return Boarding::Flight(Arc::clone(flight));
        }
        // A flight keeps its answer before it leaves the table, so whoever finds none there sees the answer here.
        match self.shared.look(key, now) {
            Some(kept) if kept.freshness == Freshness::Fresh => return Boarding::There(kept),
            _ => {}
        }
        if let Some(missed) = self.shared.recall(key, now) {
            return Boarding::Refused(missed);
        }
        if flights.len() >= self.shared.settings.max_in_flight {
            return Boarding::Refused(Missed::Busy);
        }
        let fetch = fetch();
        let key: Arc<str> = key.into();
        let flight = Arc::new(Flight::new());
        flights.insert(Arc::clone(&key), Arc::clone(&flight));
        drop(flights);
        let landing = Landing { shared: Arc::clone(&self.shared), key, flight: Arc::clone(&flight) };
        self.executor.spawn(fly(landing, now, fetch)).detach();
        Boarding::Flight(flight)
    }
}

impl<V: Clone, E: Failure> Shared<V, E> {
    fn flights(&self) -> MutexGuard<'_, Flights<V, E>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, key: &str, now: SystemTime) -> Option<Kept<V>> {
        let entry = self.answers.get(key, now)?;
        let age = entry.age(now)?;
        let freshness = self.settings.lifetimes.at(age);
        let kept = Kept { value: entry.value, stored_at: entry.stored_at, age, freshness };
        (freshness != Freshness::Expired).then_some(kept)
    }

    fn keep(&self, key: &str, entry: &Entry<V>, now: SystemTime) -> bool {
        match (self.weigh)(&entry.value) {
            Some(weight) => self.answers.put(key, entry.clone(), weight, now),
            None => false,
        }
    }

    /// The best there is, once what other processes have is kept here too. None: they have nothing of use.
    async fn look_beyond(&self, key: &str, now: SystemTime) -> Option<Kept<V>> {
        let entry = self.store.as_ref()?.find(key, now).await?;
        self.keep(key, &entry, now);
        self.look(key, now)
    }

    async fn keep_beyond(&self, key: &str, entry: &Entry<V>) {
        if let Some(store) = &self.store {
            store.keep(key, entry, self.settings.lifetimes.kept_for()).await;
        }
    }

    fn remember(&self, key: &str, missed: &Missed<E>, now: SystemTime) {
        let pause = missed.remember_for();
        if !pause.is_zero() {
            let remembered = Remembered { missed: missed.clone(), until: now + pause };
            self.failures.put(key, Entry { value: remembered, stored_at: now }, size_of::<Remembered<E>>(), now);
        }
    }

    /// The failure of a moment ago. A clock that was set back frees it, as it does all entries.
    fn recall(&self, key: &str, now: SystemTime) -> Option<Missed<E>> {
        let Remembered { missed, until } = self.failures.get(key, now)?.value;
        let left = until.duration_since(now).ok()?;
        (!left.is_zero()).then_some(missed)
    }

    fn conclude(
        &self,
        outcome: Outcome<V, E>,
        kept: Option<Kept<V>>,
        now: SystemTime,
    ) -> Result<Found<V, E>, Missed<E>> {
        let counters = &self.counters;
        let (counter, result) = match (outcome, kept) {
            (Ok((entry, origin)), _) => {
                let age = entry.age(now).unwrap_or(Duration::ZERO);
                let (counter, how) = match origin {
                    Origin::Fetch => (&counters.fetched, How::Fetched),
                    Origin::Store if age < self.settings.lifetimes.fresh_for => (&counters.fresh, How::Fresh),
                    Origin::Store => (&counters.revalidating, How::Revalidating),
                };
                (counter, Ok(Found { value: entry.value, stored_at: entry.stored_at, age, how }))
            }
            // Fresh only if another flight landed in this moment.
            (Err(_), Some(kept)) if kept.freshness == Freshness::Fresh => (&counters.fresh, Ok(kept.found(How::Fresh))),
            (Err(missed), Some(kept)) if missed.stale_may_stand_in() => {
                (&counters.stale_if_error, Ok(kept.found(How::StaleIfError(missed))))
            }
            (Err(missed), _) => (&counters.missed, Err(missed)),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        result
    }
}

impl<V: Clone, E: Failure> Clone for Cache<V, E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), executor: Arc::clone(&self.executor) }
    }
}

impl<V: Clone, E: Failure> std::fmt::Debug for Cache<V, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

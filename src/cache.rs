//! Cache of answers, fresh and stale. Each answer says how old it is.
//!
//! It is for an API that is slow, limited and sometimes gone, where an answer of ten minutes ago is often good enough.
//!
//! How long an answer may be given is RFC 5861's matter ([`Freshness`], a pure function of its age). [`Cache`] adds
//! what a guarded service needs beside it: equal questions at the same time make one fetch, a fetch outlives the caller
//! that started it, and a question that has just failed is not asked again at once.
//!
//! Time is handed in as the wall clock's, because ages must mean the same to other processes and after a restart. A
//! `SharedStore` (Redis) is asked inside the flight, between this memory and the fetch: the path of a fresh hit stays
//! one lock and one clone, and N equal questions are one there too.

mod answer;
mod flight;
mod freshness;
pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "redis")]
mod shared_store;
mod table;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::call::CallSettings;
use crate::config;
pub use answer::{AnswerOrigin, CacheError, CachedAnswer, FetchFailure, StoredAnswer};
use flight::{Flight, Flights, Landing, fly};
pub use freshness::{Freshness, Lifetimes};
pub use memory::Entry;
#[cfg(feature = "redis")]
pub use shared_store::SharedStore;
pub use table::{CacheTable, FetchOrigin, FetchOutcome, FlightAdmission, Lookup};

/// Room for 1,024 answers of 4 KiB; even at a million entries configured, a flood of long
/// answers takes no more of a Pi Zero's 512 MB.
pub const MAX_BYTES: usize = 4 << 20;

/// Bounds and lifetimes of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// How long an answer is good for what.
    pub lifetimes: Lifetimes,
    /// Answers kept.
    pub capacity: usize,
    /// Fetches under way at the same time, refreshes included.
    pub max_in_flight: usize,
    /// The longest a fetch may take.
    pub fetch_for: Duration,
}

impl CacheSettings {
    /// As `[cache]` and `[call]` say.
    pub fn new(cache: &config::CacheSection, call: &CallSettings) -> Self {
        Self {
            lifetimes: cache.into(),
            capacity: cache.capacity,
            max_in_flight: call.max_concurrent,
            fetch_for: call.timeout,
        }
    }
}

/// Counters of a cache since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheCounts {
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

/// Answers by question. `E` is the error of its fetches; a cache that is only put into and looked at has none.
pub struct Cache<V: Clone, E: FetchFailure = Infallible> {
    shared: Arc<Shared<V, E>>,
    executor: Arc<smol::Executor<'static>>,
}

struct Shared<V: Clone, E: FetchFailure> {
    table: CacheTable<V, E>,
    #[cfg(feature = "redis")]
    store: Option<SharedStore<V>>,
    /// A flight for each question that is being fetched; at most `max_in_flight`.
    flights: Mutex<Flights<V, E>>,
}

impl<V: Clone + Send + Sync + 'static, E: FetchFailure> Cache<V, E> {
    /// An empty cache whose fetches run on `executor`. `weigh` says how many bytes a value takes, or None for an empty
    /// answer, which is never kept: it must not replace a good one.
    pub fn new(
        settings: CacheSettings,
        weigh: fn(&V) -> Option<usize>,
        executor: Arc<smol::Executor<'static>>,
    ) -> Self {
        Self { shared: Arc::new(Shared::new(settings, weigh)), executor }
    }

    /// As [`Cache::new`], with a second level that other processes share: what is not fresh here is looked for there
    /// before it is fetched, and what was fetched is put there too. [`peek`](Self::peek) and [`put`](Self::put) are
    /// about this process alone.
    #[cfg(feature = "redis")]
    pub fn with_store(
        settings: CacheSettings,
        weigh: fn(&V) -> Option<usize>,
        store: Option<SharedStore<V>>,
        executor: Arc<smol::Executor<'static>>,
    ) -> Self {
        let shared = Shared { store, ..Shared::new(settings, weigh) };
        Self { shared: Arc::new(shared), executor }
    }

    /// Reads the answer kept for `key`, if it is still good for anything.
    pub async fn peek(&self, key: &str, now: SystemTime) -> Option<StoredAnswer<V>> {
        self.shared.table.look(key, now)
    }

    /// Answer that this process holds for `key`, without a fetch: a fresh answer, or the error of a fetch a moment ago
    /// that no old answer may stand in for. `None`: it would have to be fetched.
    pub fn held(&self, key: &str, now: SystemTime) -> Option<Result<CachedAnswer<V, E>, CacheError<E>>> {
        self.shared.table.held(key, now)
    }

    /// Keeps an answer that was asked for at `stored_at`. False if it is not kept: it is empty, too large or too old,
    /// or what is there is newer.
    ///
    /// To put the answer of another process, whose clock may be off, the caller hands in its own `now` less the age
    /// in the answer: an entry from the future has an unknown age, and is not kept.
    pub async fn put(&self, key: &str, value: V, stored_at: SystemTime, now: SystemTime) -> bool {
        self.shared.table.keep(key, &Entry { value, stored_at }, now)
    }

    /// The answer to the question `key`: kept and fresh, or kept and stale while one `fetch` refreshes it, or fetched,
    /// or kept and stale because the fetch failed. `fetch` is called when nothing fresh is kept here, and must not
    /// block; what it returns is dropped without a poll if a shared store has a fresh answer. At most one fetch of a
    /// question is under way at any time; it runs on the executor up to [`CacheSettings::fetch_for`], whether or not a
    /// caller still waits.
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
    ) -> Result<CachedAnswer<V, E>, CacheError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let table = &self.shared.table;
        let kept = match table.look_up(key, now) {
            Lookup::Fresh(found) => return Ok(found),
            Lookup::Stale(found) => {
                let _ = self.board(key, now, fetch); // whatever becomes of it, this caller has its answer
                return Ok(found);
            }
            Lookup::Missing(kept) => kept,
        };
        let outcome = if deadline <= Instant::now() {
            Err(CacheError::Late)
        } else {
            match self.board(key, now, fetch) {
                FlightAdmission::Joined(flight) => {
                    let will_do = |entry: &Entry<V>| {
                        let freshness = entry.age(now).map(|age| table.settings.lifetimes.at(age));
                        matches!(freshness, Some(Freshness::Fresh | Freshness::StaleWhileRevalidate))
                    };
                    flight.wait(deadline, will_do).await
                }
                FlightAdmission::There(kept) => return Ok(table.give_fresh(kept)),
                FlightAdmission::Refused(missed) => Err(missed),
            }
        };
        table.conclude(key, outcome, kept, now)
    }

    /// Counters since the start of the cache.
    pub fn counts(&self) -> CacheCounts {
        self.shared.table.counts()
    }

    /// Joins the flight for `key`, or starts it. All is decided under one lock: of any number of callers, one starts.
    fn board<F, Fut>(&self, key: &str, now: SystemTime, fetch: F) -> FlightAdmission<Arc<Flight<V, E>>, V, E>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let mut flights = self.shared.flights();
        if let Some(boarding) = self.shared.table.board(key, flights.get(key).cloned(), flights.len(), now) {
            return boarding;
        }
        let fetch = fetch();
        let key: Arc<str> = key.into();
        let flight = Arc::new(Flight::new());
        flights.insert(Arc::clone(&key), Arc::clone(&flight));
        drop(flights);
        let landing = Landing { shared: Arc::clone(&self.shared), key, flight: Arc::clone(&flight) };
        self.executor.spawn(fly(landing, now, fetch)).detach();
        FlightAdmission::Joined(flight)
    }
}

impl<V: Clone, E: FetchFailure> Shared<V, E> {
    fn new(settings: CacheSettings, weigh: fn(&V) -> Option<usize>) -> Self {
        Self {
            table: CacheTable::new(settings, weigh),
            #[cfg(feature = "redis")]
            store: None,
            flights: Mutex::new(HashMap::new()),
        }
    }

    fn flights(&self) -> MutexGuard<'_, Flights<V, E>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "redis")]
impl<V: Clone, E: FetchFailure> Shared<V, E> {
    /// The best there is, once what other processes have is kept here too. None: they have nothing of use.
    async fn look_beyond(&self, key: &str, now: SystemTime) -> Option<StoredAnswer<V>> {
        let entry = self.store.as_ref()?.find(key, now).await?;
        self.table.keep(key, &entry, now);
        self.table.look(key, now)
    }

    async fn keep_beyond(&self, key: &str, entry: &Entry<V>) {
        if let Some(store) = &self.store {
            store.keep(key, entry, self.table.settings.lifetimes.kept_for()).await;
        }
    }
}

/// Store without others: this process's memory is all that there is.
#[cfg(not(feature = "redis"))]
impl<V: Clone, E: FetchFailure> Shared<V, E> {
    async fn look_beyond(&self, _: &str, _: SystemTime) -> Option<StoredAnswer<V>> {
        None
    }

    async fn keep_beyond(&self, _: &str, _: &Entry<V>) {}
}

impl<V: Clone, E: FetchFailure> Clone for Cache<V, E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), executor: Arc::clone(&self.executor) }
    }
}

impl<V: Clone, E: FetchFailure> std::fmt::Debug for Cache<V, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("settings", &self.shared.table.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

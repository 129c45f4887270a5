//! The rules of a cache: what a question gets of the answers kept, the failures remembered and the fetches under way.
//! Does no I/O and reads no clock: [`Cache`](super::Cache) drives it with tasks and timers, the simulator
//! (`benches/survive`) with virtual time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::answer::MAX_REMEMBERED;
use super::memory::{Bounds, Memory};
use super::{
    AnswerOrigin, CacheCounts, CacheError, CacheSettings, CachedAnswer, Entry, FetchFailure, Freshness, MAX_BYTES,
    StoredAnswer,
};

/// The answers kept and the failures remembered, by question.
pub struct CacheTable<V: Clone, E: FetchFailure> {
    pub(super) settings: CacheSettings,
    weigh: fn(&V) -> Option<usize>,
    answers: Memory<V>,
    failures: Memory<Remembered<E>>,
    pub(super) counters: Counters,
}

#[derive(Default)]
pub(super) struct Counters {
    fresh: AtomicU64,
    revalidating: AtomicU64,
    stale_if_error: AtomicU64,
    fetched: AtomicU64,
    missed: AtomicU64,
    pub(super) fetches: AtomicU64,
}

#[derive(Clone)]
struct Remembered<E> {
    missed: CacheError<E>,
    until: SystemTime,
}

/// Result of a lookup of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<V, E> {
    /// The answer is fresh: nothing is fetched.
    Fresh(CachedAnswer<V, E>),
    /// The answer is stale and given at once; it is to be fetched anew, if [`CacheTable::board`] says so.
    Stale(CachedAnswer<V, E>),
    /// The caller waits for a fetch. What is kept may stand in if there is none.
    Missing(Option<StoredAnswer<V>>),
}

/// Result for a question that needs a fetch, if not a fetch of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlightAdmission<F, V, E> {
    /// The fetch of an equal question, which is under way.
    Joined(F),
    /// A fetch ended in this moment.
    There(StoredAnswer<V>),
    /// No fetch may begin.
    Refused(CacheError<E>),
}

/// Where an answer of a fetch comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchOrigin {
    /// By a fetch.
    Fetch,
    /// Another process had fetched it.
    Store,
}

/// How a fetch ended, as each caller gets it.
pub type FetchOutcome<V, E> = Result<(Entry<V>, FetchOrigin), CacheError<E>>;

impl<V: Clone, E: FetchFailure> CacheTable<V, E> {
    /// An empty table. `weigh` says how many bytes a value takes, or None for an empty answer, which is never kept.
    pub fn new(settings: CacheSettings, weigh: fn(&V) -> Option<usize>) -> Self {
        let bounds = |keep_for| Bounds { entries: settings.capacity, bytes: MAX_BYTES, keep_for };
        let (answers, failures) =
            (Memory::new(bounds(settings.lifetimes.kept_for())), Memory::new(bounds(MAX_REMEMBERED)));
        Self { settings, weigh, answers, failures, counters: Counters::default() }
    }

    /// Looks up `key`, and tells whether it is to be fetched.
    pub fn look_up(&self, key: &str, now: SystemTime) -> Lookup<V, E> {
        match self.look(key, now) {
            Some(kept) if kept.freshness == Freshness::Fresh => Lookup::Fresh(self.give_fresh(kept)),
            Some(kept) if kept.freshness == Freshness::StaleWhileRevalidate => {
                count(&self.counters.revalidating);
                Lookup::Stale(kept.found(AnswerOrigin::Revalidating))
            }
            kept => Lookup::Missing(kept),
        }
    }

    /// Whether a question joins a fetch that is `under_way` for an equal one. `count`: fetches under way. None: the
    /// caller begins a fetch. Callers must hold a lock from finding out what is under way until that is so.
    pub fn board<F>(
        &self,
        key: &str,
        under_way: Option<F>,
        count: usize,
        now: SystemTime,
    ) -> Option<FlightAdmission<F, V, E>> {
        if let Some(fetch) = under_way {
            return Some(FlightAdmission::Joined(fetch));
        }
        // A fetch keeps its answer before it is under way no more, so a caller that finds none sees the answer here.
        if let Some(kept) = self.look(key, now).filter(|kept| kept.freshness == Freshness::Fresh) {
            return Some(FlightAdmission::There(kept));
        }
        if let Some(missed) = self.recall(key, now) {
            return Some(FlightAdmission::Refused(missed));
        }
        (count >= self.settings.max_in_flight).then_some(FlightAdmission::Refused(CacheError::Busy))
    }

    /// Concludes for a caller whose fetch had this outcome, or that waits no longer. `kept`: what it found before.
    ///
    /// # Errors
    /// There is no answer, and no kept one may stand in.
    pub fn conclude(
        &self,
        key: &str,
        outcome: FetchOutcome<V, E>,
        kept: Option<StoredAnswer<V>>,
        now: SystemTime,
    ) -> Result<CachedAnswer<V, E>, CacheError<E>> {
        // The fetch may have brought an old answer from another process.
        let kept = if outcome.is_err() { self.look(key, now).or(kept) } else { kept };
        let counters = &self.counters;
        let (counter, result) = match (outcome, kept) {
            (Ok((entry, from)), _) => {
                let age = entry.age(now).unwrap_or(Duration::ZERO);
                let (counter, origin) = match from {
                    FetchOrigin::Fetch => (&counters.fetched, AnswerOrigin::Fetched),
                    FetchOrigin::Store if age < self.settings.lifetimes.fresh_for => {
                        (&counters.fresh, AnswerOrigin::Fresh)
                    }
                    FetchOrigin::Store => (&counters.revalidating, AnswerOrigin::Revalidating),
                };
                (counter, Ok(CachedAnswer { value: entry.value, stored_at: entry.stored_at, age, origin }))
            }
            // Fresh only if another fetch ended in this moment.
            (Err(_), Some(kept)) if kept.freshness == Freshness::Fresh => return Ok(self.give_fresh(kept)),
            (Err(missed), Some(kept)) if missed.stale_may_stand_in() => {
                (&counters.stale_if_error, Ok(kept.found(AnswerOrigin::StaleIfError(missed))))
            }
            (Err(missed), _) => (&counters.missed, Err(missed)),
        };
        count(counter);
        result
    }

    /// Fresh answer for `key`, or the error of a fetch a moment ago that no old answer may stand in for. None: it would
    /// have to be fetched.
    pub fn held(&self, key: &str, now: SystemTime) -> Option<Result<CachedAnswer<V, E>, CacheError<E>>> {
        if let Some(kept) = self.look(key, now).filter(|kept| kept.freshness == Freshness::Fresh) {
            return Some(Ok(self.give_fresh(kept)));
        }
        let missed = self.recall(key, now).filter(|missed| !missed.stale_may_stand_in())?;
        count(&self.counters.missed);
        Some(Err(missed))
    }

    /// A fetch has brought an answer, which is kept. False if it is not: it is empty, too large or too old, or what is
    /// there is newer.
    pub fn fetched(&self, key: &str, entry: &Entry<V>, now: SystemTime) -> bool {
        self.failures.remove(key);
        self.keep(key, entry, now)
    }

    /// A fetch has failed at `now`, which is remembered for as long as the failure says.
    pub fn failed(&self, key: &str, missed: &CacheError<E>, now: SystemTime) {
        let pause = missed.remember_for();
        if !pause.is_zero() {
            let remembered = Remembered { missed: missed.clone(), until: now + pause };
            self.failures.put(key, Entry { value: remembered, stored_at: now }, size_of::<Remembered<E>>(), now);
        }
    }

    /// Keeps an answer. False if it is not kept, as in [`CacheTable::fetched`].
    pub fn keep(&self, key: &str, entry: &Entry<V>, now: SystemTime) -> bool {
        match (self.weigh)(&entry.value) {
            Some(weight) => self.answers.put(key, entry.clone(), weight, now),
            None => false,
        }
    }

    /// Answer kept for `key`, if it is still good for anything.
    pub fn look(&self, key: &str, now: SystemTime) -> Option<StoredAnswer<V>> {
        let entry = self.answers.get(key, now)?;
        let age = entry.age(now)?;
        let freshness = self.settings.lifetimes.at(age);
        let kept = StoredAnswer { value: entry.value, stored_at: entry.stored_at, age, freshness };
        (freshness != Freshness::Expired).then_some(kept)
    }

    /// Counters since the start of the cache.
    pub fn counts(&self) -> CacheCounts {
        let Self { counters, answers, .. } = self;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheCounts {
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

    pub(super) fn give_fresh(&self, kept: StoredAnswer<V>) -> CachedAnswer<V, E> {
        count(&self.counters.fresh);
        kept.found(AnswerOrigin::Fresh)
    }

    /// The failure of a moment ago. A clock that was set back frees it, as it does all entries.
    fn recall(&self, key: &str, now: SystemTime) -> Option<CacheError<E>> {
        let Remembered { missed, until } = self.failures.get(key, now)?.value;
        let left = until.duration_since(now).ok()?;
        (!left.is_zero()).then_some(missed)
    }
}

impl<V: Clone, E: FetchFailure> std::fmt::Debug for CacheTable<V, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheTable").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

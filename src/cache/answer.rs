//! An answer without its age and origin misleads: "7 degrees" of this minute and of yesterday are not the same news.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use super::Freshness;

/// A fetch that hung or panicked is not tried again at once; nothing is known about why, so it is not held up long.
const AFTER_LOSS: Duration = Duration::from_secs(1);

/// No failure is remembered longer, whatever it says of itself.
pub(super) const MAX_REMEMBERED: Duration = Duration::from_secs(300);

/// Properties of a fetch's error that a cache must know.
pub trait FetchFailure: Clone + Send + Sync + 'static {
    /// Whether an old answer is better than this error: yes if the source could not say (5xx, timeout, unreachable,
    /// 429), no if the answer is known (404, a bad question).
    fn stale_may_stand_in(&self) -> bool;

    /// For how long the same question gets the same error without a fetch; at most five minutes. Zero: not at all.
    fn remember_for(&self) -> Duration;
}

impl FetchFailure for Infallible {
    fn stale_may_stand_in(&self) -> bool {
        match *self {}
    }

    fn remember_for(&self) -> Duration {
        match *self {}
    }
}

/// Why there is no answer from a fetch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError<E> {
    /// The fetch failed, now or a moment ago.
    #[error(transparent)]
    Failed(E),
    /// The caller's time is over; the fetch goes on for later callers.
    #[error("no answer in the time the caller has")]
    Late,
    /// The fetch took longer than any may.
    #[error("the fetch took too long and was given up")]
    TimedOut,
    /// The fetch panicked, or the process ends.
    #[error("the fetch broke off")]
    Lost,
    /// As many fetches are under way as may be.
    #[error("too many fetches are under way")]
    Busy,
}

impl<E: FetchFailure> CacheError<E> {
    /// Whether an old answer is better than this error.
    pub fn stale_may_stand_in(&self) -> bool {
        match self {
            Self::Failed(error) => error.stale_may_stand_in(),
            _ => true,
        }
    }

    pub(super) fn remember_for(&self) -> Duration {
        match self {
            Self::Failed(error) => error.remember_for().min(MAX_REMEMBERED),
            Self::TimedOut | Self::Lost => AFTER_LOSS,
            Self::Late | Self::Busy => Duration::ZERO,
        }
    }
}

/// Origin of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerOrigin<E> {
    /// Fetched for this question, or for an equal one at the same time.
    Fetched,
    /// Kept, and still good.
    Fresh,
    /// Kept, and out of date; a refresh is under way, unless one has just failed.
    Revalidating,
    /// Kept, and out of date, because the fetch failed so.
    StaleIfError(CacheError<E>),
}

/// Answer of a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedAnswer<V, E> {
    /// The answer itself.
    pub value: V,
    /// When it was asked for.
    pub stored_at: SystemTime,
    /// How long ago that is.
    pub age: Duration,
    /// Where it comes from.
    pub origin: AnswerOrigin<E>,
}

/// Answer that a cache holds, fresh or not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredAnswer<V> {
    /// The answer itself.
    pub value: V,
    /// When it was asked for.
    pub stored_at: SystemTime,
    /// How long ago that is.
    pub age: Duration,
    /// Use that the answer is good for.
    pub freshness: Freshness,
}

impl<V> StoredAnswer<V> {
    pub(super) fn found<E>(self, origin: AnswerOrigin<E>) -> CachedAnswer<V, E> {
        CachedAnswer { value: self.value, stored_at: self.stored_at, age: self.age, origin }
    }
}

//! RFC 5861: between fresh and useless, an answer is good enough to be given at once, or good enough when nothing newer
//! can be had. Both times count from the end of freshness.

use std::time::Duration;

use crate::config;

/// Use of an answer by its age (RFC 5861).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Given without asking anew.
    Fresh,
    /// Given at once, while one refresh runs.
    StaleWhileRevalidate,
    /// Given only if nothing newer can be had.
    StaleIfError,
    /// Not given.
    Expired,
}

/// How long an answer is good for what. The stale times both count from the end of `fresh_for`, as in RFC 5861.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Given without asking anew.
    pub fresh_for: Duration,
    /// After that, given at once while one refresh runs.
    pub stale_while_revalidate: Duration,
    /// After `fresh_for`, given when nothing newer can be had.
    pub stale_if_error: Duration,
}

impl From<&config::CacheSection> for Lifetimes {
    fn from(config: &config::CacheSection) -> Self {
        Self {
            fresh_for: config.fresh_for,
            stale_while_revalidate: config.stale_while_revalidate,
            stale_if_error: config.stale_if_error,
        }
    }
}

impl Lifetimes {
    /// Freshness of an answer of this age. At exactly `fresh_for` it is stale.
    pub fn at(&self, age: Duration) -> Freshness {
        match age.checked_sub(self.fresh_for) {
            None => Freshness::Fresh,
            Some(stale) if stale < self.stale_while_revalidate => Freshness::StaleWhileRevalidate,
            Some(stale) if stale < self.stale_if_error => Freshness::StaleIfError,
            Some(_) => Freshness::Expired,
        }
    }

    /// From this age on an answer is good for nothing.
    pub fn kept_for(&self) -> Duration {
        self.fresh_for.saturating_add(self.stale_while_revalidate.max(self.stale_if_error))
    }
}

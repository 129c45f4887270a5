//! Settings of a call.

use crate::ratio::Ratio;
use std::fmt;
use std::time::Duration;

/// Limits of calls to a service: the section `[call]`.
#[derive(Debug, Clone, PartialEq)]
pub struct CallSettings {
    /// For the whole call, all attempts together.
    pub timeout: Duration,
    /// For one attempt; never more than what is left of the whole.
    pub attempt_timeout: Duration,
    /// When a second copy of a late call goes to another endpoint.
    pub hedge_after: HedgeDelay,
    /// Attempts beyond the first, as a share of the calls that succeed. None: no retries.
    pub retry_budget: Option<Ratio>,
    /// Calls in flight to one service; one more is refused.
    pub max_concurrent: usize,
    /// Fallback for a call that no instance answers.
    pub fallback: Fallback,
}

impl Default for CallSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(3),
            // Long enough for an answer that needs an API of 1.2 s, short enough for a second attempt.
            attempt_timeout: Duration::from_secs(2),
            hedge_after: HedgeDelay::P95,
            retry_budget: Ratio::new(0.2),
            max_concurrent: 64,
            fallback: Fallback::Stale,
        }
    }
}

/// When a second copy of a late call is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HedgeDelay {
    /// When it is later than 95 of 100 calls that succeeded lately.
    P95,
    /// After a fixed time.
    After(Duration),
    /// Never.
    Off,
}

/// Fallback for a call that no instance answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The error, at once.
    FailFast,
    /// An empty answer that says it is empty.
    FailSilent,
    /// The last good answer, marked so; without one, an error.
    Stale,
}

impl Fallback {
    /// Each as it is written.
    pub const WORDS: &[(Self, &str)] =
        &[(Self::FailFast, "fail-fast"), (Self::FailSilent, "fail-silent"), (Self::Stale, "stale")];
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::WORDS.iter().find(|(meaning, _)| meaning == self).map(|(_, name)| *name);
        f.pad(name.unwrap_or_default())
    }
}

//! Permission to call, as a value.

use super::state::{PackedState, State};
use super::{BreakerRefusal, CircuitBreaker, Outcome};
use std::sync::Arc;
use std::time::Instant;

/// The right to make one call. Dropped without [`record`](Self::record) it is given back and counts nothing, so a
/// cancelled task or a panic neither teaches the breaker nor takes a probe with it. It is held as long as the call
/// lasts, so a call needs a deadline.
///
/// `B` is what leads to the breaker: a borrow, an [`Arc`], or something that has one.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once admits nothing"]
pub struct Permit<B: AsRef<CircuitBreaker> = Arc<CircuitBreaker>> {
    holder: B,
    word: PackedState,
    /// Whether the circuit admitted the call; else it was made all the same.
    admitted: bool,
    recorded: bool,
}

impl<B: AsRef<CircuitBreaker>> Permit<B> {
    /// Asks the breaker of `holder` whether a call may be made now.
    ///
    /// # Errors
    ///
    /// As [`CircuitBreaker::try_acquire`].
    pub fn acquire(holder: B, now: Instant) -> Result<Self, BreakerRefusal> {
        let word = holder.as_ref().admit(now)?;
        Ok(Self { holder, word, admitted: true, recorded: false })
    }

    /// A call that is made although the circuit refuses it, since there is no better choice. A success closes the
    /// circuit; anything else changes nothing.
    pub fn forced(holder: B) -> Self {
        let word = holder.as_ref().word();
        Self { holder, word, admitted: false, recorded: false }
    }

    /// Whether the circuit refused the call, which is made all the same.
    pub fn is_forced(&self) -> bool {
        !self.admitted
    }

    /// The holder of the breaker.
    pub fn holder(&self) -> &B {
        &self.holder
    }

    /// Whether the call is the trial call of a half-open circuit.
    pub fn is_trial(&self) -> bool {
        self.admitted && self.word.state() == State::HalfOpen
    }

    /// Tells the breaker how the call ended.
    pub fn record(mut self, outcome: Outcome, now: Instant) {
        self.recorded = true;
        match self.admitted {
            true => self.holder.as_ref().take_in(self.word, outcome, now),
            false => self.holder.as_ref().take_in_forced(self.word, outcome, now),
        }
    }
}

impl<B: AsRef<CircuitBreaker>> Drop for Permit<B> {
    fn drop(&mut self) {
        if !self.recorded && self.is_trial() {
            self.holder.as_ref().give_back(self.word);
        }
    }
}

//! The states of a circuit and the ways between them.

use std::fmt;

/// State of a circuit: whether calls pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum State {
    /// Admits all, and watches.
    Closed = 0,
    /// Admits none until `open_for` is over.
    Open,
    /// Admits `half_open_calls` trial calls at a time, and another one when they are out for 1.5 s.
    HalfOpen,
    /// Admits all, as closed, but its [weight](super::CircuitBreaker::weight) grows from `ramp_floor` to 1 over `ramp`.
    Ramping,
    /// By hand: admits none.
    ForcedOpen,
    /// By hand: admits all, records nothing.
    Disabled,
    /// By hand: admits and records all, never opens.
    MetricsOnly,
}

impl State {
    pub(super) const ALL: [Self; 7] =
        [Self::Closed, Self::Open, Self::HalfOpen, Self::Ramping, Self::ForcedOpen, Self::Disabled, Self::MetricsOnly];

    /// Name in the log, `/metrics` and `/circuits`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::Ramping => "ramping",
            Self::ForcedOpen => "forced-open",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics-only",
        }
    }

    /// Whether calls go through in general; false while open, half-open or forced open.
    pub fn is_available(self) -> bool {
        !matches!(self, Self::Open | Self::HalfOpen | Self::ForcedOpen)
    }

    /// Whether a circuit may go from here to `to`, by itself or by hand.
    pub(super) fn may_become(self, to: Self) -> bool {
        match to {
            _ if self == to => false,
            Self::Closed | Self::ForcedOpen | Self::Disabled | Self::MetricsOnly => true,
            Self::Open => matches!(self, Self::Closed | Self::HalfOpen | Self::Ramping),
            Self::HalfOpen => self == Self::Open,
            Self::Ramping => matches!(self, Self::Open | Self::HalfOpen),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// State and generation in one word, so that both are always of the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PackedState(pub(super) u64);

impl PackedState {
    pub(super) fn new(state: State, generation: u64) -> Self {
        Self((generation << 3) | state as u64)
    }

    pub(super) fn state(self) -> State {
        State::ALL.get((self.0 & 7) as usize).copied().unwrap_or(State::Disabled)
    }

    pub(super) fn generation(self) -> u64 {
        self.0 >> 3
    }
}

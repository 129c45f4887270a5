//! A service that has ended is started again, but one that ends at once must not keep the processor busy.

use std::time::Duration;

/// Before the first new start.
const FIRST: Duration = Duration::from_secs(1);
/// Between starts, however often they fail.
const LONGEST: Duration = Duration::from_secs(60);
/// A run of this length was a good one: what ends it is a new trouble.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// How long to wait before a service is started again. Pure.
#[derive(Debug)]
pub(crate) struct Respawn {
    next: Duration,
}

impl Default for Respawn {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Respawn {
    /// The pause after a run of length `ran`: 1 s, doubled each time up to 60 s, and 1 s again after a good run. What
    /// `needs_a_person` to change its settings is tried again once a minute, in case it was the network after all.
    pub(crate) fn ended(&mut self, ran: Duration, needs_a_person: bool) -> Duration {
        if needs_a_person {
            return LONGEST;
        }
        if ran >= GOOD_RUN {
            self.next = FIRST;
        }
        let pause = self.next;
        self.next = (self.next * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn a_service_that_ends_at_once_is_started_ever_more_rarely_but_at_least_once_a_minute() {
        let mut respawn = Respawn::default();
        let pauses: Vec<u64> = (0..9).map(|_| respawn.ended(SHORT, false).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn after_a_minute_of_good_running_it_is_started_after_a_second_again() {
        let mut respawn = Respawn::default();
        for _ in 0..9 {
            respawn.ended(SHORT, false);
        }
        assert_eq!(respawn.ended(GOOD_RUN, false), FIRST);
        assert_eq!(respawn.ended(SHORT, false), FIRST * 2);
    }

    #[test]
    fn wrong_settings_are_tried_once_a_minute_and_spoil_no_later_start() {
        let mut respawn = Respawn::default();
        assert_eq!(respawn.ended(SHORT, true), LONGEST);
        assert_eq!(respawn.ended(SHORT, true), LONGEST);
        assert_eq!(respawn.ended(SHORT, false), FIRST);
    }
}

//! When the hardware watchdog is fed. It restarts the Pi, so it must see a hang, and must not be the cause of an
//! outage.
//!
//! 1. A service counts from its first answer since the Pi was started. Before, a restart has just been tried, and
//!    another
//!    would change nothing: wrong settings, a port in use or a card with the wrong file would restart the Pi for ever.
//! 2. One that counts has to answer once in [`PATIENCE`]; that covers a crash and some new starts.
//! 3. One that ended over its settings (exit code 2) does not count until it answers again: a person has to act.
//! 4. Any HTTP answer of `/healthz` is one. A service that refuses because too many connections are open is busy, it
//!    does
//!    not hang; else a client that opens connections could restart the Pi.
//! 5. The feeder runs on the same thread as everything else of `bramble pi`: if that hangs, nothing is fed.

use std::time::{Duration, Instant};

/// How long a service may stay silent. Asked every 2 s, that is 15 questions.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Times of the roles' answers, and whether to feed. Pure.
#[derive(Debug, Default)]
pub(crate) struct Rule {
    /// In the order of the roles; `None` does not count.
    answered: Vec<Option<Instant>>,
}

impl Rule {
    /// A rule before the first answer.
    pub(crate) fn new(roles: usize) -> Self {
        Self { answered: vec![None; roles] }
    }

    /// A role has answered, whatever it said.
    pub(crate) fn answered(&mut self, role: usize, now: Instant) {
        if let Some(answered) = self.answered.get_mut(role) {
            *answered = Some(now);
        }
    }

    /// A role has ended because of its settings.
    pub(crate) fn needs_a_person(&mut self, role: usize) {
        if let Some(answered) = self.answered.get_mut(role) {
            *answered = None;
        }
    }

    /// The first role that has been silent for too long at `now`; with one, the watchdog is not fed.
    pub(crate) fn hangs(&self, now: Instant) -> Option<usize> {
        self.answered.iter().position(|at| at.is_some_and(|at| now.saturating_duration_since(at) > PATIENCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_service_that_hangs_stops_the_feeding_after_thirty_seconds() {
        let start = Instant::now();
        let mut rule = Rule::new(2);
        rule.answered(0, start);
        for second in 0..=60 {
            rule.answered(1, after(start, second));
            assert_eq!(rule.hangs(after(start, second)), (second > 30).then_some(0), "second {second}");
        }
        rule.answered(0, after(start, 61));
        assert_eq!(rule.hangs(after(start, 61)), None, "it has come back in time");
    }

    #[test]
    fn a_service_that_has_never_answered_does_not_restart_the_pi() {
        let start = Instant::now();
        let mut rule = Rule::new(2);
        rule.answered(1, after(start, 3600));
        assert_eq!(rule.hangs(after(start, 3600)), None);
    }

    #[test]
    fn one_that_cannot_start_because_of_its_settings_does_not_restart_the_pi_for_ever() {
        let start = Instant::now();
        let mut rule = Rule::new(1);
        rule.answered(0, start);
        rule.needs_a_person(0);
        assert_eq!(rule.hangs(after(start, 3600)), None);
        rule.answered(0, after(start, 3600));
        assert_eq!(rule.hangs(after(start, 3631)), Some(0), "once it has answered again it counts again");
    }

    #[test]
    fn a_restart_of_a_service_within_half_a_minute_is_nothing_to_the_watchdog() {
        let start = Instant::now();
        let mut rule = Rule::new(1);
        rule.answered(0, start);
        assert_eq!(rule.hangs(after(start, 1 + 2 + 4 + 8)), None, "four crashes in a row");
    }

    #[test]
    fn a_pi_without_services_is_fed() {
        assert_eq!(Rule::new(0).hangs(Instant::now()), None);
    }
}

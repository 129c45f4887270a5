//! When an instance that mDNS no longer tells of is asked by TCP: at once, then less and less often, since most of the
//! lost ones have been switched off, and never for longer than ten minutes if it does not answer.

use std::time::{Duration, Instant};

/// A lost instance is forgotten after this long.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(600);
/// Lost instances that are kept; a whole shelf of Pis can lose power, a flood of forged goodbyes can name more.
pub(super) const MAX_LOST: usize = 256;
/// Shortest and longest time between two questions.
const EVERY: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(60);
/// The pause grows with the square of the time since the loss, and would reach that time itself after this long. So who
/// was away for two minutes is found again within ten seconds, and the longest pause is reached after six.
const AS_LONG_AS_AGE_AFTER: Duration = Duration::from_secs(2000);

/// The questions to one instance.
#[derive(Debug, Clone)]
pub(super) struct Inquiry {
    since: Instant,
    /// None while a question is under way.
    next: Option<Instant>,
}

impl Inquiry {
    /// Asks for the first time at `first`.
    pub(super) fn new(first: Instant, now: Instant) -> Self {
        Self { since: now, next: Some(first) }
    }

    /// The loss counts from `now` on.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.since = now;
        self.pause(now);
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// When the next question is due; None while one is under way.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// True if a question is due; then it counts as under way.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        let due = self.next.is_some_and(|next| next <= now);
        if due {
            self.next = None;
        }
        due
    }

    /// A question has been answered, or not; the next one comes after a pause.
    pub(super) fn pause(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        let pause = age.mul_f64(age.as_secs_f64() / AS_LONG_AS_AGE_AFTER.as_secs_f64());
        self.next = Some(now + pause.clamp(*EVERY.start(), *EVERY.end()));
    }

    /// Whether it has gone on for long enough.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= KEPT_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When questions are asked, in whole seconds, up to ten minutes after the loss.
    fn asked_at() -> Vec<u64> {
        let began = Instant::now();
        let mut inquiry = Inquiry::new(began, began);
        let mut asked = Vec::new();
        while let Some(at) = inquiry.next().filter(|at| *at < began + KEPT_FOR) {
            assert!(
                !inquiry.ask(at - Duration::from_millis(1)) && inquiry.ask(at) && !inquiry.ask(at),
                "once, in time"
            );
            asked.push((at - began).as_secs());
            inquiry.pause(at);
        }
        assert!(inquiry.is_over(began + KEPT_FOR));
        asked
    }

    #[test]
    fn a_lost_instance_is_asked_at_once_and_then_less_and_less_often() {
        let asked = asked_at();
        assert_eq!(asked[..4], [0, 5, 10, 15]);
        let pauses: Vec<u64> = asked.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(pauses.iter().all(|pause| (5..=60).contains(pause)), "{pauses:?}");
        assert_eq!(*pauses.last().expect("many"), 60, "{asked:?}");
    }

    #[test]
    fn after_two_minutes_of_absence_the_next_question_is_less_than_ten_seconds_away() {
        let asked = asked_at();
        assert!(asked.windows(2).filter(|two| two[0] <= 130).all(|two| two[1] - two[0] < 10), "{asked:?}");
    }
}

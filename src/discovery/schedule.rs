//! When instances are probed, and how many at a time. Probes are bounded in number and rate: a flood of forged
//! announcements must not make this process scan the network.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// A lost instance is forgotten after this long.
pub(super) const LOST_KEPT_FOR: Duration = Duration::from_secs(600);
/// Pause between two probes of a lost instance.
const LOST_PAUSE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// The pause is shorter by this while no instance of the service is in use.
const MISSED_DIVISOR: u32 = 4;
/// Pause between two probes of an instance in use that mDNS no longer tells of.
const UNCONFIRMED_PAUSE: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(60);
/// A pause is the square of the time since the loss, divided by this: 1 s in the first three minutes, 11 s after ten.
const PAUSE_DIVISOR: Duration = Duration::from_secs(180 * 180);
/// Longest pause between two probes of an instance in use of which nothing bad is known: mDNS tells only after 120 s
/// that it is gone (RFC 6762, 10). A probe is about ten packets, so 20 instances cost 7 packets a second.
pub(super) const IDLE_PAUSE: Duration = Duration::from_secs(30);
/// First and longest pause between two probes of an announced instance that has not answered one yet; it doubles.
const UNPROVEN_PAUSE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// Pause between the first and the second failed probe of an instance in use; after the second it is lost.
pub(super) const SUSPECT_PAUSE: Duration = Duration::from_millis(200);

/// The pause before a lost instance is probed again, `age` after its loss. `is_missed`: no instance of its service is
/// in use, so that each moment of it is one in which calls fail.
pub(super) fn lost_pause(age: Duration, is_missed: bool) -> Duration {
    let pause = pause(age, &LOST_PAUSE);
    if is_missed { pause / MISSED_DIVISOR } else { pause }
}

/// The pause before an instance in use is probed again, `age` after mDNS stopped telling of it.
pub(super) fn unconfirmed_pause(age: Duration) -> Duration {
    pause(age, &UNCONFIRMED_PAUSE)
}

/// The pause before an announced instance is probed again that has failed to answer `failures` probes.
pub(super) fn unproven_pause(failures: u32) -> Duration {
    let doubled = UNPROVEN_PAUSE.start().saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(*UNPROVEN_PAUSE.end())
}

fn pause(age: Duration, bounds: &RangeInclusive<Duration>) -> Duration {
    age.mul_f64(age.as_secs_f64() / PAUSE_DIVISOR.as_secs_f64()).clamp(*bounds.start(), *bounds.end())
}

/// Whether a probe is wanted, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schedule {
    /// None is wanted.
    Idle,
    /// At this time.
    At(Instant),
    /// A probe is under way.
    UnderWay,
}

impl Schedule {
    /// Wants a probe at `at`, unless one is wanted earlier or is under way. True if that is new.
    pub(super) fn hurry(&mut self, at: Instant) -> bool {
        let is_sooner = match *self {
            Self::Idle => true,
            Self::At(other) => at < other,
            Self::UnderWay => false,
        };
        if is_sooner {
            *self = Self::At(at);
        }
        is_sooner
    }

    pub(super) fn at(self) -> Option<Instant> {
        match self {
            Self::At(at) => Some(at),
            Self::Idle | Self::UnderWay => None,
        }
    }

    pub(super) fn is_due(self, now: Instant) -> bool {
        self.at().is_some_and(|at| at <= now)
    }
}

/// Why an instance is probed. Each class has seats of its own, so that no class waits for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// In use, and suspected.
    Suspect,
    /// Out of use, and maybe back.
    Lost,
    /// Announced, and never called yet.
    Unproven,
}

/// How many probes may still begin.
#[derive(Debug)]
pub(super) struct ProbeBudget {
    /// Probes under way, by class; each at most [`SEATS`].
    under_way: [usize; 3],
    /// Addresses of unproven instances that may be probed; at most [`BURST`].
    tokens: u32,
    /// Up to when tokens have been added.
    refilled: Instant,
}

/// Probes of one class at the same time: a shelf of Pis without power is probed within seconds, with few sockets.
const SEATS: usize = 24;
/// Unproven addresses that may be probed at once: a whole cluster is proven as this process starts.
const BURST: u32 = 256;
/// Time in which one more unproven address may be probed: 25 a second.
const REFILL: Duration = Duration::from_millis(40);

impl ProbeBudget {
    /// With every seat free.
    pub(super) fn new(now: Instant) -> Self {
        Self { under_way: [0; 3], tokens: BURST, refilled: now }
    }

    /// Takes a seat for a probe of `addrs` addresses, if there is one.
    pub(super) fn take(&mut self, class: Class, addrs: usize, now: Instant) -> bool {
        if self.may_begin(class, addrs).is_none_or(|at| at > now) {
            return false;
        }
        if class == Class::Unproven {
            self.refill(now);
            self.tokens = self.tokens.saturating_sub(addrs as u32);
        }
        self.under_way[class as usize] += 1;
        true
    }

    /// A probe of this class is over.
    pub(super) fn give_back(&mut self, class: Class) {
        let under_way = &mut self.under_way[class as usize];
        *under_way = under_way.saturating_sub(1);
    }

    /// From when on a probe of `addrs` addresses may begin. None: only after another one is over.
    pub(super) fn may_begin(&self, class: Class, addrs: usize) -> Option<Instant> {
        let has_seat = self.under_way[class as usize] < SEATS;
        let missing = if class == Class::Unproven { (addrs as u32).saturating_sub(self.tokens) } else { 0 };
        has_seat.then_some(self.refilled + REFILL * missing)
    }

    /// Brings the budget up to `now`.
    pub(super) fn refill(&mut self, now: Instant) {
        let more = now.saturating_duration_since(self.refilled).as_millis() / REFILL.as_millis();
        let more = u32::try_from(more).unwrap_or(u32::MAX).min(BURST);
        self.tokens = self.tokens.saturating_add(more).min(BURST);
        self.refilled = if self.tokens == BURST { now.max(self.refilled) } else { self.refilled + REFILL * more };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// When a lost instance is probed, in whole seconds after its loss.
    fn probed_at() -> Vec<u64> {
        let mut age = Duration::ZERO;
        std::iter::from_fn(|| {
            age += lost_pause(age, false);
            (age < LOST_KEPT_FOR).then_some(age.as_secs())
        })
        .collect()
    }

    #[test]
    fn a_lost_instance_is_probed_every_second_for_three_minutes_and_then_less_and_less_often() {
        let probed = probed_at();
        assert!(probed.windows(2).filter(|two| two[1] <= 180).all(|two| two[1] - two[0] == 1), "{probed:?}");
        let last = probed.last().zip(probed.iter().rev().nth(1)).map(|(last, before)| last - before);
        assert!(last.is_some_and(|pause| (9..=12).contains(&pause)), "{probed:?}");
        assert!(probed.len() < 320, "{}", probed.len());
    }

    #[test]
    fn an_announced_instance_that_does_not_answer_is_probed_after_pauses_that_double_up_to_a_minute() {
        let pauses: Vec<u64> = (1..9).map(|failures| unproven_pause(failures).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(unproven_pause(u32::MAX), 60 * SECOND);
    }

    #[test]
    fn forged_announcements_cause_256_probes_at_most_and_then_25_a_second() {
        let now = Instant::now();
        let mut budget = ProbeBudget::new(now);
        let mut begun = |at: Instant| {
            budget.refill(at);
            let mut begin = || {
                let may = budget.take(Class::Unproven, 1, at);
                budget.give_back(Class::Unproven);
                may
            };
            (0..1000).take_while(|_| begin()).count()
        };
        assert_eq!(begun(now), 256);
        assert_eq!(begun(now + SECOND), 25);
        assert_eq!(begun(now + SECOND), 0);
        assert_eq!(begun(now + 60 * SECOND), 256);
    }

    #[test]
    fn a_class_of_probes_that_is_full_keeps_no_other_class_waiting() {
        let now = Instant::now();
        let mut budget = ProbeBudget::new(now);
        budget.refill(now);
        let begun = (0..1000).take_while(|_| budget.take(Class::Unproven, 8, now)).count();
        assert_eq!(begun, SEATS);
        assert_eq!(budget.may_begin(Class::Unproven, 1), None);
        assert!(budget.take(Class::Suspect, 1, now) && budget.take(Class::Lost, 1, now));
        budget.give_back(Class::Unproven);
        assert!(budget.may_begin(Class::Unproven, 1).is_some_and(|at| at <= now));
    }
}

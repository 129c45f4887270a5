//! Schedule of queries: when all instances are asked again, and when the library is asked which it still knows. Each
//! look makes all instances answer, so there is a reason for each, and a pause between two of them. A roll call sends
//! nothing.

use std::time::{Duration, Instant};

/// Without any other reason: what was missed is found within this time.
const REGULARLY: Duration = Duration::from_secs(300);
/// Shortest pause after a look, unless the network itself has changed.
const PAUSE: Duration = Duration::from_secs(10);
/// Pauses between looks double within these bounds while no instance is there.
const ALONE: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(60);
/// A changed interface has joined the group after this long, and several changes come together.
const SETTLES: Duration = Duration::from_millis(500);
/// Between two roll calls: the library may forget an instance without a word.
const CALLED_EVERY: Duration = Duration::from_secs(30);
/// Longest random delay, so that hosts that missed the same instance do not ask in chorus.
const JITTER_MS: u64 = 500;

/// Next action of the browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Forget everything and ask everybody.
    Look,
    /// Ask the library which instances it remembers.
    Remembered,
}

#[derive(Debug)]
pub(super) struct QuerySchedule {
    last: Instant,
    /// The last look or roll call.
    called: Instant,
    /// Whether the library can name all it remembers before its channel is full.
    can_call: bool,
    /// The next pause while no instance is there.
    alone: Duration,
    wanted_at: Option<Instant>,
    interface_changed: Option<Instant>,
}

impl QuerySchedule {
    /// The first look has just begun.
    pub(super) fn new(now: Instant) -> Self {
        Self { last: now, called: now, can_call: true, alone: *ALONE.start(), wanted_at: None, interface_changed: None }
    }

    /// Wants a look because an instance was removed, or came back.
    pub(super) fn want_look(&mut self, now: Instant, rng: &mut fastrand::Rng) {
        let soon = now + Duration::from_millis(rng.u64(..JITTER_MS));
        self.wanted_at.get_or_insert(soon.max(self.last + PAUSE));
    }

    pub(super) fn interface_has_changed(&mut self, now: Instant) {
        self.interface_changed.get_or_insert(now + SETTLES);
    }

    /// The action that is due next, and its time.
    pub(super) fn next(&self, is_alone: bool) -> (Instant, Next) {
        let look = self.next_look(is_alone);
        let call = self.called + CALLED_EVERY;
        if self.can_call && call < look { (call, Next::Remembered) } else { (look, Next::Look) }
    }

    fn next_look(&self, is_alone: bool) -> Instant {
        let alone = is_alone.then(|| self.last + self.alone);
        let reasons = [self.wanted_at, self.interface_changed, alone];
        reasons.into_iter().flatten().fold(self.last + REGULARLY, Instant::min)
    }

    /// A look has begun.
    pub(super) fn looked(&mut self, is_alone: bool, now: Instant) {
        self.alone = if is_alone { (self.alone * 2).min(*ALONE.end()) } else { *ALONE.start() };
        (self.last, self.wanted_at, self.interface_changed) = (now, None, None);
        self.called(now);
    }

    /// There are too many to name.
    pub(super) fn call_no_more(&mut self) {
        self.can_call = false;
    }

    /// A roll call has been made.
    pub(super) fn called(&mut self, now: Instant) {
        self.called = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_a_reason_there_is_a_look_every_five_minutes() {
        let began = Instant::now();
        assert_eq!(QuerySchedule::new(began).next_look(false), began + 300 * SECOND);
    }

    #[test]
    fn removals_cause_a_look_soon_but_a_storm_of_them_one_in_ten_seconds() {
        let (began, mut rng) = (Instant::now(), fastrand::Rng::with_seed(1));
        let mut looks = QuerySchedule::new(began);
        looks.want_look(began + 60 * SECOND, &mut rng);
        assert!(looks.next_look(false) < began + 61 * SECOND);
        looks.looked(false, began + 61 * SECOND);
        for tenth in 0..300 {
            looks.want_look(began + 61 * SECOND + tenth * SECOND / 100, &mut rng);
        }
        assert_eq!(looks.next(false), (began + 71 * SECOND, Next::Look));
    }

    #[test]
    fn looks_of_a_lonely_instance_come_less_and_less_often_but_every_minute() {
        let began = Instant::now();
        let mut looks = QuerySchedule::new(began);
        let mut pauses = Vec::new();
        let mut now = began;
        for _ in 0..6 {
            let next = looks.next_look(true);
            pauses.push((next - now).as_secs());
            looks.looked(true, next);
            now = next;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        looks.looked(false, now);
        assert_eq!(looks.next(true), (now + 5 * SECOND, Next::Look));
    }

    #[test]
    fn a_changed_interface_waits_for_no_pause() {
        let began = Instant::now();
        let mut looks = QuerySchedule::new(began);
        looks.interface_has_changed(began + SECOND);
        looks.interface_has_changed(began + SECOND);
        assert_eq!(looks.next(false), (began + SECOND + SETTLES, Next::Look));
    }

    #[test]
    fn the_library_is_asked_for_its_instances_every_half_minute() {
        let began = Instant::now();
        let mut looks = QuerySchedule::new(began);
        assert_eq!(looks.next(false), (began + 30 * SECOND, Next::Remembered));
        looks.called(began + 30 * SECOND);
        assert_eq!(looks.next(false), (began + 60 * SECOND, Next::Remembered));
    }
}

//! A Pi 2 does not know the time when it is switched on. What it believes gets better: it is later than when the image
//! was built, later than when the Pi was last seen running, and then a time server says it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec};

use crate::machine::{self, Machine};
use crate::state::{Clock, TimeSource};

/// While this file is there, the time is a guess. Producers look at it (`--clock-unset`).
pub(crate) const UNSET: &str = "/run/bramble/clock-unset";
/// File that says which server set the time, for a second life of this process: the clock has stayed right.
const SET: &str = "/run/bramble/clock-set";
/// The last known time, in Unix seconds.
const SAVED: &str = "/data/time";
/// Smallest step of the clock. A smaller error is left: a step is worse for measurements than half a second is for
/// readers.
const STEP_FROM: Duration = Duration::from_millis(500);
/// A saved time further behind the build is a broken file.
const LATEST_AFTER_BUILD: u64 = 30 * 365 * 86_400;

/// Decision about the clock when a server has told a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockDecision {
    /// The clock is right already.
    Leave,
    /// The clock is set.
    Set,
    /// The time is before the image was built.
    Refuse,
}

/// Judges what a time server `said` at `now`. All since 1970; pure.
pub(crate) fn judge(now: Duration, said: Duration, built: u64) -> ClockDecision {
    if said < Duration::from_secs(built) {
        ClockDecision::Refuse
    } else if now.abs_diff(said) > STEP_FROM {
        ClockDecision::Set
    } else {
        ClockDecision::Leave
    }
}

/// The best guess without a time server, and where it comes from. Unix seconds; pure.
pub(crate) fn guess(now: u64, built: u64, saved: Option<u64>) -> (u64, TimeSource) {
    let saved = saved.filter(|saved| (built..=built.saturating_add(LATEST_AFTER_BUILD)).contains(saved));
    let source = if saved.is_some() { TimeSource::Saved } else { TimeSource::Build };
    (now.max(saved.unwrap_or(built)), source)
}

/// Since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// At the start: at least the build stamp. What an earlier life of this process was told by a time server still holds.
pub(crate) fn begin(machine: &Machine, built: u64) -> Clock {
    if let Some(server) = machine.text(SET) {
        let server = (server != "?").then_some(server);
        return Clock { source: TimeSource::Ntp, server, now: now().as_secs() };
    }
    if let Err(error) = machine::replace(&machine.path(UNSET), b"", 0o644) {
        log::error!("{UNSET}: {error}");
    }
    let (at_least, source) = guess(now().as_secs(), built, None);
    set(machine, Duration::from_secs(at_least));
    Clock { source, server: None, now: at_least }
}

/// The time that was saved last, if the data partition has one.
pub(crate) fn saved(machine: &Machine) -> Option<u64> {
    machine.text(SAVED)?.parse().ok()
}

/// Saves the time, so that the next start begins with it.
pub(crate) fn save(machine: &Machine) -> std::io::Result<()> {
    let text = format!("{}\n", now().as_secs());
    machine::replace_for_good(&machine.path(SAVED), text.as_bytes(), 0o644)
}

/// From here on the time counts as right.
pub(crate) fn trust(machine: &Machine, server: Option<&str>) {
    let known = machine::replace(&machine.path(SET), server.unwrap_or("?").as_bytes(), 0o644);
    let told = std::fs::remove_file(machine.path(UNSET));
    for error in [known.err(), told.err()].into_iter().flatten() {
        log::warn!("{UNSET}: {error}");
    }
}

/// Sets the clock, unless it shows that already.
pub(crate) fn set(machine: &Machine, to: Duration) {
    if machine.is_trial || now().abs_diff(to) <= STEP_FROM {
        return;
    }
    let tv_sec = i64::try_from(to.as_secs()).unwrap_or(i64::MAX);
    let time = Timespec { tv_sec, tv_nsec: to.subsec_nanos() as _ };
    if let Err(error) = rustix::time::clock_settime(ClockId::Realtime, time) {
        log::error!("the clock cannot be set: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::Folder;

    const BUILT: u64 = 1_790_000_000;

    #[test]
    fn without_a_time_server_the_later_of_build_and_saved_time_counts() {
        assert_eq!(guess(0, BUILT, None), (BUILT, TimeSource::Build));
        assert_eq!(guess(0, BUILT, Some(BUILT + 77)), (BUILT + 77, TimeSource::Saved));
        assert_eq!(guess(0, BUILT, Some(BUILT - 1)), (BUILT, TimeSource::Build), "from an older card");
        assert_eq!(guess(0, BUILT, Some(u64::MAX)), (BUILT, TimeSource::Build), "a broken file");
        assert_eq!(guess(BUILT + 99, BUILT, Some(BUILT + 77)), (BUILT + 99, TimeSource::Saved), "never backwards");
    }

    #[test]
    fn a_time_server_steps_the_clock_only_when_it_is_off_and_never_before_the_build() {
        let at = |millis: u64| Duration::from_millis(BUILT * 1000 + millis);
        assert_eq!(judge(at(0), at(500), BUILT), ClockDecision::Leave);
        assert_eq!(judge(at(0), at(501), BUILT), ClockDecision::Set);
        assert_eq!(judge(at(9000), at(8000), BUILT), ClockDecision::Set, "backwards, but after the build");
        assert_eq!(judge(at(0), Duration::from_secs(BUILT - 1), BUILT), ClockDecision::Refuse);
    }

    #[test]
    fn the_time_is_a_guess_until_it_is_trusted_and_a_second_life_knows() {
        let folder = Folder::new("clock");
        folder.write("run/bramble/x", "");
        folder.write("data/x", "");
        let machine = folder.machine();
        assert_eq!(begin(&machine, BUILT).source, TimeSource::Build);
        assert!(machine.path(UNSET).exists());
        trust(&machine, Some("192.0.2.1"));
        assert!(!machine.path(UNSET).exists());
        let again = begin(&machine, BUILT);
        assert_eq!((again.source, again.server.as_deref()), (TimeSource::Ntp, Some("192.0.2.1")));
        assert!(!machine.path(UNSET).exists());
        assert_eq!(saved(&machine), None);
        save(&machine).expect("saved");
        assert!(saved(&machine).is_some_and(|saved| saved.abs_diff(now().as_secs()) <= 1));
    }
}

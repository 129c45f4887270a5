//! The events of `/hystrix.stream`: the commands of [`hystrix`](super::hystrix), repeated with a pause.

use std::time::{Duration, Instant, SystemTime};

use futures_lite::{Stream, StreamExt as _, stream};
use smol::Timer;

use super::hystrix::Command;

/// Hystrix's default of `hystrix.stream.maxConcurrentConnections`.
pub(crate) const READERS: usize = 5;
/// Hystrix's default of `delay`.
const DELAY: Duration = Duration::from_millis(500);
/// Shortest interval: faster than people look.
const DELAY_MIN: Duration = Duration::from_millis(100);
/// Slower, and a proxy between takes the stream for dead.
const DELAY_MAX: Duration = Duration::from_secs(10);
/// Circuits told at a time, services first; what Netflix's own queue holds.
const EVENTS: usize = 1000;
/// Said when there is no circuit: it finds out whether the reader is still there.
const PING: &[u8] = b"ping: \n\n";

/// The time between two rounds that the query asks for: `delay` in milliseconds, within bounds.
pub(crate) fn delay(query: Option<&str>) -> Duration {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query.unwrap_or_default()).unwrap_or_default();
    let asked = pairs.iter().find_map(|(name, value)| value.parse::<i64>().ok().filter(|_| name == "delay"));
    asked.map_or(DELAY, |asked| Duration::from_millis(u64::try_from(asked).unwrap_or(0)).clamp(DELAY_MIN, DELAY_MAX))
}

/// All circuits at a moment.
pub(crate) type Look = Box<dyn Fn(Instant) -> Vec<Command> + Send + Sync>;

/// The circuits that `look` returns, one event each, every `delay` from now on without an end.
pub(crate) fn events(look: Look, delay: Duration) -> impl Stream<Item = Vec<u8>> + Send + Sync {
    let rounds = stream::unfold(Timer::at(Instant::now()), move |mut next| async move {
        let now = (&mut next).await;
        next.set_after(delay);
        Some((now, next))
    });
    rounds.flat_map(move |now| {
        let commands = look(now);
        let ping = commands.is_empty().then(|| PING.to_vec());
        stream::iter(commands.into_iter().take(EVENTS).map(|command| command.event(SystemTime::now())).chain(ping))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulkhead::Bulkhead;
    use crate::telemetry::CallStatistics;
    use crate::telemetry::hystrix::tests::{check_event, command};
    use futures_lite::future;

    fn events_of(names: &'static [&'static str]) -> impl Stream<Item = Vec<u8>> {
        let look = move |_| names.iter().map(|name| command(name, CallStatistics::default())).collect();
        events(Box::new(look), DELAY_MIN)
    }

    #[test]
    fn the_delay_is_netflix_s_unless_the_reader_asks_for_another_within_bounds() {
        for (query, millis) in [
            (None, 500),
            (Some("delay=1000"), 1000),
            (Some("a=b&delay=2000"), 2000),
            (Some("delay=1"), 100),
            (Some("delay=-5"), 100),
            (Some("delay=99999999"), 10_000),
            (Some("delay=soon"), 500),
            (Some("delay=99999999999999999999"), 500),
        ] {
            assert_eq!(delay(query), Duration::from_millis(millis), "{query:?}");
        }
    }

    #[test]
    fn there_are_five_places_and_one_left_is_free_again() {
        let places = Bulkhead::new("test", READERS);
        let mut taken: Vec<_> = std::iter::from_fn(|| places.try_enter().ok()).collect();
        assert_eq!(taken.len(), READERS);
        taken.pop();
        assert!(places.try_enter().is_ok());
    }

    #[test]
    fn each_circuit_is_one_event_in_order_and_the_next_round_begins_anew() {
        let events = future::block_on(events_of(&["one", "two"]).take(5).collect::<Vec<_>>());
        let name = |event: &Vec<u8>| check_event(std::str::from_utf8(event).expect("text"))["name"].to_string();
        let names: Vec<_> = events.iter().map(name).collect();
        assert_eq!(names, ["\"one\"", "\"two\"", "\"one\"", "\"two\"", "\"one\""]);
    }

    #[test]
    fn without_circuits_it_pings() {
        let events = future::block_on(events_of(&[]).take(2).collect::<Vec<_>>());
        assert_eq!(events, [b"ping: \n\n", b"ping: \n\n"]);
    }
}

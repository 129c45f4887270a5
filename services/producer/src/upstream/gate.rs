//! A wrong key and a used-up limit concern every place alike: asking on for each of them would be a storm of calls, all
//! in vain, and of log lines.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::openweathermap::UpstreamError;

/// While the key is refused, one call in this time finds out whether it has become valid: a new one takes the weather
/// API some minutes.
const AFTER_BAD_KEY: Duration = Duration::from_secs(30);

/// OpenWeatherMap counts calls by the minute.
const AFTER_LIMIT: Duration = Duration::from_secs(60);

/// However long a `Retry-After` is, after this long one call tries.
const LONGEST: Duration = Duration::from_secs(600);

/// Pause between log lines on a bad key: a reminder, not a flood.
const SAY_BAD_KEY_AGAIN: Duration = Duration::from_secs(600);
const SAY_TROUBLE_AGAIN: Duration = Duration::from_secs(60);

/// Lets calls to the weather API through, or answers in its place. Pure: `now` is handed in.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// While it is set and not over, no call goes through.
    closed: Option<(UpstreamError, Instant)>,
    /// When a line about this kind of trouble was last written.
    said: BTreeMap<&'static str, Instant>,
}

impl Gate {
    /// Whether a call might go out at `now`.
    ///
    /// # Errors
    /// What the weather API would say.
    pub(super) fn look(&self, now: Instant) -> Result<(), UpstreamError> {
        let Some((error, until)) = &self.closed else { return Ok(()) };
        let left = until.saturating_duration_since(now);
        match error {
            _ if left.is_zero() => Ok(()),
            UpstreamError::RateLimited { .. } => Err(UpstreamError::RateLimited { retry_after: Some(left) }),
            error => Err(error.clone()),
        }
    }

    /// A call goes out at `now`. The one that does when a pause is over prolongs it for all others until its own result
    /// is known.
    pub(super) fn pass(&mut self, now: Instant) {
        if let Some((_, until)) = &mut self.closed {
            *until = now + AFTER_BAD_KEY;
        }
    }

    /// Learns from a call's result; whether this is worth a line in the log.
    pub(super) fn learn<T>(&mut self, result: &Result<T, UpstreamError>, now: Instant) -> bool {
        let kind = match result {
            Err(UpstreamError::BadKey) => {
                self.closed = Some((UpstreamError::BadKey, now + AFTER_BAD_KEY));
                return self.is_news("key", now, SAY_BAD_KEY_AGAIN);
            }
            Err(error @ UpstreamError::RateLimited { retry_after }) => {
                self.closed = Some((error.clone(), now + pause(*retry_after)));
                "limit"
            }
            // The key was accepted.
            Ok(_) | Err(UpstreamError::NotFound | UpstreamError::BadQuestion) => {
                self.closed = None;
                self.said.remove("key");
                return false;
            }
            // These say nothing about key or limit: a pause stays.
            Err(UpstreamError::TimedOut) => "time",
            Err(UpstreamError::Unreachable) => "connection",
            Err(_) => "answer",
        };
        self.is_news(kind, now, SAY_TROUBLE_AGAIN)
    }

    fn is_news(&mut self, kind: &'static str, now: Instant, again: Duration) -> bool {
        let is_news = self.said.get(kind).is_none_or(|said| now.saturating_duration_since(*said) >= again);
        if is_news {
            self.said.insert(kind, now);
        }
        is_news
    }
}

/// How long a reached limit holds, if upstream says this about it.
pub(super) fn pause(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or(AFTER_LIMIT).clamp(Duration::from_secs(1), LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD_KEY: Result<(), UpstreamError> = Err(UpstreamError::BadKey);

    fn try_pass(gate: &mut Gate, now: Instant) -> Result<(), UpstreamError> {
        gate.look(now).inspect(|()| gate.pass(now))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn after_a_bad_key_one_call_in_thirty_seconds_goes_out() {
        let (mut gate, start) = (Gate::default(), Instant::now());
        gate.learn(&BAD_KEY, start);
        let mut passed = 0;
        for tenth in 0..1200 {
            let now = start + Duration::from_millis(tenth * 100);
            if try_pass(&mut gate, now).is_ok() {
                passed += 1;
                assert_eq!(try_pass(&mut gate, now), BAD_KEY, "only one, though its result is not known yet");
                gate.learn(&BAD_KEY, now);
            }
        }
        assert_eq!(passed, 3);
        gate.learn(&Ok(()), start + seconds(121));
        assert_eq!(try_pass(&mut gate, start + seconds(121)), Ok(()));
    }

    #[test]
    fn a_bad_key_is_said_once_until_it_worked_or_ten_minutes_passed() {
        let (mut gate, start) = (Gate::default(), Instant::now());
        assert!(gate.learn(&BAD_KEY, start));
        assert!(!gate.learn(&BAD_KEY, start + seconds(30)));
        assert!(!gate.learn(&BAD_KEY, start + seconds(599)));
        assert!(gate.learn(&BAD_KEY, start + seconds(600)));
        gate.learn(&Err::<(), _>(UpstreamError::NotFound), start + seconds(700));
        assert!(gate.learn(&BAD_KEY, start + seconds(701)));
    }

    #[test]
    fn a_limit_holds_for_as_long_as_it_says_within_bounds() {
        for (says, holds) in [(Some(5), 5), (None, 60), (Some(0), 1), (Some(86_400), 600)] {
            let (mut gate, start) = (Gate::default(), Instant::now());
            let limited: Result<(), _> = Err(UpstreamError::RateLimited { retry_after: says.map(seconds) });
            gate.learn(&limited, start);
            let left = try_pass(&mut gate, start + seconds(holds) - Duration::from_millis(500));
            let retry_after = Some(Duration::from_millis(500));
            assert_eq!(left, Err(UpstreamError::RateLimited { retry_after }), "{says:?}");
            assert_eq!(try_pass(&mut gate, start + seconds(holds)), Ok(()), "{says:?}");
        }
    }

    #[test]
    fn a_refused_probe_leaves_the_pause_as_it_is() {
        let (mut gate, start) = (Gate::default(), Instant::now());
        gate.learn(&BAD_KEY, start);
        assert!(try_pass(&mut gate, start + seconds(30)).is_ok());
        gate.learn(&Err::<(), _>(UpstreamError::TimedOut), start + seconds(31));
        assert_eq!(try_pass(&mut gate, start + seconds(59)), BAD_KEY);
        assert!(try_pass(&mut gate, start + seconds(60)).is_ok());
    }

    #[test]
    fn other_trouble_is_said_once_a_minute_and_stops_nothing() {
        let (mut gate, start) = (Gate::default(), Instant::now());
        let said: Vec<_> = (0..180)
            .filter(|second| gate.learn(&Err::<(), _>(UpstreamError::Unreachable), start + seconds(*second)))
            .collect();
        assert_eq!(said, [0, 60, 120]);
        assert!(try_pass(&mut gate, start).is_ok());
    }
}

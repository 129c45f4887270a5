//! Values that are right alone and wrong together.

use std::time::Duration;

use super::Config;
use super::setting::show_time;

/// Two keys that contradict each other: the one to look at first, the other, and how the sentence goes on after the
/// first one's name.
pub(super) struct Conflict {
    pub(super) keys: [&'static str; 2],
    pub(super) why: String,
}

/// All conflicts of a configuration.
pub(super) fn conflicts(config: &Config) -> Vec<Conflict> {
    let (call, breaker) = (&config.call, &config.breaker);
    [
        at_most("call.attempt_timeout", call.attempt_timeout, "call.timeout", call.timeout),
        call.hedge_after.and_then(|after| at_most("call.hedge_after", after, "call.timeout", call.timeout)),
        at_most("breaker.open_for", breaker.open_for, "breaker.open_for_max", breaker.open_for_max),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn at_most(short: &'static str, less: Duration, long: &'static str, more: Duration) -> Option<Conflict> {
    (less > more).then(|| {
        let why = format!("{} is longer than {long} = {}; set both", show_time(less), show_time(more));
        Conflict { keys: [short, long], why }
    })
}

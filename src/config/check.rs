//! Checks across keys: values that are right alone and wrong together.

use std::time::Duration;

use super::format::show_time;
use super::section::Conflict;
use super::settings::Config;
use crate::breaker::BreakerSettings;
use crate::call::{CallSettings, HedgeDelay};

/// All conflicts of a configuration.
pub(super) fn conflicts(config: &Config) -> Vec<Conflict> {
    let mut conflicts: Vec<Conflict> = of_calls("", &config.call, &config.breaker).collect();
    for (callee, settings) in &config.callees {
        conflicts.extend(of_calls(&format!(".{callee}"), &settings.call, &settings.breaker));
    }
    conflicts.extend(config.sections.conflicts());
    conflicts
}

/// Of the sections for calls, with `suffix` behind their names.
fn of_calls(suffix: &str, call: &CallSettings, breaker: &BreakerSettings) -> impl Iterator<Item = Conflict> {
    let at_most = |section: &str, short: (&str, Duration), long: (&str, Duration)| {
        (short.1 > long.1).then(|| {
            let [short_key, long_key] = [short.0, long.0].map(|key| format!("{section}{suffix}.{key}"));
            let why = format!("{} is longer than {long_key} = {}; set both", show_time(short.1), show_time(long.1));
            Conflict { keys: [short_key, long_key], why }
        })
    };
    [
        at_most("call", ("attempt_timeout", call.attempt_timeout), ("timeout", call.timeout)),
        match call.hedge_after {
            HedgeDelay::After(after) => at_most("call", ("hedge_after", after), ("timeout", call.timeout)),
            HedgeDelay::P95 | HedgeDelay::Off => None,
        },
        at_most("breaker", ("open_for", breaker.open_for), ("open_for_max", breaker.open_for_max)),
    ]
    .into_iter()
    .flatten()
}

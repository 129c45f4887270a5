//! Values that are right alone and wrong together.

use std::time::Duration;

use super::Config;
use super::pi::{Addressing, Pi};
use super::setting::show_time;
use crate::breaker::BreakerSettings;
use crate::call::{CallSettings, HedgeDelay};

/// Two keys that contradict each other: the one to look at first, the other, and how the sentence goes on after the
/// first one's name.
pub(super) struct Conflict {
    pub(super) keys: [String; 2],
    pub(super) why: String,
}

/// All conflicts of a configuration.
pub(super) fn conflicts(config: &Config) -> Vec<Conflict> {
    let mut conflicts: Vec<Conflict> = of_calls("", &config.call, &config.breaker).collect();
    for (callee, settings) in &config.callees {
        conflicts.extend(of_calls(&format!(".{callee}"), &settings.call, &settings.breaker));
    }
    conflicts.extend(out_of_reach(&config.pi));
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

fn out_of_reach(pi: &Pi) -> Option<Conflict> {
    let gateway = pi.gateway?;
    let why = match pi.address {
        Addressing::Dhcp => format!("{gateway} is only asked with a fixed address; with DHCP leave it empty"),
        Addressing::Fixed(own) if own.ip() == gateway => format!("{gateway} is the Pi's own address"),
        Addressing::Fixed(own) if own.has_host(gateway) => return None,
        Addressing::Fixed(own) => format!("{gateway} is not in the network of pi.address = {own}"),
    };
    Some(Conflict { keys: ["pi.gateway", "pi.address"].map(str::to_owned), why })
}

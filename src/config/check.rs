//! Values that are right alone and wrong together.

use std::time::Duration;

use super::Config;
use super::pi::{Addressing, Pi};
use super::setting::show_time;
use crate::call::HedgeDelay;

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
        match call.hedge_after {
            HedgeDelay::After(after) => at_most("call.hedge_after", after, "call.timeout", call.timeout),
            HedgeDelay::P95 | HedgeDelay::Off => None,
        },
        at_most("breaker.open_for", breaker.open_for, "breaker.open_for_max", breaker.open_for_max),
        out_of_reach(&config.pi),
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

fn out_of_reach(pi: &Pi) -> Option<Conflict> {
    let gateway = pi.gateway?;
    let why = match pi.address {
        Addressing::Dhcp => format!("{gateway} is only asked with a fixed address; with DHCP leave it empty"),
        Addressing::Fixed(own) if own.ip() == gateway => format!("{gateway} is the Pi's own address"),
        Addressing::Fixed(own) if own.has_host(gateway) => return None,
        Addressing::Fixed(own) => format!("{gateway} is not in the network of pi.address = {own}"),
    };
    Some(Conflict { keys: ["pi.gateway", "pi.address"], why })
}

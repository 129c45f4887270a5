//! A role that is killed is started again; one that hangs takes the Pi with it, and all begins anew.
//!
//! QEMU takes the start of the chip's watchdog for its end and restarts at once, so the card loads Linux' own
//! (`softdog`) where there is no firmware. When it is fed, and what happens when it is not, is the same.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::card::Card;
use crate::life::{SOON, all_roles_are_healthy, pi_state, settings};
use crate::patience::patience;
use crate::pi::{BOOT, Pi, Wiring};
use crate::room::{API_KEY, GATEWAY, Room, Upstream};
use crate::ssh::Key;

/// Silence is borne for 30 s, then the watchdog waits: 14 s on a Pi, 60 in QEMU.
static PATIENCE: LazyLock<Duration> = LazyLock::new(|| patience(120));

fn role<'a>(state: &'a Value, name: &str) -> &'a Value {
    let roles = state["roles"].as_array().expect("a list");
    roles.iter().find(|role| role["name"] == name).unwrap_or_else(|| panic!("there is no {name}: {state:#}"))
}

#[test]
fn a_killed_role_is_started_again_and_one_that_hangs_restarts_the_pi() {
    let _room = Room::enter();
    let (upstream, key) = (Upstream::start(GATEWAY), Key::new());
    let files = [("bramble.toml", &*settings(&upstream, "")), ("api-key", API_KEY), ("authorized_keys", &key.public)];
    let pi = Pi::boot(&Card::with(&files), &Wiring::default());
    let state = pi_state(*SOON * 2, |state| all_roles_are_healthy(state) && state["watchdog"] == true);

    key.until_in();
    let killed = role(&state, "producer")["pid"].as_u64().expect("it runs");
    key.sh(&format!("kill -KILL {killed}"));
    let state = pi_state(*SOON, |state| role(state, "producer")["restarts"] == 1 && all_roles_are_healthy(state));
    assert_ne!(role(&state, "producer")["pid"], killed, "{state:#}");

    let hung = role(&state, "consumer")["pid"].as_u64().expect("it runs");
    key.sh(&format!("kill -STOP {hung}"));
    let began = Instant::now();
    let said = pi.serial.wait_for(&["the consumer has not answered"], began + *PATIENCE);
    assert!(said.is_some(), "the console names the service that hangs");
    // The producer's new start is forgotten with the Pi that saw it.
    pi_state(*PATIENCE + *BOOT, |state| {
        all_roles_are_healthy(state) && ["producer", "consumer"].iter().all(|name| role(state, name)["restarts"] == 0)
    });
    println!("{:.0?} after the consumer hung, all roles were healthy again", began.elapsed());
}

//! Two Pis on one network. They begin without a DHCP server, with one name for both, and one of them without a cable.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::card::Card;
use crate::life::{SOON, role_is_healthy, settings};
use crate::pi::{BOOT, FORM, PAGE, Pi, QUESTION, Wiring};
use crate::room::{API_KEY, HERE, Room, Upstream};
use crate::web;

/// The one with the producer, by DHCP.
const FIRST: [u8; 4] = [10, 77, 0, 11];
/// The one with the form, with a fixed address.
const SECOND: [u8; 4] = [10, 77, 0, 22];

fn state_of(pi: [u8; 4], within: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
    web::until(SocketAddr::from((pi, PAGE)), "/api/pi", within, |status, state| status == 200 && wanted(state))
}

#[test]
fn two_pis_find_each_other_and_the_form_outlives_the_producer() {
    let room = Room::enter();
    let upstream = Upstream::start(HERE);
    let on_first = settings(&upstream, "hostname = \"twin\"\nroles = [\"producer\", \"registry\"]");
    let fixed = "hostname = \"twin\"\nroles = [\"consumer\", \"registry\"]\naddress = \"10.77.0.22/24\"";
    let first_card = Card::with(&[("bramble.toml", &on_first), ("api-key", API_KEY)]);
    let second_card = Card::with(&[("bramble.toml", &settings(&upstream, fixed))]);

    // No cable, and nobody who gives addresses.
    let cables = [room.cable(1), room.cable(2)];
    room.plug(&cables[0], false);
    let wired = |number: u8, cable: &String| Wiring { cable: Some((number, cable.clone())), ..Wiring::default() };
    let first = Pi::start(&first_card, &wired(1, &cables[0]));
    let second = Pi::start(&second_card, &wired(2, &cables[1]));
    let form = SocketAddr::from((SECOND, FORM));
    let alone = state_of(SECOND, BOOT, |state| role_is_healthy(state, "consumer"));
    assert_eq!((&alone["network"]["origin"], &alone["network"]["address"]), (&"fixed".into(), &"10.77.0.22/24".into()));
    let (status, said) = web::get(form, QUESTION).expect("the form answers, though there is no producer");
    assert_eq!(status, 503, "{said}");

    // It has chosen an address, and is found by it when the cable is in.
    first.says("169.254.");
    room.plug(&cables[0], true);
    let answer = |within, what: &str, wanted: &dyn Fn(&Value) -> bool| {
        println_now(what);
        web::until(form, QUESTION, within, |status, report| status == 200 && wanted(report))
    };
    answer(BOOT, "the form finds the producer without any DHCP server", &|report| report["message"] == "OK");

    // A DHCP server appears.
    let _dhcp = room.dhcp();
    let found =
        state_of(FIRST, BOOT, |state| state["network"]["origin"] == "dhcp" && role_is_healthy(state, "producer"));
    assert_eq!(found["network"]["address"], "10.77.0.11/24", "{found:#}");

    // One of the two has given way.
    let renamed = |state: &Value| state["network"]["renamed"].as_str().map(str::to_owned);
    let names = [renamed(&found), renamed(&state_of(SECOND, SOON, |_| true))];
    assert_eq!(names.iter().flatten().collect::<Vec<_>>(), ["twin-2"], "one of two Pis called twin is twin-2");

    // It dies.
    first.cut();
    let stale = answer(BOOT, "the form answers without the producer", &|report| report["source"] == "stale");
    assert_eq!(stale["message"], "CAUTION - Response out of date, producer unreachable!", "{stale}");
    assert!(stale["temperature_c"].is_number(), "{stale}");
    drop(second);
}

fn println_now(what: &str) {
    println!("waiting: {what}");
}

//! Two Pis on one network. They begin without a DHCP server, with one name for both, and one of them without a cable.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use crate::card::Card;
use crate::life::{SOON, role_is_healthy, settings};
use crate::pi::{BOOT, FORM, PAGE, Pi, QUESTION, Wiring};
use crate::room::{API_KEY, HERE, Room, Upstream};
use crate::web;

/// First address that the DHCP server gives.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 12);

fn state_of(pi: Ipv4Addr, within: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
    web::until(SocketAddr::from((pi, PAGE)), "/api/pi", within, |status, state| status == 200 && wanted(state))
}

/// The form's answer, once it is as `wanted`.
fn answer(form: Ipv4Addr, wanted: impl Fn(&Value) -> bool) -> Value {
    web::until(SocketAddr::from((form, FORM)), QUESTION, *BOOT, |status, report| status == 200 && wanted(report))
}

/// Whether the form's list has a producer at this address that it has asked.
fn uses_a_producer_at(pi: Ipv4Addr, seen: &Value) -> bool {
    let all = seen["instances"].as_array().into_iter().flatten();
    let producers = all.into_iter().filter(|one| one["service"] == "producer" && one["standing"] == "confirmed");
    let addresses = producers.filter_map(|one| one["addr"].as_str()?.parse::<SocketAddr>().ok());
    addresses.map(|addr| addr.ip()).any(|ip| ip == pi)
}

/// The address that a Pi says it has chosen itself.
fn chosen_by(pi: &Pi) -> Ipv4Addr {
    let line = pi.says("has taken 169.254.");
    let address = line.split([' ', ':', '/']).find_map(|word| word.parse().ok());
    address.unwrap_or_else(|| panic!("there is no address in {line:?}"))
}

#[test]
fn two_pis_find_each_other_with_and_without_dhcp_and_the_form_outlives_the_producer() {
    let room = Room::enter();
    let upstream = Upstream::start(HERE);
    let card = |roles: &str| {
        let toml = settings(&upstream, &format!("hostname = \"twin\"\nroles = [\"{roles}\", \"registry\"]"));
        Card::with(&[("bramble.toml", &toml), ("api-key", API_KEY)])
    };
    let cards = [card("producer"), card("consumer")];
    let cables = [room.cable(1), room.cable(2)];
    room.plug(&cables[0], false);
    let wired = |number: u8, cable: &String| Wiring { cable: Some((number, cable.clone())), ..Wiring::default() };
    let first = Pi::start(&cards[0], &wired(1, &cables[0]));
    let second = Pi::start(&cards[1], &wired(2, &cables[1]));

    // Without a DHCP server each takes an address, the one without a cable too.
    let (lonely, form) = (chosen_by(&first), chosen_by(&second));
    assert_ne!(lonely, form);
    state_of(form, *BOOT, |state| role_is_healthy(state, "consumer") && state["network"]["origin"] == "link-local");
    let (status, said) = web::get((form, FORM).into(), QUESTION).expect("the form answers without a producer");
    assert_eq!(status, 503, "{said}");

    // The cable is put in, and the form finds the producer. The weather API is out of reach for both.
    room.plug(&cables[0], true);
    web::until((form, FORM).into(), "/instances", *BOOT, |_, seen| uses_a_producer_at(lonely, seen));

    // The router is switched on. The addresses change, and all goes on.
    let _dhcp = room.dhcp();
    let by_dhcp = |state: &Value| state["network"]["origin"] == "dhcp" && role_is_healthy(state, "registry");
    let states = [state_of(FIRST, *BOOT, by_dhcp), state_of(SECOND, *BOOT, by_dhcp)];
    assert_eq!(states[0]["network"]["address"], "10.77.0.11/24", "{:#}", states[0]);
    let report = answer(SECOND, |report| report["message"] == "OK");
    println!("with DHCP: {report}");

    // One of the two has given way in their name, which its page shows.
    state_of(FIRST, *SOON * 2, |first| {
        let second = state_of(SECOND, *SOON, |_| true);
        [first, &second].iter().filter_map(|state| state["network"]["renamed"].as_str()).eq(["twin-2"])
    });

    // The producer dies, and the form answers with what it knows.
    first.cut();
    let stale = answer(SECOND, |report| report["source"] == "stale");
    assert_eq!(stale["message"], "CAUTION - Response out of date, producer unreachable!", "{stale}");
    assert!(stale["temperature_c"].is_number(), "{stale}");
    drop(second);
}

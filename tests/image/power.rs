//! The plug is pulled at any moment, again and again, and the card is none the worse.

use std::time::Duration;

use crate::card::Card;
use crate::life::{SOON, all_roles_are_healthy, knows_its_data, pi_state, settings};
use crate::note;
use crate::pi::{Pi, Wiring};
use crate::room::{API_KEY, GATEWAY, Room, Upstream};

const CUTS: u32 = 20;
/// The moments reach so far into service; by then the data partition has been opened, and the time may have been kept
/// there.
const SERVICE: Duration = Duration::from_secs(15);

#[test]
fn a_card_outlasts_twenty_power_cuts_in_boot_and_in_service() {
    let seed = std::env::var("BRAMBLE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("BRAMBLE_TEST_SEED={seed}");
    let mut moments = fastrand::Rng::with_seed(seed);
    let _room = Room::enter();
    let upstream = Upstream::start(GATEWAY);
    let card = Card::with(&[("bramble.toml", &settings(&upstream, "")), ("api-key", API_KEY)]);
    let fat = card.bytes(1);
    let wiring = Wiring { writable: true, ..Wiring::default() };

    let first = Pi::boot(&card, &wiring);
    let boot = first.started.elapsed();
    pi_state(*SOON, |state| state["data"] == "mounted");
    first.cut();
    let (mut in_boot, mut in_service) = (0, 1);
    for cut in 2..=CUTS {
        let moment = (boot + SERVICE).mul_f64(moments.f64());
        let pi = Pi::start(&card, &wiring);
        let served = pi.serves(moment).is_some();
        std::thread::sleep(moment.saturating_sub(pi.started.elapsed()));
        pi.cut();
        println!("cut {cut} after {moment:.1?}, {}", if served { "in service" } else { "in boot" });
        if served {
            in_service += 1;
        } else {
            in_boot += 1;
        }
        assert!(card.bytes(1) == fat, "cut {cut} after {moment:?} changed the FAT partition");
    }
    println!("{in_boot} cuts in boot, {in_service} in service");
    assert!(in_boot >= 3, "only {in_boot} cuts were in boot");
    assert_eq!(card.data_faults(), None, "the data partition after {CUTS} cuts");

    let last = Pi::boot(&card, &wiring);
    let state = pi_state(*SOON, |state| all_roles_are_healthy(state) && knows_its_data(state));
    match state["data"].as_str() {
        Some("mounted") => {}
        Some("rebuilt") => note("power cuts: the data partition was broken by them and rebuilt"),
        other => panic!("the data partition is {other:?} after {CUTS} cuts: {state:#}"),
    }
    last.cut();
    assert!(card.bytes(1) == fat, "the FAT partition has changed");
}

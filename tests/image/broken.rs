//! Cards with mistakes on them. Each boots all the same with what is right, and says what is wrong and what to do.

use std::time::Instant;

use crate::card::Card;
use crate::life::{SOON, all_roles_are_healthy, knows_its_data, role_is_healthy, settings, ssh_greets};
use crate::pi::{PAGE, Pi, Wiring};
use crate::room::{API_KEY, GATEWAY, Room, Upstream, local};
use crate::web;

/// Wiring of a card that is looked at after the Pi has written to it.
const WRITABLE: Wiring = Wiring { cable: None, writable: true, whole: false };

fn has_settled(state: &serde_json::Value) -> bool {
    all_roles_are_healthy(state) && knows_its_data(state)
}

/// Both the console and the page say each of `wanted`: words that stand in one sentence.
fn it_says(pi: &Pi, state: &serde_json::Value, wanted: &[&[&str]]) {
    let problems: Vec<&str> =
        state["problems"].as_array().into_iter().flatten().filter_map(|one| one.as_str()).collect();
    let (_, page) = web::page(local(PAGE), "/pi").expect("the page answers");
    let deadline = Instant::now() + *SOON; // the serial line is slower than the page
    for words in wanted {
        let has_all = |text: &&str| words.iter().all(|word| text.contains(word));
        assert!(problems.iter().any(has_all), "no problem has {words:?}: {problems:#?}");
        assert!(pi.serial.wait_for(words, deadline).is_some(), "no line on the console has {words:?}");
        assert!(words.iter().all(|word| page.contains(word)), "the page does not have {words:?}: {page}");
    }
}

#[test]
fn mistakes_in_the_settings_and_an_empty_data_partition_are_told_and_the_rest_counts() {
    let _room = Room::enter();
    let upstream = Upstream::start(GATEWAY);
    let toml = settings(
        &upstream,
        "hostname = \"thorn\"\nroles = [\"consumer\", \"barista\", \"producer\", \"registry\"]\nadress = \"dhcp\"\n\
         address = \"10.0.2.15/24\"",
    );
    let card = Card::with(&[("bramble.toml", &toml)]); // and no key of the weather API
    let length = usize::try_from(card.partition(2).length).expect("small");
    card.overwrite(2, &vec![0; length]);
    let fat = card.bytes(1);
    let (pi, state) = Pi::boot_to(&card, &WRITABLE, |state| {
        role_is_healthy(state, "consumer") && role_is_healthy(state, "registry") && knows_its_data(state)
    });
    assert_eq!((&state["hostname"], &state["data"]), (&"thorn".into(), &"rebuilt".into()), "{state:#}");
    let network = &state["network"];
    assert_eq!((&network["origin"], &network["address"]), (&"fixed".into(), &"10.0.2.15/24".into()));
    it_says(&pi, &state, &[&["barista"], &["adress"], &["api-key"], &["data partition", "made anew"]]);
    assert!(!ssh_greets(), "a program answers at the port of SSH, though no key was given");
    assert_eq!(state["ssh"], false);
    pi.cut();
    assert!(card.bytes(1) == fat, "the FAT partition has changed");
    assert_eq!(card.data_faults(), None, "the rebuilt data partition");
}

#[test]
fn a_file_that_is_no_toml_and_a_full_data_partition_are_told_and_the_defaults_count() {
    let _room = Room::enter();
    let card = Card::with(&[("bramble.toml", "[pi]\nhostname = \"thorn\n"), ("api-key", API_KEY)]);
    card.fill_data();
    let (pi, state) = Pi::boot_to(&card, &WRITABLE, has_settled);
    // Without a serial number, which QEMU has not, after the network card, if that was there in time.
    assert!(state["hostname"].as_str().is_some_and(|name| name.starts_with("pi")), "{state:#}");
    assert_eq!(state["data"], "read-only", "{state:#}");
    it_says(&pi, &state, &[&["bramble.toml:2"], &["data partition is full"]]);
    pi.cut();
    assert_eq!(card.data_faults(), None, "the full data partition");
}

#[test]
fn a_card_without_settings_without_its_device_trees_line_and_without_a_data_partition_serves_and_says_so() {
    let _room = Room::enter();
    let card = Card::with(&[("api-key", API_KEY)]);
    card.take_away("bramble.toml");
    let config = card.text("config.txt").replace("device_tree=", "# ");
    card.put("config.txt", config.as_bytes()); // the firmware knows which file it is
    card.drop_partition(2);
    let (pi, state) = Pi::boot_to(&card, &WRITABLE, has_settled);
    it_says(&pi, &state, &[&["no data partition"]]);
    assert_eq!(state["data"], "missing", "{state:#}");
}

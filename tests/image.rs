//! The SD card, started in an emulated Pi 2. `cargo xtask test --only image` builds the card and what is needed here.
//!
//! What QEMU does not show: the VideoCore firmware that reads config.txt before Linux starts (image/firmware.rs does
//! its part), the network chip of a real Pi 2, HDMI, and how long a real card and a real processor take.

#![allow(clippy::print_stdout, reason = "the bench's table, and how far a failed test had got")]

use std::fs::OpenOptions;
use std::io::Write as _;

#[path = "image/bench.rs"]
mod bench;
#[path = "image/broken.rs"]
mod broken;
#[path = "image/card.rs"]
mod card;
#[path = "image/firmware.rs"]
mod firmware;
#[path = "image/hang.rs"]
mod hang;
#[path = "image/life.rs"]
mod life;
#[path = "support/netns.rs"]
mod netns;
#[path = "image/pair.rs"]
mod pair;
#[path = "support/patience.rs"]
mod patience;
#[path = "image/pi.rs"]
mod pi;
#[path = "image/power.rs"]
mod power;
#[path = "image/room.rs"]
mod room;
#[path = "image/serial.rs"]
mod serial;
#[path = "image/ssh.rs"]
mod ssh;
#[path = "image/web.rs"]
mod web;

/// Prints a line at the end of the run; `BRAMBLE_TEST_NOTES` names the file for it.
fn note(what: &str) {
    println!("note: {what}");
    let Some(file) = std::env::var_os("BRAMBLE_TEST_NOTES") else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(file).expect("the notes are writable");
    writeln!(file, "{what}").expect("room on the disk");
}

//! Builds the SD-card image: Debian's kernel, the Pi's firmware and one initramfs that is the whole system.
//!
//! A Pi is set up by writing one file to a card, so that file has to be right before it leaves the machine that made it.
//! Every package in it is known by its SHA-256 ([`packages`]), the program is built without a library it could miss
//! ([`compile`]), and the same inputs give the same bytes. Formats are written by the programs that everybody uses for
//! them, as an ordinary user, without loop devices or mounts.

#![allow(clippy::print_stderr, reason = "minutes pass; the person who waits is told for what")]

pub mod compile;
mod error;
pub mod packages;
mod run;

pub use error::Error;

/// The programs that building needs, each with the Debian package that has it.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
    ("sha256sum", "coreutils"),
    ("arm-linux-gnueabihf-gcc", CROSS_COMPILER),
];

const CROSS_COMPILER: &str = "gcc-arm-linux-gnueabihf";

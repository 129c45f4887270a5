//! Builds the SD-card image: Debian's kernel, the Pi's firmware and one initramfs that is the whole system.
//!
//! A Pi is set up by writing one file to a card, so that file has to be right before it leaves the machine that made
//! it. Every package in it is known by its SHA-256 ([`packages`]), the program is built without a library it could miss
//! ([`compile`]), and the same inputs give the same bytes. Formats are written by the programs that everybody uses for
//! them, as an ordinary user, without loop devices or mounts.

#![allow(clippy::print_stderr, reason = "a build takes minutes; progress is shown")]

mod bootable;
mod build;
mod card;
pub mod compile;
mod contents;
mod cpio;
mod error;
mod inspect;
mod modules;
mod options;
pub mod packages;
mod root;
mod run;
pub mod sbom;
mod twice;

pub use build::{BuildOutput, build};
pub use error::Error;
pub use inspect::{inspect, partition};
pub use options::Options;
pub use packages::Packages;
pub use twice::build_twice;

/// The programs that building needs, or a file that stands for one, each with the Debian package that has it.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
    ("dpkg-deb", "dpkg"),
    ("git", "git"),
    ("sha256sum", "coreutils"),
    ("gzip", "gzip"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("depmod", "kmod"),
    ("modprobe", "kmod"),
    ("mkfs.vfat", "dosfstools"),
    ("mcopy", "mtools"),
    ("mmd", "mtools"),
    ("mke2fs", "e2fsprogs"),
    ("sfdisk", "fdisk"),
    ("arm-linux-gnueabihf-gcc", CROSS_COMPILER),
    ("arm-linux-gnueabihf-readelf", "binutils-arm-linux-gnueabihf"),
    ("/usr/arm-linux-gnueabihf/lib/libc.a", "libc6-dev-armhf-cross"),
];

const CROSS_COMPILER: &str = "gcc-arm-linux-gnueabihf";

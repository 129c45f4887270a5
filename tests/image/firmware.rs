//! What the VideoCore firmware of a real Pi 2 does with the card before Linux starts, as far as this card makes use of it.

use std::fs;
use std::process::{Command, Stdio};

use crate::card::{Card, Folder};

/// What an emulated Pi is told besides. When Linux lets go of a driver's start-up code, it flushes the addresses from there to
/// what it has lent last, page by page: on a Pi some milliseconds, for an emulator, which stops all its processors for each
/// page, two seconds or more. Most of those pages map memory one to one; with these words that is 160 MB instead of 760.
const FOR_QEMU: &str = "vmalloc=848M cma=16M";
/// Where the kernel wants to lie: `TEXT_OFFSET` of Debian's, which is the same for many boards.
const UNPACKED_AT: u32 = 0x0020_8000;

/// What config.txt names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Firmware {
    kernel: String,
    initramfs: String,
    device_tree: String,
    command_line: String,
}

impl Firmware {
    pub(crate) fn of(card: &Card) -> Self {
        let said = Self::read(&card.text("config.txt"));
        Self { command_line: card.text(&said.command_line).trim().to_owned(), ..said }
    }

    /// The lines that hold for a Pi 2, <https://www.raspberrypi.com/documentation/computers/config_txt.html>. Here
    /// `command_line` is the name of its file.
    fn read(config: &str) -> Self {
        let (mut kernel, mut initramfs, mut device_tree) = (None, None, None);
        let (mut upstream, mut command_line, mut is_ours) = (false, "cmdline.txt", true);
        for line in config.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[') {
                is_ours = matches!(section.trim_end_matches(']'), "all" | "pi2");
                continue;
            }
            if !is_ours || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once(['=', ' ']).unwrap_or((line, ""));
            match key {
                "kernel" => kernel = Some(value),
                "initramfs" => initramfs = value.split(' ').next(),
                "device_tree" => device_tree = Some(value),
                "upstream_kernel" => upstream = value == "1",
                "cmdline" => command_line = value,
                _ => {}
            }
        }
        let usual = if upstream { "bcm2836-rpi-2-b.dtb" } else { "bcm2709-rpi-2-b.dtb" };
        Self {
            kernel: kernel.unwrap_or("kernel7.img").to_owned(),
            initramfs: initramfs.expect("the root file system is an initramfs").to_owned(),
            device_tree: device_tree.unwrap_or(usual).to_owned(),
            command_line: command_line.to_owned(),
        }
    }

    /// Takes the files off the card and hands them to QEMU. A kernel that is not `packed` any more starts 10 to 20 s earlier:
    /// what unpacks it on a Pi in a second runs on one processor, while QEMU's other three turn in circles.
    pub(crate) fn load(&self, qemu: &mut Command, card: &Card, folder: &Folder, packed: bool) {
        for (option, name) in [("-kernel", &self.kernel), ("-initrd", &self.initramfs), ("-dtb", &self.device_tree)] {
            let file = folder.join(option.trim_start_matches('-'));
            card.copy_out(name, &file);
            if option == "-kernel" && !packed {
                let kernel = unpacked(&fs::read(&file).expect("it was copied"), folder);
                fs::write(&file, as_u_boot_has_it(&kernel)).expect("the folder is ours");
            }
            qemu.arg(option).arg(file);
        }
        qemu.arg("-append").arg(format!("{} {FOR_QEMU}", self.command_line));
    }
}

/// The kernel in a file that unpacks itself: what follows that program, compressed by xz.
fn unpacked(packed: &[u8], folder: &Folder) -> Vec<u8> {
    const MAGIC: &[u8] = b"\xfd7zXZ\0";
    let (from, to) = (folder.join("packed"), folder.join("unpacked"));
    let begins = (0..packed.len()).filter(|at| packed[*at..].starts_with(MAGIC));
    for at in begins {
        // The program itself has these bytes too, to know them.
        fs::write(&from, &packed[at..]).expect("the folder is ours");
        let mut xz = Command::new("xz");
        xz.args(["--decompress", "--stdout", "--single-stream"]).stderr(Stdio::null());
        xz.stdin(fs::File::open(&from).expect("just written")).stdout(fs::File::create(&to).expect("ours"));
        if xz.status().expect("xz is there").success() {
            return fs::read(&to).expect("just written");
        }
    }
    panic!("there is no kernel in the kernel")
}

/// With a header that tells QEMU where it goes: magic, sums that nobody reads, time, length, address, start, sum, and that it
/// is Linux, for ARM, a kernel, not compressed (U-Boot, include/image.h).
fn as_u_boot_has_it(kernel: &[u8]) -> Vec<u8> {
    let length = u32::try_from(kernel.len()).expect("some megabytes");
    let mut all = [0x2705_1956, 0, 0, length, UNPACKED_AT, UNPACKED_AT, 0, 0x0502_0200].map(u32::to_be_bytes).concat();
    all.resize(64, 0); // its name
    all.extend_from_slice(kernel);
    all
}

#[test]
fn the_lines_of_config_txt_that_hold_for_a_pi_2_are_used() {
    let config = "# a comment\n[pi4]\nkernel=other\n[all]\nkernel=linux\ninitramfs root.gz followkernel\n\
                  upstream_kernel=1\n[pi2]\ncmdline=words.txt\n";
    let wanted = Firmware {
        kernel: "linux".into(),
        initramfs: "root.gz".into(),
        device_tree: "bcm2836-rpi-2-b.dtb".into(),
        command_line: "words.txt".into(),
    };
    assert_eq!(Firmware::read(config), wanted);
}

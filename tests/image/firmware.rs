//! The VideoCore firmware of a real Pi 2, as far as this card makes use of it before Linux starts.

use std::process::Command;

use crate::card::{Card, Folder};

/// Files and settings in config.txt.
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

    /// Takes the files off the card and hands them to QEMU, with `besides` after the card's own command line.
    pub(crate) fn load(&self, qemu: &mut Command, card: &Card, folder: &Folder, besides: &str) {
        for (option, name) in [("-kernel", &self.kernel), ("-initrd", &self.initramfs), ("-dtb", &self.device_tree)] {
            let file = folder.join(option.trim_start_matches('-'));
            card.copy_out(name, &file);
            qemu.arg(option).arg(file);
        }
        qemu.arg("-append").arg(format!("{} {besides}", self.command_line).trim_end());
    }
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

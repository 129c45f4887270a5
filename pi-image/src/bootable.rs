//! Whether the firmware finds what it needs. A Pi whose kernel has no device tree shows nothing at all, neither on HDMI
//! nor on the serial line, so it has to be found out while the card can still be read elsewhere.

/// Faults that keep a Pi 2 from starting, a sentence each: `config` is config.txt, `has` tells whether a file is on the
/// card.
pub(crate) fn faults(config: Option<&str>, has: impl Fn(&str) -> bool) -> Vec<String> {
    let mut faults = Vec::new();
    for name in ["bootcode.bin", "start.elf", "fixup.dat"].into_iter().filter(|name| !has(name)) {
        faults.push(format!(
            "{name} of the firmware is missing: a Pi does not start; write the image onto the card anew"
        ));
    }
    let Some(config) = config else {
        faults.push("config.txt is missing: a Pi does not start; write the image onto the card anew".to_owned());
        return faults;
    };
    let named = |wanted: &str| {
        let lines = config.lines().filter_map(|line| line.trim().split_once(['=', ' ']));
        let value = lines.filter(|(key, _)| *key == wanted).map(|(_, value)| value.trim()).next_back();
        value.and_then(|value| value.split(' ').next()).filter(|value| !value.is_empty())
    };
    // What the firmware takes without a line, for a kernel that is not Raspberry's own.
    let usual = if named("upstream_kernel") == Some("1") { "bcm2836-rpi-2-b.dtb" } else { "bcm2709-rpi-2-b.dtb" };
    let parts = [
        ("kernel", named("kernel").unwrap_or("kernel7.img")),
        ("device tree", named("device_tree").unwrap_or(usual)),
        ("command line", named("cmdline").unwrap_or("cmdline.txt")),
    ];
    for (what, name) in parts.into_iter().filter(|(_, name)| !has(name)) {
        faults.push(format!(
            "the {what} {name} is missing: a Pi stays dark; put it back, or mend its line in config.txt"
        ));
    }
    match named("initramfs") {
        None => faults.push("config.txt has no line `initramfs`: a Pi finds no system; write it anew".to_owned()),
        Some(name) if !has(name) => {
            faults.push(format!("the system {name} is missing: a Pi stays dark; write the image onto the card anew"));
        }
        Some(_) => {}
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 7] =
        ["bootcode.bin", "start.elf", "fixup.dat", "vmlinuz", "initramfs.img", "bcm2836-rpi-2-b.dtb", "cmdline.txt"];

    fn has(name: &str) -> bool {
        FILES.contains(&name)
    }

    #[test]
    fn the_config_that_ships_names_files_that_are_there() {
        assert_eq!(faults(Some(include_str!("../boot/config.txt")), has), Vec::<String>::new());
    }

    #[test]
    fn without_the_line_of_the_device_tree_the_firmware_takes_the_same_file() {
        let config = include_str!("../boot/config.txt").replace("device_tree=", "# ");
        assert_eq!(faults(Some(&config), has), Vec::<String>::new());
        let config = config.replace("upstream_kernel=1", "");
        assert!(faults(Some(&config), has)[0].contains("bcm2709-rpi-2-b.dtb is missing"));
    }

    #[test]
    fn a_missing_file_or_line_is_said_with_what_to_do() {
        let config = include_str!("../boot/config.txt");
        let without = |gone: &'static str| faults(Some(config), move |name| name != gone && has(name));
        assert!(without("bcm2836-rpi-2-b.dtb")[0].contains("put it back, or mend its line in config.txt"));
        for gone in ["bootcode.bin", "vmlinuz", "initramfs.img", "cmdline.txt"] {
            assert!(without(gone).iter().any(|fault| fault.contains(gone)), "{gone}");
        }
        assert!(faults(Some(""), has).iter().any(|fault| fault.contains("`initramfs`")));
        assert!(faults(None, has)[0].contains("config.txt is missing"));
    }
}

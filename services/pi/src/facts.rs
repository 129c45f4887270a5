//! Facts of the Pi as Linux tells them. Nothing of it is there for certain: an emulated Pi has no temperature.

use crate::machine::Machine;
use crate::state::{Image, Memory, Throttling};

/// From `/etc/bramble-release`; what it does not say is empty.
pub(crate) fn image(machine: &Machine) -> Image {
    let release = machine.text("/etc/bramble-release").unwrap_or_default();
    let value = |name: &str| {
        let lines = release.lines().filter_map(|line| line.split_once('='));
        lines.filter(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned()).next().unwrap_or_default()
    };
    let kernel = machine.text("/proc/sys/kernel/osrelease").unwrap_or_else(|| value("KERNEL"));
    Image {
        version: value("VERSION"),
        revision: value("REVISION"),
        kernel,
        built: value("BUILT").parse().unwrap_or_default(),
    }
}

/// As the device tree has it.
pub(crate) fn model(machine: &Machine) -> Option<String> {
    machine.text("/proc/device-tree/model").map(|text| printable(&text))
}

/// The board's, sixteen hexadecimal digits.
pub(crate) fn serial(machine: &Machine) -> Option<String> {
    machine.text("/proc/device-tree/serial-number").map(|text| printable(&text))
}

/// Seconds since the start.
pub(crate) fn uptime(machine: &Machine) -> u64 {
    let text = machine.text("/proc/uptime").unwrap_or_default();
    text.split(['.', ' ']).next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default()
}

/// Of the processor, in degrees Celsius.
pub(crate) fn temperature(machine: &Machine) -> Option<f32> {
    let millis: i32 = machine.text("/sys/class/thermal/thermal_zone0/temp")?.parse().ok()?;
    Some(millis as f32 / 1000.0)
}

/// Whether the power supply is too weak, by the driver `raspberrypi-hwmon`.
pub(crate) fn is_underpowered(machine: &Machine) -> Option<bool> {
    let folder = machine.names("/sys/class/hwmon").into_iter().map(|name| format!("/sys/class/hwmon/{name}"));
    let alarm = folder.filter(|folder| machine.text(&format!("{folder}/name")).as_deref() == Some("rpi_volt"));
    let alarm = alarm.filter_map(|folder| machine.text(&format!("{folder}/in0_lcrit_alarm"))).next()?;
    Some(alarm != "0")
}

/// Throttling after a measure, with what was before.
pub(crate) fn throttling(before: Option<Throttling>, now: Option<bool>) -> Option<Throttling> {
    let now = now?;
    Some(Throttling { now, since_start: now || before.is_some_and(|before| before.since_start) })
}

/// All of it together.
pub(crate) fn memory(machine: &Machine) -> Memory {
    let text = machine.text("/proc/meminfo").unwrap_or_default();
    let total_kib = kib(&text, "MemTotal:").unwrap_or_default();
    let available = kib(&text, "MemAvailable:").unwrap_or_default();
    Memory { total_kib, used_kib: total_kib.saturating_sub(available) }
}

/// A process' share of the memory.
pub(crate) fn share(machine: &Machine, pid: u32) -> Option<u64> {
    kib(&machine.text(&format!("/proc/{pid}/smaps_rollup"))?, "Pss:")
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

/// Printable characters of `text`, which the maker of the board wrote; it goes to a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::Folder;

    #[test]
    fn what_is_not_there_is_none_and_what_is_there_is_read() {
        let folder = Folder::new("facts");
        let machine = folder.machine();
        assert_eq!((temperature(&machine), is_underpowered(&machine), model(&machine)), (None, None, None));
        assert_eq!((uptime(&machine), memory(&machine)), (0, Memory::default()));
        folder.write("sys/class/thermal/thermal_zone0/temp", "48312\n");
        folder.write("sys/class/hwmon/hwmon0/name", "cpu_thermal\n");
        folder.write("sys/class/hwmon/hwmon1/name", "rpi_volt\n");
        folder.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n");
        folder.write("proc/uptime", "93.42 301.00\n");
        folder.write("proc/meminfo", "MemTotal:  948304 kB\nMemFree: 1 kB\nMemAvailable: 900000 kB\n");
        folder.write("proc/17/smaps_rollup", "00400000-bf000000 ---p 0 00:00 0 [rollup]\nRss: 5000 kB\nPss: 1400 kB\n");
        folder.write("etc/bramble-release", "VERSION=0.2.0\nBUILT=1790000000\nKERNEL=6.12.1\nREVISION=abc\n");
        assert_eq!((temperature(&machine), is_underpowered(&machine)), (Some(48.312), Some(true)));
        assert_eq!((uptime(&machine), share(&machine, 17), share(&machine, 18)), (93, Some(1400), None));
        assert_eq!(memory(&machine), Memory { total_kib: 948_304, used_kib: 48_304 });
        let (version, revision, kernel) = ("0.2.0".into(), "abc".into(), "6.12.1".into());
        assert_eq!(image(&machine), Image { version, revision, kernel, built: 1_790_000_000 });
    }

    #[test]
    fn a_weak_power_supply_is_remembered_until_the_next_start() {
        let weak = throttling(None, Some(true));
        assert_eq!(weak, Some(Throttling { now: true, since_start: true }));
        assert_eq!(throttling(weak, Some(false)), Some(Throttling { now: false, since_start: true }));
        assert_eq!(throttling(None, Some(false)), Some(Throttling::default()));
    }
}

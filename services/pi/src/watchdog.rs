//! Feeds the chip's watchdog, which restarts the Pi when it was not fed for 14 s. [`rule`] says when it is fed.

pub(crate) mod rule;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::Timer;

use crate::context::Context;
use crate::machine::Machine;

/// Of 14 s, so that a slow moment is none.
const FEED: Duration = Duration::from_secs(2);
/// The driver comes a little later than we.
const DEVICE_WITHIN: Duration = Duration::from_secs(60);
/// The chip's own, by the name that its driver gives it.
const CHIP: &str = "Broadcom BCM2835 Watchdog timer";
const TOPIC: &str = "watchdog";

/// Feeds it for ever, as soon as there is one.
pub(crate) async fn look_after(context: Rc<Context>) {
    let started = Instant::now();
    let mut device = loop {
        match open(&context.machine) {
            Some(device) => break device,
            None if started.elapsed() > DEVICE_WITHIN && !is_emulated(&context.machine) => {
                let sentence =
                    "there is no watchdog, so a hang does not restart this Pi; write the image anew onto the card";
                context.board.problem(TOPIC, sentence);
            }
            None => {}
        }
        Timer::after(FEED).await;
    };
    context.board.set(|state| state.watchdog = true);
    loop {
        let hangs = context.rule.borrow().hangs(Instant::now());
        match hangs {
            None => {
                context.board.well(TOPIC);
                if let Err(error) = device.write_all(b"1") {
                    context
                        .board
                        .problem(TOPIC, format!("the watchdog cannot be fed ({error}) and will restart this Pi"));
                }
            }
            Some(role) => {
                let name = context.board.get(|state| state.roles.get(role).map(|role| role.name.clone()));
                let name = name.unwrap_or_default();
                let sentence =
                    format!("the {name} has not answered for 30 s; if it stays so, the watchdog restarts this Pi");
                context.board.problem(TOPIC, sentence);
            }
        }
        Timer::after(FEED).await;
    }
}

/// Opens, and so starts, the one to use. It is never stopped: a hang while the Pi is being shut down counts too.
fn open(machine: &Machine) -> Option<File> {
    let name = machine.names("/sys/class/watchdog").into_iter().find(|name| {
        let identity = machine.text(&format!("/sys/class/watchdog/{name}/identity"));
        (identity.as_deref() == Some(CHIP)) != is_emulated(machine)
    })?;
    let device = OpenOptions::new().append(true).open(machine.path(&format!("/dev/{name}")));
    device.inspect_err(|error| log::error!("/dev/{name}: {error}")).ok()
}

/// QEMU takes the start of the chip's watchdog for its end, and restarts at once. It runs no firmware, which on a Pi
/// tells the board's revision. Linux' own watchdog (`softdog`), if it is loaded, does there.
fn is_emulated(machine: &Machine) -> bool {
    machine.text("/proc/device-tree/serial-number").is_none()
        && !machine.path("/proc/device-tree/system/linux,revision").exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::Folder;

    #[test]
    fn a_pi_takes_the_chips_watchdog_and_an_emulated_one_never_does() {
        let folder = Folder::new("watchdog");
        let machine = folder.machine();
        assert!(open(&machine).is_none(), "there is none");
        for (name, identity) in
            [("watchdog0", "Software Watchdog\n"), ("watchdog1", "Broadcom BCM2835 Watchdog timer\n")]
        {
            folder.write(&format!("sys/class/watchdog/{name}/identity"), identity);
            folder.write(&format!("dev/{name}"), "");
        }
        let feed = |machine: &Machine| open(machine).expect("a watchdog").write_all(b"1").expect("fed");
        let fed = |name: &str| std::fs::read_to_string(folder.0.join("dev").join(name)).expect("there");
        feed(&machine);
        assert_eq!((fed("watchdog0").as_str(), fed("watchdog1").as_str()), ("1", ""));
        folder.write("proc/device-tree/serial-number", "00000000a1b2c3d4\0");
        feed(&machine);
        assert_eq!((fed("watchdog0").as_str(), fed("watchdog1").as_str()), ("1", "1"));
    }
}

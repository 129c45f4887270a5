//! An emulated Raspberry Pi 2, started as the firmware of a real one would: with the kernel, initramfs, device tree and
//! command line that config.txt on its own card names.

use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::{Condvar, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::thread::CpuSet;
use serde_json::Value;

use crate::card::{Card, Folder};
use crate::firmware::Firmware;
use crate::patience::patience;
use crate::room::{local, mac, tied};
use crate::serial::Serial;
use crate::web;

/// A boot takes 14 to 40 s, or 35 to 75 with all four processors.
pub(crate) static BOOT: LazyLock<Duration> = LazyLock::new(|| patience(120));
pub(crate) const FORM: u16 = 8088;
pub(crate) const PAGE: u16 = 8761;
/// Question to the form.
pub(crate) const QUESTION: &str = "/api/weather?zip=70569&country=DE";
/// Timeout of one look whether the form serves: longer than an answer takes, and short, since QEMU's own network
/// accepts a connection before a program listens, and what is sent then is lost.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// The three other processors of most emulated Pis wait for ever to be called. Otherwise QEMU has a thread for each of
/// them, and stops all four whenever one flushes an address, which Linux does a million times when it lets go of the
/// start-up code of drivers; that takes half of the time of a boot. And those that are not called yet turn in circles
/// meanwhile.
const ONE_PROCESSOR: &str = "maxcpus=1";
/// As many as there are processors here, and each Pi stays on its own: between two of them QEMU's threads take ten
/// times as long to wake each other.
const AT_ONCE: usize = 2;

/// How a Pi is wired and started.
#[derive(Clone, Default)]
pub(crate) struct Wiring {
    /// Port of the room's bridge; none: QEMU's own network, its ports on the room's loopback address.
    pub(crate) cable: Option<(u8, String)>,
    /// Whether the card keeps what the Pi writes.
    pub(crate) writable: bool,
    /// Linux has all four processors, and nothing stands on its command line but what stands on the card.
    pub(crate) whole: bool,
}

/// Pulled from the plug when it is dropped.
pub(crate) struct Pi {
    process: Child,
    pub(crate) serial: Serial,
    /// QEMU's own.
    complaints: Serial,
    pub(crate) started: Instant,
    _folder: Folder,
    _place: PiPlace,
}

impl Pi {
    /// Switches it on.
    pub(crate) fn start(card: &Card, wiring: &Wiring) -> Self {
        let (place, folder) = (PiPlace::take(), Folder::new());
        let mut command = Command::new("qemu-system-arm");
        command.args(["-M", "raspi2b", "-display", "none", "-monitor", "none", "-serial", "stdio"]);
        let besides = if wiring.whole {
            ""
        } else {
            command.args(["-accel", "tcg,thread=single"]);
            ONE_PROCESSOR
        };
        Firmware::of(card).load(&mut command, card, &folder, besides);
        let snapshot = if wiring.writable { "off" } else { "on" };
        command.arg("-drive").arg(format!("if=sd,format=raw,snapshot={snapshot},file={}", card.file.display()));
        command.args(network(wiring));
        let mut command = tied(&place.bound(&command));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut process = command.spawn().expect("setpriv is there");
        let serial = Serial::listen(process.stdout.take().expect("piped"));
        let complaints = Serial::listen(process.stderr.take().expect("piped"));
        Self { process, serial, complaints, started, _folder: folder, _place: place }
    }

    /// Switches it on and waits until the form has answered with weather.
    pub(crate) fn boot(card: &Card, wiring: &Wiring) -> Self {
        Self::boot_until(card, wiring, |pi| {
            pi.serves(*BOOT).map(|_| ()).ok_or_else(|| format!("{QUESTION} is not answered"))
        })
        .0
    }

    /// Switches it on and waits until its own account of itself is as `wanted`.
    pub(crate) fn boot_to(card: &Card, wiring: &Wiring, wanted: impl Fn(&Value) -> bool) -> (Self, Value) {
        Self::boot_until(card, wiring, |pi| {
            let deadline = pi.started + *BOOT;
            web::search(local(PAGE), "/api/pi", deadline, |status, state| status == 200 && wanted(state))
        })
    }

    fn boot_until<T>(card: &Card, wiring: &Wiring, reached: impl Fn(&Self) -> Result<T, String>) -> (Self, T) {
        let pi = Self::start(card, wiring);
        let found = reached(&pi).unwrap_or_else(|last| panic!("not within {:?}: {last}", *BOOT));
        (pi, found)
    }

    /// How long after the start the form first answered with weather, if that is less than `within`.
    pub(crate) fn serves(&self, within: Duration) -> Option<Duration> {
        while self.started.elapsed() < within {
            assert!(!self.serial.has_ended(), "QEMU has ended by itself: {}", self.complaints.text());
            if matches!(web::get_within(local(FORM), QUESTION, LOOK_TIMEOUT), Ok((200, _))) {
                return Some(self.started.elapsed());
            }
            sleep(Duration::from_millis(50));
        }
        None
    }

    /// Waits for a line on the console with `text` in it.
    pub(crate) fn says(&self, text: &str) -> String {
        let line = self.serial.wait_for(&[text], self.started + *BOOT);
        line.unwrap_or_else(|| panic!("within {:?} the console did not say {text:?}", *BOOT))
    }

    /// Pulls the plug.
    pub(crate) fn cut(mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it was killed");
    }
}

impl Drop for Pi {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            println!("-- on the serial line, {:.0?} after the start:\n{}", self.started.elapsed(), self.serial.text());
        }
    }
}

fn network(wiring: &Wiring) -> [String; 4] {
    let (number, netdev) = match &wiring.cable {
        Some((number, name)) => (*number, format!("tap,id=n0,ifname={name},script=no,downscript=no")),
        None => {
            let ports = [22, FORM, PAGE].map(|port| format!(",hostfwd=tcp:127.0.0.1:{port}-:{port}"));
            (0, format!("user,id=n0{}", ports.concat()))
        }
    };
    ["-netdev".into(), netdev, "-device".into(), format!("usb-net,netdev=n0,mac={}", mac(number))]
}

/// A place for a running Pi, by its number; there are few.
struct PiPlace(usize);

static TAKEN: Mutex<[bool; AT_ONCE]> = Mutex::new([false; AT_ONCE]);
static FREED: Condvar = Condvar::new();

impl PiPlace {
    fn take() -> Self {
        let taken = TAKEN.lock().unwrap_or_else(|broken| broken.into_inner());
        let free = FREED.wait_while(taken, |taken| taken.iter().all(|taken| *taken));
        let mut free = free.unwrap_or_else(|broken| broken.into_inner());
        let number = free.iter().position(|taken| !taken).expect("it was waited for");
        free[number] = true;
        Self(number)
    }

    /// The same command on this place's processor alone.
    fn bound(&self, command: &Command) -> Command {
        let ours = rustix::thread::sched_getaffinity(None).expect("of this very thread");
        let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|number| ours.is_set(*number)).collect();
        let mut bound = Command::new("taskset");
        bound.arg("--cpu-list").arg(processors[self.0 % processors.len()].to_string());
        bound.arg(command.get_program()).args(command.get_args());
        bound
    }
}

impl Drop for PiPlace {
    fn drop(&mut self) {
        TAKEN.lock().unwrap_or_else(|broken| broken.into_inner())[self.0] = false;
        FREED.notify_one();
    }
}

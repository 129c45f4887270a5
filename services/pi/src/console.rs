//! Consoles, HDMI and serial, for a person that has set up a Pi that cannot be reached. And the log of the system, a
//! ring in memory (`logread`).

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::Level;

use crate::machine::Machine;

const CONSOLES: [&str; 2] = ["/dev/tty1", "/dev/ttyAMA0"];
/// A service in trouble may say much, and the serial line carries 11 KB a second.
const BURST: u32 = 20;
const BURST_IN: Duration = Duration::from_secs(10);

/// Where it is said how things are.
#[derive(Debug)]
pub(crate) struct Console {
    /// Opened at the first word, and kept: closing a serial line waits until all is sent.
    screens: RefCell<Vec<(PathBuf, Option<File>)>>,
    syslog: PathBuf,
    socket: Option<UnixDatagram>,
    budget: RefCell<Budget>,
}

impl Console {
    pub(crate) fn new(machine: &Machine) -> Self {
        let screens = RefCell::new(CONSOLES.map(|name| (machine.path(name), None)).into());
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        Self { screens, syslog: machine.path("/dev/log"), socket: socket.ok(), budget: RefCell::default() }
    }

    /// Prints a text on both screens.
    pub(crate) fn say(&self, text: &str) {
        let text = format!("{}\r\n", text.replace('\n', "\r\n"));
        for (path, screen) in self.screens.borrow_mut().iter_mut() {
            if screen.is_none() {
                *screen = open(path);
            }
            // Never waited for: a serial line without a reader must not stop anything.
            let written = screen.as_mut().map(|screen| screen.write_all(text.as_bytes()));
            if written.is_some_and(|written| written.is_err_and(|error| error.kind() != ErrorKind::WouldBlock)) {
                *screen = None;
            }
        }
    }

    /// A line for the log, and if something is wrong for the screens too, unless there is too much of it.
    pub(crate) fn log(&self, level: Level, tag: &str, text: &str) {
        self.note(level, tag, text);
        if level <= Level::Warn {
            match self.budget.borrow_mut().take(Instant::now()) {
                Spend::Granted => self.say(&format!("{tag}: {text}")),
                Spend::Last => self.say("(more of this is in the log, but not here for some seconds)"),
                Spend::Refused => {}
            }
        }
    }

    /// A line for the log alone.
    pub(crate) fn note(&self, level: Level, tag: &str, text: &str) {
        let priority = 24
            + match level {
                // RFC 3164: facility "daemon" is 3
                Level::Error => 3,
                Level::Warn => 4,
                Level::Info => 6,
                Level::Debug | Level::Trace => 7,
            };
        if let Some(socket) = &self.socket {
            // No log daemon, or a full one: the line is lost.
            let _ = socket.send_to(format!("<{priority}>{tag}: {text}").as_bytes(), &self.syslog);
        }
    }
}

fn open(screen: &Path) -> Option<File> {
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits();
    let flags = i32::try_from(flags).unwrap_or_default();
    OpenOptions::new().append(true).custom_flags(flags).open(screen).ok()
}

/// So many lines in so much time. Pure.
#[derive(Debug, Default)]
struct Budget {
    since: Option<Instant>,
    spent: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Spend {
    Granted,
    /// The first one refused.
    Last,
    Refused,
}

impl Budget {
    fn take(&mut self, now: Instant) -> Spend {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= BURST_IN) {
            *self = Self { since: Some(now), spent: 0 };
        }
        self.spent = self.spent.saturating_add(1);
        match self.spent.cmp(&(BURST + 1)) {
            std::cmp::Ordering::Less => Spend::Granted,
            std::cmp::Ordering::Equal => Spend::Last,
            std::cmp::Ordering::Greater => Spend::Refused,
        }
    }
}

/// The level and the words of a line that `bramble` writes: `2026-11-22T01:02:03.456Z warn  words`. What is written
/// otherwise is a warning, and told as it is.
pub(crate) fn split(line: &str) -> (Level, &str) {
    let mut parts = line.splitn(2, ' ');
    let stamp = parts.next().filter(|stamp| stamp.ends_with('Z') && stamp.contains('T'));
    let rest = parts.next().filter(|_| stamp.is_some()).unwrap_or_default();
    let found = [("error", Level::Error), ("warn", Level::Warn), ("info", Level::Info), ("debug", Level::Debug)];
    let found = found.iter().find_map(|(word, level)| Some((*level, rest.strip_prefix(word)?.strip_prefix(' ')?)));
    found.map_or((Level::Warn, line), |(level, words)| (level, words.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::Folder;

    #[test]
    fn a_services_line_keeps_its_level_and_loses_its_time() {
        assert_eq!(split("2026-11-22T01:02:03.456Z warn  no producer"), (Level::Warn, "no producer"));
        assert_eq!(split("2026-11-22T01:02:03.456Z info  it is up"), (Level::Info, "it is up"));
        assert_eq!(split("bramble: the key is missing"), (Level::Warn, "bramble: the key is missing"));
        assert_eq!(split(""), (Level::Warn, ""));
    }

    #[test]
    fn what_is_said_is_on_both_screens_and_a_missing_one_stops_nothing() {
        let folder = Folder::new("console");
        folder.write("dev/tty1", "");
        let console = Console::new(&folder.machine());
        console.say("one");
        folder.write("dev/ttyAMA0", "");
        console.log(Level::Warn, "producer", "two");
        console.log(Level::Info, "producer", "three");
        let read = |name: &str| std::fs::read_to_string(folder.0.join(name)).expect("a screen");
        assert_eq!(read("dev/tty1"), "one\r\nproducer: two\r\n");
        assert_eq!(read("dev/ttyAMA0"), "producer: two\r\n");
    }

    #[test]
    fn a_flood_ends_with_a_word_and_begins_anew_later() {
        let start = Instant::now();
        let mut budget = Budget::default();
        let outcome: Vec<Spend> = (0..22).map(|_| budget.take(start)).collect();
        assert!(outcome[..20].iter().all(|spend| *spend == Spend::Granted));
        assert_eq!(outcome[20..], [Spend::Last, Spend::Refused]);
        assert_eq!(budget.take(start + BURST_IN), Spend::Granted);
    }
}

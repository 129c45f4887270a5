//! Processes of the `bramble` command, and what the system says of them.

use std::io::{BufRead as _, BufReader, Read};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::patience::patience;

pub(crate) const BRAMBLE: &str = env!("CARGO_BIN_EXE_bramble");
/// Longer than anything here takes on a busy machine; reached only when something is broken.
pub(crate) static PATIENCE: LazyLock<Duration> = LazyLock::new(|| patience(30));

/// Output of a process, line by line.
pub(crate) fn lines_of(out: impl Read + Send + 'static) -> Receiver<String> {
    let (to, lines) = channel();
    thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
    lines
}

pub(crate) fn kill(signal: &str, pid: u32) {
    let killed = Command::new("kill").args(["-s", signal, &pid.to_string()]).status().expect("kill is there");
    assert!(killed.success(), "kill -s {signal} {pid}");
}

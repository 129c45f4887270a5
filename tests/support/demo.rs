//! A demo that runs, started from the command on ports and in a cluster of its own.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use super::process::{BRAMBLE, PATIENCE, kill, lines_of};

/// A demo that runs. Dropped, it is ended and so are its children.
pub(crate) struct Demo {
    pub(crate) process: Child,
    pub(crate) consumer: SocketAddr,
    pub(crate) registry: SocketAddr,
    cluster: String,
    lines: Receiver<String>,
    /// Process numbers of all its children.
    pub(crate) children: BTreeSet<u32>,
    pub(crate) producers: Vec<u32>,
}

impl Demo {
    pub(crate) fn start(name: &str) -> Self {
        let cluster = format!("test-{name}-{}", std::process::id());
        let mut process = Command::new(BRAMBLE)
            .args(["demo", "--cluster", &cluster, "--consumer-port", "0", "--registry-port", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the demo starts");
        let lines = lines_of(process.stdout.take().expect("piped"));
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let (children, producers) = (BTreeSet::new(), Vec::new());
        let mut demo = Self { process, consumer: nowhere, registry: nowhere, cluster, lines, children, producers };
        demo.wait_for("Ctrl-C ends everything.");
        demo.children = children_of(demo.process.id());
        demo
    }

    /// Reads what the demo prints until `text` is there, and keeps the addresses and the producers' process numbers.
    pub(crate) fn wait_for(&mut self, text: &str) {
        loop {
            let line = self.lines.recv_timeout(*PATIENCE).expect("the demo goes on printing");
            let addr = || {
                let (_, addr) = line.split_once("http://").expect("an address");
                addr.trim_end_matches('/').parse().expect("an address")
            };
            if line.starts_with("  the form ") {
                self.consumer = addr();
            } else if line.starts_with("  all services ") {
                self.registry = addr();
            } else if let Some((_, pid)) = line.rsplit_once("(process ") {
                self.producers.push(pid.trim_end_matches(')').parse().expect("a process number"));
            }
            if line.contains(text) {
                return;
            }
        }
    }

    pub(crate) fn send(&self, signal: &str) {
        kill(signal, self.process.id());
    }

    pub(crate) fn ends(&mut self) -> std::process::ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("own child") {
                return status;
            }
            assert!(since.elapsed() < *PATIENCE, "the demo does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Fails unless every child ends soon.
    pub(crate) fn leaves_no_child(&self) {
        let since = Instant::now();
        loop {
            let left: Vec<_> = self.children.iter().filter(|pid| is_running(**pid)).collect();
            if left.is_empty() {
                return;
            }
            assert!(since.elapsed() < *PATIENCE, "left behind: {left:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A command against this demo from another terminal.
    pub(crate) fn command(&self, args: &[&str]) -> std::process::Output {
        Command::new(BRAMBLE)
            .args(args)
            .env("BRAMBLE__DISCOVERY__INTERFACES", r#"["lo"]"#)
            .env("BRAMBLE__NODE__CLUSTER", &self.cluster)
            .output()
            .expect("the command runs")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Both may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        for pid in self.children.iter().filter(|pid| is_running(**pid)) {
            kill("KILL", *pid);
        }
    }
}

pub(crate) fn children_of(parent: u32) -> BTreeSet<u32> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).expect("the parent runs");
    list.split_ascii_whitespace().map(|pid| pid.parse().expect("a process number")).collect()
}

/// Whether a process is there and is no zombie.
pub(crate) fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

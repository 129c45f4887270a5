//! The command as a child process, and what it says.

#![allow(dead_code)] // each test file uses a part
#![allow(clippy::print_stdout)] // what a service said is shown with the test that failed

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::redis_server::PATIENCE;

/// A service that runs. It ends when it is dropped, and with the test itself: its standard input closes then.
pub(crate) struct Service {
    process: Child,
    addr: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// Starts `bramble WORDS` with these settings on a free port of loopback, without mDNS, and waits until it serves.
    pub(crate) fn start(words: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bramble"));
        command.args(words).args(["--listen", "127.0.0.1:0", "--until-stdin-closes"]);
        command.env("BRAMBLE__DISCOVERY__MDNS", "false").env("BRAMBLE_LOG", "info");
        command.envs(settings.iter().copied());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut process = child.expect("the service starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, said) = (Arc::clone(&log), process.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                lines.lock().expect("no panic").push(line);
            }
        });
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("text");
        let addr = line.trim().strip_prefix("listening on http://").and_then(|addr| addr.parse().ok());
        let addr = addr.unwrap_or_else(|| panic!("it does not serve: {line:?} {:?}", log.lock()));
        Self { process, addr, log }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let killed = Command::new("kill").args(["-s", signal, &self.process.id().to_string()]).status();
        assert!(killed.expect("kill is there").success(), "kill -s {signal}");
    }

    /// How it ended, once it has.
    pub(crate) fn ends(&mut self) -> std::process::ExitStatus {
        self.process.wait().expect("own child")
    }

    /// Lines of its log with `text` in them.
    pub(crate) fn logged(&self, text: &str) -> Vec<String> {
        self.log.lock().expect("no panic").iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// Threads it has.
    pub(crate) fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("it runs").count()
    }

    /// Resident memory that is no file's, in bytes: heap and stacks, without code that is mapped when it is first run.
    pub(crate) fn anonymous_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux 4.5");
        let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib << 10
    }

    /// Status and body of a GET.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(self.addr, path)
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// The value of a sample of `/metrics`, named with its labels.
    pub(crate) fn metric(&self, sample: &str) -> u64 {
        let (_, page) = self.get("/metrics");
        let value = page.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("there is no {sample} in {page}"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            println!("{} said:\n{}", self.addr, self.logged("").join("\n"));
        }
    }
}

/// Status and body of a GET.
pub(crate) fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect_timeout(&addr, *PATIENCE).expect("a service listens");
    stream.set_read_timeout(Some(*PATIENCE)).expect("a valid time");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("a whole answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

//! A program that runs on a host, and asking it over HTTP.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lan::{Lan, ip};
use crate::patience::patience;

pub(crate) const BRAMBLE: &str = env!("CARGO_BIN_EXE_bramble");
/// Longer than anything here takes on a busy machine; reached only when something is broken.
pub(crate) static PATIENCE: LazyLock<Duration> = LazyLock::new(|| patience(30));

/// A service on a host. Dropped, it is killed.
pub(crate) struct Node {
    process: Child,
    log: PathBuf,
    pub(crate) host: u8,
    /// Where others reach it.
    pub(crate) addr: SocketAddr,
}

impl Node {
    /// Starts `bramble ARGUMENTS` and waits until it serves.
    pub(crate) fn start(lan: &Lan, host: u8, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let namespace = lan.name(host);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("hosts");
        std::fs::create_dir_all(&folder).expect("the target folder is writable");
        let log = folder.join(format!("{namespace}-{}-{:04x}.log", arguments[0], fastrand::u16(..)));
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &namespace, BRAMBLE]).args(arguments).args(["--config", "/dev/null"]);
        command
            .env("BRAMBLE_LOG", "debug,mdns_sd=info")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = command.stderr(File::create(&log).expect("a new file")).spawn().expect("ip is there");
        let mut line = String::new();
        let said = BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line);
        said.expect("it says where it listens");
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        let port: u16 = port.unwrap_or_else(|| panic!("{arguments:?} did not start: {line:?}\n{}", tail(&log)));
        Self { process, log, host, addr: SocketAddr::from((ip(host), port)) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        crate::lan::run("kill", &["-s", signal, &self.pid().to_string()]);
    }

    /// Memory that holds no part of a file, in kB: what a flood can fill. A debug build maps far more of its program.
    pub(crate) fn anonymous_kb(&self) -> u64 {
        self.memory_kb("RssAnon:")
    }

    /// Memory in use, in kB.
    pub(crate) fn resident_kb(&self) -> u64 {
        self.memory_kb("VmRSS:")
    }

    fn memory_kb(&self, kind: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(kind)).expect("the kernel tells");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Times the scheduler has put it to sleep of its own will, all threads together.
    pub(crate) fn sleeps(&self) -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        let of = |thread: std::fs::DirEntry| {
            let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse::<u64>().ok()
        };
        threads.flatten().filter_map(of).sum()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            println!("-- {}\n{}", self.log.display(), tail(&self.log));
        } else {
            let _ = std::fs::remove_file(&self.log);
        }
    }
}

fn tail(log: &PathBuf) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.contains("debug GET ") && !line.contains("no report for")).collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Answers each request as the instance called `id` does, or as a stranger. Dropped, it no longer listens.
pub(crate) struct StandIn {
    listener: TcpListener,
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    serving: Option<JoinHandle<()>>,
}

impl StandIn {
    /// On `host`, at `port`; 0: a free one.
    pub(crate) fn start(lan: &Lan, host: u8, port: u16, id: Option<&str>) -> Self {
        let listener = lan.inside(host, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))).expect("a free port");
        let own = listener.try_clone().expect("a socket");
        let mark = id.map(|id| format!("x-bramble-id: {id}\r\n")).unwrap_or_default();
        let answer = format!("HTTP/1.1 200 OK\r\n{mark}content-length: 2\r\nconnection: close\r\n\r\n{{}}");
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let asked = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&asked);
        let serving = thread::spawn(move || {
            for stream in own.incoming() {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let mut request = [0; 1024];
                // A caller that has gone wants no answer.
                let _ = stream.read(&mut request).and_then(|_| stream.write_all(answer.as_bytes()));
            }
        });
        Self { listener, ends, asked, serving: Some(serving) }
    }

    /// Connections that came.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().expect("bound").port()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both); // wakes the thread that accepts
        if let Some(serving) = self.serving.take() {
            serving.join().expect("it does not panic");
        }
    }
}

/// Status and body of a GET from the thread's own host.
pub(crate) fn get(addr: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, body.to_owned()))
}

/// Other instances as a service sees them; asked on its own host, so that a broken LAN is not in the way.
pub(crate) struct View {
    seen: Value,
}

impl View {
    pub(crate) fn of(lan: &Lan, node: &Node) -> Self {
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, node.addr.port()));
        let (_, body) = lan.inside(node.host, || get(own, "/instances")).expect("it serves");
        Self { seen: serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")) }
    }

    /// Addresses and standing of the instances of `service` in use.
    pub(crate) fn instances(&self, service: &str) -> Vec<(SocketAddr, String)> {
        let all = self.seen["instances"].as_array().expect("a list").iter();
        let these = all.filter(|one| one["service"] == service);
        these.map(|one| (text(&one["addr"]).parse().expect("an address"), text(&one["standing"]))).collect()
    }

    pub(crate) fn addrs(&self, service: &str) -> Vec<SocketAddr> {
        self.instances(service).into_iter().map(|(addr, _)| addr).collect()
    }

    /// Addresses of the instances of `service` that are announced and have not proved that they are there.
    pub(crate) fn unproven(&self, service: &str) -> Vec<SocketAddr> {
        self.out_of_use("unproven", service)
    }

    /// Addresses of the instances of `service` that are lost.
    pub(crate) fn lost(&self, service: &str) -> Vec<SocketAddr> {
        self.out_of_use("lost", service)
    }

    fn out_of_use(&self, standing: &str, service: &str) -> Vec<SocketAddr> {
        let all = self.seen[standing].as_array().expect("a list").iter();
        let these = all.filter(|one| one["service"] == service).inspect(|one| assert_eq!(one["standing"], standing));
        these.map(|one| text(&one["addr"]).parse().expect("an address")).collect()
    }

    pub(crate) fn ids(&self, service: &str) -> Vec<String> {
        let all = self.seen["instances"].as_array().expect("a list").iter();
        all.filter(|one| one["service"] == service).map(|one| text(&one["id"])).collect()
    }

    /// Events, newest first: `registered producer-...`.
    pub(crate) fn events(&self) -> Vec<(String, SocketAddr)> {
        let events = self.seen["events"].as_array().expect("a list").iter();
        events.map(|one| (text(&one["what"]), text(&one["addr"]).parse().expect("an address"))).collect()
    }

    pub(crate) fn json(&self) -> &Value {
        &self.seen
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Waits until what `node` sees is as `wanted`, at most `within`. Says how long it took.
pub(crate) fn until(lan: &Lan, node: &Node, within: Duration, wanted: impl Fn(&View) -> bool) -> Duration {
    let began = Instant::now();
    loop {
        let view = View::of(lan, node);
        if wanted(&view) {
            return began.elapsed();
        }
        assert!(began.elapsed() < within, "not within {within:?}: {:#}", view.json());
        thread::sleep(Duration::from_millis(20));
    }
}

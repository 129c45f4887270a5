//! Services as real processes on loopback, each test's in a cluster of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::http::{ask, get};
use crate::support::process::{BRAMBLE, PATIENCE, kill, lines_of};
use crate::support::until::until;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A process of the cluster. Dropped, it is killed.
pub(crate) struct Service {
    process: Child,
    pub(crate) addr: SocketAddr,
    /// Lines of its log so far.
    log: Arc<Mutex<Vec<String>>>,
}

impl Service {
    pub(crate) fn kill(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    pub(crate) fn signal(&self, signal: &str) {
        kill(signal, self.process.id());
    }

    pub(crate) fn ends(&mut self) -> ExitStatus {
        let mut status = None;
        until("the process ends", || {
            status = self.process.try_wait().expect("own child");
            status.is_some()
        });
        status.expect("it has ended")
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }

    /// The report for a place, or the error, as a program gets it.
    pub(crate) fn report(&self, zip: &str) -> (u16, Value) {
        let (status, body) = get(self.addr, &format!("/api/weather?zip={zip}&country=DE"));
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    pub(crate) fn page(&self, zip: &str) -> (u16, String) {
        get(self.addr, &format!("/?zip={zip}&country=DE"))
    }

    /// How many instances of a service it knows.
    pub(crate) fn finds(&self, service: &str) -> usize {
        let (_, body) = get(self.addr, "/instances");
        let seen: Value = serde_json::from_str(&body).expect("JSON");
        seen["instances"].as_array().expect("a list").iter().filter(|one| one["service"] == service).count()
    }

    /// State of each circuit, by the id of the instance that is called.
    pub(crate) fn circuits(&self) -> Vec<(String, Value)> {
        let (_, body) = get(self.addr, "/circuits");
        let shown: Value = serde_json::from_str(&body).expect("JSON");
        let services = shown["services"].as_array().expect("a list");
        let endpoints = services.iter().flat_map(|service| service["endpoints"].as_array().expect("a list"));
        endpoints.map(|one| (one["id"].as_str().expect("an id").to_owned(), one["state"].clone())).collect()
    }
}

impl Drop for Service {
    #[expect(clippy::print_stderr, reason = "what a process said is wanted beside the failed test")]
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = self.log();
            let last = log.len().saturating_sub(40);
            eprintln!("--- {} ---\n{}", self.addr, log[last..].join("\n"));
        }
    }
}

/// A stand-in for the weather API, and what it takes to start the others beside it.
pub(crate) struct Cluster {
    name: String,
    pub(crate) stand_in: Service,
    folder: PathBuf,
}

impl Cluster {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("survive-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        std::fs::write(folder.join("api.key"), "demo").expect("a temporary file");
        let stand_in = start(&["upstream-sim", "--listen", "127.0.0.1:0"], &[], &name);
        Self { name, stand_in, folder }
    }

    pub(crate) fn producer(&self, listen: &str, settings: &[&str]) -> Service {
        let upstream = format!("producer.upstream=http://{}", self.stand_in.addr);
        let key = format!("producer.api_key_file={}", self.folder.join("api.key").display());
        let settings = [&[&*upstream, &*key], settings].concat();
        start(&["producer", "--listen", listen], &settings, &self.name)
    }

    pub(crate) fn consumer(&self, settings: &[&str]) -> Service {
        start(&["consumer", "--listen", "127.0.0.1:0"], settings, &self.name)
    }

    /// Producers and a consumer that has found them all by mDNS.
    pub(crate) fn with_producers<const N: usize>(name: &str) -> (Self, [Service; N], Service) {
        let cluster = Self::new(name);
        let producers = [(); N].map(|()| cluster.producer("127.0.0.1:0", &[]));
        let consumer = cluster.consumer(&[]);
        until("all producers are found", || consumer.finds("producer") == N);
        (cluster, producers, consumer)
    }

    /// A consumer that knows these addresses and looks for no others.
    pub(crate) fn consumer_of(&self, producers: &[SocketAddr]) -> Service {
        let list: Vec<_> = producers.iter().map(SocketAddr::to_string).collect();
        self.consumer(&["discovery.mdns=false", &format!("discovery.fixed={{ producer = {list:?} }}")])
    }

    pub(crate) fn faults(&self, body: Option<&str>) {
        let method = if body.is_some() { "POST" } else { "DELETE" };
        let (status, said) =
            ask(self.stand_in.addr, method, "/sim/faults", body.unwrap_or_default()).expect("the stand-in runs");
        assert_eq!(status, 200, "{said}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Starts a role and waits until it serves. It reads no configuration but `settings`, and ends with this process.
pub(crate) fn start(args: &[&str], settings: &[&str], cluster: &str) -> Service {
    let mut command = Command::new(BRAMBLE);
    command.args(args).args(["--config", "/dev/null", "--until-stdin-closes"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BRAMBLE")) {
        command.env_remove(variable);
    }
    command.env("BRAMBLE__DISCOVERY__INTERFACES", r#"["lo"]"#).env("BRAMBLE__NODE__CLUSTER", cluster);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the command runs");
    let (said, told) =
        (lines_of(process.stdout.take().expect("piped")), lines_of(process.stderr.take().expect("piped")));
    let log = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&log);
    thread::spawn(move || told.iter().for_each(|line| kept.lock().expect("no panic").push(line)));
    let line = said.recv_timeout(*PATIENCE).unwrap_or_else(|_| panic!("{args:?} does not serve: {log:?}"));
    let addr = line.strip_prefix("listening on http://").and_then(|addr| addr.parse().ok());
    Service { process, addr: addr.unwrap_or_else(|| panic!("{line}")), log }
}

/// The id of a producer: the mark of its answers.
pub(crate) fn id_of(producer: &Service) -> String {
    let (_, body) = get(producer.addr, "/healthz");
    let health: Value = serde_json::from_str(&body).expect("JSON");
    health["id"].as_str().expect("an id").to_owned()
}

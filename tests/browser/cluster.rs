//! The services behind the pages: each test has a cluster of its own, on loopback and on ports that the system gave.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::http::{ask, get};
use crate::support::process::{BRAMBLE, PATIENCE, kill, lines_of};
use crate::support::until::until;

/// A process of the cluster. Dropped, it is killed.
pub(crate) struct Service {
    process: Child,
    pub(crate) addr: SocketAddr,
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

    /// How many producers it sees.
    fn producers(&self) -> usize {
        let (_, body) = get(self.addr, "/instances");
        let seen: Value = serde_json::from_str(&body).expect("JSON");
        let instances = seen["instances"].as_array().expect("a list");
        instances.iter().filter(|one| one["service"] == "producer").count()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A stand-in for the weather API, two producers, a form, and the page of all services.
pub(crate) struct Cluster {
    name: String,
    folder: PathBuf,
    stand_in: Service,
    pub(crate) producers: Vec<Service>,
    pub(crate) consumer: Service,
    pub(crate) registry: Service,
}

impl Cluster {
    /// `producer` and `consumer`: settings beyond the defaults.
    pub(crate) fn start(producer: &[&str], consumer: &[&str]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("browser-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        std::fs::write(folder.join("api.key"), "demo").expect("a temporary file");
        let stand_in = start("upstream-sim", &[], &name);
        let upstream = format!("producer.upstream=http://{}", stand_in.addr);
        let key = format!("producer.api_key_file={}", folder.join("api.key").display());
        let settings = [&[&*upstream, &*key], producer].concat();
        let producers: Vec<_> = (0..2).map(|_| start("producer", &settings, &name)).collect();
        let (consumer, registry) = (start("consumer", consumer, &name), start("registry", &[], &name));
        for service in [&consumer, &registry] {
            until("both producers are found", || service.producers() == 2);
        }
        Self { name, folder, stand_in, producers, consumer, registry }
    }

    /// Breaks the weather API.
    pub(crate) fn break_weather_api(&self) {
        let (status, said) = ask(self.stand_in.addr, "POST", "/sim/faults", r#"{"error_rate":1}"#).expect("it runs");
        assert_eq!(status, 200, "{said}");
    }

    /// The page of all services on a Pi that is as `state` says, and where that stands.
    pub(crate) fn registry_on_a_pi(&self, state: &Value) -> Service {
        let file = self.folder.join("pi.json");
        std::fs::write(&file, state.to_string()).expect("a temporary file");
        // It would be written every two seconds; so it does not grow old.
        let written = File::options().write(true).open(&file).expect("just written");
        written.set_modified(SystemTime::now() + Duration::from_secs(3600)).expect("own file");
        start_with("registry", &["--pi-state", &file.display().to_string()], &[], &self.name)
    }

    /// A form in this cluster that finds no producer.
    pub(crate) fn lonely_consumer(&self, settings: &[&str]) -> Service {
        start("consumer", &[&["discovery.mdns=false"], settings].concat(), &self.name)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Starts a role and waits until it serves. It reads no configuration but `settings`, and ends with this process.
fn start(role: &str, settings: &[&str], cluster: &str) -> Service {
    start_with(role, &[], settings, cluster)
}

fn start_with(role: &str, flags: &[&str], settings: &[&str], cluster: &str) -> Service {
    let mut command = Command::new(BRAMBLE);
    command.args([role, "--listen", "127.0.0.1:0", "--config", "/dev/null", "--until-stdin-closes"]).args(flags);
    for setting in settings {
        command.args(["--set", setting]);
    }
    for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BRAMBLE__")) {
        command.env_remove(variable);
    }
    command.env("BRAMBLE__DISCOVERY__INTERFACES", r#"["lo"]"#).env("BRAMBLE__NODE__CLUSTER", cluster);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut process = command.spawn().expect("the command runs");
    let said = lines_of(process.stdout.take().expect("piped"));
    let line = said.recv_timeout(*PATIENCE).unwrap_or_else(|_| panic!("{role} does not serve"));
    let addr = line.strip_prefix("listening on http://").and_then(|addr| addr.parse().ok());
    Service { process, addr: addr.unwrap_or_else(|| panic!("{line}")) }
}

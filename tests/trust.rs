//! A cluster with a key, as its operator sees it: processes on loopback, each test in a cluster and on an mDNS port of
//! its own. What is inside a signature is tested where it is made (src/trust, src/discovery/txt).

mod support {
    pub(crate) mod patience;
}

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bramble::config::Config;
use bramble::discovery::mdns::Mdns;
use bramble::discovery::{Announcement, Registration, Status};
use serde_json::Value;

use support::patience::patience;

const BRAMBLE: &str = env!("CARGO_BIN_EXE_bramble");
/// Longer than anything here takes on a busy machine; reached only when something is broken.
static PATIENCE: LazyLock<Duration> = LazyLock::new(|| patience(30));
const QUESTION: &str = "weather?zip=70569&country=DE";
const OLD: &str = "spring:the first secret of this test";
const NEW: &str = "autumn:another secret of this test";

/// Settings and folder that the processes of one test share.
struct Bench {
    cluster: String,
    mdns_port: u16,
    folder: PathBuf,
    upstream: Option<Process>,
}

/// A process that is ended when the test is over, however it ends.
struct Process {
    child: Child,
    addr: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    fn new(name: &str, mdns_port: u16) -> Self {
        let cluster = format!("trust-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(&cluster);
        fs::create_dir(&folder).expect("a folder of its own");
        fs::write(folder.join("api.key"), "demo").expect("a file");
        let mut bench = Self { cluster, mdns_port, folder, upstream: None };
        bench.upstream = Some(bench.start("upstream-sim", None));
        bench
    }

    fn command(&self, key: Option<&str>) -> Command {
        let mut command = Command::new(BRAMBLE);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("BRAMBLE__") {
                command.env_remove(variable);
            }
        }
        command
            .env("BRAMBLE__DISCOVERY__INTERFACES", r#"["lo"]"#)
            .env("BRAMBLE__DISCOVERY__PORT", self.mdns_port.to_string())
            .env("BRAMBLE__NODE__CLUSTER", &self.cluster)
            .env("BRAMBLE__PRODUCER__API_KEY_FILE", self.folder.join("api.key"));
        if let Some(upstream) = &self.upstream {
            command.env("BRAMBLE__PRODUCER__UPSTREAM", format!("http://{}", upstream.addr));
        }
        if let Some(key) = key {
            let name: String =
                key.bytes().map(|byte| format!("{byte:02x}")).collect::<String>().chars().take(60).collect();
            let file = self.folder.join(format!("{name}-{}", key.len()));
            fs::write(&file, key).expect("a file");
            command.env("BRAMBLE__NODE__CLUSTER_KEY_FILE", file);
        }
        command
    }

    fn start(&self, role: &str, key: Option<&str>) -> Process {
        let mut child = self
            .command(key)
            .args([role, "--listen", "127.0.0.1:0", "--config", "/dev/null", "--until-stdin-closes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let kept = Arc::clone(&log);
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| kept.lock().expect("no panic").push(line)));
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it says where it is");
        let addr = line.trim_end().strip_prefix("listening on http://").and_then(|addr| addr.parse().ok());
        let addr = addr.unwrap_or_else(|| panic!("{role} said {line:?} and {:?}", log.lock()));
        Process { child, addr, log }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What is left of it is no reason to fail.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Process {
    fn get(&self, path: &str) -> (u16, Value) {
        get(self.addr, path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn id(&self) -> String {
        self.get("healthz").1["id"].as_str().expect("an id").to_owned()
    }

    /// Waits until `/instances` is as `wanted`.
    fn sees(&self, wanted: impl Fn(&Value) -> bool) {
        let since = Instant::now();
        loop {
            let (_, seen) = self.get("instances");
            if wanted(&seen) {
                return;
            }
            assert!(since.elapsed() < *PATIENCE, "it still sees {seen}; log: {:#?}", self.log.lock());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn sees_instance(&self, id: &str) {
        self.sees(|seen| names(&seen["instances"], "id").contains(&id.to_owned()));
    }

    /// Fails unless `text` is in exactly one line of its log.
    fn said_once(&self, text: &str) {
        let since = Instant::now();
        let lines = || self.log.lock().expect("no panic").iter().filter(|line| line.contains(text)).count();
        while lines() == 0 && since.elapsed() < *PATIENCE {
            thread::sleep(Duration::from_millis(20)); // the thread that reads its log may be behind
        }
        assert_eq!(lines(), 1, "{text}: {:#?}", self.log.lock());
    }

    fn ends(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill is there").success());
        let since = Instant::now();
        while self.child.try_wait().expect("own child").is_none() {
            assert!(since.elapsed() < *PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn names(list: &Value, key: &str) -> Vec<String> {
    list.as_array().expect("a list").iter().filter_map(|one| one[key].as_str()).map(str::to_owned).collect()
}

/// Status and body of a GET.
fn get(addr: SocketAddr, path: &str) -> std::io::Result<(u16, Value)> {
    let mut stream = TcpStream::connect_timeout(&addr, *PATIENCE)?;
    stream.set_read_timeout(Some(*PATIENCE))?;
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// Whether a producer has just answered the consumer.
fn is_live(answer: &(u16, Value)) -> bool {
    answer.0 == 200 && matches!(answer.1["source"].as_str(), Some("live" | "cache"))
}

#[test]
fn with_the_same_key_everything_works_and_a_producer_answers_no_other_client() {
    let bench = Bench::new("same", 55_401);
    let producer = bench.start("producer", Some(OLD));
    let consumer = bench.start("consumer", Some(OLD));
    consumer.sees_instance(&producer.id());
    let answer = consumer.get(&format!("api/{QUESTION}"));
    assert!(is_live(&answer), "{answer:?}");
    assert_eq!(consumer.get("instances").1["signatures"], "checked");

    let (status, body) = producer.get(QUESTION);
    assert_eq!((status, &body["error"]["code"]), (403, &Value::from("forbidden")), "{body}");
    for open in ["healthz", "readyz", "metrics", "circuits", "instances"] {
        assert_eq!(producer.get(open).0, 200, "{open}");
    }
    assert_eq!(producer.get("healthz/").0, 403, "only what is open is open");

    let asked = bench.command(Some(OLD)).args(["weather", "70569", "DE", "--json"]).output().expect("it runs");
    assert!(asked.status.success(), "{asked:?}");
    let logs = [&producer, &consumer].map(|process| process.log.lock().expect("no panic").join("\n")).concat();
    assert!(!logs.contains("secret of this test"), "{logs}");
}

#[test]
fn without_the_key_a_consumer_is_told_once_what_to_do_and_takes_the_producer_for_another_cluster_s() {
    let bench = Bench::new("none", 55_402);
    let producer = bench.start("producer", Some(OLD));
    let consumer = bench.start("consumer", None);
    consumer.sees_instance(&producer.id());
    for _ in 0..10 {
        let (status, body) = consumer.get(&format!("api/{QUESTION}"));
        assert_eq!((status, &body["error"]["code"]), (503, &Value::from("unavailable")), "{body}");
    }
    consumer.said_once("set node.cluster_key_file");
    producer.said_once("a request of 127.0.0.1 is refused: it is not signed");
    let (_, circuits) = consumer.get("circuits");
    let circuit = &circuits["services"][0]["endpoints"][0];
    assert_eq!((&circuit["state"], &circuit["failures_in_a_row"]), (&"open".into(), &0.into()), "{circuit}");
    assert_eq!(circuit["reason"], "answered by another server or cluster", "{circuit}");
}

/// A server that claims to be a producer, without the key.
struct Rogue {
    door: TcpListener,
    mdns: Mdns,
    registration: Registration,
}

impl Rogue {
    fn new(bench: &Bench, id: &str) -> Self {
        let mut config = Config::default().discovery;
        config.interfaces = vec!["lo".into()];
        config.port = bench.mdns_port;
        let mdns = Mdns::start(&config, true).expect("a thread");
        let door = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let said = Announcement {
            cluster: bench.cluster.clone(),
            id: id.into(),
            service: "producer".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            path: "/".into(),
            zone: String::new(),
            weight: 100,
            status: Status::Up,
        };
        let addr = door.local_addr().expect("bound");
        let (registration, announced) = mdns.register(said, addr, None).expect("a running daemon");
        smol::block_on(announced).expect("lo has an address");
        Self { door, mdns, registration }
    }

    /// Whether no client has ever connected.
    fn is_alone(&self) -> bool {
        self.door.set_nonblocking(true).expect("a socket");
        self.door.accept().is_err()
    }

    fn ends(self) {
        smol::block_on(self.registration.end());
        self.mdns.shutdown();
    }
}

#[test]
fn a_rogue_producer_is_shown_as_refused_and_never_called() {
    let bench = Bench::new("rogue", 55_403);
    let producer = bench.start("producer", Some(OLD));
    let consumer = bench.start("consumer", Some(OLD));
    let rogue = Rogue::new(&bench, "producer-0123456789abcdef");
    consumer.sees_instance(&producer.id());
    consumer.sees(|seen| names(&seen["refused"], "name") == ["producer-0123456789abcdef"]);
    let (_, seen) = consumer.get("instances");
    assert_eq!(seen["refused"][0]["reason"], "it is not signed with the cluster's key");
    assert!(!names(&seen["instances"], "id").contains(&"producer-0123456789abcdef".to_owned()), "{seen}");
    for _ in 0..20 {
        let answer = consumer.get(&format!("api/{QUESTION}"));
        assert!(is_live(&answer), "{answer:?}");
    }
    assert!(rogue.is_alone());
    consumer.said_once("is refused: it is not signed");
    rogue.ends();
    consumer.sees(|seen| names(&seen["refused"], "name").is_empty());
}

#[test]
fn a_rogue_that_takes_the_name_of_a_producer_takes_none_of_its_calls() {
    let bench = Bench::new("name", 55_406);
    let producer = bench.start("producer", Some(OLD));
    let consumer = bench.start("consumer", Some(OLD));
    let id = producer.id();
    consumer.sees_instance(&id);
    let rogue = Rogue::new(&bench, &id);
    consumer.sees(|seen| names(&seen["refused"], "name") == [id.as_str()]);
    for _ in 0..20 {
        let answer = consumer.get(&format!("api/{QUESTION}"));
        assert!(is_live(&answer) && answer.1["served_by"] == id.as_str(), "{answer:?}");
    }
    assert!(rogue.is_alone());
}

/// Two producers and a consumer of which each has the same keys.
fn start_all(bench: &Bench, keys: &str) -> ([Process; 2], Process) {
    let producers = [bench.start("producer", Some(keys)), bench.start("producer", Some(keys))];
    let consumer = bench.start("consumer", Some(keys));
    (producers, consumer)
}

#[test]
fn the_key_is_changed_without_a_failed_request() {
    let bench = Bench::new("change", 55_404);
    let stages = [OLD.to_owned(), format!("{OLD}\n{NEW}"), format!("{NEW}\n{OLD}"), NEW.to_owned()];
    let (mut producers, mut consumer) = start_all(&bench, &stages[0]);
    producers.iter().for_each(|producer| consumer.sees_instance(&producer.id()));

    let asks = Arc::new(Mutex::new(consumer.addr));
    let is_over = Arc::new(AtomicBool::new(false));
    let user = {
        let (asks, is_over) = (Arc::clone(&asks), Arc::clone(&is_over));
        thread::spawn(move || {
            let mut answers = Vec::new();
            while !is_over.load(Ordering::Acquire) {
                let addr = asks.lock().expect("no panic");
                answers.push(get(*addr, &format!("api/{QUESTION}")).expect("an answer"));
                drop(addr);
                thread::sleep(Duration::from_millis(5));
            }
            answers
        })
    };
    for keys in &stages[1..] {
        // Node by node: the new producers are called by the old consumer, then the old ones end, then the consumer.
        let next = [bench.start("producer", Some(keys)), bench.start("producer", Some(keys))];
        next.iter().for_each(|producer| consumer.sees_instance(&producer.id()));
        for old in std::mem::replace(&mut producers, next) {
            old.ends();
        }
        let next = bench.start("consumer", Some(keys));
        producers.iter().for_each(|producer| next.sees_instance(&producer.id()));
        *asks.lock().expect("no panic") = next.addr;
        std::mem::replace(&mut consumer, next).ends();
    }
    is_over.store(true, Ordering::Release);
    let answers = user.join().expect("the user got answers");
    let failed: Vec<_> = answers.iter().filter(|answer| !is_live(answer)).collect();
    assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), answers.len(), failed.first());
    assert!(answers.len() > 100, "{} answers", answers.len());

    let outside = bench.start("consumer", Some(OLD));
    outside.sees(|seen| names(&seen["refused"], "service").contains(&"producer".to_owned()));
    assert!(!is_live(&outside.get(&format!("api/{QUESTION}"))), "the old key is out");
}

#[test]
fn a_mistake_in_the_key_file_ends_the_start_with_a_sentence() {
    let bench = Bench::new("mistake", 55_405);
    for (key, says) in [("too short", "fewer than 16 bytes"), ("", "has no key")] {
        let ended = bench.command(Some(key)).args(["producer", "--config", "/dev/null"]).output().expect("it runs");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.contains(says) && said.contains("cluster_key_file") && !said.contains("too short"), "{said}");
    }
}

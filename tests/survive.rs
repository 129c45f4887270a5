//! The whole system under load, while parts of it die, hang, end, come back, or are told lies. Real processes on
//! loopback, each test in a cluster and on ports of its own; what counts is what the person in front of the form gets.

mod support {
    pub(crate) mod http;
    pub(crate) mod process;
}

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use support::http::{ask, get};
use support::process::{BRAMBLE, PATIENCE, free_addr, kill, lines_of};

/// Places that the stand-in knows.
const PLACES: [&str; 12] =
    ["70569", "70173", "72074", "10115", "20095", "80331", "50667", "60311", "04109", "01067", "28195", "90402"];
const UNKNOWN_SO_FAR: &str = "79098";
const OUT_OF_DATE: &str = "CAUTION - Response out of date!";
const UNREACHABLE: &str = "CAUTION - Response out of date, producer unreachable!";
/// `[call] timeout` of a consumer.
const TIMEOUT: Duration = Duration::from_secs(3);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One process. Dropped, it is killed.
struct Service {
    process: Child,
    addr: SocketAddr,
    /// What it wrote to its log so far.
    log: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn kill(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn signal(&self, signal: &str) {
        kill(signal, self.process.id());
    }

    fn ends(&mut self) -> ExitStatus {
        let mut status = None;
        soon("the process ends", || {
            status = self.process.try_wait().expect("own child");
            status.is_some()
        });
        status.expect("it has ended")
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }

    /// The report for a place, or the error, as a program gets it.
    fn report(&self, zip: &str) -> (u16, Value) {
        let (status, body) = get(self.addr, &format!("/api/weather?zip={zip}&country=DE"));
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    fn page(&self, zip: &str) -> (u16, String) {
        get(self.addr, &format!("/?zip={zip}&country=DE"))
    }

    /// What each circuit is in, by the id of who is called.
    fn circuits(&self) -> Vec<(String, Value)> {
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
struct Cluster {
    name: String,
    stand_in: Service,
    folder: PathBuf,
}

impl Cluster {
    fn new(name: &str) -> Self {
        let name = format!("survive-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        std::fs::write(folder.join("api.key"), "demo").expect("a temporary file");
        let stand_in = start(&["upstream-sim", "--listen", "127.0.0.1:0"], &[], &name);
        Self { name, stand_in, folder }
    }

    fn producer(&self, listen: &str, settings: &[&str]) -> Service {
        let upstream = format!("producer.upstream=http://{}", self.stand_in.addr);
        let key = format!("producer.api_key_file={}", self.folder.join("api.key").display());
        let settings = [&[&*upstream, &*key], settings].concat();
        start(&["producer", "--listen", listen], &settings, &self.name)
    }

    fn consumer(&self, settings: &[&str]) -> Service {
        start(&["consumer", "--listen", "127.0.0.1:0"], settings, &self.name)
    }

    /// Three producers and a consumer that has found them all by mDNS.
    fn with_three_producers(name: &str) -> (Self, [Service; 3], Service) {
        let cluster = Self::new(name);
        let producers = [(); 3].map(|()| cluster.producer("127.0.0.1:0", &[]));
        let consumer = cluster.consumer(&[]);
        soon("all producers are found", || {
            let (_, body) = get(consumer.addr, "/instances");
            let seen: Value = serde_json::from_str(&body).expect("JSON");
            let instances = seen["instances"].as_array().expect("a list");
            instances.iter().filter(|one| one["service"] == "producer").count() == 3
        });
        (cluster, producers, consumer)
    }

    fn faults(&self, body: Option<&str>) {
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
fn start(args: &[&str], settings: &[&str], cluster: &str) -> Service {
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
    let line = said.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{args:?} does not serve: {log:?}"));
    let addr = line.strip_prefix("listening on http://").and_then(|addr| addr.parse().ok());
    Service { process, addr: addr.unwrap_or_else(|| panic!("{line}")), log }
}

/// Waits for what is about to become so.
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "not seen: {what}");
        thread::sleep(ms(20));
    }
}

/// One request of a person.
#[derive(Debug, Clone)]
struct Asked {
    at: Instant,
    took: Duration,
    /// 0: no answer at all.
    status: u16,
    answer: Value,
}

impl Asked {
    fn by(&self) -> &str {
        self.answer["served_by"].as_str().unwrap_or_default()
    }
}

/// Four people who ask for one place after the other until told to end.
struct Load {
    ends: Arc<AtomicBool>,
    people: Vec<JoinHandle<Vec<Asked>>>,
}

impl Load {
    fn on(form: SocketAddr) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let people = (0..4).map(|number| {
            let ends = Arc::clone(&ends);
            thread::spawn(move || {
                let mut asked = Vec::new();
                for zip in PLACES.iter().cycle().skip(number * 3) {
                    if ends.load(Ordering::Relaxed) {
                        break;
                    }
                    let at = Instant::now();
                    let answer = ask(form, "GET", &format!("/api/weather?zip={zip}&country=DE"), "");
                    let took = at.elapsed();
                    let (status, body) = answer.unwrap_or_else(|error| (0, format!("\"{error}\"")));
                    let answer = serde_json::from_str(&body).unwrap_or(Value::String(body));
                    asked.push(Asked { at, took, status, answer });
                    thread::sleep(ms(20)); // people read what they get
                }
                asked
            })
        });
        Self { people: people.collect(), ends }
    }

    /// What became of every request.
    fn end(self) -> Vec<Asked> {
        self.ends.store(true, Ordering::Relaxed);
        self.people.into_iter().flat_map(|one| one.join().expect("no panic")).collect()
    }
}

/// Fails if any request of a person did, or was answered as if nobody had been there.
fn nobody_noticed(asked: &[Asked]) {
    let noticed: Vec<_> =
        asked.iter().filter(|one| one.status != 200 || one.answer["message"] == UNREACHABLE).collect();
    assert!(noticed.is_empty(), "{} of {}: {:?}", noticed.len(), asked.len(), noticed.first());
    let slowest = asked.iter().map(|one| one.took).max().unwrap_or_default();
    assert!(slowest < TIMEOUT, "{slowest:?}");
}

fn answered_by(asked: &[Asked]) -> BTreeSet<&str> {
    asked.iter().map(Asked::by).collect()
}

/// The id of a producer: what it signs its answers with.
fn id_of(producer: &Service) -> String {
    let (_, body) = get(producer.addr, "/healthz");
    let health: Value = serde_json::from_str(&body).expect("JSON");
    health["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_producer_that_is_killed_under_load_is_noticed_by_nobody() {
    let (_cluster, mut producers, consumer) = Cluster::with_three_producers("kill");
    let victim = id_of(&producers[0]);
    let load = Load::on(consumer.addr);
    thread::sleep(ms(2000));
    let killed = Instant::now();
    producers[0].kill();
    thread::sleep(ms(4000));
    let asked = load.end();
    assert!(asked.len() > 200, "that was no load: {}", asked.len());
    nobody_noticed(&asked);
    let (before, after): (Vec<_>, Vec<_>) = asked.into_iter().partition(|one| one.at < killed);
    assert!(answered_by(&before).contains(&*victim), "it had its share before");
    let after = answered_by(&after);
    assert!(!after.contains(&*victim) && after.len() == 2, "the two others share what is left: {after:?}");
    let opened = format!("circuit of {victim}: open for ");
    assert!(consumer.log().iter().any(|line| line.contains(&opened)), "the log says so: {:?}", consumer.log());
}

#[test]
fn a_producer_that_is_told_to_end_under_load_is_noticed_by_nobody() {
    let (_cluster, mut producers, consumer) = Cluster::with_three_producers("term");
    let leaving = id_of(&producers[0]);
    let load = Load::on(consumer.addr);
    thread::sleep(ms(1000));
    producers[0].signal("TERM");
    assert_eq!(producers[0].ends().code(), Some(0));
    let ended = Instant::now();
    thread::sleep(ms(1000));
    let asked = load.end();
    assert!(asked.len() > 100, "that was no load: {}", asked.len());
    nobody_noticed(&asked);
    let (before, after): (Vec<_>, Vec<_>) = asked.into_iter().partition(|one| one.at < ended);
    assert!(answered_by(&before).contains(&*leaving), "it had its share before");
    assert!(!answered_by(&after).contains(&*leaving));
    let failed = format!("circuit of {leaving}: open");
    assert!(!consumer.log().iter().any(|line| line.contains(&failed)), "no call failed: {:?}", consumer.log());
}

#[test]
fn a_producer_that_hangs_loses_its_traffic_within_a_second() {
    let (_cluster, mut producers, consumer) = Cluster::with_three_producers("hang");
    let hung = id_of(&producers[0]);
    let load = Load::on(consumer.addr);
    thread::sleep(ms(1500));
    let stopped = Instant::now();
    producers[0].signal("STOP");
    thread::sleep(ms(5000));
    producers[0].signal("CONT");
    let asked = load.end();
    nobody_noticed(&asked);

    // One in its place is asked as soon as its health check has failed, and the circuit is open from then on.
    let attempt_timeout = ms(1300);
    let later: Vec<_> = asked.iter().filter(|one| one.at > stopped + ms(1000)).collect();
    let waited: Vec<_> = later.iter().filter(|one| one.took >= attempt_timeout).collect();
    assert!(later.len() > 20, "that was no load: {} {:?}", later.len(), consumer.circuits());
    assert!(
        waited.len() <= 2.max(later.len() / 50),
        "{} of {} still went to the one that hangs: {waited:?}",
        waited.len(),
        later.len()
    );

    // Once it goes on it is as good as any: it serves when it is needed.
    producers.iter_mut().skip(1).for_each(Service::kill);
    soon("it serves again", || {
        let (status, report) = consumer.report("70569");
        status == 200 && report["served_by"] == hung.as_str() && report["source"] != "stale"
    });
}

#[test]
fn with_all_producers_dead_each_fallback_does_what_it_promises_and_they_come_back_by_a_ramp() {
    let cluster = Cluster::new("dead");
    let addrs = [free_addr(), free_addr()].map(|addr| addr.to_string());
    let start = |listen: &String| cluster.producer(listen, &["discovery.mdns=false"]);
    let mut producers = addrs.each_ref().map(start);
    let fixed = format!("discovery.fixed={{ producer = {addrs:?} }}");
    let consumer = |fallback: &str| {
        let fallback = format!("call.fallback={fallback}");
        let quick = ["breaker.open_for=400ms", "breaker.open_for_max=500ms", "breaker.ramp=1500ms"];
        cluster.consumer(&[&["discovery.mdns=false", &*fixed, &*fallback], &quick[..]].concat())
    };
    let [stale, silent, fast] = ["stale", "fail-silent", "fail-fast"].map(consumer);
    for form in [&stale, &silent, &fast] {
        assert_eq!(form.report("70569").0, 200);
    }

    producers.iter_mut().for_each(Service::kill);
    for _ in 0..5 {
        let (status, report) = stale.report("70569");
        assert_eq!((status, &report["source"], &report["message"]), (200, &"stale".into(), &UNREACHABLE.into()));
        assert_eq!(report["city"], "Büsnau");
    }
    let (status, page) = stale.page("70569");
    assert!(status == 200 && page.contains(UNREACHABLE) && page.contains("°C"), "{page}");
    let (status, report) = silent.report("70569");
    assert_eq!((status, &report["source"], &report["message"]), (200, &"empty".into(), &"Empty response".into()));
    assert!(report["temperature_c"].is_null(), "{report}");
    assert_eq!(fast.report("70569").0, 503);

    // Nothing is kept for a place that was never asked for, nor in a consumer that has just started.
    for (form, zip) in [(&stale, UNKNOWN_SO_FAR), (&consumer("stale"), "70569")] {
        let (status, error) = form.report(zip);
        assert_eq!((status, &error["error"]["code"]), (503, &"unavailable".into()), "{error}");
        let (status, page) = form.page(zip);
        assert!(status == 503 && !page.contains("°C") && page.contains("No weather available now"), "{page}");
    }

    let _producers = addrs.each_ref().map(start);
    let is_fresh = |report: &Value| report["source"] == "live" || report["source"] == "cache";
    soon("the page is fresh again", || is_fresh(&stale.report("70569").1));
    let mut seen = BTreeSet::new();
    soon("every circuit is closed again", || {
        stale.report("70569");
        let circuits = stale.circuits();
        seen.extend(circuits.iter().filter(|(_, state)| state == "ramping").map(|(id, _)| id.clone()));
        circuits.iter().all(|(_, state)| state == "closed")
    });
    assert_eq!(seen, addrs.into(), "each comes back by degrees");
    for _ in 0..20 {
        assert!(is_fresh(&stale.report("70569").1));
    }
}

#[test]
fn with_the_weather_api_broken_producers_answer_out_of_date_and_recover_by_themselves() {
    let cluster = Cluster::new("broken");
    let quick = [
        "cache.fresh_for=200ms",
        "cache.stale_while_revalidate=0s",
        "breaker.open_for=400ms",
        "breaker.open_for_max=500ms",
        "breaker.ramp=500ms",
        "discovery.mdns=false",
    ];
    let producers = [(); 2].map(|()| cluster.producer("127.0.0.1:0", &quick));
    let addrs = producers.each_ref().map(|producer| producer.addr.to_string());
    let consumer = cluster.consumer(&["discovery.mdns=false", &format!("discovery.fixed={{ producer = {addrs:?} }}")]);
    for producer in &producers {
        for zip in PLACES {
            assert_eq!(get(producer.addr, &format!("/weather?zip={zip}&country=DE")).0, 200);
        }
    }

    cluster.faults(Some(r#"{"error_rate":1}"#));
    soon("a producer's answer is out of date", || consumer.report("70569").1["source"] == "stale");
    soon("the circuit before the weather API is open", || {
        for (producer, zip) in producers.iter().flat_map(|producer| PLACES.map(|zip| (producer, zip))) {
            assert_eq!(get(producer.addr, &format!("/weather?zip={zip}&country=DE")).0, 200);
        }
        producers.iter().all(|producer| producer.circuits().iter().any(|(_, state)| state == "open"))
    });
    for zip in PLACES {
        let (status, report) = consumer.report(zip);
        assert_eq!((status, &report["source"], &report["message"]), (200, &"stale".into(), &OUT_OF_DATE.into()));
        assert!(report["served_by"].as_str().is_some_and(|by| by.starts_with("producer-")), "{report}");
    }
    let (status, page) = consumer.page("70569");
    assert!(status == 200 && page.contains(OUT_OF_DATE) && !page.contains(UNREACHABLE), "{page}");
    let (status, error) = consumer.report(UNKNOWN_SO_FAR);
    assert_eq!((status, &error["error"]["code"]), (502, &"upstream_unavailable".into()), "{error}");

    cluster.faults(None);
    soon("answers are fresh again, and the circuits closed", || {
        let both = producers.each_ref().map(|producer| {
            let asked = PLACES.map(|zip| get(producer.addr, &format!("/weather?zip={zip}&country=DE")).1);
            asked.iter().all(|report| !report.contains(OUT_OF_DATE))
                && producer.circuits().iter().all(|(_, state)| state == "closed")
        });
        both == [true; 2]
    });
    assert_ne!(consumer.report("70569").1["source"], "stale");
    for producer in &producers {
        let log = producer.log().join("\n");
        assert!(
            log.contains("circuit of the weather API: open for") && log.contains("circuit of the weather API: closed"),
            "{log}"
        );
    }
}

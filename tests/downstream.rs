//! The library as the authors of other services use it: a crate outside of the workspace is built, two greeters and a
//! front desk find each other on loopback, and what is linked into them is looked at.

#[path = "support/patience.rs"]
mod patience;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use patience::patience;

/// A port of mDNS that no other test uses.
const MDNS_PORT: &str = "55421";

/// The crate, from where cargo runs this test.
const CRATE: &str = "tests/downstream";

/// Where cargo put this program, and puts the others.
fn target() -> PathBuf {
    let mut folder = std::env::current_exe().expect("this program");
    (0..3).for_each(|_| assert!(folder.pop(), "it is in TARGET/debug/deps"));
    folder
}

fn cargo(arguments: &[&str]) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).args(["--offline", "--manifest-path"]).arg(Path::new(CRATE).join("Cargo.toml"));
    // Those of this test's package; build scripts run again when they change.
    let package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| package(name)) {
        cargo.env_remove(name);
    }
    let output = cargo.output().expect("cargo starts");
    assert!(output.status.success(), "{arguments:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The folder of the programs, which are built once, with the versions of the workspace's lock.
static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
    fs::copy("Cargo.lock", Path::new(CRATE).join("Cargo.lock")).expect("the workspace has a lock");
    cargo(&["build", "--quiet", "--workspace", "--target-dir", target().to_str().expect("text")]);
    target().join("debug")
});

fn program(name: &str) -> Command {
    let mut command = Command::new(PROGRAMS.join(name));
    command.env("BRAMBLE__DISCOVERY__INTERFACES", r#"["lo"]"#).env("BRAMBLE__DISCOVERY__PORT", MDNS_PORT);
    command
}

/// The packages of one of the crates, with their versions and features, without what only builds them.
fn linked(package: &str) -> Vec<String> {
    LazyLock::force(&PROGRAMS);
    let output = cargo(&["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p} {f}"]);
    let listed = String::from_utf8(output.stdout).expect("text");
    let mut packages: Vec<_> = listed.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// A program that serves until it is dropped.
struct Service {
    process: Child,
    addr: SocketAddr,
}

impl Service {
    fn start(name: &str) -> Self {
        Self::of(name, &mut program(name))
    }

    fn of(name: &str, command: &mut Command) -> Self {
        command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("it was built");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("text");
        let addr = line.trim().strip_prefix("listening on http://").and_then(|addr| addr.parse().ok());
        Self { process, addr: addr.unwrap_or_else(|| panic!("{name} does not serve: {line:?}")) }
    }

    fn get(&self, path: &str) -> String {
        let mut answer = String::new();
        self.ask("GET", path, "").read_to_string(&mut answer).expect("text");
        answer
    }

    /// Answers to a JSON body.
    fn post(&self, path: &str, body: &str) -> String {
        let mut answer = String::new();
        self.ask("POST", path, body).read_to_string(&mut answer).expect("text");
        answer
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr).expect("it listens");
        stream.set_read_timeout(Some(patience(30))).expect("a time");
        let (host, length) = (self.addr, body.len());
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        let head = format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all((head + body).as_bytes()).expect("sent");
        stream
    }

    /// Greetings that it has given.
    fn greetings(&self) -> u32 {
        let page = self.get("/metrics");
        let value = page.lines().find_map(|line| line.strip_prefix("greeter_greetings_total "));
        value.unwrap_or_else(|| panic!("no counter in {page}")).parse().expect("a number")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may be gone already
        let _ = self.process.wait();
    }
}

#[test]
fn the_front_desk_finds_two_greeters_and_answers_while_one_of_them_is_killed() {
    let mut greeters = vec![Service::start("greeter"), Service::start("greeter")];
    let desk = Service::start("frontdesk");
    let since = Instant::now();
    while greeters.iter().any(|greeter| greeter.greetings() == 0) {
        assert!(since.elapsed() < patience(30), "one of the greeters is never asked");
        let answer = desk.get("/greet/Ada");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Hello, Ada!"), "{answer}");
    }
    drop(greeters.pop()); // killed: no goodbye
    for _ in 0..20 {
        let answer = desk.get("/greet/Bob");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Hello, Bob!"), "{answer}");
    }
    let (circuits, metrics, instances) = (desk.get("/circuits"), desk.get("/metrics"), desk.get("/instances"));
    assert!(circuits.contains(r#""service":"greeter""#), "{circuits}");
    assert!(metrics.contains(r#"service="greeter""#), "{metrics}");
    assert!(instances.contains(r#""id":"frontdesk-"#) && instances.contains(r#""id":"greeter-"#), "{instances}");
    let mut stream = BufReader::new(desk.ask("GET", "/hystrix.stream", "")).lines().map_while(Result::ok);
    assert!(stream.any(|line| line.starts_with("data:") && line.contains(r#""greeter""#)), "the stream ends");
}

#[test]
fn a_typed_operation_reads_what_its_type_says_and_refuses_anything_else() {
    let greeter = Service::of("greeter", program("greeter").env("BRAMBLE__DISCOVERY__PORT", "55424"));
    let answer = greeter.post("/greeting", r#"{"name":"Ada"}"#);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(r#"{"text":"Hello, Ada!"}"#), "{answer}");
    let answer = greeter.post("/greeting", r#"{"nom":"Ada"}"#);
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("name"), "{answer}");
    let answer = greeter.get("/greeting");
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}

#[test]
fn with_a_cluster_key_a_request_without_it_is_refused_and_health_is_not() {
    let key = std::env::temp_dir().join(format!("bramble-greeter-{}.key", std::process::id()));
    fs::write(&key, "0123456789abcdef".repeat(4)).expect("a file");
    let mut permissions = fs::metadata(&key).expect("a file").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    fs::set_permissions(&key, permissions).expect("the test's own file");
    // On a port of mDNS of its own: another test's front desk without the key would find it.
    let mut command = program("greeter");
    command.env("BRAMBLE__NODE__CLUSTER_KEY_FILE", &key).env("BRAMBLE__DISCOVERY__PORT", "55423");
    let greeter = Service::of("greeter", &mut command);
    fs::remove_file(&key).expect("the test's own file");
    let answer = greeter.post("/greeting", r#"{"name":"Ada"}"#);
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains(r#""code":"forbidden""#), "{answer}");
    let answer = greeter.get("/healthz");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn the_rules_alone_are_a_program_of_at_most_12_packages_that_gets_its_answers() {
    let output = program("plain").output().expect("it was built");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.starts_with("100 of 100 calls answered\n"), "{text}");
    let packages = linked("downstream-plain");
    assert!(packages.len() <= 12, "{packages:#?}");
}

#[test]
fn no_second_http_engine_or_runtime_is_linked() {
    let packages = linked("downstream");
    let of = |name: &str| packages.iter().filter(|line| line.split(' ').next() == Some(name)).collect::<Vec<_>>();
    assert_eq!(of("bramble").len(), 1, "{packages:#?}");
    for name in ["async-h1", "async-session", "curl", "deadpool", "isahc", "native-tls", "openssl", "reqwest"] {
        assert!(of(name).is_empty(), "{:?}", of(name));
    }
    // hyper uses its channels; what would start a runtime is a feature.
    for tokio in of("tokio") {
        let features = tokio.rsplit(' ').next().expect("a last word");
        assert!(features.split(',').all(|feature| ["default", "sync"].contains(&feature)), "{tokio}");
    }
}

#[test]
fn a_service_is_short() {
    let lines = |name: &str| {
        let text = fs::read_to_string(format!("examples/{name}.rs")).expect("an example");
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
    };
    let (greeter, frontdesk) = (lines("greeter"), lines("frontdesk"));
    assert!(greeter <= 20 && frontdesk <= 40, "greeter has {greeter} lines of code, frontdesk {frontdesk}");
}

#[test]
fn without_a_greeter_the_front_desk_says_what_is_missing() {
    let desk = Service::of("frontdesk", program("frontdesk").env("BRAMBLE__DISCOVERY__PORT", "55422"));
    let answer = desk.get("/greet/Ada");
    assert!(answer.contains("No greeting today (no greeter"), "{answer}");
}

#[test]
fn a_mistake_in_a_services_own_settings_is_said_with_its_line() {
    let file = std::env::temp_dir().join(format!("bramble-frontdesk-{}.toml", std::process::id()));
    fs::write(&file, "[service.frontdesk]\npatience = \"soon\"\n").expect("a file");
    let output = program("frontdesk").arg("--config").arg(&file).output().expect("it was built");
    fs::remove_file(&file).expect("the test's own file");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("toml:2:12: service.frontdesk.patience: \"soon\" is not a duration"), "{error}");
}

#[test]
fn wrong_arguments_and_settings_are_said_with_the_exit_code_of_wrong_usage() {
    let ends = |arguments: &[&str]| -> Output {
        let mut process = program("greeter");
        let process = process.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (mut child, since) = (process.spawn().expect("it was built"), Instant::now());
        while child.try_wait().expect("own child").is_none() {
            assert!(since.elapsed() < patience(30), "{arguments:?}: it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        child.wait_with_output().expect("own child")
    };
    for (arguments, said) in [
        (&["--lisen", "1"][..], "--lisen"),
        (&["--set", "call.timeot=2s"], "timeout"),
        (&["--listen", "127.0.0.1:0", "--set", "node.cluster_key_file=/nowhere"], "/nowhere"),
    ] {
        let output = ends(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.starts_with("greeter: ") && error.contains(said), "{arguments:?}: {error}");
    }
    let help = ends(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.status.success() && text.contains("Usage: greeter") && text.contains("--config FILE"), "{text}");
}

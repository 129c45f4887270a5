//! The examples as a user runs them: two greeters and a front desk find each other on loopback.

#[path = "support/patience.rs"]
mod patience;

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use patience::patience;

/// A port of mDNS that no other test uses.
const MDNS_PORT: &str = "55421";

/// The folder of the examples, which have been built: `cargo test --test examples` alone builds none.
fn examples() -> &'static Path {
    static EXAMPLES: LazyLock<PathBuf> = LazyLock::new(|| {
        let test = std::env::current_exe().expect("this program"); // TARGET/PROFILE/deps/examples-HASH
        let built = test.ancestors().nth(2).expect("the folder of the profile");
        let profile = match built.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        if std::env::var_os("BRAMBLE_TEST_EXAMPLES_ARE_BUILT").is_some() {
            return built.join("examples");
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--offline", "--package", "bramble", "--examples", "--profile", profile]);
        cargo.arg("--target-dir").arg(built.parent().expect("the target folder"));
        let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
        assert!(status.success(), "the examples do not build");
        built.join("examples")
    });
    &EXAMPLES
}

fn example(name: &str) -> Command {
    let mut command = Command::new(examples().join(name));
    command.env("BRAMBLE__DISCOVERY__INTERFACES", r#"["lo"]"#).env("BRAMBLE__DISCOVERY__PORT", MDNS_PORT);
    command
}

/// An example that serves until it is dropped.
struct Example {
    process: Child,
    addr: SocketAddr,
}

impl Example {
    fn start(name: &str) -> Self {
        let mut command = example(name);
        command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("the example was built");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("text");
        let addr = line.trim().strip_prefix("listening on http://").and_then(|addr| addr.parse().ok());
        Self { process, addr: addr.unwrap_or_else(|| panic!("{name} does not serve: {line:?}")) }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).expect("it listens");
        stream.set_read_timeout(Some(patience(30))).expect("a time");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.addr).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    }

    /// Greetings that it has given.
    fn greetings(&self) -> u32 {
        let page = self.get("/metrics");
        let value = page.lines().find_map(|line| line.strip_prefix("greeter_greetings_total "));
        value.unwrap_or_else(|| panic!("no counter in {page}")).parse().expect("a number")
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may be gone already
        let _ = self.process.wait();
    }
}

#[test]
fn the_front_desk_finds_two_greeters_and_answers_while_one_of_them_is_killed() {
    let mut greeters = vec![Example::start("greeter"), Example::start("greeter")];
    let desk = Example::start("frontdesk");
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
    let (circuits, metrics, stream) = (desk.get("/circuits"), desk.get("/metrics"), desk.get("/instances"));
    assert!(circuits.contains(r#""service":"greeter""#), "{circuits}");
    assert!(metrics.contains(r#"service="greeter""#), "{metrics}");
    assert!(stream.contains(r#""id":"frontdesk-"#), "{stream}");
}

#[test]
fn without_a_greeter_the_front_desk_says_what_is_missing() {
    let mut command = example("frontdesk");
    command.env("BRAMBLE__DISCOVERY__PORT", "55422").args(["--listen", "127.0.0.1:0"]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the example was built");
    let mut line = String::new();
    BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("text");
    let addr = line.trim().strip_prefix("listening on http://").and_then(|addr| addr.parse().ok()).expect("it serves");
    let desk = Example { process, addr };
    let answer = desk.get("/greet/Ada");
    assert!(answer.contains("No greeting today (no greeter"), "{answer}");
}

#[test]
fn a_mistake_in_a_services_own_settings_is_said_with_its_line() {
    let file = std::env::temp_dir().join(format!("bramble-frontdesk-{}.toml", std::process::id()));
    std::fs::write(&file, "[service.frontdesk]\npatience = \"soon\"\n").expect("a file");
    let output = example("frontdesk").arg("--config").arg(&file).output().expect("the example was built");
    std::fs::remove_file(&file).expect("the test's own file");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("toml:2:12: service.frontdesk.patience: \"soon\" is not a duration"), "{error}");
}

#[test]
fn wrong_arguments_and_settings_are_said_with_the_exit_code_of_wrong_usage() {
    let ends = |arguments: &[&str]| -> Output {
        let mut process = example("greeter");
        let child =
            process.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it was built");
        let since = Instant::now();
        let mut child = child;
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

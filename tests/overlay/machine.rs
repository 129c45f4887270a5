//! Programs of this machine, what they say, and what the tier has prepared.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::patience::patience;

/// Longer than anything here takes on a busy machine; reached only when something is broken.
pub(crate) static PATIENCE: LazyLock<Duration> = LazyLock::new(|| patience(60));

/// Value of a variable that `cargo xtask test --only overlay` sets.
pub(crate) fn prepared(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("no {variable}: run `cargo xtask test --only overlay`"))
}

/// The checkout.
pub(crate) fn root() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    folder.canonicalize().expect("the package lies in the workspace")
}

/// An empty folder for a test.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("overlay").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    folder
}

/// A command in the checkout, in words.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Runs it; its stdout without the last line's end. Fails if it fails.
pub(crate) fn said_by(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", told(&output));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Runs it. What it wrote to stderr. Fails if it succeeds.
pub(crate) fn refusal_of(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(!output.status.success(), "{command:?} succeeded: {}", told(&output));
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(crate) fn docker(arguments: &[&str]) -> String {
    said_by(&mut command("docker", arguments))
}

pub(crate) fn lines(arguments: &[&str]) -> Vec<String> {
    docker(arguments).lines().map(str::to_owned).collect()
}

/// `cargo xtask containers WORDS`, as a person has it.
pub(crate) fn containers(words: &[&str]) -> Command {
    command(&prepared("BRAMBLE_XTASK"), &[&["containers"], words].concat())
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Waits until there is one, at most [`PATIENCE`].
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < *PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// A port that is free right now.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// Containers and their network, removed when this is dropped. All names begin with `bramble-test-`, so that the tier
/// can take away what a run left that was killed.
pub(crate) struct Made {
    containers: Vec<String>,
    network: String,
}

impl Made {
    pub(crate) fn new(containers: &[&str], network: &str) -> Self {
        Self { containers: containers.iter().map(|name| (*name).to_owned()).collect(), network: network.to_owned() }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // Some may never have been made.
        let _ = command("docker", &["rm", "--force"]).args(&self.containers).output();
        let _ = command("docker", &["network", "rm", &self.network]).output();
    }
}

//! A role as a child process. The child reads a pipe that only this process holds open: when this process ends, however
//! it ends, the pipe closes and the child ends too.

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bramble::timeout::timeout;
use futures_lite::StreamExt as _;
use futures_lite::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};
use smol::Executor;
use smol::process::{ChildStderr, Command};

use crate::Failure;

/// A child that was asked to end has this long: its goodbye takes 1.5 s.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// The colours of the prefixes, one child after the other.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// Starts children.
pub(super) struct Spawner {
    program: PathBuf,
    cluster: String,
    executor: Arc<Executor<'static>>,
    is_coloured: bool,
    next_colour: Cell<usize>,
}

/// A role that runs.
pub(super) struct Child {
    pub(super) name: String,
    /// Where it serves, once it does.
    pub(super) addr: Option<SocketAddr>,
    process: smol::process::Child,
    has_ended: bool,
}

impl Spawner {
    pub(super) fn new(executor: Arc<Executor<'static>>, cluster: &str) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(|error| Failure::Running(format!("own program: {error}")))?;
        Ok(Self {
            program,
            cluster: cluster.to_owned(),
            executor,
            is_coloured: io::stderr().is_terminal(),
            next_colour: Cell::default(),
        })
    }

    /// Starts a role on loopback. It reads no configuration but `variables`, so that the demo is the same everywhere.
    pub(super) fn start(&self, name: &str, args: &[&str], variables: &[(&str, String)]) -> Result<Child, Failure> {
        let mut command = std::process::Command::new(&self.program);
        // Ctrl-C in the terminal is for this process, which then ends its children in order.
        command.process_group(0);
        let mut command = Command::from(command);
        command.args(args).args(["--config", "/dev/null", "--until-stdin-closes"]);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("BRAMBLE__") {
                command.env_remove(variable);
            }
        }
        command.env("BRAMBLE__DISCOVERY__INTERFACES", r#"["lo"]"#).env("BRAMBLE__NODE__CLUSTER", &self.cluster);
        command.envs(variables.iter().map(|(variable, value)| (variable, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().map_err(|error| Failure::Running(format!("{name}: {error}")))?;
        if let Some(log) = process.stderr.take() {
            self.executor.spawn(pass_on(log, self.prefix(name))).detach();
        }
        Ok(Child { name: name.into(), addr: None, process, has_ended: false })
    }

    pub(super) fn executor(&self) -> &Executor<'static> {
        &self.executor
    }

    fn prefix(&self, name: &str) -> String {
        let number = self.next_colour.get();
        self.next_colour.set(number + 1);
        if self.is_coloured {
            format!("\x1b[{}m{name:>11}\x1b[0m ", COLOURS[number % COLOURS.len()])
        } else {
            format!("{name:>11} ")
        }
    }
}

impl Child {
    /// Waits for its one line on standard output, and takes the address from it.
    pub(super) async fn ready(&mut self) -> Result<SocketAddr, Failure> {
        let failed = |what: &str| Failure::Running(format!("{} {what}; its last lines say why", self.name));
        let out = self.process.stdout.take().ok_or_else(|| failed("was waited for twice"))?;
        let line = first_line(BufReader::new(out)).await.ok_or_else(|| failed("ended before it could serve"))?;
        let addr = line.strip_prefix("listening on http://").and_then(|addr| addr.parse().ok());
        let addr: SocketAddr = addr.ok_or_else(|| failed("said something else than where it listens"))?;
        self.addr = Some(addr);
        Ok(addr)
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether the child has ended; logged the first time that it has.
    pub(super) fn has_ended(&mut self) -> bool {
        if self.has_ended {
            return true;
        }
        if let Ok(Some(status)) = self.process.try_status() {
            self.has_ended = true;
            log::warn!("{} has ended: {}", self.name, in_words(status));
        }
        self.has_ended
    }

    /// Ends the child without a word.
    pub(super) fn kill(&mut self) {
        // It may have ended this moment; then there is nothing left to end.
        let _ = self.process.kill();
    }

    /// Asks the child to end.
    pub(super) fn begin_end(&mut self) {
        drop(self.process.stdin.take());
    }

    /// Waits until the child has ended; makes it end if it does not.
    pub(super) async fn end(&mut self) {
        if !matches!(timeout(ENDS_WITHIN, self.process.status()).await, Some(Ok(_))) {
            log::warn!("{} did not end by itself", self.name);
            // It may have ended this moment; then there is nothing left to end.
            let _ = self.process.kill();
            let _ = self.process.status().await;
        }
    }
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".into(),
    }
}

async fn first_line(out: impl AsyncBufRead + Unpin) -> Option<String> {
    out.lines().next().await?.ok()
}

/// Copies a child's log lines to our own, each behind its name.
async fn pass_on(log: ChildStderr, prefix: String) {
    let mut lines = BufReader::new(log).lines();
    while let Some(Ok(line)) = lines.next().await {
        // Perhaps no process reads any more; the child must be able to go on writing all the same.
        let _ = writeln!(io::stderr(), "{prefix}{line}");
    }
}

//! A program that runs for us: started with as little power as it needs, its log passed on, and gone when we are.

use std::cell::RefCell;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use bramble::timeout::timeout;
use futures_lite::AsyncRead;
use log::Level;
use rustix::process::{Pid, Resource, Rlimit};
use smol::Task;
use smol::process::{Child, ChildStdin};

use crate::console;
use crate::context::Context;
use crate::lines::Lines;
use crate::state::Origin;

/// So long after an address has come, what services say of the network may still be of the time before.
const NEW_NETWORK: Duration = Duration::from_secs(10);
/// Where the kernel's groups of processes are.
const GROUPS: &str = "/sys/fs/cgroup";

/// Program to start, with its user and its rights.
pub(crate) struct Program {
    /// Name in the log.
    pub(crate) name: String,
    pub(crate) command: std::process::Command,
    /// User and group. None: root, or in a trial the user that runs it.
    pub(crate) user: Option<u32>,
    /// Bytes of memory it may have.
    pub(crate) memory: Option<u64>,
}

/// A process that runs. Dropped, it is killed.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// While this is open, the program does not end by itself.
    pub(crate) stdin: Option<ChildStdin>,
    /// The last line of its log that told of trouble.
    last_line: Rc<RefCell<String>>,
    log: Option<Task<()>>,
}

impl Running {
    /// Ends it, if it has not ended, and returns what it said last of its troubles.
    pub(crate) async fn finish(&mut self) -> String {
        let _ = self.child.kill(); // it may have ended, that is what is wanted
        let _ = self.child.status().await;
        if let Some(log) = self.log.take() {
            let _ = timeout(Duration::from_millis(500), log).await; // a child of its own may hold the pipe open
        }
        self.last_line.take()
    }
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// The system says no.
    pub(crate) fn start(mut self, context: &Rc<Context>) -> io::Result<Running> {
        if let Some(user) = self.user.filter(|_| rustix::process::geteuid().is_root()) {
            // `std` clears the supplementary groups with these; no capability outlives the change of user, and
            // `no_new_privs`, which all our children have, keeps it so.
            self.command.uid(user).gid(user);
        }
        self.command.process_group(0); // a signal to our group, as from a terminal, is for us
        let mut command = smol::process::Command::from(self.command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let pid = child.id();
        // Should memory run out, it ends a service and not what looks after all of them.
        let score = context.machine.path(&format!("/proc/{pid}/oom_score_adj"));
        if let Err(error) = std::fs::write(score, "500") {
            log::debug!("{}: oom_score_adj: {error}", self.name);
        }
        if let Some(bytes) = self.memory {
            limit(context, &self.name, pid, bytes);
        }
        let last_line = Rc::new(RefCell::default());
        let log = child.stderr.take().map(|log| {
            let source = LogSource {
                tag: format!("{}[{pid}]", self.name),
                is_ours: self.user.is_some(),
                last_line: Rc::clone(&last_line),
            };
            context.executor.spawn(pass_on(Rc::clone(context), log, source))
        });
        let stdin = child.stdin.take();
        Ok(Running { child, stdin, last_line, log })
    }
}

/// By a group of its own, which counts also what it keeps in files in RAM. What it has taken in its first moment counts
/// elsewhere.
fn limit(context: &Context, name: &str, pid: u32, bytes: u64) {
    let machine = &context.machine;
    let controllers = machine.text(&format!("{GROUPS}/cgroup.controllers")).unwrap_or_default();
    let grouped = if controllers.split(' ').any(|controller| controller == "memory") {
        let write = |file: &str, text: String| std::fs::write(machine.path(&format!("{GROUPS}/{file}")), text);
        write("cgroup.subtree_control", "+memory".into())
            .and_then(|()| match std::fs::create_dir(machine.path(&format!("{GROUPS}/{name}"))) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                made => made,
            })
            .and_then(|()| write(&format!("{name}/memory.max"), bytes.to_string()))
            .and_then(|()| write(&format!("{name}/cgroup.procs"), pid.to_string()))
    } else {
        Err(io::Error::other("this kernel has no memory groups"))
    };
    let Err(error) = grouped else { return };
    log::info!("{name}: its address space is limited instead of its memory: {error}");
    // Address space is more than memory: the program's text, and a stack and an arena a thread.
    let most = Rlimit { current: Some(bytes * 8), maximum: Some(bytes * 8) };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Err(error) = rustix::process::prlimit(pid, Resource::As, most) {
        log::warn!("{name} runs without a memory limit: {error}");
    }
}

/// A program whose log is passed on.
struct LogSource {
    tag: String,
    /// Whether the program is one of Bramble's: of others' lines it is unknown which tell of trouble.
    is_ours: bool,
    last_line: Rc<RefCell<String>>,
}

/// Passes a program's log on, each line with its level.
async fn pass_on(context: Rc<Context>, log: impl AsyncRead + Unpin, source: LogSource) {
    let LogSource { tag, is_ours, last_line } = source;
    let mut lines = Lines::of(log);
    while let Some(line) = lines.next().await {
        let (level, words) = console::split(&line);
        if words.is_empty() {
            continue;
        }
        // Without a network each has something to say of it, also a little later; what there is to do is said
        // elsewhere.
        let has_network = context.board.get(|state| matches!(state.network.origin, Origin::Dhcp | Origin::Fixed));
        if has_network && is_ours && context.address.age().is_some_and(|age| age > NEW_NETWORK) {
            context.board.console.log(level, &tag, words);
        } else {
            context.board.console.note(level, &tag, words);
        }
        if level <= Level::Warn {
            words.clone_into(&mut last_line.borrow_mut());
        }
    }
}

/// How it ended.
pub(crate) fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".into(),
    }
}

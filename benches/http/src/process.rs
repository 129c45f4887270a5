//! A measured program must end with the measurement, however that ends, and be measured from outside: what a process
//! uses is read from `/proc`.

use std::fs;
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::Result;

/// Linux gives CPU time to user space in hundredths of a second, whatever its own clock is (`USER_HZ`).
const TICKS_A_SECOND: u64 = 100;
const PAUSE: Duration = Duration::from_millis(5);

/// Whether a signal has asked for the end of the measurement: SIGINT and SIGTERM are caught, so that an early end is an
/// error like others and everything is put away on the way out.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub(crate) fn new() -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGINT, Arc::clone(&asked))?;
        signal_hook::flag::register(SIGTERM, Arc::clone(&asked))?;
        Ok(Self(asked))
    }

    /// An error once the end is wanted.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
    }
}

/// A child that is killed when this is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts `program`. The kernel kills it if this process dies without a chance to: `setpriv` sees to that.
    pub(crate) fn start(program: &Command) -> Result<Self> {
        let name = program.get_program().to_string_lossy().into_owned();
        guarded(program).spawn().map(Self).map_err(|error| format!("cannot start {name}: {error}").into())
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// CPU time, user and system, of all its threads since its start.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The name, in parentheses, may hold anything; utime and stime are the 14th and 15th field of all.
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields).ok_or("/proc/PID/stat has no name")?;
        let ticks: Vec<u64> = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        let [user, system] = ticks[..] else { return Err("/proc/PID/stat has no CPU time".into()) };
        Ok(Duration::from_millis((user + system) * (1000 / TICKS_A_SECOND)))
    }

    /// Resident memory in KiB, counted page by page: the `VmRSS` of recent kernels is an estimate.
    pub(crate) fn rss(&self) -> Result<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0.id()))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).ok_or("smaps_rollup has no Rss")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn terminate(mut self, within: Duration) -> Result<ExitStatus> {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).ok_or("no such process")?;
        kill_process(pid, Signal::TERM)?;
        let began = Instant::now();
        while began.elapsed() < within {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(PAUSE);
        }
        Err("it did not end when asked to".into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `program` by way of `setpriv --pdeathsig`, where there is one.
fn guarded(program: &Command) -> Command {
    let mut guarded = if is_installed("setpriv") {
        let mut guarded = Command::new("setpriv");
        guarded.args(["--pdeathsig", "KILL", "--"]).arg(program.get_program());
        guarded
    } else {
        Command::new(program.get_program())
    };
    guarded.args(program.get_args()).stdin(Stdio::null()).stdout(Stdio::piped());
    guarded
}

/// Whether the shell would find `program`.
pub(crate) fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

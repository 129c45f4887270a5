//! Messages to systemd: that the service can serve, that it ends, and again and again that it lives (sd_notify(3)).
//!
//! The sign of life is a task among those that serve. A handler that blocks the executor blocks it too; then systemd
//! hears nothing for `WatchdogSec` and starts the service anew. With several threads, the last one counts.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use smol::{Executor, Timer};

/// A manager that does not read does not hold up the service.
const PATIENCE: Duration = Duration::from_millis(200);

/// Supervisor that started this process, if it wants messages.
#[derive(Debug, Clone, Default)]
pub(super) struct Supervisor {
    socket: Option<Arc<UnixDatagram>>,
    /// How often it wants a sign of life: twice in the time after which it gives up.
    every: Option<Duration>,
}

impl Supervisor {
    /// As the environment says.
    pub(super) fn of_process() -> Self {
        Self::of(|name| std::env::var_os(name), std::process::id()).unwrap_or_else(|error| {
            log::warn!("NOTIFY_SOCKET: {error}; the supervisor of this process gets no messages");
            Self::default()
        })
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>, own: u32) -> io::Result<Self> {
        let Some(name) = variable("NOTIFY_SOCKET") else { return Ok(Self::default()) };
        let addr = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&addr)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let number = |name| -> Option<u64> { variable(name)?.to_str()?.parse().ok() };
        let is_meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(own));
        let gives_up_after = number("WATCHDOG_USEC").filter(|micros| is_meant && *micros > 1);
        let every = gives_up_after.map(|micros| Duration::from_micros(micros / 2));
        Ok(Self { socket: Some(Arc::new(socket)), every })
    }

    /// Reports that the service serves, at `addr`.
    pub(super) fn ready(&self, addr: std::net::SocketAddr) {
        self.say(&format!("READY=1\nSTATUS=serving at http://{addr}"));
    }

    /// Reports that the service ends, and will have ended after `within` at the latest.
    pub(super) fn stopping(&self, within: Duration) {
        let within = within.as_micros();
        self.say(&format!("STOPPING=1\nSTATUS=ending: no new work\nEXTEND_TIMEOUT_USEC={within}"));
    }

    /// Gives signs of life for as long as `executor` runs its tasks.
    pub(super) fn feed(&self, executor: &Executor<'static>) {
        let Some(every) = self.every else { return };
        let this = self.clone();
        let feed = async move {
            loop {
                this.say("WATCHDOG=1");
                Timer::after(every).await;
            }
        };
        executor.spawn(feed).detach();
    }

    fn say(&self, text: &str) {
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(text.as_bytes())) {
            log::warn!(
                "the manager of services could not be told {}: {error}",
                text.lines().next().unwrap_or_default()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manager that wants a sign of life every `micros` / 2.
    fn manager(name: &str, micros: &str, pid: Option<&str>) -> (UnixDatagram, Supervisor) {
        let name = format!("bramble-test-{name}-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("short")).expect("free");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a valid time");
        let variables = |variable: &str| match variable {
            "NOTIFY_SOCKET" => Some(format!("@{name}").into()),
            "WATCHDOG_USEC" => Some(micros.into()),
            "WATCHDOG_PID" => pid.map(Into::into),
            _ => None,
        };
        (socket, Supervisor::of(variables, 42).expect("a socket"))
    }

    fn heard(socket: &UnixDatagram) -> io::Result<String> {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    #[test]
    fn a_blocked_executor_gives_no_sign_of_life_until_it_goes_on() {
        let (socket, supervisor) = manager("blocked", "40000", Some("42"));
        let executor = Arc::new(Executor::new());
        supervisor.feed(&executor);
        let (end, ended) = smol::channel::bounded::<()>(1);
        let running = Arc::clone(&executor);
        let thread = std::thread::spawn(move || smol::block_on(running.run(ended.recv())));
        for _ in 0..3 {
            assert_eq!(heard(&socket).expect("it lives"), "WATCHDOG=1");
        }
        let (blocked, is_blocked) = std::sync::mpsc::channel();
        let (free, is_free) = std::sync::mpsc::channel::<()>();
        executor
            .spawn(async move {
                blocked.send(()).expect("the test waits");
                let _ = is_free.recv(); // a handler that forgets that it is async
            })
            .detach();
        is_blocked.recv().expect("it runs");
        socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a valid time");
        while heard(&socket).is_ok() {} // what was said before
        socket.set_read_timeout(Some(Duration::from_millis(400))).expect("a valid time");
        assert!(heard(&socket).is_err(), "twenty signs of life are missing");
        free.send(()).expect("it waits");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a valid time");
        assert_eq!(heard(&socket).expect("it lives again"), "WATCHDOG=1");
        end.try_send(()).expect("it runs");
        thread.join().expect("no panic").expect("told to end");
    }

    #[test]
    fn a_watchdog_for_another_process_is_not_fed() {
        assert_eq!(manager("other", "40000", Some("43")).1.every, None);
        assert_eq!(manager("any", "40000", None).1.every, Some(Duration::from_millis(20)));
        assert_eq!(manager("junk", "soon", None).1.every, None);
    }

    #[test]
    fn without_a_manager_nothing_is_said_and_one_that_is_gone_is_no_failure() {
        let supervisor = Supervisor::of(|_| None, 42).expect("nothing to connect to");
        supervisor.ready(([127, 0, 0, 1], 80).into());
        let (socket, supervisor) = manager("gone", "0", None);
        drop(socket);
        supervisor.stopping(Duration::ZERO);
        let missing = |name: &str| (name == "NOTIFY_SOCKET").then(|| "/nonexistent/notify".into());
        assert!(Supervisor::of(missing, 42).is_err());
    }
}

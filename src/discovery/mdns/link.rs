//! The library's daemon, which can be thrown away with all it remembers: what this process says of itself is kept here
//! and said again by the next one.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mdns_sd::{IfKind, IfPredicate, ServiceDaemon, ServiceInfo};
use smol::Timer;

use super::Error;
use crate::discovery::interfaces::InterfaceSelection;
use crate::timeout::timeout;

/// Every this many seconds the interfaces are looked at: a new address and a cable put back heal by themselves.
const IP_CHECK_SECONDS: u32 = 2;
/// Two daemons at once need twice the memory, and in a flood the second takes the processor from the one that is to
/// end. So the old one has long to do so; one that hangs is left behind.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// Time within which the daemon's thread ends after it said so; the allocator hands on a thread's memory once it is
/// gone.
const EXITS_WITHIN: Duration = Duration::from_millis(50);

pub(super) struct Link {
    chosen: Arc<InterfaceSelection>,
    port: u16,
    state: Mutex<State>,
}

struct State {
    daemon: ServiceDaemon,
    /// Registrations of this process, no two with the same name.
    said: Vec<ServiceInfo>,
    /// Name of this process; empty if it registers nothing.
    own: Arc<str>,
    /// Whether this process is ending: nothing is started any more.
    is_over: bool,
}

impl Link {
    pub(super) fn new(chosen: InterfaceSelection, port: u16) -> Result<Self, Error> {
        let chosen = Arc::new(chosen);
        let daemon = start(&chosen, port)?;
        Ok(Self { chosen, port, state: Mutex::new(State { daemon, said: Vec::new(), own: "".into(), is_over: false }) })
    }

    /// Ends the daemon for good.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.is_over = true;
        if let Err(error) = state.daemon.shutdown() {
            log::debug!("mDNS had ended already: {error}");
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().is_over
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether the interface called `name` is used.
    pub(super) fn uses(&self, name: &str) -> bool {
        self.chosen.contains(name)
    }

    pub(super) fn daemon(&self) -> ServiceDaemon {
        self.state().daemon.clone()
    }

    /// Name of this process, once it has registered.
    pub(super) fn own(&self) -> Arc<str> {
        Arc::clone(&self.state().own)
    }

    pub(super) fn is_called(&self, own: &str) {
        self.state().own = own.into();
    }

    /// Announces `info`, instead of what had the same name before. Gives back the name.
    pub(super) fn say(&self, mut info: ServiceInfo) -> Result<String, Error> {
        info.set_interfaces(vec![predicate(&self.chosen)]);
        info.set_requires_probe(false); // 64 random bits make the name unique (RFC 6762, 8.1); it saves 750 ms
        let name = info.get_fullname().to_owned();
        let mut state = self.state();
        state.said.retain(|other| other.get_fullname() != name);
        state.said.push(info.clone());
        match state.daemon.register(info) {
            Err(mdns_sd::Error::DaemonShutdown) => Ok(name), // the next one says it
            said => Ok(said.map(|()| name)?),
        }
    }

    /// Says goodbye for `name`.
    pub(super) fn unregister(&self, name: &str) -> Result<(), Error> {
        let mut state = self.state();
        state.said.retain(|info| info.get_fullname() != name);
        state.daemon.unregister(name)?;
        Ok(())
    }

    /// Ends the daemon without a goodbye, and starts one that remembers nothing but what this process says.
    pub(super) async fn renew(&self) -> Result<(), Error> {
        let old = self.daemon();
        // Its goodbyes go nowhere.
        match old.disable_interface(IfKind::All).and_then(|()| old.shutdown()) {
            Ok(ended) => {
                let _ = timeout(ENDS_WITHIN, ended.recv_async()).await; // an error means that it has ended, too
                Timer::after(EXITS_WITHIN).await;
            }
            Err(mdns_sd::Error::DaemonShutdown) => {} // it has ended of its own
            Err(error) => return Err(error.into()),
        }
        let new = start(&self.chosen, self.port)?;
        let mut state = self.state();
        state.daemon = new;
        if state.is_over {
            state.daemon.shutdown()?;
            return Ok(());
        }
        for info in &state.said {
            state.daemon.register(info.clone())?;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("chosen", &self.chosen).field("port", &self.port).finish_non_exhaustive()
    }
}

fn start(chosen: &Arc<InterfaceSelection>, port: u16) -> Result<ServiceDaemon, Error> {
    let daemon = ServiceDaemon::new_with_port(port)?;
    daemon.set_ip_check_interval(IP_CHECK_SECONDS)?;
    daemon.disable_interface(IfKind::All)?;
    daemon.enable_interface(predicate(chosen))?;
    Ok(daemon)
}

/// IPv4 alone: a Pi's IPv6 addresses change with its router, and every LAN this is made for has IPv4.
fn predicate(chosen: &Arc<InterfaceSelection>) -> IfKind {
    let chosen = Arc::clone(chosen);
    IfKind::Predicate(IfPredicate::new(move |interface| interface.ip().is_ipv4() && chosen.contains(&interface.name)))
}

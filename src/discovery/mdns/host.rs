//! Host name of a machine: a user that types it into a browser should find it, and two machines with one name should
//! not take turns. So a name is looked for before it is announced, and watched as long as it is.
//!
//! The library has a conflict detection of its own. It looks only while it probes, so that two halves of a network that
//! come together keep one name for both; it says `pi-2` where `pi-1` is taken, which may be the name of a third; and it
//! wants to probe for each name of each service. Here the one that comes later gives way; of two that come at the same
//! time, or meet later, the one with the lower address (RFC 6762, 8.2 and 9).
//!
//! A name that was given up is not tried again before the next start, though the other may have gone: names that change
//! back and forth are of no use.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::FutureExt as _;
use mdns_sd::{DaemonEvent, HostnameResolutionEvent, Receiver, ScopedIp, ServiceDaemon, ServiceInfo};
use smol::Timer;

use super::registration::GOODBYE_TAKES;
use super::{Error, Link, flood};
use crate::timeout::timeout;
use crate::trust::Trust;

/// Entry of a host in a list of services; avahi announces it so too. Port 9 discards what it gets.
const SERVICE: (&str, u16) = ("_workstation._tcp.local.", 9);
/// Time within which another host with the name has answered: it is asked for at once, after 1 s and after 3 s.
const LOOK: Duration = Duration::from_millis(3500);
/// While there is no address, so often one is looked for.
const ADDRESS_CHECK: Duration = Duration::from_secs(1);
/// Shortest pause between two defences of a name.
const DEFENCE: Duration = Duration::from_secs(10);
/// After this long a daemon that does not work is asked again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Addresses that this machine had before; its own old announcements are no conflict.
const REMEMBERED: usize = 64;

/// Event of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostNews {
    /// The name is announced, without `.local`; perhaps with a number, if another machine has the one that was wanted.
    Announced(String),
    /// An address has come or gone.
    AddressChanged,
}

/// The name of this machine. [`HostRegistration::end`] says goodbye.
pub struct HostRegistration {
    link: Arc<Link>,
    trust: Arc<Trust>,
    wanted: String,
    /// 1 is the wanted name itself.
    number: u32,
    /// Of the service that carries the address, while it is announced.
    fullname: Option<String>,
    /// All addresses this machine has or had.
    own: BTreeSet<Ipv4Addr>,
}

/// Receiver of the answers about one name.
struct AnswerReceiver {
    daemon: ServiceDaemon,
    name: String,
    found: Receiver<HostnameResolutionEvent>,
    network: Receiver<DaemonEvent>,
}

enum NameEvent {
    /// The name exists, at these addresses.
    Name(BTreeSet<Ipv4Addr>),
    /// An announcement has left.
    Announced(String),
    AddressChanged,
    Closed,
}

/// Why a name is given up.
enum Loss {
    Name(Ipv4Addr),
    Address,
    Daemon,
}

impl HostRegistration {
    pub(super) fn new(link: Arc<Link>, trust: Arc<Trust>, wanted: &str) -> Self {
        Self { link, trust, wanted: wanted.to_owned(), number: 1, fullname: None, own: BTreeSet::new() }
    }

    /// Announces the machine, and sees to it that no two have one name. Never resolves.
    pub async fn keep(&mut self, mut tell: impl FnMut(HostNews)) {
        loop {
            match self.announce(&mut tell).await {
                Ok(Loss::Name(other)) => {
                    let lost = numbered(&self.wanted, self.number);
                    self.number += 1;
                    let next = numbered(&self.wanted, self.number);
                    log::warn!("another machine, {other}, is called {lost}.local; trying {next}.local instead");
                }
                Ok(Loss::Address) => log::info!("no address is left to announce a name with"),
                Ok(Loss::Daemon) => pause().await,
                Err(error) => {
                    log::warn!("{error}; trying again");
                    pause().await;
                }
            }
            self.goodbye();
        }
    }

    /// Says goodbye and waits until it has been sent twice.
    pub async fn end(mut self) {
        if self.goodbye() {
            Timer::after(GOODBYE_TAKES).await;
        }
        self.link.end();
    }

    fn goodbye(&mut self) -> bool {
        let Some(fullname) = self.fullname.take() else { return false };
        if let Err(error) = self.link.unregister(&fullname) {
            log::debug!("no goodbye for {fullname}: {error}");
        }
        true
    }

    /// Announces the next name, until it has to be given up.
    async fn announce(&mut self, tell: &mut impl FnMut(HostNews)) -> Result<Loss, Error> {
        let mut is_new = false;
        while self.addresses().is_empty() {
            is_new = true;
            Timer::after(ADDRESS_CHECK).await;
        }
        if is_new {
            tell(HostNews::AddressChanged);
        }
        let name = numbered(&self.wanted, self.number);
        let ear = AnswerReceiver::open(self.link.daemon(), &name)?;
        if let Some(other) = self.look(&ear).await {
            return Ok(Loss::Name(other));
        }
        self.say(&name)?;
        let flood = async {
            let much = flood::too_much(&ear.daemon, || 1, false).await;
            log::warn!("mDNS is flooded ({much}) and begins anew");
        };
        let kept = async { Some(self.keep_name(&ear, &name, tell).await) };
        let flooded = async {
            flood.await;
            None
        };
        match kept.or(flooded).await {
            Some(loss) => loss,
            None => self.link.renew().await.map(|()| Loss::Daemon),
        }
    }

    /// The address of another machine that has the name.
    async fn look(&mut self, ear: &AnswerReceiver) -> Option<Ipv4Addr> {
        let heard = async {
            loop {
                match ear.next().await {
                    NameEvent::Name(found) => {
                        let others = self.others(&found);
                        if let Some(other) = others.last() {
                            return Some(*other);
                        }
                    }
                    NameEvent::Closed => return None,
                    _ => {}
                }
            }
        };
        timeout(LOOK, heard).await.flatten()
    }

    async fn keep_name(
        &mut self,
        ear: &AnswerReceiver,
        name: &str,
        tell: &mut impl FnMut(HostNews),
    ) -> Result<Loss, Error> {
        let (mut is_told, mut defended) = (false, None::<std::time::Instant>);
        loop {
            match ear.next().await {
                NameEvent::Announced(fullname) => {
                    if !is_told && self.fullname.as_ref() == Some(&fullname) {
                        is_told = true;
                        tell(HostNews::Announced(name.to_owned()));
                    }
                }
                NameEvent::Name(found) => {
                    let others = self.others(&found);
                    let Some(other) = others.last() else { continue };
                    if self.addresses().last().is_none_or(|own| own < other) {
                        return Ok(Loss::Name(*other));
                    }
                    if defended.is_none_or(|at| at.elapsed() >= DEFENCE) {
                        log::warn!("another machine, {other}, is called {name}.local as well; this one keeps the name");
                        defended = Some(Instant::now());
                        self.say(name)?;
                    }
                }
                NameEvent::AddressChanged => {
                    tell(HostNews::AddressChanged);
                    if self.addresses().is_empty() {
                        return Ok(Loss::Address);
                    }
                }
                NameEvent::Closed => return Ok(Loss::Daemon),
            }
        }
    }

    fn say(&mut self, name: &str) -> Result<(), Error> {
        let (service, port) = SERVICE;
        // The random part makes the instance's name unique, so that only the host's name can be in conflict.
        let instance = match &self.fullname {
            Some(fullname) => fullname.split('.').next().unwrap_or_default().to_owned(),
            None => format!("{name} [{:016x}]", fastrand::u64(..)),
        };
        let host = format!("{name}.local.");
        let none: &[(&str, &str)] = &[];
        let info = ServiceInfo::new(service, &instance, &host, "", port, none)?.enable_addr_auto();
        self.fullname = Some(self.link.say(info)?);
        Ok(())
    }

    /// Addresses at which the machine is announced now, lowest first.
    fn addresses(&mut self) -> Vec<Ipv4Addr> {
        let now = self.trust.own_addresses(|name| self.link.uses(name));
        if self.own.len() > REMEMBERED {
            self.own.clear();
        }
        self.own.extend(&now);
        now
    }

    /// Addresses of `found` that are none of this machine.
    fn others(&mut self, found: &BTreeSet<Ipv4Addr>) -> BTreeSet<Ipv4Addr> {
        self.addresses(); // a new one may be announced before it is heard of
        found.difference(&self.own).copied().collect()
    }
}

impl Drop for HostRegistration {
    fn drop(&mut self) {
        self.goodbye();
    }
}

impl fmt::Debug for HostRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { link, wanted, number, .. } = self;
        f.debug_struct("Host")
            .field("link", link)
            .field("wanted", wanted)
            .field("number", number)
            .finish_non_exhaustive()
    }
}

impl AnswerReceiver {
    fn open(daemon: ServiceDaemon, name: &str) -> Result<Self, Error> {
        let name = format!("{name}.local.");
        let (network, found) = (daemon.monitor()?, daemon.resolve_hostname(&name, None)?);
        Ok(Self { daemon, name, found, network })
    }

    async fn next(&self) -> NameEvent {
        self.next_found().or(self.next_news()).await
    }

    async fn next_found(&self) -> NameEvent {
        loop {
            match self.found.recv_async().await {
                Ok(HostnameResolutionEvent::AddressesFound(_, found)) => {
                    let v4 = found.iter().filter_map(|ip| match ip {
                        ScopedIp::V4(ip) => Some(*ip.addr()),
                        _ => None,
                    });
                    return NameEvent::Name(v4.collect());
                }
                Ok(_) => {}
                Err(_) => return NameEvent::Closed,
            }
        }
    }

    async fn next_news(&self) -> NameEvent {
        loop {
            match self.network.recv_async().await {
                Ok(DaemonEvent::Announce(fullname, _)) => return NameEvent::Announced(fullname),
                Ok(DaemonEvent::IpAdd(_) | DaemonEvent::IpDel(_)) => return NameEvent::AddressChanged,
                Ok(_) => {}
                Err(_) => return NameEvent::Closed,
            }
        }
    }
}

impl Drop for AnswerReceiver {
    fn drop(&mut self) {
        let _ = self.daemon.stop_resolve_hostname(&self.name); // ended, it does not listen either
    }
}

async fn pause() {
    Timer::after(TRY_AGAIN_AFTER).await;
}

/// `pi`, `pi-2`, `pi-3`, each at most as long as a label of the DNS may be.
fn numbered(wanted: &str, number: u32) -> String {
    if number < 2 {
        return wanted.to_owned();
    }
    let end = format!("-{number}");
    let kept: String = wanted.chars().take(63 - end.len()).collect();
    kept.trim_end_matches('-').to_owned() + &end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_makes_a_name_of_its_own_that_is_still_a_label() {
        assert_eq!([1, 2, 10].map(|number| numbered("pi-1", number)), ["pi-1", "pi-1-2", "pi-1-10"]);
        let long = "a".repeat(60) + "-bc";
        assert_eq!(numbered(&long, 2), "a".repeat(60) + "-2");
        assert!(numbered(&"a".repeat(63), u32::MAX).len() <= 63);
    }
}

//! Registration of this process, from the first announcement to the goodbye.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mdns_sd::{DaemonEvent, Receiver, ServiceInfo};
use smol::Timer;

use super::{Error, Link};
use crate::discovery::txt::Place;
use crate::discovery::{Announcement, SERVICE_TYPE, Status};
use crate::timeout::timeout;
use crate::trust::Trust;

/// The library sends each goodbye a second time after 120 ms; ending before that would lose it.
pub(super) const GOODBYE_TAKES: Duration = Duration::from_millis(250);

/// How often a signed registration is looked at: the clock may have been set.
const SIGNATURE_CHECK: Duration = Duration::from_secs(10);

/// Address at which a process listens, as far as it can be announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListenAddress {
    /// None: every address of the interfaces that mDNS uses.
    only: Option<Ipv4Addr>,
    pub(super) port: u16,
}

impl ListenAddress {
    /// At `addr`. `uses_loopback`: whether mDNS uses the interface `lo`.
    ///
    /// # Errors
    /// Nothing that hears the announcement could reach it there.
    pub(super) fn at(addr: SocketAddr, uses_loopback: bool) -> Result<Self, Error> {
        let only = match addr.ip().to_canonical() {
            ip if ip.is_unspecified() => None,
            ip if ip.is_loopback() && !uses_loopback => return Err(Error::OnLoopback { addr }),
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => return Err(Error::NotIpv4 { addr }),
        };
        Ok(Self { only, port: addr.port() })
    }

    /// Why nothing may have been announced.
    pub(super) fn silent(self, mdns_port: u16) -> Error {
        match self.only {
            Some(ip) => Error::NotOnInterface { ip },
            None => Error::Silent { port: mdns_port },
        }
    }
}

/// Registration of this process, as others see it. [`Registration::end`] says goodbye; so does dropping it, if a thread
/// is left to.
pub struct Registration {
    link: Arc<Link>,
    trust: Arc<Trust>,
    pub(super) said: Announcement,
    listens: ListenAddress,
    /// Addresses that were signed last, with a cluster's key.
    pub(super) signed: Option<Place>,
    /// Full names to unregister.
    names: Vec<String>,
}

impl Registration {
    pub(super) fn new(
        link: Arc<Link>,
        trust: Arc<Trust>,
        said: Announcement,
        listens: ListenAddress,
        title: Option<&str>,
    ) -> Result<Self, Error> {
        link.is_called(&said.id);
        let mut registration = Self { link, trust, said, listens, signed: None, names: Vec::new() };
        registration.announce()?;
        if let Some(title) = title {
            registration.announce_page(title)?;
        }
        Ok(registration)
    }

    /// Tells everybody that no new calls are wanted.
    pub fn drain(&mut self) {
        self.said.status = Status::Drain;
        if let Err(error) = self.announce() {
            log::warn!("could not announce the end: {error}");
        }
    }

    /// Signs anew whenever half of a signature's time is over, the clock was set, or an address has come or gone. Never
    /// resolves.
    pub async fn stay_signed(&mut self) {
        let mut heard: Option<Receiver<DaemonEvent>> = None;
        while self.trust.key().is_some() {
            // Asked for before the addresses are looked at, so that no change falls between; anew of a new daemon.
            heard = heard.filter(|heard| !heard.is_disconnected()).or_else(|| self.link.daemon().monitor().ok());
            if self.signed.as_ref().is_none_or(|last| !last.is_as_good_as(&self.place(), SystemTime::now())) {
                if let Err(error) = self.announce() {
                    log::warn!("could not sign the registration anew: {error}");
                }
            }
            match &heard {
                Some(heard) => drop(timeout(SIGNATURE_CHECK, addresses_changed(heard)).await),
                None => drop(Timer::after(SIGNATURE_CHECK).await),
            }
        }
        std::future::pending::<()>().await;
    }

    /// Where it is now.
    pub(super) fn place(&self) -> Place {
        let mut addresses = self.trust.own_addresses(|name| self.link.uses(name));
        addresses.retain(|ip| self.listens.only.is_none_or(|only| only == *ip));
        Place::new(&addresses, self.listens.port, SystemTime::now())
    }

    /// Says goodbye and waits until it has been sent twice.
    pub async fn end(mut self) {
        self.goodbye();
        Timer::after(GOODBYE_TAKES).await;
    }

    fn goodbye(&mut self) {
        for name in self.names.drain(..) {
            if let Err(error) = self.link.unregister(&name) {
                log::warn!("no goodbye for {name}: {error}");
            }
        }
    }

    fn announce(&mut self) -> Result<(), Error> {
        let service_type = format!("_{}._sub.{SERVICE_TYPE}", self.said.service);
        let txt = match self.trust.key() {
            Some(key) => {
                let place = self.place();
                let txt = self.said.to_signed_txt(&place, key);
                self.signed = Some(place);
                txt
            }
            None => self.said.to_txt(),
        };
        let id = self.said.id.clone();
        self.publish(&service_type, &id, &txt)
    }

    fn announce_page(&mut self, title: &str) -> Result<(), Error> {
        // Four digits tell the pages of one LAN apart, and a person can read them.
        let short = self.said.id.rsplit('-').next().and_then(|hex| hex.get(..4)).unwrap_or_default();
        let name = format!("{title} {short}");
        let txt = [("path", self.said.path.clone())];
        self.publish("_http._tcp.local.", &name, &txt)
    }

    fn publish(&mut self, service_type: &str, name: &str, txt: &[(&'static str, String)]) -> Result<(), Error> {
        let host = format!("{}.local.", self.said.id);
        let ListenAddress { only, port } = self.listens;
        let info = match only {
            Some(ip) => ServiceInfo::new(service_type, name, &host, IpAddr::V4(ip), port, txt)?,
            None => ServiceInfo::new(service_type, name, &host, "", port, txt)?.enable_addr_auto(),
        };
        let fullname = self.link.say(info)?;
        if !self.names.contains(&fullname) {
            self.names.push(fullname);
        }
        Ok(())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.goodbye();
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("said", &self.said).field("listens", &self.listens).finish_non_exhaustive()
    }
}

/// Resolves when an address of this machine has come or gone.
async fn addresses_changed(heard: &Receiver<DaemonEvent>) {
    loop {
        match heard.recv_async().await {
            Ok(DaemonEvent::IpAdd(_) | DaemonEvent::IpDel(_)) => return,
            Ok(_) => {}
            Err(_) => return std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(addr: &str, uses_loopback: bool) -> Result<Option<Ipv4Addr>, String> {
        let addr = addr.parse().expect("an address");
        ListenAddress::at(addr, uses_loopback).map(|listens| listens.only).map_err(|error| error.to_string())
    }

    #[test]
    fn a_service_that_listens_at_one_address_announces_that_one_alone() {
        assert_eq!(only("0.0.0.0:80", false), Ok(None));
        assert_eq!(only("[::]:80", false), Ok(None));
        assert_eq!(only("192.0.2.7:80", false), Ok(Some([192, 0, 2, 7].into())));
        assert_eq!(only("[::ffff:192.0.2.7]:80", false), Ok(Some([192, 0, 2, 7].into())));
        assert_eq!(only("127.0.0.1:80", true), Ok(Some(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn a_service_that_others_cannot_reach_is_not_announced_and_is_told_what_to_do() {
        let told = only("127.0.0.1:8080", false).expect_err("not on the LAN");
        assert!(told.contains("127.0.0.1:8080") && told.contains("listen = \"0.0.0.0:8080\""), "{told}");
        assert!(told.contains("interfaces = [\"lo\"]"), "{told}");
        assert!(only("[2001:db8::7]:8080", true).expect_err("IPv6").contains("IPv4"));
    }
}

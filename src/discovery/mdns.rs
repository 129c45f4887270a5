//! Discovery on the LAN by multicast DNS (RFC 6762, RFC 6763), without a server: every process announces itself to all.
//! The only module that names mdns-sd.
//!
//! What mdns-sd 0.21 does that one would not expect, and what is done about it:
//!
//! - It keeps the pointer to an instance whose other records have expired, and may then never tell of it again. So
//!   nothing it says is gone is forgotten ([`super::Directory`]), and it is made to look again with an empty memory.
//! - It may forget an expired instance without telling. So it is regularly asked which it remembers.
//! - It keeps a timer for each record of each packet, for as long as the record may live. So a flood fills its memory;
//!   then it is ended and started anew, saying what it said but no goodbye.
//! - It reads packets for as long as there are any before it does anything else. Against a flood that comes faster than
//!   it can read there is no help from here; the service's memory limit is the last one.
//! - It joins the multicast group on every interface as it starts, before it can be told which to use, and leaves the
//!   others at once. All that the others see of it are these IGMP messages.

mod browse;
mod flood;
mod host;
mod link;
mod queries;
mod registration;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::FutureExt as _;
use mdns_sd::{DaemonEvent, Receiver, ResolvedService, ScopedIp};
use smol::{Executor, Task};

use super::interfaces::{InterfaceSelection, LOOPBACK};
use super::txt::ReceivedRecord;
use super::{Announcement, Directory, probe};
use crate::config;
use crate::timeout::timeout;
use crate::trust::Trust;

pub use host::{HostNews, HostRegistration};
use link::Link;
use registration::ListenAddress;
pub use registration::Registration;

/// Within this time an announcement has left, or something is in its way.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(3);

/// Why there is no discovery on the LAN.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The service listens where only this machine reaches it.
    #[error(
        "it listens at {addr} alone, where no other machine can reach it, so it is not announced by mDNS; set [server] \
         listen = \"0.0.0.0:{}\" to be found on the LAN, or [discovery] interfaces = [\"lo\"] on each service of this \
         machine to be found by these", addr.port()
    )]
    OnLoopback {
        /// Where it listens.
        addr: SocketAddr,
    },
    /// The service listens at an IPv6 address, and mDNS is used with IPv4 alone.
    #[error(
        "it listens at {addr} alone, and only IPv4 addresses are announced by mDNS, so it is not; set [server] listen = \
         \"0.0.0.0:{}\" to be found on the LAN", addr.port()
    )]
    NotIpv4 {
        /// Where it listens.
        addr: SocketAddr,
    },
    /// No announcement left the machine for the one address that the service listens at.
    #[error(
        "mDNS announced nothing within 3 s: is {ip}, where it listens, an address of an interface that mDNS uses? It uses \
         that of the default route, or those in [discovery] interfaces"
    )]
    NotOnInterface {
        /// Where it listens.
        ip: Ipv4Addr,
    },
    /// The library could not do as it was asked.
    #[error("mDNS does not work here: {0}")]
    Daemon(String),
    /// No announcement left the machine.
    #[error(
        "mDNS announced nothing within 3 s; is there an interface with an IPv4 address, and is UDP {port} allowed on it?"
    )]
    Silent {
        /// UDP port in use.
        port: u16,
    },
}

#[doc(hidden)] // for `?` in these files: no caller has an error of mdns-sd
impl From<mdns_sd::Error> for Error {
    fn from(error: mdns_sd::Error) -> Self {
        Self::Daemon(error.to_string())
    }
}

/// The part of a process in mDNS: a thread that hears and answers, for registering and for browsing.
pub struct Mdns {
    link: Arc<Link>,
    trust: Arc<Trust>,
}

impl Mdns {
    /// Starts the thread. Nothing is sent before [`Mdns::browse`] or [`Mdns::register`]. `on_loopback_too`:
    /// whether it also looks at loopback, unless interfaces are configured.
    ///
    /// # Errors
    /// When the system gives no thread or socket.
    pub fn start(config: &config::Discovery, on_loopback_too: bool) -> Result<Self, Error> {
        let chosen = InterfaceSelection::new(config.interfaces.clone(), on_loopback_too);
        if let Some(problem) = chosen.problem(Path::new("/")) {
            log::warn!("{problem}");
        }
        Ok(Self { link: Arc::new(Link::new(chosen, config.port)?), trust: Arc::default() })
    }

    /// Judges others by `trust`, and signs with its key.
    #[must_use]
    pub fn trusting(self, trust: Arc<Trust>) -> Self {
        Self { trust, ..self }
    }

    /// Enters every instance of `cluster` into `directory`, and probes those that it is told of, for as long as the
    /// task lives.
    ///
    /// # Errors
    /// When the daemon takes no more commands.
    pub fn browse(
        &self,
        cluster: String,
        directory: Directory,
        executor: &Executor<'static>,
    ) -> Result<Task<()>, Error> {
        let browser =
            browse::Browser::new(Arc::clone(&self.link), cluster, directory.clone(), Arc::clone(&self.trust))?;
        Ok(executor.spawn(async move { browser.run().or(probe::keep_probing(&directory)).await }))
    }

    /// Registers the process, which listens at `addr`, under its service, and one with a page for people also by its
    /// `title` as `_http._tcp`, which any service browser shows. An address that is not `0.0.0.0` or `::` is the only
    /// one that is announced. The future says whether an announcement has left within 3 s; the registration stands
    /// whatever it says, and is announced as soon as the network lets it.
    ///
    /// # Errors
    /// When nothing that hears the announcement could reach it at `addr`, or the daemon takes no more commands.
    pub fn register(
        &self,
        said: Announcement,
        addr: SocketAddr,
        title: Option<&str>,
    ) -> Result<(Registration, impl Future<Output = Result<(), Error>> + Send + 'static), Error> {
        let listens = ListenAddress::at(addr, self.link.uses(LOOPBACK))?;
        let heard = self.link.daemon().monitor()?;
        let registration = Registration::new(Arc::clone(&self.link), Arc::clone(&self.trust), said, listens, title)?;
        let silent = listens.silent(self.link.port());
        let is_announced = async move { timeout(ANNOUNCED_WITHIN, announced(&heard)).await.unwrap_or(Err(silent)) };
        Ok((registration, is_announced))
    }

    /// Name of this machine, `wanted`, a label of the DNS. Nothing is sent before [`HostRegistration::keep`].
    pub fn host(&self, wanted: &str) -> HostRegistration {
        HostRegistration::new(Arc::clone(&self.link), Arc::clone(&self.trust), wanted)
    }

    /// Ends the thread. To be called after every registration has ended.
    pub fn shutdown(&self) {
        self.link.end();
    }
}

impl fmt::Debug for Mdns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mdns").field("link", &self.link).finish()
    }
}

/// Resolves when an announcement has left.
async fn announced(heard: &Receiver<DaemonEvent>) -> Result<(), Error> {
    loop {
        match heard.recv_async().await {
            Ok(DaemonEvent::Announce(..)) => return Ok(()),
            Ok(DaemonEvent::Error(error)) => return Err(error.into()),
            Ok(_) => {}
            Err(_) => return Err(mdns_sd::Error::DaemonShutdown.into()),
        }
    }
}

/// Record of a found instance, without the library's types.
fn heard(found: &ResolvedService) -> ReceivedRecord<'_> {
    let v4 = found.get_addresses().iter().filter_map(|ip| match ip {
        ScopedIp::V4(ip) => Some(ip),
        _ => None,
    });
    ReceivedRecord {
        fullname: &found.fullname,
        port: found.get_port(),
        addrs: v4.flat_map(|ip| ip.interface_ids().iter().map(|interface| (*ip.addr(), interface.index))).collect(),
        txt: found.get_properties().iter().map(|property| (property.key(), property.val_str())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use smol::Timer;

    use super::*;
    use crate::discovery::probe::answering;
    use crate::discovery::txt::Place;
    use crate::discovery::{InstanceState, NewsKind, ServiceFilter, Status};

    /// Another port than 5353, so that no test hears another, and never another interface than lo.
    fn on_loopback(port: u16) -> config::Discovery {
        let mut config = config::Config::default().discovery;
        config.interfaces = vec!["lo".into()];
        config.port = port;
        config
    }

    fn announcement(id: &str, cluster: &str) -> Announcement {
        Announcement {
            cluster: cluster.into(),
            id: id.into(),
            service: "producer".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            path: "/".into(),
            zone: String::new(),
            weight: 1,
            status: Status::Up,
        }
    }

    /// Waits until `directory` is as `wanted`, or says after 10 s what it is instead.
    async fn until(directory: &Directory, wanted: impl Fn(&[(String, Status)]) -> bool) {
        let seen = || -> Vec<(String, Status)> {
            let found = directory.instances("producer");
            found.iter().flat_map(|found| found.iter()).map(|one| (one.id.to_string(), one.status)).collect()
        };
        let reached = async {
            loop {
                let changed = directory.changed();
                if wanted(&seen()) {
                    return;
                }
                changed.await;
            }
        };
        let late = async {
            Timer::after(Duration::from_secs(10)).await;
            panic!("after 10 s the directory has {:?}", seen());
        };
        reached.or(late).await;
    }

    #[test]
    fn a_process_on_loopback_is_found_seen_draining_and_gone_and_another_cluster_is_not_seen() {
        let executor = Executor::new();
        let config = on_loopback(55_353);
        let browser = Mdns::start(&config, true).expect("a thread");
        let server = Mdns::start(&config, true).expect("a thread");
        smol::block_on(executor.run(async {
            let listens = answering("producer-a", &executor);
            let directory = Directory::new(ServiceFilter::None, Instant::now());
            let _browsing = browser.browse("home".into(), directory.clone(), &executor).expect("a running daemon");
            let (other, _) =
                server.register(announcement("producer-b", "work"), listens, None).expect("a running daemon");
            let (mut own, told) = server
                .register(announcement("producer-a", "home"), listens, Some("Bramble weather"))
                .expect("a running daemon");
            told.await.expect("lo has an address");
            until(&directory, |seen| seen == [("producer-a".to_owned(), Status::Up)]).await;
            let found = directory.instances("producer").expect("just seen");
            assert_eq!(found[0].addr, listens);
            own.drain();
            until(&directory, |seen| seen == [("producer-a".to_owned(), Status::Drain)]).await;
            own.end().await;
            until(&directory, <[_]>::is_empty).await;
            other.end().await;
        }));
        browser.shutdown();
        server.shutdown();
    }

    #[test]
    fn a_daemon_that_forgets_everything_says_again_what_was_said_and_sends_no_goodbye() {
        let executor = Executor::new();
        let config = on_loopback(55_354);
        let browser = Mdns::start(&config, true).expect("a thread");
        let server = Mdns::start(&config, true).expect("a thread");
        smol::block_on(executor.run(async {
            let listens = answering("producer-a", &executor);
            let directory = Directory::new(ServiceFilter::None, Instant::now());
            let _browsing = browser.browse("home".into(), directory.clone(), &executor).expect("a running daemon");
            let (own, told) =
                server.register(announcement("producer-a", "home"), listens, None).expect("a running daemon");
            told.await.expect("lo has an address");
            until(&directory, |seen| seen.len() == 1).await;
            server.link.renew().await.expect("a new daemon");
            let late = Directory::new(ServiceFilter::None, Instant::now());
            let other = Mdns::start(&config, true).expect("a thread");
            let _looking = other.browse("home".into(), late.clone(), &executor).expect("a running daemon");
            until(&late, |seen| seen == [("producer-a".to_owned(), Status::Up)]).await;
            other.shutdown();
            Timer::after(Duration::from_millis(1500)).await; // a goodbye takes effect after a second
            let now = Instant::now();
            assert_eq!(directory.all(now)[0].standing, InstanceState::Confirmed);
            assert_eq!(directory.events(now).iter().map(|news| news.what).collect::<Vec<_>>(), [NewsKind::Registered]);
            own.end().await;
        }));
        browser.shutdown();
        server.shutdown();
    }

    #[test]
    fn a_daemon_that_has_ended_of_its_own_is_replaced() {
        let mdns = Mdns::start(&on_loopback(55_397), true).expect("a thread");
        let ended = mdns.link.daemon().shutdown().expect("a running daemon");
        smol::block_on(async {
            ended.recv_async().await.expect("it says so");
            while mdns.link.daemon().get_metrics().is_ok() {
                smol::future::yield_now().await; // until its thread is gone
            }
            mdns.link.renew().await.expect("a new daemon");
        });
        let metrics = mdns.link.daemon().get_metrics().expect("it takes commands");
        metrics.recv().expect("it answers");
        mdns.shutdown();
    }

    #[test]
    fn a_registration_is_signed_anew_when_it_has_another_address_than_it_signed() {
        let executor = Executor::new();
        let config = on_loopback(55_398);
        let trust = || Arc::new(Trust::new(Some(crate::trust::ClusterKey::of("spring:a secret of the cluster"))));
        let browser = Mdns::start(&config, true).expect("a thread").trusting(trust());
        let server = Mdns::start(&config, true).expect("a thread").trusting(trust());
        smol::block_on(executor.run(async {
            let listens = answering("producer-a", &executor);
            let directory = Directory::new(ServiceFilter::None, Instant::now());
            let _browsing = browser.browse("home".into(), directory.clone(), &executor).expect("a running daemon");
            let (mut own, told) =
                server.register(announcement("producer-a", "home"), listens, None).expect("a running daemon");
            told.await.expect("lo has an address");
            until(&directory, |seen| seen == [("producer-a".to_owned(), Status::Up)]).await;
            own.signed = Some(Place::new(&[[192, 0, 2, 7].into()], listens.port(), SystemTime::now()));
            own.said.status = Status::Drain; // told with the next signature, and not before
            let seen = until(&directory, |seen| seen == [("producer-a".to_owned(), Status::Drain)]);
            own.stay_signed().or(seen).await;
            assert!(own.signed.as_ref().is_some_and(|last| last.is_as_good_as(&own.place(), SystemTime::now())));
            own.end().await;
        }));
        browser.shutdown();
        server.shutdown();
    }
}

//! Finding each other on the LAN by multicast DNS (RFC 6762, RFC 6763): nobody is asked, everybody is told. The only
//! file that names mdns-sd.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_lite::FutureExt as _;
use mdns_sd::{
    DaemonEvent, IfKind, IfPredicate, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo,
};
use smol::{Executor, Task, Timer};

use super::interfaces::Chosen;
use super::txt::{self, Heard, Place, Refused};
use super::{Announcement, Change, Directory, SERVICE_TYPE, Source, Status};
use crate::config::{self, Role};
use crate::trust::Trust;
use crate::trust::record::Doubt;

/// Every this many seconds the interfaces are looked at: a new address and a cable put back heal by themselves.
const IP_CHECK_SECONDS: u32 = 2;
/// Within this time an announcement has left, or something is in its way.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(3);
/// The library sends each goodbye a second time after 120 ms; ending before that would lose it.
const GOODBYE_TAKES: Duration = Duration::from_millis(250);

/// How often a signed registration is looked at: the clock may have been set.
const SIGNATURE_CHECK: Duration = Duration::from_secs(10);

/// Why there is no discovery on the LAN.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library could not do as it was asked.
    #[error("mDNS does not work here: {0}")]
    Daemon(#[from] mdns_sd::Error),
    /// Nothing left the machine.
    #[error(
        "mDNS announced nothing within 3 s; is there an interface with an IPv4 address, and is UDP {port} allowed on it?"
    )]
    Silent {
        /// UDP port in use.
        port: u16,
    },
}

/// One process's part in mDNS: a thread that hears and answers, for registering and for browsing.
pub struct Mdns {
    daemon: ServiceDaemon,
    chosen: Arc<Chosen>,
    port: u16,
    trust: Arc<Trust>,
}

impl Mdns {
    /// Starts the thread. Nothing is sent before [`Mdns::browse`] or [`Mdns::register`]. A command in a terminal also
    /// looks at loopback, unless interfaces are configured.
    ///
    /// # Errors
    /// When the system gives no thread or socket.
    pub fn start(config: &config::Discovery, role: Role) -> Result<Self, Error> {
        let chosen = Arc::new(Chosen::new(config.interfaces.clone(), role == Role::Command));
        let daemon = ServiceDaemon::new_with_port(config.port)?;
        daemon.set_ip_check_interval(IP_CHECK_SECONDS)?;
        daemon.disable_interface(IfKind::All)?;
        daemon.enable_interface(predicate(&chosen))?;
        Ok(Self { daemon, chosen, port: config.port, trust: Arc::default() })
    }

    /// Judges others by `trust`, and signs with its key.
    #[must_use]
    pub fn trusting(self, trust: Arc<Trust>) -> Self {
        Self { trust, ..self }
    }

    /// Enters every instance of `cluster` into `directory`, for as long as the task lives.
    ///
    /// # Errors
    /// When the daemon takes no more commands.
    pub fn browse(
        &self,
        cluster: String,
        directory: Directory,
        executor: &Executor<'static>,
    ) -> Result<Task<()>, Error> {
        let events = self.daemon.browse(SERVICE_TYPE)?;
        let daemon = self.daemon.clone();
        let trust = Arc::clone(&self.trust);
        Ok(executor.spawn(async move {
            let mut events = events;
            // The library ends a browse whose events are not taken in time; then what was missed is asked for again.
            loop {
                read(&events, &cluster, &directory, &trust).await;
                log::warn!("mDNS stopped telling; asking again");
                Timer::after(Duration::from_secs(1)).await;
                match daemon.browse(SERVICE_TYPE) {
                    Ok(again) => events = again,
                    Err(error) => return log::error!("mDNS has ended, nobody new will be found: {error}"),
                }
            }
        }))
    }

    /// Registers the process under its service, and a form also as `_http._tcp`, which any service browser shows.
    /// The future says whether an announcement has left within 3 s; the registration stands whatever it says, and is
    /// announced as soon as the network lets it.
    ///
    /// # Errors
    /// When the daemon takes no more commands.
    pub fn register(
        &self,
        said: Announcement,
        port: u16,
        is_form: bool,
    ) -> Result<(Registration, impl Future<Output = Result<(), Error>> + Send + 'static), Error> {
        let heard = self.daemon.monitor()?;
        let mut registration = Registration {
            daemon: self.daemon.clone(),
            chosen: Arc::clone(&self.chosen),
            trust: Arc::clone(&self.trust),
            said,
            port,
            signed: None,
            names: Vec::new(),
        };
        registration.announce()?;
        if is_form {
            registration.announce_form()?;
        }
        let mdns_port = self.port;
        let late = async move {
            Timer::after(ANNOUNCED_WITHIN).await;
            Err(Error::Silent { port: mdns_port })
        };
        Ok((registration, async move { announced(&heard).or(late).await }))
    }

    /// Ends the thread. To be called after every registration has ended.
    pub fn shutdown(&self) {
        if let Err(error) = self.daemon.shutdown() {
            log::debug!("mDNS had ended already: {error}");
        }
    }
}

/// What others see of this process. [`Registration::end`] says goodbye; so does dropping it, if a thread is left to.
pub struct Registration {
    daemon: ServiceDaemon,
    chosen: Arc<Chosen>,
    trust: Arc<Trust>,
    said: Announcement,
    port: u16,
    /// What was signed last, with a cluster's key.
    signed: Option<Place>,
    /// Full names to unregister.
    names: Vec<String>,
}

impl Registration {
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
        // Asked for before the addresses are looked at, so that no change falls between.
        let heard = self.trust.key().and_then(|_| self.daemon.monitor().ok());
        while self.trust.key().is_some() {
            if self.signed.as_ref().is_none_or(|last| !last.is_as_good_as(&self.place(), SystemTime::now())) {
                if let Err(error) = self.announce() {
                    log::warn!("could not sign the registration anew: {error}");
                }
            }
            let pause = async {
                Timer::after(SIGNATURE_CHECK).await;
            };
            match &heard {
                Some(heard) => addresses_changed(heard).or(pause).await,
                None => pause.await,
            }
        }
        std::future::pending::<()>().await;
    }

    /// Where it is now.
    fn place(&self) -> Place {
        let addresses = self.trust.own_addresses(|name| self.chosen.contains(name));
        Place::new(&addresses, self.port, SystemTime::now())
    }

    /// Says goodbye and waits until it has been sent twice.
    pub async fn end(mut self) {
        self.goodbye();
        Timer::after(GOODBYE_TAKES).await;
    }

    fn goodbye(&mut self) {
        for name in self.names.drain(..) {
            if let Err(error) = self.daemon.unregister(&name) {
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

    fn announce_form(&mut self) -> Result<(), Error> {
        // Four digits tell the forms of one LAN apart, and a person can read them.
        let short = self.said.id.rsplit('-').next().and_then(|hex| hex.get(..4)).unwrap_or_default();
        let name = format!("Bramble weather {short}");
        let txt = [("path", self.said.path.clone())];
        self.publish("_http._tcp.local.", &name, &txt)
    }

    fn publish(&mut self, service_type: &str, name: &str, txt: &[(&'static str, String)]) -> Result<(), Error> {
        let host = format!("{}.local.", self.said.id);
        let mut info = ServiceInfo::new(service_type, name, &host, "", self.port, txt)?.enable_addr_auto();
        info.set_interfaces(vec![predicate(&self.chosen)]);
        info.set_requires_probe(false); // 64 random bits make the name unique (RFC 6762, 8.1); it saves 750 ms
        let fullname = info.get_fullname().to_owned();
        self.daemon.register(info)?;
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

impl fmt::Debug for Mdns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mdns").field("chosen", &self.chosen).field("port", &self.port).finish_non_exhaustive()
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("said", &self.said).field("port", &self.port).finish_non_exhaustive()
    }
}

/// IPv4 alone: a Pi's IPv6 addresses change with its router, and every LAN this is made for has IPv4.
fn predicate(chosen: &Arc<Chosen>) -> IfKind {
    let chosen = Arc::clone(chosen);
    IfKind::Predicate(IfPredicate::new(move |interface| interface.ip().is_ipv4() && chosen.contains(&interface.name)))
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

/// Takes in what is told until the library ends it.
async fn read(events: &Receiver<ServiceEvent>, cluster: &str, directory: &Directory, trust: &Trust) {
    while let Ok(event) = events.recv_async().await {
        let now = Instant::now();
        match event {
            ServiceEvent::ServiceResolved(found) => {
                match txt::understand(&heard(&found), cluster, trust, SystemTime::now()) {
                    Ok(instance) => directory.apply(Source::Mdns, &found.fullname, Change::Is(instance), now),
                    Err(Refused::Doubt(Doubt::Expired)) => {
                        directory.apply(Source::Mdns, &found.fullname, Change::Gone, now);
                    }
                    Err(refused) => log::debug!("{} is not taken in: {refused}", found.fullname),
                }
            }
            ServiceEvent::ServiceRemoved(_, name) => {
                trust.forget(&name);
                directory.apply(Source::Mdns, &name, Change::Gone, now);
            }
            _ => {}
        }
    }
}

/// What was found, without the library's types.
fn heard(found: &ResolvedService) -> Heard<'_> {
    let v4 = found.get_addresses().iter().filter_map(|ip| match ip {
        ScopedIp::V4(ip) => Some(ip),
        _ => None,
    });
    Heard {
        fullname: &found.fullname,
        port: found.get_port(),
        addrs: v4.flat_map(|ip| ip.interface_ids().iter().map(|interface| (*ip.addr(), interface.index))).collect(),
        txt: found.get_properties().iter().map(|property| (property.key(), property.val_str())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    /// Another port than 5353, so that no test hears another, and never another interface than lo.
    fn on_loopback(port: u16) -> config::Discovery {
        let mut config = config::Config::for_role(Role::Command).discovery;
        config.interfaces = vec!["lo".into()];
        config.port = port;
        config
    }

    fn announcement(id: &str, cluster: &str) -> Announcement {
        Announcement {
            cluster: cluster.into(),
            id: id.into(),
            service: "producer".into(),
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
        let browser = Mdns::start(&config, Role::Command).expect("a thread");
        let server = Mdns::start(&config, Role::Command).expect("a thread");
        smol::block_on(executor.run(async {
            let directory = Directory::new(crate::discovery::Told::Nobody, Instant::now());
            let _browsing = browser.browse("home".into(), directory.clone(), &executor).expect("a running daemon");
            let (other, _) =
                server.register(announcement("producer-b", "work"), 4712, false).expect("a running daemon");
            let (mut own, told) =
                server.register(announcement("producer-a", "home"), 4711, true).expect("a running daemon");
            told.await.expect("lo has an address");
            until(&directory, |seen| seen == [("producer-a".to_owned(), Status::Up)]).await;
            let found = directory.instances("producer").expect("just seen");
            assert_eq!(found[0].addr, SocketAddr::from(([127, 0, 0, 1], 4711)));
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
    fn a_registration_is_signed_anew_when_it_has_another_address_than_it_signed() {
        let executor = Executor::new();
        let config = on_loopback(55_398);
        let trust = || Arc::new(Trust::new(Some(crate::trust::ClusterKey::of("spring:a secret of the cluster"))));
        let browser = Mdns::start(&config, Role::Command).expect("a thread").trusting(trust());
        let server = Mdns::start(&config, Role::Command).expect("a thread").trusting(trust());
        smol::block_on(executor.run(async {
            let directory = Directory::new(crate::discovery::Told::Nobody, Instant::now());
            let _browsing = browser.browse("home".into(), directory.clone(), &executor).expect("a running daemon");
            let (mut own, told) =
                server.register(announcement("producer-a", "home"), 4711, false).expect("a running daemon");
            told.await.expect("lo has an address");
            until(&directory, |seen| seen == [("producer-a".to_owned(), Status::Up)]).await;
            own.signed = Some(Place::new(&[[192, 0, 2, 7].into()], 4711, SystemTime::now()));
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

//! Browses for instances, and sees to it that what is heard stays true: nothing heard is believed to be gone, and all
//! instances are asked again when there is a reason to.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_lite::FutureExt as _;
use mdns_sd::{DaemonEvent, Receiver, ServiceDaemon, ServiceEvent};
use smol::Timer;

use super::queries::{Next, QuerySchedule};
use super::{Error, Link, flood, heard};
use crate::discovery::txt::{self, Refused};
use crate::discovery::{Change, Directory, SERVICE_TYPE, Source};
use crate::trust::Trust;
use crate::trust::record::RecordError;

/// Time within which an instance that is there has answered a look: it is asked at once, and again after 1 s and 3 s.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// Time within which the library has named all instances it remembers. It is a matter of microseconds, unless the
/// machine is busy; an instance that is named too late is asked by TCP for nothing.
const NAMED_WITHIN: Duration = Duration::from_millis(300);
/// During a flood, the rest of the program gets this long between two daemons.
const RESTART_PAUSE: Duration = Duration::from_millis(200);
/// Time for which the next flood is watched for closely, after one has flooded the network.
const ALERT_FOR: Duration = Duration::from_secs(60);
/// After this long a daemon that could not be started is started again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

pub(super) struct Browser {
    link: Arc<Link>,
    cluster: String,
    directory: Directory,
    trust: Arc<Trust>,
    looks: QuerySchedule,
    /// Events of the daemon in use, from before it was told to browse.
    ear: EventReceiver,
    /// When the last flood was noticed.
    flooded: Option<Instant>,
}

/// Events of the library.
struct EventReceiver {
    found: Receiver<ServiceEvent>,
    network: Receiver<DaemonEvent>,
}

/// Question to the library, and its time.
struct SentQuery {
    at: Instant,
    what: Next,
}

/// Why a browse ends.
enum End {
    /// A question is due, to all instances or the library.
    Due(Next),
    /// The library has stopped telling: too many events were unread, or it has ended.
    Closed,
    /// The library remembers too much.
    Flood(String),
}

impl Browser {
    pub(super) fn new(
        link: Arc<Link>,
        cluster: String,
        directory: Directory,
        trust: Arc<Trust>,
    ) -> Result<Self, Error> {
        let ear = listen(&link.daemon())?;
        Ok(Self { link, cluster, directory, trust, looks: QuerySchedule::new(Instant::now()), ear, flooded: None })
    }

    /// Goes on until this process ends.
    pub(super) async fn run(mut self) {
        let mut asked = SentQuery { at: Instant::now(), what: Next::Look };
        loop {
            let daemon = self.link.daemon();
            let end = self.hear(&daemon, &asked).await;
            if self.link.is_over() {
                return;
            }
            let at = Instant::now();
            let asked_before = asked.what;
            asked = SentQuery { at, what: if let End::Due(what) = end { what } else { Next::Look } };
            let ear = match end {
                End::Due(Next::Remembered) => list_remembered(&daemon),
                End::Due(Next::Look) => listen_anew(&daemon),
                End::Closed if asked_before == Next::Remembered => {
                    log::debug!("mDNS remembers more than it can tell at once");
                    self.looks.call_no_more();
                    listen_anew(&daemon)
                }
                End::Closed => self.start_anew("it told more than could be read").await,
                End::Flood(size) => self.start_anew(&format!("it remembers {size}")).await,
            };
            self.ear = match ear {
                Ok(ear) => ear,
                Err(error) => match self.revive(error).await {
                    Some(ear) => ear,
                    None => return,
                },
            };
            match asked.what {
                Next::Look => self.looks.looked(self.directory.is_alone(&self.link.own()), at),
                Next::Remembered => self.looks.called(at),
            }
        }
    }

    async fn start_anew(&mut self, why: &str) -> Result<EventReceiver, Error> {
        self.flooded = Some(Instant::now());
        log::warn!("mDNS is started anew, since {why}; is a device flooding this network?");
        Timer::after(RESTART_PAUSE).await;
        self.link.renew().await?;
        listen(&self.link.daemon())
    }

    /// Ends a daemon that takes no commands, and starts another until one does. None if this process is ending.
    async fn revive(&self, mut error: Error) -> Option<EventReceiver> {
        loop {
            if self.link.is_over() {
                return None;
            }
            log::error!("{error}; starting it anew");
            Timer::after(TRY_AGAIN_AFTER).await;
            match self.link.renew().await.and_then(|()| listen(&self.link.daemon())) {
                Ok(ear) => return Some(ear),
                Err(again) => error = again,
            }
        }
    }

    /// Takes in what is told, until there is a reason to ask anew.
    async fn hear(&mut self, daemon: &ServiceDaemon, asked: &SentQuery) -> End {
        let Self { link, cluster, directory, trust, looks, ear, flooded } = self;
        let is_likely = flooded.is_some_and(|at| at.elapsed() < ALERT_FOR);
        let found = async {
            while let Ok(event) = ear.found.recv_async().await {
                take_in(event, cluster, directory, trust);
            }
            End::Closed
        };
        let doubt = async {
            match asked.what {
                Next::Look => Timer::at(asked.at + ANSWERED_WITHIN).await,
                Next::Remembered => Timer::at(asked.at + NAMED_WITHIN).await,
            };
            // A look after a look would find no more.
            directory.doubt_unheard_since(asked.at, asked.what == Next::Remembered, Instant::now());
            std::future::pending().await
        };
        let flood = async { End::Flood(flood::too_much(daemon, || directory.len(), is_likely).await) };
        let look = async {
            loop {
                let changed = directory.changed();
                let (due, what) = looks.next(directory.is_alone(&link.own()));
                let wanted = async {
                    directory.wants_look().await;
                    Sign::Wanted
                };
                let sign = wanted.or(interface_change(&ear.network)).or(due_at(due)).or(change(changed)).await;
                let now = Instant::now();
                match sign {
                    Sign::Due => return End::Due(what),
                    Sign::Changed => {}
                    Sign::Interface => looks.interface_has_changed(now),
                    Sign::Wanted => looks.want_look(now, &mut fastrand::Rng::new()),
                }
            }
        };
        found.or(look).or(doubt).or(flood).await
    }
}

/// Sign that may be a reason to look.
enum Sign {
    Wanted,
    Interface,
    Changed,
    Due,
}

async fn due_at(due: Instant) -> Sign {
    Timer::at(due).await;
    Sign::Due
}

async fn change(changed: impl Future<Output = ()>) -> Sign {
    changed.await;
    Sign::Changed
}

/// Resolves when an address has come or gone.
async fn interface_change(network: &Receiver<DaemonEvent>) -> Sign {
    loop {
        match network.recv_async().await {
            Ok(DaemonEvent::IpAdd(ip) | DaemonEvent::IpDel(ip)) => {
                log::debug!("mDNS: the address {ip} has come or gone");
                return Sign::Interface;
            }
            Ok(_) => {}
            Err(_) => std::future::pending().await, // the daemon has ended; the reader of its findings sees that too
        }
    }
}

fn listen(daemon: &ServiceDaemon) -> Result<EventReceiver, Error> {
    Ok(EventReceiver { network: daemon.monitor()?, found: daemon.browse(SERVICE_TYPE)? })
}

/// With nothing remembered: all it remembers, told at once, may be more than it can tell.
fn listen_anew(daemon: &ServiceDaemon) -> Result<EventReceiver, Error> {
    daemon.stop_browse(SERVICE_TYPE)?;
    listen(daemon)
}

/// Asks the library which instances it remembers, and for changes from now on; nothing is sent. It tells of expired
/// ones only if its tables happen to lie in the right order: an instance is in them by type and by subtype, and counts
/// as expired where it is found first.
fn list_remembered(daemon: &ServiceDaemon) -> Result<EventReceiver, Error> {
    Ok(EventReceiver { network: daemon.monitor()?, found: daemon.browse_cache(SERVICE_TYPE)? })
}

fn take_in(event: ServiceEvent, cluster: &str, directory: &Directory, trust: &Trust) {
    let now = Instant::now();
    match event {
        ServiceEvent::ServiceResolved(found) => {
            match txt::understand(&heard(&found), cluster, trust, SystemTime::now()) {
                Ok((instance, addrs)) => {
                    directory.apply(Source::Mdns, &found.fullname, Change::Announced(instance, addrs), now);
                }
                Err(Refused::Doubt(RecordError::Expired)) => {
                    directory.apply(Source::Mdns, &found.fullname, Change::Gone, now);
                }
                Err(refused) => log::debug!("{} is not taken in: {refused}", found.fullname),
            }
        }
        ServiceEvent::ServiceRemoved(_, name) => {
            trust.forget(&name);
            directory.apply(Source::Mdns, &name, Change::Unheard, now);
        }
        _ => {}
    }
}

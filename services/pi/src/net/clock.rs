//! Schedule of time servers, and which to believe: soon and often until one has answered, then seldom; of several
//! the middle one, so that one alone that is wrong does no harm.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bramble::discovery::dns::Resolver;
use bramble::timeout::timeout;
use futures_lite::FutureExt as _;
use smol::channel::Receiver;
use smol::net::UdpSocket;
use smol::{Executor, Timer};

use super::Event;
use super::ntp::{self, Refused};

/// Of NTP.
pub(super) const PORT: u16 = 123;
/// How long a name and an answer may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// First pause while no server has answered yet; doubled each time.
const SOON: Duration = Duration::from_secs(4);
/// No server is asked more often, once the time is known.
const SELDOM: Duration = Duration::from_secs(64);
/// The longest pause: a cheap quartz is wrong by 0.1 s then.
const SELDOMEST: Duration = Duration::from_secs(1024);
/// Servers that are remembered for not wanting to be asked.
const MAX_KISS_CODES: usize = 64;

/// When to ask next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    is_set: bool,
    pause: Duration,
}

impl Pace {
    fn new() -> Self {
        Self { is_set: false, pause: SOON }
    }

    /// Pause after a round, by whether a server answered in it.
    fn after(&mut self, is_answered: bool) -> Duration {
        if is_answered && !self.is_set {
            *self = Self { is_set: true, pause: SELDOM };
        }
        let pause = self.pause;
        let most = if self.is_set { SELDOMEST } else { SELDOM };
        self.pause = (pause * 2).min(most);
        pause
    }

    /// The network has changed: what did not work may work now.
    fn again(&mut self) {
        self.pause = if self.is_set { SELDOM } else { SOON };
    }
}

/// Servers that do not want to be asked, and until when.
#[derive(Debug, Default)]
struct KissCodes(HashMap<IpAddr, (Option<Instant>, Duration)>);

impl KissCodes {
    fn may_ask(&self, server: IpAddr, now: Instant) -> bool {
        match self.0.get(&server) {
            None => true,
            Some((until, _)) => until.is_some_and(|until| until <= now),
        }
    }

    fn learn(&mut self, server: IpAddr, refused: Refused, now: Instant) {
        if self.0.len() >= MAX_KISS_CODES {
            self.0.clear(); // a pool that answers so with so many addresses is broken anyway
        }
        let (until, pause) = self.0.entry(server).or_insert((Some(now), SELDOM));
        match refused {
            Refused::Rate => {
                *pause = (*pause * 2).min(Duration::from_secs(24 * 3600));
                *until = Some(now + *pause);
            }
            Refused::Deny => *until = None,
            _ => {}
        }
    }
}

/// The time as one server told it.
#[derive(Debug, Clone)]
struct ServerTime {
    /// Since 1970, at `at`.
    time: Duration,
    at: Instant,
    server: String,
}

impl ServerTime {
    fn time(&self, now: Instant) -> Duration {
        self.time + now.saturating_duration_since(self.at)
    }

    fn into_event(self) -> Event {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = self.time(Instant::now());
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let unix_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Event::Time { unix_ms, offset_ms: ms(time) - ms(clock), server: self.server }
    }
}

/// Asks time servers.
pub(super) struct Clock {
    servers: Vec<String>,
    resolver: Resolver,
    port: u16,
    pace: Pace,
    kisses: KissCodes,
    /// The last complaint about each server, so that the log says it once.
    complaints: HashMap<String, String>,
    round: usize,
}

impl Clock {
    pub(super) fn new(servers: Vec<String>, resolver: Resolver, port: u16) -> Self {
        let (pace, kisses) = (Pace::new(), KissCodes::default());
        Self { servers, resolver, port, pace, kisses, complaints: HashMap::new(), round: 0 }
    }

    /// Tells the time for ever; `network` says when an address has changed.
    pub(super) async fn keep(
        mut self,
        executor: Arc<Executor<'static>>,
        network: Receiver<()>,
        tell: impl Fn(Event) + Send + 'static,
    ) {
        loop {
            let told = self.ask_all(&executor).await;
            let is_answered = told.is_some();
            if let Some(told) = told {
                tell(told.into_event());
            }
            let pause = self.pace.after(is_answered);
            let least = if self.pace.is_set { SELDOM } else { SOON };
            Timer::after(least).await;
            let rest = async {
                Timer::after(pause.saturating_sub(least)).await;
                false
            };
            let changed = async {
                match network.recv().await {
                    Ok(()) => true,
                    Err(_) => std::future::pending().await, // there is no name to announce
                }
            };
            if changed.or(rest).await && !is_answered {
                self.pace.again();
            }
        }
    }

    /// Asks every server that may be asked, at once.
    async fn ask_all(&mut self, executor: &Arc<Executor<'static>>) -> Option<ServerTime> {
        self.round += 1;
        let mut addresses: Vec<(String, IpAddr)> = Vec::new();
        let lookups: Vec<_> = self.servers.iter().map(|name| executor.spawn(self.look_up(name))).collect();
        for (name, lookup) in self.servers.clone().into_iter().zip(lookups) {
            match lookup.await {
                Ok(ip) if addresses.iter().any(|(_, other)| *other == ip) => {}
                Ok(ip) if !self.kisses.may_ask(ip, Instant::now()) => {}
                Ok(ip) => addresses.push((name, ip)),
                Err(why) => self.complain(&name, &why),
            }
        }
        let port = self.port;
        let asked =
            addresses.into_iter().map(|(name, ip)| (name, ip, executor.spawn(ask(SocketAddr::new(ip, port), nonce()))));
        let mut all_told = Vec::new();
        for (server, ip, answer) in asked.collect::<Vec<_>>() {
            match answer.await {
                Ok((time, at)) => {
                    self.complaints.remove(&server);
                    all_told.push(ServerTime { time, at, server });
                }
                Err(Silence::Refused(refused)) => {
                    self.kisses.learn(ip, refused, Instant::now());
                    self.complain(&server, &format!("{refused} ({ip})"));
                }
                Err(Silence::Network(why)) => self.complain(&server, &format!("{why} ({ip})")),
            }
        }
        middle(all_told, Instant::now())
    }

    /// An address of the name, another one each time, IPv4 if it has any.
    fn look_up(&self, name: &str) -> impl Future<Output = Result<IpAddr, String>> + Send + 'static {
        let (resolver, name, round) = (self.resolver.clone(), name.to_owned(), self.round);
        async move {
            let found = resolver.lookup(&name, Instant::now() + PATIENCE).await.map_err(|error| error.to_string())?;
            let v4 = found.addrs.iter().filter(|ip| ip.is_ipv4()).count();
            let usable = if v4 > 0 { v4 } else { found.addrs.len() };
            let ip = found.addrs.get(round % usable.max(1)).copied();
            ip.ok_or_else(|| format!("{name} has no address"))
        }
    }

    fn complain(&mut self, server: &str, why: &str) {
        if self.complaints.get(server).is_none_or(|last| last != why) {
            log::warn!("no time from {server}: {why}");
            self.complaints.insert(server.to_owned(), why.to_owned());
        }
    }
}

/// Of three or more the one in the middle; of two the one that came first.
fn middle(mut told: Vec<ServerTime>, now: Instant) -> Option<ServerTime> {
    if told.len() > 2 {
        told.sort_by_key(|told| told.time(now));
    }
    let index = if told.len() > 2 { told.len() / 2 } else { 0 };
    (index < told.len()).then(|| told.swap_remove(index))
}

/// Why there is no answer.
#[derive(Debug)]
enum Silence {
    Refused(Refused),
    Network(String),
}

impl From<std::io::Error> for Silence {
    fn from(error: std::io::Error) -> Self {
        Self::Network(error.to_string())
    }
}

/// A number that cannot be guessed from others: the system's random key of a hash (SipHash), of which a new one
/// is made each time.
fn nonce() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The time at a server, since 1970, and when it was so. What is no answer is passed over until the real one comes.
async fn ask(server: SocketAddr, nonce: u64) -> Result<(Duration, Instant), Silence> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?; // so that no other host is heard
    let asked = Instant::now();
    socket.send(&ntp::question(nonce)).await?;
    let answer = async {
        let mut packet = [0; 512];
        loop {
            let length = socket.recv(&mut packet).await?;
            let arrived = Instant::now();
            match ntp::judge(packet.get(..length).unwrap_or_default(), nonce) {
                Ok(answer) => return Ok((answer.at_arrival(arrived - asked), arrived)),
                Err(Refused::Stray) => {}
                Err(refused) => return Err(Silence::Refused(refused)),
            }
        }
    };
    let late = || format!("no answer within {} s; is UDP port 123 let through?", PATIENCE.as_secs());
    timeout(PATIENCE, answer).await.unwrap_or_else(|| Err(Silence::Network(late())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_the_time_is_known_it_is_asked_for_ever_more_seldom_and_then_once_in_64_seconds_at_most() {
        let mut pace = Pace::new();
        let pauses: Vec<_> = (0..7).map(|_| pace.after(false).as_secs()).collect();
        assert_eq!(pauses, [4, 8, 16, 32, 64, 64, 64]);
        pace.again();
        assert_eq!(pace.after(false).as_secs(), 4, "a cable is in");
        let pauses: Vec<_> = (0..7).map(|_| pace.after(true).as_secs()).collect();
        assert_eq!(pauses, [64, 128, 256, 512, 1024, 1024, 1024]);
        pace.again();
        assert_eq!(pace.after(false).as_secs(), 64);
    }

    #[test]
    fn a_server_that_wants_to_be_asked_less_often_is_and_one_that_wants_no_questions_gets_none() {
        let (mut kisses, now) = (KissCodes::default(), Instant::now());
        let [rate, deny]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        kisses.learn(rate, Refused::Rate, now);
        kisses.learn(deny, Refused::Deny, now);
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(!kisses.may_ask(rate, after(127)) && kisses.may_ask(rate, after(128)));
        kisses.learn(rate, Refused::Rate, after(128));
        assert!(!kisses.may_ask(rate, after(128 + 255)) && kisses.may_ask(rate, after(128 + 256)));
        assert!(!kisses.may_ask(deny, after(1_000_000)));
        assert!(kisses.may_ask([192, 0, 2, 3].into(), now));
    }

    #[test]
    fn one_of_three_that_is_wrong_does_no_harm() {
        let now = Instant::now();
        let told =
            |seconds: u64| ServerTime { time: Duration::from_secs(seconds), at: now, server: seconds.to_string() };
        let of = |times: &[u64]| middle(times.iter().map(|time| told(*time)).collect(), now).map(|told| told.server);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[100]).as_deref(), Some("100"));
        assert_eq!(of(&[101, 100, 7]).as_deref(), Some("100"));
        assert_eq!(of(&[9999, 100, 101]).as_deref(), Some("101"));
        assert_eq!(of(&[101, 100]).as_deref(), Some("101"), "the first that was configured");
    }
}

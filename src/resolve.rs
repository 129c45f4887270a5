//! Names to addresses. The system's own function blocks a thread for up to 30 seconds a name, and a pool of such
//! threads is more memory than a whole service here; a query is two datagrams.
//!
//! In this order: addresses as text, `localhost`, `/etc/hosts`, a small cache, the servers of `/etc/resolv.conf`. Names
//! of mDNS (`.local`) are discovery's.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

mod ask;
mod background;
mod message;
mod search;
mod system;

use event_listener::Event;
use futures_lite::future;
use smol::Executor;

use self::background::{Background, Pending};
use self::search::search;
use self::system::Files;

pub use self::message::{DnsQuery, DnsReply, RecordType, parse_answer};
pub use self::system::{ResolverConfig, parse_hosts};

/// Names kept.
const CACHED: usize = 64;

/// How long what is not from the DNS is good.
const LOCAL_TTL: Duration = Duration::from_secs(300);

/// Addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Addresses {
    /// At least one, IPv4 first.
    pub addrs: Vec<IpAddr>,
    /// How long this is good.
    pub ttl: Duration,
    /// Whether both families were answered for. If not, the name may have addresses of the other one too.
    pub is_whole: bool,
}

/// Why a name leads nowhere. The texts say what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a host name.
    #[error("\"{0}\" is not a host name; it needs 1 to 253 letters, digits, dots and dashes")]
    BadName(String),
    /// There is no server to ask.
    #[error("cannot look up {0}: /etc/resolv.conf names no server; is the network up?")]
    NoServer(String),
    /// The name does not exist.
    #[error(
        "there is no host {0}; check its spelling, and the search domains in /etc/resolv.conf if it is a short name"
    )]
    NoSuchName(String),
    /// The name exists without an address.
    #[error("{0} exists in the DNS but has no address; does the record point to the right machine?")]
    NoAddress(String),
    /// The servers do not work.
    #[error("the DNS server {server} could not look up {name} ({why}); try another server in /etc/resolv.conf")]
    ServerFailed {
        /// The last one asked.
        server: SocketAddr,
        /// Name that was asked for.
        name: String,
        /// `SERVFAIL`, or what the system said.
        why: String,
    },
    /// The servers are silent.
    #[error("no DNS server answered in time for {name}; is {server} (UDP and TCP port 53) reachable from here?")]
    TimedOut {
        /// The last one asked.
        server: SocketAddr,
        /// Name that was asked for.
        name: String,
    },
}

impl Error {
    /// Whether time ran out, so that the next try may succeed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }

    /// Whether a server said that there is no such host or address.
    pub fn is_no_such_host(&self) -> bool {
        matches!(self, Self::NoSuchName(_) | Self::NoAddress(_))
    }
}

/// Looks names up; a clone shares the cache.
#[derive(Debug, Clone)]
pub struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Arc<Source>,
    cache: Mutex<NameCache>,
    /// An answer has come into the cache.
    arrived: Event,
    /// None: a lookup ends with its caller.
    background: Option<Background>,
}

#[derive(Debug)]
enum Source {
    Files(Files),
    Fixed(Arc<ResolverConfig>),
}

#[derive(Debug, Default)]
struct NameCache {
    /// Configuration that the names were looked up with; another one makes them worthless.
    config: Option<Arc<ResolverConfig>>,
    /// At most [`CACHED`], with the end of each.
    names: HashMap<String, (Vec<IpAddr>, Instant)>,
}

impl Resolver {
    /// As this machine is set up; its files are read again when they change.
    pub fn from_system() -> Self {
        Self::new(Source::Files(Files::new("/etc/resolv.conf", "/etc/hosts")))
    }

    /// Asks `servers`, after `hosts` in the format of `/etc/hosts`.
    pub fn with_servers(servers: Vec<SocketAddr>, hosts: &str) -> Self {
        Self::new(Source::Fixed(Arc::new(ResolverConfig { hosts: parse_hosts(hosts), ..ResolverConfig::new(servers) })))
    }

    /// As `config` says.
    #[cfg(feature = "internals")]
    pub fn with_config(config: ResolverConfig) -> Self {
        Self::new(Source::Fixed(Arc::new(config)))
    }

    fn new(source: Source) -> Self {
        Self::of(Arc::new(source), None)
    }

    fn of(source: Arc<Source>, background: Option<Background>) -> Self {
        Self(Arc::new(Inner { source, cache: Mutex::default(), arrived: Event::new(), background }))
    }

    /// A resolver with the same settings and an empty cache whose lookups go on, on `executor`, for up to 10 s after
    /// their caller's time is over. The answer is in the cache for the next caller. At most eight names at a time.
    #[must_use]
    pub fn with_background(self, executor: &Arc<Executor<'static>>) -> Self {
        Self::of(Arc::clone(&self.0.source), Some(Background::new(executor)))
    }

    /// The addresses of `host`, which may be an address itself, by `deadline`.
    ///
    /// # Errors
    ///
    /// No such name, no address, no working server, no time.
    pub async fn lookup(&self, host: &str, deadline: Instant) -> Result<Addresses, Error> {
        self.find(host, deadline, true).await
    }

    /// Looks up `host` as [`Resolver::lookup`] does, but asks again whatever the cache says: for watching a name,
    /// because servers give out times to live that have nothing to do with how long an instance lives (Docker's: ten
    /// minutes).
    ///
    /// # Errors
    ///
    /// As [`Resolver::lookup`].
    pub async fn refresh(&self, host: &str, deadline: Instant) -> Result<Addresses, Error> {
        self.find(host, deadline, false).await
    }

    /// Whether every configured server is a program of this host, so that asking often costs no other machine anything.
    pub fn is_on_this_host(&self) -> bool {
        self.config().servers.iter().all(|server| server.ip().is_loopback())
    }

    fn config(&self) -> Arc<ResolverConfig> {
        match &*self.0.source {
            Source::Files(files) => files.config(),
            Source::Fixed(config) => Arc::clone(config),
        }
    }

    async fn find(&self, host: &str, deadline: Instant, may_be_cached: bool) -> Result<Addresses, Error> {
        let local = |addrs| Addresses { addrs, ttl: LOCAL_TTL, is_whole: true };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(addr) = bare.parse() {
            return Ok(local(vec![addr]));
        }
        let name = normal(host).ok_or_else(|| Error::BadName(host.to_owned()))?;
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(local(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]));
        }
        let config = self.config();
        if let Some(addrs) = config.hosts.get(&name) {
            return Ok(local(addrs.clone()));
        }
        let is_absolute = host.ends_with('.');
        // A name with its dot is another than the one that may be searched for.
        let key = if is_absolute { format!("{name}.") } else { name.clone() };
        if !may_be_cached {
            let answer = search(&config, &name, is_absolute, deadline).await?;
            self.remember(key, &config, &answer, Instant::now());
            return Ok(answer);
        }
        if let Some(known) = self.cached(&key, &config, Instant::now()) {
            return Ok(known);
        }
        let (resolver, has_outcome) = (self, false);
        let mut pending = Pending { resolver, config: &config, key: &key, name: &name, is_absolute, has_outcome };
        let asked = search(&config, &name, is_absolute, deadline);
        let found = future::or(asked, async { Ok(self.arrival(&key, &config).await) }).await;
        pending.has_outcome = !found.as_ref().is_err_and(Error::is_timeout);
        drop(pending);
        let answer = found?;
        self.remember(key, &config, &answer, Instant::now());
        Ok(answer)
    }

    /// Resolves when another lookup has brought the answer.
    async fn arrival(&self, key: &str, config: &Arc<ResolverConfig>) -> Addresses {
        loop {
            let arrived = self.0.arrived.listen();
            if let Some(known) = self.cached(key, config, Instant::now()) {
                return known;
            }
            arrived.await;
        }
    }

    fn cached(&self, key: &str, config: &Arc<ResolverConfig>, now: Instant) -> Option<Addresses> {
        let cache = self.0.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if !cache.config.as_ref().is_some_and(|known| Arc::ptr_eq(known, config)) {
            return None;
        }
        let (addrs, end) = cache.names.get(key)?;
        let ttl = end.checked_duration_since(now).filter(|left| !left.is_zero())?;
        Some(Addresses { addrs: addrs.clone(), ttl, is_whole: true })
    }

    fn remember(&self, key: String, config: &Arc<ResolverConfig>, answer: &Addresses, now: Instant) {
        let mut cache = self.0.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if !cache.config.as_ref().is_some_and(|known| Arc::ptr_eq(known, config)) {
            cache.config = Some(Arc::clone(config));
            cache.names.clear();
        }
        if cache.names.len() >= CACHED && !cache.names.contains_key(&key) {
            // The one that would end first makes room; one that has ended already is that one.
            let first = cache.names.iter().min_by_key(|(_, (_, end))| *end).map(|(key, _)| key.clone());
            first.and_then(|first| cache.names.remove(&first));
        }
        cache.names.insert(key, (answer.addrs.clone(), now + answer.ttl));
        drop(cache);
        self.0.arrived.notify(usize::MAX);
    }
}

/// In lower case and without the dot at its end. None: not a host name.
fn normal(host: &str) -> Option<String> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (name.len() <= 253 && name.split('.').all(is_label)).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_names_are_asked_for() {
        assert_eq!(normal("Api.OpenWeatherMap.org.").as_deref(), Some("api.openweathermap.org"));
        assert_eq!(normal("_svc.pi_1").as_deref(), Some("_svc.pi_1"));
        for bad in ["", ".", "a..b", "-a", "a-", "a b", "ä", &"a".repeat(64), &["a"; 130].join(".")] {
            assert_eq!(normal(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_cache_is_bounded_and_ends() {
        let resolver = Resolver::with_servers(vec![], "");
        let Source::Fixed(config) = &*resolver.0.source else { panic!("fixed") };
        let now = Instant::now();
        let addrs = vec![Ipv4Addr::LOCALHOST.into()];
        let answer = |seconds| Addresses { addrs: addrs.clone(), ttl: Duration::from_secs(seconds), is_whole: true };
        for n in 0..200 {
            resolver.remember(format!("n{n}"), config, &answer(100 + n), now);
        }
        assert_eq!(resolver.0.cache.lock().expect("not poisoned").names.len(), CACHED);
        assert_eq!(resolver.cached("n0", config, now), None);
        assert_eq!(resolver.cached("n199", config, now), Some(answer(299)));
        assert_eq!(resolver.cached("n199", config, now + Duration::from_secs(299)), None);
    }
}

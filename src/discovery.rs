//! Who is there. No process is needed for others to find each other, so what one process knows is its own view: it can
//! be late or wrong, and everything built on it treats it as a hint that the next call proves or disproves.
//!
//! A [`Directory`] merges what its sources say: [`mdns`] on the LAN, a [`dns`] alias, a [`fixed`] list. A source names
//! what it knows by a key of its own; the same address from two sources is one instance.
//!
//! That mDNS no longer hears of an instance is a hint as well: a switch drops multicast, a goodbye can be forged. So
//! such an instance is asked by TCP. If it accepts, it stays in use, "unconfirmed"; if not, it is lost: out of use, but
//! asked again for ten minutes, since mDNS may never tell of it again.

mod alias;
pub(crate) mod container;
pub mod dns;
pub mod fixed;
mod interfaces;
mod known;
mod links;
mod lost;
pub mod mdns;
mod news;
mod probe;
mod txt;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use event_listener::{Event, EventListener};
use serde::{Serialize, Serializer};
use smol::channel::{Receiver, Sender};

pub use alias::Alias;
use alias::Aliases;
use known::{Known, Probed};
pub use mdns::Registration;
pub use news::{News, What};
pub use txt::Announcement;

/// The service type everything is registered under.
pub const SERVICE_TYPE: &str = "_bramble._tcp.local.";
/// Instances of one service that are remembered; a lecture hall of Pis has fewer, a flood of forged records more.
pub const MAX_PER_SERVICE: usize = 256;
/// Instances that are remembered in all.
pub const MAX_INSTANCES: usize = 1024;

/// One process that serves, as this process sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// `producer-5f0c2a9be81d4477`; for sources that know no name, the address.
    pub id: Arc<str>,
    /// `producer`.
    pub service: Arc<str>,
    /// Where it answers.
    pub addr: SocketAddr,
    /// Where its page or interface starts.
    pub path: Box<str>,
    /// Where the node is; empty if it does not say.
    pub zone: Box<str>,
    /// Share of the traffic in comparison with others, 1-100.
    pub weight: u32,
    /// Version of the program; empty if it does not say.
    pub version: Box<str>,
    /// Whether it wants new calls.
    pub status: Status,
    /// Who told.
    pub source: Source,
}

/// Whether an instance wants new calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It serves.
    Up,
    /// It finishes what it has and ends.
    Drain,
}

/// Who told of an instance. The order is the order of belief: mDNS knows more of an instance than an address does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Its own registration on the LAN.
    Mdns,
    /// An address of a DNS name.
    Dns,
    /// The configuration.
    Fixed,
}

impl Source {
    /// As a person reads it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mdns => "mDNS",
            Self::Dns => "DNS alias",
            Self::Fixed => "fixed list",
        }
    }
}

/// What a source tells about one key.
#[derive(Debug, Clone)]
pub enum Change {
    /// It is there, or is otherwise than before.
    Is(Instance),
    /// The source no longer hears of it. Whether it is gone, a TCP connection tells.
    Unheard,
    /// It is gone.
    Gone,
}

/// How sure it is that an instance is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Its source tells of it.
    Confirmed,
    /// Its source has stopped telling of it, but it accepts connections: it stays in use.
    Unconfirmed,
    /// It accepts no connection either: out of use, and asked again for a while.
    Lost,
}

/// What the directory asks of mDNS.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wish {
    /// To make sure that the instance with this key is there.
    Verify(Box<str>),
    /// To ask everybody again, with nothing remembered.
    FreshLook,
}

/// The instances this process knows of. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

/// Of which instances the log tells at its default level: each of them in every process would drown the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// All of them.
    Everyone,
    /// Those of one service.
    Of(&'static str),
    /// None.
    Nobody,
}

impl Told {
    fn level(self, instance: &Instance) -> log::Level {
        match self {
            Self::Everyone => log::Level::Info,
            Self::Of(service) if *service == *instance.service => log::Level::Info,
            _ => log::Level::Debug,
        }
    }
}

#[derive(Debug)]
struct Inner {
    told: Told,
    known: RwLock<Known>,
    /// Grows with each change, so that a reader sees without a lock that nothing is new.
    version: AtomicU64,
    changed: Event,
    /// Somebody is to be asked by TCP.
    doubted: Event,
    wishes: (Sender<Wish>, Receiver<Wish>),
    aliases: Aliases,
    /// Why there is no mDNS, if there is none.
    without_mdns: OnceLock<String>,
    started: Instant,
}

/// An instance with how long it has been known, for pages.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    /// The instance.
    #[serde(flatten)]
    pub instance: Arc<Instance>,
    /// How long it has been known, in seconds; for a lost one, how long it has been lost.
    #[serde(rename = "known_for_s", serialize_with = "whole_seconds")]
    pub known_for: Duration,
    /// How sure it is that it is there.
    pub standing: Standing,
    /// How long that has been so, in seconds.
    #[serde(rename = "standing_for_s", serialize_with = "whole_seconds")]
    pub standing_for: Duration,
}

fn whole_seconds<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(duration.as_secs())
}

impl Directory {
    /// How long a new directory may still be empty because answers are on their way: mDNS answers within 120 ms, and
    /// asks again after 1 s (RFC 6762, 5.2 and 6).
    const SETTLES_WITHIN: Duration = Duration::from_secs(3);
    /// Wishes that wait for mDNS; one that does not fit comes again with the next sign of trouble.
    const MAX_WISHES: usize = 64;
    /// When a refused connection is tried again. By chance, so that a crowd of callers does not ask in chorus.
    const TRIED_AGAIN_AFTER_MS: std::ops::Range<u64> = 100..600;

    /// An empty directory that began at `now`.
    pub fn new(told: Told, now: Instant) -> Self {
        let inner = Inner {
            told,
            known: RwLock::default(),
            version: AtomicU64::new(1),
            changed: Event::new(),
            doubted: Event::new(),
            wishes: smol::channel::bounded(Self::MAX_WISHES),
            aliases: Aliases::default(),
            without_mdns: OnceLock::new(),
            started: now,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Who serves `service`, sorted by id. Costs one short lock and no allocation.
    pub fn instances(&self, service: &str) -> Option<Arc<[Arc<Instance>]>> {
        self.read(|known| known.serving(service).cloned())
    }

    /// Everyone who is in use, by service and id.
    pub fn all(&self, now: Instant) -> Vec<Seen> {
        self.read(|known| known.all(now))
    }

    /// Everyone who was lost in the last ten minutes and is still asked.
    pub fn lost(&self, now: Instant) -> Vec<Seen> {
        self.read(|known| known.lost(now))
    }

    /// What happened lately, the newest first; at most 100.
    pub fn events(&self, now: Instant) -> Vec<News> {
        self.read(|known| known.news.list(now))
    }

    /// Grows with each change.
    pub fn version(&self) -> u64 {
        self.inner.version.load(Ordering::Acquire)
    }

    /// Resolves at the next change after this call.
    pub fn changed(&self) -> EventListener {
        self.inner.changed.listen()
    }

    /// Whether an empty answer may only mean that it is too early.
    pub fn is_settling(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.inner.started) < Self::SETTLES_WITHIN
    }

    /// Takes in what `source` says about `key`. Says in the log what is new; beyond the bounds, what is new is refused.
    pub fn apply(&self, source: Source, key: &str, change: Change, now: Instant) {
        self.write(|known, told| known.apply(source, key, change, told, now));
    }

    /// Takes in that `instances` are all that `source` knows of `service`.
    pub fn replace(&self, source: Source, service: &str, instances: Vec<Instance>, now: Instant) {
        let addrs: Vec<SocketAddr> = instances.iter().map(|one| one.addr).collect();
        let gone = self.read(|known| known.not_among(source, service, &addrs));
        // Who is new comes first: when all have been replaced, there is somebody at every moment.
        for instance in instances {
            let key = format!("{service} {}", instance.addr);
            self.apply(source, &key, Change::Is(instance), now);
        }
        for key in gone {
            self.apply(source, &key, Change::Gone, now);
        }
    }

    /// The names that stand for services, and how they are.
    pub fn aliases(&self, now: Instant) -> Vec<Alias> {
        self.inner.aliases.list(now)
    }

    fn follow_alias(&self, service: &Arc<str>, name: &Arc<str>) -> Receiver<()> {
        self.inner.aliases.follow(service, name)
    }

    fn tell_of_alias(&self, service: &str, addresses: usize, problem: Option<Arc<str>>, now: Instant) {
        self.inner.aliases.tell(service, addresses, problem, now);
    }

    /// Why nobody is known to serve `service`, as a sentence.
    pub fn why_nobody(&self, service: &str) -> String {
        match self.inner.aliases.of(service) {
            Some((_, Some(problem))) => problem.to_string(),
            Some((name, None)) => format!("whoever is behind {name} is ending"),
            None => match self.inner.without_mdns.get() {
                Some(why) => format!("mDNS is {why}; [discovery] dns or fixed must say where it is"),
                None => "is one running, and is mDNS (UDP 5353) allowed on this network?".into(),
            },
        }
    }

    /// Takes in that there is no mDNS, and why.
    pub(crate) fn goes_without_mdns(&self, why: &str) {
        let _ = self.inner.without_mdns.set(why.to_owned()); // the first reason is the reason
    }

    /// Takes in that no connection to the instance called `id` came about: if it is known by a name, that name is
    /// looked up at once.
    pub fn unreachable(&self, id: &str) {
        if let Some(service) = self.read(|known| known.named_service_of(id)) {
            self.inner.aliases.look_again(&service);
        }
    }

    /// Takes in that the instance called `id` refused a connection: it is tried once more, and then asked by mDNS. As
    /// [`unreachable`](Self::unreachable) besides.
    pub fn refused(&self, id: &str, now: Instant) {
        self.unreachable(id);
        let again_at = now + Duration::from_millis(fastrand::u64(Self::TRIED_AGAIN_AFTER_MS));
        let mut known = self.inner.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.refused(id, again_at, now) {
            drop(known);
            self.inner.doubted.notify(usize::MAX);
        }
    }

    /// Resolves when somebody is to be asked by TCP who was not before this call.
    fn doubted(&self) -> EventListener {
        self.inner.doubted.listen()
    }

    /// Who is to be asked by TCP now.
    fn due(&self, now: Instant) -> Vec<(Box<str>, SocketAddr)> {
        let mut due = Vec::new();
        self.write(|known, told| {
            let before = known.len();
            due = known.due(told, now);
            known.len() != before // who was ending has ended
        });
        due
    }

    fn next_due(&self) -> Option<Instant> {
        self.read(Known::next_due)
    }

    fn probed(&self, key: &str, answer: Probed, now: Instant) {
        self.write(|known, told| known.probed(key, answer, told, now));
        self.inner.doubted.notify(usize::MAX); // its next question has a time now
    }

    /// Whoever was not heard of since `since` is doubted. If somebody is, a fresh look may find more: `looks`.
    fn doubt_unheard_since(&self, since: Instant, looks: bool, now: Instant) {
        self.write(|known, told| known.doubt_unheard_since(since, looks, told, now));
    }

    /// How many are in use.
    fn len(&self) -> usize {
        self.read(Known::len)
    }

    /// Whether mDNS tells of nobody but the instance called `own`.
    fn is_alone(&self, own: &str) -> bool {
        self.read(|known| known.is_alone(own))
    }

    /// The next thing mDNS is to do.
    async fn wish(&self) -> Wish {
        self.inner.wishes.1.recv().await.expect("the directory holds the other end")
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.inner.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what is known, and tells whoever waits for it.
    fn write(&self, change: impl FnOnce(&mut Known, Told) -> bool) {
        let mut known = self.inner.known.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut known, self.inner.told);
        let wishes = known.take_wishes();
        if changed {
            self.inner.version.fetch_add(1, Ordering::Release);
        }
        drop(known);
        if changed {
            self.inner.doubted.notify(usize::MAX);
            self.inner.changed.notify(usize::MAX);
        }
        for wish in wishes {
            let _ = self.inner.wishes.0.try_send(wish); // full: MAX_WISHES says why that is no loss
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(id: &str, port: u16, source: Source) -> Instance {
        Instance {
            id: id.into(),
            service: "producer".into(),
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
            path: "/".into(),
            zone: "".into(),
            weight: 1,
            version: "".into(),
            status: Status::Up,
            source,
        }
    }

    fn ids(directory: &Directory) -> Vec<String> {
        let found = directory.instances("producer");
        found.iter().flat_map(|instances| instances.iter()).map(|instance| instance.id.to_string()).collect()
    }

    #[test]
    fn what_two_sources_tell_of_one_address_is_one_instance_with_the_name_mdns_gives_it() {
        let now = Instant::now();
        let directory = Directory::new(Told::Nobody, now);
        directory.replace(Source::Fixed, "producer", vec![instance("127.0.0.1:1", 1, Source::Fixed)], now);
        directory.apply(Source::Mdns, "a", Change::Is(instance("producer-a", 1, Source::Mdns)), now);
        assert_eq!(ids(&directory), ["producer-a"]);
        directory.apply(Source::Mdns, "a", Change::Gone, now);
        assert_eq!(ids(&directory), ["127.0.0.1:1"], "the fixed list still knows it");
    }

    #[test]
    fn who_said_goodbye_is_not_called_because_a_name_leads_to_it_until_somebody_else_is_there() {
        let now = Instant::now();
        let directory = of_one(now);
        let named = || vec![instance("127.0.0.1:1", 1, Source::Dns)];
        directory.replace(Source::Dns, "producer", named(), now);
        let ending = Instance { status: Status::Drain, ..instance("producer-a", 1, Source::Mdns) };
        directory.apply(Source::Mdns, "a", Change::Is(ending), now);
        directory.apply(Source::Mdns, "a", Change::Unheard, now);
        directory.replace(Source::Dns, "producer", named(), now + SECOND);
        assert_eq!(ids(&directory), [""; 0], "the name leads there for a moment longer");
        answer(&directory, Probed::Refused);
        assert_eq!(ids(&directory), ["127.0.0.1:1"], "it has ended: what the name says counts again");
    }

    #[test]
    fn why_nobody_is_there_depends_on_where_was_looked() {
        let directory = Directory::new(Told::Nobody, Instant::now());
        assert!(directory.why_nobody("producer").contains("UDP 5353"));
        directory.goes_without_mdns("off: [discovery] mdns is false");
        assert!(directory.why_nobody("producer").contains("[discovery] dns or fixed"));
        directory.follow_alias(&"producer".into(), &"producer:1".into());
        directory.tell_of_alias("producer", 0, Some("producer:1 has no address".into()), Instant::now());
        assert_eq!(directory.why_nobody("producer"), "producer:1 has no address");
    }

    #[test]
    fn a_refusal_has_a_name_looked_up_only_if_the_name_leads_there() {
        let now = Instant::now();
        let directory = of_one(now);
        let wishes = directory.follow_alias(&"producer".into(), &"producer:1".into());
        directory.refused("producer-a", now);
        assert!(wishes.try_recv().is_err());
        directory.replace(Source::Dns, "producer", vec![instance("127.0.0.1:1", 1, Source::Dns)], now);
        directory.refused("producer-a", now);
        assert!(wishes.try_recv().is_ok(), "by whatever name it is called");
    }

    /// A directory of one producer, seen at `now`.
    fn of_one(now: Instant) -> Directory {
        let directory = Directory::new(Told::Nobody, now);
        directory.apply(Source::Mdns, "a", Change::Is(instance("producer-a", 1, Source::Mdns)), now);
        directory
    }

    fn standing(directory: &Directory, now: Instant) -> Vec<(String, Standing)> {
        let all = directory.all(now).into_iter().chain(directory.lost(now));
        all.map(|seen| (seen.instance.id.to_string(), seen.standing)).collect()
    }

    fn wishes(directory: &Directory) -> Vec<Wish> {
        std::iter::from_fn(|| directory.inner.wishes.1.try_recv().ok()).collect()
    }

    /// Says what the next TCP connection tells, when it is due. Gives back the time.
    fn answer(directory: &Directory, probed: Probed) -> Instant {
        let at = directory.next_due().expect("somebody is to be asked");
        let due = directory.due(at);
        assert_eq!(due.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), ["a"]);
        assert!(directory.due(at).is_empty(), "each question is asked once");
        directory.probed("a", probed, at);
        at
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_instance_that_accepts_connections_stays_in_use_whoever_said_goodbye_for_it() {
        let now = Instant::now();
        let directory = of_one(now);
        directory.apply(Source::Mdns, "a", Change::Unheard, now);
        assert_eq!(ids(&directory), ["producer-a"]);
        assert_eq!(wishes(&directory), [Wish::FreshLook]);
        assert_eq!(answer(&directory, Probed::Accepted), now, "at once");
        let later = answer(&directory, Probed::Accepted);
        assert_eq!(later, now + 5 * SECOND);
        assert_eq!(standing(&directory, later), [("producer-a".into(), Standing::Unconfirmed)]);
        directory.apply(Source::Mdns, "a", Change::Is(instance("producer-a", 1, Source::Mdns)), later);
        assert_eq!(standing(&directory, later), [("producer-a".into(), Standing::Confirmed)]);
        assert_eq!(directory.next_due(), None, "a confirmed instance is not asked");
        let what: Vec<What> = directory.events(later).iter().map(|news| news.what).collect();
        assert_eq!(what, [What::FoundAgain, What::Unconfirmed, What::Registered]);
    }

    #[test]
    fn an_instance_that_neither_mdns_nor_tcp_knows_is_out_of_use_until_it_accepts_connections() {
        for silence in [Probed::Refused, Probed::Silent] {
            let now = Instant::now();
            let directory = of_one(now);
            directory.apply(Source::Mdns, "a", Change::Unheard, now);
            answer(&directory, silence);
            assert_eq!(ids(&directory), [""; 0]);
            assert_eq!(standing(&directory, now), [("producer-a".into(), Standing::Lost)]);
            answer(&directory, silence);
            wishes(&directory);
            let back = answer(&directory, Probed::Accepted);
            assert_eq!(ids(&directory), ["producer-a"]);
            assert_eq!(standing(&directory, back), [("producer-a".into(), Standing::Unconfirmed)]);
            assert_eq!(wishes(&directory), [Wish::FreshLook], "others may be back with it");
        }
    }

    #[test]
    fn a_lost_instance_is_forgotten_after_ten_minutes() {
        let now = Instant::now();
        let directory = of_one(now);
        directory.apply(Source::Mdns, "a", Change::Unheard, now);
        let mut last = now;
        while directory.next_due().is_some_and(|at| at < now + 600 * SECOND) {
            last = answer(&directory, Probed::Silent);
        }
        assert!(last > now + 500 * SECOND);
        assert!(directory.due(now + 601 * SECOND).is_empty());
        assert_eq!((directory.next_due(), directory.lost(now).len()), (None, 0));
    }

    #[test]
    fn who_said_it_was_ending_is_gone_at_once_unless_it_goes_on_accepting_connections() {
        let now = Instant::now();
        let ending = || Instance { status: Status::Drain, ..instance("producer-a", 1, Source::Mdns) };
        let directory = of_one(now);
        directory.apply(Source::Mdns, "a", Change::Is(ending()), now);
        directory.apply(Source::Mdns, "a", Change::Unheard, now);
        assert_eq!(standing(&directory, now), []);
        assert_eq!(wishes(&directory), [], "nobody else is in doubt");
        assert_eq!(answer(&directory, Probed::Refused), now + 5 * SECOND);
        assert_eq!(directory.next_due(), None, "it has ended");

        let unheard = of_one(now);
        unheard.apply(Source::Mdns, "a", Change::Is(ending()), now);
        let at = unheard.next_due().expect("its goodbye may be lost");
        assert_eq!((at < now + 3 * SECOND / 2, unheard.due(at).len(), ids(&unheard).len()), (true, 0, 0));

        let forged = of_one(now);
        forged.apply(Source::Mdns, "a", Change::Is(ending()), now);
        forged.apply(Source::Mdns, "a", Change::Unheard, now);
        let back = answer(&forged, Probed::Accepted);
        let all = forged.all(back);
        assert_eq!((all[0].instance.status, all[0].standing), (Status::Up, Standing::Unconfirmed));
    }

    #[test]
    fn two_refused_connections_let_mdns_verify_but_only_once_in_half_a_minute() {
        let now = Instant::now();
        let directory = of_one(now);
        directory.refused("producer-a", now);
        directory.refused("producer-a", now);
        let second = answer(&directory, Probed::Refused);
        assert!((now + SECOND / 10..now + SECOND).contains(&second), "not at once: many callers may ask");
        assert_eq!(wishes(&directory), [Wish::Verify("a".into())]);
        assert_eq!(ids(&directory), ["producer-a"], "who refuses calls is left alone by its circuit, not forgotten");
        directory.refused("producer-a", second + 29 * SECOND);
        assert_eq!(directory.next_due(), None);
        directory.refused("producer-a", second + 30 * SECOND);
        answer(&directory, Probed::Accepted);
        assert_eq!(wishes(&directory), [], "it was a moment's weakness");
    }

    #[test]
    fn an_instance_is_believed_to_have_moved_once_it_does_not_answer_where_it_was() {
        let now = Instant::now();
        let elsewhere = || Change::Is(instance("producer-a", 2, Source::Mdns));
        let port = |directory: &Directory| directory.instances("producer").expect("it is there")[0].addr.port();
        let directory = of_one(now);
        directory.apply(Source::Mdns, "a", elsewhere(), now);
        answer(&directory, Probed::Accepted);
        assert_eq!(port(&directory), 1, "a forged record takes nobody away");
        assert_eq!(wishes(&directory), [Wish::FreshLook], "the forged record is to be forgotten");
        directory.apply(Source::Mdns, "a", elsewhere(), now);
        answer(&directory, Probed::Silent);
        assert_eq!(port(&directory), 2);
        assert_eq!(directory.next_due(), None);
    }

    #[test]
    fn whoever_does_not_answer_a_look_is_asked_by_tcp() {
        let now = Instant::now();
        let directory = of_one(now);
        let looked = now + 10 * SECOND;
        directory.apply(Source::Mdns, "b", Change::Is(instance("producer-b", 2, Source::Mdns)), now);
        directory.apply(Source::Mdns, "b", Change::Is(instance("producer-b", 2, Source::Mdns)), looked + SECOND);
        directory.doubt_unheard_since(looked, false, looked + 5 * SECOND);
        let due = directory.due(looked + 5 * SECOND);
        assert_eq!(due, [("a".into(), SocketAddr::from(([127, 0, 0, 1], 1)))]);
        assert_eq!(wishes(&directory), [], "looking once more would find no more");
    }

    #[test]
    fn a_process_started_anew_at_its_old_port_takes_the_place_of_the_dead_one() {
        let now = Instant::now();
        let directory = of_one(now);
        directory.apply(Source::Mdns, "a", Change::Unheard, now);
        answer(&directory, Probed::Accepted); // by the new process, which mDNS has not told of yet
        directory.apply(Source::Mdns, "b", Change::Is(instance("producer-b", 1, Source::Mdns)), now + SECOND);
        assert_eq!(standing(&directory, now + SECOND), [("producer-b".into(), Standing::Confirmed)]);
    }

    #[test]
    fn of_happenings_and_of_lost_instances_a_bounded_number_is_kept() {
        let now = Instant::now();
        let directory = Directory::new(Told::Nobody, now);
        for port in 1..=1000 {
            let key = port.to_string();
            directory.apply(Source::Mdns, &key, Change::Is(instance(&key, port, Source::Mdns)), now);
            directory.apply(Source::Mdns, &key, Change::Unheard, now);
            directory.due(now);
            directory.probed(&key, Probed::Silent, now);
        }
        assert_eq!((directory.lost(now).len(), directory.events(now).len()), (256, 100));
    }

    #[test]
    fn an_alias_that_loses_an_address_loses_that_instance_alone() {
        let now = Instant::now();
        let directory = Directory::new(Told::Nobody, now);
        let three = [1, 2, 3].map(|port| instance(&port.to_string(), port, Source::Dns));
        directory.replace(Source::Dns, "producer", three.to_vec(), now);
        directory.replace(Source::Dns, "producer", vec![three[0].clone(), three[2].clone()], now);
        assert_eq!(ids(&directory), ["1", "3"]);
    }

    #[test]
    fn what_is_already_known_changes_nothing_and_wakes_nobody() {
        let now = Instant::now();
        let directory = Directory::new(Told::Nobody, now);
        directory.apply(Source::Mdns, "a", Change::Is(instance("producer-a", 1, Source::Mdns)), now);
        let version = directory.version();
        directory.apply(Source::Mdns, "a", Change::Is(instance("producer-a", 1, Source::Mdns)), now);
        directory.apply(Source::Mdns, "b", Change::Gone, now);
        assert_eq!(directory.version(), version);
    }

    #[test]
    fn a_flood_of_forged_instances_is_cut_off_and_the_first_ones_stay() {
        let now = Instant::now();
        let directory = Directory::new(Told::Nobody, now);
        for port in 1..=2000 {
            let forged = instance(&format!("producer-{port:05}"), port, Source::Mdns);
            directory.apply(Source::Mdns, &port.to_string(), Change::Is(forged), now);
        }
        assert_eq!(ids(&directory).len(), MAX_PER_SERVICE);
        assert_eq!(ids(&directory)[0], "producer-00001");
    }

    #[test]
    fn who_was_left_out_is_looked_for_when_there_is_room_again() {
        let now = Instant::now();
        let directory = of_one(now);
        let name = |port: u16, at: Instant| {
            let key = if port == 1 { "a".to_owned() } else { port.to_string() };
            directory.apply(
                Source::Mdns,
                &key,
                Change::Is(instance(&format!("producer-{port}"), port, Source::Mdns)),
                at,
            );
        };
        (2..=300).for_each(|port| name(port, now));
        assert_eq!(wishes(&directory), [Wish::FreshLook], "who of these is there?");
        name(301, now + SECOND);
        assert_eq!(wishes(&directory), [], "that has just been asked");
        directory.apply(Source::Mdns, "a", Change::Gone, now + 2 * SECOND);
        assert_eq!(wishes(&directory), [Wish::FreshLook], "there is room for it now");
        directory.apply(Source::Mdns, "2", Change::Gone, now + 3 * SECOND);
        assert_eq!(wishes(&directory), [], "nobody else was left out");
    }
}

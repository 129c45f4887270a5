//! Instance table: what the sources have told, and which instances that comes to. Logs what changes; does no other I/O
//! and reads no clock: the time is an argument, and the probes that are wanted are handed out ([`InstanceTable::due`]),
//! not made.
//!
//! An entry of mDNS is in one of these states:
//!
//! ```text
//! announced -> Unproven -- answers with its id --> InUse -- two failed probes --> Lost
//!                 ^ |                               ^ |                           |
//!                 | +-- no longer announced: out    | +-- says goodbye -> Ending  |
//!                 |                                 +---- answers with its id ----+
//!                 +-- announced again, ten minutes after its loss
//! ```

mod announcements;
mod bounds;
mod probing;
mod views;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::news::{NewsKind, Ring};
use super::schedule::{self, ProbeBudget, Schedule};
use super::{Change, Instance, ServiceFilter, Source, Status};
use announcements::ENDS_WITHIN;
pub use bounds::{MAX_ADDRESSES, MAX_INSTANCES, MAX_LOST, MAX_PER_SERVICE, MAX_UNPROVEN};
pub use probing::{ProbeRequest, ProbeResult};

/// Source, and the name by which it tells of an instance.
type Key = (Source, Box<str>);

/// The instances of every service, merged from all sources, with what is in doubt about each.
#[derive(Debug)]
pub struct InstanceTable {
    told: ServiceFilter,
    /// The last change of each source and name, in use or not. Bounded by state: see [`bounds`].
    entries: BTreeMap<Key, Entry>,
    /// The instances in use, by service, sorted by id; no two share an address.
    merged: BTreeMap<Arc<str>, Arc<[Arc<Instance>]>>,
    budget: ProbeBudget,
    rng: fastrand::Rng,
    /// The epoch that was given out last.
    epoch: u32,
    effects: Effects,
    left_out: bounds::LeftOut,
    /// When the log was last told of an announced instance that does not answer.
    unproven_told: Option<Instant>,
    news: Ring,
}

/// Actions for the owner of the table after a change.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Effects {
    /// The instances in use have changed, or how sure they are.
    pub changed: bool,
    /// A probe is wanted earlier than [`InstanceTable::next_due`] has told.
    pub wants_probe: bool,
    /// Every instance is to be asked by mDNS to announce itself again.
    pub wants_look: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Instance with the address in use: it has answered there, unless it is unproven.
    instance: Arc<Instance>,
    /// Addresses it is announced at; at most [`MAX_ADDRESSES`]. `instance.addr` may be none of them while it moves.
    addrs: Box<[SocketAddr]>,
    state: State,
    /// When the state began.
    since: Instant,
    /// When it said that it is ending, if it has.
    ending: Option<Instant>,
    /// When its source last told of it.
    heard: Instant,
    /// None: its source tells of it.
    unheard: Option<Silence>,
    schedule: Schedule,
    /// When the last probe began.
    probed: Option<Instant>,
    /// Failed probes since the last good one, or since it was lost.
    failures: u32,
    /// Whether a call or a health check has failed since the last good probe.
    is_suspected: bool,
}

/// The source has stopped telling of an instance.
#[derive(Debug, Clone, Copy)]
struct Silence {
    since: Instant,
    /// Whether it has answered a probe since then.
    answers: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Announced, and not in use before it has answered a probe.
    Unproven,
    /// Callable.
    InUse,
    /// Out of use, and probed.
    Lost,
    /// The instance said goodbye. One that still answers after a while has not ended.
    Ending,
}

impl Entry {
    fn new(instance: Arc<Instance>, addrs: Box<[SocketAddr]>, state: State, now: Instant) -> Self {
        let (ending, schedule) = ((instance.status == Status::Drain).then_some(now), Schedule::Idle);
        let (heard, unheard, probed, failures) = (now, None, None, 0);
        let is_suspected = false;
        Self { instance, addrs, state, since: now, ending, heard, unheard, schedule, probed, failures, is_suspected }
    }

    fn enter(&mut self, state: State, now: Instant) {
        (self.state, self.since, self.schedule) = (state, now, Schedule::Idle);
        (self.failures, self.is_suspected) = (0, false);
        self.ending = self.ending.filter(|_| state == State::Ending);
    }

    /// When news of it may have it probed: a flood of announcements is no flood of probes.
    fn soonest_probe(&self, now: Instant) -> Instant {
        self.probed.map_or(now, |at| now.max(at + probing::SAME_AT_MOST_EVERY))
    }

    /// Where it is probed: at the address in use first.
    fn probe_addrs(&self) -> impl Iterator<Item = SocketAddr> {
        let own = self.instance.addr;
        std::iter::once(own).chain(self.addrs.iter().copied().filter(move |addr| *addr != own))
    }

    /// When it is to be probed. One that is `watched` is, once in a while, though nothing bad is known of it.
    fn probe_at(&self, is_watched: bool) -> Option<Instant> {
        let is_quiet = self.schedule == Schedule::Idle && self.is_up() && self.instance.source == Source::Mdns;
        if is_quiet && is_watched {
            return Some(self.probed.unwrap_or(self.since).max(self.since) + schedule::IDLE_PAUSE);
        }
        self.schedule.at()
    }

    fn is_up(&self) -> bool {
        self.state == State::InUse && self.instance.status == Status::Up
    }
}

impl InstanceTable {
    /// An empty table at `now`. `seed` spreads the probes of many processes in time.
    pub fn new(told: ServiceFilter, now: Instant, seed: u64) -> Self {
        Self {
            told,
            entries: BTreeMap::new(),
            merged: BTreeMap::new(),
            budget: ProbeBudget::new(now),
            rng: fastrand::Rng::with_seed(seed),
            epoch: 0,
            effects: Effects::default(),
            left_out: bounds::LeftOut::default(),
            unproven_told: None,
            news: Ring::default(),
        }
    }

    /// The effects of all changes since the last call.
    pub fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// Takes in what `source` tells of `key`. What is beyond the bounds is left out.
    pub fn apply(&mut self, source: Source, key: &str, change: Change, now: Instant) {
        let at = (source, Box::from(key));
        match change {
            Change::Is(instance) => self.is_there(at, instance, now),
            Change::Announced(instance, mut addrs) => {
                addrs.truncate(MAX_ADDRESSES);
                self.announced(at, instance, addrs.into(), now);
            }
            Change::Unheard => {
                let was_up = self.entries.get(&at).is_some_and(|entry| entry.is_up() && entry.unheard.is_none());
                self.unheard(&at, now);
                self.effects.wants_look |= was_up;
            }
            Change::Gone => {
                self.remove(&at, NewsKind::Goodbye, now);
            }
        }
    }

    /// An instance that is callable without a probe: of a source that knows nothing but addresses.
    fn is_there(&mut self, at: Key, mut instance: Instance, now: Instant) {
        let old = self.entries.get(&at).map(|old| (old.state, Arc::clone(&old.instance), old.since));
        let stays = old.as_ref().filter(|(state, old, _)| *state == State::InUse && old.addr == instance.addr);
        let stays_since = stays.map(|(_, _, since)| *since);
        instance.epoch = stays.map_or(0, |(_, old, _)| old.epoch);
        if stays.is_some_and(|(_, old, _)| **old == instance) {
            return self.heard_again(&at, now);
        }
        if stays_since.is_none() {
            if !self.has_room_in_use(&at, &instance.service) {
                return self.leave_out(&instance.id, now);
            }
            instance.epoch = self.next_epoch();
        }
        let instance = Arc::new(instance);
        let what = old.map_or(Some(NewsKind::Registered), |(state, old, _)| change_of(state, &old, &instance));
        self.tell(what, &instance, now);
        let addrs = Box::from([instance.addr]);
        let mut entry = Entry::new(instance, addrs, State::InUse, now);
        entry.since = stays_since.unwrap_or(now);
        if entry.instance.source == Source::Mdns && entry.instance.status == Status::Drain {
            entry.schedule = Schedule::At(now + ENDS_WITHIN);
            self.effects.wants_probe = true;
        }
        self.put(at, entry, now);
    }

    /// Takes the entry out and says so.
    fn remove(&mut self, at: &Key, what: NewsKind, now: Instant) {
        if let Some(entry) = self.forget(at).filter(|entry| entry.state == State::InUse) {
            let instance = &entry.instance;
            self.news.push(what, instance, now);
            log::log!(self.told.level(instance), "{} {} ({})", instance.id, what.as_str(), at.0.as_str());
        }
    }

    /// Takes the entry out. Another source may know an instance at its address.
    fn forget(&mut self, at: &Key) -> Option<Entry> {
        let entry = self.entries.remove(at)?;
        if matches!(entry.state, State::InUse | State::Ending) {
            self.merge(&entry.instance.service);
            self.effects.changed = true;
        }
        self.has_room_again();
        Some(entry)
    }

    /// Puts in an entry that is in use.
    fn put(&mut self, at: Key, entry: Entry, now: Instant) {
        let instance = Arc::clone(&entry.instance);
        self.supersede(&at, instance.addr, now);
        let old = self.entries.insert(at, entry);
        if let Some(old) = old.filter(|old| old.instance.service != instance.service) {
            self.merge(&old.instance.service);
        }
        self.merge(&instance.service);
        self.effects.changed = true;
    }

    /// An address belongs to the instance that answered there last: a process that was started anew at its old port has
    /// a new name, and the old name leads nowhere.
    fn supersede(&mut self, by: &Key, addr: SocketAddr, now: Instant) {
        if by.0 != Source::Mdns {
            return;
        }
        let others = self.entries.iter().filter(|(key, entry)| {
            key.0 == Source::Mdns && *key != by && entry.state != State::Unproven && entry.instance.addr == addr
        });
        let others: Vec<Key> = others.map(|(key, _)| key.clone()).collect();
        for other in others {
            self.remove(&other, NewsKind::Replaced, now);
        }
    }

    fn next_epoch(&mut self) -> u32 {
        self.epoch = self.epoch.wrapping_add(1);
        self.epoch
    }

    fn tell(&mut self, what: Option<NewsKind>, instance: &Arc<Instance>, now: Instant) {
        let level = self.told.level(instance);
        let (id, addr, by) = (&instance.id, instance.addr, instance.source.as_str());
        let Some(what) = what else { return log::log!(level, "{id} at {addr} tells something new of itself") };
        self.news.push(what, instance, now);
        match what {
            NewsKind::Registered => log::log!(level, "found {id} at {addr} by {by}"),
            NewsKind::Ending => log::log!(level, "{id} is ending"),
            NewsKind::Moved => log::log!(level, "{id} is now at {addr}"),
            _ => log::log!(level, "found {id} at {addr} again by {by}"),
        }
    }

    /// Works out anew which instances of `service` are in use. Where entries share an address, the most believed source
    /// counts, and of its entries a confirmed one, and of these the newest. One that said goodbye is gone, though a
    /// name may lead to its address for a while.
    fn merge(&mut self, service: &Arc<str>) {
        let belief =
            |(source, entry): &(Source, &Entry)| (std::cmp::Reverse(*source), entry.unheard.is_none(), entry.since);
        let ended: Vec<SocketAddr> = self.in_state(State::Ending).map(|(_, entry)| entry.instance.addr).collect();
        let mut by_addr: BTreeMap<SocketAddr, (Source, &Entry)> = BTreeMap::new();
        for ((source, _), entry) in self.in_state(State::InUse).filter(|(_, entry)| entry.instance.service == *service)
        {
            if *source != Source::Mdns && ended.contains(&entry.instance.addr) {
                continue;
            }
            let new = (*source, entry);
            let best = by_addr.entry(entry.instance.addr).or_insert(new);
            if belief(&new) > belief(best) {
                *best = new;
            }
        }
        let mut instances: Vec<Arc<Instance>> =
            by_addr.into_values().map(|(_, entry)| Arc::clone(&entry.instance)).collect();
        instances.sort_by(|a, b| a.id.cmp(&b.id));
        if instances.is_empty() {
            self.merged.remove(service);
        } else {
            self.merged.insert(Arc::clone(service), instances.into());
        }
    }

    fn in_state(&self, state: State) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter().filter(move |(_, entry)| entry.state == state)
    }
}

/// Kind of event when an entry in `state` with the instance `old` is in use as `new`. None: nothing that has a name.
fn change_of(state: State, old: &Instance, new: &Instance) -> Option<NewsKind> {
    match state {
        State::Unproven => Some(NewsKind::Registered),
        State::Lost | State::Ending => Some(NewsKind::FoundAgain),
        State::InUse if new.status == Status::Drain && old.status == Status::Up => Some(NewsKind::Ending),
        State::InUse if old.addr != new.addr => Some(NewsKind::Moved),
        State::InUse => None,
    }
}

//! What the sources have said, and what it comes to. Pure: the time is an argument, and what is to be asked by TCP or
//! by mDNS is handed out, not done.

mod doubt;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lost::Inquiry;
use super::news::{Ring, What};
use super::{Change, Instance, MAX_INSTANCES, MAX_PER_SERVICE, Seen, Source, Standing, Status, Told, Wish};
pub(super) use doubt::Probed;

/// Who says that it is ending says goodbye at once, which counts after a second (RFC 6762, 10.1). After this long it is
/// gone, even if the goodbye was lost.
const ENDS_WITHIN: Duration = Duration::from_millis(1300);
/// That there is no room is said, and a fresh look wished for, no more often than this.
const FULL_AT_MOST_EVERY: Duration = Duration::from_secs(10);

/// Who told, and by which name.
type Key = (Source, Box<str>);

#[derive(Debug, Default)]
pub(super) struct Known {
    /// What each source said last. At most [`MAX_INSTANCES`], and [`MAX_PER_SERVICE`] of a service.
    entries: BTreeMap<Key, Entry>,
    /// By the key mDNS knew them by; none of them is in `entries`. At most [`MAX_LOST`].
    lost: BTreeMap<Box<str>, Missing>,
    /// Per service what `entries` comes to, sorted by id; no two share an address.
    merged: BTreeMap<Arc<str>, Arc<[Arc<Instance>]>>,
    /// What mDNS is to do; taken away after each change.
    wishes: Vec<Wish>,
    /// When that an instance was left out was last said.
    full: Option<Instant>,
    /// Whether one was left out since there was room again.
    has_left_out: bool,
    pub(super) news: Ring,
}

#[derive(Debug, Clone)]
struct Entry {
    instance: Arc<Instance>,
    since: Instant,
    /// When its source last told of it.
    heard: Instant,
    /// None: its source tells of it.
    unconfirmed: Option<Unconfirmed>,
    /// What mDNS says it is now. Believed once it no longer answers where it was: anyone can send such a record.
    moving: Option<Arc<Instance>>,
    inquiry: Option<Inquiry>,
    verified: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Unconfirmed {
    since: Instant,
    /// Whether it has accepted a connection since then.
    accepts: bool,
}

/// An instance that is out of use.
#[derive(Debug, Clone)]
struct Missing {
    instance: Arc<Instance>,
    inquiry: Inquiry,
}

impl Known {
    pub(super) fn serving(&self, service: &str) -> Option<&Arc<[Arc<Instance>]>> {
        self.merged.get(service)
    }

    pub(super) fn take_wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes)
    }

    /// True if anything changed that a caller of services wants to know.
    pub(super) fn apply(&mut self, source: Source, key: &str, change: Change, told: Told, now: Instant) -> bool {
        match change {
            Change::Is(instance) => self.is(source, key, instance, told, now),
            Change::Unheard => {
                let known = self.unheard(source, key, told, now);
                if known == Some(Status::Up) {
                    self.wishes.push(Wish::FreshLook);
                }
                known.is_some()
            }
            Change::Gone => self.remove(source, key, What::Goodbye, told, now).is_some(),
        }
    }

    fn is(&mut self, source: Source, key: &str, instance: Instance, told: Told, now: Instant) -> bool {
        let missing = if source == Source::Mdns { self.forget_others_at(key, &instance, now) } else { None };
        let at = (source, Box::from(key));
        let mut doubted = missing.is_some();
        if let Some(old) = self.entries.get_mut(&at) {
            old.heard = now;
            if source == Source::Mdns && old.instance.addr != instance.addr && old.instance.status == Status::Up {
                let is_asked = old.moving.replace(Arc::new(instance)).is_some();
                if !is_asked {
                    old.inquiry = Some(Inquiry::new(now, now));
                }
                return !is_asked;
            }
            old.moving = None;
            doubted |= old.unconfirmed.take().is_some();
            if doubted {
                old.inquiry = None;
                self.news.push(What::FoundAgain, &old.instance, now);
            }
            if *old.instance == instance {
                return doubted;
            }
        } else if !self.has_room_for(&instance) {
            self.leave_out(&instance, now);
            return false;
        }
        let instance = Arc::new(instance);
        let old = self.entries.get(&at).cloned();
        self.tell(old.as_ref(), doubted, &instance, told, now);
        let since = old.as_ref().map_or(now, |entry| entry.since);
        let verified = old.as_ref().and_then(|entry| entry.verified);
        let service = Arc::clone(&instance.service);
        let is_ending = source == Source::Mdns && instance.status == Status::Drain;
        let inquiry = is_ending.then(|| Inquiry::new(now + ENDS_WITHIN, now));
        let new = Entry { instance, since, heard: now, unconfirmed: None, moving: None, inquiry, verified };
        self.entries.insert(at, new);
        if let Some(old) = old.filter(|old| old.instance.service != service) {
            self.merge(&old.instance.service);
        }
        self.merge(&service);
        true
    }

    /// A flood names thousands; the log and the LAN hear of it now and then. A fresh look shows who of them is there, and,
    /// once one that is not has made room, finds who was left out.
    fn leave_out(&mut self, instance: &Instance, now: Instant) {
        self.has_left_out = true;
        if self.full.is_none_or(|at| now.saturating_duration_since(at) >= FULL_AT_MOST_EVERY) {
            self.full = Some(now);
            self.wishes.push(Wish::FreshLook);
            log::warn!("{} is left out, maybe with others: there are too many instances already", instance.id);
        }
    }

    fn tell(&mut self, old: Option<&Entry>, was_lost: bool, instance: &Arc<Instance>, told: Told, now: Instant) {
        let level = told.level(instance);
        let (id, addr, by) = (&instance.id, instance.addr, instance.source.as_str());
        let what = match old {
            None if was_lost => What::FoundAgain,
            None => What::Registered,
            Some(_) if instance.status == Status::Drain => What::Ending,
            Some(old) if old.instance.addr != addr => What::Moved, // it is ending, or another source tells
            Some(_) => return log::log!(level, "{id} at {addr} tells something new of itself"),
        };
        self.news.push(what, instance, now);
        match what {
            What::Registered => log::log!(level, "found {id} at {addr} by {by}"),
            What::Ending => log::log!(level, "{id} is ending"),
            What::Moved => log::log!(level, "{id} is now at {addr}"),
            _ => log::log!(level, "found {id} at {addr} again by {by}"),
        }
    }

    /// An address belongs to who was heard of last: a process that was started anew at its old port has a new name.
    /// Gives back the lost entry of `key`, if there is one.
    fn forget_others_at(&mut self, key: &str, instance: &Instance, now: Instant) -> Option<Missing> {
        let missing = self.lost.remove(key);
        self.lost.retain(|_, other| other.instance.addr != instance.addr);
        let ghosts = self.entries.iter().filter(|((source, other), entry)| {
            *source == Source::Mdns
                && **other != *key
                && entry.unconfirmed.is_some()
                && entry.instance.addr == instance.addr
        });
        let ghosts: Vec<Box<str>> = ghosts.map(|((_, key), _)| key.clone()).collect();
        for ghost in ghosts {
            self.remove(Source::Mdns, &ghost, What::Goodbye, Told::Nobody, now);
        }
        missing
    }

    fn remove(&mut self, source: Source, key: &str, what: What, told: Told, now: Instant) -> Option<Entry> {
        let entry = self.entries.remove(&(source, Box::from(key)))?;
        let instance = &entry.instance;
        self.news.push(what, instance, now);
        log::log!(told.level(instance), "{} {} ({})", instance.id, what.as_str(), source.as_str());
        let service = Arc::clone(&instance.service);
        self.merge(&service);
        if std::mem::take(&mut self.has_left_out) {
            self.wishes.push(Wish::FreshLook);
        }
        Some(entry)
    }

    /// Keys of what `source` knows of `service` at other addresses than these.
    pub(super) fn not_among(&self, source: Source, service: &str, addrs: &[SocketAddr]) -> Vec<Box<str>> {
        let old = self.entries.iter().filter(|((from, _), entry)| {
            *from == source && &*entry.instance.service == service && !addrs.contains(&entry.instance.addr)
        });
        old.map(|((_, key), _)| key.clone()).collect()
    }

    /// The service of the instance called `id`, if a name leads to its address.
    pub(super) fn named_service_of(&self, id: &str) -> Option<Arc<str>> {
        let addr = self.entries.values().find(|entry| *entry.instance.id == *id)?.instance.addr;
        let named =
            self.entries.iter().find(|((source, _), entry)| *source == Source::Dns && entry.instance.addr == addr);
        named.map(|(_, entry)| Arc::clone(&entry.instance.service))
    }

    /// How many are in use.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether mDNS tells of nobody but the instance called `own`.
    pub(super) fn is_alone(&self, own: &str) -> bool {
        let mut told = self.entries.iter().filter(|((source, _), _)| *source == Source::Mdns);
        !told.any(|(_, entry)| entry.unconfirmed.is_none() && *entry.instance.id != *own)
    }

    /// Everyone in use, by service and id.
    pub(super) fn all(&self, now: Instant) -> Vec<Seen> {
        let mut since: BTreeMap<SocketAddr, Instant> = BTreeMap::new();
        let mut doubted: BTreeMap<(SocketAddr, &str), Instant> = BTreeMap::new();
        for entry in self.entries.values() {
            let first = since.entry(entry.instance.addr).or_insert(entry.since);
            *first = entry.since.min(*first);
            if let Some(unconfirmed) = entry.unconfirmed {
                doubted.insert((entry.instance.addr, &entry.instance.id), unconfirmed.since);
            }
        }
        let merged = self.merged.values().flat_map(|instances| instances.iter());
        let seen = merged.map(|instance| {
            let since = since.get(&instance.addr).copied().unwrap_or(now);
            let unconfirmed = doubted.get(&(instance.addr, &*instance.id)).copied();
            Seen {
                instance: Arc::clone(instance),
                known_for: now.saturating_duration_since(since),
                standing: unconfirmed.map_or(Standing::Confirmed, |_| Standing::Unconfirmed),
                standing_for: now.saturating_duration_since(unconfirmed.unwrap_or(since)),
            }
        });
        seen.collect()
    }

    /// Everyone who is lost.
    pub(super) fn lost(&self, now: Instant) -> Vec<Seen> {
        let lost = self.lost.values().filter(|one| one.instance.status == Status::Up);
        let seen = lost.map(|one| {
            let lost_for = now.saturating_duration_since(one.inquiry.since());
            Seen {
                instance: Arc::clone(&one.instance),
                known_for: lost_for,
                standing: Standing::Lost,
                standing_for: lost_for,
            }
        });
        seen.collect()
    }

    fn has_room_for(&self, instance: &Instance) -> bool {
        let same = self.entries.values().filter(|entry| entry.instance.service == instance.service);
        self.entries.len() < MAX_INSTANCES && same.count() < MAX_PER_SERVICE
    }

    /// Works out anew who serves `service`. Where entries share an address, the most believed source counts, and of its
    /// entries a confirmed one, and of these the newest. Who said goodbye is gone, though a name may lead to its address
    /// for a while.
    fn merge(&mut self, service: &Arc<str>) {
        let belief =
            |(source, entry): &(Source, &Entry)| (std::cmp::Reverse(*source), entry.unconfirmed.is_none(), entry.since);
        let mut by_addr: BTreeMap<SocketAddr, (Source, &Entry)> = BTreeMap::new();
        let has_ended = |source: Source, entry: &Entry| {
            let mut lost = self.lost.values();
            source != Source::Mdns
                && lost.any(|one| one.instance.status == Status::Drain && one.instance.addr == entry.instance.addr)
        };
        for ((source, _), entry) in self.entries.iter().filter(|(_, entry)| entry.instance.service == *service) {
            if has_ended(*source, entry) {
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
}

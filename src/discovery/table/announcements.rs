//! Announcements, and their absence, as the table takes them in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{InstanceTable, Key, Silence, State, change_of};
use crate::discovery::news::NewsKind;
use crate::discovery::schedule::Schedule;
use crate::discovery::{Instance, Source, Status};

/// An instance that says that it is ending says goodbye at once, which counts after a second (RFC 6762, 10.1). After
/// this long it is gone, even if the goodbye was lost.
pub(super) const ENDS_WITHIN: Duration = Duration::from_millis(1300);

impl InstanceTable {
    pub(super) fn announced(&mut self, at: Key, instance: Instance, addrs: Box<[SocketAddr]>, now: Instant) {
        if addrs.is_empty() {
            return;
        }
        match self.entries.get(&at).map(|entry| entry.state) {
            None => self.add_unproven(at, instance, addrs, now),
            Some(State::InUse) => self.announced_again(&at, instance, addrs, now),
            Some(State::Ending) if instance.status == Status::Drain => {}
            Some(_) if instance.status == Status::Drain => {
                self.forget(&at); // nothing calls it, and nothing should
            }
            Some(State::Unproven | State::Lost | State::Ending) => self.announced_out_of_use(&at, instance, addrs, now),
        }
    }

    /// An instance that is not in use is announced: maybe it can be again.
    fn announced_out_of_use(&mut self, at: &Key, mut instance: Instance, addrs: Box<[SocketAddr]>, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        (instance.addr, instance.epoch) = (entry.instance.addr, entry.instance.epoch);
        if entry.state == State::Unproven {
            instance.addr = addrs[0];
        }
        if entry.state == State::Ending {
            entry.enter(State::Lost, now); // the goodbye was not its own, or its last word
        }
        (entry.heard, entry.unheard, entry.addrs) = (now, None, addrs);
        entry.instance = Arc::new(instance);
        self.effects.wants_probe |= entry.schedule.hurry(entry.soonest_probe(now));
    }

    /// An instance in use is announced, maybe with something new. Its address stays until it answers at another one and
    /// not there: anything can announce it elsewhere.
    fn announced_again(&mut self, at: &Key, mut instance: Instance, addrs: Box<[SocketAddr]>, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        (instance.addr, instance.epoch) = (entry.instance.addr, entry.instance.epoch);
        let is_elsewhere = addrs.iter().any(|addr| !entry.addrs.contains(addr)) || !addrs.contains(&instance.addr);
        entry.addrs = addrs;
        let old = Arc::clone(&entry.instance);
        if *old != instance {
            entry.instance = Arc::new(instance);
            let (instance, what) = (Arc::clone(&entry.instance), change_of(entry.state, &old, &entry.instance));
            self.tell(what, &instance, now);
            self.merge(&old.service);
            self.merge(&instance.service);
            self.effects.changed = true;
        }
        self.heard_again(at, now);
        let Some(entry) = self.entries.get_mut(at) else { return };
        match (old.status, entry.instance.status) {
            (Status::Up, Status::Drain) => {
                (entry.ending, entry.schedule) = (Some(now), Schedule::At(now + ENDS_WITHIN));
            }
            (Status::Drain, Status::Up) => (entry.ending, entry.schedule) = (None, Schedule::Idle),
            (Status::Up, Status::Up) if is_elsewhere => drop(entry.schedule.hurry(entry.soonest_probe(now))),
            (Status::Up, Status::Up) | (Status::Drain, Status::Drain) => return,
        }
        self.effects.wants_probe = true;
    }

    /// The source tells of an instance in use as before.
    pub(super) fn heard_again(&mut self, at: &Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        entry.heard = now;
        if entry.unheard.take().is_some() {
            (entry.schedule, entry.failures) = (Schedule::Idle, 0);
            let instance = Arc::clone(&entry.instance);
            self.news.push(NewsKind::FoundAgain, &instance, now);
            self.merge(&instance.service);
            self.effects.changed = true;
        }
    }

    /// The source has stopped telling of `at`. One that said it was ending has ended; of another one a probe tells.
    pub(super) fn unheard(&mut self, at: &Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        let was_heard = entry.unheard.is_none();
        entry.unheard.get_or_insert(Silence { since: now, answers: false });
        match entry.state {
            State::Unproven => {
                self.forget(at);
            }
            State::InUse if entry.instance.status == Status::Drain => self.ended(at, now),
            State::InUse if was_heard => {
                entry.failures = 0;
                entry.schedule.hurry(now);
                self.effects.wants_probe = true;
                let service = Arc::clone(&entry.instance.service);
                self.merge(&service);
                self.effects.changed = true;
            }
            State::InUse | State::Lost | State::Ending => {}
        }
    }

    /// Instances that mDNS has not told of since `since` are probed, as if it had told that they are gone.
    /// `wants_look`: a look may find more of them.
    pub fn doubt_unheard_since(&mut self, since: Instant, wants_look: bool, now: Instant) {
        let silent = self
            .entries
            .iter()
            .filter(|((source, _), entry)| *source == Source::Mdns && entry.unheard.is_none() && entry.heard < since);
        let silent: Vec<(Key, bool)> = silent.map(|(key, entry)| (key.clone(), entry.is_up())).collect();
        for (key, is_up) in &silent {
            self.unheard(key, now);
            self.effects.wants_look |= wants_look && *is_up;
        }
    }
}

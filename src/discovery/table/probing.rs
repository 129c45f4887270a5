//! Probing: which instances are probed, when, and what the answer means: by a probe an announced instance gets its
//! first calls, one that has moved is found at its new address, one that is gone is lost, and one that was lost is
//! back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bounds::may_tell;
use super::{Entry, InstanceTable, Key, State};
use crate::discovery::news::NewsKind;
use crate::discovery::schedule::{self, Class, LOST_KEPT_FOR, SUSPECT_PAUSE, Schedule};
use crate::discovery::{Source, Status, Suspicion};

/// Neither suspicions nor announcements have one instance probed more often than this.
pub(super) const SAME_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// A probe of an instance that refused a connection waits for a time by chance, so that a crowd of callers does not
/// probe in chorus.
const REFUSED_WAITS_MS: std::ops::Range<u64> = 100..600;
/// An instance that said goodbye serves on for a moment; one that still answers after this long has not ended.
const FAREWELL_TAKES: Duration = Duration::from_secs(5);
/// A LAN answers within milliseconds; the second SYN goes out after one second, and may be the one that arrives.
const CONNECTS_WITHIN: Duration = Duration::from_millis(1500);
/// The same for the first probe of an announced instance. Most forged addresses are silent; they must not take the
/// seats of those that answer.
const FIRST_CONNECTS_WITHIN: Duration = Duration::from_millis(500);
/// The same for a lost instance whose service has no other: a new SYN is sent long before TCP would send the last one
/// again.
const MISSED_CONNECTS_WITHIN: Duration = Duration::from_millis(400);
/// Each so many probes of such an instance have the full time: its link may be slow.
const MISSED_LONG_EACH: u32 = 8;
/// Failed probes of an instance in use after which it is lost, if a call to it has failed, too. A connection that was
/// refused counts as one.
const LOST_AFTER: u32 = 2;
/// The same where nothing else speaks against it. Of probes on a network that loses every fifth packet one in eight
/// fails.
const IDLE_LOST_AFTER: u32 = 6;
/// After this many failed probes of an announced instance the log says so.
const TOLD_AFTER: u32 = 3;

/// A probe that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeRequest {
    key: Box<str>,
    class: Class,
    /// The id that the instance must answer with.
    pub id: Arc<str>,
    /// Where to ask, the address in use first.
    pub addrs: Vec<SocketAddr>,
    /// How long one connect may take.
    pub connects_within: Duration,
}

/// Result of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeResult {
    /// The instance answered with its id at this address.
    Answered(SocketAddr),
    /// A program accepts connections at the first address, and has not said in time what it is.
    Unclear,
    /// The instance is at none of its addresses: refused, unreachable, silent, or another one answers.
    Absent,
}

impl InstanceTable {
    /// A call to the instance called `id` came to no answer, because of `why`: it is probed. True if the probe is new;
    /// there is one at a time, and one a second at most.
    pub fn suspect(&mut self, id: &str, why: Suspicion, now: Instant) -> bool {
        let mut entries = self.entries.iter_mut();
        let found =
            entries.find(|((source, _), one)| *source == Source::Mdns && one.is_up() && *one.instance.id == *id);
        let Some((_, entry)) = found else { return false };
        entry.is_suspected = true;
        let mut at = entry.soonest_probe(now);
        if why == Suspicion::Refused {
            at = at.max(now + Duration::from_millis(self.rng.u64(REFUSED_WAITS_MS)));
        }
        let is_new = entry.schedule.hurry(at);
        if is_new && why == Suspicion::Refused {
            entry.failures = entry.failures.max(1);
        }
        is_new
    }

    /// The probes that are due and have a seat, the suspected instances first. Each is handed out once, until
    /// [`InstanceTable::probed`] takes in what came of it.
    pub fn due(&mut self, now: Instant) -> Vec<ProbeRequest> {
        self.end_what_is_over(now);
        self.budget.refill(now);
        let mut due: Vec<(Class, u32, Key)> = Vec::new();
        for (key, entry) in self.entries.iter().filter(|(_, entry)| self.probe_at(entry).is_some_and(|at| at <= now)) {
            due.push((class_of(entry.state), entry.failures, key.clone()));
        }
        due.sort();
        let mut requests = Vec::new();
        for (class, _, at) in due {
            let Some(entry) = self.entries.get_mut(&at) else { continue };
            let addrs: Vec<SocketAddr> = entry.probe_addrs().collect();
            if !self.budget.take(class, addrs.len(), now) {
                continue;
            }
            (entry.schedule, entry.probed) = (Schedule::UnderWay, Some(now));
            let is_missed = entry.state == State::Lost && !self.merged.contains_key(&entry.instance.service);
            let connects_within = match entry.failures {
                0 if entry.state == State::Unproven => FIRST_CONNECTS_WITHIN,
                failures if is_missed && failures % MISSED_LONG_EACH != 0 => MISSED_CONNECTS_WITHIN,
                _ => CONNECTS_WITHIN,
            };
            requests.push(ProbeRequest {
                key: at.1,
                class,
                id: Arc::clone(&entry.instance.id),
                addrs,
                connects_within,
            });
        }
        requests
    }

    /// When [`InstanceTable::due`] may have something next. None: not before another change.
    pub fn next_due(&self) -> Option<Instant> {
        let wanted = self.entries.values().filter_map(|entry| Some((entry, self.probe_at(entry)?)));
        let begins = wanted.filter_map(|(entry, at)| {
            Some(at.max(self.budget.may_begin(class_of(entry.state), entry.probe_addrs().count())?))
        });
        begins.min()
    }

    /// When an instance of `service` that is out of use is probed next; in the past, if a probe is under way.
    pub(in crate::discovery) fn next_probe_of(&self, service: &str) -> Option<Instant> {
        let out_of_use = self.in_state(State::Lost).chain(self.in_state(State::Unproven)).map(|(_, entry)| entry);
        let of_service = out_of_use.filter(|entry| *entry.instance.service == *service);
        of_service.filter_map(|entry| entry.schedule.at().or(entry.probed)).min()
    }

    fn probe_at(&self, entry: &Entry) -> Option<Instant> {
        entry.probe_at(self.told.is_of(&entry.instance.service))
    }

    /// Instances that are ending have ended, and those that were lost long ago are forgotten.
    fn end_what_is_over(&mut self, now: Instant) {
        let over = self.entries.iter().filter(|(_, entry)| match entry.state {
            State::InUse => entry.instance.status == Status::Drain && entry.schedule.is_due(now),
            State::Lost => now.saturating_duration_since(entry.since) >= LOST_KEPT_FOR,
            State::Unproven | State::Ending => false,
        });
        let over: Vec<(Key, State)> = over.map(|(key, entry)| (key.clone(), entry.state)).collect();
        for (key, state) in over {
            if state == State::InUse {
                self.ended(&key, now);
            } else {
                self.forget(&key);
            }
        }
    }

    /// An instance that said that it was ending is out of use. If it still answers after a while, it has not ended.
    pub(super) fn ended(&mut self, at: &Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        entry.enter(State::Ending, now);
        entry.schedule = Schedule::At(now + FAREWELL_TAKES);
        self.effects.wants_probe = true;
        self.went_out_of_use(at, NewsKind::Goodbye, now);
    }

    /// Takes in what came of a probe.
    pub fn probed(&mut self, request: &ProbeRequest, result: ProbeResult, now: Instant) {
        self.budget.give_back(request.class);
        self.effects.wants_probe = true; // the next one has a time, and this one's seat is free
        let at = (Source::Mdns, request.key.clone());
        let Some(entry) = self.entries.get_mut(&at).filter(|entry| entry.instance.id == request.id) else { return };
        if entry.schedule == Schedule::UnderWay {
            entry.schedule = Schedule::Idle;
        }
        match (entry.state, result) {
            // It has said meanwhile that it is ending, and will be out of use soon whatever it answers.
            (State::InUse, _) if entry.instance.status == Status::Drain => {}
            (State::InUse, ProbeResult::Answered(addr)) if addr != entry.instance.addr => self.found_at(&at, addr, now),
            (State::InUse, ProbeResult::Answered(_) | ProbeResult::Unclear) => self.stays(&at, result, now),
            (State::InUse, ProbeResult::Absent) => self.failed(&at, now),
            (State::Unproven | State::Lost | State::Ending, ProbeResult::Answered(addr)) => {
                self.found_at(&at, addr, now);
            }
            (State::Unproven, _) => self.stays_unproven(&at, now),
            (State::Lost, _) => self.stays_lost(&at, now),
            (State::Ending, ProbeResult::Unclear | ProbeResult::Absent) => {
                self.forget(&at);
            }
        }
    }

    /// An instance is at `addr`: it takes calls there from now on.
    fn found_at(&mut self, at: &Key, addr: SocketAddr, now: Instant) {
        let epoch = self.next_epoch();
        let Some(entry) = self.entries.get(at) else { return };
        if !self.has_room_in_use(at, &entry.instance.service) {
            let id = Arc::clone(&entry.instance.id);
            self.stays_unproven(at, now);
            return self.leave_out(&id, now);
        }
        let mut entry = entry.clone();
        let old = Arc::clone(&entry.instance);
        let instance = Arc::make_mut(&mut entry.instance);
        (instance.addr, instance.epoch) = (addr, epoch);
        if entry.state == State::Ending {
            instance.status = Status::Up; // a farewell that did not come true
        }
        let what = super::change_of(entry.state, &old, &entry.instance);
        let was_away = matches!(entry.state, State::Lost | State::Ending);
        if entry.state == State::InUse {
            (entry.failures, entry.is_suspected) = (0, false);
        } else {
            entry.enter(State::InUse, now);
        }
        if let Some(silence) = &mut entry.unheard {
            silence.answers = true;
            let age = now.saturating_duration_since(silence.since);
            entry.schedule = Schedule::At(now + schedule::unconfirmed_pause(age));
        }
        self.tell(what, &Arc::clone(&entry.instance), now);
        self.put(at.clone(), entry, now);
        if was_away {
            self.others_may_be_back(now);
        }
    }

    /// Has the lost instances probed at once, and mDNS look again: what kept one instance away may have kept others.
    fn others_may_be_back(&mut self, now: Instant) {
        for entry in self.entries.values_mut().filter(|entry| entry.state == State::Lost) {
            let soonest = entry.soonest_probe(now);
            entry.schedule.hurry(soonest);
        }
        self.effects.wants_look = true;
    }

    /// An instance in use is where it was.
    fn stays(&mut self, at: &Key, result: ProbeResult, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        (entry.failures, entry.is_suspected) = (0, false);
        let instance = Arc::clone(&entry.instance);
        if matches!(result, ProbeResult::Answered(_)) && !entry.addrs.contains(&instance.addr) {
            let (id, addr) = (&instance.id, instance.addr);
            log::warn!("{id} answers at {addr}, so the announcement of it at {:?} is not believed", entry.addrs);
            self.effects.wants_look = true; // the forged record is to be forgotten
        }
        if let Some(silence) = &mut entry.unheard {
            let age = now.saturating_duration_since(silence.since);
            entry.schedule = Schedule::At(now + schedule::unconfirmed_pause(age));
            if !std::mem::replace(&mut silence.answers, true) {
                self.news.push(NewsKind::Unconfirmed, &instance, now);
                log::log!(self.told.level(&instance), "mDNS tells no more of {}, but it answers", instance.id);
                self.effects.changed = true;
            }
        }
    }

    /// An instance in use did not answer a probe.
    fn failed(&mut self, at: &Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        entry.failures += 1;
        let lost_after = if entry.is_suspected { LOST_AFTER } else { IDLE_LOST_AFTER };
        if entry.failures < lost_after && entry.unheard.is_none() {
            entry.schedule = Schedule::At(now + SUSPECT_PAUSE);
            return;
        }
        self.make_room_lost();
        if let Some(entry) = self.entries.get_mut(at) {
            entry.enter(State::Lost, now);
        }
        self.went_out_of_use(at, NewsKind::Lost, now);
        self.stays_lost(at, now);
    }

    /// A lost instance is not back. While its service has no other, the pause counts from the beginning of the last
    /// probe.
    fn stays_lost(&mut self, at: &Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        let is_missed = !self.merged.contains_key(&entry.instance.service);
        entry.failures = entry.failures.saturating_add(1); // the next seat is for one that was probed less often
        let age = now.saturating_duration_since(entry.since);
        let from = entry.probed.filter(|_| is_missed).unwrap_or(now);
        entry.schedule = Schedule::At(now.max(from + schedule::lost_pause(age, is_missed)));
    }

    /// Says that an instance is out of use from now on.
    fn went_out_of_use(&mut self, at: &Key, what: NewsKind, now: Instant) {
        let Some(entry) = self.entries.get(at) else { return };
        let instance = Arc::clone(&entry.instance);
        self.news.push(what, &instance, now);
        log::log!(self.told.level(&instance), "{} {} ({})", instance.id, what.as_str(), at.0.as_str());
        self.merge(&instance.service);
        self.effects.changed = true;
        self.has_room_again();
    }

    fn stays_unproven(&mut self, at: &Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        entry.failures = entry.failures.saturating_add(1);
        entry.schedule = Schedule::At(now + schedule::unproven_pause(entry.failures));
        if entry.failures == TOLD_AFTER {
            let instance = Arc::clone(&entry.instance);
            let (id, addr) = (&instance.id, instance.addr);
            // A process started anew at the same port: what is announced under the old id is no mistake of a firewall.
            let mut others = self.entries.values().filter(|other| other.state == State::InUse);
            let is_replaced = others.any(|other| other.instance.addr == addr);
            let level = match !is_replaced && may_tell(&mut self.unproven_told, now) {
                true => log::Level::Warn,
                false => log::Level::Debug,
            };
            log::log!(
                level,
                "{id} is announced at {addr}, but does not answer GET /healthz there with its id, so it gets no calls; \
                 does its firewall allow TCP port {}?",
                addr.port()
            );
        }
    }
}

fn class_of(state: State) -> Class {
    match state {
        State::InUse => Class::Suspect,
        State::Lost | State::Ending => Class::Lost,
        State::Unproven => Class::Unproven,
    }
}

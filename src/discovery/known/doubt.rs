//! What becomes of an instance whose source says that it is gone, that it has moved, or that refused a call: it is asked
//! by TCP, and what that tells is believed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Entry, Key, Known, Missing, Unconfirmed};
use crate::discovery::lost::{Inquiry, MAX_LOST};
use crate::discovery::news::What;
use crate::discovery::{Instance, Source, Status, Told, Wish};

/// Nobody is asked by mDNS more often than this whether it is there.
const VERIFIED_AT_MOST_EVERY: Duration = Duration::from_secs(30);
/// Who said goodbye serves on for a moment; after this long, one that still accepts connections has not ended.
const FAREWELL_TAKES: Duration = Duration::from_secs(5);

/// What a TCP connection told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::discovery) enum Probed {
    /// Somebody listens.
    Accepted,
    /// The machine is there, but nobody listens.
    Refused,
    /// Nothing came back in time.
    Silent,
}

impl Known {
    /// Its source has stopped telling of `key`. One that said it was ending has ended; of another one it is to be seen.
    /// What it was, if `key` was known.
    pub(super) fn unheard(&mut self, source: Source, key: &str, told: Told, now: Instant) -> Option<Status> {
        let entry = self.entries.get_mut(&(source, Box::from(key)))?;
        let status = entry.instance.status;
        if status == Status::Drain {
            if let Some(entry) = self.remove(source, key, What::Goodbye, told, now) {
                self.lose(key, entry.instance, Inquiry::new(now + FAREWELL_TAKES, now));
            }
        } else if entry.unconfirmed.is_none() {
            entry.moving = None;
            entry.unconfirmed = Some(Unconfirmed { since: now, accepts: false });
            entry.inquiry = Some(Inquiry::new(now, now));
        }
        Some(status)
    }

    fn lose(&mut self, key: &str, instance: Arc<Instance>, inquiry: Inquiry) {
        if self.lost.len() >= MAX_LOST && !self.lost.contains_key(key) {
            let oldest = self.lost.iter().min_by_key(|(_, one)| one.inquiry.since()).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.forget(&oldest);
            }
        }
        let service = Arc::clone(&instance.service);
        self.lost.insert(key.into(), Missing { instance, inquiry });
        self.merge(&service);
    }

    /// Another source may know somebody at the address of who is forgotten.
    fn forget(&mut self, key: &str) {
        if let Some(one) = self.lost.remove(key) {
            self.merge(&one.instance.service);
        }
    }

    /// Whoever was not heard of since `since` is doubted, as if mDNS had told that it is gone. True if there is one.
    pub(in crate::discovery) fn doubt_unheard_since(
        &mut self,
        since: Instant,
        looks: bool,
        told: Told,
        now: Instant,
    ) -> bool {
        let silent = self.entries.iter().filter(|((source, _), entry)| {
            *source == Source::Mdns && entry.unconfirmed.is_none() && entry.heard < since
        });
        let silent: Vec<Box<str>> = silent.map(|((_, key), _)| key.clone()).collect();
        for key in &silent {
            self.unheard(Source::Mdns, key, told, now);
        }
        if looks && !silent.is_empty() {
            self.wishes.push(Wish::FreshLook);
        }
        !silent.is_empty()
    }

    /// A connection to the instance called `id` was refused. It is tried once more, at `again_at`.
    pub(in crate::discovery) fn refused(&mut self, id: &str, again_at: Instant, now: Instant) -> bool {
        let found = self.entries.iter_mut().find(|((source, _), entry)| {
            *source == Source::Mdns && *entry.instance.id == *id && entry.instance.status == Status::Up
        });
        match found {
            Some((_, entry)) if entry.inquiry.is_none() && may_verify(entry, now) => {
                entry.inquiry = Some(Inquiry::new(again_at, now));
                true
            }
            _ => false,
        }
    }

    /// Who is to be asked by TCP now. Each is handed out once, until [`Known::probed`] says what came of it.
    pub(in crate::discovery) fn due(&mut self, told: Told, now: Instant) -> Vec<(Box<str>, SocketAddr)> {
        let over = self.lost.iter().filter(|(_, one)| one.inquiry.is_over(now));
        let over: Vec<Box<str>> = over.map(|(key, _)| key.clone()).collect();
        for key in over {
            self.forget(&key);
        }
        let ended = self.entries.iter().filter(|((source, _), entry)| {
            *source == Source::Mdns
                && entry.instance.status == Status::Drain
                && entry.inquiry.as_ref().is_some_and(|inquiry| inquiry.next().is_some_and(|next| next <= now))
        });
        let ended: Vec<Box<str>> = ended.map(|((_, key), _)| key.clone()).collect();
        for key in ended {
            self.unheard(Source::Mdns, &key, told, now);
        }
        let doubted = self.entries.iter_mut().filter_map(|((_, key), entry)| {
            let due = entry.inquiry.as_mut().is_some_and(|inquiry| inquiry.ask(now));
            due.then(|| (key.clone(), entry.instance.addr))
        });
        let lost = self.lost.iter_mut();
        let lost = lost.filter_map(|(key, one)| one.inquiry.ask(now).then(|| (key.clone(), one.instance.addr)));
        doubted.chain(lost).collect()
    }

    pub(in crate::discovery) fn next_due(&self) -> Option<Instant> {
        let doubted = self.entries.values().filter_map(|entry| entry.inquiry.as_ref());
        doubted.chain(self.lost.values().map(|one| &one.inquiry)).filter_map(Inquiry::next).min()
    }

    /// Takes in what a TCP connection to `key` told. True if anything changed that a caller wants to know.
    pub(in crate::discovery) fn probed(&mut self, key: &str, answer: Probed, told: Told, now: Instant) -> bool {
        let at = (Source::Mdns, Box::from(key));
        let Some(entry) = self.entries.get_mut(&at) else { return self.probed_lost(key, answer, told, now) };
        if let Some(new) = entry.moving.take() {
            return self.moved(&at, &new, answer, told, now);
        }
        let Some(inquiry) = entry.inquiry.as_mut() else { return false };
        match (entry.unconfirmed.as_mut(), answer) {
            (Some(unconfirmed), Probed::Accepted) => {
                if !std::mem::replace(&mut unconfirmed.accepts, true) {
                    self.news.push(What::Unconfirmed, &entry.instance, now);
                    let id = &entry.instance.id;
                    log::log!(told.level(&entry.instance), "mDNS tells no more of {id}, but it accepts connections");
                }
                inquiry.pause(now);
                true
            }
            (Some(_), Probed::Refused | Probed::Silent) => {
                if let Some(entry) = self.remove(Source::Mdns, key, What::Lost, told, now) {
                    let mut inquiry = Inquiry::new(now, now);
                    inquiry.pause(now);
                    self.lose(key, entry.instance, inquiry);
                }
                true
            }
            (None, Probed::Refused) => {
                entry.inquiry = None;
                entry.verified = Some(now);
                self.news.push(What::Refused, &entry.instance, now);
                self.wishes.push(Wish::Verify(key.into()));
                false
            }
            (None, Probed::Accepted | Probed::Silent) => {
                entry.inquiry = None;
                false
            }
        }
    }

    /// Takes in whether an instance that mDNS says has moved still answers where it was.
    fn moved(&mut self, at: &Key, new: &Arc<Instance>, answer: Probed, told: Told, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(at) else { return false };
        entry.inquiry = None;
        entry.unconfirmed = None;
        if answer == Probed::Accepted {
            log::warn!("{} answers at {}, so it is not believed at {}", new.id, entry.instance.addr, new.addr);
            self.wishes.push(Wish::FreshLook);
            return true;
        }
        let old = Arc::clone(&std::mem::replace(&mut entry.instance, Arc::clone(new)).service);
        self.news.push(What::Moved, new, now);
        log::log!(told.level(new), "{} is now at {}", new.id, new.addr);
        self.merge(&old);
        self.merge(&new.service);
        true
    }

    fn probed_lost(&mut self, key: &str, answer: Probed, told: Told, now: Instant) -> bool {
        let Some(one) = self.lost.get_mut(key) else { return false };
        let had_said_goodbye = one.instance.status == Status::Drain;
        match answer {
            Probed::Accepted => {
                let Some(Missing { mut instance, mut inquiry }) = self.lost.remove(key) else { return false };
                if !self.has_room_for(&instance) {
                    return false;
                }
                Arc::make_mut(&mut instance).status = Status::Up; // a farewell that did not come true
                inquiry.begin_anew(now);
                self.come_back(key, instance, inquiry, told, now);
                true
            }
            Probed::Refused if had_said_goodbye => {
                self.forget(key);
                true
            }
            Probed::Refused | Probed::Silent => {
                one.inquiry.pause(now);
                false
            }
        }
    }

    fn come_back(&mut self, key: &str, instance: Arc<Instance>, inquiry: Inquiry, told: Told, now: Instant) {
        self.news.push(What::FoundAgain, &instance, now);
        log::log!(told.level(&instance), "{} at {} accepts connections again", instance.id, instance.addr);
        let service = Arc::clone(&instance.service);
        let entry = Entry {
            instance,
            since: now,
            heard: now,
            unconfirmed: Some(Unconfirmed { since: now, accepts: true }),
            moving: None,
            inquiry: Some(inquiry),
            verified: None,
        };
        self.entries.insert((Source::Mdns, key.into()), entry);
        self.merge(&service);
        self.wishes.push(Wish::FreshLook); // who was away with it may be back with it
    }
}

fn may_verify(entry: &Entry, now: Instant) -> bool {
    entry.verified.is_none_or(|at| now.saturating_duration_since(at) >= VERIFIED_AT_MOST_EVERY)
}

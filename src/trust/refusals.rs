//! Refused instances, for the page and, once each, for the log. A flood of forged records must neither fill the memory
//! nor the card.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

/// Refused instances that are remembered.
pub(crate) const MOST: usize = 64;
/// Longest piece of a name that is shown; names of this project are shorter.
const MAX_NAME: usize = 64;

/// An instance that is not believed, and never called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusedInstance {
    /// The name it is registered under, without what could do harm on a page or in a log.
    pub name: Box<str>,
    /// The service it says it is; empty if it says none.
    pub service: Box<str>,
    /// Where it says it is.
    pub addr: Option<SocketAddr>,
    /// Why, as a sentence that begins with "it" or "its".
    pub reason: String,
    /// Whether it is still announced.
    #[serde(skip)]
    is_there: bool,
}

/// All that were refused.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// By full name; at most [`MOST`].
    entries: BTreeMap<Box<str>, RefusedInstance>,
    /// How many records there was no room for.
    beyond: u64,
}

impl RefusedInstance {
    pub(crate) fn new(name: &str, service: &str, addr: Option<SocketAddr>, reason: String) -> Self {
        let name = name.chars().take(MAX_NAME).flat_map(char::escape_default).collect::<String>().into();
        Self { name, service: service.into(), addr, reason, is_there: true }
    }
}

impl Refusals {
    /// Remembers that what is registered under the full name `key` was refused, and says in the log what is new.
    pub(super) fn add(&mut self, key: &str, refusal: RefusedInstance, level: log::Level) {
        if let Some(old) = self.entries.get_mut(key) {
            let is_new = old.reason != refusal.reason;
            *old = refusal;
            if is_new {
                old.tell(level);
            }
            return;
        }
        if self.entries.len() >= MOST && !self.forget_one_that_is_gone() {
            if self.beyond == 0 {
                log::warn!("more than {MOST} instances are refused; the rest is only counted");
            }
            self.beyond = self.beyond.saturating_add(1);
            return;
        }
        refusal.tell(level);
        self.entries.insert(key.into(), refusal);
    }

    /// Notes that a refused instance is no longer announced. It is remembered for a while, so that one that comes and
    /// goes is logged once.
    pub(super) fn gone(&mut self, key: &str) {
        if let Some(refusal) = self.entries.get_mut(key) {
            refusal.is_there = false;
        }
    }

    /// Removes an instance that is believed now.
    pub(super) fn remove(&mut self, key: &str) {
        self.entries.remove(key);
    }

    pub(super) fn all(&self) -> (Vec<RefusedInstance>, u64) {
        (self.entries.values().filter(|refusal| refusal.is_there).cloned().collect(), self.beyond)
    }

    fn forget_one_that_is_gone(&mut self) -> bool {
        let gone = self.entries.iter().find(|(_, refusal)| !refusal.is_there).map(|(key, _)| key.clone());
        gone.is_some_and(|key| self.entries.remove(&key).is_some())
    }
}

impl RefusedInstance {
    fn tell(&self, level: log::Level) {
        let at = self.addr.map(|addr| format!(" at {addr}")).unwrap_or_default();
        log::log!(level, "{}{at} is refused: {}", self.name, self.reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARN: log::Level = log::Level::Warn;

    fn refusal(name: &str) -> RefusedInstance {
        RefusedInstance::new(name, "producer", None, "its signature does not fit".into())
    }

    #[test]
    fn a_flood_is_counted_and_what_is_gone_makes_room() {
        let mut refusals = Refusals::default();
        for number in 0..1000 {
            refusals.add(&format!("rogue-{number:04}"), refusal("rogue"), WARN);
        }
        assert_eq!((refusals.all().0.len(), refusals.all().1), (MOST, 1000 - MOST as u64));
        refusals.gone("rogue-0003");
        assert_eq!(refusals.all().0.len(), MOST - 1);
        refusals.add("late", refusal("late"), WARN);
        assert!(refusals.all().0.iter().any(|one| &*one.name == "late"));
        assert_eq!(refusals.entries.len(), MOST);
    }

    #[test]
    fn what_is_believed_later_is_no_longer_shown() {
        let mut refusals = Refusals::default();
        refusals.add("a", refusal("a"), WARN);
        refusals.remove("a");
        assert_eq!(refusals.all(), (Vec::new(), 0));
    }

    #[test]
    fn a_forged_name_does_no_harm_in_a_log() {
        let name = refusal(&format!("a\n\u{1b}[31m{}", "x".repeat(1000))).name;
        assert!(name.is_ascii() && !name.contains(['\n', '\u{1b}']) && name.len() < 100, "{name}");
    }
}

//! A Pi has little memory and a form takes any postal code: what is kept must have a bound in entries and in bytes,
//! and lose first what is worth least.
//!
//! Worth least is what is too old to be given at all; then what was not asked for longest. Both orders are kept in
//! trees beside the table, so that finding the victim costs O(log n) and never a walk over all entries.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Largest difference of clocks: those of nodes that ask each other for the time (NTP) differ by less. An entry that
/// much from the future is age 0, one beyond it has an unknown age.
const MAX_SKEW: Duration = Duration::from_secs(60);

/// Bytes of an entry besides its key and its value: the slot, a hash bucket, a node in each tree, the key's counts.
const OVERHEAD: usize = 256;

/// Divisor of all bytes for the largest entry, so that one huge answer cannot drive out all others.
const LARGEST_SHARE: usize = 16;

/// A value, and when it was asked for by the wall clock: a time that other processes understand, and that outlives
/// ours.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<V> {
    /// Value that is kept.
    pub value: V,
    /// When it was asked for.
    pub stored_at: SystemTime,
}

impl<V> Entry<V> {
    /// How old it is at `now`. None if it comes from a future that no skew between clocks explains: the clock was set
    /// back, and an age counted from there would make the entry immortal.
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        match now.duration_since(self.stored_at) {
            Ok(age) => Some(age),
            Err(ahead) if ahead.duration() <= MAX_SKEW => Some(Duration::ZERO),
            Err(_) => None,
        }
    }
}

/// How much a [`Memory`] holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Entries.
    pub entries: usize,
    /// Bytes of keys, values and what it takes to keep them.
    pub bytes: usize,
    /// Entries of this age are gone.
    pub keep_for: Duration,
}

/// A bounded map from questions to answers. Least recently used goes first, expired before that.
pub struct Memory<V> {
    bounds: Bounds,
    table: Mutex<Table<V>>,
}

struct Table<V> {
    slots: HashMap<Arc<str>, IndexedEntry<V>>,
    /// A pair for each slot: its `used` and its key.
    by_use: BTreeMap<u64, Arc<str>>,
    /// A pair for each slot: its `stored_at`, its `born`, and its key.
    by_age: BTreeMap<(SystemTime, u64), Arc<str>>,
    /// Never given twice; 2^64 of them outlast any process.
    ticket: u64,
    /// The sum of all weights.
    bytes: usize,
    evicted: u64,
}

struct IndexedEntry<V> {
    entry: Entry<V>,
    weight: usize,
    used: u64,
    born: u64,
}

impl<V: Clone> Memory<V> {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Self {
        let table = Table {
            slots: HashMap::new(),
            by_use: BTreeMap::new(),
            by_age: BTreeMap::new(),
            ticket: 0,
            bytes: 0,
            evicted: 0,
        };
        Self { bounds, table: Mutex::new(table) }
    }

    /// Entry for `key`, unless it is too old by `now`.
    pub fn get(&self, key: &str, now: SystemTime) -> Option<Entry<V>> {
        let mut table = self.lock();
        let slot = table.slots.get(key)?;
        if self.is_gone(&slot.entry, now) {
            table.remove(key);
            return None;
        }
        let entry = slot.entry.clone();
        table.touch(key);
        Some(entry)
    }

    /// Keeps `entry`, which takes `weight` bytes. False if it is not kept: it is too large or too old, or what is
    /// there is newer.
    pub fn put(&self, key: &str, entry: Entry<V>, weight: usize, now: SystemTime) -> bool {
        let weight = weight.saturating_add(key.len()).saturating_add(OVERHEAD);
        if weight > self.bounds.bytes / LARGEST_SHARE || self.bounds.entries == 0 || self.is_gone(&entry, now) {
            return false;
        }
        let mut table = self.lock();
        match table.slots.get(key) {
            Some(old) if old.entry.stored_at > entry.stored_at && !self.is_gone(&old.entry, now) => return false,
            Some(_) => table.remove(key),
            None => {}
        }
        self.drop_gone(&mut table, now);
        while table.slots.len() >= self.bounds.entries || table.bytes + weight > self.bounds.bytes {
            let Some(key) = table.by_use.values().next().cloned() else { break };
            table.remove(&key);
            table.evicted += 1;
        }
        table.insert(key.into(), entry, weight);
        true
    }

    /// Forgets `key`.
    pub fn remove(&self, key: &str) {
        self.lock().remove(key);
    }

    /// Number of entries, the expired that were not asked for included.
    pub fn len(&self) -> usize {
        self.lock().slots.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes taken by keys, values and what it takes to keep them.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Entries that went for want of room since the start.
    pub fn evicted(&self) -> u64 {
        self.lock().evicted
    }

    fn is_gone(&self, entry: &Entry<V>, now: SystemTime) -> bool {
        entry.age(now).is_none_or(|age| age > self.bounds.keep_for)
    }

    /// The too old stand first in the order of age, those from an impossible future last.
    fn drop_gone(&self, table: &mut Table<V>, now: SystemTime) {
        loop {
            let ends = [table.by_age.values().next(), table.by_age.values().next_back()];
            let gone = ends
                .into_iter()
                .flatten()
                .find(|key| table.slots.get(&***key).is_some_and(|slot| self.is_gone(&slot.entry, now)));
            let Some(key) = gone.cloned() else { return };
            table.remove(&key);
        }
    }

    /// A panic while the lock was held (a value's `clone`) leaves the table whole, so it is used on.
    fn lock(&self) -> MutexGuard<'_, Table<V>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Table<V> {
    fn ticket(&mut self) -> u64 {
        self.ticket += 1;
        self.ticket
    }

    fn insert(&mut self, key: Arc<str>, entry: Entry<V>, weight: usize) {
        let ticket = self.ticket();
        self.bytes += weight;
        self.by_use.insert(ticket, Arc::clone(&key));
        self.by_age.insert((entry.stored_at, ticket), Arc::clone(&key));
        self.slots.insert(key, IndexedEntry { entry, weight, used: ticket, born: ticket });
    }

    fn remove(&mut self, key: &str) {
        if let Some(slot) = self.slots.remove(key) {
            self.bytes -= slot.weight;
            self.by_use.remove(&slot.used);
            self.by_age.remove(&(slot.entry.stored_at, slot.born));
        }
    }

    fn touch(&mut self, key: &str) {
        let last = self.ticket;
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.used == last {
            return; // asked for last already
        }
        if let Some(key) = self.by_use.remove(&slot.used) {
            self.ticket += 1;
            slot.used = self.ticket;
            self.by_use.insert(slot.used, key);
        }
    }
}

impl<V> std::fmt::Debug for Memory<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn entry(value: u32, seconds: u64) -> Entry<u32> {
        Entry { value, stored_at: at(seconds) }
    }

    fn memory(entries: usize) -> Memory<u32> {
        Memory::new(Bounds { entries, bytes: 1 << 20, keep_for: MINUTE })
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let memory = memory(2);
        memory.put("a", entry(1, 0), 4, at(0));
        memory.put("b", entry(2, 0), 4, at(0));
        assert!(memory.get("a", at(1)).is_some());
        memory.put("c", entry(3, 2), 4, at(2));
        assert!(memory.get("b", at(2)).is_none());
        assert_eq!(memory.get("a", at(2)), Some(entry(1, 0)));
        assert_eq!(memory.get("c", at(2)), Some(entry(3, 2)));
        assert_eq!(memory.evicted(), 1);
    }

    #[test]
    fn the_expired_goes_before_the_least_recently_used() {
        let memory = memory(2);
        memory.put("young", entry(1, 50), 4, at(50));
        memory.put("old", entry(2, 0), 4, at(50));
        memory.get("old", at(55));
        memory.put("new", entry(3, 61), 4, at(61));
        assert!(memory.get("young", at(61)).is_some());
        assert_eq!(memory.evicted(), 0, "nothing useful had to go");
    }

    #[test]
    fn bytes_are_bounded_whatever_the_number_of_entries() {
        let memory = Memory::new(Bounds { entries: 1000, bytes: 64 << 10, keep_for: MINUTE });
        for n in 0..100_u32 {
            assert!(memory.put(&n.to_string(), entry(n, 0), 3000, at(0)));
            assert!(memory.bytes() <= 64 << 10);
        }
        assert!((15..=20).contains(&memory.len()), "{}", memory.len());
        assert!(!memory.put("huge", entry(0, 0), 64 << 10, at(0)));
        assert!(!memory.put("absurd", entry(0, 0), usize::MAX, at(0)));
        assert!(memory.get("99", at(0)).is_some(), "what is too large drives nothing out");
    }

    #[test]
    fn a_newer_entry_is_never_replaced_by_an_older_one() {
        let memory = memory(2);
        assert!(memory.put("a", entry(2, 10), 4, at(10)));
        assert!(!memory.put("a", entry(1, 5), 4, at(11)));
        assert_eq!(memory.get("a", at(11)), Some(entry(2, 10)));
        assert!(memory.put("a", entry(3, 10), 4, at(12)));
        assert_eq!(memory.get("a", at(12)), Some(entry(3, 10)));
        assert_eq!(memory.len(), 1);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_immortal() {
        let memory = memory(2);
        memory.put("a", entry(1, 1000), 4, at(1000));
        assert_eq!(memory.get("a", at(990)).and_then(|entry| entry.age(at(990))), Some(Duration::ZERO));
        assert_eq!(memory.get("a", at(0)), None, "an hour back, its age is unknown");
        memory.put("b", entry(1, 1000), 4, at(1000));
        assert!(memory.put("b", entry(2, 0), 4, at(0)), "what comes from the future does not block what is new");
        assert_eq!(memory.get("b", at(0)), Some(entry(2, 0)));
    }

    #[test]
    fn a_memory_without_room_keeps_nothing() {
        assert!(!memory(0).put("a", entry(1, 0), 4, at(0)));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Get(u8),
        Put(u8, usize),
        Remove(u8),
        Pass(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..12_u8).prop_map(Step::Get),
            (0..12_u8, 0..3000_usize).prop_map(|(key, weight)| Step::Put(key, weight)),
            (0..12_u8).prop_map(Step::Remove),
            (-200..200_i64).prop_map(Step::Pass),
        ]
    }

    proptest! {
        #[test]
        fn no_history_breaks_a_bound_or_gives_what_was_not_put(steps in prop::collection::vec(step(), 0..200)) {
            let bounds = Bounds { entries: 5, bytes: 32 << 10, keep_for: MINUTE };
            let memory = Memory::new(bounds);
            let mut model: HashMap<u8, u32> = HashMap::new();
            let (mut now, mut value) = (10_000_i64, 0);
            for step in steps {
                match step {
                    Step::Get(key) => {
                        if let Some(found) = memory.get(&key.to_string(), at(now as u64)) {
                            prop_assert_eq!(Some(&found.value), model.get(&key));
                            prop_assert!(found.age(at(now as u64)).is_some_and(|age| age <= MINUTE));
                        }
                    }
                    Step::Put(key, weight) => {
                        value += 1;
                        if memory.put(&key.to_string(), entry(value, now as u64), weight, at(now as u64)) {
                            model.insert(key, value);
                            prop_assert!(memory.get(&key.to_string(), at(now as u64)).is_some());
                        }
                    }
                    Step::Remove(key) => {
                        memory.remove(&key.to_string());
                        model.remove(&key);
                    }
                    Step::Pass(seconds) => now += seconds,
                }
                let table = memory.lock();
                prop_assert!(table.slots.len() <= bounds.entries && table.bytes <= bounds.bytes);
                prop_assert_eq!(table.by_use.len(), table.slots.len());
                prop_assert_eq!(table.by_age.len(), table.slots.len());
                prop_assert_eq!(table.slots.values().map(|slot| slot.weight).sum::<usize>(), table.bytes);
            }
        }
    }
}

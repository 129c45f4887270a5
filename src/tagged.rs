//! A value with the step of time or the generation that it belongs to, in one atomic word.

use crate::sync::{AtomicU64, Ordering};

/// A value that belongs to a tag, and is 0 under every other.
///
/// A ring of them is a window that slides with time and needs neither sweeper nor lock: a write under a new tag
/// replaces what the old one had, and a reader passes over words whose tag is not in the window.
///
/// The tag has `TAG_BITS` bits and comes round after that. A word at most `AHEAD` tags ahead was written later, so an
/// update under an earlier tag changes nothing; one further ahead is left from before the tags came round.
#[derive(Debug)]
pub(crate) struct TaggedValue<const TAG_BITS: u32, const AHEAD: u64>(AtomicU64);

/// A count up to 16 million under a tag that lasts for 34 years of 1 ms ticks, so that it does not come round.
pub(crate) type Tally = TaggedValue<40, { 1 << 39 }>;

impl<const TAG_BITS: u32, const AHEAD: u64> TaggedValue<TAG_BITS, AHEAD> {
    const VALUE_BITS: u32 = u64::BITS - TAG_BITS;
    const TAGS: u64 = 1 << TAG_BITS;
    /// The largest value.
    pub(crate) const MAX: u64 = (1 << Self::VALUE_BITS) - 1;

    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Puts `new(value)`, at most [`MAX`](Self::MAX), in place of the value under `tag` and returns it; 0 and no change
    /// if a later tag has begun.
    pub(crate) fn update(&self, tag: u64, new: impl Fn(u64) -> u64) -> u64 {
        let tag = tag % Self::TAGS;
        let mut old = self.0.load(Ordering::Relaxed);
        loop {
            let ahead = (old >> Self::VALUE_BITS).wrapping_sub(tag) % Self::TAGS;
            if (1..=AHEAD).contains(&ahead) {
                return 0;
            }
            let value = new(if ahead == 0 { old & Self::MAX } else { 0 }).min(Self::MAX);
            let word = (tag << Self::VALUE_BITS) | value;
            // SeqCst: of two threads that add and then sum, one must see both.
            match self.0.compare_exchange_weak(old, word, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return value,
                Err(now) => old = now,
            }
        }
    }

    /// Adds one under `tag` and returns the count; 0 if a later tag has begun.
    pub(crate) fn add(&self, tag: u64) -> u64 {
        self.update(tag, |count| count + 1)
    }

    /// The value under `tag`, 0 if it is another's.
    pub(crate) fn get(&self, tag: u64) -> u64 {
        self.within(1, tag)
    }

    /// The value, if it is under `tag` or one of the `tags - 1` before it; else 0.
    pub(crate) fn within(&self, tags: u64, tag: u64) -> u64 {
        let word = self.0.load(Ordering::SeqCst);
        let behind = (tag % Self::TAGS).wrapping_sub(word >> Self::VALUE_BITS) % Self::TAGS;
        if behind < tags { word & Self::MAX } else { 0 }
    }

    /// Sets the value under `tag` to 0; writes nothing if it is 0 already, or another's.
    pub(crate) fn clear(&self, tag: u64) {
        if self.get(tag) != 0 {
            self.update(tag, |_| 0);
        }
    }
}

#[cfg(all(test, bramble_loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    #[test]
    fn loom_of_two_values_under_a_new_tag_the_higher_stays() {
        loom::model(|| {
            let peak = Arc::new(TaggedValue::<22, 16>::new());
            peak.update(1, |_| 9);
            let other = Arc::clone(&peak);
            let thread = loom::thread::spawn(move || other.update(2, |highest| highest.max(3)));
            peak.update(2, |highest| highest.max(5));
            thread.join().expect("no panic");
            assert_eq!((peak.get(2), peak.get(1)), (5, 0));
        });
    }
}

#[cfg(all(test, not(bramble_loom)))]
mod tests {
    use super::*;

    type Short = TaggedValue<22, 16>;

    #[test]
    fn a_value_goes_on_when_its_tags_have_come_round() {
        let word = Short::new();
        word.update(5, |count| count + 7);
        word.update(Short::TAGS + 6, |count| count + 1);
        assert_eq!((word.within(10, Short::TAGS + 6), word.within(10, Short::TAGS / 2)), (1, 0));
        word.update(Short::TAGS / 2, |count| count + 1);
        assert_eq!(word.within(10, Short::TAGS / 2), 1);
    }

    #[test]
    fn what_comes_late_for_its_tag_changes_nothing() {
        let word = Tally::new();
        assert_eq!((word.add(1 << 38), word.add(1 << 38), word.add(7)), (1, 2, 0));
        word.clear(7);
        assert_eq!(word.get(1 << 38), 2);
        word.clear(1 << 38);
        assert_eq!(word.get(1 << 38), 0);
    }
}

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

const LANES: usize = 4;

/// Events by virtual time; those of the same time in the order in which they were added.
///
/// Most events are timers of a fixed length, so that they are added in the order of their time: they go into lanes,
/// each of them sorted, and the heap stays small.
#[derive(Debug)]
pub(super) struct EventQueue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    lanes: [VecDeque<Entry<E>>; LANES],
    added: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Duration,
    number: u64,
    event: E,
}

impl<E> EventQueue<E> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), lanes: std::array::from_fn(|_| VecDeque::new()), added: 0 }
    }

    pub(super) fn add(&mut self, at: Duration, event: E) {
        self.added += 1;
        let entry = Entry { at, number: self.added, event };
        let last = |lane: &&mut VecDeque<Entry<E>>| lane.back().map(|last| last.at);
        let fitting = self.lanes.iter_mut().filter(|lane| lane.back().is_none_or(|last| last.at <= at));
        match fitting.max_by_key(last) {
            Some(lane) => lane.push_back(entry),
            None => self.heap.push(Reverse(entry)),
        }
    }

    pub(super) fn next(&mut self) -> Option<(Duration, E)> {
        let heads = self.lanes.iter().enumerate().filter_map(|(i, lane)| Some((lane.front()?.key(), i)));
        let first = heads.min();
        let heap = self.heap.peek().map(|Reverse(entry)| entry.key());
        let entry = match first {
            Some((key, lane)) if heap.is_none_or(|other| key < other) => self.lanes[lane].pop_front(),
            _ => self.heap.pop().map(|Reverse(entry)| entry),
        };
        entry.map(|entry| (entry.at, entry.event))
    }
}

impl<E> Entry<E> {
    fn key(&self) -> (Duration, u64) {
        (self.at, self.number)
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_equal_ones_in_the_order_in_which_they_were_added() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut queue = EventQueue::new();
        let mut expected = Vec::new();
        for number in 0..1000 {
            let at = Duration::from_millis(number / 10 + rng.u64(..4) * 50);
            queue.add(at, number);
            expected.push((at, number));
        }
        expected.sort();
        assert_eq!(std::iter::from_fn(|| queue.next()).collect::<Vec<_>>(), expected);
    }
}

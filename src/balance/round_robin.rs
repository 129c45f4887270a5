//! Round robin: one after the other, and as often as its weight says.
//!
//! Static stride scheduling (as in gRPC's weighted round robin): in each round an endpoint of the highest weight has
//! its turn, one of half that weight in every second round. One counter, no queue.

use crate::sync::{AtomicU64, Ordering};

/// Counter of turns.
#[derive(Debug)]
pub(super) struct Turns(AtomicU64);

impl Turns {
    pub(super) fn new(first: u64) -> Self {
        Self(AtomicU64::new(first))
    }

    /// Turns so far.
    pub(super) fn taken(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The next of `count` endpoints, at least one, with weights from 1 to `highest`.
    pub(super) fn next(&self, count: usize, highest: u64, weight: impl Fn(usize) -> u64) -> usize {
        loop {
            let turn = self.0.fetch_add(1, Ordering::Relaxed);
            let (round, index) = (turn / count as u64, (turn % count as u64) as usize);
            let weight = weight(index);
            // An offset of each one's own spreads the light ones over the rounds.
            let phase = (round % highest * weight + index as u64 % highest * (highest / 2)) % highest;
            if phase + weight >= highest {
                return index; // at the latest one of the highest weight
            }
        }
    }
}

#[cfg(all(test, not(bramble_loom)))]
mod tests {
    use super::*;

    fn picks(weights: &[u64], count: usize) -> Vec<usize> {
        let turns = Turns::new(0);
        let highest = weights.iter().copied().max().expect("some");
        (0..count).map(|_| turns.next(weights.len(), highest, |index| weights[index])).collect()
    }

    #[test]
    fn equals_have_their_turn_one_after_the_other() {
        assert_eq!(picks(&[1, 1, 1], 7), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(picks(&[7, 7], 4), [0, 1, 0, 1]);
    }

    #[test]
    fn each_has_as_many_turns_as_its_weight() {
        for weights in [[1, 2, 5, 100], [3, 1, 1, 1], [99, 100, 98, 1]] {
            let sum = weights.iter().sum::<u64>() as usize;
            let picks = picks(&weights, sum * 10);
            for (index, weight) in weights.iter().enumerate() {
                let turns = picks.iter().filter(|pick| **pick == index).count() as u64;
                assert!(turns.abs_diff(weight * 10) <= 10, "{weights:?}: {index} had {turns}");
            }
        }
    }

    #[test]
    fn a_heavy_one_does_not_have_all_its_turns_in_a_row() {
        let picks = picks(&[4, 2, 2], 80);
        assert!(picks.windows(3).all(|three| three.iter().any(|pick| *pick != 0)), "{picks:?}");
    }
}

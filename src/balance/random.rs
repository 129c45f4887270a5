//! Random: any of them, by weight, at the same cost for ten as for a thousand.
//!
//! The alias method (Walker 1977, Vose 1991): a table of columns of equal height, each shared by at most two
//! endpoints; a draw takes a column and then one of the two.

/// Draws numbers below the number of weights, each as often as its weight says.
#[derive(Debug)]
pub(super) struct AliasTable {
    /// For each column the share that is its own, and whose the rest is. Empty if all weights are equal.
    columns: Vec<(f64, usize)>,
    count: usize,
}

impl AliasTable {
    /// A table for `weights`, each at least 1. At least one.
    pub(super) fn new(weights: &[u32]) -> Self {
        let count = weights.len();
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return Self { columns: Vec::new(), count };
        }
        let mean = weights.iter().copied().map(f64::from).sum::<f64>() / count as f64;
        let mut columns: Vec<(f64, usize)> =
            weights.iter().enumerate().map(|(index, weight)| (f64::from(*weight) / mean, index)).collect();
        let (mut low, mut high): (Vec<usize>, Vec<usize>) = (0..count).partition(|index| columns[*index].0 < 1.0);
        while let (Some(small), Some(large)) = (low.pop(), high.pop()) {
            columns[small].1 = large;
            columns[large].0 -= 1.0 - columns[small].0;
            if columns[large].0 < 1.0 { &mut low } else { &mut high }.push(large);
        }
        // What is left differs from 1 by rounding only.
        for index in low.into_iter().chain(high) {
            columns[index].0 = 1.0;
        }
        Self { columns, count }
    }

    pub(super) fn draw(&self, rng: &mut fastrand::Rng) -> usize {
        let index = rng.usize(..self.count);
        match self.columns.get(index) {
            Some((own, other)) if rng.f64() >= *own => *other,
            _ => index,
        }
    }
}

#[cfg(all(test, not(bramble_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Adding up the columns gives each weight's share back, which no number of draws could show as exactly.
        #[test]
        fn the_columns_hold_each_weight_exactly(weights in prop::collection::vec(1u32..=100, 1..50)) {
            let alias = AliasTable::new(&weights);
            let total = f64::from(weights.iter().sum::<u32>());
            let mut held = vec![0.0; weights.len()];
            for index in 0..weights.len() {
                let (own, other) = alias.columns.get(index).copied().unwrap_or((1.0, index));
                held[index] += own;
                held[other] += 1.0 - own;
            }
            for (held, weight) in held.iter().zip(&weights) {
                let share = f64::from(*weight) / total * weights.len() as f64;
                prop_assert!((held - share).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn draws_come_out_as_the_weights_say() {
        let (alias, mut rng) = (AliasTable::new(&[1, 2, 7]), fastrand::Rng::with_seed(5));
        let mut drawn = [0; 3];
        (0..100_000).for_each(|_| drawn[alias.draw(&mut rng)] += 1);
        assert!((9_500..10_500).contains(&drawn[0]) && (69_000..71_000).contains(&drawn[2]), "{drawn:?}");
    }
}

//! A share of a whole.

/// A share of a whole, above 0 and at most 1. Where nothing is allowed too, a setting is an `Option<Ratio>`.
///
/// ```
/// use bramble::Ratio;
///
/// assert_eq!(Ratio::new(0.5).map(Ratio::get), Some(0.5));
/// assert!([0.0, 1.01, f64::NAN].into_iter().all(|share| Ratio::new(share).is_none()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// The whole.
    pub const ONE: Self = Self(1.0);

    /// `share` as a ratio; None unless it is above 0 and at most 1.
    pub const fn new(share: f64) -> Option<Self> {
        if share > 0.0 && share <= 1.0 { Some(Self(share)) } else { None } // not a NaN either
    }

    /// The share as a number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

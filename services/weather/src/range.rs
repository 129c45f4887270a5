//! The values that weather can have. Wide enough for Kelvin and Fahrenheit too: a value outside comes from a broken
//! program, not from surprising weather.

use std::ops::RangeInclusive;

/// Air temperature, degrees.
pub const TEMPERATURE: RangeInclusive<f64> = -150.0..=400.0;
/// Felt temperature, degrees.
pub const FEELS_LIKE: RangeInclusive<f64> = -200.0..=400.0;
/// Relative humidity, per cent.
pub const HUMIDITY: RangeInclusive<f64> = 0.0..=100.0;
/// Air pressure, hectopascal: lowest on a summit; the highest ever measured is 1084.
pub const PRESSURE: RangeInclusive<f64> = 300.0..=1200.0;
/// Wind speed, metres a second or miles an hour.
pub const WIND: RangeInclusive<f64> = 0.0..=300.0;

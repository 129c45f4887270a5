//! Numbers, durations and sizes, with their units and bounds. `timeout = 3` is refused: it could be seconds or
//! milliseconds.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use super::{Format, InvalidValue, quote, show_time};
use crate::call::HedgeDelay;
use crate::ratio::Ratio;

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// A duration: `"250ms"`, `"10s"`, `"5m"`, `"24h"`.
#[derive(Clone, Copy)]
pub(in crate::config) struct Time {
    zero: bool,
    least: Duration,
    most: Duration,
}

impl Time {
    /// 1 ms to 30 days.
    pub(in crate::config) const POSITIVE: Self = Self { zero: false, least: Duration::from_millis(1), most: MONTH };
    /// The same, or 0.
    pub(in crate::config) const OR_ZERO: Self = Self { zero: true, ..Self::POSITIVE };

    pub(in crate::config) const fn up_to(self, most: Duration) -> Self {
        Self { most, ..self }
    }

    pub(in crate::config) const fn within(least: Duration, most: Duration) -> Self {
        Self { zero: false, least, most }
    }
}

impl Format<Duration> for Time {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Duration, Vec<InvalidValue>> {
        let time = value.get_ref().as_str().and_then(parse_time).ok_or_else(|| {
            InvalidValue::new(value, r#"is not a duration; write for example "250ms", "10s", "5m" or "24h""#)
        })?;
        if (self.least..=self.most).contains(&time) || (self.zero && time.is_zero()) {
            return Ok(time);
        }
        let most = if self.most == MONTH { "30 days".to_owned() } else { show_time(self.most) };
        let zero = if self.zero { "0s, or " } else { "" };
        Err(InvalidValue::new(
            value,
            format_args!("is out of range; allowed is {zero}{} to {most}", show_time(self.least)),
        ))
    }

    fn show(&self, value: &Duration) -> String {
        quote(&show_time(*value))
    }
}

/// `humantime` overflows in its sum near 2^64 seconds; within these bounds it cannot get there.
fn parse_time(text: &str) -> Option<Duration> {
    let digits = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max()?;
    if text.len() > 32 || digits > 12 || text.contains(char::is_whitespace) {
        return None;
    }
    humantime::parse_duration(text).ok()
}

/// A [`HedgeDelay`]: `"p95"`, `"off"`, or a duration.
pub(in crate::config) struct Hedge;

impl Format<HedgeDelay> for Hedge {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<HedgeDelay, Vec<InvalidValue>> {
        match value.get_ref().as_str() {
            Some("p95") => Ok(HedgeDelay::P95),
            Some("off") => Ok(HedgeDelay::Off),
            Some(text) if parse_time(text).is_some() => Time::POSITIVE.read(value).map(HedgeDelay::After),
            _ => Err(InvalidValue::new(value, r#"is not "p95", "off" or a duration, for example "40ms""#)),
        }
    }

    fn show(&self, value: &HedgeDelay) -> String {
        match value {
            HedgeDelay::P95 => quote("p95"),
            HedgeDelay::Off => quote("off"),
            HedgeDelay::After(time) => Time::POSITIVE.show(time),
        }
    }
}

/// A size in bytes: an integer, or text with `B`, `KiB`, `MiB` or `GiB`.
pub(in crate::config) struct Bytes(pub(in crate::config) RangeInclusive<usize>);

const BYTE_UNITS: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Format<usize> for Bytes {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<usize, Vec<InvalidValue>> {
        let size = match value.get_ref() {
            DeValue::Integer(number) => integer(number).and_then(|n| usize::try_from(n).ok()),
            DeValue::String(text) => parse_bytes(text),
            _ => None,
        };
        let size = size.ok_or_else(|| {
            InvalidValue::new(value, r#"is not a size; write for example "64KiB", "1MiB" or a number of bytes"#)
        })?;
        if self.0.contains(&size) {
            return Ok(size);
        }
        let (least, most) = (show_bytes(*self.0.start()), show_bytes(*self.0.end()));
        Err(InvalidValue::new(value, format_args!("is out of range; allowed is {least} to {most}")))
    }

    fn show(&self, value: &usize) -> String {
        quote(&show_bytes(*value))
    }
}

fn parse_bytes(text: &str) -> Option<usize> {
    let (number, unit) =
        BYTE_UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?.trim_end(), unit)))?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None; // `parse` would take a sign
    }
    number.parse::<usize>().ok()?.checked_mul(*unit)
}

fn show_bytes(size: usize) -> String {
    match BYTE_UNITS.iter().find(|(_, unit)| size > 0 && size % unit == 0) {
        Some((name, unit)) => format!("{}{name}", size / unit),
        None => "0B".to_owned(),
    }
}

/// A whole number.
pub(in crate::config) struct Count(pub(in crate::config) RangeInclusive<u32>);

impl<T: TryFrom<u32> + fmt::Display> Format<T> for Count {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<T, Vec<InvalidValue>> {
        let number = value.get_ref().as_integer().and_then(integer).ok_or_else(|| {
            InvalidValue::new(value, format_args!("is not a whole number; write for example {}", self.0.start()))
        })?;
        u32::try_from(number).ok().filter(|n| self.0.contains(n)).and_then(|n| T::try_from(n).ok()).ok_or_else(|| {
            InvalidValue::new(value, format_args!("is out of range; allowed is {} to {}", self.0.start(), self.0.end()))
        })
    }

    fn show(&self, value: &T) -> String {
        value.to_string()
    }
}

/// A share of a whole: from 0 as a number or an `Option`, above 0 as a [`Ratio`]; at most 1.
#[derive(Clone, Copy)]
pub(in crate::config) struct Share;

impl Share {
    /// Reads a number as `right` makes it. None: it is not one of those that are `allowed`.
    fn read_as<T>(
        value: &Spanned<DeValue<'_>>,
        right: impl Fn(f64) -> Option<T>,
        allowed: &str,
    ) -> Result<T, Vec<InvalidValue>> {
        let share = decimal(value).ok_or_else(|| InvalidValue::new(value, "is not a number; write for example 0.5"))?;
        right(share).ok_or_else(|| InvalidValue::new(value, format_args!("is out of range; allowed is {allowed}")))
    }
}

impl Format<Ratio> for Share {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Ratio, Vec<InvalidValue>> {
        Self::read_as(value, Ratio::new, "above 0 and up to 1")
    }

    fn show(&self, value: &Ratio) -> String {
        format!("{:?}", value.get())
    }
}

impl Format<Option<Ratio>> for Share {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Option<Ratio>, Vec<InvalidValue>> {
        let from_zero = |share| if share == 0.0 { Some(None) } else { Ratio::new(share).map(Some) };
        Self::read_as(value, from_zero, "0 to 1")
    }

    fn show(&self, value: &Option<Ratio>) -> String {
        format!("{:?}", value.map_or(0.0, Ratio::get))
    }
}

impl Format<f64> for Share {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<f64, Vec<InvalidValue>> {
        let ratio: Option<Ratio> = self.read(value)?;
        Ok(ratio.map_or(0.0, Ratio::get))
    }

    fn show(&self, value: &f64) -> String {
        format!("{value:?}")
    }
}

/// A number with or without decimals.
pub(in crate::config) struct Number(pub(in crate::config) RangeInclusive<f64>);

impl Format<f64> for Number {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<f64, Vec<InvalidValue>> {
        let (least, most) = (self.0.start(), self.0.end());
        let number = decimal(value)
            .ok_or_else(|| InvalidValue::new(value, format_args!("is not a number; write for example {least:?}")))?;
        Some(number)
            .filter(|number| self.0.contains(number))
            .ok_or_else(|| InvalidValue::new(value, format_args!("is out of range; allowed is {least:?} to {most:?}")))
    }

    fn show(&self, value: &f64) -> String {
        format!("{value:?}")
    }
}

/// `true` or `false`.
pub(in crate::config) struct Switch;

impl Format<bool> for Switch {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<bool, Vec<InvalidValue>> {
        value.get_ref().as_bool().ok_or_else(|| InvalidValue::new(value, "is neither true nor false"))
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }
}

fn decimal(value: &Spanned<DeValue<'_>>) -> Option<f64> {
    match value.get_ref() {
        DeValue::Float(number) => number.as_str().parse().ok(),
        DeValue::Integer(number) => number.as_str().parse().ok().filter(|_| number.radix() == 10),
        _ => None,
    }
}

fn integer(number: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

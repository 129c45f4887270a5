//! A key is written once, in its section's list of fields; reading, showing and the check of the documentation all go
//! through that list, so that none of them can forget one.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

mod names;
mod number;
mod several;

pub use names::is_host;
pub(super) use names::{Address, File, Parsed, Text, Word, cluster, host_port, interface, store, zone};
pub(super) use number::{Bytes, Count, Hedge, Share, Switch, Time};
pub(super) use several::{Distinct, List, Maybe, Table};

/// A value that cannot be taken: where it stands in its text, and why.
pub(super) struct Wrong {
    pub(super) span: Range<usize>,
    pub(super) why: String,
}

impl Wrong {
    /// `why` goes on after the value: "is not a duration; ...".
    fn new(value: &Spanned<DeValue<'_>>, why: impl fmt::Display) -> Vec<Self> {
        vec![Self { span: value.span(), why: format!("{} {why}", found(value.get_ref())) }]
    }

    /// The same without the value, where it may be a secret.
    fn unseen(value: &Spanned<DeValue<'_>>, why: impl fmt::Display) -> Vec<Self> {
        vec![Self { span: value.span(), why: format!("this value {why}") }]
    }
}

/// How a value is written in TOML, and which values are allowed.
pub(super) trait Kind<T> {
    /// The value, or all that is wrong with it.
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<T, Vec<Wrong>>;

    /// What of the value is right, if any, and all that is wrong with it.
    fn read_right(&self, value: &Spanned<DeValue<'_>>) -> (Option<T>, Vec<Wrong>) {
        match self.read(value) {
            Ok(value) => (Some(value), Vec::new()),
            Err(wrongs) => (None, wrongs),
        }
    }

    /// The value as TOML that [`read`](Self::read) reads back.
    fn show(&self, value: &T) -> String;
}

/// A field of the configuration with its [`Kind`], whatever its type.
pub(super) trait Slot {
    /// Sets the field, or leaves it as it is.
    fn set(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), Vec<Wrong>>;

    /// Sets the field to what of the value is right, or leaves it as it is if nothing is.
    fn set_right(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), Vec<Wrong>>;

    /// The field as TOML.
    fn show(&self) -> String;
}

struct Field<'a, T, K>(&'a mut T, K);

impl<T, K: Kind<T>> Slot for Field<'_, T, K> {
    fn set(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), Vec<Wrong>> {
        *self.0 = self.1.read(value)?;
        Ok(())
    }

    fn set_right(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), Vec<Wrong>> {
        let (right, wrongs) = self.1.read_right(value);
        if let Some(right) = right {
            *self.0 = right;
        }
        if wrongs.is_empty() { Ok(()) } else { Err(wrongs) }
    }

    fn show(&self) -> String {
        self.1.show(self.0)
    }
}

/// Sees every field of a configuration, section by section.
pub(super) trait Visitor {
    /// The fields of this section follow.
    fn section(&mut self, name: &str);

    /// One field of the section.
    fn slot(&mut self, key: &'static str, slot: &mut dyn Slot);
}

impl dyn Visitor + '_ {
    /// Names a field, once and for all purposes.
    pub(super) fn field<T, K: Kind<T>>(&mut self, key: &'static str, at: &mut T, kind: K) {
        self.slot(key, &mut Field(at, kind));
    }
}

/// The fields of a section of the library's.
pub(super) trait FieldList {
    fn visit(&mut self, visitor: &mut dyn Visitor);
}

/// Text longer than this is cut in a message.
pub(super) const SHOWN: usize = 60;

/// What somebody wrote, for a message. Text that may hold a password or a key stays out of it.
fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.contains(['@', '?', '\n']) => "this value".to_owned(),
        DeValue::String(text) => quote(&clip(text)),
        DeValue::Integer(number) => clip(&number.to_string()).into_owned(),
        DeValue::Float(number) => clip(&number.to_string()).into_owned(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn clip(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}...", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

/// A basic string of TOML.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))), // the last one is U+009F
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A duration with the largest unit that divides it: `1300ms`, `10m`, `24h`.
pub(super) fn show_time(time: Duration) -> String {
    let nanos = time.as_nanos();
    let units = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    match units.into_iter().find(|(unit, _)| nanos > 0 && nanos % unit == 0) {
        Some((unit, name)) => format!("{}{name}", nanos / unit),
        None => "0s".to_owned(),
    }
}

//! Fields, and how their values are written. A key stands once, in the list of fields of its section: reading, showing
//! and the check of the documentation go through that list.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

mod collection;
mod number;
mod text;

pub(super) use collection::{Distinct, List, Optional, Table};
pub(super) use number::{Bytes, Count, Hedge, Number, Share, Switch, Time};
pub use text::is_host;
pub(super) use text::{Address, Choice, File, Parsed, Text, cluster, host_port, interface, store, zone};

/// A value that is refused, with its place in the text.
pub(super) struct InvalidValue {
    pub(super) span: Range<usize>,
    pub(super) why: String,
}

impl InvalidValue {
    /// `why` goes on after the value: "is not a duration; ...".
    fn new(value: &Spanned<DeValue<'_>>, why: impl fmt::Display) -> Vec<Self> {
        vec![Self { span: value.span(), why: format!("{} {why}", found(value.get_ref())) }]
    }

    /// The same for a value that may be a secret and is not repeated.
    fn hidden(value: &Spanned<DeValue<'_>>, why: impl fmt::Display) -> Vec<Self> {
        vec![Self { span: value.span(), why: format!("this value {why}") }]
    }
}

/// The form of a value in TOML, and its bounds.
pub(super) trait Format<T> {
    /// The value, or all that is wrong with it.
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<T, Vec<InvalidValue>>;

    /// The part of the value that is right, if any, and all that is wrong with the rest.
    fn read_right(&self, value: &Spanned<DeValue<'_>>) -> (Option<T>, Vec<InvalidValue>) {
        match self.read(value) {
            Ok(value) => (Some(value), Vec::new()),
            Err(errors) => (None, errors),
        }
    }

    /// The value as TOML that [`read`](Self::read) reads back.
    fn show(&self, value: &T) -> String;
}

/// A field of the configuration with its [`Format`], whatever its type.
pub(super) trait Field {
    /// Sets the field, or leaves it as it is.
    fn set(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), Vec<InvalidValue>>;

    /// Sets the field to the part of the value that is right, or leaves it as it is if nothing is.
    fn set_right(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), Vec<InvalidValue>>;

    /// The field as TOML.
    fn show(&self) -> String;
}

struct FormattedField<'a, T, F>(&'a mut T, F);

impl<T, F: Format<T>> Field for FormattedField<'_, T, F> {
    fn set(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), Vec<InvalidValue>> {
        *self.0 = self.1.read(value)?;
        Ok(())
    }

    fn set_right(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), Vec<InvalidValue>> {
        let (right, errors) = self.1.read_right(value);
        if let Some(right) = right {
            *self.0 = right;
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn show(&self) -> String {
        self.1.show(self.0)
    }
}

/// Visits every field of a configuration, section by section.
pub(super) trait Visitor {
    /// The fields of this section follow.
    fn visit_section(&mut self, name: &str);

    /// A field of the section.
    fn visit_field(&mut self, key: &'static str, field: &mut dyn Field);
}

impl dyn Visitor + '_ {
    /// Visits `field`, whose values have this format.
    pub(super) fn field<T, F: Format<T>>(&mut self, key: &'static str, field: &mut T, format: F) {
        self.visit_field(key, &mut FormattedField(field, format));
    }
}

/// The fields of a section that the library declares.
pub(super) trait FieldList {
    fn visit(&mut self, visitor: &mut dyn Visitor);
}

/// Text longer than this is cut in a message.
pub(super) const MAX_SHOWN: usize = 60;

/// The value as a message repeats it. Text that may hold a password or a key is left out.
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
    match text.char_indices().nth(MAX_SHOWN) {
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

/// Writes sections and their fields as TOML.
#[derive(Default)]
pub(super) struct TomlWriter(pub(super) String);

impl Visitor for TomlWriter {
    fn visit_section(&mut self, name: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.0.push_str(&format!("{gap}[{name}]\n"));
    }

    fn visit_field(&mut self, key: &'static str, field: &mut dyn Field) {
        self.0.push_str(&format!("{key} = {}\n", field.show()));
    }
}

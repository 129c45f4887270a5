//! Sections that services declare: `[service.NAME]`, or `[NAME]` in the file of a program that has it to itself.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::format::{
    Address, Count, Distinct, File, List, Number, Optional, Parsed, Share, Switch, Text, Time, TomlWriter, Visitor,
};

/// The settings of a service: `[service.NAME]` in `bramble.toml`, `BRAMBLE__SERVICE__NAME__KEY`, and `--set
/// service.NAME.key=value`. Mistakes in it are found at the start, with their line, like those in other sections.
///
/// ```
/// use std::time::Duration;
///
/// use bramble::config::{Fields, Section};
///
/// #[derive(Debug, Clone)]
/// struct Desk {
///     patience: Duration,
/// }
///
/// impl Default for Desk {
///     fn default() -> Self {
///         Self { patience: Duration::from_secs(2) }
///     }
/// }
///
/// impl Section for Desk {
///     const NAME: &'static str = "frontdesk";
///
///     fn fields(&mut self, fields: &mut Fields<'_>) {
///         fields.time("patience", &mut self.patience, Duration::from_millis(1)..=Duration::from_secs(60));
///     }
/// }
/// ```
pub trait Section: Default + Clone + Send + Sync + 'static {
    /// The name of the section, most often that of the service.
    const NAME: &'static str;

    /// Whether the heading is `[NAME]` instead of `[service.NAME]`. A program with such a section has the file to
    /// itself: sections that it does not know are mistakes. Other programs leave them to their neighbours.
    const IS_TOP_LEVEL: bool = false;

    /// Credentials of systemd (`LoadCredential=`), each with the key that takes the path of its file.
    const CREDENTIALS: &'static [(&'static str, &'static str)] = &[];

    /// Names each field with what is allowed; once, for reading, showing and checking.
    fn fields(&mut self, fields: &mut Fields<'_>);

    /// Values that are right alone and wrong together.
    fn conflicts(&self) -> Vec<Conflict> {
        Vec::new()
    }
}

/// Two keys that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub(super) keys: [String; 2],
    pub(super) why: String,
}

impl Conflict {
    /// The key to look at first, and the other. `why` goes on after the first one's name.
    pub fn new(keys: [&str; 2], why: impl Into<String>) -> Self {
        Self { keys: keys.map(str::to_owned), why: why.into() }
    }
}

/// The fields of a [`Section`], by type.
pub struct Fields<'a>(&'a mut dyn Visitor);

impl Fields<'_> {
    /// A duration, as in `"250ms"` or `"10s"`.
    pub fn time(&mut self, key: &'static str, field: &mut Duration, allowed: RangeInclusive<Duration>) {
        self.0.field(key, field, Time::within(*allowed.start(), *allowed.end()));
    }

    /// A whole number.
    pub fn count(&mut self, key: &'static str, field: &mut u32, allowed: RangeInclusive<u32>) {
        self.0.field(key, field, Count(allowed));
    }

    /// A number with or without decimals.
    pub fn number(&mut self, key: &'static str, field: &mut f64, allowed: RangeInclusive<f64>) {
        self.0.field(key, field, Number(allowed));
    }

    /// A share of 0 to 1.
    pub fn share(&mut self, key: &'static str, field: &mut f64) {
        self.0.field(key, field, Share);
    }

    /// `true` or `false`.
    pub fn switch(&mut self, key: &'static str, field: &mut bool) {
        self.0.field(key, field, Switch);
    }

    /// Text that `rule` allows. It says how a refusal goes on after the text: "is not the name of a sensor".
    pub fn text(&mut self, key: &'static str, field: &mut String, rule: fn(&str) -> Result<(), &'static str>) {
        self.0.field(key, field, Text(rule));
    }

    /// A list of texts, at most `most`, each of which `rule` allows.
    pub fn list(
        &mut self,
        key: &'static str,
        field: &mut Vec<String>,
        rule: fn(&str) -> Result<(), &'static str>,
        most: usize,
    ) {
        self.0.field(key, field, List { of: Text(rule), least: 0, most });
    }

    /// A value of any type that is written as text. `parse` says how a refusal goes on after the text.
    pub fn value<T: ToString>(&mut self, key: &'static str, field: &mut T, parse: Parse<T>) {
        self.0.field(key, field, Parsed::new(parse));
    }

    /// A [`value`](Self::value), or `""` for none.
    pub fn optional<T: ToString>(&mut self, key: &'static str, field: &mut Option<T>, parse: Parse<T>) {
        self.0.field(key, field, Optional(Parsed::new(parse)));
    }

    /// A list of [`value`](Self::value)s, each of them once; as many as `allowed`.
    pub fn values<T: ToString + PartialEq>(
        &mut self,
        key: &'static str,
        field: &mut Vec<T>,
        parse: Parse<T>,
        allowed: RangeInclusive<usize>,
    ) {
        let (least, most) = allowed.into_inner();
        self.0.field(key, field, Distinct(List { of: Parsed::new(parse), least, most }));
    }

    /// A list of values, at most `most`, that no message repeats: where a public key belongs, a private one may stand.
    pub fn hidden_values<T: ToString>(&mut self, key: &'static str, field: &mut Vec<T>, parse: Parse<T>, most: usize) {
        self.0.field(key, field, List { of: Parsed::hidden(parse), least: 0, most });
    }

    /// An address and port to listen at; port 0 takes a free one.
    pub fn listen(&mut self, key: &'static str, field: &mut SocketAddr) {
        self.0.field(key, field, Address::Listen);
    }

    /// The path of a file, or `""` for none. Secrets stand in files, not in settings.
    pub fn file(&mut self, key: &'static str, field: &mut Option<PathBuf>) {
        self.0.field(key, field, Optional(File));
    }
}

/// Makes a value of its text, or says how a refusal goes on after the text.
pub type Parse<T> = fn(&str) -> Result<T, &'static str>;

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fields").finish_non_exhaustive()
    }
}

/// A [`Section`] of any type.
trait AnySection: Any + Send + Sync {
    /// As in the file: `service.NAME`, or `NAME`.
    fn heading(&self) -> Cow<'static, str>;
    fn credentials(&self) -> &'static [(&'static str, &'static str)];
    fn visit(&mut self, visitor: &mut dyn Visitor);
    fn conflicts(&self) -> Vec<Conflict>;
    fn boxed(&self) -> Box<dyn AnySection>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<S: Section> AnySection for S {
    fn heading(&self) -> Cow<'static, str> {
        heading::<S>()
    }

    fn credentials(&self) -> &'static [(&'static str, &'static str)] {
        S::CREDENTIALS
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) {
        visitor.visit_section(&self.heading());
        self.fields(&mut Fields(visitor));
    }

    fn conflicts(&self) -> Vec<Conflict> {
        let heading = self.heading();
        let in_file = |conflict: Conflict| Conflict {
            keys: conflict.keys.map(|key| format!("{heading}.{key}")),
            why: conflict.why,
        };
        Section::conflicts(self).into_iter().map(in_file).collect()
    }

    fn boxed(&self) -> Box<dyn AnySection> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// The heading of a section, without brackets.
pub(crate) fn heading<S: Section>() -> Cow<'static, str> {
    if S::IS_TOP_LEVEL { S::NAME.into() } else { format!("{SERVICE}.{}", S::NAME).into() }
}

/// The table of the file that the sections of services are in, unless they are at the top level.
pub(super) const SERVICE: &str = "service";

/// The sections that the services of this program declare, in the order in which they are shown; one of a type.
#[derive(Default)]
pub(super) struct ServiceSections(Vec<Box<dyn AnySection>>);

impl ServiceSections {
    pub(super) fn get<S: Section>(&self) -> Option<&S> {
        self.0.iter().find_map(|section| section.as_any().downcast_ref())
    }

    /// The section of this type, which is added with its default values if it is missing.
    pub(super) fn entry<S: Section>(&mut self) -> &mut S {
        if self.get::<S>().is_none() {
            self.0.push(Box::new(S::default()));
        }
        let mut sections = self.0.iter_mut();
        sections.find_map(|section| section.as_any_mut().downcast_mut()).expect("it is there, or has been added")
    }

    /// The names of those below `[service]`.
    pub(super) fn services(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|section| section.heading().strip_prefix("service.").map(str::to_owned))
    }

    /// Whether the file is this program's alone.
    pub(super) fn have_top_level(&self) -> bool {
        self.services().count() < self.0.len()
    }

    /// Each credential, and the path of the key that takes its file.
    pub(super) fn credentials(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.0.iter().flat_map(|section| {
            let heading = section.heading();
            section.credentials().iter().map(move |(name, key)| (*name, format!("{heading}.{key}")))
        })
    }

    pub(super) fn visit(&mut self, visitor: &mut dyn Visitor) {
        for section in &mut self.0 {
            section.visit(visitor);
        }
    }

    pub(super) fn conflicts(&self) -> impl Iterator<Item = Conflict> {
        self.0.iter().flat_map(|section| section.conflicts())
    }

    fn shown(&self) -> String {
        let mut writer = TomlWriter::default();
        self.clone().visit(&mut writer);
        writer.0
    }
}

impl Clone for ServiceSections {
    fn clone(&self) -> Self {
        Self(self.0.iter().map(|section| section.boxed()).collect())
    }
}

impl PartialEq for ServiceSections {
    fn eq(&self, other: &Self) -> bool {
        self.shown() == other.shown()
    }
}

impl fmt::Debug for ServiceSections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

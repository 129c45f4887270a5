//! Settings of a service's own: `[service.NAME]`.

use std::any::Any;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::setting::{Count, File, List, Maybe, Share, Switch, Text, Time, Visitor};

/// A section of a service's own settings: `[service.NAME]` in `bramble.toml`, `BRAMBLE__SERVICE__NAME__KEY`, and
/// `--set service.NAME.key=value`. Mistakes in it are found at the start, with their line, like those in other sections.
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

    /// Names each field with what is allowed; once, for reading, showing and checking.
    fn fields(&mut self, fields: &mut Fields<'_>);

    /// Values that are right alone and wrong together: a sentence each.
    fn conflicts(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The fields of a [`Section`], by type.
pub struct Fields<'a>(&'a mut dyn Visitor);

impl Fields<'_> {
    /// A duration, as in `"250ms"` or `"10s"`.
    pub fn time(&mut self, key: &'static str, field: &mut Duration, allowed: RangeInclusive<Duration>) {
        self.0.field(key, field, Time::within(*allowed.start(), *allowed.end()));
    }

    /// A number.
    pub fn count(&mut self, key: &'static str, field: &mut u32, allowed: RangeInclusive<u32>) {
        self.0.field(key, field, Count(allowed));
    }

    /// A share of 0 to 1.
    pub fn share(&mut self, key: &'static str, field: &mut f64) {
        self.0.field(key, field, Share::FromZero);
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

    /// The path of a file, or `""` for none. Secrets stand in files, not in settings.
    pub fn file(&mut self, key: &'static str, field: &mut Option<PathBuf>) {
        self.0.field(key, field, Maybe(File));
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fields").finish_non_exhaustive()
    }
}

/// A [`Section`] of any type.
trait AnySection: Any + Send + Sync {
    fn name(&self) -> &'static str;
    fn visit(&mut self, visitor: &mut dyn Visitor);
    fn conflicts(&self) -> Vec<String>;
    fn boxed(&self) -> Box<dyn AnySection>;
    fn as_any(&self) -> &dyn Any;
}

impl<S: Section> AnySection for S {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) {
        visitor.section(&format!("service.{}", S::NAME));
        self.fields(&mut Fields(visitor));
    }

    fn conflicts(&self) -> Vec<String> {
        Section::conflicts(self)
    }

    fn boxed(&self) -> Box<dyn AnySection> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The service's own section, if it has one.
#[derive(Default)]
pub(crate) struct OwnSection(Option<Box<dyn AnySection>>);

impl OwnSection {
    /// A section with its default values.
    pub(crate) fn of<S: Section>() -> Self {
        Self(Some(Box::new(S::default())))
    }

    pub(crate) fn get<S: Section>(&self) -> Option<&S> {
        self.0.as_ref()?.as_any().downcast_ref()
    }

    pub(super) fn name(&self) -> Option<&'static str> {
        self.0.as_ref().map(|section| section.name())
    }

    pub(super) fn visit(&mut self, visitor: &mut dyn Visitor) {
        if let Some(section) = &mut self.0 {
            section.visit(visitor);
        }
    }

    pub(super) fn conflicts(&self) -> Vec<String> {
        self.0.as_ref().map(|section| section.conflicts()).unwrap_or_default()
    }

    fn shown(&self) -> String {
        let mut shown = super::Show(String::new());
        self.clone().visit(&mut shown);
        shown.0
    }
}

impl Clone for OwnSection {
    fn clone(&self) -> Self {
        Self(self.0.as_ref().map(|section| section.boxed()))
    }
}

impl PartialEq for OwnSection {
    fn eq(&self, other: &Self) -> bool {
        self.shown() == other.shown()
    }
}

impl fmt::Debug for OwnSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

//! Sets the keys of all sources, and collects the mistakes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::lines::Lines;
use super::suggest::{self, KeyIndex};
use crate::config::assign::{assign, inherit};
use crate::config::check;
use crate::config::error::{ConfigError, Mistake, Origin};
use crate::config::format::MAX_SHOWN;
use crate::config::key_path;
use crate::config::section::SERVICE;
use crate::config::settings::Config;

/// A configuration while sources are read into it.
pub(super) struct Reader {
    pub(super) config: Config,
    pub(super) mistakes: Vec<Mistake>,
    /// The last source of each key, for checks across keys.
    pub(super) origins: BTreeMap<String, Origin>,
    /// Whether the right part of a wrong value is taken.
    is_tolerant: bool,
    /// Bytes of the file whose meaning is unclear, in order: lines with errors, and those below a broken heading.
    unclear: Vec<Range<usize>>,
}

impl Reader {
    pub(super) fn new(config: Config) -> Self {
        let (mistakes, unclear) = (Vec::new(), Vec::new());
        Self { config, mistakes, origins: BTreeMap::new(), is_tolerant: false, unclear }
    }

    /// For a machine where no user can mend the file: takes what is right of a wrong value.
    pub(super) fn tolerant(config: Config) -> Self {
        Self { is_tolerant: true, ..Self::new(config) }
    }

    pub(super) fn file(&mut self, file: &Path, text: &str) {
        let lines = Lines::of(text);
        let place = |span: Range<usize>| lines.place(file, span.start);
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut broken = BTreeMap::new();
        for error in errors {
            let span = error.span().unwrap_or(text.len()..text.len());
            broken.entry(lines.number(span.start)).or_insert_with(|| Mistake {
                origin: place(span),
                key: String::new(),
                what: error.message().to_owned(),
            });
        }
        // Below a broken heading, the section of a key is unknown.
        let headings = broken.keys().any(|line| lines.is_heading(*line));
        self.unclear = lines.unclear(|line| broken.contains_key(&line), broken.keys().copied());
        for (name, section) in table.get_ref().iter() {
            self.section(name, section, &place);
        }
        self.mistakes.retain(|mistake| match mistake.origin {
            Origin::Line { line, .. } => !headings && !broken.contains_key(&line),
            _ => true,
        });
        self.mistakes.extend(broken.into_values());
    }

    fn section(
        &mut self,
        name: &Spanned<impl AsRef<str>>,
        section: &Spanned<DeValue<'_>>,
        place: &dyn Fn(Range<usize>) -> Origin,
    ) {
        let (span, name) = (name.span(), name.get_ref().as_ref());
        if name == SERVICE {
            return self.services(section, place);
        }
        let keys = KeyIndex::of(&mut self.config);
        let Some(fields) = section.get_ref().as_table().filter(|_| keys.has_section(name)) else {
            if section.get_ref().is_table() && self.shares_file() && keys.is_foreign(name) {
                return;
            }
            let what = keys.not_a_section(name, section.get_ref());
            return self.mistakes.push(Mistake { origin: place(span), key: printable(name), what });
        };
        for (key, value) in fields.iter() {
            let path = format!("{name}.{}", key.get_ref());
            if value.get_ref().is_table() && key_path::has_callees(name) && !keys.has_key(name, key.get_ref()) {
                self.callee(&path, key.get_ref(), key.span(), value, place);
                continue;
            }
            self.key(&path, key.span(), value, place);
        }
    }

    /// Sets a key of a file.
    fn key(
        &mut self,
        path: &str,
        span: Range<usize>,
        value: &Spanned<DeValue<'_>>,
        place: &dyn Fn(Range<usize>) -> Origin,
    ) {
        let origin = place(value.span());
        let next = self.unclear.partition_point(|piece| piece.end <= span.start);
        let end = span.end.max(value.span().end); // a value that is missing has no place
        if self.unclear.get(next).is_some_and(|piece| piece.start < end) {
            return;
        }
        match assign(&mut self.config, path, value, self.is_tolerant) {
            Some(Ok(())) => {
                self.origins.insert(path.to_owned(), origin);
            }
            Some(Err(errors)) => {
                self.origins.insert(path.to_owned(), origin);
                let errors = errors.into_iter().map(|wrong| (place(wrong.span), wrong.why));
                self.mistakes.extend(errors.map(|(origin, what)| Mistake { origin, key: path.to_owned(), what }));
            }
            None => {
                let what = KeyIndex::of(&mut self.config).unknown(path);
                self.mistakes.push(Mistake { origin: place(span), key: printable(path), what });
            }
        }
    }

    /// A value of a variable or flag: TOML if it is TOML, else plain text, as which a zone named `1` is right too.
    pub(super) fn text_value(&mut self, origin: Origin, key: &str, text: &str) {
        let plain = Spanned::new(0..text.len(), DeValue::String(text.into()));
        let value = DeValue::parse(text).unwrap_or_else(|_| plain.clone());
        if let Some((_, callee, _)) = key_path::split(key) {
            if let Err(what) = self.config.add_callee(callee) {
                return self.mistakes.push(Mistake { origin, key: printable(key), what });
            }
        }
        if origin != Origin::Flag && self.is_of_another_program(key) {
            return; // one environment may serve several services
        }
        let mut outcome = assign(&mut self.config, key, &value, false);
        if matches!(outcome, Some(Err(_))) {
            if let Some(Ok(())) = assign(&mut self.config, key, &plain, false) {
                outcome = Some(Ok(()));
            }
        }
        let key = key.to_owned();
        let whats = match outcome {
            Some(Ok(())) => Vec::new(),
            Some(Err(errors)) => errors.into_iter().map(|wrong| wrong.why).collect(),
            None => vec![KeyIndex::of(&mut self.config).unknown(&key)],
        };
        let mistakes = whats.into_iter().map(|what| Mistake { origin: origin.clone(), key: key.clone(), what });
        self.mistakes.extend(mistakes);
        self.origins.insert(key, origin);
    }

    /// Whether other programs may have sections in the same file.
    fn shares_file(&self) -> bool {
        !self.config.sections.have_top_level()
    }

    fn is_of_another_program(&mut self, key: &str) -> bool {
        match key.split_once('.') {
            Some((SERVICE, rest)) => {
                rest.split_once('.').is_some_and(|(name, _)| self.config.sections.services().all(|own| own != name))
            }
            Some((section, _)) => self.shares_file() && KeyIndex::of(&mut self.config).is_foreign(section),
            None => false,
        }
    }

    /// The sections `[service.NAME]`. Those of other services are theirs to check.
    fn services(&mut self, services: &Spanned<DeValue<'_>>, place: &dyn Fn(Range<usize>) -> Origin) {
        let Some(services) = services.get_ref().as_table() else {
            let what = "is not a section; write [service.NAME] on a line of its own, and its keys below".to_owned();
            return self.mistakes.push(Mistake { origin: place(services.span()), key: SERVICE.to_owned(), what });
        };
        for (name, section) in services.iter() {
            let path = format!("{SERVICE}.{}", name.get_ref());
            let Some(fields) = section.get_ref().as_table() else {
                let what = format!("is not a section; write [{path}] on a line of its own, and its keys below");
                self.mistakes.push(Mistake { origin: place(name.span()), key: printable(&path), what });
                continue;
            };
            let known: Vec<String> = self.config.sections.services().collect();
            if known.iter().any(|known| **known == **name.get_ref()) {
                for (key, value) in fields.iter() {
                    self.key(&format!("{path}.{}", key.get_ref()), key.span(), value, place);
                }
            } else if let Some(known) = known.iter().find(|known| suggest::is_near(name.get_ref(), known)) {
                let what = format!("is a section of no known service; did you mean [{SERVICE}.{known}]?");
                self.mistakes.push(Mistake { origin: place(name.span()), key: printable(&path), what });
            }
        }
    }

    /// The keys of one service's `[call.NAME]`, `[breaker.NAME]` or `[balance.NAME]`.
    fn callee(
        &mut self,
        section: &str,
        callee: &str,
        span: Range<usize>,
        fields: &Spanned<DeValue<'_>>,
        place: &dyn Fn(Range<usize>) -> Origin,
    ) {
        if let Err(what) = self.config.add_callee(callee) {
            return self.mistakes.push(Mistake { origin: place(span), key: printable(section), what });
        }
        let Some(fields) = fields.get_ref().as_table() else { return };
        for (key, value) in fields.iter() {
            self.key(&format!("{section}.{}", key.get_ref()), key.span(), value, place);
        }
    }

    /// Has the settings of single services follow those for all, where they have none of their own.
    pub(super) fn inherit(&mut self) {
        let Self { config, origins, .. } = self;
        inherit(config, |path| origins.contains_key(path));
    }

    pub(super) fn finish(mut self) -> Result<Config, ConfigError> {
        self.inherit();
        // What could not be read would be compared as the default, which no source has set.
        let unread = self.mistakes.iter().any(|mistake| mistake.key.is_empty());
        let conflicts = if unread { Vec::new() } else { check::conflicts(&self.config) };
        for conflict in conflicts {
            if self.mistakes.iter().any(|mistake| conflict.keys.contains(&mistake.key)) {
                continue;
            }
            let origin = conflict.keys.iter().find_map(|key| self.origins.get(key)).cloned();
            let [first, _] = conflict.keys;
            let origin = origin.unwrap_or(Origin::Default);
            self.mistakes.push(Mistake { origin, key: first, what: conflict.why });
        }
        if self.mistakes.is_empty() { Ok(self.config) } else { Err(ConfigError::new(self.mistakes)) }
    }
}

/// An unchecked key for a message: on one line of a sensible length, without anything that a terminal obeys.
fn printable(key: &str) -> String {
    key.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(MAX_SHOWN).collect()
}

//! Every source becomes the same thing, a list of `section.key` and value, so that a file, a variable and a flag are
//! judged by the same rules.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::section::SERVICE;
use super::setting::{SHOWN, Slot, Visitor, Wrong};
use super::{Config, ConfigError, DEFAULT_FILE, Mistake, Origin, callees, check};

mod credentials;
mod lines;
mod suggest;
pub(super) mod tolerant;

use lines::Lines;
use suggest::Keys;

/// Nobody writes a configuration of this size; a device or a log named by mistake is not read to its end.
const MAX_FILE: u64 = 1 << 20;

/// Begins the name of a variable that sets a key. With a single underscore (`BRAMBLE_LOG`) it means something else.
const PREFIX: &str = "BRAMBLE__";

/// Where a configuration comes from; later ones win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Folder of the keys that systemd hands over: `cluster.key`, and what services name in their sections, each if it is
    /// there.
    pub credentials: Option<PathBuf>,
    /// The file.
    pub file: ConfigFile,
    /// The environment, or what of it matters: names and values. Only `BRAMBLE__SECTION__KEY` is looked at.
    pub env: Vec<(String, String)>,
    /// What flags say: `section.key` and value.
    pub flags: Vec<(String, String)>,
}

/// Which file is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ConfigFile {
    /// [`DEFAULT_FILE`], which may be missing.
    #[default]
    Default,
    /// This one, which must be there.
    Path(PathBuf),
    /// Text that is at hand already, and its name for messages.
    Text(PathBuf, String),
    /// None.
    None,
}

impl Sources {
    /// The file that was named, or the default one, and the environment of this process.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let env = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        let credentials = std::env::var_os(credentials::VARIABLE).map(PathBuf::from);
        Self { credentials, file: file.map_or(ConfigFile::Default, ConfigFile::Path), env, flags: Vec::new() }
    }

    /// Text alone, as if it stood in a file named `bramble.toml`.
    pub fn text(text: impl Into<String>) -> Self {
        Self { file: ConfigFile::Text("bramble.toml".into(), text.into()), ..Self::default() }
    }
}

pub(super) fn load(config: Config, sources: &Sources) -> Result<Config, ConfigError> {
    let mut reader = Reader::new(config);
    if let Some(folder) = &sources.credentials {
        for (key, file) in credentials::found(folder, &reader.config.sections) {
            reader.words(Origin::Variable(credentials::VARIABLE.into()), &key, &file.to_string_lossy());
        }
    }
    match file_text(&sources.file) {
        Ok(Some((path, text))) => reader.file(&path, &text),
        Ok(None) => {}
        Err((path, error)) => reader.mistakes.push(Mistake {
            origin: Origin::File(path),
            key: String::new(),
            what: format!("cannot be read: {error}"),
        }),
    }
    for (name, value) in &sources.env {
        if let Some(key) = name.strip_prefix(PREFIX) {
            reader.words(Origin::Variable(name.clone()), &callees::path_of_variable(key), value);
        }
    }
    for (key, value) in &sources.flags {
        reader.words(Origin::Flag, key, value);
    }
    reader.finish()
}

fn file_text(file: &ConfigFile) -> Result<Option<(PathBuf, String)>, (PathBuf, io::Error)> {
    let path = match file {
        ConfigFile::None => return Ok(None),
        ConfigFile::Text(name, text) => return Ok(Some((name.clone(), text.clone()))),
        ConfigFile::Default => Path::new(DEFAULT_FILE),
        ConfigFile::Path(path) => path,
    };
    match read_text(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if *file == ConfigFile::Default && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err((path.to_owned(), error)),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_FILE {
        return Err(io::Error::other("it is larger than 1 MiB; is it the right file?"));
    }
    Ok(text)
}

struct Reader {
    config: Config,
    mistakes: Vec<Mistake>,
    /// Where each key was set last, for checks across keys.
    origins: BTreeMap<String, Origin>,
    /// Whether of a wrong value what is right is taken.
    is_tolerant: bool,
    /// Bytes of the file that may not mean what they seem to, in order: lines with errors, and what is below a broken
    /// heading.
    unclear: Vec<Range<usize>>,
}

impl Reader {
    fn new(config: Config) -> Self {
        let (mistakes, unclear) = (Vec::new(), Vec::new());
        Self { config, mistakes, origins: BTreeMap::new(), is_tolerant: false, unclear }
    }

    fn file(&mut self, file: &Path, text: &str) {
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
        // Below a broken heading, nobody knows to which section a key belongs.
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
        let keys = Keys::of(&mut self.config);
        let Some(fields) = section.get_ref().as_table().filter(|_| keys.has_section(name)) else {
            if section.get_ref().is_table() && self.shares_file() && keys.is_foreign(name) {
                return;
            }
            let what = keys.not_a_section(name, section.get_ref());
            return self.mistakes.push(Mistake { origin: place(span), key: printable(name), what });
        };
        for (key, value) in fields.iter() {
            let path = format!("{name}.{}", key.get_ref());
            if value.get_ref().is_table() && callees::has_callees(name) && !keys.has_key(name, key.get_ref()) {
                self.callee(&path, key.get_ref(), key.span(), value, place);
                continue;
            }
            self.key(&path, key.span(), value, place);
        }
    }

    /// One key of a file.
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
            Some(Err(wrongs)) => {
                self.origins.insert(path.to_owned(), origin);
                let wrongs = wrongs.into_iter().map(|wrong| (place(wrong.span), wrong.why));
                self.mistakes.extend(wrongs.map(|(origin, what)| Mistake { origin, key: path.to_owned(), what }));
            }
            None => {
                let what = Keys::of(&mut self.config).unknown(path);
                self.mistakes.push(Mistake { origin: place(span), key: printable(path), what });
            }
        }
    }

    /// A value of a variable or flag: TOML if it is TOML, else plain text, as which a zone named `1` is right too.
    fn words(&mut self, origin: Origin, key: &str, text: &str) {
        let plain = Spanned::new(0..text.len(), DeValue::String(text.into()));
        let value = DeValue::parse(text).unwrap_or_else(|_| plain.clone());
        if let Some((_, callee, _)) = callees::split(key) {
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
            Some(Err(wrongs)) => wrongs.into_iter().map(|wrong| wrong.why).collect(),
            None => vec![Keys::of(&mut self.config).unknown(&key)],
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
            Some((section, _)) => self.shares_file() && Keys::of(&mut self.config).is_foreign(section),
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
    fn inherit(&mut self) {
        let Self { config, origins, .. } = self;
        config.inherit(|path| origins.contains_key(path));
    }

    fn finish(mut self) -> Result<Config, ConfigError> {
        self.inherit();
        // What could not be read would be compared as the default, which nobody chose.
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

/// Sets `section.key` to a value as it is shown.
pub(super) fn assign_shown(config: &mut Config, path: &str, shown: &str) -> bool {
    let value: Result<Spanned<DeValue<'_>>, _> = DeValue::parse(shown);
    value.is_ok_and(|value| matches!(assign(config, path, &value, false), Some(Ok(()))))
}

/// Sets `section.key`, if `in_part` to what of the value is right. None: there is no such key.
fn assign(
    config: &mut Config,
    path: &str,
    value: &Spanned<DeValue<'_>>,
    in_part: bool,
) -> Option<Result<(), Vec<Wrong>>> {
    let mut assign = Assign { target: path.rsplit_once('.')?, value, in_part, is_here: false, outcome: None };
    config.visit(&mut assign);
    assign.outcome
}

struct Assign<'a> {
    target: (&'a str, &'a str),
    value: &'a Spanned<DeValue<'a>>,
    in_part: bool,
    /// Whether the section is that of the target.
    is_here: bool,
    outcome: Option<Result<(), Vec<Wrong>>>,
}

impl Visitor for Assign<'_> {
    fn section(&mut self, name: &str) {
        self.is_here = self.target.0 == name;
    }

    fn slot(&mut self, key: &'static str, slot: &mut dyn Slot) {
        if self.is_here && self.target.1 == key {
            self.outcome = Some(if self.in_part { slot.set_right(self.value) } else { slot.set(self.value) });
        }
    }
}

/// A key that nobody checked: on one line of a sensible length, without anything that a terminal obeys.
fn printable(key: &str) -> String {
    key.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(SHOWN).collect()
}

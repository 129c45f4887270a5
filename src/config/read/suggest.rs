//! Suggestions for unknown keys and sections: most are a slip of one or two letters.

use toml::de::DeValue;

use crate::config::format::{Field, Visitor};
use crate::config::key_path;
use crate::config::settings::Config;
use crate::service::name::is_name;

/// Keys of earlier versions, and what became of each.
const REMOVED: [(&str, &str); 1] = [(
    "balance.panic_threshold",
    "a call goes to a failing endpoint only when there is no better one; remove the line",
)];

/// All sections and their keys.
pub(super) struct KeyIndex(Vec<(String, &'static str)>);

impl KeyIndex {
    pub(super) fn of(config: &mut Config) -> Self {
        let mut list = KeyCollector { section: String::new(), keys: Vec::new() };
        config.visit_sections(&mut list);
        Self(list.keys)
    }

    pub(super) fn has_section(&self, name: &str) -> bool {
        self.0.iter().any(|(section, _)| section == name)
    }

    pub(super) fn has_key(&self, section: &str, key: &str) -> bool {
        self.0.iter().any(|(home, known)| home == section && *known == key)
    }

    /// Whether `name` may be a section of another program's that shares the file.
    pub(super) fn is_foreign(&self, name: &str) -> bool {
        is_name(name) && !self.has_section(name) && nearest(name, self.sections().into_iter()).is_none()
    }

    fn sections(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.0.iter().map(|(section, _)| section.as_str()).collect();
        names.dedup(); // they stand together
        names
    }

    /// Why `name` cannot be at the top of a file, with a suggestion.
    pub(super) fn not_a_section(&self, name: &str, value: &DeValue<'_>) -> String {
        if self.has_section(name) {
            return format!("is a section; write [{name}] on a line of its own, once, and its keys below");
        }
        let homes = self.homes(name);
        if !value.is_table() && !homes.is_empty() {
            return format!("is a key outside of a section; it belongs to [{}]", homes.join("] or ["));
        }
        let names = self.sections();
        match nearest(name, names.iter().copied()) {
            Some(near) => format!("is an unknown section; did you mean [{near}]?"),
            None => format!("is an unknown section; there are [{}]", names.join("], [")),
        }
    }

    /// Why there is no `section.key`, with a suggestion.
    pub(super) fn unknown(&self, path: &str) -> String {
        if let Some((section, _, key)) = key_path::split(path) {
            return self.unknown(&format!("{section}.{key}")); // each has the keys of the section for all
        }
        let (section, key) = match path.starts_with("service.") {
            true => path.rsplit_once('.').unwrap_or((path, "")),
            false => path.split_once('.').unwrap_or((path, "")),
        };
        if !self.has_section(section) {
            return match nearest(section, self.sections().into_iter()) {
                Some(near) => format!("is in an unknown section; did you mean {near}?"),
                None => format!("is in an unknown section; there are {}", self.sections().join(", ")),
            };
        }
        if let Some((_, why)) = REMOVED.iter().find(|(removed, _)| *removed == path) {
            return format!("is not a key any more: {why}");
        }
        let siblings = || self.0.iter().filter(|(home, _)| home == section).map(|(_, key)| *key);
        if let Some(near) = nearest(key, siblings()) {
            return format!("is an unknown key; did you mean {near}?");
        }
        match self.homes(key).as_slice() {
            [] => format!("is an unknown key; [{section}] has {}", siblings().collect::<Vec<_>>().join(", ")),
            homes => format!("is an unknown key here; it belongs to [{}]", homes.join("] or [")),
        }
    }

    /// The sections that have a key of this name.
    fn homes(&self, key: &str) -> Vec<&str> {
        self.0.iter().filter(|(_, known)| *known == key).map(|(section, _)| section.as_str()).collect()
    }
}

struct KeyCollector {
    section: String,
    keys: Vec<(String, &'static str)>,
}

impl Visitor for KeyCollector {
    fn visit_section(&mut self, name: &str) {
        name.clone_into(&mut self.section);
    }

    fn visit_field(&mut self, key: &'static str, _: &mut dyn Field) {
        self.keys.push((self.section.clone(), key));
    }
}

/// The name that `typed` was probably meant to be: at most a third of its letters are wrong, or it is its beginning.
fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if typed.len() > 64 {
        return None; // no slip, and the distance costs its product with the name
    }
    let typed = typed.to_ascii_lowercase().replace('-', "_");
    let near = |name: &str| {
        let begins = typed.len() >= 3 && (name.starts_with(&*typed) || typed.starts_with(name));
        if begins { 1 } else { distance(&typed, name) }
    };
    names
        .map(|name| (near(name), name))
        .filter(|(far, name)| *far <= name.len().div_ceil(3))
        .min()
        .map(|(_, name)| name)
}

/// Whether `typed` was probably meant to be `name`.
pub(super) fn is_near(typed: &str, name: &str) -> bool {
    typed.len() <= 64 && distance(&typed.to_ascii_lowercase(), name) <= name.len() / 3
}

/// Levenshtein's: insertions, deletions and replacements, in bytes, by one row of Wagner and Fischer's table.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let (mut diagonal, mut left) = (i, i + 1);
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let best = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = best;
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

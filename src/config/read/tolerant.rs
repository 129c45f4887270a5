//! Where nobody is there to mend a file, a Pi that runs with most of it is worth more than one that says what is wrong.

use std::path::Path;

use super::{Lines, MAX_FILE, Reader, assign_shown};
use crate::config::setting::{Slot, Visitor};
use crate::config::{Config, ConfigError, Mistake, Origin, callees, check};

/// What is right of a file named `name`, and everything that is wrong with it.
pub(in crate::config) fn load(config: Config, name: &Path, file: &[u8]) -> (Config, Vec<Mistake>) {
    let mut defaults = config.clone();
    let mut reader = Reader { is_tolerant: true, ..Reader::new(config) };
    let whole = |what: &str| Mistake { origin: Origin::File(name.into()), key: String::new(), what: what.into() };
    let is_utf16 = file.starts_with(&[0xff, 0xfe]) || file.starts_with(&[0xfe, 0xff]);
    if file.len() as u64 > MAX_FILE {
        reader.mistakes.push(whole("is larger than 1 MiB; is it the right file?"));
    } else if is_utf16 {
        reader.mistakes.push(whole("is UTF-16 text; save it as UTF-8"));
    } else {
        let text = String::from_utf8_lossy(file);
        reader.file(name, &text);
        if let Err(error) = std::str::from_utf8(file) {
            let origin = Lines::of(&text).place(name, error.valid_up_to());
            let what = "is not UTF-8 text from here on; save the file as UTF-8".to_owned();
            reader.mistakes.push(Mistake { origin, key: String::new(), what });
        }
    }
    reader.inherit();
    reader.settle(&mut defaults);
    let (mut mistakes, left_out) = ConfigError::new(reader.mistakes).into_parts();
    if left_out > 0 {
        mistakes.push(whole(&format!("has {left_out} more mistakes")));
    }
    (reader.config, mistakes)
}

impl Reader {
    /// Of two keys that contradict each other, the first gets its default; if that is no better, the second too.
    fn settle(&mut self, defaults: &mut Config) {
        for round in 0..2 {
            for conflict in check::conflicts(&self.config) {
                let key = &conflict.keys[round];
                if round == 0 {
                    let origin = conflict.keys.iter().find_map(|key| self.origins.get(key)).cloned();
                    let origin = origin.unwrap_or(Origin::Default);
                    self.mistakes.push(Mistake { origin, key: key.clone(), what: conflict.why });
                }
                reset(&mut self.config, defaults, key);
            }
        }
    }
}

fn reset(config: &mut Config, defaults: &mut Config, key: &str) {
    // A service's own key has the default of the key for all.
    let general = callees::split(key).map(|(section, _, key)| format!("{section}.{key}"));
    let of_default = general.as_deref().unwrap_or(key);
    let mut find =
        Find { target: of_default.rsplit_once('.').unwrap_or_default(), is_here: false, shown: String::new() };
    defaults.visit(&mut find);
    let outcome = assign_shown(config, key, &find.shown);
    debug_assert!(outcome, "{key} cannot be set to its default");
}

struct Find<'a> {
    target: (&'a str, &'a str),
    /// Whether the section is that of the target.
    is_here: bool,
    shown: String,
}

impl Visitor for Find<'_> {
    fn section(&mut self, name: &str) {
        self.is_here = self.target.0 == name;
    }

    fn slot(&mut self, key: &'static str, slot: &mut dyn Slot) {
        if self.is_here && self.target.1 == key {
            self.shown = slot.show();
        }
    }
}

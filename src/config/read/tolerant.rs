//! Tolerant reading, for a machine where no user can mend the file: it runs with what is right of it.

use std::path::Path;

use super::file::MAX_FILE;
use super::lines::Lines;
use super::reader::Reader;
use crate::config::assign::reset;
use crate::config::check;
use crate::config::error::{ConfigError, Mistake, Origin};
use crate::config::settings::Config;

impl Config {
    /// Reads what is right of a file on top of this configuration, for a machine where no user can mend the file. What
    /// is wrong is as if it were not there. `name` is the file's, for the mistakes; each has its line where it has one.
    pub fn merge_tolerant(self, file: impl AsRef<[u8]>, name: impl AsRef<Path>) -> (Self, Vec<Mistake>) {
        load(self, name.as_ref(), file.as_ref())
    }
}

/// `config` with what is right of a file named `name`, and everything that is wrong with it.
fn load(config: Config, name: &Path, file: &[u8]) -> (Config, Vec<Mistake>) {
    let mut defaults = config.clone();
    let mut reader = Reader::tolerant(config);
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

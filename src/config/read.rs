//! Reads a configuration from its sources. Each becomes a list of `section.key` and value, so that the same rules hold
//! for a file, a variable and a flag.

use std::path::PathBuf;

use super::error::{ConfigError, Mistake, Origin};
use super::key_path;
use super::settings::Config;

mod credentials;
mod file;
mod lines;
mod reader;
mod suggest;
mod tolerant;

pub use file::{ConfigFile, DEFAULT_FILE};
use reader::Reader;

/// Begins the name of a variable that sets a key. With a single underscore (`BRAMBLE_LOG`) it means something else.
const PREFIX: &str = "BRAMBLE__";

/// The sources of a configuration; later ones win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Folder of the keys that systemd hands over: `cluster.key`, and what services name in their sections, each if it
    /// is there.
    pub credentials: Option<PathBuf>,
    /// The file.
    pub file: ConfigFile,
    /// Variables of the environment: names and values. Only `BRAMBLE__SECTION__KEY` are read.
    pub env: Vec<(String, String)>,
    /// Flags: `section.key` and value.
    pub flags: Vec<(String, String)>,
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

impl Config {
    /// The default values, and all sources on top of them.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        Self::default().merge(sources)
    }

    /// Reads all sources on top of this configuration.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn merge(self, sources: &Sources) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(self);
        if let Some(folder) = &sources.credentials {
            for (key, file) in credentials::found(folder, &reader.config.sections) {
                reader.text_value(Origin::Variable(credentials::VARIABLE.into()), &key, &file.to_string_lossy());
            }
        }
        match file::text_of(&sources.file) {
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
                reader.text_value(Origin::Variable(name.clone()), &key_path::path_of_variable(key), value);
            }
        }
        for (key, value) in &sources.flags {
            reader.text_value(Origin::Flag, key, value);
        }
        reader.finish()
    }
}

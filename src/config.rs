//! Settings: default values, the sources that change them, and mistakes in these.
//!
//! A machine that has no file must run as well as one that has.
//!
//! One struct a section of `bramble.toml`. Later sources win: code, credentials of systemd, `/etc/bramble/bramble.toml` or
//! `--config FILE`, `BRAMBLE__SECTION__KEY` in the environment, flags. All mistakes are reported at once, each with its line.

mod assign;
mod callees;
mod check;
mod error;
mod format;
mod key_path;
mod read;
mod section;
mod sections;
mod settings;

pub use callees::CalleeSettings;
pub use error::{ConfigError, Mistake, Origin};
pub use format::is_host;
pub use read::{ConfigFile, DEFAULT_FILE, Sources};
pub(crate) use section::heading;
pub use section::{Conflict, Fields, Parse, Section};
pub use sections::{CacheSection, Discovery, Node, Server};
pub use settings::Config;

#[cfg(test)]
mod tests;

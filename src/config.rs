//! What can be set, and what it is when nobody sets it: a Pi that finds no file must run as well as one that does.
//!
//! One small struct a section of `bramble.toml`. Later sources win: code, then keys that systemd hands over, then
//! `/etc/bramble/bramble.toml` or `--config FILE`, then `BRAMBLE__SECTION__KEY` in the environment, then flags. Reading never stops at the first
//! mistake: whoever edits a file on a card wants all of them at once, each with its line.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::balance::BalanceSettings;
use crate::breaker::BreakerSettings;
use crate::call::CallSettings;

mod callees;
mod check;
mod error;
mod read;
mod section;
mod sections;
mod setting;

pub use callees::CalleeSettings;
pub use error::{ConfigError, Mistake, Origin};
pub use read::{ConfigFile, Sources};
use section::ServiceSections;
pub(crate) use section::heading;
pub use section::{Conflict, Fields, Parse, Section};
pub use sections::{Cache, Discovery, Node, Server};
pub use setting::is_host;
use setting::{FieldList, Slot, Visitor};

/// Read when nobody names another file; it may be missing.
pub const DEFAULT_FILE: &str = "/etc/bramble/bramble.toml";

/// Everything that can be set. [`Config::default`] is what holds when nothing is.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[node]`: who this process is to the others.
    pub node: Node,
    /// `[discovery]`: where others are looked for.
    pub discovery: Discovery,
    /// `[server]`: limits towards those who call.
    pub server: Server,
    /// `[call]`: limits of calls to other services.
    pub call: CallSettings,
    /// `[breaker]`: when a circuit opens, and how it closes.
    pub breaker: BreakerSettings,
    /// `[balance]`: which of several endpoints is called.
    pub balance: BalanceSettings,
    /// `[cache]`: what is kept, and how long it is good.
    pub cache: Cache,
    /// `[call.NAME]`, `[breaker.NAME]`, `[balance.NAME]`: by service, where calls to one have settings of their own.
    callees: callees::Callees,
    /// Those that services declare.
    sections: ServiceSections,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: Node { cluster: "bramble".into(), zone: String::new(), weight: 1, cluster_key_file: None },
            discovery: Discovery {
                mdns: true,
                interfaces: Vec::new(),
                port: 5353,
                dns: BTreeMap::new(),
                fixed: BTreeMap::new(),
            },
            server: Server {
                listen: None,
                threads: 1,
                max_connections: 512,
                concurrency: crate::limit::LimiterSettings::default().concurrency,
                header_timeout: Duration::from_secs(5),
                idle_timeout: Duration::from_secs(30),
                max_body: 64 << 10,
                drain_timeout: Duration::from_secs(10),
            },
            call: CallSettings::default(),
            breaker: BreakerSettings::default(),
            balance: BalanceSettings::default(),
            cache: Cache {
                store: "memory".into(),
                password_file: None,
                capacity: 1024,
                fresh_for: Duration::from_secs(600),
                stale_while_revalidate: Duration::from_secs(30),
                stale_if_error: Duration::from_secs(24 * 3600),
            },
            callees: BTreeMap::new(),
            sections: ServiceSections::default(),
        }
    }
}

impl Config {
    /// What holds when nothing is set, and all sources on top of it.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        Self::default().merge(sources)
    }

    /// With the section of a service, which sources may then set. In place of the one of its type, if there is one.
    #[must_use]
    pub fn with<S: Section>(mut self, section: S) -> Self {
        *self.section_mut() = section;
        self
    }

    /// The settings of a service: its default ones where this configuration lacks the section.
    pub fn section<S: Section>(&self) -> S {
        self.known_section().cloned().unwrap_or_default()
    }

    /// The settings of a service, to be changed. Adds the section if it is missing.
    pub fn section_mut<S: Section>(&mut self) -> &mut S {
        self.sections.entry()
    }

    pub(crate) fn known_section<S: Section>(&self) -> Option<&S> {
        self.sections.get()
    }

    /// This configuration, and all sources on top of it.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn merge(self, sources: &Sources) -> Result<Self, ConfigError> {
        read::load(self, sources)
    }

    /// This configuration, and what is right of a file on top of it: for a machine where nobody can mend the file. What is
    /// wrong is as if it were not there. `name` is the file's, for the mistakes; each has its line where it has one.
    pub fn merge_tolerant(self, file: impl AsRef<[u8]>, name: impl AsRef<Path>) -> (Self, Vec<Mistake>) {
        read::tolerant::load(self, name.as_ref(), file.as_ref())
    }

    /// The configuration as TOML, every key of every section. It reads back to the same configuration, and shows no
    /// secret: there is none in it, only the names of files.
    pub fn to_toml(&self) -> String {
        let mut shown = Show(String::new());
        self.clone().visit(&mut shown);
        shown.0
    }

    /// Every field, in the order of the file; the settings for calls to single services at the end.
    fn visit(&mut self, visitor: &mut dyn Visitor) {
        self.visit_sections(visitor);
        for (callee, settings) in &mut self.callees {
            settings.visit(callee, visitor);
        }
    }

    /// Every field but those for calls to single services.
    fn visit_sections(&mut self, visitor: &mut dyn Visitor) {
        let sections: [(&'static str, &mut dyn FieldList); 7] = [
            ("node", &mut self.node),
            ("discovery", &mut self.discovery),
            ("server", &mut self.server),
            ("call", &mut self.call),
            ("breaker", &mut self.breaker),
            ("balance", &mut self.balance),
            ("cache", &mut self.cache),
        ];
        for (name, section) in sections {
            visitor.section(name);
            section.visit(visitor);
        }
        self.sections.visit(visitor);
    }
}

struct Show(String);

impl Visitor for Show {
    fn section(&mut self, name: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.0.push_str(&format!("{gap}[{name}]\n"));
    }

    fn slot(&mut self, key: &'static str, slot: &mut dyn Slot) {
        self.0.push_str(&format!("{key} = {}\n", slot.show()));
    }
}

#[cfg(test)]
mod tests;

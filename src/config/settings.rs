//! All settings, and their default values.

use std::collections::BTreeMap;
use std::time::Duration;

use super::callees::{CalleeSettings, Callees};
use super::format::{FieldList, TomlWriter, Visitor};
use super::section::{Section, ServiceSections};
use super::sections::{CacheSection, Discovery, Node, Server};
use crate::balance::BalanceSettings;
use crate::breaker::BreakerSettings;
use crate::call::CallSettings;
use crate::service::name::is_name;

/// Services that can have settings of their own.
const MAX_CALLEES: usize = 64;

/// All settings. [`Config::default`] has the default values.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[node]`: name, zone and key of the cluster.
    pub node: Node,
    /// `[discovery]`: how services find each other.
    pub discovery: Discovery,
    /// `[server]`: limits for callers.
    pub server: Server,
    /// `[call]`: limits of calls to other services.
    pub call: CallSettings,
    /// `[breaker]`: when a circuit opens, and how it closes.
    pub breaker: BreakerSettings,
    /// `[balance]`: which of several endpoints is called.
    pub balance: BalanceSettings,
    /// `[cache]`: how many answers are kept, and for how long.
    pub cache: CacheSection,
    /// `[call.NAME]`, `[breaker.NAME]`, `[balance.NAME]`: by service, where calls to one have settings of their own.
    pub(super) callees: Callees,
    /// The sections that services declare.
    pub(super) sections: ServiceSections,
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
            cache: CacheSection {
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

    /// Settings for calls to `service`: its own, or those for all.
    pub fn for_callee(&self, service: &str) -> CalleeSettings {
        self.callees.get(service).cloned().unwrap_or_else(|| self.for_all())
    }

    /// The services with settings of their own.
    pub fn callees(&self) -> impl Iterator<Item = &str> {
        self.callees.keys().map(String::as_str)
    }

    pub(super) fn for_all(&self) -> CalleeSettings {
        CalleeSettings { call: self.call.clone(), breaker: self.breaker, balance: self.balance.clone() }
    }

    /// Gives `callee` settings of its own.
    ///
    /// # Errors
    /// How the sentence goes on after the name.
    pub(super) fn add_callee(&mut self, callee: &str) -> Result<(), String> {
        if self.callees.contains_key(callee) {
            return Ok(());
        }
        if !is_name(callee) {
            return Err("is for one service, whose name is 1 to 46 of a-z, 0-9 and -".to_owned());
        }
        if self.callees.len() >= MAX_CALLEES {
            return Err(format!("is for one service more than the {MAX_CALLEES} that can have settings of their own"));
        }
        self.callees.insert(callee.to_owned(), self.for_all());
        Ok(())
    }

    /// The configuration as TOML, every key of every section. It reads back to the same configuration, and shows no
    /// secret: there is none in it, only the names of files.
    pub fn to_toml(&self) -> String {
        let mut writer = TomlWriter::default();
        self.clone().visit(&mut writer);
        writer.0
    }

    /// Every field, in the order of the file; the settings for calls to single services at the end.
    pub(super) fn visit(&mut self, visitor: &mut dyn Visitor) {
        self.visit_sections(visitor);
        for (callee, settings) in &mut self.callees {
            settings.visit(callee, visitor);
        }
    }

    /// Every field but those for calls to single services.
    pub(super) fn visit_sections(&mut self, visitor: &mut dyn Visitor) {
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
            visitor.visit_section(name);
            section.visit(visitor);
        }
        self.sections.visit(visitor);
    }
}

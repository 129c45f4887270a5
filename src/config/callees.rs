//! Settings for calls to one service: `[call.NAME]`, `[breaker.NAME]`, `[balance.NAME]`.
//!
//! A key that is not set there has the value of `[call]`, `[breaker]` or `[balance]`, whichever source sets that last.

use std::collections::BTreeMap;

use super::Config;
use super::setting::{FieldList as _, Visitor};
use crate::balance::BalanceSettings;
use crate::breaker::BreakerSettings;
use crate::call::CallSettings;
use crate::service;

/// Services that can have settings of their own.
const MAX: usize = 64;

/// The sections that may be for one service.
const SECTIONS: [&str; 3] = ["call", "breaker", "balance"];

/// Settings for calls to one service.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CalleeSettings {
    /// `[call.NAME]`.
    pub call: CallSettings,
    /// `[breaker.NAME]`.
    pub breaker: BreakerSettings,
    /// `[balance.NAME]`.
    pub balance: BalanceSettings,
}

/// The settings of services that have their own.
pub(super) type Callees = BTreeMap<String, CalleeSettings>;

/// Whether `section` may be for one service, too.
pub(super) fn has_callees(section: &str) -> bool {
    SECTIONS.contains(&section)
}

/// FieldList, service and key of `call.producer.timeout`. None: it is a key of a section for all.
pub(super) fn split(path: &str) -> Option<(&str, &str, &str)> {
    let (section, rest) = path.split_once('.')?;
    let (callee, key) = rest.split_once('.')?;
    has_callees(section).then_some((section, callee, key))
}

/// The path that the rest of a variable's name means, in small letters: `call__front_desk__timeout` is
/// `call.front-desk.timeout`, and `service__front_desk__patience` is `service.front-desk.patience`.
pub(super) fn path_of_variable(name: &str) -> String {
    let path = name.to_ascii_lowercase().replacen("__", ".", 1);
    match path.split_once('.') {
        Some((section, rest)) if has_callees(section) || section == "service" => match rest.split_once("__") {
            Some((callee, key)) => format!("{section}.{}.{key}", callee.replace('_', "-")),
            None => path,
        },
        _ => path,
    }
}

impl Config {
    /// Settings for calls to `service`: its own, or those for all.
    pub fn for_callee(&self, service: &str) -> CalleeSettings {
        self.callees.get(service).cloned().unwrap_or_else(|| self.for_all())
    }

    /// The services with settings of their own.
    pub fn callees(&self) -> impl Iterator<Item = &str> {
        self.callees.keys().map(String::as_str)
    }

    fn for_all(&self) -> CalleeSettings {
        CalleeSettings { call: self.call.clone(), breaker: self.breaker.clone(), balance: self.balance.clone() }
    }

    /// Gives `callee` settings of its own.
    ///
    /// # Errors
    /// How the sentence goes on after the name.
    pub(super) fn add_callee(&mut self, callee: &str) -> Result<(), String> {
        if self.callees.contains_key(callee) {
            return Ok(());
        }
        if !service::is_name(callee) {
            return Err("is for one service, whose name is 1 to 46 of a-z, 0-9 and -".to_owned());
        }
        if self.callees.len() >= MAX {
            return Err(format!("is for one service more than the {MAX} that can have settings of their own"));
        }
        self.callees.insert(callee.to_owned(), self.for_all());
        Ok(())
    }

    /// Gives each service of its own settings those for all, but for the keys in `set`, which it keeps.
    pub(super) fn inherit(&mut self, is_set: impl Fn(&str) -> bool) {
        let for_all = self.for_all();
        let names: Vec<String> = self.callees.keys().cloned().collect();
        for name in names {
            let own: Vec<(String, String)> =
                self.shown_of(&name).into_iter().filter(|(path, _)| is_set(path)).collect();
            if own.is_empty() {
                self.callees.remove(&name);
                continue;
            }
            self.callees.insert(name, for_all.clone());
            for (path, shown) in own {
                let outcome = super::read::assign_shown(self, &path, &shown);
                debug_assert!(outcome, "{path} cannot be set to {shown}");
            }
        }
    }

    /// The keys of one service as paths, with their values as TOML.
    fn shown_of(&mut self, callee: &str) -> Vec<(String, String)> {
        struct Paths(String, Vec<(String, String)>);
        impl Visitor for Paths {
            fn section(&mut self, name: &str) {
                self.0 = name.to_owned();
            }

            fn slot(&mut self, key: &'static str, slot: &mut dyn super::setting::Slot) {
                self.1.push((format!("{}.{key}", self.0), slot.show()));
            }
        }
        let mut paths = Paths(String::new(), Vec::new());
        if let Some(settings) = self.callees.get_mut(callee) {
            settings.visit(callee, &mut paths);
        }
        paths.1
    }
}

impl CalleeSettings {
    pub(super) fn visit(&mut self, callee: &str, visitor: &mut dyn Visitor) {
        visitor.section(&format!("call.{callee}"));
        self.call.visit(visitor);
        visitor.section(&format!("breaker.{callee}"));
        self.breaker.visit(visitor);
        visitor.section(&format!("balance.{callee}"));
        self.balance.visit(visitor);
    }
}

//! Sets keys by their path.

use toml::Spanned;
use toml::de::DeValue;

use super::format::{Field, InvalidValue, Visitor};
use super::key_path;
use super::settings::Config;

/// Sets `section.key` to a value as TOML, if that is right.
fn assign_shown(config: &mut Config, path: &str, shown: &str) -> bool {
    let value: Result<Spanned<DeValue<'_>>, _> = DeValue::parse(shown);
    value.is_ok_and(|value| matches!(assign(config, path, &value, false), Some(Ok(()))))
}

/// Sets `section.key`, if `in_part` to what of the value is right. None: there is no such key.
pub(super) fn assign(
    config: &mut Config,
    path: &str,
    value: &Spanned<DeValue<'_>>,
    in_part: bool,
) -> Option<Result<(), Vec<InvalidValue>>> {
    let mut assign = Assignment { target: path.rsplit_once('.')?, value, in_part, is_here: false, outcome: None };
    config.visit(&mut assign);
    assign.outcome
}

struct Assignment<'a> {
    target: (&'a str, &'a str),
    value: &'a Spanned<DeValue<'a>>,
    in_part: bool,
    /// Whether the section is that of the target.
    is_here: bool,
    outcome: Option<Result<(), Vec<InvalidValue>>>,
}

impl Visitor for Assignment<'_> {
    fn visit_section(&mut self, name: &str) {
        self.is_here = self.target.0 == name;
    }

    fn visit_field(&mut self, key: &'static str, field: &mut dyn Field) {
        if self.is_here && self.target.1 == key {
            self.outcome = Some(if self.in_part { field.set_right(self.value) } else { field.set(self.value) });
        }
    }
}

/// Gives each service with settings of its own those for all, but for the keys that `is_set` names, which it keeps.
pub(super) fn inherit(config: &mut Config, is_set: impl Fn(&str) -> bool) {
    let for_all = config.for_all();
    for (name, mut settings) in std::mem::take(&mut config.callees) {
        let mut own = shown(|visitor| settings.visit(&name, visitor));
        own.retain(|(path, _)| is_set(path));
        if own.is_empty() {
            continue;
        }
        config.callees.insert(name, for_all.clone());
        for (path, shown) in own {
            let is_assigned = assign_shown(config, &path, &shown);
            debug_assert!(is_assigned, "{path} cannot be set to {shown}");
        }
    }
}

/// Sets `path` to its value in `defaults`: for a key of one service, that of the key for all.
pub(super) fn reset(config: &mut Config, defaults: &mut Config, path: &str) {
    let general = key_path::split(path).map(|(section, _, key)| format!("{section}.{key}"));
    let general = general.as_deref().unwrap_or(path);
    let shown = shown(|visitor| defaults.visit(visitor)).into_iter().find(|(known, _)| known == general);
    let is_assigned = shown.is_some_and(|(_, shown)| assign_shown(config, path, &shown));
    debug_assert!(is_assigned, "{path} cannot be set to its default");
}

/// The path of each field that `visit` shows, with its value as TOML.
fn shown(visit: impl FnOnce(&mut dyn Visitor)) -> Vec<(String, String)> {
    let mut fields = ShownFields::default();
    visit(&mut fields);
    fields.fields
}

#[derive(Default)]
struct ShownFields {
    section: String,
    fields: Vec<(String, String)>,
}

impl Visitor for ShownFields {
    fn visit_section(&mut self, name: &str) {
        name.clone_into(&mut self.section);
    }

    fn visit_field(&mut self, key: &'static str, field: &mut dyn Field) {
        self.fields.push((format!("{}.{key}", self.section), field.show()));
    }
}

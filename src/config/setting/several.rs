//! Kinds made of other kinds. Each item is judged by itself, so that one wrong address does not hide the next.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeValue;

use super::names::is_service;
use super::{Kind, Wrong};

/// A value, or `""` for none.
pub(in crate::config) struct Maybe<K>(pub(in crate::config) K);

impl<T, K: Kind<T>> Kind<Option<T>> for Maybe<K> {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Option<T>, Vec<Wrong>> {
        match value.get_ref().as_str() {
            Some("") => Ok(None),
            _ => self.0.read(value).map(Some),
        }
    }

    fn show(&self, value: &Option<T>) -> String {
        value.as_ref().map_or_else(|| "\"\"".to_owned(), |value| self.0.show(value))
    }
}

/// A list. Fewer or more items than allowed are refused.
pub(in crate::config) struct List<K> {
    pub(in crate::config) of: K,
    pub(in crate::config) least: usize,
    pub(in crate::config) most: usize,
}

impl<T, K: Kind<T>> Kind<Vec<T>> for List<K> {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<T>, Vec<Wrong>> {
        let Some(items) = value.get_ref().as_array() else {
            return Err(Wrong::new(value, "is not a list; write for example [\"one\", \"two\"]"));
        };
        if !(self.least..=self.most).contains(&items.len()) {
            let (found, least, most) = (items.len(), self.least, self.most);
            return Err(Wrong::new(value, format_args!("has {found} items; allowed are {least} to {most}")));
        }
        let (mut right, mut wrong) = (Vec::with_capacity(items.len()), Vec::new());
        for item in items.iter() {
            match self.of.read(item) {
                Ok(item) => right.push(item),
                Err(why) => wrong.extend(why),
            }
        }
        if wrong.is_empty() { Ok(right) } else { Err(wrong) }
    }

    fn show(&self, value: &Vec<T>) -> String {
        let items: Vec<_> = value.iter().map(|item| self.of.show(item)).collect();
        format!("[{}]", items.join(", "))
    }
}

/// Values by the name of a service: `{ producer = "producer:8080" }`.
pub(in crate::config) struct Table<K>(pub(in crate::config) K);

/// Names of services in one table; a cluster has a handful.
const MOST_SERVICES: usize = 64;

impl<T, K: Kind<T>> Kind<BTreeMap<String, T>> for Table<K> {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<String, T>, Vec<Wrong>> {
        let Some(entries) = value.get_ref().as_table() else {
            return Err(Wrong::new(value, "is not a table; write for example { producer = ... }"));
        };
        if entries.len() > MOST_SERVICES {
            return Err(Wrong::new(value, format_args!("names more than {MOST_SERVICES} services")));
        }
        let (mut right, mut wrong) = (BTreeMap::new(), Vec::new());
        for (name, entry) in entries.iter() {
            if !is_service(name.get_ref()) {
                let why = format!(
                    "{} is no name of a service; allowed are 1 to 32 of a-z, 0-9 and -, beginning with a letter",
                    super::quote(&super::clip(name.get_ref()))
                );
                wrong.push(Wrong { span: name.span(), why });
            }
            match self.0.read(entry) {
                Ok(entry) => {
                    right.insert(name.get_ref().to_string(), entry);
                }
                Err(why) => wrong.extend(why),
            }
        }
        if wrong.is_empty() { Ok(right) } else { Err(wrong) }
    }

    fn show(&self, value: &BTreeMap<String, T>) -> String {
        if value.is_empty() {
            return "{}".to_owned();
        }
        // Names of services are bare keys.
        let entries: Vec<_> = value.iter().map(|(name, entry)| format!("{name} = {}", self.0.show(entry))).collect();
        format!("{{ {} }}", entries.join(", "))
    }
}

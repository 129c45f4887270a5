//! Kinds made of other kinds. Each item is judged by itself, so that one wrong address does not hide the next.

use std::collections::BTreeMap;
use std::ops::Range;

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

impl<K> List<K> {
    /// Each item by itself, if there are as many as allowed.
    fn items<T>(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<Item<T>>, Vec<Wrong>>
    where
        K: Kind<T>,
    {
        let Some(items) = value.get_ref().as_array() else {
            return Err(Wrong::new(value, "is not a list; write for example [\"one\", \"two\"]"));
        };
        if !(self.least..=self.most).contains(&items.len()) {
            let (found, least, most) = (items.len(), self.least, self.most);
            return Err(Wrong::new(value, format_args!("has {found} items; allowed are {least} to {most}")));
        }
        Ok(items.iter().map(|item| (item.span(), self.of.read(item))).collect())
    }
}

/// Where it stands, and what it is or why it is nothing.
type Item<T> = (Range<usize>, Result<T, Vec<Wrong>>);

/// The right items, and what is wrong with the others.
fn part<T>(items: Vec<Item<T>>) -> (Vec<T>, Vec<Wrong>) {
    let (mut right, mut wrong) = (Vec::with_capacity(items.len()), Vec::new());
    for (_, item) in items {
        match item {
            Ok(item) => right.push(item),
            Err(why) => wrong.extend(why),
        }
    }
    (right, wrong)
}

/// A list of which nothing is right is no list; one that was meant to be empty is.
fn some_right<T>(right: Vec<T>, wrong: Vec<Wrong>) -> (Option<Vec<T>>, Vec<Wrong>) {
    (Some(right).filter(|right| !right.is_empty() || wrong.is_empty()), wrong)
}

fn all_right<T>(right: T, wrong: Vec<Wrong>) -> Result<T, Vec<Wrong>> {
    if wrong.is_empty() { Ok(right) } else { Err(wrong) }
}

impl<T, K: Kind<T>> Kind<Vec<T>> for List<K> {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<T>, Vec<Wrong>> {
        let (right, wrong) = part(self.items(value)?);
        all_right(right, wrong)
    }

    fn read_right(&self, value: &Spanned<DeValue<'_>>) -> (Option<Vec<T>>, Vec<Wrong>) {
        match self.items(value).map(part) {
            Ok((right, wrong)) => some_right(right, wrong),
            Err(wrong) => (None, wrong),
        }
    }

    fn show(&self, value: &Vec<T>) -> String {
        let items: Vec<_> = value.iter().map(|item| self.of.show(item)).collect();
        format!("[{}]", items.join(", "))
    }
}

/// A list in which nothing stands twice.
pub(in crate::config) struct Distinct<K>(pub(in crate::config) List<K>);

impl<K> Distinct<K> {
    fn part<T: PartialEq>(&self, value: &Spanned<DeValue<'_>>) -> Result<(Vec<T>, Vec<Wrong>), Vec<Wrong>>
    where
        K: Kind<T>,
    {
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        for (span, item) in self.0.items(value)? {
            match item {
                Ok(item) if right.contains(&item) => {
                    wrong.push(Wrong { span, why: format!("{} stands there twice", self.0.of.show(&item)) });
                }
                Ok(item) => right.push(item),
                Err(why) => wrong.extend(why),
            }
        }
        Ok((right, wrong))
    }
}

impl<T: PartialEq, K: Kind<T>> Kind<Vec<T>> for Distinct<K> {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<T>, Vec<Wrong>> {
        let (right, wrong) = self.part(value)?;
        all_right(right, wrong)
    }

    fn read_right(&self, value: &Spanned<DeValue<'_>>) -> (Option<Vec<T>>, Vec<Wrong>) {
        match self.part(value) {
            Ok((right, wrong)) => some_right(right, wrong),
            Err(wrong) => (None, wrong),
        }
    }

    fn show(&self, value: &Vec<T>) -> String {
        self.0.show(value)
    }
}

/// Values by the name of a service: `{ producer = "producer:8080" }`.
pub(in crate::config) struct Table<K>(pub(in crate::config) K);

/// Names of services in one table; a cluster has a handful.
const MOST_SERVICES: usize = 64;

impl<T, K: Kind<T>> Kind<BTreeMap<String, T>> for Table<K> {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<String, T>, Vec<Wrong>> {
        match self.read_right(value) {
            (Some(right), wrong) if wrong.is_empty() => Ok(right),
            (_, wrong) => Err(wrong),
        }
    }

    fn read_right(&self, value: &Spanned<DeValue<'_>>) -> (Option<BTreeMap<String, T>>, Vec<Wrong>) {
        let Some(entries) = value.get_ref().as_table() else {
            return (None, Wrong::new(value, "is not a table; write for example { producer = ... }"));
        };
        if entries.len() > MOST_SERVICES {
            return (None, Wrong::new(value, format_args!("names more than {MOST_SERVICES} services")));
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
            let (entry, why) = self.0.read_right(entry);
            wrong.extend(why);
            if let Some(entry) = entry.filter(|_| is_service(name.get_ref())) {
                right.insert(name.get_ref().to_string(), entry);
            }
        }
        (Some(right), wrong)
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

//! Values made of other values. Each item is checked by itself, so that one wrong address does not hide the next.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::text::is_service;
use super::{Format, InvalidValue};

/// A value, or `""` for none.
pub(in crate::config) struct Optional<F>(pub(in crate::config) F);

impl<T, F: Format<T>> Format<Option<T>> for Optional<F> {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Option<T>, Vec<InvalidValue>> {
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
pub(in crate::config) struct List<F> {
    pub(in crate::config) of: F,
    pub(in crate::config) least: usize,
    pub(in crate::config) most: usize,
}

impl<F> List<F> {
    /// Each item by itself, if there are as many as allowed.
    fn items<T>(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<Item<T>>, Vec<InvalidValue>>
    where
        F: Format<T>,
    {
        let Some(items) = value.get_ref().as_array() else {
            return Err(InvalidValue::new(value, "is not a list; write for example [\"one\", \"two\"]"));
        };
        if !(self.least..=self.most).contains(&items.len()) {
            let (found, least, most) = (items.len(), self.least, self.most);
            return Err(InvalidValue::new(value, format_args!("has {found} items; allowed are {least} to {most}")));
        }
        Ok(items.iter().map(|item| (item.span(), self.of.read(item))).collect())
    }
}

/// The place of an item, and its value or what is wrong with it.
type Item<T> = (Range<usize>, Result<T, Vec<InvalidValue>>);

/// The right items, and what is wrong with the others.
fn part<T>(items: Vec<Item<T>>) -> (Vec<T>, Vec<InvalidValue>) {
    let (mut right, mut wrong) = (Vec::with_capacity(items.len()), Vec::new());
    for (_, item) in items {
        match item {
            Ok(item) => right.push(item),
            Err(why) => wrong.extend(why),
        }
    }
    (right, wrong)
}

/// No list if all items are wrong; an empty one if there were none.
fn some_right<T>(right: Vec<T>, wrong: Vec<InvalidValue>) -> (Option<Vec<T>>, Vec<InvalidValue>) {
    (Some(right).filter(|right| !right.is_empty() || wrong.is_empty()), wrong)
}

fn all_right<T>(right: T, wrong: Vec<InvalidValue>) -> Result<T, Vec<InvalidValue>> {
    if wrong.is_empty() { Ok(right) } else { Err(wrong) }
}

impl<T, F: Format<T>> Format<Vec<T>> for List<F> {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<T>, Vec<InvalidValue>> {
        let (right, wrong) = part(self.items(value)?);
        all_right(right, wrong)
    }

    fn read_right(&self, value: &Spanned<DeValue<'_>>) -> (Option<Vec<T>>, Vec<InvalidValue>) {
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
pub(in crate::config) struct Distinct<F>(pub(in crate::config) List<F>);

impl<F> Distinct<F> {
    fn part<T: PartialEq>(&self, value: &Spanned<DeValue<'_>>) -> Result<(Vec<T>, Vec<InvalidValue>), Vec<InvalidValue>>
    where
        F: Format<T>,
    {
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        for (span, item) in self.0.items(value)? {
            match item {
                Ok(item) if right.contains(&item) => {
                    wrong.push(InvalidValue { span, why: format!("{} stands there twice", self.0.of.show(&item)) });
                }
                Ok(item) => right.push(item),
                Err(why) => wrong.extend(why),
            }
        }
        Ok((right, wrong))
    }
}

impl<T: PartialEq, F: Format<T>> Format<Vec<T>> for Distinct<F> {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<T>, Vec<InvalidValue>> {
        let (right, wrong) = self.part(value)?;
        all_right(right, wrong)
    }

    fn read_right(&self, value: &Spanned<DeValue<'_>>) -> (Option<Vec<T>>, Vec<InvalidValue>) {
        match self.part(value) {
            Ok((right, wrong)) => some_right(right, wrong),
            Err(wrong) => (None, wrong),
        }
    }

    fn show(&self, value: &Vec<T>) -> String {
        self.0.show(value)
    }
}

/// Values by the name of a service: `{ greeter = "greeter:8080" }`.
pub(in crate::config) struct Table<F>(pub(in crate::config) F);

/// Names of services in one table; a cluster has a handful.
const MOST_SERVICES: usize = 64;

impl<T, F: Format<T>> Format<BTreeMap<String, T>> for Table<F> {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<String, T>, Vec<InvalidValue>> {
        match self.read_right(value) {
            (Some(right), wrong) if wrong.is_empty() => Ok(right),
            (_, wrong) => Err(wrong),
        }
    }

    fn read_right(&self, value: &Spanned<DeValue<'_>>) -> (Option<BTreeMap<String, T>>, Vec<InvalidValue>) {
        let Some(entries) = value.get_ref().as_table() else {
            return (None, InvalidValue::new(value, "is not a table; write for example { greeter = ... }"));
        };
        if entries.len() > MOST_SERVICES {
            return (None, InvalidValue::new(value, format_args!("names more than {MOST_SERVICES} services")));
        }
        let (mut right, mut wrong) = (BTreeMap::new(), Vec::new());
        for (name, entry) in entries.iter() {
            if !is_service(name.get_ref()) {
                let why = format!(
                    "{} is no name of a service; allowed are 1 to 32 of a-z, 0-9 and -, beginning with a letter",
                    super::quote(&super::clip(name.get_ref()))
                );
                wrong.push(InvalidValue { span: name.span(), why });
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

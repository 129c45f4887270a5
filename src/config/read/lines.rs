//! Lines of a file: the place of a mistake, and which lines an error of the syntax leaves unclear.

use std::ops::Range;
use std::path::Path;

use crate::config::error::Origin;

/// Where the lines of a text begin.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// The line, from 1, on which the byte `at` lies.
    pub(super) fn number(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    /// The text from the beginning of a line on.
    fn from(&self, number: usize) -> &'a str {
        let start = self.starts.get(number.saturating_sub(1));
        start.and_then(|start| self.text.get(*start..)).unwrap_or_default()
    }

    pub(super) fn is_heading(&self, number: usize) -> bool {
        self.from(number).trim_start_matches([' ', '\t']).starts_with('[')
    }

    /// The bytes that broken lines leave unclear: their own, and below a heading all up to the next sound one.
    pub(super) fn unclear(
        &self,
        is_broken: impl Fn(usize) -> bool,
        broken: impl Iterator<Item = usize>,
    ) -> Vec<Range<usize>> {
        let start = |number: usize| self.starts.get(number - 1).copied().unwrap_or(self.text.len());
        let (mut unclear, mut end) = (Vec::new(), 0);
        for line in broken {
            if line < end {
                continue;
            }
            end = line + 1;
            while self.is_heading(line) && end <= self.starts.len() && (is_broken(end) || !self.is_heading(end)) {
                end += 1;
            }
            unclear.push(start(line)..start(end));
        }
        unclear
    }

    pub(super) fn place(&self, file: &Path, at: usize) -> Origin {
        let line = self.number(at);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.text.get(start..at).map_or(0, |before| before.chars().count()) + 1;
        Origin::Line { file: file.to_owned(), line, column }
    }
}

//! Mistakes in a configuration, each with its place: the line of the file, or the name of the variable.

use std::fmt;
use std::path::PathBuf;

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Origin {
    /// A file as a whole: it cannot be read.
    File(PathBuf),
    /// A place in a file; both count from 1, columns in characters.
    Line {
        /// The file, as it was named.
        file: PathBuf,
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// A variable of the environment, by its name.
    Variable(String),
    /// A flag of the command line.
    Flag,
    /// No source sets it.
    Default,
}

/// A mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Mistake {
    /// Place in a source.
    pub origin: Origin,
    /// `section.key`, a section alone, or empty where neither is known.
    pub key: String,
    /// The end of a sentence that begins with the key: what is wrong, and what is allowed.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File(file) => write!(f, "{}: ", file.display())?,
            Origin::Line { file, line, column } => write!(f, "{}:{line}:{column}: ", file.display())?,
            Origin::Variable(name) => return write!(f, "{name}: {}", self.what),
            Origin::Flag => f.write_str("command line: ")?,
            Origin::Default => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// Mistakes kept. A file with more is hardly a configuration: a log, or the file of another program.
const MOST: usize = 100;

/// All that is wrong with a configuration: at least one mistake, in the order of the file, then variables,
/// then flags. Shown one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    mistakes: Vec<Mistake>,
    left_out: usize,
}

impl ConfigError {
    pub(super) fn new(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort();
        let left_out = mistakes.len().saturating_sub(MOST);
        mistakes.truncate(MOST);
        Self { mistakes, left_out }
    }

    /// The mistakes, and how many more there were.
    pub(super) fn into_parts(self) -> (Vec<Mistake>, usize) {
        (self.mistakes, self.left_out)
    }

    /// Each mistake once; the first hundred of them.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        if self.left_out > 0 {
            write!(f, "\nand {} more", self.left_out)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

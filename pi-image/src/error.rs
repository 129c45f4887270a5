//! What can go wrong while building, each with what to do about it.

use std::path::PathBuf;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program is not on this machine.
    #[error("{program} is not installed; on Debian, `sudo apt-get install {package}` brings it")]
    Missing {
        /// Its name.
        program: String,
        /// Who has it.
        package: String,
    },
    /// A program ran and failed.
    #[error("{command} failed: {said}")]
    Program {
        /// The command as one would type it.
        command: String,
        /// What it wrote to stderr, or how it ended.
        said: String,
    },
    /// The lock is not what `image refresh` writes.
    #[error("{path}, line {line}: {why}; `cargo xtask image refresh` writes a new one", path = path.display())]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong with the line.
        why: &'static str,
    },
    /// The lock has no such package.
    #[error("packages.lock names no package {name} for {arch}; run `cargo xtask image refresh`")]
    NotLocked {
        /// Its name.
        name: String,
        /// Its architecture.
        arch: String,
    },
    /// Debian has replaced a package by a newer one since the lock was written.
    #[error("no longer on the mirror: {}; run `cargo xtask image refresh` for a new packages.lock, and try the image before you commit it", names.join(", "))]
    Gone {
        /// File names of the packages.
        names: Vec<String>,
    },
    /// What was downloaded is not what the lock says.
    #[error("{name} has SHA-256 {found}, but packages.lock says {expected}; nothing of it was used")]
    Checksum {
        /// The package's file name.
        name: String,
        /// What it has.
        found: String,
        /// What it should have.
        expected: String,
    },
    /// Something else, said in a sentence.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// For `map_err` of file operations.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

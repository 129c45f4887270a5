//! Errors of a build, each with what to do about it.

use std::path::PathBuf;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// A program is not on this machine.
    #[error("{program} is not installed; on Debian, `sudo apt-get install {package}` brings it")]
    Missing {
        /// Name of the program.
        program: String,
        /// Debian package that has the program.
        package: String,
    },
    /// A program ran and failed.
    #[error("{command} failed: {said}")]
    Program {
        /// The command as one would type it.
        command: String,
        /// The command's stderr, or how it ended.
        said: String,
    },
    /// The lock is not what `image refresh` writes.
    #[error("{path}, line {line}: {why}; `cargo xtask image refresh` writes a new one", path = path.display())]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// Mistake in the line.
        why: &'static str,
    },
    /// The lock has no such package.
    #[error("packages.lock names no package {name} for {arch}; run `cargo xtask image refresh`")]
    NotLocked {
        /// Name of the package.
        name: String,
        /// Architecture of the package.
        arch: String,
    },
    /// Debian has replaced a package by a newer one since the lock was written.
    #[error("no longer on the mirror: {}; run `cargo xtask image refresh` for a new packages.lock, and try the image before you commit it", names.join(", "))]
    Gone {
        /// File names of the packages.
        names: Vec<String>,
    },
    /// A download has another checksum than the lock.
    #[error("{name} has SHA-256 {found}, but packages.lock says {expected}; nothing of it was used")]
    Checksum {
        /// The package's file name.
        name: String,
        /// Checksum of the download.
        found: String,
        /// Checksum in the lock.
        expected: String,
    },
    /// Any other failure, in a sentence.
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

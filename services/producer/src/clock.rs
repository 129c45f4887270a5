//! Knowledge of the time of day. A Raspberry Pi has no clock that outlasts the plug: until a time server has told it
//! the time it only guesses, and what is said of ages, or judged of certificates, would be wrong.

use std::path::PathBuf;

/// Whether the time of day is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clock {
    /// While this file is there, it is a guess. None: it is known.
    unset: Option<PathBuf>,
}

impl Clock {
    /// Known, unless and while the file is there that the process that sets the clock takes away.
    pub fn unset_while(file: Option<PathBuf>) -> Self {
        Self { unset: file }
    }

    /// Whether the time is a guess now. Asks the file system, about a microsecond.
    pub fn is_a_guess(&self) -> bool {
        self.unset.as_ref().is_some_and(|file| file.exists())
    }
}

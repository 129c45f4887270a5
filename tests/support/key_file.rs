//! The file with the key of the stand-in for the weather API.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The key that the stand-in is started with.
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A temporary file that holds [`KEY`], removed when dropped.
pub(crate) struct KeyFile(PathBuf);

impl KeyFile {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bramble-{}-{}.key", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let file = Self(std::env::temp_dir().join(name));
        std::fs::write(&file.0, KEY).expect("a temporary file");
        file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

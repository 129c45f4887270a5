//! The file with the settings.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The file that is read unless another is named; it may be missing.
pub const DEFAULT_FILE: &str = "/etc/bramble/bramble.toml";

/// Bytes read of a file. No configuration has so many; a device or a log that is named by mistake is not read to its
/// end.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// The file to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ConfigFile {
    /// [`DEFAULT_FILE`], which may be missing.
    #[default]
    Default,
    /// A file that must be there.
    Path(PathBuf),
    /// Text that is at hand already, and its name for messages.
    Text(PathBuf, String),
    /// None.
    None,
}

/// Path and text of the file, if there is one.
pub(super) fn text_of(file: &ConfigFile) -> Result<Option<(PathBuf, String)>, (PathBuf, io::Error)> {
    let path = match file {
        ConfigFile::None => return Ok(None),
        ConfigFile::Text(name, text) => return Ok(Some((name.clone(), text.clone()))),
        ConfigFile::Default => Path::new(DEFAULT_FILE),
        ConfigFile::Path(path) => path,
    };
    match read_text(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if *file == ConfigFile::Default && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err((path.to_owned(), error)),
    }
}

/// The text of a file of at most 1 MiB.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_FILE {
        return Err(io::Error::other("it is larger than 1 MiB; is it the right file?"));
    }
    Ok(text)
}

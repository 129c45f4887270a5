//! The key of the weather API is the one secret of this service. As a type of its own it cannot end in a log line.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest file that is read; a key has 32 characters.
const MAX_FILE: u64 = 4 << 10;
const MAX_KEY: usize = 256;

/// A key of the weather API: 1-256 letters, digits, `-`, `.`, `_`, `~`, so that it stands in a URL as it is and can be
/// found in any text. `Debug` and `Display` show `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Box<str>);

/// Why there is no key. None of these carries any of it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// None is configured.
    #[error(
        "the key of the weather API is missing: write it into a file, for example /etc/bramble/api.key, and name the \
         file as [producer] api_key_file in bramble.toml or as BRAMBLE__PRODUCER__API_KEY_FILE in the environment"
    )]
    Missing,
    /// The file cannot be read.
    #[error("cannot read the key of the weather API from {path} ([producer] api_key_file): {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The first line is blank.
    #[error("the first line of {0} ([producer] api_key_file) is empty; write the key of the weather API there")]
    Empty(PathBuf),
    /// The first line is no key.
    #[error(
        "the first line of {0} ([producer] api_key_file) is no key of the weather API; a key is at most 256 letters \
         and digits, without spaces"
    )]
    Malformed(PathBuf),
}

impl ApiKey {
    /// Reads the key from the first line of a file, without the blanks around it.
    ///
    /// # Errors
    /// No file is named, it cannot be read, or its first line is no key.
    pub fn from_file(path: Option<&Path>) -> Result<Self, KeyError> {
        let path = path.filter(|path| !path.as_os_str().is_empty()).ok_or(KeyError::Missing)?;
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes))
            .map_err(|error| KeyError::Unreadable { path: path.into(), error })?;
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        if line.is_empty() {
            return Err(KeyError::Empty(path.into()));
        }
        Self::new(line).ok_or_else(|| KeyError::Malformed(path.into()))
    }

    fn new(key: &[u8]) -> Option<Self> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        let key = std::str::from_utf8(key).ok()?;
        ((1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| plain(&byte))).then(|| Self(key.into()))
    }

    /// The key itself, for the one place that sends it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// `text` with `***` wherever the key stands in it, on one line and at most 200 bytes: the text of an error may
    /// carry the address that was asked.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let text = text.replace(&*self.0, "***");
        let mut kept = String::new();
        for character in text.chars().map(|character| if character.is_control() { ' ' } else { character }) {
            if kept.len() + character.len_utf8() > 200 {
                break;
            }
            kept.push(character);
        }
        kept
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("bramble-key-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("a temporary file");
        path
    }

    fn read(name: &str, text: &[u8]) -> Result<ApiKey, KeyError> {
        let path = file(name, text);
        let key = ApiKey::from_file(Some(&path));
        std::fs::remove_file(path).expect("own file");
        key
    }

    #[test]
    fn a_key_is_the_first_line_of_its_file() {
        for text in ["abc123\n", "  abc123 \r\nsecond line\n", "abc123"] {
            assert_eq!(read("first", text.as_bytes()).expect("a key").expose(), "abc123");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        assert!(matches!(read("empty", b""), Err(KeyError::Empty(_))));
        assert!(matches!(read("blank", b"  \nabc"), Err(KeyError::Empty(_))));
        let long = [b'a'; 300];
        for text in [&b"secret word"[..], b"secret&x=y", b"secret\xff", &long] {
            let error = read("malformed", text).expect_err("no key");
            assert!(matches!(error, KeyError::Malformed(_)), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }

    #[test]
    fn a_missing_key_says_where_to_put_it() {
        for path in [None, Some(Path::new(""))] {
            let sentence = ApiKey::from_file(path).expect_err("none").to_string();
            assert!(sentence.contains("/etc/bramble/api.key"), "{sentence}");
            assert!(sentence.contains("api_key_file") && sentence.contains("BRAMBLE__PRODUCER__API_KEY_FILE"));
        }
        let sentence = ApiKey::from_file(Some(Path::new("/nowhere/api.key"))).expect_err("none").to_string();
        assert!(sentence.contains("/nowhere/api.key"), "{sentence}");
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = ApiKey::new(b"0123456789abcdef").expect("a key");
        assert_eq!(format!("{key} {key:?} {key:#?}"), "*** *** ***");
        let text = key.scrub("GET http://h/?appid=0123456789abcdef\nfailed");
        assert_eq!(text, "GET http://h/?appid=*** failed");
        assert!(key.scrub(&"0123456789abcdef".repeat(100)).len() <= 200);
    }
}

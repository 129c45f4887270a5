//! Where a Redis is, and what it wants to hear first.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Longest file that is read for a password.
const MAX_FILE: u64 = 4 << 10;

/// Why a store cannot be used at all; its sentence says what to change. None of these carries a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// No such address.
    #[error(
        "[cache] store is neither \"memory\" nor \"redis://HOST\", \"redis://HOST:PORT\" or \"redis://HOST:PORT/DB\""
    )]
    Address,
    /// The file cannot be read.
    #[error("cannot read the password of redis from {path} ([cache] password_file): {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The first line is blank, or no text.
    #[error("the first line of {0} ([cache] password_file) is no password; write the password of redis there")]
    NoPassword(PathBuf),
}

/// `redis://HOST[:PORT][/DB]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// A name or an address; IPv6 in brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) db: u16,
}

impl Place {
    /// Parses `[cache] store`; None: memory.
    pub(super) fn from_config(store: &str) -> Result<Option<Self>, SetupError> {
        if store == "memory" {
            return Ok(None);
        }
        let rest = store.strip_prefix("redis://").filter(|rest| !rest.contains(['@', '?', '#']));
        Self::parse(rest.ok_or(SetupError::Address)?).map(Some).ok_or(SetupError::Address)
    }

    fn parse(text: &str) -> Option<Self> {
        let (place, db) = text.split_once('/').unwrap_or((text, "0"));
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (place, "6379"),
        };
        let port = port.parse().ok().filter(|port| *port > 0)?;
        (!host.is_empty()).then_some(Self { host: host.to_owned(), port, db: db.parse().ok()? })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        if self.db == 0 { Ok(()) } else { write!(f, "/{}", self.db) }
    }
}

/// The first line of a file, without the blanks around it.
pub(super) fn password(path: &Path) -> Result<String, SetupError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes))
        .map_err(|error| SetupError::Unreadable { path: path.into(), error })?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    match std::str::from_utf8(line) {
        Ok(password) if !password.is_empty() => Ok(password.to_owned()),
        _ => Err(SetupError::NoPassword(path.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(store: &str) -> String {
        match Place::from_config(store) {
            Ok(Some(place)) => place.to_string(),
            Ok(None) => "memory".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_store_has_a_host_and_may_have_a_port_and_a_number() {
        for (store, expected) in [
            ("memory", "memory"),
            ("redis://cache", "cache:6379"),
            ("redis://cache:1", "cache:1"),
            ("redis://[::1]", "[::1]:6379"),
            ("redis://[::1]:7/15", "[::1]:7/15"),
            ("redis://10.0.0.1/2", "10.0.0.1:6379/2"),
        ] {
            assert_eq!(shown(store), expected);
        }
    }

    #[test]
    fn what_is_no_store_is_refused_without_repeating_it() {
        for store in [
            "redis://",
            "redis://:1",
            "redis://a:0",
            "redis://a:b",
            "redis://a/b",
            "redis://a/-1",
            "rediss://a",
            "redis://:hunter2@cache",
            "redis://cache?password=hunter2",
            "",
        ] {
            let said = shown(store);
            assert!(said.contains("[cache] store") && !said.contains("hunter2"), "{store}: {said}");
        }
    }

    #[test]
    fn a_password_is_the_first_line_of_its_file() {
        let path = std::env::temp_dir().join(format!("bramble-redis-password-{}", std::process::id()));
        for (text, expected) in
            [(&b" hunter2 \nmore"[..], Some("hunter2")), (b"", None), (b"\nhunter2", None), (b"\xff", None)]
        {
            std::fs::write(&path, text).expect("a temporary file");
            let read = password(&path);
            assert_eq!(read.as_deref().ok(), expected);
            assert!(expected.is_some() || read.expect_err("none").to_string().contains("password_file"));
        }
        std::fs::remove_file(&path).expect("own file");
        assert!(password(&path).expect_err("none").to_string().contains("password_file"));
    }
}

//! Text with a form: names, hosts, addresses, choices.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::{Format, InvalidValue, quote};

/// Text that a rule allows. The rule says how a refusal goes on after the text: "is no host and port; ...".
pub(in crate::config) struct Text(pub(in crate::config) fn(&str) -> Result<(), &'static str>);

impl Format<String> for Text {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<String, Vec<InvalidValue>> {
        let text = value.get_ref().as_str().ok_or_else(|| InvalidValue::new(value, "is not text in quotes"))?;
        (self.0)(text).map_err(|why| InvalidValue::new(value, why))?;
        Ok(text.to_owned())
    }

    fn show(&self, value: &String) -> String {
        quote(value)
    }
}

/// A value that is written as text.
pub(in crate::config) struct Parsed<T> {
    parse: fn(&str) -> Result<T, &'static str>,
    /// Whether no message repeats the text: it may be a secret.
    is_hidden: bool,
}

impl<T> Parsed<T> {
    pub(in crate::config) fn new(parse: fn(&str) -> Result<T, &'static str>) -> Self {
        Self { parse, is_hidden: false }
    }

    pub(in crate::config) fn hidden(parse: fn(&str) -> Result<T, &'static str>) -> Self {
        Self { parse, is_hidden: true }
    }
}

impl<T: ToString> Format<T> for Parsed<T> {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<T, Vec<InvalidValue>> {
        let refuse =
            |why| if self.is_hidden { InvalidValue::hidden(value, why) } else { InvalidValue::new(value, why) };
        (self.parse)(value.get_ref().as_str().unwrap_or_default()).map_err(refuse)
    }

    fn show(&self, value: &T) -> String {
        quote(&value.to_string())
    }
}

/// A text of a short list, each with its meaning.
pub(in crate::config) struct Choice<T: 'static>(pub(in crate::config) &'static [(T, &'static str)]);

impl<T: Copy + PartialEq> Format<T> for Choice<T> {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<T, Vec<InvalidValue>> {
        let word = value.get_ref().as_str();
        self.0.iter().find(|(_, name)| Some(*name) == word).map(|(meaning, _)| *meaning).ok_or_else(|| {
            let names: Vec<_> = self.0.iter().map(|(_, name)| quote(name)).collect();
            InvalidValue::new(value, format_args!("is not one of {}", names.join(", ")))
        })
    }

    fn show(&self, value: &T) -> String {
        let name = self.0.iter().find(|(meaning, _)| meaning == value).map(|(_, name)| *name);
        quote(name.expect("the list has every word"))
    }
}

/// The path of a file, which is not opened here.
pub(in crate::config) struct File;

impl Format<PathBuf> for File {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<PathBuf, Vec<InvalidValue>> {
        match value.get_ref().as_str() {
            Some(path) if !path.is_empty() && path.len() < 4096 && !path.contains('\0') => Ok(path.into()),
            _ => Err(InvalidValue::new(value, r#"is not the path of a file; write for example "/etc/bramble/key""#)),
        }
    }

    fn show(&self, value: &PathBuf) -> String {
        quote(&value.to_string_lossy())
    }
}

/// An IP address and a port.
pub(in crate::config) enum Address {
    /// To listen at: port 0 takes a free one.
    Listen,
    /// To call.
    Peer,
}

impl Format<SocketAddr> for Address {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<SocketAddr, Vec<InvalidValue>> {
        let address: SocketAddr = value.get_ref().as_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
            InvalidValue::new(
                value,
                r#"is not an address and port; write for example "192.0.2.7:9001" or "[::1]:9001""#,
            )
        })?;
        match self {
            Self::Peer if address.port() == 0 => Err(InvalidValue::new(value, "has port 0, which cannot be called")),
            _ => Ok(address),
        }
    }

    fn show(&self, value: &SocketAddr) -> String {
        quote(&value.to_string())
    }
}

/// `[a-z][a-z0-9-]*` without a dash at its end, at most 32: with its random part it must fit a label of the DNS (63).
pub(super) fn is_service(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_name(name: &str) -> bool {
    name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

pub(in crate::config) fn cluster(name: &str) -> Result<(), &'static str> {
    if is_name(name) && !name.is_empty() {
        return Ok(());
    }
    Err("is not a cluster's name; allowed are 1 to 32 of A-Z, a-z, 0-9, -, _ and .")
}

pub(in crate::config) fn zone(name: &str) -> Result<(), &'static str> {
    if is_name(name) {
        return Ok(());
    }
    Err("is not a zone's name; allowed are up to 32 of A-Z, a-z, 0-9, -, _ and .")
}

pub(in crate::config) fn interface(name: &str) -> Result<(), &'static str> {
    // Linux: IFNAMSIZ is 16 with the closing zero; neither `/` nor white space (dev_valid_name).
    if (1..16).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic() && c != '/') {
        return Ok(());
    }
    Err(r#"is not a network interface; write for example "eth0""#)
}

pub(in crate::config) fn host_port(text: &str) -> Result<(), &'static str> {
    match text.rsplit_once(':') {
        Some((host, port)) if is_host(host) && is_port(port) => Ok(()),
        _ => Err(r#"is not a host and port; write for example "greeter:8080""#),
    }
}

pub(in crate::config) fn store(text: &str) -> Result<(), &'static str> {
    let wrong =
        r#"is not a store; allowed are "memory" and "redis://HOST", "redis://HOST:PORT" or "redis://HOST:PORT/DB""#;
    if text == "memory" {
        return Ok(());
    }
    let place = text.strip_prefix("redis://").ok_or(wrong)?;
    if place.contains('@') {
        return Err("has a user or a password in it; a password belongs into a file that cache.password_file names");
    }
    let (place, db) = place.split_once('/').unwrap_or((place, "0"));
    if !db.bytes().all(|b| b.is_ascii_digit()) || db.parse::<u16>().is_err() {
        return Err("has no number of a database after the slash; write for example \"redis://HOST:6379/1\"");
    }
    match is_host(place) || host_port(place).is_ok() {
        true if cfg!(feature = "redis") => Ok(()),
        true => Err("needs the cargo feature `redis` of bramble, and this program was built without it"),
        false => Err(wrong),
    }
}

/// Whether `host` is the name of a host, in letters of the DNS and `_`, or an IPv6 address in brackets.
pub fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        (1..64).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

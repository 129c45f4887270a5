//! Names, addresses and keys of a Pi.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::str::FromStr;

use toml::Spanned;
use toml::de::DeValue;

use super::names::is_host;
use super::{Kind, Wrong, quote};
use crate::config::pi::Addressing;

/// An IP address: of either family as `IpAddr`, IPv4 alone as `Ipv4Addr`.
pub(in crate::config) struct Ip<T>(PhantomData<T>);

impl<T> Default for Ip<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: FromStr + ToString> Kind<T> for Ip<T> {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<T, Vec<Wrong>> {
        let address = value.get_ref().as_str().and_then(|text| text.parse().ok());
        address.ok_or_else(|| Wrong::new(value, r#"is not an address; write for example "192.0.2.1""#))
    }

    fn show(&self, value: &T) -> String {
        quote(&value.to_string())
    }
}

/// `"dhcp"`, or an address with its network.
pub(in crate::config) struct Net;

impl Kind<Addressing> for Net {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Addressing, Vec<Wrong>> {
        match value.get_ref().as_str().unwrap_or_default() {
            "dhcp" => Ok(Addressing::Dhcp),
            text => text.parse().map(Addressing::Fixed).map_err(|why| Wrong::new(value, why)),
        }
    }

    fn show(&self, value: &Addressing) -> String {
        quote(&value.to_string())
    }
}

/// A public key of SSH. What stands in its place is never shown: it may be the private one.
pub(in crate::config) struct SshKey;

impl Kind<String> for SshKey {
    fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<String, Vec<Wrong>> {
        let text = value.get_ref().as_str().ok_or_else(|| Wrong::unseen(value, "is not text in quotes"))?.trim();
        ssh_key(text).map_err(|why| Wrong::unseen(value, why))?;
        Ok(text.to_owned())
    }

    fn show(&self, value: &String) -> String {
        quote(value)
    }
}

/// Whom dropbear lets in: its kinds of keys, without DSA, which it has given up.
const SSH_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// One line of an `authorized_keys` without options: type, key, and perhaps a comment.
pub(in crate::config) fn ssh_key(text: &str) -> Result<(), &'static str> {
    if text.contains("PRIVATE KEY") || text.starts_with("PuTTY-User-Key-File") {
        return Err(
            "is a private key, which must never leave its owner: delete it from this file, and since the card \
             was readable to others, make a new pair; what belongs here is the file that ends in .pub",
        );
    }
    if text.contains(char::is_control) || text.len() > 8192 {
        return Err("is more than one line; write each key in quotes of its own");
    }
    let mut words = text.split_ascii_whitespace();
    let (kind, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !SSH_TYPES.contains(&kind) {
        return Err(r#"is not a public key of SSH; write for example "ssh-ed25519 AAAA... you@home""#);
    }
    // The key begins with its type once more (RFC 4253, 6.6), so that one cut short or of another type is noticed.
    let blob = base64(key).ok_or("is a public key with a letter too many, too few or wrong; copy the line again")?;
    let rest = blob.strip_prefix(&[0, 0, 0]).and_then(|rest| rest.split_first());
    match rest {
        Some((length, rest)) if usize::from(*length) == kind.len() && rest.starts_with(kind.as_bytes()) => {}
        _ => return Err("is a public key of another type than it says; copy the line again"),
    }
    if !is_whole(&blob) {
        return Err("is a public key that is cut short; copy the line again");
    }
    Ok(())
}

/// Whether a key is a row of texts, each behind its length in four bytes (RFC 4251, 5), to its last byte.
fn is_whole(mut blob: &[u8]) -> bool {
    let mut fields = 0;
    while let Some((length, rest)) = blob.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some(rest) = rest.get(length..) else { return false };
        (blob, fields) = (rest, fields + 1);
    }
    blob.is_empty() && fields >= 2
}

/// Base64 (RFC 4648, 4) with its padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() % 4 != 0 || text.len() - digits.len() > 2 {
        return None;
    }
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len() / 4 * 3), 0_u32, 0_u32);
    for digit in digits.bytes() {
        let six = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    Some(bytes)
}

/// A label of the DNS (RFC 1123, 2.1), or nothing.
pub(in crate::config) fn hostname(name: &str) -> Result<(), &'static str> {
    if name.eq_ignore_ascii_case("localhost") {
        return Err("is what every computer calls itself; choose another name");
    }
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if name.len() <= 63 && letters && !name.starts_with('-') && !name.ends_with('-') {
        return Ok(());
    }
    Err("is not a name for a Pi; allowed are up to 63 of A-Z, a-z, 0-9 and -, with no - at its ends and no dot")
}

/// The name or the address of a time server.
pub(in crate::config) fn time_server(text: &str) -> Result<(), &'static str> {
    let is_number = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit());
    let is_name = is_host(text) && !text.starts_with('[') && !text.rsplit('.').next().is_some_and(is_number);
    if is_name || text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(r#"is not a time server; write for example "0.debian.pool.ntp.org" or "192.0.2.1""#)
}

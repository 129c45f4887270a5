//! Signed calls between services, so that a service works for its own cluster only: other hosts on the network may ask
//! it nothing that costs.
//!
//! What is signed are the method, the authority, the path and the query, as RFC 9421 names them, and the SHA-256 of a
//! body that the caller holds in memory. A body that is read while it is sent is not signed, which the header says;
//! neither are other headers. There is no clock in it and no memory of what was there before: an attacker that records
//! a signed request can send it again. For a GET it gets an answer that it could have recorded as well; a POST is done
//! once more.

use http_types::{Method, Url};
use ring::digest;

use super::key::{ClusterKey, Mismatch, Tag};

/// The header that carries the signature: `kid=NAME,sig=32 HEXADECIMAL DIGITS`; where the request has a body
/// `,body=SHA-256` as 64 hexadecimal digits, or `,body=streamed`.
pub const SIGNATURE: &str = "x-bramble-signature";

/// In place of the digest of a body that is read while it is sent, so that the signature does not cover it.
pub(crate) const STREAMED: &str = "streamed";

/// Keeps a request's signature from ever being a record's.
const DOMAIN: &[u8] = b"bramble request 1";

/// Why a request is none of the cluster's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsigned {
    #[error("it is not signed with the cluster's key")]
    Missing,
    #[error("its signature is not understood")]
    Garbled,
    #[error("it is signed with a key that is not known here")]
    UnknownKey,
    #[error("its signature does not fit")]
    Wrong,
    #[error("its signature is of another body")]
    OtherBody,
}

/// Digest of a body as [`sign`] takes it: 64 hexadecimal digits, or nothing for an empty body.
pub(crate) fn body_digest(body: &[u8]) -> String {
    if body.is_empty() {
        return String::new();
    }
    digest::digest(&digest::SHA256, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value of the header [`SIGNATURE`] for a request to `url`. `body` is its [`body_digest`] or [`STREAMED`].
pub(crate) fn sign(key: &ClusterKey, method: Method, url: &Url, body: &str) -> String {
    let (kid, tag) = with_parts(method, url, body, |parts| key.sign(parts));
    if body.is_empty() { format!("kid={kid},sig={tag}") } else { format!("kid={kid},sig={tag},body={body}") }
}

/// Checks that `header` is the cluster's signature of a request to `url`; returns the digest that its body must have,
/// or
/// [`STREAMED`].
pub(crate) fn verify<'h>(
    key: &ClusterKey,
    header: Option<&'h str>,
    method: Method,
    url: &Url,
) -> Result<&'h str, Unsigned> {
    let header = header.ok_or(Unsigned::Missing)?;
    let (kid, rest) = header.strip_prefix("kid=").and_then(|rest| rest.split_once(",sig=")).ok_or(Unsigned::Garbled)?;
    let (tag, body) = rest.split_once(",body=").unwrap_or((rest, ""));
    let tag = Tag::parse(tag).ok_or(Unsigned::Garbled)?;
    match with_parts(method, url, body, |parts| key.verify(kid, tag, parts)) {
        Ok(()) => Ok(body),
        Err(Mismatch::UnknownKey) => Err(Unsigned::UnknownKey),
        Err(Mismatch::Wrong) => Err(Unsigned::Wrong),
    }
}

/// Calls `then` with what is signed. Without a body there is no part for it.
fn with_parts<T>(method: Method, url: &Url, body: &str, then: impl FnOnce(&[&[u8]]) -> T) -> T {
    let port = url.port_or_known_default().unwrap_or_default().to_be_bytes();
    let host = url.host_str().unwrap_or_default();
    let query = url.query().unwrap_or_default();
    let (method, path) = (method.as_ref().as_bytes(), url.path().as_bytes());
    let parts = [DOMAIN, method, host.as_bytes(), &port, path, query.as_bytes(), body.as_bytes()];
    then(if body.is_empty() { &parts[..parts.len() - 1] } else { &parts })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "spring:a secret of the cluster";

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn each_thing_a_request_says_is_signed() {
        let key = ClusterKey::of(SECRET);
        let asked = url("http://192.0.2.7:4711/weather?zip=70569&country=DE");
        let header = sign(&key, Method::Get, &asked, "");
        assert_eq!(verify(&key, Some(&header), Method::Get, &asked), Ok(""));
        assert_eq!(verify(&key, Some(&header), Method::Head, &asked), Err(Unsigned::Wrong));
        for other in [
            "http://192.0.2.8:4711/weather?zip=70569&country=DE",
            "http://192.0.2.7:4712/weather?zip=70569&country=DE",
            "http://192.0.2.7:4711/weathe?rzip=70569&country=DE",
            "http://192.0.2.7:4711/weather?zip=70569&country=AT",
            "http://192.0.2.7:4711/weather",
        ] {
            assert_eq!(verify(&key, Some(&header), Method::Get, &url(other)), Err(Unsigned::Wrong), "{other}");
        }
    }

    #[test]
    fn the_digest_of_the_body_is_signed_and_so_is_that_there_is_none() {
        let (key, asked) = (ClusterKey::of(SECRET), url("http://192.0.2.7:4711/greeting"));
        let digest = body_digest(b"{}");
        assert_eq!(digest, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
        for body in ["", &digest, STREAMED] {
            let header = sign(&key, Method::Post, &asked, body);
            assert_eq!(verify(&key, Some(&header), Method::Post, &asked), Ok(body));
            let bare = header.split(",body=").next().unwrap_or_default();
            for other in ["", &body_digest(b"[]"), STREAMED].into_iter().filter(|other| *other != body) {
                let forged = if other.is_empty() { bare.to_owned() } else { format!("{bare},body={other}") };
                assert_eq!(verify(&key, Some(&forged), Method::Post, &asked), Err(Unsigned::Wrong), "{forged}");
            }
        }
    }

    #[test]
    fn the_port_that_http_leaves_out_is_the_same_as_when_it_is_named() {
        let key = ClusterKey::of(SECRET);
        let header = sign(&key, Method::Get, &url("http://192.0.2.7:80/weather"), "");
        assert_eq!(verify(&key, Some(&header), Method::Get, &url("http://192.0.2.7/weather")), Ok(""));
    }

    #[test]
    fn what_is_no_signature_is_told_apart_from_a_wrong_one() {
        let key = ClusterKey::of(SECRET);
        let asked = url("http://192.0.2.7:4711/weather");
        let of = |header: Option<&str>| verify(&key, header, Method::Get, &asked).expect_err("not ours");
        assert_eq!(of(None), Unsigned::Missing);
        for garbled in ["", "spring", "kid=spring", "kid=spring,sig=", "kid=spring,sig=xyz", "sig=0,kid=spring"] {
            assert_eq!(of(Some(garbled)), Unsigned::Garbled, "{garbled}");
        }
        let zeros = "0".repeat(32);
        assert_eq!(of(Some(&format!("kid=autumn,sig={zeros}"))), Unsigned::UnknownKey);
        assert_eq!(of(Some(&format!("kid=spring,sig={zeros}"))), Unsigned::Wrong);
    }

    #[test]
    fn a_flipped_bit_anywhere_in_the_header_is_refused() {
        let key = ClusterKey::of(SECRET);
        let asked = url("http://192.0.2.7:4711/weather");
        let header = sign(&key, Method::Get, &asked, &body_digest(b"a body")).into_bytes();
        for bit in 0..header.len() * 8 {
            let mut flipped = header.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(flipped) = String::from_utf8(flipped) else { continue }; // no such header comes through
            assert!(verify(&key, Some(&flipped), Method::Get, &asked).is_err(), "{flipped}");
        }
    }
}

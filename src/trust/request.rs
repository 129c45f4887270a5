//! Signed calls between services, so that a service works for its own cluster only: other hosts on the network may ask
//! it nothing that costs.
//!
//! What is signed are the method, the authority, the path and the query, as RFC 9421 names them. There is no clock in
//! it and no memory of what was there before: an attacker that records a signed request can send it again, and gets the
//! answer to the same question, which it could have recorded as well. No request between services has a body.

use http_types::{Method, Url};

use super::key::{ClusterKey, Mismatch, Tag};

/// The header that carries the signature: `kid=NAME,sig=32 HEXADECIMAL DIGITS`.
pub const SIGNATURE: &str = "x-bramble-signature";

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
}

/// The value of the header [`SIGNATURE`] for a request to `url`.
pub(crate) fn sign(key: &ClusterKey, method: Method, url: &Url) -> String {
    let (kid, tag) = with_parts(method, url, |parts| key.sign(parts));
    format!("kid={kid},sig={tag}")
}

/// Whether `header` is the cluster's signature of a request to `url`.
pub(crate) fn verify(key: &ClusterKey, header: Option<&str>, method: Method, url: &Url) -> Result<(), Unsigned> {
    let header = header.ok_or(Unsigned::Missing)?;
    let read = header.strip_prefix("kid=").and_then(|rest| rest.split_once(",sig="));
    let (kid, tag) = read.and_then(|(kid, tag)| Some((kid, Tag::parse(tag)?))).ok_or(Unsigned::Garbled)?;
    with_parts(method, url, |parts| key.verify(kid, tag, parts)).map_err(|mismatch| match mismatch {
        Mismatch::UnknownKey => Unsigned::UnknownKey,
        Mismatch::Wrong => Unsigned::Wrong,
    })
}

fn with_parts<T>(method: Method, url: &Url, then: impl FnOnce(&[&[u8]]) -> T) -> T {
    let port = url.port_or_known_default().unwrap_or_default().to_be_bytes();
    let host = url.host_str().unwrap_or_default();
    let query = url.query().unwrap_or_default();
    then(&[DOMAIN, method.as_ref().as_bytes(), host.as_bytes(), &port, url.path().as_bytes(), query.as_bytes()])
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
        let header = sign(&key, Method::Get, &asked);
        assert_eq!(verify(&key, Some(&header), Method::Get, &asked), Ok(()));
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
    fn the_port_that_http_leaves_out_is_the_same_as_when_it_is_named() {
        let key = ClusterKey::of(SECRET);
        let header = sign(&key, Method::Get, &url("http://192.0.2.7:80/weather"));
        assert_eq!(verify(&key, Some(&header), Method::Get, &url("http://192.0.2.7/weather")), Ok(()));
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
        let header = sign(&key, Method::Get, &asked).into_bytes();
        for bit in 0..header.len() * 8 {
            let mut flipped = header.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(flipped) = String::from_utf8(flipped) else { continue }; // no such header comes through
            assert!(verify(&key, Some(&flipped), Method::Get, &asked).is_err(), "{flipped}");
        }
    }
}

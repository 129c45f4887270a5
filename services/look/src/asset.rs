//! Stylesheet, icon and script, fetched once: the address of each names its content, so browsers may keep it for ever.

use tide::http::headers::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use tide::{Response, StatusCode};

/// A file that is part of the program.
#[derive(Debug)]
pub struct Asset {
    /// Where it is served.
    pub path: &'static str,
    content_type: &'static str,
    body: &'static str,
    hash: u64,
}

/// The stylesheet of every page.
pub const STYLE: Asset = Asset::new("/style.css", "text/css; charset=utf-8", include_str!("style.css"));

/// A bramble berry.
pub const FAVICON: Asset = Asset::new("/favicon.svg", "image/svg+xml", include_str!("favicon.svg"));

impl Asset {
    /// A file to be served at `path`.
    pub const fn new(path: &'static str, content_type: &'static str, body: &'static str) -> Self {
        Self { path, content_type, body, hash: fnv1a(body.as_bytes()) }
    }

    /// The address to link to; another content has another address.
    pub fn href(&self) -> String {
        format!("{}?v={:016x}", self.path, self.hash)
    }

    /// The file, or 304 if the browser has it. Only under its full address is it kept without asking again.
    pub fn answer<S>(&self, request: &tide::Request<S>) -> Response {
        let tag = format!("\"{:016x}\"", self.hash);
        let known = request
            .header(IF_NONE_MATCH)
            .is_some_and(|values| values.as_str().split(',').any(|one| one.trim().trim_start_matches("W/") == tag));
        let current = request.url().query().is_some_and(|query| query == format!("v={:016x}", self.hash));
        let response = Response::builder(if known { StatusCode::NotModified } else { StatusCode::Ok })
            .header(ETAG, tag)
            .header(CACHE_CONTROL, if current { "public, max-age=31536000, immutable" } else { "no-cache" });
        if known {
            return response.build();
        }
        response.body(self.body).content_type(self.content_type).build()
    }
}

/// FNV-1a, 64 bit (Fowler, Noll, Vo): tells versions of one file apart; a collision would be of no use to an attacker.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        // Test vectors of draft-eastlake-fnv.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}

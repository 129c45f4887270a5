//! A request that is ready to be sent: what all attempts of a call have in common.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::HeaderMap;
use http::uri::PathAndQuery;

use super::answer::Answer;
use crate::call::Repeat;
use crate::transport::client::Payload;
use crate::trust::request;

/// Predicate that tells an answer of the service from that of another server.
pub(super) type Validator<'a> = &'a (dyn Fn(&Answer) -> bool + Sync);

/// Request that all attempts of a call share.
pub(super) struct Prepared<'a> {
    pub(super) method: http::Method,
    pub(super) path: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) deadline: Instant,
    pub(super) home: Option<&'a str>,
    pub(super) validator: Option<Validator<'a>>,
    pub(super) may_hedge: bool,
    pub(super) repeat: Repeat,
    pub(super) payload: Mutex<Payload>,
}

impl Prepared<'_> {
    /// Digest of the body that a signature covers, or the word for one that is read while it is sent.
    pub(super) fn body_digest(&self) -> String {
        match &*self.payload.lock().unwrap_or_else(PoisonError::into_inner) {
            Payload::Empty => String::new(),
            Payload::Full(body) => request::body_digest(body),
            Payload::Stream(_) => request::STREAMED.to_owned(),
        }
    }

    /// The body for one attempt. A stream is there for the first one only, and [`Repeat::Never`] says so.
    pub(super) fn payload(&self) -> Payload {
        let mut payload = self.payload.lock().unwrap_or_else(PoisonError::into_inner);
        payload.again().unwrap_or_else(|| std::mem::replace(&mut *payload, Payload::Empty))
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::{future, io};
    use http_types::Body;

    use super::*;
    use crate::transport::client::read_payload;

    fn digest_of(body: Body) -> String {
        let payload = future::block_on(read_payload(body)).expect("a body in memory");
        let prepared = Prepared {
            method: http::Method::POST,
            path: PathAndQuery::from_static("/greeting"),
            headers: HeaderMap::new(),
            deadline: Instant::now(),
            home: None,
            validator: None,
            may_hedge: false,
            repeat: Repeat::Never,
            payload: Mutex::new(payload),
        };
        prepared.body_digest()
    }

    #[test]
    fn a_body_that_is_held_is_signed_by_its_digest_and_one_that_is_read_while_it_is_sent_is_not() {
        assert_eq!(digest_of(Body::empty()), "");
        assert_eq!(digest_of(Body::from("Hello, Ada!")), request::body_digest(b"Hello, Ada!"));
        assert_eq!(digest_of(Body::from_reader(io::Cursor::new("Hello, Ada!"), None)), request::STREAMED);
    }
}

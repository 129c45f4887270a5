//! A request that is ready to be sent: what all attempts of a call have in common.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::HeaderMap;
use http::uri::PathAndQuery;

use super::answer::Answer;
use crate::call::Repeat;
use crate::transport::client::Payload;

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
    /// The body for one attempt. A stream is there for the first one only, and [`Repeat::Never`] says so.
    pub(super) fn payload(&self) -> Payload {
        let mut payload = self.payload.lock().unwrap_or_else(PoisonError::into_inner);
        payload.again().unwrap_or_else(|| std::mem::replace(&mut *payload, Payload::Empty))
    }
}

//! One request to one instance, and what its outcome teaches. Dropped, it closes its connection, gives its permit back
//! and teaches nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_types::headers::RETRY_AFTER;
use http_types::{Method, Request, Url};

use super::watch::Watch;
use super::{Answer, Call, Error, TIME_LEFT, TRACE};
use crate::balance::Pick;
use crate::breaker::Outcome;
use crate::transport::client::{Deadline, Error as WireError};
use crate::trust::{ClusterKey, request};

/// A request that is about to be sent.
pub(super) struct Attempt {
    request: Request,
    pick: Pick,
    started: Instant,
}

impl Attempt {
    /// A request for `pick`, with as much time as `attempt_timeout` and the call's deadline leave.
    pub(super) fn new(call: &Call<'_>, pick: Pick, attempt_timeout: Duration, now: Instant) -> Self {
        let deadline = call.deadline.min(now + attempt_timeout);
        let url = format!("http://{}{}", pick.endpoint().address(), call.path);
        let url = Url::parse(&url).expect("an address and an escaped path make a URL");
        let mut request = Request::new(Method::Get, url);
        let left = deadline.saturating_duration_since(now).as_millis();
        request.insert_header(TIME_LEFT, left.to_string());
        if let Some(trace) = call.trace.filter(|trace| is_trace(trace)) {
            request.insert_header(TRACE, trace);
        }
        request.ext_mut().insert(Deadline(deadline));
        Self { request, pick, started: now }
    }

    /// Signed, if the cluster has a key.
    pub(super) fn signed(mut self, key: Option<&ClusterKey>) -> Self {
        if let Some(key) = key {
            let signature = request::sign(key, self.request.method(), self.request.url());
            self.request.insert_header(request::SIGNATURE, signature);
        }
        self
    }

    /// Sends it, teaches the balancer, and says whether another instance might do better.
    pub(super) async fn run(self, surf: &surf::Client, watch: &Watch) -> Ended {
        let Self { request, pick, started } = self;
        let endpoint = Arc::clone(pick.endpoint());
        let from: Arc<str> = endpoint.id().into();
        let answer = send(surf, request, &from).await;
        let now = Instant::now();
        let outcome = match &answer {
            Ok(answer) => of_status(answer, now - started),
            Err(error) => of_error(error),
        };
        let generation = endpoint.breaker().generation();
        pick.finish(outcome, now);
        if endpoint.breaker().generation() != generation {
            watch.add(&endpoint, generation);
        }
        // Who has no key in common with this node yet is as well as ever, and another may have one.
        let is_forbidden = answer.as_ref().is_ok_and(|answer| is_forbidden(answer.status));
        let may_ask_again = is_forbidden || !matches!(outcome, Outcome::Success { .. } | Outcome::Ignored);
        Ended { answer: answer.map_err(|cause| Error::Failed { instance: from, cause }), may_ask_again }
    }
}

/// How an attempt ended.
pub(super) struct Ended {
    pub(super) answer: Result<Answer, Error>,
    /// Whether another instance might do better.
    pub(super) may_ask_again: bool,
}

async fn send(surf: &surf::Client, request: Request, from: &Arc<str>) -> surf::Result<Answer> {
    let mut response = surf.send(request).await?;
    let retry_after = response.header(RETRY_AFTER).and_then(|value| value.as_str().trim().parse().ok());
    let body = response.body_bytes().await?;
    Ok(Answer {
        status: response.status().into(),
        body,
        retry_after: retry_after.map(Duration::from_secs),
        from: Arc::clone(from),
    })
}

/// Whether whoever was asked works for others only.
pub(super) fn is_forbidden(status: u16) -> bool {
    matches!(status, 401 | 403)
}

/// What a status says about who sent it. That a place is unknown or a question wrong says nothing.
fn of_status(answer: &Answer, latency: Duration) -> Outcome {
    match answer.status {
        429 => Outcome::Rejected { retry_after: answer.retry_after },
        500.. => Outcome::Failure,
        400.. => Outcome::Ignored,
        _ => Outcome::Success { latency },
    }
}

fn of_error(error: &surf::Error) -> Outcome {
    match WireError::of(error) {
        Some(error) if error.is_refused() => Outcome::Refused,
        Some(error) if error.is_timeout() => Outcome::Timeout,
        _ => Outcome::Failure,
    }
}

/// Whether there is no answer because it took too long.
pub(super) fn is_timeout(answer: &Result<Answer, Error>) -> bool {
    match answer {
        Err(Error::Failed { cause, .. }) => of_error(cause) == Outcome::Timeout,
        _ => false,
    }
}

/// Whether this is a W3C `traceparent`: it goes into headers and logs, so nothing else may pass.
pub(crate) fn is_trace(text: &str) -> bool {
    text.len() == 55 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Answer {
        Answer { status, body: Vec::new(), retry_after: Some(Duration::from_secs(7)), from: "producer-a".into() }
    }

    #[test]
    fn an_unknown_place_and_a_bad_question_are_no_fault_of_who_was_asked() {
        for status in [400, 401, 403, 404, 405] {
            assert_eq!(of_status(&answer(status), Duration::ZERO), Outcome::Ignored);
        }
        assert_eq!(of_status(&answer(503), Duration::ZERO), Outcome::Failure);
        assert_eq!(of_status(&answer(200), Duration::ZERO), Outcome::Success { latency: Duration::ZERO });
        let patience = Some(Duration::from_secs(7));
        assert_eq!(of_status(&answer(429), Duration::ZERO), Outcome::Rejected { retry_after: patience });
    }

    #[test]
    fn only_a_trace_is_passed_on_as_one() {
        assert!(is_trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for forged in ["", "00-4bf9", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nx: y"] {
            assert!(!is_trace(forged), "{forged:?}");
        }
    }
}

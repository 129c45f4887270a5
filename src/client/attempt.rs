//! One request to one instance, and what its outcome teaches. Dropped, it closes its connection, gives its permit back
//! and teaches nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_types::headers::RETRY_AFTER;
use http_types::{Method, Request, Url};

use super::attempts::Notes;
use super::callee::Callee;
use super::{Answer, Call, Error, TIME_LEFT, TRACE};
use crate::balance::Pick;
use crate::breaker::Outcome;
use crate::telemetry::Event;
use crate::transport::client::{Deadline, Error as WireError};
use crate::trust::{ClusterKey, request};

/// A request that is about to be sent.
pub(super) struct Attempt {
    request: Request,
    pick: Pick,
    notes: Option<Arc<Notes>>,
    started: Instant,
    /// Whether it got the time that an attempt is meant to have: who is given less and is late has done nothing wrong.
    is_fair: bool,
}

impl Attempt {
    /// A request for `pick`, with as much time as `attempt_timeout` and the call's deadline leave.
    pub(super) fn new(callee: &Callee, call: &Call<'_>, pick: Pick, attempt_timeout: Duration, now: Instant) -> Self {
        let deadline = call.deadline.min(now + attempt_timeout);
        let endpoint = pick.endpoint();
        let notes = callee.attempts.at(endpoint.id(), endpoint.address());
        let url = match &notes {
            Some(notes) => Url::options().base_url(Some(&notes.base)).parse(call.path),
            None => Url::parse(&format!("http://{}{}", endpoint.address(), call.path)),
        };
        let mut request = Request::new(Method::Get, url.expect("a path that begins with one slash makes a URL"));
        let left = deadline.saturating_duration_since(now);
        request.insert_header(TIME_LEFT, left.as_millis().to_string());
        if let Some(trace) = call.trace.filter(|trace| is_trace(trace)) {
            request.insert_header(TRACE, trace);
        }
        request.ext_mut().insert(Deadline(deadline));
        Self { request, pick, notes, started: now, is_fair: is_fair(left, attempt_timeout) }
    }

    /// Signed, if the cluster has a key.
    pub(super) fn signed(mut self, key: Option<&ClusterKey>) -> Self {
        if let Some(key) = key {
            let signature = request::sign(key, self.request.method(), self.request.url());
            self.request.insert_header(request::SIGNATURE, signature);
        }
        self
    }

    /// Sends it, teaches the balancer, notes the outcome, and says whether another instance might do better.
    pub(super) async fn run(self, surf: &surf::Client, callee: &Callee) -> Ended {
        let Self { request, pick, notes, started, is_fair } = self;
        let endpoint = Arc::clone(pick.endpoint());
        let from: Arc<str> = endpoint.id().into();
        if let Some(Notes { attempts, .. }) = notes.as_deref() {
            attempts.begun(endpoint.in_flight(), started);
        }
        let answer = send(surf, request, &from).await;
        let now = Instant::now();
        let outcome = match &answer {
            Ok(answer) => of_status(answer, now - started),
            Err(error) => of_error(error),
        };
        let generation = endpoint.breaker().generation();
        pick.finish(lesson(outcome, &answer, is_fair), now);
        let took = (outcome != Outcome::Refused).then_some(now - started);
        if let Some(Notes { attempts, .. }) = notes.as_deref() {
            attempts.ended(outcome.into(), took, now);
        }
        if let Some(took) = took {
            callee.calls.attempted(took, now);
        }
        if endpoint.breaker().generation() != generation {
            callee.watch.add(&endpoint, generation);
        }
        // Who has no key in common with this node yet is as well as ever, and another may have one.
        let is_forbidden = answer.as_ref().is_ok_and(|answer| is_forbidden(answer.status));
        let may_ask_again = is_forbidden || !matches!(outcome, Outcome::Success { .. } | Outcome::Ignored);
        let answer = answer.map_err(|cause| Error::Failed { instance: from, cause });
        Ended { answer, may_ask_again, refused: outcome == Outcome::Refused }
    }
}

/// How an attempt ended.
pub(super) struct Ended {
    pub(super) answer: Result<Answer, Error>,
    /// Whether another instance might do better.
    pub(super) may_ask_again: bool,
    /// Whether the connection was refused, so that nobody has worked on it.
    pub(super) refused: bool,
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

/// Whether a call that is given `left` has the time that calls are meant to have. Who asks decides how long it waits; so
/// half of the usual is the least that says anything about who is asked, or anybody could open every circuit.
pub(super) fn is_fair(left: Duration, attempt_timeout: Duration) -> bool {
    left >= attempt_timeout / 2
}

/// What the circuit learns of an outcome: of a time that was too short, nothing.
fn lesson(outcome: Outcome, answer: &surf::Result<Answer>, is_fair: bool) -> Outcome {
    let is_late = outcome == Outcome::Timeout || answer.as_ref().is_ok_and(|answer| answer.status == 504);
    if is_late && !is_fair { Outcome::Ignored } else { outcome }
}

/// What the service's own circuit learns of a whole call. That it was slow is the endpoints' matter: there is nobody
/// else to go to, and a slow answer is better than none.
pub(super) fn verdict(result: &Result<Answer, Error>, is_fair: bool) -> Outcome {
    let outcome = match result {
        Ok(answer) if answer.status == 504 => Outcome::Timeout,
        Ok(answer) => of_status(answer, Duration::ZERO),
        Err(Error::Failed { cause, .. }) => of_error(cause),
        Err(Error::DeadlineExceeded { .. }) => Outcome::Timeout,
        Err(_) => Outcome::Ignored,
    };
    match outcome {
        Outcome::Timeout if !is_fair => Outcome::Ignored,
        // One endpoint that refuses or asks for patience does not speak for all.
        Outcome::Refused => Outcome::Failure,
        Outcome::Rejected { .. } => Outcome::Rejected { retry_after: None },
        outcome => outcome,
    }
}

/// What became of a whole call.
pub(super) fn event(result: &Result<Answer, Error>) -> Event {
    match result {
        Ok(answer) => of_status(answer, Duration::ZERO).into(),
        Err(Error::Failed { cause, .. }) => of_error(cause).into(),
        Err(Error::DeadlineExceeded { .. }) => Event::Timeout,
        Err(Error::NobodyThere { .. } | Error::AllOpen { .. }) => Event::ShortCircuited,
        Err(Error::BadPath) => Event::BadRequest,
        Err(Error::Full { .. }) => Event::Full,
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
    fn a_whole_call_counts_under_one_name_whatever_became_of_it() {
        let service: Arc<str> = "producer".into();
        let failed = || surf::Error::from_str(surf::StatusCode::BadGateway, "broken");
        for (result, expected) in [
            (Ok(answer(200)), Event::Success),
            (Ok(answer(404)), Event::BadRequest),
            (Ok(answer(429)), Event::Rejected),
            (Ok(answer(503)), Event::Failure),
            (Err(Error::Failed { instance: "producer-a".into(), cause: failed() }), Event::Failure),
            (Err(Error::DeadlineExceeded { service: Arc::clone(&service) }), Event::Timeout),
            (Err(Error::NobodyThere { service: Arc::clone(&service), why: String::new() }), Event::ShortCircuited),
            (Err(Error::AllOpen { service: Arc::clone(&service), retry_at: None }), Event::ShortCircuited),
            (Err(Error::Full { service: Arc::clone(&service), max: 1 }), Event::Full),
        ] {
            assert_eq!(event(&result), expected, "{result:?}");
        }
    }

    #[test]
    fn who_is_given_too_little_time_and_is_late_has_done_nothing_wrong() {
        let usual = Duration::from_millis(1300);
        assert!(is_fair(usual, usual) && is_fair(usual / 2, usual) && !is_fair(Duration::from_millis(1), usual));
        let late: Result<Answer, Error> = Err(Error::DeadlineExceeded { service: "producer".into() });
        assert_eq!(verdict(&late, true), Outcome::Timeout);
        assert_eq!(verdict(&late, false), Outcome::Ignored);
        assert_eq!(verdict(&Ok(answer(504)), false), Outcome::Ignored);
        assert_eq!(lesson(Outcome::Failure, &Ok(answer(504)), false), Outcome::Ignored);
        assert_eq!(lesson(Outcome::Failure, &Ok(answer(500)), false), Outcome::Failure);
    }

    #[test]
    fn one_instance_that_asks_for_patience_does_not_speak_for_the_service() {
        assert_eq!(verdict(&Ok(answer(429)), true), Outcome::Rejected { retry_after: None });
        assert_eq!(verdict(&Ok(answer(404)), true), Outcome::Ignored);
        assert_eq!(verdict(&Ok(answer(200)), true), Outcome::Success { latency: Duration::ZERO });
        assert_eq!(verdict(&Ok(answer(503)), true), Outcome::Failure);
    }

    #[test]
    fn only_a_trace_is_passed_on_as_one() {
        assert!(is_trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for forged in ["", "00-4bf9", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nx: y"] {
            assert!(!is_trace(forged), "{forged:?}");
        }
    }
}

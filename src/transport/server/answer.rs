//! Requests on their way to tide and back. A handler may do what it wants, panic included: the peer gets an answer.

use std::any::Any;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures_lite::prelude::*;
use http::HeaderName;
use http_body::Body as _;
use hyper::body::Incoming;

use super::admission::Entry;
use super::body::ResponseBody;
use super::convert::{self, Peer};
use super::progress::Progress;
use super::{Shared, refusal};
use crate::transport::ID_HEADER;

const ID: HeaderName = HeaderName::from_static(ID_HEADER);

/// Resources of the connection that a request needs.
pub(super) struct Session<S> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) progress: Arc<Progress>,
    pub(super) peer: Peer,
}

/// Never fails: whatever goes wrong is an answer, too.
///
/// The request is admitted, and taken over if it is, at once, not when the future is polled: hyper reads on in between,
/// and uses its buffer again only if nothing of the head is left in it.
pub(super) fn answer<S: Clone + Send + Sync + 'static>(
    session: Arc<Session<S>>,
    request: http::Request<Incoming>,
) -> impl Future<Output = Result<http::Response<ResponseBody>, Infallible>> + Send {
    session.progress.handling();
    let mut entry = Entry::outside(Arc::clone(&session));
    let mut request = if admit(&mut entry, &request) {
        convert::request(request, &session.peer, session.shared.limits.max_body, &session.progress)
    } else {
        Err(&refusal::OVERLOADED)
    };
    if let Ok(request) = &mut request {
        entry.extend(request);
    }
    async move {
        let Session { shared, progress, .. } = &*session;
        let mut response = match request {
            // Not in a function of its own: hyper keeps the place of this future, and a request in it is 400 bytes.
            Ok(request) => {
                let mut handler = pin!(AssertUnwindSafe(shared.app.respond(request)).catch_unwind());
                match poll_fn(|cx| entry.poll(cx, |cx| handler.as_mut().poll(cx))).await {
                    Ok(handled) => handled_as(handled, &session),
                    Err(refusal) => convert::overloaded(&refusal, Arc::clone(progress)),
                }
            }
            Err(refusal) => match entry.refusal() {
                Some(refusal) => convert::overloaded(refusal, Arc::clone(progress)),
                None => convert::refused(refusal, Arc::clone(progress)),
            },
        };
        if let Some(id) = &shared.id {
            response.headers_mut().insert(ID, id.clone());
        }
        shared.stats.answered(response.status().as_u16());
        progress.answering();
        Ok(response)
    }
}

/// Decides whether the request is worked on, before it is looked at any further.
fn admit<S>(entry: &mut Entry<S>, request: &http::Request<Incoming>) -> bool {
    if entry.session.shared.unlimited.contains(&request.uri().path()) {
        return true;
    }
    let admitted = entry.arrive(request.headers());
    if !admitted && !request.body().is_end_stream() {
        entry.session.progress.leave_unread();
    }
    admitted
}

/// Answer to the peer, of the handler's result.
fn handled_as<S>(
    handled: std::thread::Result<http_types::Result<http_types::Response>>,
    Session { shared, progress, .. }: &Session<S>,
) -> http::Response<ResponseBody> {
    if progress.was_body_too_large() {
        return convert::refused(&refusal::BODY_TOO_LARGE, Arc::clone(progress));
    }
    let mut response = match handled {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            log::error!("request not answered: {error}");
            http_types::Response::new(error.status())
        }
        Err(panic) => {
            shared.stats.panics.fetch_add(1, Relaxed);
            log::error!("handler panicked: {}", message(&*panic));
            return convert::refused(&refusal::PANIC, Arc::clone(progress));
        }
    };
    // The answer of tide's router to a method that its path does not have.
    if response.status() == http_types::StatusCode::MethodNotAllowed && response.is_empty() == Some(true) {
        response.set_body(refusal::METHOD_OF_PATH.body());
        response.set_content_type(http_types::mime::JSON);
    }
    convert::response(response, Arc::clone(progress))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

//! The buttons of the demo. The page passes on each press; the demo's parent process, which owns the children, acts on
//! it.

use std::time::Duration;

use bramble_look::same_origin::is_same_origin;
use surf::http::Method;
use tide::{Request, Response, StatusCode};

use crate::site::SITE;
use crate::state::State;

/// Time for what a button asks for; a restart waits for a goodbye of 1.5 s.
const PRESS_TIMEOUT: Duration = Duration::from_secs(8);

/// Passes on what a button was pressed for. The browser then shows the page again.
pub(crate) async fn press(request: Request<State>) -> tide::Result {
    let state = request.state();
    let Some(control) = &state.demo else { return Ok(Response::new(StatusCode::NotFound)) };
    if !is_same_origin(request.as_ref()) {
        let why = "This POST does not come from the page of all services: it has neither Sec-Fetch-Site: same-origin \
                   nor an Origin that is its Host.";
        return Ok(refused(StatusCode::Forbidden, why, "Press the button on that page."));
    }
    let path = request.param("deed").unwrap_or_default();
    let is_plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'/');
    if !is_plain {
        return Ok(Response::new(StatusCode::NotFound));
    }
    match control.ask(Method::Post, path, PRESS_TIMEOUT).await {
        Ok(_) => Ok(Response::builder(StatusCode::SeeOther).header("location", "/#demo").build()),
        Err(why) if why.is_empty() => Ok(refused(StatusCode::NotFound, "The demo has no such button.", BUTTONS)),
        Err(why) => Ok(refused(StatusCode::Conflict, &sentence(&why), BUTTONS)),
    }
}

/// Advice after a button was refused.
const BUTTONS: &str = "The page of all services shows what became of each producer, and its buttons.";

/// The page for the address of a button that is opened as if it were a page.
pub(crate) async fn is_a_button(_: Request<State>) -> tide::Result {
    let why = "This is the address of a button of the demo, which sends POST; nothing has been done.";
    let mut response = refused(StatusCode::MethodNotAllowed, why, "Press the button on the page of all services.");
    response.insert_header("allow", "POST");
    Ok(response)
}

fn refused(status: StatusCode, why: &str, advice: &str) -> Response {
    SITE.failure(status, "The demo has not done that", why, advice)
}

/// With a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    first + rest.as_str().trim_end_matches('.') + "."
}

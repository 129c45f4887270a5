//! The demo's section of the page: what its parent process did to each producer and to the weather API, and a button for
//! each thing that can be done. The page passes on what is pressed; the parent process, which owns the children, does it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bramble::client::Deadline;
use bramble_look::same_origin::is_same_origin;
use serde::{Deserialize, Serialize};
use surf::http::Method;
use surf::{Request as Ask, Url};
use tide::{Request, Response, StatusCode};

use crate::State;
use crate::page::SITE;

/// Time for what a button asks for; a restart waits for a goodbye of 1.5 s.
const PRESS_TIMEOUT: Duration = Duration::from_secs(8);
/// Time to tell the state, as long as services have for theirs; it waits while a button's work is done.
const STATE_TIMEOUT: Duration = Duration::from_secs(3);

/// The demo's children, as its parent process tells of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DemoState {
    /// By number, from 1.
    pub producers: Vec<DemoProducer>,
    /// The stand-in for the weather API.
    pub weather_api: ApiState,
}

/// A producer of the demo.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DemoProducer {
    /// `producer 1`.
    pub name: String,
    /// Where it serves, or did until it ended; none before it does.
    pub addr: Option<SocketAddr>,
    /// What became of it.
    pub state: ProducerState,
}

/// What became of a producer of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProducerState {
    /// It runs as it was started.
    Running,
    /// It runs again, as a new process at the old address.
    Restarted,
    /// It stands still most of the time, for half a minute.
    Slow,
    /// It was told to end and does not take calls any more.
    Stopping,
    /// It ended because it was told to.
    Stopped,
    /// It was killed by its button.
    Killed,
    /// It ended by itself, or by a signal from outside of the demo.
    Ended,
}

/// Whether the stand-in answers as the weather API does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiState {
    /// It answers.
    Working,
    /// It fails calls, or lets them hang.
    Broken,
    /// It does not run, or does not tell.
    Unknown,
}

/// Client of the demo's parent process.
#[derive(Debug)]
pub(crate) struct DemoControl {
    client: surf::Client,
    /// Ends without a slash. Its last part is a secret that permits everything, so it is never shown.
    url: String,
}

impl DemoControl {
    pub(crate) fn new(client: surf::Client, url: String) -> Self {
        Self { client, url }
    }

    /// The state of the demo; none if its parent process does not answer in time.
    pub(crate) async fn state(&self) -> Option<DemoState> {
        let told = self.ask(Method::Get, "state", STATE_TIMEOUT).await;
        let state = told.and_then(|body| serde_json::from_slice(&body).map_err(|error| error.to_string()));
        state.inspect_err(|why| log::debug!("state of the demo: {why}")).ok()
    }

    async fn ask(&self, method: Method, path: &str, timeout: Duration) -> Result<Vec<u8>, String> {
        let url = Url::parse(&format!("{}/{path}", self.url)).map_err(|error| error.to_string())?;
        let mut ask: surf::http::Request = Ask::new(method, url).into();
        ask.ext_mut().insert(Deadline(Instant::now() + timeout));
        let mut answer = self.client.send(ask).await.map_err(|_| "the demo does not answer".to_owned())?;
        let body = answer.body_bytes().await.map_err(|_| "the demo does not answer".to_owned())?;
        if answer.status().is_success() { Ok(body) } else { Err(String::from_utf8_lossy(&body).into_owned()) }
    }
}

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

/// What to do after a button was refused.
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

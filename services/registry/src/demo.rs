//! The state of the demo's children, as their parent process reports it, and the client of that process.

pub(crate) mod routes;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bramble::client::Deadline;
use serde::{Deserialize, Serialize};
use surf::http::Method;
use surf::{Request as Ask, Url};

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
    /// State of the producer.
    pub state: ProducerState,
}

/// State of a producer of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProducerState {
    /// Runs as it was started.
    Running,
    /// Runs again, as a new process at the old address.
    Restarted,
    /// Stands still most of the time, for half a minute.
    Slow,
    /// Is ending after SIGTERM, and takes no calls any more.
    Stopping,
    /// Ended after SIGTERM.
    Stopped,
    /// Was killed by its button.
    Killed,
    /// Ended by itself, or by a signal from outside of the demo.
    Ended,
}

/// Whether the stand-in answers as the weather API does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiState {
    /// Answers.
    Working,
    /// Fails calls, or lets them hang.
    Broken,
    /// Does not run, or does not tell.
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

    /// Asks the parent process for `path`; the error is its answer, or why there is none.
    async fn ask(&self, method: Method, path: &str, timeout: Duration) -> Result<Vec<u8>, String> {
        let url = Url::parse(&format!("{}/{path}", self.url)).map_err(|error| error.to_string())?;
        let mut ask: surf::http::Request = Ask::new(method, url).into();
        ask.ext_mut().insert(Deadline(Instant::now() + timeout));
        let mut answer = self.client.send(ask).await.map_err(|_| "the demo does not answer".to_owned())?;
        let body = answer.body_bytes().await.map_err(|_| "the demo does not answer".to_owned())?;
        if answer.status().is_success() { Ok(body) } else { Err(String::from_utf8_lossy(&body).into_owned()) }
    }
}

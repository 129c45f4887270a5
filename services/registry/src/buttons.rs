//! The demo's buttons: kill a producer and watch. They are there in the demo alone, whose parent process does the deeds;
//! this page only passes on what is pressed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bramble::transport::client::Deadline;
use maud::{Markup, html};
use serde::Deserialize;
use surf::http::Method;
use surf::{Request as Ask, Url};
use tide::{Request, Response, StatusCode};

use crate::State;

/// A restart waits for a goodbye of 1.5 s.
const PATIENCE: Duration = Duration::from_secs(8);
/// What can be done to a producer, as the control names it, and as a person reads it.
const FATES: [(&str, &str); 4] = [("stop", "Stop"), ("kill", "Kill"), ("slow", "Slow down"), ("restart", "Restart")];

/// The way to whoever does the deeds.
#[derive(Debug)]
pub(crate) struct Buttons {
    client: surf::Client,
    /// Ends without a slash. Who knows it may do everything, so it is never shown.
    control: String,
}

#[derive(Debug, Deserialize)]
struct Producer {
    name: String,
    addr: Option<SocketAddr>,
}

impl Buttons {
    pub(crate) fn new(client: surf::Client, control: String) -> Self {
        Self { client, control }
    }

    /// The buttons, or nothing if nobody would do what they say.
    pub(crate) async fn show(&self) -> Markup {
        match self.ask(Method::Get, "producers").await {
            Ok(body) => {
                serde_json::from_slice(&body).map(|producers: Vec<Producer>| draw(&producers)).unwrap_or_default()
            }
            Err(why) => {
                log::debug!("no buttons: {why}");
                Markup::default()
            }
        }
    }

    async fn ask(&self, method: Method, deed: &str) -> Result<Vec<u8>, String> {
        let url = Url::parse(&format!("{}/{deed}", self.control)).map_err(|error| error.to_string())?;
        let mut ask: surf::http::Request = Ask::new(method, url).into();
        ask.ext_mut().insert(Deadline(Instant::now() + PATIENCE));
        let mut answer = self.client.send(ask).await.map_err(|_| "the demo does not answer".to_owned())?;
        let body = answer.body_bytes().await.map_err(|_| "the demo does not answer".to_owned())?;
        if answer.status().is_success() { Ok(body) } else { Err(String::from_utf8_lossy(&body).into_owned()) }
    }
}

/// What a button was pressed for, passed on. The browser then shows the page again.
pub(crate) async fn press(request: Request<State>) -> tide::Result {
    let state = request.state();
    let Some(buttons) = &state.buttons else { return Ok(Response::new(StatusCode::NotFound)) };
    if !is_own(&request) {
        return Ok(refused(StatusCode::Forbidden, "This button belongs to another page."));
    }
    let deed = request.param("deed").unwrap_or_default();
    let is_one = deed.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'/');
    if !is_one {
        return Ok(Response::new(StatusCode::NotFound));
    }
    match buttons.ask(Method::Post, deed).await {
        Ok(_) => Ok(Response::builder(StatusCode::SeeOther).header("location", "/#demo").build()),
        Err(why) => Ok(refused(StatusCode::Conflict, &why)),
    }
}

/// Whether no other site has sent the browser here: a browser says of each POST where it comes from.
fn is_own(request: &Request<State>) -> bool {
    let header = |name: &str| request.header(name).map(|values| values.last().as_str());
    let own = format!("http://{}", header("host").unwrap_or_default());
    header("origin").is_none_or(|origin| origin == own)
        && header("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"))
}

fn refused(status: StatusCode, why: &str) -> Response {
    Response::builder(status).body(why).content_type(tide::http::mime::PLAIN).build()
}

fn draw(producers: &[Producer]) -> Markup {
    let button = |deed: String, words: &str| {
        html! {
            form method="post" action={ "/demo/" (deed) } { button.button.quiet.small type="submit" { (words) } }
        }
    };
    html! {
        section #demo .service {
            h2 { "Try it" }
            p { "This is the demo: do something to a producer, or to the weather API, and watch its circuit open, ramp and close." }
            @for (number, producer) in producers.iter().enumerate() {
                fieldset.card.actions.deeds {
                    legend { (producer.name) @if let Some(addr) = producer.addr { " at " (addr) } }
                    @for (fate, words) in FATES { (button(format!("producers/{}/{fate}", number + 1), words)) }
                }
            }
            fieldset.card.actions.deeds {
                legend { "The weather API" }
                (button("weather/break".into(), "Break"))
                (button("weather/mend".into(), "Mend"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_producer_has_its_buttons_and_what_it_is_called_is_escaped() {
        let producer = |name: &str| Producer { name: name.into(), addr: None };
        let page = draw(&[producer("producer 1"), producer("<b>")]).into_string();
        assert_eq!(page.matches("<form").count(), 2 * FATES.len() + 2);
        assert!(page.contains(r#"action="/demo/producers/2/kill""#), "{page}");
        assert!(!page.contains("<b>"), "{page}");
    }
}

//! Smoke test: one question through the form, as a person asks it: the page, the answer on the page, and its producer.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::http;

/// A stack that has just come up may need a moment until the form knows its producers.
const PATIENCE: Duration = Duration::from_secs(20);

/// `smoke [URL] [ZIP COUNTRY]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Smoke {
    /// HOST:PORT.
    at: String,
    zip: String,
    country: String,
}

impl Smoke {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, String> {
        let (url, place) = match arguments {
            [] => ("http://127.0.0.1:8088/", ["70569", "DE"]),
            [url] => (*url, ["70569", "DE"]),
            [url, zip, country] => (*url, [*zip, *country]),
            _ => return Err("smoke takes an address, a postal code and a country".to_owned()),
        };
        let at = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let at = at.filter(|at| at.contains(':') && !at.contains('/'));
        let at = at.ok_or_else(|| format!("{url}: write http://HOST:PORT/"))?.to_owned();
        Ok(Self { at, zip: place[0].to_owned(), country: place[1].to_owned() })
    }

    /// Prints what the form said.
    pub(crate) fn run(&self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.ask() {
                Ok(said) => {
                    println!("{said}");
                    return Ok(());
                }
                Err(why) if Instant::now() > deadline => return Err(why),
                Err(_) => std::thread::sleep(Duration::from_millis(250)),
            }
        }
    }

    fn ask(&self) -> Result<String, String> {
        let Self { at, zip, country } = self;
        let form = self.page("/")?;
        if !form.contains("<form") || !form.contains("name=\"zip\"") {
            return Err(format!("http://{at}/ is no form of Bramble's; does another program listen there?"));
        }
        let question = format!("zip={}&country={country}", zip.replace(' ', "%20"));
        let page = self.page(&format!("/?{question}"))?;
        let report: Value = serde_json::from_str(&self.page(&format!("/api/weather?{question}"))?)
            .map_err(|error| format!("http://{at}/api/weather: {error}"))?;
        let text = |key: &str| report[key].as_str().unwrap_or_default();
        let (city, source) = (text("city"), text("source"));
        if !matches!(source, "live" | "cache") {
            return Err(format!(
                "the form has no current weather ({}); do the producers reach the API?",
                text("message")
            ));
        }
        if !page.contains(city) {
            return Err(format!("the page does not show {city}, which the same question as JSON is about"));
        }
        let (weather, degrees) = (text("description"), report["temperature_c"].as_f64().unwrap_or(f64::NAN));
        Ok(format!("{city}: {weather}, {degrees} °C ({source}, by {})", text("served_by")))
    }

    fn page(&self, path: &str) -> Result<String, String> {
        let at = &self.at;
        match http::get(at, path) {
            Ok((200, body)) => Ok(body),
            Ok((status, body)) => {
                let said: Option<Value> = serde_json::from_str(&body).ok();
                let said = said.and_then(|said| said["error"]["message"].as_str().map(str::to_owned));
                Err(format!(
                    "http://{at}{path} answered {status}{}",
                    said.map(|why| format!(": {why}")).unwrap_or_default()
                ))
            }
            Err(error) => {
                Err(format!("no service answers at http://{at}/ ({error}); is the stack deployed, and the port right?"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_a_browser_shows_it() {
        let smoke = Smoke::parse(&["http://pi-0:8088/", "SW1A 1AA", "GB"]).expect("an address");
        assert_eq!((smoke.at.as_str(), smoke.zip.as_str()), ("pi-0:8088", "SW1A 1AA"));
        for wrong in ["pi-0:8088", "https://pi-0:8088/", "http://pi-0", "http://pi-0:1/x"] {
            assert!(Smoke::parse(&[wrong]).is_err(), "{wrong}");
        }
    }
}

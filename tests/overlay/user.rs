//! A user that asks the form all the time, and notes which producer answered.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::machine::root;
use crate::patience;

#[path = "../support/http.rs"]
mod http;

/// Light load: a question comes this often.
const ASKED_EVERY: Duration = Duration::from_millis(40);

/// A GET of the service at that port of this machine.
pub(crate) fn get(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    http::ask(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), "GET", path, "")
}

/// Outcome of a question.
#[derive(Debug, Clone)]
struct Question {
    at: Instant,
    /// Producer that answered, or what was wrong.
    by: Result<String, String>,
}

/// Asks until it is dropped.
pub(crate) struct User {
    stop: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Question>>>,
    asking: Option<JoinHandle<()>>,
}

impl User {
    pub(crate) fn of_form(port: u16) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (told, list) = (Arc::clone(&stop), Arc::clone(&asked));
        let asking = thread::spawn(move || {
            let places = places();
            for (zip, country) in places.iter().cycle() {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                let at = Instant::now();
                let by = answer(get(port, &format!("/api/weather?zip={zip}&country={country}")));
                list.lock().expect("no panic").push(Question { at, by });
                thread::sleep(ASKED_EVERY);
            }
        });
        Self { stop, asked, asking: Some(asking) }
    }

    fn since(&self, at: Instant) -> Vec<Question> {
        let mut all = self.asked.lock().expect("no panic").clone();
        all.retain(|asked| asked.at >= at);
        all
    }

    /// Producers that have answered since.
    pub(crate) fn answered_since(&self, at: Instant) -> BTreeSet<String> {
        self.since(at).into_iter().filter_map(|asked| asked.by.ok()).collect()
    }

    /// Time and reason of each question that was not answered since.
    pub(crate) fn failed_since(&self, at: Instant) -> Vec<(Instant, String)> {
        self.since(at).into_iter().filter_map(|asked| Some((asked.at, asked.by.err()?))).collect()
    }

    /// Fails if a question has not been answered by a producer; how many there were.
    pub(crate) fn was_always_answered_since(&self, at: Instant) -> usize {
        let asked = self.since(at).len();
        let failed = self.failed_since(at);
        assert!(failed.is_empty(), "{} of {asked} questions failed: {failed:?}", failed.len());
        assert!(asked >= 20, "{asked} questions prove nothing");
        asked
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(asking) = self.asking.take() {
            let ended = asking.join();
            assert!(ended.is_ok() || thread::panicking(), "the user panicked");
        }
    }
}

/// A producer's current answer alone counts: one that the form has kept is no answer of the cluster.
fn answer(got: std::io::Result<(u16, String)>) -> Result<String, String> {
    match got {
        Ok((200, body)) => {
            let report: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
            let by =
                report["served_by"].as_str().filter(|_| matches!(report["source"].as_str(), Some("live" | "cache")));
            by.map(str::to_owned).ok_or(body)
        }
        Ok((status, body)) => Err(format!("{status} {body}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Places that the stand-in knows, with postal codes that need no escape.
fn places() -> Vec<(String, String)> {
    let file = root().join("services/upstream-sim/places.csv");
    let text = std::fs::read_to_string(file).expect("a file of the checkout");
    let rows = text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split(',');
        let (country, zip) = (fields.next()?, fields.next()?);
        (zip.len() == 5 && zip.bytes().all(|byte| byte.is_ascii_digit())).then(|| (zip.to_owned(), country.to_owned()))
    });
    rows.take(300).collect()
}

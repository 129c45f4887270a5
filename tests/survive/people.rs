//! People that ask a form, or producers by a plain client, and what they get.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::ms;
use crate::support::http::ask;
use crate::support::round_robin::RoundRobin;

/// Places that the stand-in knows.
pub(crate) const PLACES: [&str; 12] =
    ["70569", "70173", "72074", "10115", "20095", "80331", "50667", "60311", "04109", "01067", "28195", "90402"];
pub(crate) const OUT_OF_DATE: &str = "CAUTION - Response out of date!";
pub(crate) const UNREACHABLE: &str = "CAUTION - Response out of date, producer unreachable!";
/// `[call] timeout` of a consumer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A request of a person.
#[derive(Debug, Clone)]
pub(crate) struct PersonRequest {
    /// When it was asked.
    pub(crate) at: Instant,
    pub(crate) took: Duration,
    /// The place that was asked for.
    zip: &'static str,
    /// 0: no answer at all.
    pub(crate) status: u16,
    pub(crate) answer: Value,
}

impl PersonRequest {
    fn new(target: &Target, zip: &'static str) -> Self {
        let at = Instant::now();
        let answer = match target {
            Target::Form(form) => ask(*form, "GET", &format!("/api/weather?zip={zip}&country=DE"), ""),
            Target::Producers(client) => client.get(&format!("/weather?zip={zip}&country=DE")),
        };
        let took = at.elapsed();
        let (status, body) = answer.unwrap_or_else(|error| (0, format!("\"{error}\"")));
        let answer = serde_json::from_str(&body).unwrap_or(Value::String(body));
        Self { at, took, zip, status, answer }
    }

    /// Whether a producer has answered, with a report that is current and of the place that was asked for.
    pub(crate) fn is_good(&self) -> bool {
        let is_current = self.answer["source"] == "live" || self.answer["source"] == "cache";
        self.status == 200 && is_current && self.answer["message"] == "OK" && !self.is_of_another_place()
    }

    /// Whether a report is shown that is of another place.
    pub(crate) fn is_of_another_place(&self) -> bool {
        self.status == 200 && self.answer["zip"].as_str().is_some_and(|zip| zip != self.zip)
    }

    /// When it was answered.
    pub(crate) fn answered_at(&self) -> Instant {
        self.at + self.took
    }

    pub(crate) fn by(&self) -> &str {
        self.answer["served_by"].as_str().unwrap_or_default()
    }
}

/// Four people that ask for one place after the other until told to end.
pub(crate) struct Load {
    ends: Arc<AtomicBool>,
    people: Vec<JoinHandle<Vec<PersonRequest>>>,
}

impl Load {
    pub(crate) fn on(form: SocketAddr) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let people = (0..4).map(|number| {
            let ends = Arc::clone(&ends);
            thread::spawn(move || {
                let mut asked = Vec::new();
                for zip in PLACES.iter().cycle().skip(number * 3) {
                    if ends.load(Ordering::Relaxed) {
                        break;
                    }
                    asked.push(PersonRequest::new(&Target::Form(form), zip));
                    thread::sleep(ms(20)); // people read what they get
                }
                asked
            })
        });
        Self { people: people.collect(), ends }
    }

    /// Outcomes of every request.
    pub(crate) fn end(self) -> Vec<PersonRequest> {
        self.ends.store(true, Ordering::Relaxed);
        self.people.into_iter().flat_map(|one| one.join().expect("no panic")).collect()
    }
}

/// Service that is asked.
#[derive(Debug)]
pub(crate) enum Target {
    Form(SocketAddr),
    /// Without a form: the baseline.
    Producers(RoundRobin),
}

/// People that come at a fixed rate, whatever becomes of those before them.
pub(crate) struct Crowd {
    ends: Arc<AtomicBool>,
    door: JoinHandle<Vec<JoinHandle<PersonRequest>>>,
}

impl Crowd {
    /// `rate` people a second, for one place after the other.
    pub(crate) fn come(target: Target, rate: u32) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let door = thread::spawn(move || {
            let (target, began) = (Arc::new(target), Instant::now());
            let mut people = Vec::new();
            for (number, zip) in (0..).zip(PLACES.iter().cycle()) {
                thread::sleep(
                    (began + Duration::from_secs(1) * number / rate).saturating_duration_since(Instant::now()),
                );
                if told.load(Ordering::Relaxed) {
                    break;
                }
                let target = Arc::clone(&target);
                people.push(thread::spawn(move || PersonRequest::new(&target, zip)));
            }
            people
        });
        Self { ends, door }
    }

    /// Outcomes of every request, in their order.
    pub(crate) fn end(self) -> Vec<PersonRequest> {
        self.ends.store(true, Ordering::Relaxed);
        let people = self.door.join().expect("no panic");
        people.into_iter().map(|one| one.join().expect("no panic")).collect()
    }
}

/// Counts of answers by quality.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Score {
    pub(crate) asked: usize,
    pub(crate) good: usize,
    /// Answered without a producer, from what the form had kept.
    pub(crate) kept: usize,
    /// How long 99 of 100 took at most.
    pub(crate) p99: Duration,
    slowest: Duration,
}

impl Score {
    pub(crate) fn of<'a>(asked: impl IntoIterator<Item = &'a PersonRequest>) -> Self {
        let all: Vec<&PersonRequest> = asked.into_iter().collect();
        let count = |is: &dyn Fn(&PersonRequest) -> bool| all.iter().filter(|one| is(one)).count();
        let mut times: Vec<_> = all.iter().map(|one| one.took).collect();
        times.sort();
        Self {
            asked: all.len(),
            good: count(&PersonRequest::is_good),
            kept: count(&|one| one.status == 200 && one.answer["source"] == "stale"),
            p99: times.get((times.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default(),
            slowest: times.last().copied().unwrap_or_default(),
        }
    }

    /// Percent of questions that got a current report.
    pub(crate) fn good_percent(&self) -> f64 {
        100.0 * self.good as f64 / self.asked.max(1) as f64
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, good, kept, p99, slowest } = self;
        write!(f, "{good} of {asked} current ({:.1} %), {kept} kept, ", self.good_percent())?;
        write!(f, "99 of 100 within {p99:.1?}, all within {slowest:.1?}")
    }
}

/// Fails if any request of a person did, or was answered as if no producer had been there.
pub(crate) fn none_failed(asked: &[PersonRequest]) {
    let noticed: Vec<_> =
        asked.iter().filter(|one| one.status != 200 || one.answer["message"] == UNREACHABLE).collect();
    assert!(noticed.is_empty(), "{} of {}: {:?}", noticed.len(), asked.len(), noticed.first());
    let slowest = asked.iter().map(|one| one.took).max().unwrap_or_default();
    assert!(slowest < TIMEOUT, "{slowest:?}");
}

pub(crate) fn answered_by(asked: &[PersonRequest]) -> BTreeSet<&str> {
    asked.iter().map(PersonRequest::by).collect()
}

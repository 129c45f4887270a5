//! Gathers circuits: their state is known to callers, not to observers, so every service is asked for its `/circuits`.
//! Bounded in each direction: only while there is a reader of the page, at most every two seconds, a few at a time,
//! briefly each, and of an answer only so much. A reader is never worth a burden on services at work.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_lock::Mutex;
use bramble::client::TransportError;
use bramble::discovery::{Directory, Suspicion};
use bramble::timeout::timeout;
use futures_lite::AsyncReadExt as _;
use smol::Executor;

use crate::circuits::{CircuitState, Circuits};

/// Age of an answer from which the next look asks again.
pub(crate) const EVERY: Duration = Duration::from_secs(2);
/// Questions at a time.
const AT_ONCE: usize = 8;
/// How long one service may take.
const ONE_WITHIN: Duration = Duration::from_secs(1);
/// Longest time of a round; an instance that was not asked by then is asked first in the next.
const ALL_WITHIN: Duration = Duration::from_secs(3);
/// Bytes of an answer: a caller of 256 instances needs some 200 kB.
const LONGEST: u64 = 512 << 10;
/// How long an answer is shown when there is no newer one.
const KEPT: Duration = Duration::from_secs(15);
/// Changes of circuits that are remembered.
const CHANGES: usize = 100;

/// Circuits that were gathered; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct GatheredCircuits {
    /// Answers of the instances, by id.
    pub answers: BTreeMap<Arc<str>, InstanceCircuits>,
    /// Changes of circuits seen so far, oldest first; at most 100.
    pub changes: VecDeque<Change>,
}

/// Answer of one instance.
#[derive(Debug, Clone)]
pub struct InstanceCircuits {
    /// When it was asked last.
    pub asked: Instant,
    /// Circuits of the instance; none if it did not answer.
    pub circuits: Option<Arc<Circuits>>,
}

/// A circuit that has moved.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// When that was seen.
    pub at: Instant,
    /// Service or instance that the circuit guards.
    pub subject: String,
    /// Instance that calls through the circuit.
    pub by: Arc<str>,
    /// State of the circuit now.
    pub to: CircuitState,
    /// Why, if it opened.
    pub reason: Option<String>,
}

/// Gathers for all readers.
#[derive(Debug)]
pub(crate) struct Gather {
    directory: Directory,
    client: surf::Client,
    executor: Arc<Executor<'static>>,
    /// Time and result of the last round. A look while a round is under way waits for it.
    kept: Mutex<(Option<Instant>, Arc<GatheredCircuits>)>,
}

impl Gather {
    pub(crate) fn new(directory: Directory, client: surf::Client, executor: Arc<Executor<'static>>) -> Self {
        Self { directory, client, executor, kept: Mutex::default() }
    }

    /// The circuits; asked anew if they are older than [`EVERY`].
    pub(crate) async fn look(&self) -> Arc<GatheredCircuits> {
        let mut kept = self.kept.lock().await;
        let now = Instant::now();
        if kept.0.is_none_or(|at| now.saturating_duration_since(at) >= EVERY) {
            let gathered = self.round(&kept.1, now).await;
            *kept = (Some(now), Arc::new(gathered));
        }
        Arc::clone(&kept.1)
    }

    async fn round(&self, before: &GatheredCircuits, now: Instant) -> GatheredCircuits {
        let mut gathered = before.clone();
        let mut subject: Vec<_> =
            self.directory.all(now).iter().map(|seen| (Arc::clone(&seen.instance.id), seen.instance.addr)).collect();
        gathered.answers.retain(|id, _| subject.iter().any(|(there, _)| there == id));
        subject.sort_by_key(|(id, _)| before.answers.get(id).map(|told| told.asked));
        let (queue, questions) = smol::channel::bounded(subject.len().max(1));
        let (answers, heard) = smol::channel::bounded(subject.len().max(1));
        for one in subject {
            let _ = queue.try_send(one); // it has room for all
        }
        drop(queue);
        let askers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let (client, questions, answers) = (self.client.clone(), questions.clone(), answers.clone());
                self.executor.spawn(async move {
                    while let Ok((id, addr)) = questions.recv().await {
                        let answer = ask(&client, addr).await;
                        let _ = answers.send((id, answer)).await; // without a receiver the round is over
                    }
                })
            })
            .collect();
        drop(answers);
        let all = async {
            while let Ok((id, answer)) = heard.recv().await {
                self.note(&mut gathered, id, answer);
            }
        };
        let _ = timeout(ALL_WITHIN, all).await; // what has come by then is shown
        drop(askers); // ends what is still under way
        gathered
    }

    /// Takes in an answer. An instance that refuses the connection or is silent is probed, as when a caller notices.
    fn note(&self, gathered: &mut GatheredCircuits, id: Arc<str>, answer: Result<Circuits, Silent>) {
        let now = Instant::now();
        match answer {
            Ok(circuits) => {
                let circuits = Arc::new(circuits);
                let before = gathered.answers.get(&id).and_then(|told| told.circuits.as_ref());
                let moved = before.map(|before| moved(before, &circuits, &id, now)).unwrap_or_default();
                gathered.changes.extend(moved);
                let beyond = gathered.changes.len().saturating_sub(CHANGES);
                gathered.changes.drain(..beyond);
                gathered.answers.insert(id, InstanceCircuits { asked: now, circuits: Some(circuits) });
            }
            Err(silent) => {
                log::debug!("{id} does not tell its circuits: {}", silent.why);
                if let Some(why) = silent.suspicion {
                    self.directory.suspect(&id, why, now);
                }
                gathered.answers.insert(id, InstanceCircuits { asked: now, circuits: None });
            }
        }
    }
}

impl GatheredCircuits {
    /// Answer of `id`, if that is not too long ago. `Some(None)`: it was asked and was silent.
    pub(crate) fn of(&self, id: &str, now: Instant) -> Option<Option<&Circuits>> {
        let told = self.answers.get(id).filter(|told| now.saturating_duration_since(told.asked) < KEPT)?;
        Some(told.circuits.as_deref())
    }
}

/// Why there is no answer.
struct Silent {
    why: String,
    /// Why it may be gone; none if it has answered something.
    suspicion: Option<Suspicion>,
}

async fn ask(client: &surf::Client, addr: SocketAddr) -> Result<Circuits, Silent> {
    let failed = |why: String| Silent { why, suspicion: None };
    let asked = async {
        let mut response = client.get(format!("http://{addr}/circuits")).await.map_err(|error| Silent {
            why: error.to_string(),
            suspicion: TransportError::of(&error)
                .filter(|error| error.is_before_sending())
                .map(|error| if error.is_refused() { Suspicion::Refused } else { Suspicion::Unreachable }),
        })?;
        if !response.status().is_success() {
            return Err(failed(format!("it answers {}", response.status())));
        }
        let mut body = Vec::new();
        let mut bounded = response.take_body().into_reader().take(LONGEST + 1);
        bounded.read_to_end(&mut body).await.map_err(|error| failed(error.to_string()))?;
        if body.len() as u64 > LONGEST {
            return Err(failed(format!("its answer is longer than {LONGEST} bytes")));
        }
        Circuits::read(&body).map_err(|error| failed(error.to_string()))
    };
    let late = || Silent { why: "it takes too long".into(), suspicion: Some(Suspicion::TimedOut) };
    timeout(ONE_WITHIN, asked).await.unwrap_or_else(|| Err(late()))
}

/// The circuits that do now what they did not before. One that is new and closed is no news.
fn moved(before: &Circuits, after: &Circuits, by: &Arc<str>, now: Instant) -> Vec<Change> {
    let of = |circuits: &Circuits| -> BTreeMap<(String, String), (CircuitState, Option<String>)> {
        let each = circuits.services.iter().flat_map(|callee| {
            callee.endpoints.iter().filter_map(|one| {
                let name = if callee.service == "upstream" { "the weather API".into() } else { one.id.clone() };
                Some(((callee.service.clone(), name), (one.circuit.state?, one.circuit.reason.clone())))
            })
        });
        each.collect()
    };
    let old = of(before);
    let changed = of(after).into_iter().filter(|(key, (state, _))| {
        let was = old.get(key).map_or(CircuitState::Closed, |(state, _)| *state);
        was != *state
    });
    let change = |((_, subject), (to, reason)): ((String, String), (CircuitState, Option<String>))| Change {
        at: now,
        subject,
        by: Arc::clone(by),
        to,
        reason: reason.filter(|_| to.is_open()),
    };
    changed.map(change).collect()
}

#[cfg(test)]
mod tests;

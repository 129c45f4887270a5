//! All that the page tells, put together before it is drawn: what this node sees, and what services say of each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bramble::discovery::{Directory, InstanceRecord, InstanceState, Status};
use bramble::trust::Trust;
use serde::{Serialize, Serializer};

use crate::circuits::{CalledService, Calls, Circuit, CircuitState, Circuits};
use crate::demo::DemoState;
use crate::gather::{Change, GatheredCircuits};

/// Happenings that are shown.
const MOST_NEWS: usize = 100;
/// Unproven instances that are shown: anything on the LAN can announce as many as it likes.
const MOST_UNPROVEN: usize = 32;

/// Content of the page.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    /// Id of the instance that serves the page.
    pub seen_by: Arc<str>,
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// Whether the cluster has a key, so that each record's signature is checked.
    pub signatures_checked: bool,
    /// Reason for which all below is doubtful.
    pub caution: Option<Caution>,
    /// By name.
    pub services: Vec<Service>,
    /// The newest first; at most 100.
    pub news: Vec<News>,
    /// Announced, and not answering: they get no calls. At most 32.
    pub unproven: Vec<Unproven>,
    /// How many more there are.
    pub unproven_beyond: usize,
    /// Instances that are not believed.
    pub refused: Vec<Refused>,
    /// How many more are not.
    pub refused_beyond: u64,
    /// How many things are wrong with the Pi this runs on, if it has a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pi_problems: Option<usize>,
    /// Actions of the demo on its children, where this is part of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demo: Option<DemoState>,
}

/// Why the list may not be the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Caution {
    /// The directory has begun to look a moment ago.
    Settling,
    /// The directory has no instance but this one.
    Alone,
    /// Most others have not been heard of lately, or do not answer.
    OutOfDate,
}

/// All instances of a service.
#[derive(Debug, Clone, Serialize)]
pub struct Service {
    /// `producer`.
    pub service: Arc<str>,
    /// How many of them answer.
    pub answering: usize,
    /// By id; those that were lost last.
    pub instances: Vec<InstanceView>,
}

/// An instance as this node sees it.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceView {
    /// State of the instance in this node's directory.
    #[serde(flatten)]
    pub seen: InstanceRecord,
    /// Whether it answered a question of this node; none if it was not asked.
    pub answers: Option<bool>,
    /// Circuit of the instance in each of its callers.
    pub callers: Vec<Caller>,
    /// Services that the instance calls.
    pub calls: Vec<CalledService>,
}

/// How a caller stands to an instance.
#[derive(Debug, Clone, Serialize)]
pub struct Caller {
    /// The caller's id.
    pub by: Arc<str>,
    /// The circuit between them.
    #[serde(flatten)]
    pub circuit: Circuit,
}

/// A change that is shown in the list of news.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct News {
    /// How long ago, in seconds.
    #[serde(rename = "ago_s", serialize_with = "whole_seconds")]
    pub ago: Duration,
    /// Instance or service that changed.
    pub subject: String,
    /// Words for the change, after the name.
    pub what: String,
}

/// An instance that is announced, and has not answered a probe with its id yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unproven {
    /// Name of the instance.
    pub id: Arc<str>,
    /// The service it says it is.
    pub service: Arc<str>,
    /// Where it says it is.
    pub addr: std::net::SocketAddr,
    /// For how long it has been announced, in seconds.
    #[serde(rename = "announced_for_s", serialize_with = "whole_seconds")]
    pub announced_for: Duration,
    /// Why it gets no calls, as the end of a sentence that begins with its name.
    pub reason: String,
}

/// An instance that is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The name it goes by.
    pub name: String,
    /// The service it says it is.
    pub service: String,
    /// Where it says it is.
    pub addr: Option<std::net::SocketAddr>,
    /// Why, as a sentence without its first word's capital.
    pub reason: String,
}

impl View {
    /// Content of the page at `now`.
    pub fn new(id: &Arc<str>, directory: &Directory, trust: &Trust, gathered: &GatheredCircuits, now: Instant) -> Self {
        let all = directory.all(now).into_iter().chain(directory.lost(now));
        let callers = callers(gathered, now);
        let ones = all.map(|seen| InstanceView::new(seen, id, &callers, gathered, now)).collect();
        let services = by_service(ones);
        let (refused, refused_beyond) = trust.refused();
        let refused = refused.into_iter().map(|one| Refused {
            name: one.name.into(),
            service: one.service.into(),
            addr: one.addr,
            reason: one.reason,
        });
        let (unproven, unproven_beyond) = unproven(directory, now);
        Self {
            seen_by: Arc::clone(id),
            at: SystemTime::now(),
            signatures_checked: trust.key().is_some(),
            caution: Caution::of(&services, id, directory.is_settling(now)),
            services,
            news: news(directory, gathered, now),
            unproven,
            unproven_beyond,
            refused: refused.collect(),
            refused_beyond,
            pi_problems: None,
            demo: None,
        }
    }

    /// How many circuits are open: one for each instance that a caller does not call, and one for each service that is
    /// called and is no instance here, such as the weather API before a producer.
    pub fn open_circuits(&self) -> usize {
        let is_open = |circuit: &Circuit| circuit.state.is_some_and(CircuitState::is_open);
        let instances = self.instances().filter(|one| one.circuit().is_some_and(is_open)).count();
        let is_here = |callee: &&CalledService| self.services.iter().any(|service| *service.service == *callee.service);
        let calls = self.instances().flat_map(|one| &one.calls).filter(|callee| !is_here(callee));
        instances + calls.filter(|callee| callee.standing().is_some_and(is_open)).count()
    }

    /// Every instance.
    pub fn instances(&self) -> impl Iterator<Item = &InstanceView> {
        self.services.iter().flat_map(|service| &service.instances)
    }
}

impl Caution {
    fn of(services: &[Service], own: &str, is_settling: bool) -> Option<Self> {
        let others =
            || services.iter().flat_map(|service| &service.instances).filter(|one| *one.seen.instance.id != *own);
        let doubtful = others().filter(|one| !one.is_certain()).count();
        match others().count() {
            0 if is_settling => Some(Self::Settling),
            0 => Some(Self::Alone),
            all if 2 * doubtful > all => Some(Self::OutOfDate),
            _ => None,
        }
    }
}

impl InstanceView {
    fn new(seen: InstanceRecord, own: &Arc<str>, callers: &Callers, gathered: &GatheredCircuits, now: Instant) -> Self {
        let id = &seen.instance.id;
        let told = gathered.of(id, now);
        Self {
            answers: if id == own { Some(true) } else { told.map(|told| told.is_some()) },
            callers: callers.get(&**id).cloned().unwrap_or_default(),
            calls: told.flatten().map(|circuits: &Circuits| circuits.services.clone()).unwrap_or_default(),
            seen,
        }
    }

    /// Whether it takes calls, as far as this node can tell.
    pub fn is_answering(&self) -> bool {
        let is_in_use = !matches!(self.seen.standing, InstanceState::Lost | InstanceState::Unproven);
        is_in_use && self.seen.instance.status == Status::Up && self.answers != Some(false)
    }

    fn is_certain(&self) -> bool {
        self.seen.standing == InstanceState::Confirmed && self.answers != Some(false)
    }

    /// The worst circuit that a caller has for it.
    pub fn circuit(&self) -> Option<&Circuit> {
        self.callers.iter().map(|caller| &caller.circuit).max_by_key(|circuit| circuit.state)
    }

    /// Counts of the calls of all callers in the last ten seconds, if any of them counts.
    pub fn recent(&self) -> Option<Calls> {
        self.callers.iter().filter_map(|caller| caller.circuit.calls()).reduce(|one, other| one + other)
    }

    /// Calls a second, if a caller counts them.
    pub fn rate(&self) -> Option<f64> {
        self.callers.iter().filter_map(|caller| caller.circuit.rate()).reduce(|one, other| one + other)
    }

    /// Calls of all callers that wait for its answer.
    pub fn in_flight(&self) -> Option<u64> {
        self.callers.iter().filter_map(|caller| caller.circuit.in_flight).reduce(|one, other| one + other)
    }

    /// A percentile of its slowest caller: those of several cannot be added.
    pub fn latency(&self, of: fn(&Circuit) -> Option<f64>) -> Option<f64> {
        self.callers.iter().filter_map(|caller| of(&caller.circuit)).reduce(f64::max)
    }
}

type Callers = BTreeMap<String, Vec<Caller>>;

/// Callers with their circuits, by the id of the instance that is called.
fn callers(gathered: &GatheredCircuits, now: Instant) -> Callers {
    let mut callers = Callers::new();
    for by in gathered.answers.keys() {
        let Some(Some(circuits)) = gathered.of(by, now) else { continue };
        for one in circuits.services.iter().flat_map(|callee| &callee.endpoints) {
            let caller = Caller { by: Arc::clone(by), circuit: one.circuit.clone() };
            callers.entry(one.id.clone()).or_default().push(caller);
        }
    }
    callers
}

/// Groups instances by service. Those that are there come sorted, the lost after them.
pub(crate) fn by_service(ones: Vec<InstanceView>) -> Vec<Service> {
    let mut services: BTreeMap<Arc<str>, Vec<InstanceView>> = BTreeMap::new();
    for one in ones {
        services.entry(Arc::clone(&one.seen.instance.service)).or_default().push(one);
    }
    let counted = services.into_iter().map(|(service, instances)| {
        let answering = instances.iter().filter(|one| one.is_answering()).count();
        Service { service, answering, instances }
    });
    counted.collect()
}

/// Unproven instances to be shown, and how many more there are.
fn unproven(directory: &Directory, now: Instant) -> (Vec<Unproven>, usize) {
    let all = directory.unproven(now);
    let beyond = all.len().saturating_sub(MOST_UNPROVEN);
    let shown = all.into_iter().take(MOST_UNPROVEN).map(|seen| Unproven {
        id: Arc::clone(&seen.instance.id),
        service: Arc::clone(&seen.instance.service),
        addr: seen.instance.addr,
        announced_for: seen.standing_for,
        reason: directory.why_unproven(&seen.instance),
    });
    (shown.collect(), beyond)
}

fn news(directory: &Directory, gathered: &GatheredCircuits, now: Instant) -> Vec<News> {
    let seen = directory.events(now).into_iter().map(|news| News {
        ago: news.ago,
        subject: news.id.to_string(),
        what: news.what.as_str().to_owned(),
    });
    let moved = gathered.changes.iter().map(|change| News {
        ago: now.saturating_duration_since(change.at),
        subject: change.subject.clone(),
        what: in_words(change),
    });
    let mut all: Vec<News> = seen.chain(moved).collect();
    all.sort_by_key(|news| news.ago);
    all.truncate(MOST_NEWS);
    all
}

/// Words for a change of a circuit, after the name of the instance behind it.
fn in_words(change: &Change) -> String {
    let reason = change.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("has its circuit {} in {}{reason}", change.to.as_str(), change.by)
}

fn rfc3339<S: Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&humantime::format_rfc3339_millis(*at))
}

fn whole_seconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(time.as_secs())
}

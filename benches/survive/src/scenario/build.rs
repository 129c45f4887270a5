//! Scenarios in few words.

use super::*;

const TAIL: Duration = secs(4); // longer than a call takes, so that all calls of the last phase end

impl Scenario {
    /// So many equal servers of four workers, which need so many milliseconds for an answer.
    pub(crate) fn new(name: impl Into<String>, servers: usize, milliseconds: u64) -> Self {
        let server = ServerSpec {
            workers: 4,
            service_time: millis(milliseconds),
            long_tail: false,
            zone: "",
            drops_abandoned: true,
            condition: Condition::Up,
        };
        Self {
            name: name.into(),
            servers: vec![server; servers],
            clients: Vec::new(),
            upstream: None,
            zone_latency: Duration::ZERO,
            discovery: millis(200),
            mdns: false,
            may_hedge: true,
            limits: TimeLimits::default(),
            changes: Vec::new(),
            phases: Vec::new(),
            watched: None,
        }
    }

    /// Adds so many clients, of so many calls per second each.
    pub(crate) fn clients(mut self, count: usize, rate: f64) -> Self {
        let questions = Questions::Plain;
        self.clients.push(ClientGroup { count, rate, zone: "", steady: false, short_lived: false, questions });
        self
    }

    /// Changes the clients added last.
    pub(crate) fn which(mut self, change: impl FnOnce(&mut ClientGroup)) -> Self {
        self.clients.last_mut().map(change);
        self
    }

    /// Changes each server.
    pub(crate) fn each_server(mut self, change: impl Fn(usize, &mut ServerSpec)) -> Self {
        self.servers.iter_mut().enumerate().for_each(|(id, server)| change(id, server));
        self
    }

    pub(crate) fn at(mut self, at: Duration, change: Change) -> Self {
        self.changes.push((at, change));
        self
    }

    /// Servers that are in a condition for a time, and well again afterwards: processes that were dead start anew.
    pub(crate) fn fault(self, servers: Range<usize>, condition: Condition, time: Range<Duration>) -> Self {
        self.restarts(servers, condition, time, Cold::No)
    }

    /// The same, but they start cold.
    pub(super) fn restarts(
        self,
        servers: Range<usize>,
        condition: Condition,
        time: Range<Duration>,
        cold: Cold,
    ) -> Self {
        let repair = match condition {
            Condition::Dead => Change::Start { servers: servers.clone(), cold, new_identity: false },
            _ => Change::Servers(servers.clone(), Condition::Up),
        };
        self.at(time.start, Change::Servers(servers, condition)).at(time.end, repair)
    }

    /// Adds a phase.
    pub(crate) fn phase(mut self, name: &'static str, time: Range<Duration>) -> Self {
        let (from, to) = (time.start, time.end);
        self.phases.push(Phase { name, from, to, known_only: false, recovery: None, demands: Vec::new() });
        self
    }

    /// Scores recovery in the phase added last.
    pub(super) fn recovery(self, from: Duration, p95: Duration) -> Self {
        self.last_phase(|phase| phase.recovery = Some(Recovery { from, p95 }))
    }

    /// Demands something in the phase added last.
    pub(super) fn demand(self, demand: Demand) -> Self {
        self.last_phase(|phase| phase.demands.push(demand))
    }

    pub(super) fn last_phase(mut self, change: impl FnOnce(&mut Phase)) -> Self {
        self.phases.last_mut().map(change);
        self
    }

    /// The phase of a fault, and the 30 s after it.
    pub(super) fn during_and_after(self, fault: Range<Duration>, p95: Duration) -> Self {
        let end = fault.end;
        self.phase("during", fault).after(end, p95)
    }

    /// The 30 s after a fault.
    pub(super) fn after(self, from: Duration, p95: Duration) -> Self {
        self.phase("after", from..from + secs(30)).recovery(from, p95)
    }

    pub(super) fn watching(mut self, server: usize) -> Self {
        self.watched = Some(server);
        self
    }

    /// The names of its rows on the scoreboard.
    pub fn row_names(&self) -> Vec<String> {
        self.phases.iter().map(|phase| format!("{}, {}", self.name, phase.name)).collect()
    }

    /// When the simulation may stop.
    pub(crate) fn end(&self) -> Duration {
        self.phases.iter().map(|phase| phase.to).max().unwrap_or_default() + TAIL
    }
}

impl Phase {
    /// Whether a call begun at this time counts.
    pub(crate) fn holds(&self, begun: Duration) -> bool {
        (self.from..self.to).contains(&begun)
    }

    /// From when on recovery is measured.
    pub(crate) fn repaired(&self) -> Duration {
        self.recovery.map_or(self.from, |recovery| recovery.from)
    }
}

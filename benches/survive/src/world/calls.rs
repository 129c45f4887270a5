//! The clients' side: drives each call's machine, as Bramble's client does with sockets and timers.

use super::{AttemptId, CallId, CallRecord, ClientId, Event, Reply, World};
use crate::contestant::{Call, CallEvent, Ending, EndpointId, Question, Step};
use crate::random::below;
use crate::scenario::Questions;
use std::time::{Duration, Instant};

const IN_FLIGHT_MAX: usize = 64; // per client, for every contestant: Bramble's `max_concurrent`

pub(super) struct CallState<'a> {
    client: ClientId,
    begun: Duration,
    key: Option<u64>,
    /// Whether the question is one that comes again and again.
    known: bool,
    /// None when the call is over.
    machine: Option<Box<dyn Call + 'a>>,
    /// By the machine's numbers.
    attempts: Vec<AttemptId>,
    /// The time of the last timer set; others are void.
    timer: Option<Duration>,
}

pub(super) struct Attempt {
    pub(super) call: CallId,
    /// The machine's number of it.
    number: usize,
    pub(super) client: ClientId,
    pub(super) endpoint: EndpointId,
    pub(super) key: Option<u64>,
    sent: Duration,
    /// When its client stops waiting.
    pub(super) deadline: Duration,
    pub(super) only_if_cached: bool,
    pub(super) is_over: bool,
    /// Whether it has brought a right answer.
    is_right: bool,
}

impl World<'_> {
    /// Begins a call.
    pub(super) fn begin(&mut self, id: ClientId) {
        let (key, known) = self.question(id);
        let now = self.instant();
        let limit = self.scenario.limits.call;
        let client = &mut self.clients[id];
        let mut call =
            CallState { client: id, begun: self.now, key, known, machine: None, attempts: Vec::new(), timer: None };
        client.in_flight += 1;
        let has_room = client.in_flight <= IN_FLIGHT_MAX;
        if has_room {
            let question = Question { key, may_hedge: self.scenario.may_hedge, ..Question::until(now + limit) };
            call.machine = Some(client.rules.call(question, now));
        }
        self.calls.push(call);
        let call = self.calls.len() - 1;
        if has_room { self.advance(call, CallEvent::Begin) } else { self.finish(call, None) }
    }

    /// Draws a key, and whether it is one that comes again and again.
    fn question(&mut self, id: ClientId) -> (Option<u64>, bool) {
        let new = self.calls.len() as u64;
        let client = &mut self.clients[id];
        match client.group.questions {
            Questions::Plain => (None, true),
            Questions::Keyed { known, new_share, new_from } => {
                let (chance, key) = (client.arrivals.f64(), below(&mut client.arrivals, known as usize) as u64);
                let is_new = self.now >= new_from && chance < new_share;
                (Some(if is_new { known + new } else { key }), !is_new)
            }
        }
    }

    /// Tells a call's machine of an event and does what it wants.
    fn advance(&mut self, id: CallId, mut event: CallEvent) {
        let now = self.instant();
        let client = self.calls[id].client;
        let Some(mut machine) = self.calls[id].machine.take() else { return };
        loop {
            match machine.step(event, now, &mut self.clients[client].decisions) {
                Step::Ask { attempt, endpoint, deadline, only_if_cached } => {
                    self.send(id, attempt, endpoint, deadline, only_if_cached);
                    event = CallEvent::Woken;
                }
                Step::Wait(until) => {
                    let call = &mut self.calls[id];
                    call.machine = Some(machine);
                    let at = until.saturating_duration_since(self.epoch).max(self.now);
                    if call.timer.replace(at) != Some(at) {
                        self.events.add(at, Event::Wake(id));
                    }
                    break;
                }
                Step::Done(outcome) => {
                    drop(machine);
                    self.finish(id, outcome);
                    break;
                }
            }
        }
        self.plan_probe(client, self.now);
        self.directory_changed(client);
    }

    pub(super) fn wake(&mut self, id: CallId) {
        if self.calls[id].timer == Some(self.now) {
            self.calls[id].timer = None;
            self.advance(id, CallEvent::Woken);
        }
    }

    fn send(&mut self, id: CallId, number: usize, endpoint: EndpointId, deadline: Instant, only_if_cached: bool) {
        let call = &mut self.calls[id];
        let (client, key) = (call.client, call.key);
        let deadline = deadline.saturating_duration_since(self.epoch);
        let attempt = self.attempts.len();
        call.attempts.push(attempt);
        let sent = self.now;
        self.attempts.push(Attempt {
            call: id,
            number,
            client,
            endpoint,
            key,
            sent,
            deadline,
            only_if_cached,
            is_over: false,
            is_right: false,
        });
        self.record.attempts.push((self.now, endpoint.server));
        self.events.add(deadline, Event::Timeout(attempt));
        self.events.add(self.now + self.one_way(attempt), Event::Request { attempt, repeats: 0 });
    }

    /// An attempt has ended: with a reply, or because its time is over.
    pub(super) fn ended(&mut self, id: AttemptId, reply: Option<Reply>) {
        let attempt = &mut self.attempts[id];
        if std::mem::replace(&mut attempt.is_over, true) {
            return;
        }
        if reply.is_none() {
            self.leave(id);
        }
        let attempt = &mut self.attempts[id];
        attempt.is_right = reply == Some(Reply::Answer);
        let (call, number, latency) = (attempt.call, attempt.number, self.now - attempt.sent);
        let ending = self.ending(reply, latency);
        self.advance(call, CallEvent::Ended { attempt: number, ending });
    }

    /// How a reply looks to the contestant.
    fn ending(&self, reply: Option<Reply>, latency: Duration) -> Ending {
        let Some(reply) = reply else { return Ending::TimedOut };
        let checks = self.contestant.checks_contract();
        match reply {
            Reply::Answer => Ending::Success { latency },
            Reply::Nonsense if !checks => Ending::Success { latency },
            Reply::Nonsense | Reply::Stranger if checks => Ending::WrongPeer,
            Reply::UpstreamFailure if checks => Ending::UpstreamFailed,
            Reply::UpstreamTimeout if checks => Ending::UpstreamTimedOut,
            Reply::NoRoom { retry_after } => Ending::NoRoom { retry_after: Some(retry_after) },
            Reply::Refused => Ending::Refused,
            _ => Ending::Failed,
        }
    }

    /// Ends a call, with what an attempt has brought.
    fn finish(&mut self, id: CallId, outcome: Option<usize>) {
        let call = &mut self.calls[id];
        let attempts = std::mem::take(&mut call.attempts);
        let client = call.client;
        for attempt in &attempts {
            if !std::mem::replace(&mut self.attempts[*attempt].is_over, true) {
                self.leave(*attempt);
            }
        }
        let call = &self.calls[id];
        self.clients[client].in_flight -= 1;
        self.record.calls.push(CallRecord {
            begun: call.begun,
            took: self.now - call.begun,
            answered: outcome.is_some_and(|number| self.attempts[attempts[number]].is_right),
            attempts: attempts.len(),
            known: call.known,
        });
    }
}

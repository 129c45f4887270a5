//! The endpoints that can be picked: one immutable list, replaced as a whole when the cluster changes.

use super::endpoint::{Endpoint, Target};
use super::ewma::PeerLatencies;
use super::random::AliasTable;
use super::round_robin::Turns;
use super::settings::Policy;
use crate::sync::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// The endpoints are counted anew this often, in nanoseconds, and only if there is a call: a count of a thousand every
/// 10 ms costs little, one at each call would cost more than all else.
const COUNTED_FOR: u64 = 10_000_000;

/// An endpoint and how it describes itself at present.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) target: Target,
    /// 1 to 100.
    pub(super) weight: u32,
}

impl Member {
    pub(super) fn rated(&self) -> (&Endpoint, f64) {
        (&self.endpoint, self.weight.into())
    }
}

/// Members among which one is drawn.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) members: Vec<Member>,
    pub(super) turns: Turns,
    alias: AliasTable,
    highest: u64,
}

impl Group {
    fn new(members: Vec<Member>, turn: u64) -> Self {
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        let highest = weights.iter().copied().max().unwrap_or(1).into();
        Self { members, turns: Turns::new(turn), alias: AliasTable::new(&weights), highest }
    }

    /// Draws a member by weight, at random or in turn. Instead of `not` its neighbour, so that two draws differ
    /// without drawing again. None if there is none.
    pub(super) fn draw(&self, policy: Policy, not: Option<&Member>, rng: &mut fastrand::Rng) -> Option<&Member> {
        let count = self.members.len();
        let index = match (count, policy) {
            (0, _) => return None,
            (1, _) => 0,
            (_, Policy::RoundRobin) => self.turns.next(count, self.highest, |index| self.members[index].weight.into()),
            _ => self.alias.draw(rng),
        };
        let member = self.members.get(index);
        match (member, not) {
            (Some(drawn), Some(not)) if std::ptr::eq(drawn, not) => self.members.get((index + 1) % count),
            _ => member,
        }
    }
}

/// All endpoints, and what was counted of them lately.
#[derive(Debug)]
pub(super) struct Roster {
    pub(super) own: Group,
    pub(super) others: Group,
    /// Members that get no calls, while the endings of those they have are still taken in.
    pub(super) draining: Vec<Member>,
    peers: Arc<PeerLatencies>,
    /// When it was counted (32 bits), and the place of a candidate whose trial call is due, plus 1 (32 bits; 0: none).
    counted: AtomicU64,
    /// The lowest latency of those available when it was counted: bits of seconds.
    fastest: AtomicU64,
}

impl Roster {
    /// `turns`: where the round robin of each group goes on.
    pub(super) fn new(
        own: Vec<Member>,
        others: Vec<Member>,
        draining: Vec<Member>,
        turns: [u64; 2],
        peers: &Arc<PeerLatencies>,
    ) -> Self {
        let (own, others) = (Group::new(own, turns[0]), Group::new(others, turns[1]));
        let (counted, fastest) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { own, others, draining, peers: Arc::clone(peers), counted, fastest }
    }

    /// All that can be picked, own zone first.
    pub(super) fn candidates(&self) -> impl Iterator<Item = &Member> {
        self.own.members.iter().chain(&self.others.members)
    }

    /// All there are.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.candidates().chain(&self.draining)
    }

    /// A candidate whose trial call was due when it was counted, at most 10 ms ago.
    pub(super) fn due(&self, now: Instant, nanos: u64) -> Option<&Member> {
        let tick = (nanos / COUNTED_FOR + 1) & u64::from(u32::MAX); // 0 only once in 500 days: then it is counted anew
        let mut word = self.counted.load(Ordering::Relaxed);
        if word >> 32 != tick || tick == 0 {
            word = (tick << 32) | self.count(now) as u64;
            self.counted.store(word, Ordering::Relaxed);
        }
        match word as u32 as usize {
            0 => None,
            place if place <= self.own.members.len() => self.own.members.get(place - 1),
            place => self.others.members.get(place - 1 - self.own.members.len()),
        }
    }

    /// The lowest latency of those available, in seconds, as counted last.
    pub(super) fn fastest(&self) -> f64 {
        f64::from_bits(self.fastest.load(Ordering::Relaxed))
    }

    /// Counts anew, and returns the place of a candidate whose trial call is due, plus 1; 0: none.
    fn count(&self, now: Instant) -> usize {
        let (mut sum, mut count, mut fastest, mut due) = (0.0, 0u32, f64::INFINITY, 0);
        for (place, member) in self.candidates().enumerate() {
            let breaker = member.endpoint.breaker();
            if breaker.state().is_available() {
                let latency = member.endpoint.latency_observed();
                if latency > 0.0 {
                    (sum, count, fastest) = (sum + latency, count + 1, fastest.min(latency));
                }
            } else if breaker.would_admit(now) {
                due = place + 1;
            }
        }
        self.peers.store(sum, count);
        self.fastest.store(fastest.to_bits(), Ordering::Relaxed);
        due
    }
}

//! Who can be picked: one immutable list, replaced as a whole when the cluster changes.

use super::endpoint::{Endpoint, Target};
use super::random::Alias;
use super::round_robin::Turns;
use crate::breaker::State;
use crate::config::Policy;
use crate::sync::{AtomicU64, Ordering};
use std::sync::Arc;

/// The share of available endpoints is counted anew this often, in nanoseconds, and only if somebody asks: a count of
/// a thousand every 10 ms is nothing, one at every call is everything.
const COUNTED_FOR: u64 = 10_000_000;
/// The own zone takes all calls while this times its available share is at least 1, so while 5 of 7 are available;
/// below that the rest goes to other zones (Envoy's overprovisioning factor).
const RESERVE: f64 = 1.4;

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
    alias: Alias,
    highest: u64,
}

impl Group {
    fn new(members: Vec<Member>, turn: u64) -> Self {
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        let highest = weights.iter().copied().max().unwrap_or(1).into();
        Self { members, turns: Turns::new(turn), alias: Alias::new(&weights), highest }
    }

    /// One of the members by weight, at random or in turn. Instead of `not` its neighbour, so that two draws differ
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

    fn weight(&self) -> f64 {
        self.members.iter().map(|member| f64::from(member.weight)).sum()
    }
}

/// What was counted last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Health {
    /// Whether fewer than the threshold are available, so that all are candidates.
    pub(super) panic: bool,
    /// The share of calls for the own zone.
    pub(super) own_share: f64,
}

#[derive(Debug)]
pub(super) struct Roster {
    pub(super) own: Group,
    pub(super) others: Group,
    /// They get no calls, but those they have still teach.
    pub(super) draining: Vec<Member>,
    own_by_weight: f64,
    /// When it was counted (32 bits), then [`Health`]: panic, and the own share in parts of 2^16.
    counted: AtomicU64,
    /// The lowest latency of those available when it was counted: bits of seconds.
    fastest: AtomicU64,
}

impl Roster {
    /// `turns`: where the round robin of each group goes on.
    pub(super) fn new(own: Vec<Member>, others: Vec<Member>, draining: Vec<Member>, turns: [u64; 2]) -> Self {
        let (own, others) = (Group::new(own, turns[0]), Group::new(others, turns[1]));
        let own_by_weight = own.weight() / (own.weight() + others.weight()).max(1.0);
        let (counted, fastest) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { own, others, draining, own_by_weight, counted, fastest }
    }

    /// All that can be picked, own zone first.
    pub(super) fn candidates(&self) -> impl Iterator<Item = &Member> {
        self.own.members.iter().chain(&self.others.members)
    }

    /// All there are.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.candidates().chain(&self.draining)
    }

    /// The group for one call.
    pub(super) fn group(&self, threshold: f64, now: u64, rng: &mut fastrand::Rng) -> &Group {
        if self.others.members.is_empty() {
            return &self.own;
        }
        if self.own.members.is_empty() {
            return &self.others;
        }
        let health = self.health(threshold, now);
        let share = if health.panic { self.own_by_weight } else { health.own_share };
        if share >= 1.0 || rng.f64() < share { &self.own } else { &self.others }
    }

    /// How many are available, as counted at most 10 ms ago.
    pub(super) fn health(&self, threshold: f64, now: u64) -> Health {
        let tick = (now / COUNTED_FOR + 1) & u64::from(u32::MAX); // 0 only once in 500 days: then it is counted anew
        let mut word = self.counted.load(Ordering::Relaxed);
        if word >> 32 != tick || tick == 0 {
            let health = self.count(threshold, now);
            word = (tick << 32) | (u64::from(health.panic) << 31) | (health.own_share * 65536.0) as u64;
            self.counted.store(word, Ordering::Relaxed);
        }
        Health { panic: word & (1 << 31) != 0, own_share: (word & 0x7FFF_FFFF) as f64 / 65536.0 }
    }

    /// The lowest latency of those available, in seconds, as counted at most 10 ms ago.
    pub(super) fn fastest(&self, threshold: f64, now: u64) -> f64 {
        self.health(threshold, now);
        f64::from_bits(self.fastest.load(Ordering::Relaxed))
    }

    fn count(&self, threshold: f64, now: u64) -> Health {
        let (mut able, mut available, mut own, mut fastest) = (0u32, 0u32, 0u32, f64::INFINITY);
        for (index, member) in self.candidates().enumerate() {
            let state = member.endpoint.breaker().state();
            able += u32::from(state != State::ForcedOpen);
            if state.is_available() {
                available += 1;
                own += u32::from(index < self.own.members.len());
                let latency = member.endpoint.latency.at(now);
                fastest = if latency > 0.0 { latency.min(fastest) } else { fastest };
            }
        }
        self.fastest.store(fastest.to_bits(), Ordering::Relaxed);
        let own_share = (RESERVE * f64::from(own) / (self.own.members.len().max(1)) as f64).min(1.0);
        Health { panic: able > 0 && f64::from(available) / f64::from(able) < threshold, own_share }
    }
}

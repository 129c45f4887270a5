//! The choice when no draw has found an endpoint: a look at all of them, and the best class that has one.

use super::endpoint::Busy;
use super::roster::Member;
use super::{Balancer, NoPick, Pick, PickArguments, peak_ewma};
use crate::breaker::{Permit, State};

// Classes of endpoints, best first.
const WELL: usize = 0;
const FULL: usize = 1;
const FAILING: usize = 2;
const SILENT: usize = 3;

impl Balancer {
    /// For when the draws found none: looks at all, and takes the best there is.
    pub(super) fn last_resort(&self, ask: &PickArguments<'_>, rng: &mut fastrand::Rng) -> Result<Pick, NoPick> {
        let mut classes: [Sample<'_>; 4] = Default::default();
        let (mut known, mut left) = (false, false);
        for member in ask.roster.candidates() {
            known = true;
            if ask.was_tried(member) {
                continue;
            }
            left = true;
            let breaker = member.endpoint.breaker();
            let class = match breaker.state() {
                State::ForcedOpen => continue,
                State::Open | State::HalfOpen if breaker.open_reason().is_some_and(|reason| reason.is_silence()) => {
                    SILENT
                }
                State::Open | State::HalfOpen => FAILING,
                _ if member.endpoint.is_full(ask.nanos) => FULL,
                _ => WELL,
            };
            classes[class].add(member, rng);
        }
        for (class, sample) in classes.iter().enumerate() {
            let Some(member) = sample.best(ask.nanos, rng) else { continue };
            match class {
                WELL => {}
                FULL if !ask.is_first() => return Err(NoPick::NoRoom),
                SILENT if !ask.is_first() => return Err(NoPick::AllOut),
                _ if ask.wanted.only_well => return Err(NoPick::AllOut),
                _ => {}
            }
            return Ok(self.take(member, ask).unwrap_or_else(|_| {
                let permit = Permit::forced(Busy::new(&member.endpoint, ask.nanos));
                Pick { permit, started: ask.now, weight: member.weight }
            }));
        }
        Err(match (known, left) {
            (false, _) => NoPick::Empty,
            (true, false) => NoPick::AllTried,
            (true, true) => NoPick::ForcedOpen,
        })
    }
}

/// Two members drawn at random of those added, each as likely as the others (reservoir sampling).
#[derive(Default)]
struct Sample<'a> {
    two: [Option<&'a Member>; 2],
    seen: usize,
}

impl<'a> Sample<'a> {
    fn add(&mut self, member: &'a Member, rng: &mut fastrand::Rng) {
        let place = if self.seen < 2 { self.seen } else { rng.usize(..=self.seen) };
        self.seen += 1;
        if let Some(slot) = self.two.get_mut(place) {
            *slot = Some(member);
        }
    }

    /// The cheaper of the two; of equal ones either.
    fn best(&self, now: u64, rng: &mut fastrand::Rng) -> Option<&'a Member> {
        let cost = |member: &Member| peak_ewma::cost(&member.endpoint, member.weight.into(), now);
        let mut two = self.two;
        if rng.bool() {
            two.reverse(); // the first one added is in the first place, or nowhere
        }
        two.into_iter().flatten().min_by(|a, b| cost(a).total_cmp(&cost(b)))
    }
}

//! A home for equal questions: the same endpoint each time, so that its cache has the answer.

use super::roster::Member;
use super::{Ask, Balancer};

/// A home takes at most this multiple of the mean calls in flight (consistent hashing with bounded loads; Mirrokni,
/// Thorup, Zadimoghaddam, 2016).
const HOME_LOAD: f64 = 1.25;
/// So many calls in flight are no reason to leave a warm cache, whatever the mean.
const HOME_LOAD_MIN: f64 = 16.0;
/// From this share of failures on an endpoint is no home: three or four failures within two seconds.
const HOME_FAILURES_MAX: f64 = 0.3;

impl Balancer {
    /// The candidate with the highest affinity to `key`, own zone first, that is neither overloaded nor failing, and
    /// whose share, if it is new or recovered, includes the key already.
    pub(super) fn home<'a>(&self, ask: &Ask<'a>, key: u64) -> Option<&'a Member> {
        [&ask.roster.own, &ask.roster.others].into_iter().find_map(|group| {
            let candidates = || group.members.iter().filter(|member| ask.is_candidate(member));
            let (load, weight) = candidates().fold((0.0, 0.0), |(load, weight), member| {
                (load + member.endpoint.in_flight() as f64, weight + f64::from(member.weight))
            });
            let has_room = |member: &Member| {
                let bound = HOME_LOAD * (load + 1.0) * f64::from(member.weight) / weight;
                (member.endpoint.in_flight() as f64) < bound.max(HOME_LOAD_MIN)
            };
            let affinity = |member: &Member| member.endpoint.affinity(key, member.weight.into());
            candidates()
                .filter(|member| has_room(member) && member.endpoint.failures.at(ask.nanos) < HOME_FAILURES_MAX)
                .filter(|member| member.endpoint.lot(key) <= member.endpoint.share(self.slow_start, ask.now))
                .max_by(|a, b| affinity(a).total_cmp(&affinity(b)))
        })
    }
}

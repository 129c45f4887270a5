//! A home for equal questions: the same endpoint each time, so that its cache has the answer.

use super::roster::Member;
use super::{Balancer, PickArguments, peak_ewma};

/// A home that has calls in flight is passed over when one more would cost this many times what it costs elsewhere:
/// then the queue takes longer than the cache saves. With equal latencies that is from two calls in flight more on.
const HOME_COST: f64 = 2.0;
/// From this share of failures on an endpoint is no home: three or four failures within two seconds.
const HOME_FAILURES_MAX: f64 = 0.3;

impl Balancer {
    /// The candidate with the highest affinity to `key`, own zone first, that is neither overloaded nor failing, and
    /// whose share, if it is new or recovered, includes the key already.
    pub(super) fn home<'a>(&self, ask: &PickArguments<'a>, key: u64) -> Option<&'a Member> {
        [&ask.roster.own, &ask.roster.others].into_iter().find_map(|group| {
            let candidates = || group.members.iter().filter(|member| ask.is_candidate(member));
            let cost = |member: &Member| peak_ewma::cost(&member.endpoint, member.weight.into(), ask.nanos);
            let least = candidates().map(cost).fold(f64::INFINITY, f64::min);
            let has_room = |member: &Member| {
                member.endpoint.in_flight() == 0
                    || member.endpoint.waits_for_upstream(ask.nanos)
                    || cost(member) <= HOME_COST * least
            };
            let affinity = |member: &Member| member.endpoint.affinity(key, member.weight.into());
            candidates()
                .filter(|member| has_room(member) && member.endpoint.failures.at(ask.nanos) < HOME_FAILURES_MAX)
                .filter(|member| member.endpoint.lot(key) <= member.endpoint.share(self.slow_start, ask.now))
                .max_by(|a, b| affinity(a).total_cmp(&affinity(b)))
        })
    }
}

//! How many instances are kept. Those that have answered a probe are never pushed out by those that have not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Entry, InstanceTable, Key, State};
use crate::discovery::schedule::Schedule;
use crate::discovery::{Instance, Status};

/// Instances of one service in use; a lecture hall of Pis has fewer.
pub const MAX_PER_SERVICE: usize = 256;
/// Instances in use in all.
pub const MAX_INSTANCES: usize = 1024;
/// Lost instances that are still probed; a whole shelf of Pis can lose power, a flood of forged goodbyes can name more.
pub const MAX_LOST: usize = 256;
/// Announced instances that have not answered a probe yet. Forged ones make room for others once they have failed to.
pub const MAX_UNPROVEN: usize = 512;
/// Addresses of one instance: a Pi has two interfaces, and twice as many addresses for a moment while they change.
pub const MAX_ADDRESSES: usize = 8;

/// Shortest time between log lines that there is no room, or that an announced instance does not answer.
const TOLD_AT_MOST_EVERY: Duration = Duration::from_secs(10);

/// Instances for which there was no room.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// When that was last said.
    said: Option<Instant>,
    /// Whether there was one since there was room again.
    any: bool,
}

/// Whether something may be said now that was last said at `said`; then it counts as said.
pub(super) fn may_tell(said: &mut Option<Instant>, now: Instant) -> bool {
    let may = said.is_none_or(|at| now.saturating_duration_since(at) >= TOLD_AT_MOST_EVERY);
    if may {
        *said = Some(now);
    }
    may
}

impl InstanceTable {
    /// Whether `at` may be in use, as it is or besides the others.
    pub(super) fn has_room_in_use(&self, at: &Key, service: &str) -> bool {
        let (mut all, mut same) = (0, 0);
        for (_, entry) in self.in_state(State::InUse).filter(|(key, _)| *key != at) {
            all += 1;
            same += usize::from(*entry.instance.service == *service);
        }
        all < MAX_INSTANCES && same < MAX_PER_SERVICE
    }

    /// An instance is announced that was not known. One that is ending already is of no use.
    pub(super) fn add_unproven(&mut self, at: Key, mut instance: Instance, addrs: Box<[SocketAddr]>, now: Instant) {
        if instance.status == Status::Drain {
            return;
        }
        if !self.make_room_unproven() {
            return self.leave_out(&instance.id, now);
        }
        instance.addr = addrs[0];
        let mut entry = Entry::new(Arc::new(instance), addrs, State::Unproven, now);
        entry.schedule = Schedule::At(now);
        self.entries.insert(at, entry);
        self.effects.wants_probe = true;
    }

    /// True if one more can be kept. The one that failed most probes makes room.
    fn make_room_unproven(&mut self) -> bool {
        if self.in_state(State::Unproven).count() < MAX_UNPROVEN {
            return true;
        }
        let failed = self.in_state(State::Unproven).filter(|(_, entry)| entry.failures > 0);
        let Some(worst) = failed.max_by_key(|(_, entry)| entry.failures).map(|(key, _)| key.clone()) else {
            return false;
        };
        self.entries.remove(&worst).is_some()
    }

    /// Makes room for one more lost instance: the one that was lost first is forgotten.
    pub(super) fn make_room_lost(&mut self) {
        if self.in_state(State::Lost).count() >= MAX_LOST {
            let oldest = self.in_state(State::Lost).min_by_key(|(_, entry)| entry.since).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.forget(&oldest));
        }
    }

    /// A flood names thousands; the log and the LAN hear of it now and then. A look shows which of them are there, and,
    /// once one that is not has made room, finds those that were left out.
    pub(super) fn leave_out(&mut self, id: &str, now: Instant) {
        self.left_out.any = true;
        if may_tell(&mut self.left_out.said, now) {
            self.effects.wants_look = true;
            log::warn!("{id} is left out, maybe with others: there are too many instances already");
        }
    }

    /// An entry is gone: instances that were left out may be taken in now.
    pub(super) fn has_room_again(&mut self) {
        self.effects.wants_look |= std::mem::take(&mut self.left_out.any);
    }
}

//! Connections between two exchanges. Whatever is not known to be clean never comes here, so what is taken out is only
//! ever old, closed or fine; the first two show when it is used.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use event_listener::Event;

use super::connection::Connection;

/// Idle connections to one endpoint, the one used last at the end, so that the others grow old.
type Idle = Vec<Box<Connection>>;

/// Limits of the pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) idle_timeout: Duration,
    pub(super) per_endpoint: usize,
    /// To all endpoints together.
    pub(super) total: usize,
}

/// The idle connections of a process.
pub(super) struct Pool {
    limits: Limits,
    endpoints: Mutex<Endpoints>,
    /// Notified when a connection comes.
    filled: Event,
}

/// The idle connections by endpoint.
#[derive(Default)]
struct Endpoints {
    /// By `host:port`, plain and TLS. A list stays, empty, while its connections are out: they will be back. At most
    /// [`Limits::total`] lists.
    idle: [HashMap<Box<str>, Idle>; 2],
    /// Connections in all lists.
    count: usize,
}

impl Pool {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, endpoints: Mutex::default(), filled: Event::new() }
    }

    /// The connection used last to `key`, if it is not too old.
    pub(super) fn take(&self, key: &str, https: bool, now: Instant) -> Option<Box<Connection>> {
        let (taken, dropped) = self.with(|endpoints| {
            let Some(taken) = endpoints.idle[usize::from(https)].get_mut(key).and_then(Vec::pop) else {
                return (None, None);
            };
            endpoints.count -= 1;
            // If the one used last is too old, all others are.
            if self.is_old(&taken, now) {
                (None, Some((taken, endpoints.remove(key, https))))
            } else {
                (Some(taken), None)
            }
        });
        drop(dropped);
        taken
    }

    /// Keeps `connection` for the next exchange, or the younger ones if there are too many.
    pub(super) fn put(&self, connection: Box<Connection>, now: Instant) {
        if self.limits.per_endpoint == 0 || self.limits.total == 0 {
            return;
        }
        let dropped = self.with(|endpoints| {
            let map = &mut endpoints.idle[usize::from(connection.https)];
            endpoints.count += 1;
            let Some(list) = map.get_mut(&*connection.key) else {
                map.insert((*connection.key).into(), vec![connection]);
                return endpoints.shrink(self.limits.total);
            };
            let too_many = list.len() >= self.limits.per_endpoint;
            let too_old = list.first().is_some_and(|oldest| self.is_old(oldest, now));
            let dropped = (too_many || too_old).then(|| list.remove(0));
            list.push(connection);
            match dropped {
                Some(dropped) => {
                    endpoints.count -= 1;
                    vec![dropped]
                }
                None => endpoints.shrink(self.limits.total),
            }
        });
        drop(dropped);
        self.filled.notify(usize::MAX);
    }

    /// Drops what is idle towards `key`; its server has been restarted or is gone.
    pub(super) fn forget(&self, key: &str, https: bool) {
        drop(self.with(|endpoints| endpoints.remove(key, https)));
    }

    /// Drops what is too old or was closed by its server; returns how many are left.
    pub(super) fn sweep(&self, now: Instant) -> usize {
        let (dropped, left) = self.with(|endpoints| {
            let dropped = endpoints.retain(|connection| !self.is_old(connection, now) && connection.is_alive());
            (dropped, endpoints.count)
        });
        drop(dropped);
        left
    }

    /// How many connections are idle.
    pub(super) fn len(&self) -> usize {
        self.with(|endpoints| endpoints.count)
    }

    /// Returns when there is something to sweep.
    pub(super) async fn filled(&self) {
        loop {
            let listener = self.filled.listen();
            if self.len() > 0 {
                return;
            }
            listener.await;
        }
    }

    fn is_old(&self, connection: &Connection, now: Instant) -> bool {
        now.saturating_duration_since(connection.idle_since) >= self.limits.idle_timeout
    }

    /// A call never waits for sockets to be closed: `work` hands out what is to be dropped after the lock.
    fn with<T>(&self, work: impl FnOnce(&mut Endpoints) -> T) -> T {
        work(&mut self.endpoints.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Endpoints {
    fn remove(&mut self, key: &str, https: bool) -> Idle {
        let removed = self.idle[usize::from(https)].remove(key).unwrap_or_default();
        self.count -= removed.len();
        removed
    }

    /// Removes the connections that are not to be kept, and every list that is then empty.
    fn retain(&mut self, mut keep: impl FnMut(&mut Connection) -> bool) -> Idle {
        let mut dropped = Idle::new();
        for map in &mut self.idle {
            map.retain(|_, list| {
                let mut at = 0;
                while let Some(connection) = list.get_mut(at) {
                    if keep(connection) { at += 1 } else { dropped.push(list.remove(at)) }
                }
                !list.is_empty()
            });
        }
        self.count -= dropped.len();
        dropped
    }

    /// When there are more than `total` connections or lists: removes the connections idle longest, an eighth of
    /// `total` at once so that looking at all of them is rare, and the empty lists.
    fn shrink(&mut self, total: usize) -> Idle {
        let lists: usize = self.idle.iter().map(HashMap::len).sum();
        if self.count <= total && lists <= total {
            return Idle::new();
        }
        let mut excess = if self.count > total { self.count - (total - total / 8) } else { 0 };
        let all = self.idle.iter().flat_map(HashMap::values).flatten();
        let mut since: Vec<Instant> = all.map(|connection| connection.idle_since).collect();
        since.sort_unstable();
        let newest = excess.checked_sub(1).and_then(|last| since.get(last).copied());
        self.retain(|connection| {
            let drops = excess > 0 && newest.is_some_and(|newest| connection.idle_since <= newest);
            excess -= usize::from(drops);
            !drops
        })
    }
}

//! Connections between two exchanges. Whatever is not known to be clean never comes here, so what is taken out is only
//! ever old, closed or fine; the first two show when it is used.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use event_listener::Event;

use super::client::Connection;

/// Idle connections, the one used last at the end, so that the others grow old.
type Idle = Vec<Box<Connection>>;

/// What the pool may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) idle_timeout: Duration,
    pub(super) per_endpoint: usize,
    pub(super) endpoints: usize,
}

/// The idle connections of a process.
pub(super) struct Pool {
    limits: Limits,
    /// By `host:port`, plain and TLS. A list stays, empty, while its connections are out: they will be back.
    idle: Mutex<[HashMap<Box<str>, Idle>; 2]>,
    /// Told when a connection comes.
    filled: Event,
}

impl Pool {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, idle: Mutex::default(), filled: Event::new() }
    }

    /// The connection used last to `key`, if it is not too old.
    pub(super) fn take(&self, key: &str, https: bool, now: Instant) -> Option<Box<Connection>> {
        let (taken, dropped) = self.with(|idle| {
            let map = &mut idle[usize::from(https)];
            match map.get_mut(key).and_then(Vec::pop) {
                Some(young) if !self.is_old(&young, now) => (Some(young), None),
                // All others are older still.
                Some(old) => (None, Some((old, map.remove(key)))),
                None => (None, None),
            }
        });
        drop(dropped);
        taken
    }

    /// Keeps `connection` for the next exchange, or the younger ones if there are too many.
    pub(super) fn put(&self, connection: Box<Connection>, now: Instant) {
        if self.limits.per_endpoint == 0 || self.limits.endpoints == 0 {
            return;
        }
        let dropped = self.with(|idle| {
            let map = &mut idle[usize::from(connection.https)];
            if let Some(list) = map.get_mut(&*connection.key) {
                let too_many = list.len() >= self.limits.per_endpoint;
                let too_old = list.first().is_some_and(|oldest| self.is_old(oldest, now));
                let dropped = (too_many || too_old).then(|| list.remove(0));
                list.push(connection);
                return dropped.into_iter().collect();
            }
            map.insert((*connection.key).into(), vec![connection]);
            self.shrink(idle)
        });
        drop(dropped);
        self.filled.notify(usize::MAX);
    }

    /// Drops what is idle towards `key`; its server has been restarted or is gone.
    pub(super) fn forget(&self, key: &str, https: bool) {
        drop(self.with(|idle| idle[usize::from(https)].remove(key)));
    }

    /// Drops what is too old or was closed by its server; returns how many are left.
    pub(super) fn sweep(&self, now: Instant) -> usize {
        let (dropped, left) = self.with(|idle| {
            let mut dropped = Idle::new();
            for map in idle.iter_mut() {
                for list in map.values_mut() {
                    let (kept, gone) = std::mem::take(list)
                        .into_iter()
                        .partition::<Idle, _>(|connection| !self.is_old(connection, now));
                    dropped.extend(gone);
                    for mut connection in kept {
                        if connection.is_alive() { list.push(connection) } else { dropped.push(connection) }
                    }
                }
                map.retain(|_, list| !list.is_empty());
            }
            (dropped, idle.iter().flat_map(HashMap::values).map(Vec::len).sum())
        });
        drop(dropped);
        left
    }

    /// How many connections are idle.
    pub(super) fn len(&self) -> usize {
        self.with(|idle| idle.iter().flat_map(HashMap::values).map(Vec::len).sum())
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

    /// The endpoints used longest ago go when there are too many.
    fn shrink(&self, idle: &mut [HashMap<Box<str>, Idle>; 2]) -> Idle {
        let mut dropped = Idle::new();
        while idle.iter().map(HashMap::len).sum::<usize>() > self.limits.endpoints {
            let used = |list: &Idle| list.last().map(|connection| connection.idle_since);
            let oldest = (0..idle.len())
                .flat_map(|https| idle[https].iter().map(move |(key, list)| (used(list), https, key)))
                .min_by_key(|&(used, ..)| used)
                .map(|(_, https, key)| (https, key.clone()));
            let Some((https, key)) = oldest else { break };
            dropped.extend(idle[https].remove(&key).into_iter().flatten());
        }
        dropped
    }

    fn is_old(&self, connection: &Connection, now: Instant) -> bool {
        now.saturating_duration_since(connection.idle_since) >= self.limits.idle_timeout
    }

    /// A call never waits for sockets to be closed: `work` hands out what is to be dropped after the lock.
    fn with<T>(&self, work: impl FnOnce(&mut [HashMap<Box<str>, Idle>; 2]) -> T) -> T {
        work(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

//! The simplest client that a service could have instead, as a baseline: nothing of the code under test.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::http::ask_until;

/// Asks one address after the other. What is not answered 200 within [`ATTEMPT`](RoundRobin::ATTEMPT) is asked once
/// more at the next one. It learns nothing.
#[derive(Debug)]
pub(crate) struct RoundRobin {
    addrs: Vec<SocketAddr>,
    next: AtomicUsize,
}

impl RoundRobin {
    const ATTEMPT: Duration = Duration::from_millis(1300);

    pub(crate) fn new(addrs: &[SocketAddr]) -> Self {
        Self { addrs: addrs.to_vec(), next: AtomicUsize::new(0) }
    }

    /// Status and body of a GET.
    pub(crate) fn get(&self, path: &str) -> io::Result<(u16, String)> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        match self.attempt(turn, path) {
            Ok((200, body)) => Ok((200, body)),
            _ => self.attempt(turn + 1, path),
        }
    }

    fn attempt(&self, turn: usize, path: &str) -> io::Result<(u16, String)> {
        let addr = self.addrs[turn % self.addrs.len()];
        ask_until(addr, "GET", path, "", Instant::now() + Self::ATTEMPT)
    }
}

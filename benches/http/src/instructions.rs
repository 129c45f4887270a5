//! Time is noisy, instructions are not: valgrind counts them in user space. Twice as many questions with the same
//! program, the difference divided by the number: what a start and an end cost cancels out. The median of three, since
//! a process that is woken by another thread once more or less moves a single count by a few percent.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;
use crate::memory::{ask, connect};
use crate::peers::{Bench, Peer};
use crate::process::is_installed;

const COUNTS: usize = 3;
/// valgrind writes its profile at the end, and is slow.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// Proof that valgrind is there.
pub(crate) struct Valgrind;

impl Valgrind {
    pub(crate) fn find() -> Option<Self> {
        is_installed("valgrind").then_some(Self)
    }

    /// Instructions that `peer` needs for one question on a kept connection.
    /// After `until` one count must do.
    #[expect(clippy::unused_self, reason = "without valgrind there is nothing to count with")]
    pub(crate) fn instructions_a_question(
        &self,
        bench: &Bench,
        peer: Peer,
        questions: usize,
        until: Instant,
    ) -> Result<u64> {
        let mut counts = Vec::new();
        while counts.is_empty() || (counts.len() < COUNTS && Instant::now() < until) {
            let fewer = total(bench, peer, questions)?;
            bench.interrupt().check()?;
            let more = total(bench, peer, questions * 2)?;
            counts.push(more.saturating_sub(fewer) / questions as u64);
        }
        counts.sort_unstable();
        Ok(counts[counts.len() / 2])
    }
}

/// Of the whole life of a process that answers `questions`.
fn total(bench: &Bench, peer: Peer, questions: usize) -> Result<u64> {
    let profile = bench.dir().join(format!("callgrind.{}.{questions}", peer.name()));
    let running = bench.start(peer, Some(&profile))?;
    let mut connection = connect(running.addr())?;
    ask(&mut connection, running.addr(), questions)?;
    running.into_process().terminate(ENDS_WITHIN)?;
    summary(&profile)
}

/// The sum over all functions.
fn summary(profile: &Path) -> Result<u64> {
    let profile = fs::read_to_string(profile)?;
    let total = profile.lines().rev().find_map(|line| line.strip_prefix("totals:"));
    Ok(total.ok_or("the profile has no totals")?.trim().parse()?)
}

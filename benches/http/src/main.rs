//! A figure means something only beside another, measured in the same minute on the same machine: ours and its peers
//! take turns, round by round, so that whatever else the machine does hurts all of them alike.
//!
//! `cargo run --release` in this directory builds the programs that are measured, starts each on loopback, and ends it.

mod instructions;
mod load;
mod memory;
mod peers;
mod process;
mod table;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::instructions::Valgrind;
use crate::load::Load;
use crate::peers::{Bench, Peer, Task};
use crate::process::Interrupt;
use crate::table::{Measured, Round};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How much is measured.
struct Effort {
    rounds: usize,
    /// A round's questions to a server; a forwarder gets half.
    questions: usize,
    /// After this long no further round begins.
    rounds_end: Duration,
    /// Questions in the shorter of two runs under valgrind.
    counted: usize,
    /// After this long, from the start of all, instructions are counted once instead of three times.
    counts_end: Duration,
}

const FULL: Effort = Effort {
    rounds: 15,
    questions: 24_000,
    rounds_end: Duration::from_secs(100),
    counted: 1000,
    counts_end: Duration::from_secs(170),
};
const QUICK: Effort = Effort {
    rounds: 3,
    questions: 6_000,
    rounds_end: Duration::from_secs(20),
    counted: 300,
    counts_end: Duration::from_secs(30),
};

/// A median of fewer says nothing.
const LEAST_ROUNDS: usize = 3;
/// Connections that ask at the same time.
const CONNECTIONS: usize = 16;

const USAGE: &str = "usage: bench-http [--quick]

Measures Bramble's server and forwarding against axum, HAProxy and nginx: once built, at most 4 minutes, with --quick
at most 1 minute.";

fn main() -> ExitCode {
    let effort = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => FULL,
        [flag] if flag == "--quick" => QUICK,
        [flag] if flag == "--help" => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&effort) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-http: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(effort: &Effort) -> Result<()> {
    let bench = Bench::new(Interrupt::new()?)?;
    let began = Instant::now();
    let mut all = Vec::new();
    for peer in Peer::ALL {
        if peer.is_installed() {
            all.push((peer, Measured::new(peer.name())));
        } else {
            println!("{} is not installed: left out", peer.name());
        }
    }
    eprintln!("memory ...");
    for (peer, measured) in &mut all {
        measured.memory = memory::of(&bench, *peer).map_err(|error| format!("{}: {error}", peer.name()))?;
    }
    rounds(&bench, &mut all, effort)?;
    count(&bench, &mut all, effort, began + effort.counts_end)?;
    println!("\n{}", table::head(CONNECTIONS));
    for (task, title) in [(Task::Serve, "serving 300 bytes"), (Task::Forward, "forwarding 300 bytes")] {
        let columns: Vec<&Measured> = all.iter().filter(|(peer, _)| peer.task() == task).map(|(_, it)| it).collect();
        println!("{}", table::render(title, &columns));
    }
    Ok(())
}

/// The load, in turns: there and back again, so that a drift of the machine's speed cancels out.
fn rounds(bench: &Bench, all: &mut [(Peer, Measured)], effort: &Effort) -> Result<()> {
    let mut running = Vec::new();
    for (peer, _) in all.iter() {
        running.push(bench.start(*peer, None)?);
    }
    let began = Instant::now();
    for round in 0..=effort.rounds {
        if round > LEAST_ROUNDS && began.elapsed() > effort.rounds_end {
            eprintln!("the machine is slow: {} rounds instead of {}", round - 1, effort.rounds);
            break;
        }
        eprint!("\rround {round} of {} ", effort.rounds);
        let mut order: Vec<usize> = (0..all.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let (peer, measured) = &mut all[at];
            let questions = if peer.task() == Task::Serve { effort.questions } else { effort.questions / 2 };
            let load = Load { addr: running[at].addr(), connections: CONNECTIONS, questions };
            let process = running[at].process();
            let before = process.cpu()?;
            let done = load.run(bench.interrupt()).map_err(|error| format!("{}: {error}", peer.name()))?;
            let cpu = process.cpu()?.saturating_sub(before);
            // The first round warms up.
            if round > 0 {
                measured.rounds.push(Round::new(&done, cpu));
                measured.memory.loaded = measured.memory.loaded.max(process.rss()?);
            }
        }
    }
    eprintln!();
    Ok(())
}

fn count(bench: &Bench, all: &mut [(Peer, Measured)], effort: &Effort, until: Instant) -> Result<()> {
    let Some(valgrind) = Valgrind::find() else {
        println!("valgrind is not installed: instructions are not counted");
        return Ok(());
    };
    eprintln!("instructions ...");
    for (peer, measured) in all {
        match valgrind.instructions_a_question(bench, *peer, effort.counted, until) {
            Ok(count) => measured.instructions = Some(count),
            Err(error) => println!("{}: instructions not counted: {error}", peer.name()),
        }
        bench.interrupt().check()?;
    }
    Ok(())
}

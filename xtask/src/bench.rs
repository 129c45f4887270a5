//! The benches. What `http` and `resilience` compare Bramble with is no dependency of Bramble: each is a workspace of
//! its own.

use crate::run::{self, Workspace};
use crate::{card, hosts};

struct Bench {
    name: &'static str,
    how: How,
    about: &'static str,
}

enum How {
    /// `cargo run` of the package in `benches/NAME`.
    Run,
    /// `cargo bench` of it.
    Bench,
    /// `cargo run` of this member of the workspace.
    Member(&'static str),
    /// Tests of the hosts tier, with a stopwatch.
    Hosts,
    /// Likewise what tests the card.
    Card,
}

const BENCHES: &[Bench] = &[
    Bench { name: "http", how: How::Run, about: "server and forwarding beside axum, reqwest, HAProxy and nginx" },
    Bench { name: "resilience", how: How::Bench, about: "breaker and balancer beside the crates for them" },
    Bench {
        name: "survive",
        how: How::Member("bramble-survive"),
        about: "what callers get under faults, simulated, beside simple rules; [--lost] [WORD]... for some",
    },
    Bench { name: "discovery", how: How::Hosts, about: "how long hosts take to know what comes and goes" },
    Bench {
        name: "image",
        how: How::Card,
        about: "the SD card: size, time to serve, memory, by N emulated starts (5)",
    },
];

/// Names of the benches and what they measure, for a person.
pub(crate) fn list() -> String {
    BENCHES.iter().map(|bench| format!("  {:12} {}\n", bench.name, bench.about)).collect()
}

/// Runs the bench named first with what follows as its own arguments; all of them, if none is named.
pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<(), String> {
    let (name, rest) = match arguments {
        [] => (None, arguments),
        [name, rest @ ..] => (Some(*name), rest),
    };
    let chosen: Vec<&Bench> = BENCHES.iter().filter(|bench| name.is_none_or(|name| name == bench.name)).collect();
    if chosen.is_empty() {
        return Err(format!("There is no such bench; there are:\n{}", list().trim_end()));
    }
    for Bench { name, how, .. } in chosen {
        println!("\n== bench: {name}");
        let manifest = format!("benches/{name}/Cargo.toml");
        let mut cargo = match how {
            How::Run => workspace.cargo(["run", "--quiet", "--release", "--manifest-path", &manifest]),
            How::Bench => workspace.cargo(["bench", "--quiet", "--manifest-path", &manifest]),
            How::Member(package) => workspace.cargo(["run", "--quiet", "--release", "--package", package]),
            How::Hosts => {
                hosts::bench(workspace)?;
                continue;
            }
            How::Card => {
                card::bench(workspace, rest)?;
                continue;
            }
        };
        run::finish(cargo.arg("--").args(rest))?;
    }
    Ok(())
}

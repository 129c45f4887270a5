//! Each folder of `benches/` is a package of its own: what it compares us with is no dependency of ours.

use crate::run::{self, Workspace};

struct Bench {
    /// Name of the folder, and of the bench.
    name: &'static str,
    /// How cargo runs it.
    command: &'static str,
    about: &'static str,
}

const BENCHES: &[Bench] = &[
    Bench { name: "http", command: "run", about: "server and forwarding beside axum, reqwest, HAProxy and nginx" },
    Bench { name: "resilience", command: "bench", about: "breaker and balancer beside the crates for them" },
];

/// Their names and what they measure, for a person.
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
    for Bench { name, command, .. } in chosen {
        println!("\n== bench: {name}");
        let manifest = format!("benches/{name}/Cargo.toml");
        let mut cargo = workspace.cargo([*command, "--quiet", "--manifest-path", &manifest]);
        if *command == "run" {
            cargo.arg("--release");
        }
        run::finish(cargo.arg("--").args(rest))?;
    }
    Ok(())
}

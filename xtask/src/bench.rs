//! Benches are programs of a workspace of their own, `benches/`: what they compare us with is no dependency of ours.
//! Only `discovery` needs hosts, and so is made of what tests them.

use serde_json::Value;

use crate::hosts;
use crate::run::{self, Workspace};

const MANIFEST: &str = "benches/Cargo.toml";
const DISCOVERY: &str = "discovery";

/// Runs the benches named, or all.
pub(crate) fn run(workspace: &Workspace, names: &[&str]) -> Result<(), String> {
    let there = benches(workspace)?;
    if let Some(unknown) = names.iter().find(|name| !there.iter().any(|bench| bench == *name)) {
        return Err(format!("There is no bench {unknown:?}; there are: {}.", there.join(", ")));
    }
    for bench in there.iter().filter(|bench| names.is_empty() || names.contains(&bench.as_str())) {
        println!("\n== bench: {bench}");
        if bench == DISCOVERY {
            hosts::bench(workspace)?;
            continue;
        }
        run::finish(&mut workspace.cargo([
            "run",
            "--quiet",
            "--release",
            "--manifest-path",
            MANIFEST,
            "--bin",
            bench,
        ]))?;
    }
    Ok(())
}

/// The programs of `benches/`.
fn benches(workspace: &Workspace) -> Result<Vec<String>, String> {
    let mut names = vec![DISCOVERY.to_owned()];
    if !workspace.root.join(MANIFEST).exists() {
        return Ok(names);
    }
    let metadata = ["metadata", "--no-deps", "--format-version=1", "--manifest-path", MANIFEST];
    let metadata = run::output(&mut workspace.cargo(metadata))?;
    let metadata: Value = serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let is_program =
        |target: &&Value| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "bin"));
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    names.extend(targets.filter(is_program).filter_map(|target| target["name"].as_str().map(str::to_owned)));
    Ok(names)
}

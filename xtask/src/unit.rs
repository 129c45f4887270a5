//! The tests of the unit tier, which need loopback and no more.

use crate::openmetrics;
use crate::retry::TestName;
use crate::run::Workspace;
use crate::suite::{self, Suite};

/// Builds what [`test()`] and [`fuzz`] run.
pub(crate) fn build(workspace: &Workspace) -> Result<Option<String>, String> {
    workspace.finish(workspace.cargo(["test", "--locked", "--quiet", "--no-run"]).args(suite::PACKAGES))?;
    Ok(None)
}

/// The tests on loopback and those without I/O.
pub(crate) fn test(workspace: &Workspace, flaky: &mut Vec<TestName>) -> Result<Option<String>, String> {
    let parser = openmetrics::parser(workspace);
    let variables = parser.iter().map(|python| (openmetrics::VARIABLE, python.into())).collect();
    Suite { workspace, selection: &[], harness: &[], variables }.run(flaky)?;
    Ok(parser.err())
}

/// The examples in the documentation. Cargo builds them without what dev-dependencies add to features, so for the most
/// part anew.
pub(crate) fn doctests(workspace: &Workspace) -> Result<Option<String>, String> {
    workspace.finish(workspace.cargo(["test", "--locked", "--doc"]).args(suite::PACKAGES))?;
    Ok(None)
}

/// Each target of fuzzing for a minute. The same features as in [`test()`], so that nothing is built for it.
pub(crate) fn fuzz(workspace: &Workspace) -> Result<Option<String>, String> {
    let mut cargo = workspace.cargo(["test", "--locked", "--quiet", "--test", "fuzz_corpus"]);
    cargo.args(suite::PACKAGES).args(["--", "--nocapture"]).env("BRAMBLE_FUZZ_SECONDS", "60");
    workspace.finish(&mut cargo)?;
    Ok(None)
}

/// The simulator's tests, in a profile that makes them five times as fast. They take no time from a clock.
pub(crate) fn simulate(workspace: &Workspace) -> Result<Option<String>, String> {
    let cargo = ["test", "--locked", "--quiet", "--package", "bramble-survive", "--profile", "simulation"];
    workspace.finish(&mut workspace.cargo(cargo))?;
    Ok(None)
}

/// loom's tests. Its cfg changes every crate, so they have a target directory of their own, kept like the other.
pub(crate) fn interleavings(workspace: &Workspace) -> Result<Option<String>, String> {
    let mut cargo = workspace.cargo(["test", "--locked", "--quiet", "--package", "bramble", "--lib"]);
    cargo
        .args(["--no-default-features", "--target-dir"])
        .arg(workspace.target().join("loom"))
        .args(["--", "loom_"])
        .env("RUSTFLAGS", "--cfg bramble_loom");
    workspace.finish(&mut cargo)?;
    Ok(None)
}

//! The rules of the library, built and tested without the feature `net`.

use crate::run::{self, Workspace};

/// Packages that the rules depend on, and those that these bring: thiserror's macros run at build time only.
const PACKAGES: &[&str] =
    &["bramble", "fastrand", "proc-macro2", "quote", "syn", "thiserror", "thiserror-impl", "unicode-ident"];

const ALONE: [&str; 4] = ["--locked", "--package", "bramble", "--no-default-features"];

/// Fails if the rules depend on more than [`PACKAGES`], do not build alone, or fail a test.
pub(crate) fn check(workspace: &Workspace) -> Result<Option<String>, String> {
    let mut tree = workspace.cargo(["tree", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let listed = run::output(tree.args(ALONE))?;
    let foreign: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty() && !PACKAGES.contains(name))
        .collect();
    if !foreign.is_empty() {
        return Err(format!("the rules depend on {}: only {} are allowed", foreign.join(", "), PACKAGES.join(", ")));
    }
    workspace.finish(
        workspace.cargo(["clippy", "--quiet", "--all-targets"]).args(ALONE).args(["--", "--deny", "warnings"]),
    )?;
    workspace.finish(workspace.cargo(["test", "--quiet", "--lib", "--test", "allocations"]).args(ALONE))?;
    Ok(None)
}

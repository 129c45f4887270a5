//! Formatting of all Rust code, also of what is no member of the workspace.

use crate::run::{self, Workspace};

/// Workspaces of their own: what they compare Bramble with, or fuzz it with, is no dependency of Bramble; and services
/// as a user would write them.
pub(crate) const OUTSIDE: [&str; 4] = ["benches/http", "benches/resilience", "tests/downstream", "tests/fuzz"];

/// Fails if a file is not as `cargo fmt` leaves it.
pub(crate) fn check(workspace: &Workspace) -> Result<Option<String>, String> {
    run::finish(&mut workspace.cargo(["fmt", "--all", "--check"]))?;
    for folder in OUTSIDE {
        let manifest = format!("{folder}/Cargo.toml");
        run::finish(&mut workspace.cargo(["fmt", "--check", "--manifest-path", &manifest]))?;
    }
    Ok(None)
}

//! Lints of the code that is no member of the workspace.

use crate::format::OUTSIDE;
use crate::run::Workspace;

/// Compiles and lints benches and fuzz targets, with all their features. Their lock files are checked as well: one that
/// is behind the library's dependencies fails.
pub(crate) fn outside(workspace: &Workspace) -> Result<Option<String>, String> {
    for folder in OUTSIDE {
        let manifest = format!("{folder}/Cargo.toml");
        let mut cargo = workspace.cargo(["clippy", "--locked", "--quiet", "--manifest-path", &manifest]);
        workspace.finish(cargo.args(["--all-targets", "--all-features", "--", "--deny", "warnings"]))?;
    }
    Ok(None)
}

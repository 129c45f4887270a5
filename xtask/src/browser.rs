//! The pages in a browser, judged by axe-core too, which PyPI carries.

use crate::install;
use crate::run::{self, Workspace};

const AXE: &str = "axe-core-python==0.1.0";
const WHERE: &str = "import axe_core_python; print(axe_core_python.__path__[0])";

/// Runs the tests of the pages. Their pictures are in `target/screenshots`.
pub(crate) fn check(workspace: &Workspace) -> Result<Option<String>, String> {
    let python = install::pypi(workspace, "axe-core", AXE, "axe_core_python")?;
    let folder = run::output(workspace.command(python).args(["-c", WHERE]))?;
    let arguments = ["test", "--locked", "--package", "bramble-cli", "--features", "browser", "--test", "browser"];
    let mut cargo = workspace.cargo(arguments);
    // Each test has a browser and six services; more than two at a time are slower, not faster, on a small machine.
    run::finish(cargo.args(["--", "--test-threads=2"]).env("BRAMBLE_AXE", format!("{}/axe.min.js", folder.trim())))?;
    Ok(None)
}

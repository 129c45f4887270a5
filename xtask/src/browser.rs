//! The pages in a browser, judged by axe-core too, which PyPI carries.

use crate::install;
use crate::retry::TestName;
use crate::run::{self, Workspace};
use crate::suite::Suite;

const AXE: &str = "axe-core-python==0.1.0";
const WHERE: &str = "import axe_core_python; print(axe_core_python.__path__[0])";

/// Runs the tests of the pages. Their pictures are in `target/screenshots`.
pub(crate) fn test(workspace: &Workspace, flaky: &mut Vec<TestName>) -> Result<Option<String>, String> {
    let python = install::pypi(workspace, "axe-core", AXE, "axe_core_python")?;
    let folder = run::output(workspace.command(python).args(["-c", WHERE]))?;
    let variables = vec![("BRAMBLE_AXE", format!("{}/axe.min.js", folder.trim()).into())];
    let selection = ["--features", "bramble-cli/browser", "--test", "browser"];
    // Each test has a browser and six services; more than two at a time are slower, not faster, on a small machine.
    Suite { workspace, selection: &selection, harness: &["--test-threads=2"], variables }.run(flaky)?;
    Ok(None)
}

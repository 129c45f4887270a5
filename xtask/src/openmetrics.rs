//! The page under `/metrics`, read by the parser that the makers of OpenMetrics themselves test with.

use crate::install;
use crate::run::{self, Workspace};

const PARSER: &str = "prometheus_client==0.22.1";

/// Runs the tests that hand a page to the parser. Without a network it cannot be installed: that is said, and no failure,
/// since the other tests check the pages too.
pub(crate) fn check(workspace: &Workspace) -> Result<Option<String>, String> {
    let python = match install::pypi(workspace, "openmetrics-parser", PARSER, "prometheus_client.openmetrics.parser") {
        Ok(python) => python,
        Err(why) => {
            let note = format!("OpenMetrics: {PARSER} of PyPI cannot be installed here");
            println!("{note}: {why}");
            return Ok(Some(note));
        }
    };
    // Each test that hands a page over has the word in its name, and fails if the parser does not like it.
    let mut cargo =
        workspace.cargo(["test", "--locked", "--quiet", "--package", "bramble", "--lib", "reference_parser"]);
    run::finish(cargo.env("BRAMBLE_OPENMETRICS_PYTHON", python))?;
    Ok(None)
}

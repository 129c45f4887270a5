//! The page under `/metrics`, read by the parser that the makers of OpenMetrics themselves test with.

use std::path::PathBuf;

use crate::install::{self, Package};
use crate::run::{self, Workspace};

const PARSER: &str = "prometheus_client==0.22.1";

/// Runs the tests that hand a page to the parser. Without a network it cannot be installed: that is said, and no failure,
/// since the other tests check the pages too.
pub(crate) fn check(workspace: &Workspace) -> Result<Option<String>, String> {
    let python = match parser(workspace) {
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

/// A Python that has the parser, in an environment of its own.
fn parser(workspace: &Workspace) -> Result<PathBuf, String> {
    let home = workspace.root.join("target/openmetrics-parser");
    let python = home.join("bin/python");
    let has_parser =
        || run::output(workspace.command(&python).args(["-c", "import prometheus_client.openmetrics.parser"]));
    if has_parser().is_ok() {
        return Ok(python);
    }
    install::packages(&[Package { program: "python3", package: "python3-venv" }])?;
    run::output(workspace.command("python3").args(["-m", "venv"]).arg(&home))
        .map_err(|why| format!("{why}\non Debian, `sudo apt-get install python3-venv` brings what it lacks"))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PARSER];
    run::output(workspace.command(&python).args(pip))?;
    has_parser().map(|_| python)
}

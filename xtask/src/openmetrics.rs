//! The parser that the makers of OpenMetrics themselves test with, for the tests that hand it a page of `/metrics`.

use std::path::PathBuf;

use crate::install;
use crate::run::Workspace;

const PARSER: &str = "prometheus_client==0.22.1";
/// Where tests find the Python that has it (tests/support/openmetrics.rs).
pub(crate) const VARIABLE: &str = "BRAMBLE_OPENMETRICS_PYTHON";

/// A Python with the parser; else, as without a network, a note, and no failure: other tests check the pages too.
pub(crate) fn parser(workspace: &Workspace) -> Result<PathBuf, String> {
    let python = install::pypi(workspace, "openmetrics-parser", PARSER, "prometheus_client.openmetrics.parser");
    python.map_err(|why| {
        let note = format!("OpenMetrics: {PARSER} of PyPI cannot be installed here");
        println!("{note}: {why}");
        note
    })
}

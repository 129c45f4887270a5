//! The list of what is in an image, read by the SPDX project's own program, which PyPI carries.

use std::path::Path;

use crate::install;
use crate::run::{self, Workspace};

/// Each with what it needs, since none is brought along by itself.
const TOOLS: &str = "spdx-tools==0.8.5 beartype==0.23.1 boolean.py==5.0 click==8.5.1 license-expression==30.4.4 \
                     ply==3.11 pyparsing==3.3.3 PyYAML==6.0.3 rdflib==7.6.0 semantic-version==2.10.0 uritools==6.1.4 \
                     xmltodict==1.0.4";
const MODULE: &str = "spdx_tools.spdx.clitools.pyspdxtools";

/// Fails if the list is not valid. Without a network the program cannot be installed: that is said, and no failure.
pub(crate) fn check(workspace: &Workspace, list: &Path) -> Result<Option<String>, String> {
    let python = match install::pypi(workspace, "spdx-tools", TOOLS, MODULE) {
        Ok(python) => python,
        Err(why) => {
            let note = "SPDX: spdx-tools of PyPI cannot be installed here";
            println!("{note}: {why}");
            return Ok(Some(note.to_owned()));
        }
    };
    run::output(workspace.command(python).args(["-m", MODULE, "--infile"]).arg(list)).map(|_| None)
}

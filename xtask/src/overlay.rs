//! Runs what needs a Docker engine, on a Swarm and a registry of its own that are gone afterwards, whatever happens.

use std::path::{Path, PathBuf};

use crate::containers::{self, Playground, Push};
use crate::install::Package;
use crate::retry::TestName;
use crate::run::{self, Workspace};
use crate::suite::Suite;

/// Packages that the tests run besides the engine.
pub(crate) const NEEDS: &[Package] = &[
    Package { program: "skopeo", package: "skopeo" },
    Package { program: "docker-registry", package: "docker-registry" },
    Package { program: "docker-compose", package: "docker-compose" },
    Package { program: "htpasswd", package: "apache2-utils" },
    Package { program: "openssl", package: "openssl" },
    Package { program: "curl", package: "curl" },
    Package { program: "qemu-arm-static", package: "qemu-user-static" },
    Package { program: "cc", package: "gcc" },
];

/// Runs, and is never well: it answers nothing, not even its own health check.
const SICK: &str = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n";

/// Builds and pushes three images, runs the tests, and takes everything away.
pub(crate) fn test(workspace: &Workspace, flaky: &mut Vec<TestName>) -> Result<Option<String>, String> {
    if let Some(why) = containers::why_no_swarm_here() {
        let note = format!("overlay: {why}");
        println!("{note}");
        return Ok(Some(note));
    }
    let playground = Playground::up(workspace)?;
    let tested = run_tests(workspace, &playground, flaky);
    let down = Playground::down(workspace);
    tested.and(down).map(|()| None)
}

fn run_tests(workspace: &Workspace, playground: &Playground, flaky: &mut Vec<TestName>) -> Result<(), String> {
    playground.secret("bramble-cluster-key", "a-cluster-key-of-the-overlay-tests")?;
    let programs = containers::programs(workspace)?;
    let name = |what: &str| format!("{}/{what}", playground.registry);
    let push = |tag: &str| Push::to(&name(&format!("bramble:{tag}")))?.run(workspace).map(|pushed| pushed.to_string());
    let sick = compile_sick(workspace)?;
    containers::build(workspace, Some("sick"), &[sick, programs[1].clone()])?;
    let sick = push("sick")?;
    containers::build(workspace, Some("next"), &programs)?;
    let next = push("next")?;
    containers::build(workspace, None, &programs)?;
    let image = Push::to(&name("bramble"))?.run(workspace)?.to_string();
    let this = std::env::current_exe().map_err(|error| format!("the path of xtask: {error}"))?;
    let mut variables = vec![
        ("BRAMBLE_XTASK", this.into()),
        ("REGISTRY", playground.registry.clone().into()),
        ("BRAMBLE_KEY", playground.key.clone().into()),
        ("BRAMBLE_IMAGE", image.into()),
        ("BRAMBLE_IMAGE_NEXT", next.into()),
        ("BRAMBLE_IMAGE_SICK", sick.into()),
        ("BRAMBLE_BINARY_AMD64", programs[0].clone().into()),
        ("BRAMBLE_BINARY_ARMV7", programs[1].clone().into()),
    ];
    variables.extend(playground.variables().map(|(name, value)| (name, value.into())));
    let selection = ["--features", "bramble-cli/overlay", "--test", "overlay"];
    Suite { workspace, selection: &selection, harness: &["--test-threads=1", "--nocapture"], variables }.run(flaky)
}

fn compile_sick(workspace: &Workspace) -> Result<PathBuf, String> {
    let folder = workspace.root.join("target/containers");
    let (source, program) = (folder.join("sick.c"), folder.join("sick"));
    let told = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(&folder).map_err(|error| told(&folder, error))?;
    std::fs::write(&source, SICK).map_err(|error| told(&source, error))?;
    run::output(workspace.command("cc").args(["-static", "-o"]).arg(&program).arg(&source))?;
    Ok(program)
}

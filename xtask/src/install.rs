//! Installs what a step needs and a machine may lack. The system is changed by root on Debian only; elsewhere one is
//! told.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Workspace};

/// A program, and the Debian package that has it.
pub(crate) struct Package {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

/// Sees to it that all programs are there.
pub(crate) fn packages(needed: &[Package]) -> Result<(), String> {
    let user = run::output(Command::new("id").arg("-u"));
    provide(needed, user.is_ok_and(|user| user.trim() == "0") && on_path("apt-get").is_some())
}

fn provide(needed: &[Package], may_install: bool) -> Result<(), String> {
    let missing: Vec<_> = needed.iter().filter(|need| on_path(need.program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: BTreeSet<_> = missing.iter().map(|need| need.package).collect();
    let names: Vec<_> = names.into_iter().collect();
    if !may_install {
        return Err(format!("missing: {0}; on Debian, `sudo apt-get install {0}` brings it", names.join(" ")));
    }
    println!("\n== install {}", names.join(" "));
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], names.as_slice()].concat())?;
    match missing.iter().find(|need| on_path(need.program).is_none()) {
        Some(need) => Err(format!("package {} was installed, but there is no program {}", need.package, need.program)),
        None => Ok(()),
    }
}

fn apt(arguments: &[&str]) -> Result<(), String> {
    run::finish(Command::new("apt-get").arg("--quiet=2").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // On Debian, only root has the last two in PATH; programs that make file systems are there.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A program from crates.io in exactly this version: from the tools of earlier runs, from `PATH`, or built now.
pub(crate) fn crates_io(workspace: &Workspace, name: &str, version: &str) -> Result<PathBuf, String> {
    let is_right = |program: &Path| {
        run::output(Command::new(program).arg("--version"))
            .is_ok_and(|said| said.split_whitespace().nth(1) == Some(version))
    };
    let kept = workspace.tools.join("bin").join(name);
    if let Some(program) = [Some(kept.clone()), on_path(name)].into_iter().flatten().find(|program| is_right(program)) {
        return Ok(program);
    }
    println!("Building {name} {version}, once; this takes some minutes.");
    let mut cargo = workspace.cargo(["install", "--quiet", "--locked", name, "--version", version, "--root"]);
    // In a target directory of its own: what it builds is of no use to the workspace. It runs for seconds, so it need
    // not be fast, and is built in a fraction of the time.
    cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
    cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "256");
    run::finish(cargo.arg(&workspace.tools).env_remove("CARGO_TARGET_DIR"))?;
    Ok(kept)
}

/// A Python that has the packages, written as pip has them and separated by spaces, in an environment of its own:
/// `target/FOLDER`. `module` shows that they are there.
pub(crate) fn pypi(workspace: &Workspace, folder: &str, wanted: &str, module: &str) -> Result<PathBuf, String> {
    let home = workspace.root.join("target").join(folder);
    let python = home.join("bin/python");
    let has_module = || run::output(workspace.command(&python).args(["-c", &format!("import {module}")]));
    if has_module().is_ok() {
        return Ok(python);
    }
    packages(&[Package { program: "python3", package: "python3-venv" }])?;
    run::output(workspace.command("python3").args(["-m", "venv"]).arg(&home))
        .map_err(|why| format!("{why}\non Debian, `sudo apt-get install python3-venv` brings what it lacks"))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
    run::output(workspace.command(&python).args(pip).args(wanted.split_whitespace()))?;
    has_module().map(|_| python)
}

/// The folder of the programs of `wanted`, written as pip has them, with all that they need: in `target/FOLDER`.
pub(crate) fn pypi_programs(workspace: &Workspace, folder: &str, wanted: &[&str]) -> Result<PathBuf, String> {
    let home = workspace.root.join("target").join(folder);
    // Written last, so it is there only if all is.
    let (stamp, content) = (home.join("installed"), wanted.join("\n"));
    if std::fs::read_to_string(&stamp).is_ok_and(|there| there == content) {
        return Ok(home.join("bin"));
    }
    packages(&[Package { program: "python3", package: "python3-venv" }])?;
    run::output(workspace.command("python3").args(["-m", "venv", "--clear"]).arg(&home))
        .map_err(|why| format!("{why}\non Debian, `sudo apt-get install python3-venv` brings what it lacks"))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run::output(workspace.command(home.join("bin/python")).args(pip).args(wanted))?;
    std::fs::write(&stamp, content).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(home.join("bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_may_not_install_is_told_what_is_missing() {
        let needed = [
            Package { program: "cargo", package: "cargo" },
            Package { program: "no-such-program", package: "no-such-package" },
            Package { program: "no-other-program", package: "no-such-package" },
        ];
        let why = provide(&needed, false).expect_err("one is missing");
        assert_eq!(why, "missing: no-such-package; on Debian, `sudo apt-get install no-such-package` brings it");
        assert_eq!(provide(&needed[..1], false), Ok(()));
    }
}

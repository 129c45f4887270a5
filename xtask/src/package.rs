//! The Debian package, for machines that run a distribution: `cargo xtask deb`, and what must be true of it.

use std::fs;
use std::path::{Path, PathBuf};

use pi_image::compile::Target;

use crate::install;
use crate::release;
use crate::run::{self, Workspace};
use crate::{Failure, image};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const CARGO_DEB: &str = "3.6.0";
/// Highest exposure that systemd's judgement of the unit may find: 0 is safe, 10 is not.
const EXPOSURE_AT_MOST: &str = "20"; // tenths
/// Keys that this version of systemd began to know (its NEWS). The unit has some; an older one says so, and goes on.
const KNOWS_STEPS: u32 = 254;
const ROLES: [&str; 3] = ["producer", "consumer", "registry"];

/// Packages for [`check`], [`units`] and [`release::check`].
pub(crate) const NEEDS: &[install::Package] = &[
    install::Package { program: "lintian", package: "lintian" },
    install::Package { program: "man", package: "man-db" },
    install::Package { program: "qemu-arm-static", package: "qemu-user-static" },
    install::Package { program: "ssh-keygen", package: "openssh-client" },
    install::Package { program: "systemd-analyze", package: "systemd" },
];

/// `cargo xtask deb [amd64|armhf]`: prints where the package is.
pub(crate) fn deb(workspace: &Workspace, arguments: &[&str]) -> Result<(), Failure> {
    let targets = match arguments {
        [] => vec![Target::Amd64, Target::Armv7],
        ["amd64"] => vec![Target::Amd64],
        ["armhf"] => vec![Target::Armv7],
        _ => return Err(Failure::Usage("`deb` takes amd64, armhf, or nothing for both.".to_owned())),
    };
    for target in targets {
        println!("{}", build(workspace, target).map_err(Failure::Run)?.display());
    }
    Ok(())
}

/// As Debian calls it.
fn architecture(target: Target) -> &'static str {
    match target {
        Target::Amd64 => "amd64",
        Target::Armv7 => "armhf",
    }
}

/// Builds the package for `target` into dist/.
fn build(workspace: &Workspace, target: Target) -> Result<PathBuf, String> {
    let cargo_deb = install::crates_io(workspace, "cargo-deb", CARGO_DEB)?;
    let program = image::program(workspace, target)?;
    let list = release::list(workspace, target, &program)?;
    // Where the package's metadata says it is.
    let folder = workspace.root.join("target/deb");
    fs::create_dir_all(&folder).map_err(of(&folder))?;
    fs::write(folder.join("bramble.spdx.json"), list).map_err(of(&folder))?;
    let changes = workspace.root.join("etc/debian/changelog");
    let told = fs::read_to_string(&changes).map_err(of(&changes))?;
    expect(
        told.starts_with(&format!("bramble ({VERSION}) ")),
        "the newest entry of etc/debian/changelog is of another version",
    )?;
    run::output(workspace.command("cp").arg(&changes).arg(&folder))?;
    run::output(workspace.command("gzip").args(["-9", "--no-name", "--force"]).arg(folder.join("changelog")))?;
    let file = workspace.dist()?.join(format!("bramble_{}_{}.deb", VERSION, architecture(target)));
    // Cargo keeps it in FOLDER/TRIPLE/release.
    let built = program.ancestors().nth(3).ok_or("the program lies where cargo never puts one")?;
    let mut package = workspace.command(cargo_deb);
    package.args(["--quiet", "--no-build", "--no-strip", "--locked", "--package", "bramble-cli"]);
    package.args(["--target", target.triple(), "--output"]).arg(&file);
    package.env("CARGO_TARGET_DIR", built).env("SOURCE_DATE_EPOCH", release::time(workspace)?.to_string());
    run::output(&mut package)?;
    Ok(file)
}

fn of(path: &Path) -> impl Fn(std::io::Error) -> String {
    let path = path.display().to_string();
    move |error| format!("{path}: {error}")
}

/// Builds, judges, installs and removes the packages of both architectures.
pub(crate) fn check(workspace: &Workspace) -> Result<Option<String>, String> {
    for target in [Target::Amd64, Target::Armv7] {
        let file = build(workspace, target)?;
        run::finish(
            workspace.command("lintian").args(["--fail-on", "error,warning", "--tag-display-limit", "0"]).arg(&file),
        )?;
        let root = workspace.root.join("target/deb/root");
        let _ = fs::remove_dir_all(&root); // of a run that was killed
        let tried = try_out(&Machine { workspace, root: &root, target }, &file);
        fs::remove_dir_all(&root).map_err(of(&root))?;
        tried.map_err(|why| format!("{}: {why}", file.display()))?;
    }
    Ok(None)
}

/// An empty Debian system in a folder, on which packages are installed as dpkg does it for a system that does not run.
struct Machine<'a> {
    workspace: &'a Workspace,
    root: &'a Path,
    target: Target,
}

const CONFIGURATION: &str = "etc/bramble/bramble.toml";

fn try_out(machine: &Machine<'_>, file: &Path) -> Result<(), String> {
    let root = machine.root;
    for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log"] {
        fs::create_dir_all(root.join(folder)).map_err(of(root))?;
    }
    fs::write(root.join("var/lib/dpkg/status"), "").map_err(of(root))?;
    let file = file.to_str().ok_or("its path is no text")?;
    machine.dpkg(&["--install", file])?;
    let program = root.join("usr/bin/bramble");
    let said = machine.run(&program, &["--version"])?;
    expect(said.trim() == format!("bramble {}", VERSION), &format!("it says it is {said:?}"))?;
    let configuration = root.join(CONFIGURATION);
    machine.run(&program, &["check-config", configuration.to_str().ok_or("its path is no text")?])?;
    for there in [
        "usr/lib/systemd/system/bramble@.service",
        "usr/share/man/man1/bramble.1.gz",
        "usr/share/doc/bramble/copyright",
    ] {
        expect(root.join(there).is_file(), &format!("{there} is not there"))?;
    }
    let known = fs::read_to_string(root.join("var/lib/dpkg/info/bramble.conffiles")).unwrap_or_default();
    expect(known.trim() == format!("/{CONFIGURATION}"), "the configuration is not one of the administrator's files")?;
    // What the administrator wrote stays, through the next version and until the package is purged.
    fs::write(&configuration, "[node]\nzone = \"shelf-2\"\n").map_err(of(&configuration))?;
    machine.dpkg(&["--install", file])?;
    machine.dpkg(&["--remove", "bramble"])?;
    let kept = fs::read_to_string(&configuration).map_err(of(&configuration))?;
    expect(kept.contains("shelf-2"), "the administrator's configuration was overwritten")?;
    expect(!program.exists(), "the program is still there after the package was removed")?;
    machine.dpkg(&["--purge", "bramble"])?;
    expect(!root.join("etc/bramble").exists(), "/etc/bramble is still there after the package was purged")
}

fn expect(is_so: bool, otherwise: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(otherwise.to_owned()) }
}

impl Machine<'_> {
    fn dpkg(&self, what: &[&str]) -> Result<(), String> {
        let user = run::output(self.workspace.command("id").arg("-u"))?;
        let mut dpkg = match user.trim() {
            "0" => self.workspace.command("dpkg"),
            _ => {
                let mut command = self.workspace.command("unshare"); // files get owners
                command.args(["--map-root-user", "dpkg"]);
                command
            }
        };
        // Its scripts see DPKG_ROOT, and that no systemd runs there.
        dpkg.arg("--root").arg(self.root).args([
            "--force-script-chrootless",
            "--force-architecture",
            "--force-depends",
        ]);
        dpkg.arg("--no-triggers").args(what);
        run::output(&mut dpkg).map(|_| ())
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Result<String, String> {
        let mut command = match self.target {
            Target::Amd64 => self.workspace.command(program),
            Target::Armv7 => {
                let mut emulator = self.workspace.command("qemu-arm-static");
                emulator.arg(program);
                emulator
            }
        };
        run::output(command.args(arguments))
    }
}

/// Has systemd read the unit of each role, and judge it.
pub(crate) fn units(workspace: &Workspace) -> Result<Option<String>, String> {
    let root = workspace.root.join("target/units");
    let _ = fs::remove_dir_all(&root); // of a run that was killed
    let judged = judge_units(workspace, &root);
    fs::remove_dir_all(&root).map_err(of(&root))?;
    judged.map(|()| None)
}

fn judge_units(workspace: &Workspace, root: &Path) -> Result<(), String> {
    let units = root.join("usr/lib/systemd/system");
    for folder in [&units, &root.join("usr/bin")] {
        fs::create_dir_all(folder).map_err(of(folder))?;
    }
    // What the unit refers to, and a program to start.
    let own = workspace.root.join("etc/systemd/bramble@.service");
    run::output(workspace.command("cp").args(["-R", "/lib/systemd/system/."]).arg(&units))?;
    fs::copy(&own, units.join("bramble@.service")).map_err(of(&own))?;
    let program = root.join("usr/bin/bramble");
    fs::copy("/bin/true", &program).map_err(of(&program))?;
    let version = run::output(workspace.command("systemd-analyze").arg("--version"))?;
    let version = version.split_whitespace().nth(1).and_then(|word| word.parse::<u32>().ok()).unwrap_or(0);
    for role in ROLES {
        let unit = format!("bramble@{role}.service");
        let mut verify = workspace.command("systemd-analyze");
        verify.args(["verify", "--man=no", "--root"]).arg(root).arg(&unit);
        let verified = verify.output().map_err(|error| format!("systemd-analyze could not be started: {error}"))?;
        let said = String::from_utf8_lossy(&verified.stderr);
        let new = |line: &str| {
            version < KNOWS_STEPS && ["RestartSteps", "RestartMaxDelaySec"].iter().any(|key| line.contains(key))
        };
        let wrong: Vec<&str> = said.lines().filter(|line| !new(line)).collect();
        expect(
            verified.status.success() && wrong.is_empty(),
            &format!("{unit}: {}\n{}", verified.status, wrong.join("\n")),
        )?;
        let file = root.join(&unit);
        fs::copy(&own, &file).map_err(of(&own))?;
        let mut security = workspace.command("systemd-analyze");
        security.args(["security", "--no-pager", "--offline=true", "--threshold", EXPOSURE_AT_MOST]).arg(&file);
        let judgement = run::output(&mut security)?;
        println!("{}", judgement.lines().last().unwrap_or_default());
    }
    Ok(())
}

//! Lists and checksums beside the files that are given away: what is in the program, checksums, and a signature.

use std::fs;
use std::path::{Path, PathBuf};

use pi_image::compile::Target;

use crate::run::{self, Workspace};
use crate::{Failure, image};

const SUMS: &str = "SHA256SUMS";
const SIGNATURE: &str = "SHA256SUMS.sig";
/// Purpose of the signature (ssh-keygen(1), -n): one made for something else proves nothing here.
const NAMESPACE: &str = "bramble";

/// `cargo xtask sbom [amd64|armv7]`: a list of what is in the program, into dist/.
pub(crate) fn sbom(workspace: &Workspace, arguments: &[&str]) -> Result<(), Failure> {
    let targets = match arguments {
        [] => vec![Target::Amd64, Target::Armv7],
        [name] => vec![name.parse().map_err(|why: pi_image::Error| Failure::Usage(why.to_string()))?],
        _ => return Err(Failure::Usage("`sbom` takes amd64, armv7, or nothing for both.".to_owned())),
    };
    let write = |target: Target| -> Result<PathBuf, String> {
        let program = image::program(workspace, target)?;
        let file = format!("bramble-{}-{}.spdx.json", env!("CARGO_PKG_VERSION"), target.name());
        let file = workspace.dist()?.join(file);
        fs::write(&file, list(workspace, target, &program)?).map_err(|why| format!("{}: {why}", file.display()))?;
        Ok(file)
    };
    for target in targets {
        println!("{}", write(target).map_err(Failure::Run)?.display());
    }
    Ok(())
}

/// List of what is in `program`, as SPDX.
pub(crate) fn list(workspace: &Workspace, target: Target, program: &Path) -> Result<String, String> {
    let sum = run::output(workspace.command("sha256sum").arg(program))?;
    let sum = sum.split_whitespace().next().unwrap_or_default();
    let name = format!("bramble-{}-{}", env!("CARGO_PKG_VERSION"), target.name());
    pi_image::sbom::of_program(&workspace.root, target, &name, sum, time(workspace)?).map_err(|why| why.to_string())
}

/// The time that everything bears, in seconds since 1970: the commit's, so that the same sources give the same bytes.
pub(crate) fn time(workspace: &Workspace) -> Result<u32, String> {
    let said = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(said) => said,
        Err(_) => run::output(workspace.command("git").args(["log", "-1", "--format=%ct"])).map_err(|why| {
            format!("{why}\nwithout a git checkout, set SOURCE_DATE_EPOCH to a time in seconds since 1970")
        })?,
    };
    said.trim().parse().map_err(|_| format!("{said:?} is no time in seconds since 1970"))
}

/// `cargo xtask sign [--key FILE] [FOLDER]`: checksums of all files in FOLDER, else in dist/; signed, if there is a
/// key.
pub(crate) fn sign(workspace: &Workspace, arguments: &[&str]) -> Result<(), Failure> {
    let (key, folder) = match arguments {
        [] => (None, None),
        ["--key", key] => (Some(*key), None),
        ["--key", key, folder] => (Some(*key), Some(*folder)),
        [folder] if !folder.starts_with('-') => (None, Some(*folder)),
        _ => {
            return Err(Failure::Usage("`sign` takes --key FILE and a folder, or one of them, or nothing.".to_owned()));
        }
    };
    let folder = folder.map_or_else(|| workspace.root.join("dist"), PathBuf::from);
    let said = signed(workspace, &folder, key.map(Path::new)).map_err(Failure::Run)?;
    println!("{said}");
    Ok(())
}

/// Writes the sums, and the signature if there is a key. What was done, as a sentence.
fn signed(workspace: &Workspace, folder: &Path, key: Option<&Path>) -> Result<String, String> {
    let of = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("{path}: {error}")
    };
    let mut names: Vec<String> = fs::read_dir(folder)
        .map_err(of(folder))?
        .filter_map(|entry| entry.ok().filter(|entry| entry.path().is_file())?.file_name().into_string().ok())
        .filter(|name| name != SUMS && name != SIGNATURE)
        .collect();
    if names.is_empty() {
        return Err(format!("there is nothing in {} to sign; build something first", folder.display()));
    }
    names.sort();
    let sums = run::output(workspace.command("sha256sum").arg("--").args(&names).current_dir(folder))?;
    let (file, signature) = (folder.join(SUMS), folder.join(SIGNATURE));
    fs::write(&file, sums).map_err(of(&file))?;
    // One of other sums is worse than none.
    match fs::remove_file(&signature) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(of(&signature)(error)),
        _ => {}
    }
    let Some(key) = key else {
        return Ok(format!(
            "{} has the sums of {} file(s), and is not signed: no --key was given.",
            file.display(),
            names.len()
        ));
    };
    run::output(workspace.command("ssh-keygen").args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"]).arg(key).arg(&file))?;
    Ok(format!("{} has the sums of {} file(s), and {SIGNATURE} is its signature.", file.display(), names.len()))
}

/// Signs a file and has everybody's own programs check it, as docs/run-a-cluster.md says.
pub(crate) fn check(workspace: &Workspace) -> Result<Option<String>, String> {
    let folder = std::env::temp_dir().join(format!("bramble-sign-{}", std::process::id()));
    fs::create_dir_all(folder.join("dist")).map_err(|why| why.to_string())?;
    let checked = check_in(workspace, &folder);
    fs::remove_dir_all(&folder).map_err(|why| why.to_string())?;
    checked.map(|()| None)
}

fn check_in(workspace: &Workspace, folder: &Path) -> Result<(), String> {
    let (key, dist) = (folder.join("key"), folder.join("dist"));
    fs::write(dist.join("program"), "bytes").map_err(|why| why.to_string())?;
    run::output(workspace.command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&key))?;
    let public = fs::read_to_string(key.with_extension("pub")).map_err(|why| why.to_string())?;
    fs::write(folder.join("allowed"), format!("bramble {public}")).map_err(|why| why.to_string())?;
    println!("{}", signed(workspace, &dist, Some(&key))?);
    let verify = "ssh-keygen -Y verify -f ../allowed -I bramble -n bramble -s SHA256SUMS.sig < SHA256SUMS \
         && sha256sum --check --strict SHA256SUMS";
    let verify = || run::output(workspace.command("sh").args(["-c", verify]).current_dir(&dist));
    print!("{}", verify()?);
    fs::write(dist.join("program"), "other bytes").map_err(|why| why.to_string())?;
    if verify().is_ok() {
        return Err("a changed file was not noticed".to_owned());
    }
    let sums = run::output(workspace.command("sha256sum").arg("program").current_dir(&dist))?;
    fs::write(dist.join(SUMS), sums).map_err(|why| why.to_string())?;
    if verify().is_ok() {
        return Err("sums that were not signed were believed".to_owned());
    }
    Ok(())
}

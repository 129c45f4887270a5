//! The SD-card image, and the program in it. The work is done by the library `pi_image`.

use std::path::{Path, PathBuf};

use pi_image::compile::{self, Target};
use pi_image::{Options, Packages, packages};

use crate::install::{self, Package};
use crate::run::Workspace;
use crate::{Failure, spdx};

/// Sees to it that what the library runs is there.
pub(crate) fn provide() -> Result<(), String> {
    let needs = pi_image::PROGRAMS.iter().map(|(program, package)| Package { program, package });
    install::packages(&needs.collect::<Vec<_>>())
}

/// `cargo xtask compile [amd64|armv7]`: prints where the program is.
pub(crate) fn compile(workspace: &Workspace, arguments: &[&str]) -> Result<(), Failure> {
    let target = match arguments {
        [] => Target::Armv7,
        [name] => name.parse().map_err(|why: pi_image::Error| Failure::Usage(why.to_string()))?,
        _ => return Err(Failure::Usage("One target at a time can be compiled for.".to_owned())),
    };
    println!("{}", program(workspace, target).map_err(Failure::Run)?.display());
    Ok(())
}

/// `bramble` for `target`, compiled if need be. Where Debian no longer has the locked compiler, today's does it and it
/// is said; an image that is to be the same as another is strict about that.
pub(crate) fn program(workspace: &Workspace, target: Target) -> Result<PathBuf, String> {
    provide()?;
    let compiled = compile::binary(&workspace.root, target, Packages::LockedOrToday);
    let (program, note) = compiled.map_err(|why| why.to_string())?;
    if let Some(note) = note {
        eprintln!("{note}");
    }
    Ok(program)
}

/// `cargo xtask image ...`.
pub(crate) fn image(workspace: &Workspace, arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        ["refresh"] => refresh(workspace).map_err(Failure::Run),
        ["inspect", file] => inspect(workspace, Path::new(file)).map_err(Failure::Run),
        ["check"] => {
            check(workspace).map(|(_, note)| note.into_iter().for_each(|note| println!("{note}"))).map_err(Failure::Run)
        }
        ["refresh" | "inspect" | "check", ..] => {
            let why = "`image inspect` takes one file, `image check` and `image refresh` take nothing.";
            Err(Failure::Usage(why.to_owned()))
        }
        options => build(&understood(workspace, options)?).map_err(Failure::Run),
    }
}

/// Parses `--NAME FILE` or `--NAME=FILE`. Relative paths are the caller's, wherever that is.
fn understood(workspace: &Workspace, arguments: &[&str]) -> Result<Options, Failure> {
    let mut options = Options::new(&workspace.root);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (*argument, rest.next().copied()),
        };
        let place = match name {
            "--config" => &mut options.config,
            "--ssh-key" => &mut options.ssh_key,
            "--api-key" => &mut options.api_key,
            "--cluster-key" => &mut options.cluster_key,
            "--out" => &mut options.out,
            _ => return Err(Failure::Usage(format!("{argument:?} was not understood."))),
        };
        let value = value.filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| Failure::Usage(format!("{name} needs a file or folder after it.")))?;
        *place = Some(value.into());
    }
    Ok(options)
}

fn build(options: &Options) -> Result<(), String> {
    provide()?;
    let built = pi_image::build(options).map_err(|why| why.to_string())?;
    for file in [&built.image, &built.compressed, &built.sbom, &built.sums] {
        let size = file.metadata().map_err(|why| format!("{}: {why}", file.display()))?.len();
        println!("{size:>9}  {}", file.display());
    }
    built.notes.iter().for_each(|note| println!("{note}"));
    if !built.secrets.is_empty() {
        println!("The image holds secrets now: {}. Do not give it away.", built.secrets.join(", "));
    }
    Ok(())
}

/// Two builds in different folders must be the same, and the list valid. The image is in `target/image/one` then; with
/// it comes a note on what was not as in the lock.
pub(crate) fn check(workspace: &Workspace) -> Result<(PathBuf, Option<String>), String> {
    provide()?;
    let mut options = Options::new(&workspace.root);
    options.packages = Packages::LockedOrToday;
    let folder = workspace.root.join("target/image");
    let built = pi_image::build_twice(&options, &folder).map_err(|why| why.to_string())?;
    println!("Two builds are the same: {}", built.image.display());
    let note = spdx::check(workspace, &built.sbom)?;
    let notes: Vec<String> = built.notes.into_iter().chain(note).collect();
    Ok((built.image, (!notes.is_empty()).then(|| notes.join(" "))))
}

fn inspect(workspace: &Workspace, file: &Path) -> Result<(), String> {
    provide()?;
    let scratch = workspace.root.join(format!("target/inspect-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).map_err(|why| format!("{}: {why}", scratch.display()))?;
    let said = pi_image::inspect(file, &scratch).map_err(|why| why.to_string());
    let removed = std::fs::remove_dir_all(&scratch).map_err(|why| format!("{}: {why}", scratch.display()));
    print!("{}", said?);
    removed
}

fn refresh(workspace: &Workspace) -> Result<(), String> {
    provide()?;
    let path = Path::new("pi-image/packages.lock");
    let (lock, note) = packages::refresh(&workspace.root.join("target/pi-image")).map_err(|why| why.to_string())?;
    std::fs::write(workspace.root.join(path), lock.to_string()).map_err(|why| format!("{}: {why}", path.display()))?;
    println!("{} names {} packages now; `git diff` shows what is new.", path.display(), lock.packages().count());
    note.into_iter().for_each(|note| println!("{note}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_written_in_any_of_the_usual_ways() {
        let workspace = Workspace::find();
        let options = understood(&workspace, &["--config", "my.toml", "--api-key=key", "--out", "dist"]).ok();
        let options = options.expect("they are right");
        assert_eq!(options.config.as_deref(), Some(Path::new("my.toml")));
        assert_eq!(options.api_key.as_deref(), Some(Path::new("key")));
        assert_eq!((options.ssh_key, options.out.as_deref()), (None, Some(Path::new("dist"))));
        for wrong in [&["--config"][..], &["--config="], &["--password", "x"], &["my.toml"]] {
            assert!(matches!(understood(&workspace, wrong), Err(Failure::Usage(_))), "{wrong:?}");
        }
    }
}

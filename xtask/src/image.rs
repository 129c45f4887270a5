//! The SD-card image, and the program in it. The work is done by the library `pi_image`.

use std::path::Path;

use pi_image::compile::{self, Target};
use pi_image::packages;

use crate::Failure;
use crate::install::{self, Package};
use crate::run::Workspace;

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
    provide().map_err(Failure::Run)?;
    let binary = compile::binary(&workspace.root, target).map_err(|why| Failure::Run(why.to_string()))?;
    println!("{}", binary.display());
    Ok(())
}

/// `cargo xtask image ...`.
pub(crate) fn image(workspace: &Workspace, arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        ["refresh"] => refresh(workspace).map_err(Failure::Run),
        _ => Err(Failure::Usage("not yet".to_owned())),
    }
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

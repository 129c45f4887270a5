//! Programs are run where the workspace is, and say what failed in one sentence.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The checkout, and where what is installed for it goes.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Programs that are built once and kept between checkouts.
    pub(crate) tools: PathBuf,
    /// Commands have the lowest priority, and their output is shown once they have ended: a step beside others.
    pub(crate) in_background: bool,
}

impl Workspace {
    pub(crate) fn find() -> Self {
        let compiled_in = || Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies in the workspace");
        let here = std::env::current_dir().ok().and_then(|here| checkout_of(&here));
        let root = here.unwrap_or_else(|| compiled_in().to_owned());
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
        let cache = cache.unwrap_or_else(std::env::temp_dir);
        Self { root, tools: cache.join("bramble/tools"), in_background: false }
    }

    /// Where what is given away goes.
    pub(crate) fn dist(&self) -> Result<PathBuf, String> {
        let dist = self.root.join("dist");
        std::fs::create_dir_all(&dist).map_err(|why| format!("{}: {why}", dist.display()))?;
        Ok(dist)
    }

    /// Where cargo builds.
    pub(crate) fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), |folder| self.root.join(folder))
    }

    /// The same checkout, for what runs beside other things.
    pub(crate) fn background(&self) -> Self {
        Self { root: self.root.clone(), tools: self.tools.clone(), in_background: true }
    }

    /// A program to be run in the workspace.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = if self.in_background {
            let mut nice = Command::new("nice");
            nice.args(["-n", "19"]).arg(program);
            nice
        } else {
            Command::new(program)
        };
        command.current_dir(&self.root);
        command
    }

    /// Runs it to its end. What it prints is shown as it comes, or, in the background, in one piece.
    pub(crate) fn finish(&self, command: &mut Command) -> Result<(), String> {
        if !self.in_background {
            return finish(command);
        }
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("{} could not be started: {error}", shown(command)))?;
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        println!("\n-- {}:\n{}", shown(command), text.trim_end());
        if output.status.success() { Ok(()) } else { Err(format!("{} ended with {}", shown(command), output.status)) }
    }

    /// The cargo that runs this, and no other toolchain's.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments);
        command
    }
}

/// The checkout that `folder` lies in. Two checkouts that share a target directory share this program, so where it was
/// compiled says nothing; `cargo xtask`, or a test that cargo runs, starts it from inside.
fn checkout_of(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file()).map(Path::to_owned)
}

/// Runs it to its end with our own stdout and stderr.
pub(crate) fn finish(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} ended with {status}", shown(command))),
        Err(error) => Err(format!("{} could not be started: {error}", shown(command))),
    }
}

/// Runs it to its end. Its stdout if it succeeded, else what it wrote to stderr.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{} could not be started: {error}", shown(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} ended with {}:\n{}", shown(command), output.status, said.trim_end()))
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let words = std::iter::once(program.file_name().unwrap_or(program.as_os_str())).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_is_found_from_any_folder_in_it_and_nowhere_else() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
        for inside in ["", "services", "services/bramble/src", "xtask"] {
            assert_eq!(checkout_of(&root.join(inside)).as_deref(), Some(root), "{inside}");
        }
        assert_eq!(checkout_of(Path::new("/")), None);
    }
}

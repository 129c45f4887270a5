//! Formats are other programs' work. They are run here, so that each failure is one sentence.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::{Error, PROGRAMS};

/// `program`, also if it is in one of the folders that only root has in `PATH` on Debian. Its messages are English, its
/// times UTC, and it asks nothing.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let program = program.as_ref();
    let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
    command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    command
}

/// Where `program` is, if it is anywhere.
pub(crate) fn find(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program.as_ref())).find(|file| file.is_file())
}

/// Runs it to its end. Its stdout if it succeeded.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, Error> {
    let Output { status, stdout, stderr } = command.output().map_err(|error| failed_to_start(command, &error))?;
    if status.success() {
        return Ok(stdout);
    }
    let said = String::from_utf8_lossy(&stderr).trim().to_owned();
    let said = if said.is_empty() { status.to_string() } else { said };
    Err(Error::Program { command: shown(command), said })
}

/// As [`output`], for a program that writes text.
pub(crate) fn text(command: &mut Command) -> Result<String, Error> {
    output(command).map(|stdout| String::from_utf8_lossy(&stdout).into_owned())
}

/// Runs it to its end with our own stderr; its stdout goes there too.
pub(crate) fn finish(command: &mut Command) -> Result<(), Error> {
    match command.stdout(std::io::stderr()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::Program { command: shown(command), said: status.to_string() }),
        Err(error) => Err(failed_to_start(command, &error)),
    }
}

/// As [`output`], with `input` on its stdin.
pub(crate) fn fed(command: &mut Command, input: &[u8]) -> Result<Vec<u8>, Error> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed_to_start(command, &error))?;
    // What it does not read, it does not need: its end tells whether all is well.
    let mut stdin = child.stdin.take().expect("it was piped");
    let _ = stdin.write_all(input);
    drop(stdin);
    let Output { status, stdout, stderr } =
        child.wait_with_output().map_err(|error| failed_to_start(command, &error))?;
    let said = String::from_utf8_lossy(&stderr).trim().to_owned();
    if status.success() { Ok(stdout) } else { Err(Error::Program { command: shown(command), said }) }
}

fn failed_to_start(command: &Command, error: &std::io::Error) -> Error {
    let program = name(command);
    match PROGRAMS.iter().find(|(known, _)| *known == program) {
        Some((_, package)) if error.kind() == ErrorKind::NotFound => {
            Error::Missing { program, package: (*package).to_owned() }
        }
        _ => Error::Program { command: program, said: error.to_string() },
    }
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}

/// The command as one would type it, its end left out where it is long.
fn shown(command: &Command) -> String {
    let words = command.get_args().map(OsStr::to_string_lossy);
    let line = std::iter::once(name(command).into()).chain(words).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_run_and_what_it_said() {
        let why = text(command("sh").args(["-c", "echo no such luck >&2; exit 3"])).expect_err("it ends with 3");
        assert_eq!(why.to_string(), "sh -c echo no such luck >&2; exit 3 failed: no such luck");
        let why = text(command("sh").args(["-c", "exit 3"])).expect_err("it ends with 3");
        assert_eq!(why.to_string(), "sh -c exit 3 failed: exit status: 3");
    }

    #[test]
    fn a_missing_program_is_named_with_the_package_that_has_it() {
        let error = std::io::Error::from(ErrorKind::NotFound);
        let why = failed_to_start(&Command::new("arm-linux-gnueabihf-gcc"), &error);
        assert!(why.to_string().ends_with("`sudo apt-get install gcc-arm-linux-gnueabihf` brings it"), "{why}");
    }

    #[test]
    fn programs_that_only_root_has_in_its_path_are_found() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program"), None);
    }
}

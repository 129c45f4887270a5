//! Builds test programs with cargo and runs them one after the other. A failed test that may be run again is, by itself
//! and by the very same program, so that neither package, features nor environment differ.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::patience;
use crate::retry::{self, HarnessOutput, TestName};
use crate::run::{self, Workspace};

/// Longest wait for output of a process that a test has left behind.
const LATE_OUTPUT: Duration = Duration::from_millis(200);

/// Of all tiers, so that each finds built what the others have in common: what is built of a dependency depends on all
/// packages that are selected. The simulator has a profile of its own.
pub(crate) const PACKAGES: [&str; 3] = ["--workspace", "--exclude", "bramble-survive"];

/// Test programs, and how they are run.
pub(crate) struct Suite<'a> {
    pub(crate) workspace: &'a Workspace,
    /// Arguments of `cargo test` that select targets and features of [`PACKAGES`].
    pub(crate) selection: &'a [&'a str],
    /// Arguments of each program.
    pub(crate) harness: &'a [&'a str],
    pub(crate) variables: Vec<(&'static str, OsString)>,
}

/// A program that cargo has built of tests.
#[derive(Debug, PartialEq, Eq)]
struct TestProgram {
    target: String,
    kind: String,
    executable: PathBuf,
    /// Of its package, where it is run.
    folder: PathBuf,
}

/// How a program ended.
enum Outcome {
    Passed,
    /// Names of the tests that failed.
    Failed(Vec<String>),
    /// The run ended without a list of failed tests.
    Broken(ExitStatus),
}

impl Suite<'_> {
    /// Runs all tests. Those that passed at a second attempt are added to `flaky`.
    pub(crate) fn run(&self, flaky: &mut Vec<TestName>) -> Result<(), String> {
        let programs = self.build()?;
        let (mut failed_tests, mut broken) = (Vec::new(), Vec::new());
        for program in &programs {
            let began = Instant::now();
            println!("\n   Running {} ({})", program.target, program.kind);
            match self.execute(program, self.harness)?.0 {
                Outcome::Passed => println!("   {} passed in {:.1?}", program.target, began.elapsed()),
                Outcome::Failed(names) => failed_tests.extend(names.into_iter().map(|name| program.test(name))),
                Outcome::Broken(status) => broken.push(format!("{} ({status})", program.target)),
            }
        }
        let plan = retry::plan(failed_tests, flaky.len());
        let mut failed = [plan.failed, broken].concat();
        for (test, reason) in plan.again {
            println!("\n   Once more, by itself: {test} ({reason})");
            if self.passes_alone(&programs, &test)? {
                println!("   FLAKY {test}");
                flaky.push(test);
            } else {
                failed.push(format!("{test} (twice)"));
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join(", ")) }
    }

    fn passes_alone(&self, programs: &[TestProgram], test: &TestName) -> Result<bool, String> {
        let program = programs.iter().find(|program| program.target == test.target && program.kind == test.kind);
        let program = program.ok_or_else(|| format!("there is no program of {test}"))?;
        let arguments = ["--exact", test.name.as_str(), "--test-threads=1", "--nocapture"];
        let (outcome, output) = self.execute(program, &arguments)?;
        Ok(matches!(outcome, Outcome::Passed) && output.count("passed") == Some(1))
    }

    fn build(&self) -> Result<Vec<TestProgram>, String> {
        let mut cargo = self.workspace.cargo(["test", "--locked", "--no-run"]);
        cargo
            .args(PACKAGES)
            .args(self.selection)
            .arg("--message-format=json-render-diagnostics")
            .stderr(Stdio::inherit());
        let messages = run::output(&mut cargo)?;
        let programs: Vec<TestProgram> = messages.lines().filter_map(TestProgram::of_message).collect();
        if programs.is_empty() { Err("cargo has built no test".to_owned()) } else { Ok(programs) }
    }

    /// Runs a program to its end and shows what it prints.
    fn execute(
        &self,
        program: &TestProgram,
        arguments: &[impl AsRef<OsStr>],
    ) -> Result<(Outcome, HarnessOutput), String> {
        let mut command = Command::new(&program.executable);
        command.args(arguments).current_dir(&program.folder).stdout(Stdio::piped());
        // Cargo has set it to that of xtask.
        command.env("CARGO_MANIFEST_DIR", &program.folder).env(patience::VARIABLE, patience::factor().to_string());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let told = |error| format!("{}: {error}", program.executable.display());
        let mut child = command.spawn().map_err(told)?;
        let lines = lines_of(child.stdout.take().ok_or("no pipe to the test program")?);
        let (mut output, mut status) = (HarnessOutput::default(), None);
        loop {
            match lines.recv_timeout(LATE_OUTPUT) {
                Ok(line) => {
                    println!("{line}");
                    output.line(&line);
                }
                Err(RecvTimeoutError::Timeout) if status.is_some() => break,
                Err(RecvTimeoutError::Timeout) => status = child.try_wait().map_err(told)?,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = status.map_or_else(|| child.wait(), Ok).map_err(told)?;
        let outcome = match output.failed() {
            _ if status.success() => Outcome::Passed,
            Some(names) => Outcome::Failed(names.to_vec()),
            None => Outcome::Broken(status),
        };
        Ok((outcome, output))
    }
}

fn lines_of(out: impl Read + Send + 'static) -> Receiver<String> {
    let (to, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
            if to.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    lines
}

impl TestProgram {
    /// From a message of `cargo test --message-format=json`, if it is about one.
    fn of_message(line: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
            return None;
        }
        let target = &message["target"];
        Some(Self {
            target: text(&target["name"])?,
            kind: text(&target["kind"][0])?,
            executable: text(&message["executable"])?.into(),
            folder: Path::new(message["manifest_path"].as_str()?).parent()?.to_owned(),
        })
    }

    fn test(&self, name: String) -> TestName {
        TestName { target: self.target.clone(), kind: self.kind.clone(), name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_is_told_from_what_else_cargo_builds() {
        let message = |profile: bool, executable: Option<&str>| {
            let target = serde_json::json!({ "kind": ["test"], "name": "demo" });
            let message = serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": "/a/services/bramble/Cargo.toml",
                "target": target, "profile": { "test": profile }, "executable": executable,
            });
            TestProgram::of_message(&message.to_string())
        };
        let found = message(true, Some("/a/target/demo-1")).expect("a test program");
        assert_eq!((found.target.as_str(), found.kind.as_str()), ("demo", "test"));
        assert_eq!((found.folder, found.executable), ("/a/services/bramble".into(), "/a/target/demo-1".into()));
        assert_eq!(message(false, Some("/a/target/bramble")), None, "a program that the tests start");
        assert_eq!(message(true, None), None);
        assert_eq!(TestProgram::of_message("{\"reason\":\"build-finished\",\"success\":true}"), None);
        assert_eq!(TestProgram::of_message("no JSON"), None);
    }
}

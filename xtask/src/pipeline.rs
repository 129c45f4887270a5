//! From a checkout to what is shipped: a table of steps, run in their order. Each can be run alone, and says what it
//! needs.

use std::time::Instant;

use crate::containers::{self, Playground, Push, Reference};
use crate::run::{self, Workspace};
use crate::{Failure, tiers};

struct Step {
    name: &'static str,
    about: &'static str,
    needs: &'static str,
    work: Work,
}

enum Work {
    /// `cargo xtask` with these words.
    Xtask(&'static [&'static str]),
    /// A function. What it returns is said again at the end: what was left out, and why.
    Call(fn(&mut StepContext<'_>) -> Result<Option<String>, String>),
}

const ENGINE: &str = "a Docker engine in no Swarm; the images of `images`";

const STEPS: &[Step] = &[
    Step {
        name: "check",
        about: "format, lints, documentation, dependencies, manifests",
        needs: "cargo",
        work: Work::Call(|context| tiers::checks(context.workspace)),
    },
    Step {
        name: "test",
        about: "every tier of tests that this machine can run",
        needs: "root, for hosts of its own; what is missing is installed on Debian",
        work: Work::Xtask(&["test"]),
    },
    Step {
        name: "compile",
        about: "the static program for amd64 and armv7",
        needs: "cargo; on Debian, a cross compiler is installed",
        work: Work::Call(|context| containers::programs(context.workspace).map(|_| None)),
    },
    Step {
        name: "images",
        about: "container images of both platforms under one list",
        needs: "a Docker engine; compiles what is not compiled yet",
        work: Work::Call(images),
    },
    Step {
        name: "registry",
        about: "the images into a throw-away registry, and back by digest",
        needs: ENGINE,
        work: Work::Call(|context| context.pushed().and_then(|image| containers::pull(&image)).map(|()| None)),
    },
    Step {
        name: "stack",
        about: "the stack on a throw-away Swarm",
        needs: ENGINE,
        work: Work::Call(|context| context.form().map(|_| None)),
    },
    Step {
        name: "smoke",
        about: "one question through the form",
        needs: "what `stack` needs; or BRAMBLE_SMOKE_URL, to ask the form of a cluster that runs",
        work: Work::Call(smoke),
    },
    Step {
        name: "card",
        about: "the SD card for a Raspberry Pi 2, in dist/",
        needs: "Debian's packages; compiles what is not compiled yet",
        work: Work::Xtask(&["image"]),
    },
    Step {
        name: "deb",
        about: "the Debian packages for amd64 and armhf, in dist/",
        needs: "cargo-deb, which is installed; compiles what is not compiled yet",
        work: Work::Xtask(&["deb"]),
    },
    Step {
        name: "sbom",
        about: "lists of what is in the program (SPDX), in dist/",
        needs: "cargo; compiles what is not compiled yet",
        work: Work::Xtask(&["sbom"]),
    },
    Step {
        name: "sign",
        about: "checksums of what is in dist/, and their signature",
        needs: "what the steps before left in dist/; BRAMBLE_SIGNING_KEY with the file of an SSH key, else nothing is signed",
        work: Work::Call(sign),
    },
];

/// Context that steps share: a registry and a Swarm for trials, made when the first step wants them.
struct StepContext<'a> {
    workspace: &'a Workspace,
    playground: Option<Playground>,
    pushed: Option<Reference>,
    form: Option<u16>,
}

impl StepContext<'_> {
    fn playground(&mut self) -> Result<Playground, String> {
        match &self.playground {
            Some(there) => Ok(there.clone()),
            None => Ok(self.playground.insert(Playground::up(self.workspace)?).clone()),
        }
    }

    fn pushed(&mut self) -> Result<Reference, String> {
        if let Some(pushed) = &self.pushed {
            return Ok(pushed.clone());
        }
        let playground = self.playground()?;
        let pushed = Push::to(&format!("{}/bramble", playground.registry))?.run(self.workspace)?;
        Ok(self.pushed.insert(pushed).clone())
    }

    /// The port of the form of the stack.
    fn form(&mut self) -> Result<u16, String> {
        if let Some(form) = self.form {
            return Ok(form);
        }
        let (image, playground) = (self.pushed()?.to_string(), self.playground()?);
        playground.deploy(self.workspace, &image)?;
        Ok(*self.form.insert(playground.form_port))
    }

    fn xtask(&self, words: &[&str]) -> Result<(), String> {
        let this = std::env::current_exe().map_err(|error| format!("the path of xtask: {error}"))?;
        run::finish(self.workspace.command(this).args(words))
    }

    fn close(&mut self) -> Result<(), String> {
        self.playground.take().map_or(Ok(()), |_| Playground::down(self.workspace))
    }
}

fn images(context: &mut StepContext<'_>) -> Result<Option<String>, String> {
    let programs = containers::programs(context.workspace)?;
    containers::build(context.workspace, None, &programs).map(|()| None)
}

fn smoke(context: &mut StepContext<'_>) -> Result<Option<String>, String> {
    let url = match std::env::var("BRAMBLE_SMOKE_URL") {
        Ok(url) => url,
        Err(_) => format!("http://127.0.0.1:{}/", context.form()?),
    };
    containers::smoke(&url).map(|()| None)
}

fn sign(context: &mut StepContext<'_>) -> Result<Option<String>, String> {
    let key = std::env::var("BRAMBLE_SIGNING_KEY").ok().filter(|key| !key.is_empty());
    match &key {
        Some(key) => context.xtask(&["sign", "--key", key]).map(|()| None),
        None => context.xtask(&["sign"]).map(|()| Some("not signed: BRAMBLE_SIGNING_KEY names no key".to_owned())),
    }
}

/// All steps, or those of `only`, until one fails.
pub(crate) fn run(workspace: &Workspace, only: &[&str]) -> Result<(), Failure> {
    if let Some(unknown) = only.iter().find(|name| !STEPS.iter().any(|step| step.name == **name)) {
        return Err(Failure::Usage(format!("There is no step {unknown:?}; there are:\n{}", list().trim_end())));
    }
    let mut context = StepContext { workspace, playground: None, pushed: None, form: None };
    let mut summary = Vec::new();
    let mut failed = false;
    for step in STEPS {
        let is_wanted = only.is_empty() || only.contains(&step.name);
        if failed || !is_wanted {
            summary.push(format!("not run  {:9} {}", step.name, if is_wanted { "" } else { "not asked for" }));
            continue;
        }
        println!("\n== pipeline: {}: {}", step.name, step.about);
        let began = Instant::now();
        let result = step.run(&mut context);
        failed = result.is_err();
        let word = if failed { "FAILED " } else { "passed " };
        summary.push(format!("{word}  {:9} {} ({:.0?})", step.name, step.about, began.elapsed()));
        match result {
            Ok(note) => summary.extend(note.map(|note| format!("         left out: {note}"))),
            Err(why) => println!("-- {} FAILED: {why}\nIt needs {}.", step.name, step.needs),
        }
    }
    let closed = context.close();
    println!("\n== summary\n{}", summary.join("\n"));
    closed.map_err(Failure::Run)?;
    if failed { Err(Failure::Run("Failed.".to_owned())) } else { Ok(()) }
}

impl Step {
    fn run(&self, context: &mut StepContext<'_>) -> Result<Option<String>, String> {
        match self.work {
            Work::Call(work) => work(context),
            Work::Xtask(words) => context.xtask(words).map(|()| None),
        }
    }
}

/// The steps and what they need, for a person.
pub(crate) fn list() -> String {
    STEPS.iter().map(|step| format!("  {:9} {}\n            needs {}\n", step.name, step.about, step.needs)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command that a file of a CI runs.
    fn commands(file: &str, before: &str, after: &str) -> Vec<String> {
        let text = std::fs::read_to_string(Workspace::find().root.join(file)).expect("a file of the checkout");
        let command = |line: &str| Some(line.split_once(before)?.1.split(after).next()?.to_owned());
        text.lines().filter_map(command).collect()
    }

    #[test]
    fn each_ci_runs_every_step_in_order_and_nothing_else() {
        for (file, before, after) in [("etc/ci/Jenkinsfile", "sh '", "'"), (".github/workflows/ci.yml", "run: ", "\n")]
        {
            let mut named = Vec::new();
            for command in commands(file, before, after) {
                let steps = command.strip_prefix("cargo xtask pipeline --only ");
                let steps = steps.unwrap_or_else(|| panic!("{file}: {command} is no step"));
                named.extend(steps.split(',').map(str::to_owned));
            }
            let all: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
            assert_eq!(named, all, "{file}");
        }
    }

    #[test]
    fn a_step_that_does_not_exist_is_said_with_those_that_do() {
        let Err(Failure::Usage(why)) = run(&Workspace::find(), &["deploy"]) else { panic!("there is none") };
        assert!(why.contains("\"deploy\"") && why.contains("smoke"), "{why}");
    }
}

//! Every test there is, by what a machine must have to run it.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::install::{self, Package};
use crate::retry::{MOST_FLAKY, TestName};
use crate::run::{self, Workspace};
use crate::{
    Failure, api, browser, card, deny, format, hosts, lints, manifests, overlay, package, release, rules, rust_version,
    unit, words,
};

/// Steps with the same needs.
struct Tier {
    name: &'static str,
    about: &'static str,
    needs: &'static [Package],
    /// With none, the tier does not exist.
    steps: &'static [Step],
}

struct Step {
    name: &'static str,
    work: Work,
}

enum Work {
    /// `cargo ARGUMENTS` with these variables.
    Cargo(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// A function. What it returns is said again at the end: what could not be checked, and why.
    Call(Check),
    /// The same, at the lowest priority, beside the steps after it: for what uses the processor while others wait.
    Beside(Check),
    /// Runs tests, and adds those that passed at a second attempt.
    Tests(fn(&Workspace, &mut Vec<TestName>) -> Result<Option<String>, String>),
}

type Check = fn(&Workspace) -> Result<Option<String>, String>;

const TIERS: &[Tier] = &[
    Tier {
        name: "unit",
        about: "formatting, lints, dependencies, tests on loopback",
        needs: &[Package { program: "redis-server", package: "redis-server" }],
        steps: UNIT,
    },
    Tier {
        name: "hosts",
        about: "hosts that find, lose and attack each other; avahi and zeroconf",
        needs: hosts::NEEDS,
        steps: &[Step { name: "a LAN for each test", work: Work::Tests(hosts::test) }],
    },
    Tier {
        name: "overlay",
        about: "containers, a registry and a stack on a Swarm of their own",
        needs: overlay::NEEDS,
        steps: &[Step { name: "images, registry, stack", work: Work::Tests(overlay::test) }],
    },
    Tier {
        name: "package",
        about: "units of systemd, Debian packages for amd64 and armhf, checksums and signature",
        needs: package::NEEDS,
        steps: PACKAGE,
    },
    Tier {
        name: "browser",
        about: "the pages in a browser, with and without JavaScript",
        needs: &[
            Package { program: "chromium", package: "chromium" },
            Package { program: "chromedriver", package: "chromium-driver" },
        ],
        steps: &[Step { name: "pages", work: Work::Tests(browser::test) }],
    },
    Tier {
        name: "image",
        about: "the SD card, built twice and started in emulated Pis",
        needs: card::NEEDS,
        steps: &[
            Step { name: "two builds are equal", work: Work::Call(card::build_twice) },
            Step { name: "emulated Pis", work: Work::Tests(card::test) },
        ],
    },
];

/// How many of the first steps of [`UNIT`] look at the code and run nothing of it.
const CHECKS: usize = 9;

const PACKAGE: &[Step] = &[
    Step { name: "units of systemd", work: Work::Call(package::units) },
    Step { name: "checksums and signature", work: Work::Call(release::check) },
    Step { name: "Debian packages", work: Work::Call(package::check) },
];

const UNIT: &[Step] = &[
    Step { name: "format", work: Work::Call(format::check) },
    Step { name: "plain words", work: Work::Call(words::check) },
    Step {
        name: "lints",
        work: Work::Cargo(
            &[
                "clippy",
                "--locked",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "--deny",
                "warnings",
            ],
            &[],
        ),
    },
    Step {
        name: "documentation",
        work: Work::Cargo(
            &["doc", "--locked", "--quiet", "--workspace", "--no-deps"],
            &[("RUSTDOCFLAGS", "--deny warnings")],
        ),
    },
    Step { name: "public API, as tests/api.txt has it", work: Work::Call(api::check) },
    Step { name: "rust-version that dependencies declare", work: Work::Call(rust_version::check) },
    Step { name: "dependencies", work: Work::Call(deny::check) },
    Step { name: "advisories", work: Work::Call(deny::advisories) },
    Step { name: "manifests, by their schemas", work: Work::Call(manifests::check) },
    Step { name: "build of the tests", work: Work::Call(unit::build) },
    Step { name: "simulated faults", work: Work::Beside(unit::simulate) },
    Step { name: "fuzzing, a minute each", work: Work::Beside(unit::fuzz) },
    Step { name: "every interleaving of what is lock-free", work: Work::Beside(unit::interleavings) },
    Step { name: "rules without the feature net", work: Work::Beside(rules::check) },
    Step { name: "cargo features, one at a time", work: Work::Beside(rules::features) },
    Step { name: "doctests", work: Work::Beside(unit::doctests) },
    Step { name: "lints of benches and fuzz targets", work: Work::Beside(lints::outside) },
    Step { name: "tests", work: Work::Tests(unit::test) },
];

/// Runs the checks, which run nothing of the code. Returns what could not be checked, and why.
pub(crate) fn checks(workspace: &Workspace) -> Result<Option<String>, String> {
    let tier = Tier { name: "check", about: "", needs: &[], steps: &UNIT[..CHECKS] };
    let report = tier.run(workspace, &mut Vec::new());
    let failed: Vec<&str> = report.failed().collect();
    if !failed.is_empty() {
        return Err(failed.join(", "));
    }
    Ok(Some(report.notes().join("; ")).filter(|notes| !notes.is_empty()))
}

/// The tiers that have something to run.
pub(crate) fn names() -> Vec<&'static str> {
    existing().map(|tier| tier.name).collect()
}

fn existing() -> impl Iterator<Item = &'static Tier> {
    TIERS.iter().filter(|tier| !tier.steps.is_empty())
}

/// Runs the tiers named in `only`, or all, and says at the end what ran and what did not.
pub(crate) fn test(workspace: &Workspace, only: &[&str]) -> Result<(), Failure> {
    if let Some(unknown) = only.iter().find(|name| !names().contains(*name)) {
        let why = format!("There is no tier {unknown:?}; there are: {}.", names().join(", "));
        return Err(Failure::Usage(why));
    }
    let (mut summary, mut flaky, mut failed) = (Vec::new(), Vec::new(), false);
    for tier in existing() {
        if !only.is_empty() && !only.contains(&tier.name) {
            summary.push(format!("not run  {:8}  not asked for", tier.name));
            continue;
        }
        let before = flaky.len();
        let report = tier.run(workspace, &mut flaky);
        failed |= report.failed().next().is_some();
        summary.extend(report.lines(tier));
        summary.extend(flaky[before..].iter().map(|test| format!("FLAKY    {:8}  {test}", tier.name)));
    }
    println!("\n== summary\n{}", summary.join("\n"));
    if failed || flaky.len() > MOST_FLAKY { Err(Failure::Run("Failed.".to_owned())) } else { Ok(()) }
}

/// Results of a tier.
struct Report {
    took: Duration,
    steps: Vec<StepReport>,
}

/// Result of a step: a note, or why it failed.
struct StepReport {
    name: &'static str,
    took: Duration,
    result: Result<Option<String>, String>,
}

impl Report {
    fn failed(&self) -> impl Iterator<Item = &'static str> {
        self.steps.iter().filter(|step| step.result.is_err()).map(|step| step.name)
    }

    fn notes(&self) -> Vec<&str> {
        self.steps.iter().filter_map(|step| step.result.as_ref().ok()?.as_deref()).collect()
    }

    fn lines(&self, tier: &Tier) -> Vec<String> {
        let word = if self.failed().next().is_none() { "passed " } else { "FAILED " };
        let mut lines = vec![format!("{word}  {:8}  {} ({:.0?})", tier.name, tier.about, self.took)];
        for StepReport { name, took, result } in &self.steps {
            match result {
                Ok(_) => lines.push(format!("         {took:>5.0?}  {name}")),
                Err(why) => lines.push(format!("         failed: {name} ({took:.0?}): {why}")),
            }
        }
        lines.extend(self.notes().iter().map(|note| format!("         not checked: {note}")));
        lines
    }
}

impl Tier {
    /// Every step, also after a failed one: a run shows all there is to repair.
    fn run(&self, workspace: &Workspace, flaky: &mut Vec<TestName>) -> Report {
        let began = Instant::now();
        if let Err(why) = install::packages(self.needs) {
            let steps = vec![StepReport { name: "install", took: began.elapsed(), result: Err(why) }];
            return Report { took: began.elapsed(), steps };
        }
        let background = workspace.background();
        let beside = self.steps.iter().filter(|step| matches!(step.work, Work::Beside(_)));
        let steps = thread::scope(|scope| {
            let (mut steps, mut running) = (Vec::new(), None);
            for step in self.steps {
                if let Work::Beside(_) = step.work {
                    let beside = beside.clone();
                    let background = &background;
                    let all = move || beside.map(|step| step.run(self.name, background, &mut Vec::new())).collect();
                    running.get_or_insert_with(|| scope.spawn::<_, Vec<StepReport>>(all));
                } else {
                    steps.push(step.run(self.name, workspace, flaky));
                }
            }
            steps.extend(running.into_iter().flat_map(|running| running.join().expect("no step panics")));
            steps
        });
        Report { took: began.elapsed(), steps }
    }
}

impl Step {
    fn run(&self, tier: &str, workspace: &Workspace, flaky: &mut Vec<TestName>) -> StepReport {
        println!("\n== {tier}: {}", self.name);
        let began = Instant::now();
        let result = self.work.run(workspace, flaky);
        let took = began.elapsed();
        match &result {
            Ok(_) => println!("-- {} passed in {took:.1?}", self.name),
            Err(why) => println!("-- {} FAILED in {took:.1?}: {why}", self.name),
        }
        StepReport { name: self.name, took, result }
    }
}

impl Work {
    fn run(&self, workspace: &Workspace, flaky: &mut Vec<TestName>) -> Result<Option<String>, String> {
        match self {
            Self::Call(work) | Self::Beside(work) => work(workspace),
            Self::Tests(work) => work(workspace, flaky),
            Self::Cargo(arguments, variables) => {
                let mut cargo: Command = workspace.cargo(arguments.iter().copied());
                run::finish(cargo.envs(variables.iter().copied())).map(|()| None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_without_steps_does_not_exist() {
        assert!(names().contains(&"unit"));
        for tier in TIERS {
            assert_eq!(names().contains(&tier.name), !tier.steps.is_empty(), "{}", tier.name);
        }
    }

    #[test]
    fn the_checks_end_before_the_first_test() {
        assert_eq!(UNIT[CHECKS].name, "build of the tests");
    }

    #[test]
    fn a_failed_step_fails_its_tier_and_does_not_stop_it() {
        const STEPS: &[Step] = &[
            Step { name: "bad", work: Work::Call(|_| Err("it broke".to_owned())) },
            Step { name: "beside", work: Work::Beside(|workspace| Err(format!("{}", workspace.in_background))) },
            Step { name: "good", work: Work::Call(|_| Ok(Some("half of it".to_owned()))) },
        ];
        let tier = Tier { name: "trial", about: "a trial", needs: &[], steps: STEPS };
        let report = tier.run(&Workspace::find(), &mut Vec::new());
        assert_eq!((report.failed().collect::<Vec<_>>(), report.notes()), (vec!["bad", "beside"], vec!["half of it"]));
        let lines = report.lines(&tier);
        assert!(lines[0].starts_with("FAILED"), "{lines:?}");
        for why in ["it broke", "true"] {
            assert!(lines.iter().any(|line| line.ends_with(why)), "{lines:?}");
        }
    }
}

//! Every test there is, by what a machine must have to run it.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::install::{self, Package};
use crate::run::{self, Workspace};
use crate::{Failure, browser, card, deny, hosts, manifests, msrv, openmetrics, overlay, package, release, rules};

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
    Call(fn(&Workspace) -> Result<Option<String>, String>),
}

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
        steps: &[Step { name: "a LAN for each test", work: Work::Call(hosts::test) }],
    },
    Tier {
        name: "overlay",
        about: "containers, a registry and a stack on a Swarm of their own",
        needs: overlay::NEEDS,
        steps: &[Step { name: "images, registry, stack", work: Work::Call(overlay::test) }],
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
        steps: &[Step { name: "pages", work: Work::Call(browser::check) }],
    },
    Tier {
        name: "image",
        about: "the SD card, built twice and started in emulated Pis",
        needs: card::NEEDS,
        steps: &[
            Step { name: "two builds are equal", work: Work::Call(card::build_twice) },
            Step { name: "emulated Pis", work: Work::Call(card::test) },
        ],
    },
];

/// How many of the first steps of [`UNIT`] look at the code and run nothing of it.
const CHECKS: usize = 7;

const PACKAGE: &[Step] = &[
    Step { name: "units of systemd", work: Work::Call(package::units) },
    Step { name: "checksums and signature", work: Work::Call(release::check) },
    Step { name: "Debian packages", work: Work::Call(package::check) },
];

const UNIT: &[Step] = &[
    Step { name: "format", work: Work::Cargo(&["fmt", "--all", "--check"], &[]) },
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
    Step { name: "oldest compiler", work: Work::Call(msrv::check) },
    Step { name: "dependencies", work: Work::Call(deny::check) },
    Step { name: "advisories", work: Work::Call(deny::advisories) },
    Step { name: "manifests, by their schemas", work: Work::Call(manifests::check) },
    Step { name: "tests and doctests", work: Work::Cargo(&["test", "--locked", "--workspace", "--no-fail-fast"], &[]) },
    Step { name: "rules without the feature net", work: Work::Call(rules::check) },
    Step { name: "every interleaving of what is lock-free", work: Work::Call(interleavings) },
    Step { name: "numbers by the reference parser", work: Work::Call(openmetrics::check) },
    Step {
        name: "fuzzing, a minute each",
        work: Work::Cargo(
            &["test", "--locked", "--package", "bramble-cli", "--test", "fuzz_corpus", "--", "--nocapture"],
            &[("BRAMBLE_FUZZ_SECONDS", "60")],
        ),
    },
];

/// loom's tests. Its cfg changes every crate, so they have a target directory of their own, kept like the other.
fn interleavings(workspace: &Workspace) -> Result<Option<String>, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.root.join("target"), Into::into);
    let mut cargo = workspace.cargo(["test", "--locked", "--quiet", "--package", "bramble", "--lib"]);
    cargo
        .args(["--no-default-features", "--target-dir"])
        .arg(target.join("loom"))
        .args(["--", "loom_"])
        .env("RUSTFLAGS", "--cfg bramble_loom");
    run::finish(&mut cargo)?;
    Ok(None)
}

/// What can be seen without running anything. What could not be checked, and why.
pub(crate) fn checks(workspace: &Workspace) -> Result<Option<String>, String> {
    let tier = Tier { name: "check", about: "", needs: &[], steps: &UNIT[..CHECKS] };
    let report = tier.run(workspace);
    if !report.failures.is_empty() {
        return Err(report.failures.join(", "));
    }
    Ok(Some(report.notes.join("; ")).filter(|notes| !notes.is_empty()))
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
    let mut summary = Vec::new();
    let mut failed = false;
    for tier in existing() {
        if !only.is_empty() && !only.contains(&tier.name) {
            summary.push(format!("not run  {:8}  not asked for", tier.name));
            continue;
        }
        let report = tier.run(workspace);
        failed |= !report.failures.is_empty();
        summary.extend(report.lines(tier));
    }
    println!("\n== summary\n{}", summary.join("\n"));
    if failed { Err(Failure::Run("Failed.".to_owned())) } else { Ok(()) }
}

/// What came out of a tier.
struct Report {
    took: Duration,
    failures: Vec<String>,
    notes: Vec<String>,
}

impl Report {
    fn lines(&self, tier: &Tier) -> Vec<String> {
        let word = if self.failures.is_empty() { "passed " } else { "FAILED " };
        let mut lines = vec![format!("{word}  {:8}  {} ({:.0?})", tier.name, tier.about, self.took)];
        lines.extend(self.failures.iter().map(|failure| format!("         failed: {failure}")));
        lines.extend(self.notes.iter().map(|note| format!("         not checked: {note}")));
        lines
    }
}

impl Tier {
    /// Every step, also after a failed one: a run shows all there is to repair.
    fn run(&self, workspace: &Workspace) -> Report {
        let began = Instant::now();
        let (mut failures, mut notes) = (Vec::new(), Vec::new());
        match install::packages(self.needs) {
            Err(why) => failures.push(why),
            Ok(()) => {
                for step in self.steps {
                    println!("\n== {}: {}", self.name, step.name);
                    let started = Instant::now();
                    match step.work.run(workspace) {
                        Ok(note) => {
                            println!("-- {} passed in {:.1?}", step.name, started.elapsed());
                            notes.extend(note);
                        }
                        Err(why) => {
                            println!("-- {} FAILED in {:.1?}: {why}", step.name, started.elapsed());
                            failures.push(step.name.to_owned());
                        }
                    }
                }
            }
        }
        Report { took: began.elapsed(), failures, notes }
    }
}

impl Work {
    fn run(&self, workspace: &Workspace) -> Result<Option<String>, String> {
        match self {
            Self::Call(work) => work(workspace),
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
        assert_eq!(UNIT[CHECKS].name, "tests and doctests");
    }

    #[test]
    fn a_failed_step_fails_its_tier_and_does_not_stop_it() {
        const STEPS: &[Step] = &[
            Step { name: "bad", work: Work::Call(|_| Err("it broke".to_owned())) },
            Step { name: "good", work: Work::Call(|_| Ok(Some("half of it".to_owned()))) },
        ];
        let tier = Tier { name: "trial", about: "a trial", needs: &[], steps: STEPS };
        let report = tier.run(&Workspace::find());
        assert_eq!(
            (report.failures.as_slice(), report.notes.as_slice()),
            (&["bad".into()][..], &["half of it".into()][..])
        );
        assert!(report.lines(&tier).first().is_some_and(|line| line.starts_with("FAILED")));
    }
}

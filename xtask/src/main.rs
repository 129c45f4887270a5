//! Runs what a developer or a CI machine runs, and installs what it needs first: one command on a fresh checkout.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is for the terminal")]

use std::process::ExitCode;

mod api;
mod bench;
mod browser;
mod card;
mod containers;
mod deny;
#[cfg(test)]
mod documents;
mod format;
mod hosts;
mod image;
mod install;
mod lints;
mod manifests;
mod openmetrics;
mod overlay;
mod package;
mod patience;
mod pipeline;
mod release;
mod retry;
mod rules;
mod run;
mod rust_version;
mod spdx;
mod suite;
mod tiers;
mod unit;
mod words;

use run::Workspace;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  test [--only TIER]...     all tests, or those of a tier
  api [--write]             compares the public API of the library with tests/api.txt, or writes that anew
  bench [NAME [OPTION]...]  all benches, or one with its own options
  compile [amd64|armv7]     bramble in one file without shared libraries; prints its path
  image [OPTION]...         the SD card for a Raspberry Pi 2, in dist/
  image check               builds it twice, compares, and lets SPDX's own program read the list
  image inspect FILE        what is in an image
  image refresh             a new pi-image/packages.lock with what Debian has today
  deb [amd64|armhf]         Debian packages, in dist/
  sbom [amd64|armv7]        lists of what is in the program, in dist/
  sign [--key FILE] [DIR]   checksums of what is in dist/, signed with a key of ssh-keygen
  containers COMMAND        images, registry and stack; without a command, lists them
  pipeline [--only STEP]... from a checkout to what is shipped; --list: the steps and what they need";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(why)) => {
            eprintln!("{why}\n\n{USAGE}");
            ExitCode::from(2)
        }
        Err(Failure::Run(why)) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

enum Failure {
    Usage(String),
    Run(String),
}

fn dispatch(arguments: &[&str]) -> Result<(), Failure> {
    let workspace = Workspace::find();
    match arguments {
        ["test", rest @ ..] => tiers::test(&workspace, &only(rest)?),
        ["api"] => {
            api::check(&workspace).map_err(Failure::Run)?.iter().for_each(|note| eprintln!("{note}"));
            Ok(())
        }
        ["api", "--write"] => api::write(&workspace).map_err(Failure::Run),
        ["bench", rest @ ..] => bench::run(&workspace, rest).map_err(Failure::Run),
        ["compile", rest @ ..] => image::compile(&workspace, rest),
        ["image", rest @ ..] => image::image(&workspace, rest),
        ["pipeline", "--list"] => {
            println!("{}", pipeline::list().trim_end());
            Ok(())
        }
        ["pipeline", rest @ ..] => pipeline::run(&workspace, &only(rest)?),
        ["containers", rest @ ..] => containers::run(&workspace, rest),
        ["deb", rest @ ..] => package::deb(&workspace, rest),
        ["sbom", rest @ ..] => release::sbom(&workspace, rest),
        ["sign", rest @ ..] => release::sign(&workspace, rest),
        ["-h" | "--help" | "help"] => {
            println!("{USAGE}\n\nTiers: {}\n\nBenches:\n{}", tiers::names().join(", "), bench::list().trim_end());
            Ok(())
        }
        [] => Err(Failure::Usage("No command was given.".to_owned())),
        [other, ..] => Err(Failure::Usage(format!("There is no command {other:?}."))),
    }
}

/// The tiers named by `--only TIER`, `--only=TIER` or `--only TIER,TIER`.
fn only<'a>(arguments: &[&'a str]) -> Result<Vec<&'a str>, Failure> {
    let mut names = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let value = match argument.strip_prefix("--only") {
            Some("") => rest.next().copied(),
            Some(value) => value.strip_prefix('='),
            None => None,
        };
        let value = value.ok_or_else(|| Failure::Usage(format!("{argument:?} was not understood.")))?;
        names.extend(value.split(','));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::only;

    #[test]
    fn tiers_are_named_in_any_of_the_usual_ways() {
        for arguments in [&["--only", "unit", "--only=browser"][..], &["--only", "unit,browser"]] {
            assert_eq!(only(arguments).ok(), Some(vec!["unit", "browser"]));
        }
        assert_eq!(only(&[]).ok(), Some(vec![]));
        for wrong in [&["--only"][..], &["unit"], &["--onlyunit"]] {
            assert!(only(wrong).is_err(), "{wrong:?}");
        }
    }
}

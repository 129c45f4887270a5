//! The `bramble` command: one binary, one subcommand a role.

mod args;
mod ask;
mod browse;
mod demo;
mod health;
mod roles;
mod sections;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use log::LevelFilter;

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    match args.command {
        Command::Pi(_) => {} // its log goes to the screens and to the system's log
        Command::Weather(_) | Command::Browse(_) | Command::Health(_) | Command::CheckConfig(_) => {
            bramble::logging::start(LevelFilter::Warn);
        }
        _ => bramble::logging::start(LevelFilter::Info),
    }
    let ended = match args.command {
        Command::Producer(options) => roles::producer(options),
        Command::Consumer(options) => roles::consumer(&options),
        Command::Registry(options) => roles::registry(options),
        Command::UpstreamSim(options) => roles::upstream_sim(options),
        Command::Demo(options) => demo::run(&options),
        Command::Browse(options) => browse::run(&options),
        Command::Weather(options) => ask::run(&options),
        Command::Pi(options) => roles::pi(options),
        Command::PiNet(options) => roles::pi_net(options),
        Command::Health(options) => health::run(&options),
        Command::CheckConfig(options) => roles::check_config(&options),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say_failed(&failure);
            failure.exit_code()
        }
    }
}

/// The last words of a command, for a person.
fn say_failed(failure: &Failure) {
    let (Failure::Usage(text) | Failure::Running(text)) = failure;
    // Standard error may be closed; the exit code tells of the failure as well.
    let _ = writeln!(std::io::stderr(), "bramble: {text}");
}

/// Why a command did not do its work.
#[derive(Debug)]
enum Failure {
    /// The request cannot be carried out; the sentence says what to change.
    Usage(String),
    /// Failed while running.
    Running(String),
}

impl Failure {
    /// Sentence for stderr.
    fn into_sentence(self) -> String {
        match self {
            Self::Usage(text) | Self::Running(text) => text,
        }
    }

    /// 1 failed while running, 2 wrong usage or configuration.
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Running(_) => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
        }
    }
}

impl From<bramble::serve::Error> for Failure {
    fn from(error: bramble::serve::Error) -> Self {
        match error {
            bramble::serve::Error::Setup(_) => Self::Usage(error.to_string()),
            _ => Self::Running(error.to_string()),
        }
    }
}

//! Prints the scoreboard.

use bramble_survive::contestant::rules::BrambleRules;
use bramble_survive::{board, scenario};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "Usage: bramble-survive [--lost] [--seeds N] [WORD]...

  WORD       only the scenarios whose name contains one of the words
  --lost     only the rows that Bramble loses
  --seeds N  runs of each scenario (5): seeds 0 to N-1";

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let chosen: Vec<_> = scenario::all().into_iter().filter(|scenario| options.wants(&scenario.name)).collect();
    let started = Instant::now();
    let rows = board::score(&chosen, &BrambleRules::default(), 0..options.seeds);
    for row in rows.iter().filter(|row| !options.lost || !row.losses.is_empty()) {
        println!("{row}");
    }
    let lost = rows.iter().filter(|row| !row.losses.is_empty()).count();
    println!(
        "{} rows of {} scenarios, seeds 0 to {}; Bramble loses {lost}. Took {:.1?}. Times are in ms where no unit stands.",
        rows.len(),
        chosen.len(),
        options.seeds - 1,
        started.elapsed()
    );
    ExitCode::SUCCESS
}

struct Options {
    lost: bool,
    seeds: u64,
    words: Vec<String>,
}

impl Options {
    /// None: they are wrong.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self { lost: false, seeds: scenario::SEEDS, words: Vec::new() };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--lost" => options.lost = true,
                "--seeds" => options.seeds = arguments.next()?.parse().ok().filter(|seeds| *seeds > 0)?,
                word if word.starts_with('-') => return None,
                _ => options.words.push(argument),
            }
        }
        Some(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }
}

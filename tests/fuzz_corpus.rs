//! Fuzzing in seconds: input from outside, a network or a person, must never bring a service down. Fuzzing proper needs
//! a nightly compiler and hours; this finds the simple cases on every machine, with every `cargo test`.
//!
//! `BRAMBLE_FUZZ_SECONDS` sets the time for each target (2), `BRAMBLE_FUZZ_SEED` repeats a run.

#![allow(clippy::print_stdout, reason = "the seed of a run that fails")]

use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;

#[path = "fuzz/targets.rs"]
mod targets;

use targets::Target;

/// Long enough for anything that a peer may send in one piece and that finds a mistake soon.
const LONGEST: usize = 4096;

/// No input of this length needs so long, even on a busy machine with a debug build.
const SLOW: Duration = Duration::from_secs(10);

#[test]
fn no_input_breaks_the_configuration() {
    survives("config");
}

#[test]
fn no_packet_breaks_the_resolver() {
    survives("dns");
}

#[test]
fn no_answer_of_the_weather_api_breaks_a_producer() {
    survives("openweathermap");
}

#[test]
fn no_question_breaks_a_producer() {
    survives("query");
}

#[test]
fn each_target_has_a_corpus_and_a_program() {
    for target in targets::ALL {
        let program = repository().join(format!("tests/fuzz/fuzz_targets/{}.rs", target.name));
        assert!(program.is_file(), "libFuzzer has no program for {}", target.name);
        for folder in target.corpora {
            assert!(!inputs(folder).is_empty(), "{folder} is empty");
        }
    }
    let folders = std::fs::read_dir(repository().join("tests/fuzz/corpus")).expect("it is part of the repository");
    for folder in folders {
        let name = folder.expect("it can be listed").file_name();
        assert!(targets::ALL.iter().any(|target| *target.name == *name), "{name:?} is no target");
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn inputs(folder: &str) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(repository().join(folder)).expect("a corpus is part of the repository");
    let mut files: Vec<_> = files.map(|entry| entry.expect("it can be listed").path()).collect();
    files.sort(); // the same seed, the same run
    files.iter().map(|file| std::fs::read(file).expect("it can be read")).collect()
}

/// Runs a target over its corpus, then over inputs made from it until the time is up.
fn survives(name: &str) {
    let target = targets::ALL.iter().find(|target| target.name == name).expect("the name of a target");
    let number = |variable| std::env::var(variable).ok().and_then(|value| value.parse::<u64>().ok());
    let seed = number("BRAMBLE_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    let time = Duration::from_secs(number("BRAMBLE_FUZZ_SECONDS").unwrap_or(2));
    println!("{name}: {time:?} with BRAMBLE_FUZZ_SEED={seed}");

    let corpus: Vec<_> = target.corpora.iter().flat_map(|folder| inputs(folder)).collect();
    for input in &corpus {
        run(target, input, seed);
    }
    let mut rng = Rng::with_seed(seed);
    let began = Instant::now();
    let mut count = 0_u64;
    while began.elapsed() < time {
        run(target, &make(&mut rng, &corpus), seed);
        count += 1;
    }
    println!("{name}: {} inputs of the corpus and {count} others", corpus.len());
}

fn run(target: &Target, input: &[u8], seed: u64) {
    let name = target.name;
    let began = Instant::now();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = began.elapsed();
    assert!(outcome.is_ok(), "{name} broke (BRAMBLE_FUZZ_SEED={seed}) on b\"{}\"", input.escape_ascii());
    assert!(took < SLOW, "{name} took {took:?} (BRAMBLE_FUZZ_SEED={seed}) for b\"{}\"", input.escape_ascii());
}

/// Makes an input: one in eight is noise; the others are one of the corpus with a few changes, and so get deeper.
fn make(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = match rng.choice(corpus) {
        Some(input) if rng.u8(..8) > 0 => input.clone(),
        _ => {
            let mut noise = vec![0; rng.usize(..256)];
            rng.fill(&mut noise);
            noise
        }
    };
    for _ in 0..rng.usize(1..=6) {
        change(rng, &mut input, corpus);
    }
    input.truncate(LONGEST);
    input
}

fn change(rng: &mut Rng, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    /// Ends, signs, quotes, and numbers at the borders of their types.
    const PIECES: [&[u8]; 22] = [
        b"\0",
        b"\n",
        b"\r\n",
        b"\"",
        b"'",
        b"\\",
        b"[",
        b"]",
        b"{",
        b"}",
        b"=",
        b",",
        b":",
        b"-",
        b"\xff",
        b"\xc3",
        b"255",
        b"65536",
        b"-1",
        b"9223372036854775808",
        b"1e999",
        "\u{feff}".as_bytes(),
    ];
    let at = rng.usize(..=input.len());
    let end = (at + rng.usize(..=32)).min(input.len());
    match rng.u8(..6) {
        0 if at < input.len() => input[at] ^= 1 << rng.u8(..8),
        1 => input.insert(at, rng.u8(..)),
        2 => drop(input.drain(at..end)),
        3 => drop(input.splice(at..at, PIECES[rng.usize(..PIECES.len())].iter().copied())),
        4 => {
            let piece = input[at..end].to_vec();
            let there = rng.usize(..=input.len());
            drop(input.splice(there..there, piece));
        }
        _ => {
            // Goes on as another one does.
            input.truncate(at);
            if let Some(other) = rng.choice(corpus) {
                input.extend_from_slice(&other[rng.usize(..=other.len())..]);
            }
        }
    }
}

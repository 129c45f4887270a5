//! Targets of fuzzing, each with the properties that hold for any input. Each function panics when one does not;
//! libFuzzer and `tests/fuzz_corpus.rs` call the same ones. A target has a program for libFuzzer in `fuzz_targets/`.

use std::time::Duration;

use bramble::Config;
use bramble::config::{ConfigFile, Origin, Sources};
use bramble::internals::resolve::{DnsQuery, DnsReply, RecordType, parse_answer};
use bramble_consumer::ConsumerSettings;
use bramble_pi::Pi;
use bramble_producer::{ProducerSettings, openweathermap, routes};
use bramble_registry::RegistrySettings;

/// A parser of foreign input.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Folders of the repository with inputs to begin with.
    pub(crate) corpora: &'static [&'static str],
    /// Takes any input, and returns if all is well.
    pub(crate) run: fn(&[u8]),
}

pub(crate) const ALL: &[Target] = &[
    Target { name: "config", corpora: &["tests/fuzz/corpus/config"], run: config },
    Target { name: "dns", corpora: &["tests/fuzz/corpus/dns"], run: dns },
    Target {
        name: "openweathermap",
        corpora: &["services/producer/tests/fixtures/ok", "services/producer/tests/fixtures/errors"],
        run: weather,
    },
    Target { name: "query", corpora: &["tests/fuzz/corpus/query"], run: query },
];

/// Every setting of the weather application, with its default value.
fn all() -> Config {
    Config::default()
        .with(ProducerSettings::default())
        .with(ConsumerSettings::default())
        .with(RegistrySettings::default())
        .with(Pi::default())
}

/// A configuration is read, and is the same after it was shown; or each mistake has a line that exists.
pub(crate) fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let lines = text.lines().count() + 1;
    let variable = ("BRAMBLE__DISCOVERY__FIXED".to_owned(), text.clone());
    match all().merge(&Sources::text(text)) {
        Ok(config) => {
            let shown = config.to_toml();
            assert_eq!(all().merge(&Sources::text(shown)), Ok(config));
        }
        Err(error) => {
            assert!(!error.mistakes().is_empty());
            for mistake in error.mistakes() {
                match mistake.origin {
                    Origin::Line { line, column, .. } => {
                        assert!((1..=lines).contains(&line) && column > 0, "{mistake}");
                    }
                    _ => panic!("{mistake} has no place"),
                }
            }
        }
    }
    // Where it is read tolerantly, what is left is right, and everything that is not taken is told.
    let (config, mistakes) = all().merge_tolerant(data, "bramble.toml");
    assert_eq!(all().merge(&Sources::text(config.to_toml())), Ok(config.clone()));
    match all().merge(&Sources::text(String::from_utf8_lossy(data))) {
        Ok(strict) if std::str::from_utf8(data).is_ok() => assert_eq!((strict, mistakes), (config, Vec::new())),
        _ => assert!(!mistakes.is_empty()),
    }
    // A variable takes another way: any text is a value.
    let sources = Sources { file: ConfigFile::None, env: vec![variable], ..Sources::default() };
    let _ = all().merge(&sources);
}

/// Checks that an answer of a DNS server is ignored, or bounded and of the family that was asked for.
pub(crate) fn dns(data: &[u8]) {
    for kind in [RecordType::A, RecordType::Aaaa] {
        // The question that the packets of the corpus answer.
        let question = DnsQuery { id: 7, name: "pi.example.org", kind };
        if let Some(DnsReply::Addresses(addresses, ttl)) = parse_answer(data, &question) {
            assert!((1..=256).contains(&addresses.len()), "{} addresses", addresses.len());
            assert!((Duration::from_secs(1)..=Duration::from_secs(300)).contains(&ttl), "{ttl:?}");
            assert!(addresses.iter().all(|address| address.is_ipv4() == (kind == RecordType::A)), "{addresses:?}");
        }
    }
}

/// An answer of the weather API is an observation that says something, within bounds, or an error.
pub(crate) fn weather(data: &[u8]) {
    for status in [200, 400, 401, 404, 429, 502] {
        let Ok(seen) = openweathermap::parse(status, data) else { continue };
        assert!(status == 200 && !seen.is_empty(), "status {status}: {seen:?}");
        assert!(seen.weight() < 2048, "{} bytes", seen.weight());
        let numbers = [seen.temperature_c, seen.feels_like_c, seen.humidity_pct, seen.pressure_hpa, seen.wind_mps];
        assert!(numbers.into_iter().flatten().all(f64::is_finite), "{seen:?}");
        assert!(seen.humidity_pct.is_none_or(|share| (0.0..=100.0).contains(&share)), "{seen:?}");
        for text in [seen.city, seen.description, seen.icon].into_iter().flatten() {
            assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
        }
    }
}

/// A question is refused with a sentence, or is the same after it went through a path.
pub(crate) fn query(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match routes::question(&text) {
        Ok(query) => {
            let path = query.to_path();
            let (_, again) = path.split_once('?').expect("a path with a question");
            assert_eq!(routes::question(again).ok(), Some(query), "by {path:?}");
        }
        Err(error) => {
            let message = error.to_string();
            assert!(!message.is_empty() && message.len() < 1000 && !message.contains(char::is_control), "{message:?}");
        }
    }
}

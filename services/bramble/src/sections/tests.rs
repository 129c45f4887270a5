use std::path::PathBuf;

use bramble::config::{ConfigError, ConfigFile, Origin, Sources};
use proptest::prelude::*;

use super::*;

const DOCUMENTED: &str = include_str!("../../../../etc/bramble.toml");

fn text(text: &str) -> Result<Config, ConfigError> {
    all().merge(&Sources::text(text))
}

/// The mistakes of `text`, a line each, as a person reads them.
fn mistakes(source: &str) -> String {
    text(source).expect_err("there is a mistake").to_string()
}

fn variable(name: &str, value: &str) -> Result<Config, ConfigError> {
    let env = vec![(name.to_owned(), value.to_owned())];
    all().merge(&Sources { file: ConfigFile::None, env, ..Sources::default() })
}

fn tolerant(source: impl AsRef<[u8]>) -> (Config, String) {
    let (config, mistakes) = all().merge_tolerant(source, "bramble.toml");
    assert_eq!(text(&config.to_toml()), Ok(config.clone()), "it is valid");
    (config, mistakes.iter().map(|mistake| format!("{mistake}\n")).collect())
}

#[test]
fn the_documented_file_changes_nothing() {
    assert_eq!(all().merge(&Sources::text(DOCUMENTED)), Ok(all()));
}

/// The documented file with every default switched on.
fn uncommented() -> String {
    let setting = |line: &str| {
        let key = line.strip_prefix("# ")?.split_once(" = ")?.0;
        key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then(|| line.trim_start_matches("# ").to_owned())
    };
    DOCUMENTED.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[test]
fn the_documented_defaults_are_those_of_the_program() {
    assert_eq!(text(&uncommented()), Ok(all()));
}

#[test]
fn the_documented_file_has_each_key_once_in_its_section_and_in_order() {
    let lines = |text: &str| -> Vec<String> {
        let key = |line: &str| line.split(" = ").next().unwrap_or_default().to_owned();
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(key).collect()
    };
    assert_eq!(lines(&uncommented()), lines(&all().to_toml()));
}

#[test]
fn each_documented_key_has_a_line_that_explains_it() {
    let lines: Vec<_> = uncommented().lines().map(str::to_owned).collect();
    for pair in lines.windows(2) {
        let [before, line] = pair else { unreachable!("windows of two") };
        let is_key = line.contains(" = ") && !line.starts_with('#');
        assert!(!is_key || before.starts_with("# "), "nothing explains {line}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_each_with_its_place() {
    let file = r#"
[node]
cluster = "two words"
wieght = 3

[server]
max_body = "64 KB"
threads = 0

[cal]
timeout = "1s"

[call]
timeout = "3x"
retry_budget = 1.5
fallback = "fail_fast"
attempt_timeout = 3

[producer]
upstream = "http://api.openweathermap.org"
"#;
    let sources = Sources {
        credentials: None,
        file: ConfigFile::Text("bramble.toml".into(), file.into()),
        env: vec![("BRAMBLE__CACHE__CAPACITY".into(), "lots".into()), ("BRAMBLE__CALL__TIME".into(), "1s".into())],
        flags: vec![("consumer.listen".into(), "8088".into())],
    };
    let error = all().merge(&sources).expect_err("all of it is wrong");
    let expected = r#"
bramble.toml:3:11: node.cluster: "two words" is not a cluster's name; allowed are 1 to 32 of A-Z, a-z, 0-9, -, _ and .
bramble.toml:4:1: node.wieght: is an unknown key; did you mean weight?
bramble.toml:7:12: server.max_body: "64 KB" is not a size; write for example "64KiB", "1MiB" or a number of bytes
bramble.toml:8:11: server.threads: 0 is out of range; allowed is 1 to 64
bramble.toml:10:2: cal: is an unknown section; did you mean [call]?
bramble.toml:14:11: call.timeout: "3x" is not a duration; write for example "250ms", "10s", "5m" or "24h"
bramble.toml:15:16: call.retry_budget: 1.5 is out of range; allowed is 0 to 1
bramble.toml:16:12: call.fallback: "fail_fast" is not one of "fail-fast", "fail-silent", "stale"
bramble.toml:17:19: call.attempt_timeout: 3 is not a duration; write for example "250ms", "10s", "5m" or "24h"
bramble.toml:20:12: producer.upstream: "http://api.openweathermap.org" would send the key unencrypted; http:// is for loopback and private addresses, use https://
BRAMBLE__CACHE__CAPACITY: "lots" is not a whole number; write for example 1
BRAMBLE__CALL__TIME: is an unknown key; did you mean timeout?
command line: consumer.listen: 8088 is not an address and port; write for example "192.0.2.7:9001" or "[::1]:9001""#;
    assert_eq!(format!("\n{error}"), expected);
    assert_eq!(error.mistakes().len(), 13);
}

#[test]
fn variables_and_flags_set_keys_of_all_services() {
    let config = variable("BRAMBLE__PRODUCER__API_KEY_FILE", "/run/secrets/owm").expect("right");
    assert_eq!(config.section::<ProducerSettings>().api_key_file, Some(PathBuf::from("/run/secrets/owm")));
    let flags = vec![("consumer.listen".to_owned(), "127.0.0.1:1".to_owned())];
    let config = all().merge(&Sources { flags, ..Sources::text("") }).expect("right");
    assert_eq!(config.section::<ConsumerSettings>().listen, ([127, 0, 0, 1], 1).into());
    let error = variable("BRAMBLE__X__Y", "1s").expect_err("no such section").to_string();
    assert!(error.starts_with("BRAMBLE__X__Y: is "), "{error}");
}

#[test]
fn a_slip_is_met_with_the_word_that_was_meant() {
    for (source, hint) in [
        ("[call]\ntimout = \"1s\"", "did you mean timeout?"),
        ("[call]\nhedge-after = \"1s\"", "did you mean hedge_after?"),
        ("[producer]\napi_key = \"k\"", "did you mean api_key_file?"),
        ("[discovery]\ninterface = []", "did you mean interfaces?"),
        ("[Node]\nzone = \"a\"", "did you mean [node]?"),
        ("[call]\nfresh_for = \"1s\"", "it belongs to [cache]"),
        ("fresh_for = \"1s\"", "is a key outside of a section; it belongs to [cache]"),
        ("listen = \"1s\"", "it belongs to [server] or [consumer] or [registry]"),
        ("[consumer]\nqqq = 1", "is an unknown key; [consumer] has listen"),
        ("[zzzzzz]\nqqq = 1", "is an unknown section; there are [node], [discovery]"),
        ("call = 3", "is a section; write [call] on a line of its own"),
        ("[[call]]\ntimeout = \"1s\"", "is a section; write [call] on a line of its own, once"),
    ] {
        let said = mistakes(source);
        assert!(said.contains(hint), "{source:?} was met with {said:?}");
    }
}

#[test]
fn keys_that_systemd_hands_over_are_used_unless_the_file_names_others_and_blank_ones_are_none() {
    let folder = std::env::temp_dir().join(format!("bramble-credentials-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the test");
    std::fs::write(folder.join("api.key"), "0123456789abcdef\n").expect("writable");
    std::fs::write(folder.join("cluster.key"), "\n").expect("writable");
    let load = |text: &str| {
        let sources = Sources { credentials: Some(folder.clone()), ..Sources::text(text) };
        all().merge(&sources).expect("right")
    };
    let config = load("");
    let key = |config: &Config| config.section::<ProducerSettings>().api_key_file;
    assert_eq!((key(&config), config.node.cluster_key_file), (Some(folder.join("api.key")), None));
    let config = load("[producer]\napi_key_file = \"/etc/other.key\"\n");
    assert_eq!(key(&config), Some("/etc/other.key".into()));
    std::fs::remove_dir_all(folder).expect("the test's own folder");
}

#[test]
fn of_a_right_file_everything_counts() {
    assert_eq!(tolerant(DOCUMENTED), (all(), String::new()));
    assert_eq!(tolerant(""), (all(), String::new()));
    let source = "[pi]\nhostname = \"a\"\n[node]\nzone = \"b\"\n";
    let (config, said) = tolerant(source);
    assert_eq!((all().merge(&Sources::text(source)), said.as_str()), (Ok(config), ""));
}

#[test]
fn nothing_below_a_broken_heading_goes_to_the_section_above() {
    let (config, said) = tolerant("[consumer]\n[registry\nlisten = \"0.0.0.0:1\"\n\n[node]\nzone = \"a\"");
    assert_eq!(config.section::<ConsumerSettings>(), ConsumerSettings::default());
    assert_eq!(config.section::<RegistrySettings>(), RegistrySettings::default());
    assert_eq!(config.node.zone, "a", "{said}");
    assert!(said.starts_with("bramble.toml:2:"), "{said}");
}

proptest! {
    #[test]
    fn a_file_with_one_stray_piece_is_read_or_refused_with_a_line(at in 0..DOCUMENTED.len(), piece in "[\\PC\n]{0,4}") {
        let mut source = uncommented();
        if source.is_char_boundary(at) {
            source.insert_str(at, &piece);
        }
        if let Err(error) = text(&source) {
            for mistake in error.mistakes() {
                let in_file = matches!(&mistake.origin, Origin::Line { line, column, .. }
                    if (1..=source.lines().count() + 1).contains(line) && *column >= 1);
                prop_assert!(in_file, "{}", mistake);
            }
        }
    }

    #[test]
    fn an_arbitrary_variable_is_read_or_refused(at in 0..60_usize, value in "\\PC{0,40}") {
        let keys = all().to_toml();
        let mut names = Vec::new();
        let mut section = "";
        for line in keys.lines() {
            match line.split_once(" = ") {
                Some((key, _)) => names.push(format!("BRAMBLE__{section}__{key}").to_ascii_uppercase()),
                None => section = line.trim_matches(['[', ']']),
            }
        }
        let name = &names[at % names.len()];
        if let Err(error) = variable(name, &value) {
            let message = error.to_string();
            prop_assert!(message.contains(&**name), "{}", message);
        }
    }

    #[test]
    fn a_file_with_stray_pieces_is_read_as_a_valid_configuration(
        pieces in prop::collection::vec((0..uncommented().len(), "[\\PC\n]{0,4}|\"|\\[|\\]|\n\\[|= 7"), 1..5),
    ) {
        let mut source = uncommented().into_bytes();
        for (at, piece) in &pieces {
            source.splice(*at..*at, piece.bytes());
        }
        let (_, said) = tolerant(&source);
        let strict = all().merge(&Sources::text(String::from_utf8_lossy(&source)));
        prop_assert!(strict.is_ok() || !said.is_empty(), "nothing is said of {strict:?}");
    }
}

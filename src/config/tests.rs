use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::balance::Policy;
use crate::breaker::BreakerSettings;
use crate::call::{Fallback, HedgeDelay};
use crate::ratio::Ratio;

fn text(text: &str) -> Result<Config, ConfigError> {
    Config::load(&Sources::text(text))
}

/// The mistakes of `text`, a line each, as a person reads them.
fn mistakes(source: &str) -> String {
    text(source).expect_err("there is a mistake").to_string()
}

fn variable(name: &str, value: &str) -> Result<Config, ConfigError> {
    let env = vec![(name.to_owned(), value.to_owned())];
    Config::load(&Sources { file: ConfigFile::None, env, ..Sources::default() })
}

mod callees;
mod section;
mod tolerant;

#[test]
fn without_any_source_the_defaults_hold() {
    let sources = Sources { file: ConfigFile::None, ..Sources::default() };
    assert_eq!(Config::load(&sources), Ok(Config::default()));
}

#[test]
fn all_mistakes_are_reported_at_once_each_with_its_place() {
    let sources = Sources {
        file: ConfigFile::Text("bramble.toml".into(), "[node]\nwieght = 3\n[cal]\n[call]\ntimeout = \"3x\"".into()),
        env: vec![("BRAMBLE__CACHE__CAPACITY".into(), "lots".into()), ("BRAMBLE__CALL__TIME".into(), "1s".into())],
        flags: vec![("server.listen".into(), "8088".into())],
        ..Sources::default()
    };
    let error = Config::load(&sources).expect_err("all of it is wrong");
    let expected = r#"
bramble.toml:2:1: node.wieght: is an unknown key; did you mean weight?
bramble.toml:3:2: cal: is an unknown section; did you mean [call]?
bramble.toml:5:11: call.timeout: "3x" is not a duration; write for example "250ms", "10s", "5m" or "24h"
BRAMBLE__CACHE__CAPACITY: "lots" is not a whole number; write for example 1
BRAMBLE__CALL__TIME: is an unknown key; did you mean timeout?
command line: server.listen: 8088 is not an address and port; write for example "192.0.2.7:9001" or "[::1]:9001""#;
    assert_eq!(format!("\n{error}"), expected);
    assert_eq!(error.mistakes().len(), 6);
}

#[test]
fn a_file_that_is_no_configuration_is_refused_quickly_and_briefly() {
    for garbage in ["= \n".repeat(200_000), "[call]\n".to_owned() + &"a=\n".repeat(200_000)] {
        let said = mistakes(&garbage);
        assert_eq!(said.lines().count(), 101);
        assert!(said.ends_with("\nand 199900 more"), "{}", said.lines().last().unwrap_or_default());
    }
    for deep in ["a.".repeat(400_000) + "a = 1", "a = ".to_owned() + &"[".repeat(900_000)] {
        assert!(mistakes(&deep).contains("recurs"));
    }
}

#[test]
fn each_source_wins_over_the_one_before() {
    let mut sources = Sources { file: ConfigFile::None, ..Sources::default() };
    let threads = |sources: &Sources| Config::load(sources).expect("fine").server.threads;
    assert_eq!(threads(&sources), 1);
    sources.file = ConfigFile::Text("a.toml".into(), "[server]\nthreads = 2".into());
    assert_eq!(threads(&sources), 2);
    sources.env = vec![("BRAMBLE__SERVER__THREADS".into(), "3".into())];
    assert_eq!(threads(&sources), 3);
    sources.flags = vec![("server.threads".into(), "4".into())];
    assert_eq!(threads(&sources), 4);
}

#[test]
fn a_variable_is_toml_or_else_plain_text() {
    let set = |name, value| variable(name, value).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(set("BRAMBLE__CALL__TIMEOUT", "5s").call.timeout, Duration::from_secs(5));
    assert_eq!(set("BRAMBLE__CALL__TIMEOUT", "\"5s\"").call.timeout, Duration::from_secs(5));
    assert_eq!(set("BRAMBLE__NODE__ZONE", "").node.zone, "");
    assert_eq!(set("BRAMBLE__NODE__ZONE", "1").node.zone, "1");
    assert_eq!(set("BRAMBLE__NODE__ZONE", "true").node.zone, "true");
    assert!(!set("BRAMBLE__DISCOVERY__MDNS", "false").discovery.mdns);
    assert_eq!(set("BRAMBLE__DISCOVERY__INTERFACES", r#"["eth0"]"#).discovery.interfaces, ["eth0"]);
    let dns = set("BRAMBLE__DISCOVERY__DNS", r#"{ producer = "producer:8080" }"#).discovery.dns;
    assert_eq!(dns, BTreeMap::from([("producer".to_owned(), "producer:8080".to_owned())]));
    let key = set("BRAMBLE__NODE__CLUSTER_KEY_FILE", "/run/secrets/cluster").node.cluster_key_file;
    assert_eq!(key, Some(PathBuf::from("/run/secrets/cluster")));
}

#[test]
fn only_variables_with_two_underscores_are_settings() {
    for name in ["BRAMBLE_LOG", "BRAMBLE", "PATH", "XBRAMBLE__CALL__TIMEOUT"] {
        assert_eq!(variable(name, "nonsense"), Ok(Config::default()), "{name}");
    }
    for name in ["BRAMBLE__", "BRAMBLE__CALL", "BRAMBLE__CALL__", "BRAMBLE__CALL__TIMEOUT__X", "BRAMBLE__CAL__Y"] {
        let error = variable(name, "1s").expect_err(name).to_string();
        assert!(error.starts_with(&format!("{name}: is ")), "{error}");
    }
}

#[test]
fn errors_of_the_syntax_have_a_line_and_do_not_hide_the_rest() {
    let said = mistakes("[call]\ntimeout = 3s\n[server]\nthreads = 99\n[cache]\nstore = \"memory\n");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    for (line, place) in
        lines.iter().zip(["bramble.toml:2:", "bramble.toml:4:11: server.threads: 99", "bramble.toml:6:"])
    {
        assert!(line.starts_with(place), "{said}");
    }
}

#[test]
fn a_key_below_a_broken_heading_is_not_blamed() {
    let said = mistakes("[node]\nzone = \"a\"\n[call\ntimeout = \"1s\"\n");
    assert!(said.starts_with("bramble.toml:3:"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_key_set_twice_is_a_mistake() {
    assert!(mistakes("[call]\ntimeout = \"3s\"\ntimeout = \"4s\"").starts_with("bramble.toml:3:1: duplicate key"));
}

#[test]
fn keys_that_contradict_each_other_are_named_both() {
    assert_eq!(
        mistakes("[call]\ntimeout = \"1s\""),
        "bramble.toml:2:11: call.attempt_timeout: 2s is longer than call.timeout = 1s; set both"
    );
    assert_eq!(
        mistakes("[breaker]\nopen_for = \"2m\""),
        "bramble.toml:2:12: breaker.open_for: 2m is longer than breaker.open_for_max = 1m; set both"
    );
    assert!(mistakes("[call]\nhedge_after = \"4s\"").contains("call.hedge_after: 4s is longer than call.timeout = 3s"));
    // The first mistake explains it all.
    assert_eq!(mistakes("[call\ntimeout = \"9s\"\n[breaker]\nopen_for = \"2m\"").lines().count(), 1);
    assert_eq!(mistakes("[call]\ntimeout = \"1x\"\nattempt_timeout = \"5s\"").lines().count(), 1);
}

#[test]
fn durations_are_bounded_and_have_a_unit() {
    let time = |value: &str| text(&format!("[cache]\nfresh_for = {value}")).map(|config| config.cache.fresh_for);
    assert_eq!(time("\"250ms\""), Ok(Duration::from_millis(250)));
    assert_eq!(time("\"1h30m\""), Ok(Duration::from_secs(5400)));
    assert_eq!(time("\"30days\""), Ok(Duration::from_secs(30 * 86400)));
    assert_eq!(time("\"0s\""), Ok(Duration::ZERO));
    for wrong in ["10", "1.5", "\"10\"", "\"\"", "\"-1s\"", "\"31days\"", "\"1us\"", "\"1e3s\"", "true", "[]"] {
        assert!(time(wrong).is_err(), "{wrong}");
    }
    // The sum of humantime overflows here.
    assert!(time("\"18446744073709551615s1000ms\"").is_err());
    assert!(mistakes("[call]\ntimeout = \"0s\"").contains("allowed is 1ms to 30 days"));
    assert!(mistakes("[breaker]\nwindow = \"2h\"").contains("allowed is 100ms to 1h"));
}

#[test]
fn times_of_circuits_and_slow_start_are_a_day_at_most() {
    for path in ["breaker.slow_call", "breaker.open_for_max", "breaker.ramp", "balance.slow_start"] {
        let (section, key) = path.split_once('.').expect("a key of a section");
        let read = |value: &str| text(&format!("[{section}]\n{key} = \"{value}\""));
        assert!(read("24h").is_ok(), "{path}");
        let said = read("25h").expect_err("more than a day").to_string();
        assert!(said.starts_with("bramble.toml:2:") && said.ends_with("1ms to 24h"), "{said}");
    }
}

#[test]
fn nothing_is_written_as_an_empty_text() {
    let config = text("[server]\nlisten = \"\"\n[node]\ncluster_key_file = \"\"");
    assert_eq!(config, Ok(Config::default()));
    let config = text("[server]\nlisten = \"[::1]:0\"").expect("fine");
    assert_eq!(config.server.listen, Some(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0))));
}

#[test]
fn a_copy_of_a_late_call_is_sent_at_the_p95_after_a_time_or_never() {
    let hedge = |value: &str| text(&format!("[call]\nhedge_after = {value}")).map(|config| config.call.hedge_after);
    assert_eq!(hedge("\"p95\""), Ok(HedgeDelay::P95));
    assert_eq!(hedge("\"off\""), Ok(HedgeDelay::Off));
    assert_eq!(hedge("\"40ms\""), Ok(HedgeDelay::After(Duration::from_millis(40))));
    for wrong in ["\"\"", "\"p99\"", "40", "\"0s\""] {
        assert!(hedge(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_key_of_an_earlier_version_is_named_with_what_became_of_it() {
    let told = mistakes("[balance]\npanic_threshold = 0.5");
    assert!(
        told.starts_with("bramble.toml:2:1: balance.panic_threshold: is not a key any more: a call goes to"),
        "{told}"
    );
}

#[test]
fn sizes_are_bytes_or_have_a_binary_unit() {
    let size = |value: &str| text(&format!("[server]\nmax_body = {value}")).map(|config| config.server.max_body).ok();
    for (value, bytes) in
        [("0", 0), ("65_536", 1 << 16), ("0x10", 16), ("\"64KiB\"", 1 << 16), ("\"2 MiB\"", 2 << 20), ("\"7B\"", 7)]
    {
        assert_eq!(size(value), Some(bytes), "{value}");
    }
    for wrong in ["-1", "\"64\"", "\"64KB\"", "\"KiB\"", "\"+1KiB\"", "\"2GiB\"", "\"99999999999999999999GiB\"", "1.0"]
    {
        assert_eq!(size(wrong), None, "{wrong}");
    }
}

#[test]
fn shares_lie_between_nothing_and_all() {
    let floor = |value: &str| text(&format!("[breaker]\nramp_floor = {value}")).map(|c| c.breaker.ramp_floor).ok();
    assert_eq!(floor("1"), Some(Ratio::ONE));
    assert_eq!(floor("0.05"), Ratio::new(0.05));
    for wrong in ["0", "0.0", "-0.1", "1.01", "nan", "inf", "\"0.5\""] {
        assert_eq!(floor(wrong), None, "{wrong}");
    }
    let budget = |value: &str| text(&format!("[call]\nretry_budget = {value}")).map(|c| c.call.retry_budget).ok();
    assert_eq!((budget("0"), budget("-0.0"), budget("1")), (Some(None), Some(None), Some(Some(Ratio::ONE))));
    for wrong in ["-0.1", "1.01", "nan", "inf"] {
        assert_eq!(budget(wrong), None, "{wrong}");
    }
}

#[test]
fn what_may_be_a_secret_is_not_repeated() {
    for source in ["[cache]\nstore = \"redis://:hunter2@cache:6379\"", "[node]\ncluster_key = \"hunter2\""] {
        let said = mistakes(source);
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_message_obeys_no_terminal_and_stays_on_its_line() {
    let esc = r"\u001b[2J\n";
    for source in [
        format!("[call]\n\"{esc}\" = 1"),
        format!("[\"{esc}\"]\na = 1"),
        format!("[node]\nzone = \"{esc}\""),
        format!("[discovery]\ndns = {{ \"{esc}\" = \"a:1\" }}"),
        format!("[{}]\na = 1", "a".repeat(100_000)),
        format!("[node]\nzone = \"{}\"", "a".repeat(100_000)),
        format!("[node]\nweight = 1{}", "0".repeat(100_000)),
        format!("[discovery]\ndns = {{ {} = \"a:1\" }}", "a".repeat(100_000)),
    ] {
        let said = mistakes(&source);
        assert!(!said.contains(char::is_control) && said.len() < 400, "{said:?}");
    }
}

#[test]
fn a_password_in_the_address_of_a_store_is_sent_to_its_file() {
    let said = mistakes("[cache]\nstore = \"redis://:hunter2@cache:6379\"");
    assert!(said.contains("cache.password_file") && !said.contains("hunter2"), "{said}");
    let config = text("[cache]\npassword_file = \"/run/secrets/redis\"").expect("a file");
    assert_eq!(config.cache.password_file, Some("/run/secrets/redis".into()));
}

#[cfg(not(feature = "redis"))]
#[test]
fn a_store_that_is_not_built_in_is_a_mistake_that_names_the_feature() {
    let said = mistakes("[cache]\nstore = \"redis://cache\"");
    assert!(
        said.contains(":2:9: cache.store") && said.contains("needs the cargo feature `redis` of bramble"),
        "{said}"
    );
}

#[test]
fn stores_and_hosts_have_their_form() {
    for right in [
        "memory",
        "redis://cache",
        "redis://cache:6379",
        "redis://10.0.0.1:1",
        "redis://[::1]:6379",
        "redis://a/1",
        "redis://a:1/15",
    ] {
        let read = text(&format!("[cache]\nstore = \"{right}\""));
        assert_eq!(read.is_ok(), right == "memory" || cfg!(feature = "redis"), "{right}");
    }
    for wrong in [
        "",
        "Memory",
        "redis://",
        "redis://a:0",
        "redis://a:99999",
        "redis://a/",
        "redis://a/b",
        "redis://a/+1",
        "redis://a/1/2",
        "redis://a/99999",
        "rediss://a",
        "redis://-a",
    ] {
        assert!(text(&format!("[cache]\nstore = \"{wrong}\"")).is_err(), "{wrong}");
    }
    for wrong in ["producer", "producer:", ":80", "producer:+80", "a b:80", "::1:80", "a..b:80"] {
        assert!(text(&format!("[discovery]\ndns = {{ producer = \"{wrong}\" }}")).is_err(), "{wrong}");
    }
}

#[test]
fn each_wrong_address_of_a_list_has_its_own_line() {
    let said = mistakes(
        "[discovery.fixed]\nproducer = [\n  \"192.0.2.7:9001\",\n  \"192.0.2.7\",\n  \"192.0.2.8:0\",\n]\nNo_Name = [\"192.0.2.7:1\"]\nempty = []\n",
    );
    let places: Vec<_> = said.lines().map(|line| line.split(": ").next().unwrap_or_default()).collect();
    assert_eq!(places, ["bramble.toml:4:3", "bramble.toml:5:3", "bramble.toml:7:1", "bramble.toml:8:9"], "{said}");
}

#[test]
fn fixed_and_dns_take_a_table_inline_or_as_a_section() {
    let inline =
        text("[discovery]\nfixed = { producer = [\"192.0.2.7:9001\", \"[2001:db8::7]:9001\"] }").expect("fine");
    let section = text("[discovery.fixed]\nproducer = [\"192.0.2.7:9001\", \"[2001:db8::7]:9001\"]").expect("fine");
    assert_eq!(inline, section);
    assert_eq!(inline.discovery.fixed["producer"].len(), 2);
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let missing = PathBuf::from("/nonexistent/bramble.toml");
    let sources = Sources { file: ConfigFile::Path(missing), ..Sources::default() };
    let said = Config::load(&sources).expect_err("it is missing").to_string();
    assert!(said.starts_with("/nonexistent/bramble.toml: cannot be read: "), "{said}");
}

#[test]
fn an_endless_file_is_not_read_to_its_end() {
    let sources = Sources { file: ConfigFile::Path("/dev/zero".into()), ..Sources::default() };
    let said = Config::load(&sources).expect_err("it has no end").to_string();
    assert!(said.contains("larger than 1 MiB"), "{said}");
}

#[test]
fn columns_count_characters_and_a_byte_order_mark_is_no_mistake() {
    assert!(text("\u{feff}[call]\ntimeout = \"4s\"").is_ok());
    assert!(mistakes("[node]\r\n\"zöne\" = { \"ü\" = 1 }").starts_with("bramble.toml:2:1: node.zöne: "));
    assert!(mistakes("node.\"ö\".x = 1\nnode.zone = 3").contains("bramble.toml:2:13: node.zone: 3 is not text"));
}

fn word<T: Copy + std::fmt::Debug>(words: &'static [(T, &'static str)]) -> impl Strategy<Value = T> {
    prop::sample::select(words.iter().map(|(word, _)| *word).collect::<Vec<_>>())
}

prop_compose! {
    fn any_time()(millis in prop_oneof![1..5000_u64, 1..30 * 86_400_000_u64]) -> Duration {
        Duration::from_millis(millis)
    }
}

prop_compose! {
    /// A right configuration, with a value of each kind that is not the default.
    fn any_config()(
        times in prop::collection::vec(any_time(), 6),
        path in prop::option::of("[^\0]{1,40}"),
        zone in "[A-Za-z0-9._-]{0,32}",
        weight in 1..=100_u32,
        (share, rate) in (0.0..=1.0_f64, 1e-9..=1.0_f64),
        max_body in prop_oneof![0..=1_usize << 30, (0..1024_usize).prop_map(|n| n << 20)],
        listen in prop::option::of(any::<SocketAddr>().prop_map(|a| SocketAddr::new(a.ip(), a.port()))),
        interfaces in prop::collection::vec("[a-z][a-z0-9.@-]{0,14}", 0..4),
        fixed in prop::collection::btree_map(
            "[a-z]([a-z0-9-]{0,30}[a-z0-9])?",
            prop::collection::vec((any::<std::net::IpAddr>(), 1..=65535_u16).prop_map(SocketAddr::from), 1..4),
            0..4,
        ),
        (policy, fallback) in (word(Policy::WORDS), word(Fallback::WORDS)),
        prefer_zone in any::<bool>(),
    ) -> Config {
        let mut config = Config::default();
        config.call.timeout = times[0].max(times[1]);
        config.call.attempt_timeout = times[0].min(times[1]);
        config.call.hedge_after = match times[2] {
            after if after <= config.call.timeout => HedgeDelay::After(after),
            _ => HedgeDelay::Off,
        };
        let [open_for, open_for_max] = [times[3], times[4]].map(|time| time.min(BreakerSettings::MAX_TIME));
        config.breaker.open_for = open_for.min(open_for_max);
        config.breaker.open_for_max = open_for.max(open_for_max);
        config.cache.stale_if_error = times[5];
        config.breaker.ramp = Duration::ZERO;
        config.node.cluster_key_file = path.map(PathBuf::from);
        config.node.zone = zone;
        config.node.weight = weight;
        config.call.retry_budget = Ratio::new(share);
        config.breaker.failure_rate = Ratio::new(rate).expect("a ratio");
        config.server.max_body = max_body;
        config.server.listen = listen;
        config.discovery.interfaces = interfaces;
        config.discovery.dns = fixed.keys().map(|name| (name.clone(), format!("{name}.example:80"))).collect();
        config.discovery.fixed = fixed;
        config.balance.policy = policy;
        config.balance.prefer_zone = prefer_zone;
        config.call.fallback = fallback;
        config
    }
}

proptest! {
    #[test]
    fn what_is_shown_reads_back_to_the_same(config in any_config()) {
        prop_assert_eq!(text(&config.to_toml()), Ok(config));
    }

    #[test]
    fn arbitrary_text_is_read_or_refused(source in "\\PC*") {
        let _ = text(&source);
    }
}

//! Settings for calls to one service.

use super::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_service_with_a_section_of_its_own_has_its_keys_and_those_for_all_besides() {
    let config = text(
        "[call.greeter]\ntimeout = \"9s\"\n[call]\nretry_budget = 0.5\ntimeout = \"4s\"\n[breaker.greeter]\n\
         consecutive_failures = 2\n[balance.front-desk]\npolicy = \"round-robin\"",
    )
    .expect("right");
    let greeter = config.for_callee("greeter");
    assert_eq!((greeter.call.timeout, greeter.call.retry_budget), (ms(9000), Ratio::new(0.5)));
    assert_eq!(greeter.breaker.consecutive_failures.get(), 2);
    assert_eq!(greeter.balance, config.balance);
    assert_eq!(config.for_callee("front-desk").balance.policy, Policy::RoundRobin);
    assert_eq!(config.for_callee("front-desk").call.timeout, ms(4000));
    let other = config.for_callee("clock");
    assert_eq!(
        (other.call, other.breaker, other.balance),
        (config.call.clone(), config.breaker, config.balance.clone())
    );
    assert_eq!(config.callees().collect::<Vec<_>>(), ["front-desk", "greeter"]);
}

#[test]
fn variables_and_flags_name_the_service_too_and_later_sources_win() {
    let env = [
        ("BRAMBLE__CALL__FRONT_DESK__TIMEOUT", "5s"),
        ("BRAMBLE__CALL__GREETER__TIMEOUT", "6s"),
        ("BRAMBLE__CALL__RETRY_BUDGET", "0.7"),
    ];
    let sources = Sources {
        file: ConfigFile::Text(
            "bramble.toml".into(),
            "[call.greeter]\ntimeout = \"4s\"\nattempt_timeout = \"1s\"".into(),
        ),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        flags: vec![("call.greeter.max_concurrent".to_owned(), "7".to_owned())],
        ..Sources::default()
    };
    let config = Config::load(&sources).expect("right");
    assert_eq!(config.for_callee("front-desk").call.timeout, ms(5000));
    let greeter = config.for_callee("greeter").call;
    assert_eq!((greeter.timeout, greeter.attempt_timeout), (ms(6000), ms(1000)));
    assert_eq!((greeter.max_concurrent, greeter.retry_budget), (7, Ratio::new(0.7)));
}

#[test]
fn what_is_shown_reads_back_to_the_same() {
    let config = text("[call.greeter]\ntimeout = \"9s\"\n[balance.greeter]\npolicy = \"random\"").expect("right");
    assert_eq!(text(&config.to_toml()), Ok(config));
}

#[test]
fn mistakes_are_said_with_their_line_and_key() {
    for (source, said) in [
        (
            "[call.greeter]\ntimeot = \"1s\"",
            "bramble.toml:2:1: call.greeter.timeot: is an unknown key; did you mean timeout?",
        ),
        ("[call.greeter]\ntimeout = \"soon\"", "bramble.toml:2:11: call.greeter.timeout"),
        ("[call.Greeter]\ntimeout = \"1s\"", "bramble.toml:1:7: call.Greeter: is for one service, whose name is"),
        ("[call.greeter]\nattempt_timeout = \"9s\"", "longer than call.greeter.timeout = 3s"),
        (
            "[call]\ntimeout = \"1s\"\nattempt_timeout = \"500ms\"\n[call.greeter]\nattempt_timeout = \"2s\"",
            "bramble.toml:5:19: call.greeter.attempt_timeout",
        ),
        ("[node.greeter]\nzone = \"a\"", "node.greeter: is an unknown key"),
        ("[call.timeout]\nx = 1", "call.timeout: a table is not a duration"),
    ] {
        let mistakes = mistakes(source);
        assert!(mistakes.contains(said), "{source}\n{mistakes}");
    }
    let error = variable("BRAMBLE__CALL__GREETER__TIMEOT", "1s").expect_err("unknown").to_string();
    assert!(error.contains("BRAMBLE__CALL__GREETER__TIMEOT") && error.contains("did you mean timeout?"), "{error}");
}

#[test]
fn services_beyond_the_bound_are_refused() {
    let sections = |count: usize| -> String {
        (0..count).map(|n| format!("[call.s{n}]\ntimeout = \"1s\"\nattempt_timeout = \"1s\"\n")).collect()
    };
    assert!(text(&sections(64)).is_ok());
    assert!(mistakes(&sections(65)).contains("call.s"), "{}", mistakes(&sections(65)));
}

#[test]
fn of_a_file_that_is_read_tolerantly_what_is_right_counts() {
    let file = "[call.greeter]\ntimeout = \"9s\"\nattempt_timeout = \"soon\"\n[call.clock]\ntimeot = \"1s\"";
    let (config, mistakes) = Config::default().merge_tolerant(file, "bramble.toml");
    assert_eq!(config.for_callee("greeter").call.timeout, ms(9000));
    assert_eq!((mistakes.len(), config.callees().collect::<Vec<_>>()), (2, vec!["greeter"]));
    let (config, mistakes) = Config::default().merge_tolerant("[call.greeter]\ntimeout = \"1s\"", "bramble.toml");
    assert_eq!(mistakes.len(), 1, "an attempt may not take longer than the call: {mistakes:?}");
    assert!(config.for_callee("greeter").call.attempt_timeout <= config.for_callee("greeter").call.timeout);
}

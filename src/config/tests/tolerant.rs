use super::*;

fn tolerant(source: impl AsRef<[u8]>) -> (Config, String) {
    let (config, mistakes) = Config::default().merge_tolerant(source, "bramble.toml");
    assert_eq!(Config::load(&Sources::text(config.to_toml())), Ok(config.clone()), "it is valid");
    (config, mistakes.iter().map(|mistake| format!("{mistake}\n")).collect())
}

#[test]
fn what_is_right_counts_and_each_wrong_key_is_told_with_its_line() {
    let (config, said) = tolerant(
        "[discovery]\nport = 0\ninterfaces = [\"eth0\", \"a/b\"]\nwifi = 1\n[node]\nzone = \"attic\"\nweight = 0\n[nod]\n",
    );
    let mut expected = Config::default();
    expected.discovery.interfaces = vec!["eth0".into()];
    expected.node.zone = "attic".into();
    assert_eq!(config, expected);
    let places: Vec<_> = said.lines().map(|line| line.split([':', ' ']).nth(1).unwrap_or_default()).collect();
    assert_eq!(places, ["2", "3", "4", "7", "8"], "{said}");
}

#[test]
fn one_wrong_item_costs_no_other() {
    let (config, said) = tolerant(
        "[discovery]\ninterfaces = [\"a/b\", \"eth0\"]\nfixed = { producer = [\"192.0.2.7:1\", \"x\"], B = [\"192.0.2.8:1\"] }",
    );
    assert_eq!(config.discovery.interfaces, ["eth0"]);
    assert_eq!(config.discovery.fixed, BTreeMap::from([("producer".into(), vec![([192, 0, 2, 7], 1).into()])]));
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn where_the_syntax_is_wrong_the_rest_of_the_file_counts() {
    let (config, said) = tolerant("[cache]\nstore = \"memory\ncapacity = 7\n[node]\nzone = \"a\"\nweight = = 3");
    assert_eq!((config.cache.capacity, &*config.node.zone, config.node.weight), (7, "a", 1), "{said}");
    assert!(said.starts_with("bramble.toml:2:") && said.contains("\nbramble.toml:6:"), "{said}");
}

#[test]
fn of_a_file_that_is_no_configuration_nothing_counts() {
    for garbage in [&b"\x7fELF\x01\x01\0\0"[..], b"\xff\xfe[\0p\0i\0]\0", b"{\"pi\": {}}", &[0; 4096]] {
        let (config, said) = tolerant(garbage);
        assert_eq!(config, Config::default());
        assert!(said.starts_with("bramble.toml"), "{said}");
    }
    let (config, said) = tolerant(vec![b'#'; (1 << 20) + 1]);
    assert_eq!(config, Config::default());
    assert_eq!(said, "bramble.toml: is larger than 1 MiB; is it the right file?\n");
}

#[test]
fn a_letter_of_another_encoding_costs_only_its_own_key() {
    let (config, said) = tolerant(b"# Dachst\xfcbchen\n[node]\nzone = \"b\xf6se\"\nweight = 7");
    assert_eq!((&*config.node.zone, config.node.weight), ("", 7), "{said}");
    assert!(said.starts_with("bramble.toml:1:9: is not UTF-8") && said.contains(":3:8: node.zone: "), "{said}");
}

#[test]
fn of_keys_that_contradict_each_other_as_few_as_can_be_are_given_up() {
    let (config, _) = tolerant("[call]\ntimeout = \"2s\"\nattempt_timeout = \"3s\"");
    let default = Config::default().call.attempt_timeout;
    assert_eq!((config.call.timeout, config.call.attempt_timeout), (Duration::from_secs(2), default));
    let (config, said) = tolerant("[call]\ntimeout = \"100ms\"\nattempt_timeout = \"3s\"");
    assert_eq!(config.call, Config::default().call, "the default of one is too long for the other");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_file_full_of_mistakes_is_read_quickly_and_told_of_briefly() {
    let broken = "[\na = 1\n".repeat(100_000);
    let unknown: String = (0..40_000).map(|n| format!("[a{n}]\n=\n")).collect();
    for source in [broken, "[node]\n".to_owned() + &"=\n".repeat(300_000), unknown] {
        let began = std::time::Instant::now();
        let (config, said) = tolerant(source);
        assert_eq!(config, Config::default());
        assert_eq!(said.lines().count(), 101);
        assert!(said.trim_end().ends_with("more mistakes"), "{}", said.lines().last().unwrap_or_default());
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_as_a_valid_configuration(source in prop::collection::vec(any::<u8>(), 0..200)) {
        tolerant(source);
    }
}

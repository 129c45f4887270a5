use super::*;
use crate::config::pi::PiService;

fn tolerant(source: impl AsRef<[u8]>) -> (Config, String) {
    let (config, mistakes) = Config::load_tolerant(source, "bramble.toml");
    assert_eq!(Config::load(&Sources::text(config.to_toml())), Ok(config.clone()), "it is valid");
    (config, mistakes.iter().map(|mistake| format!("{mistake}\n")).collect())
}

#[test]
fn of_a_right_file_everything_counts() {
    assert_eq!(tolerant(DOCUMENTED), (Config::default(), String::new()));
    assert_eq!(tolerant(""), (Config::default(), String::new()));
    let source = "[pi]\nhostname = \"a\"\n[node]\nzone = \"b\"\n";
    let (config, said) = tolerant(source);
    assert_eq!((Config::load(&Sources::text(source)), said.as_str()), (Ok(config), ""));
}

#[test]
fn what_is_right_counts_and_each_wrong_key_is_told_with_its_line() {
    let (config, said) = tolerant(
        "[pi]\nhostname = \"shelf 2\"\nroles = [\"producer\", \"chef\"]\nwifi = 1\n[node]\nzone = \"attic\"\nweight = 0\n[nod]\n",
    );
    let mut expected = Config::default();
    expected.pi.roles = vec![PiService::Producer];
    expected.node.zone = "attic".into();
    assert_eq!(config, expected);
    let places: Vec<_> = said.lines().map(|line| line.split([':', ' ']).nth(1).unwrap_or_default()).collect();
    assert_eq!(places, ["2", "3", "4", "7", "8"], "{said}");
}

#[test]
fn an_unknown_role_is_dropped_and_the_others_run() {
    let (config, said) = tolerant("[pi]\nroles = [\"chef\", \"registry\", \"registry\"]");
    assert_eq!(config.pi.roles, [PiService::Registry]);
    assert_eq!(said.lines().count(), 2, "{said}");
    let (config, said) = tolerant("[pi]\nroles = [\"chef\"]");
    assert_eq!(config.pi.roles, Pi::default().roles, "with no role left, all run");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn one_wrong_item_costs_no_other() {
    let (config, said) = tolerant(
        "[pi]\nntp = [\"-\", \"a.example\"]\n[discovery]\nfixed = { producer = [\"192.0.2.7:1\", \"x\"], B = [\"192.0.2.8:1\"] }",
    );
    assert_eq!(config.pi.ntp, ["a.example"]);
    assert_eq!(config.discovery.fixed, BTreeMap::from([("producer".into(), vec![([192, 0, 2, 7], 1).into()])]));
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn where_the_syntax_is_wrong_the_rest_of_the_file_counts() {
    let (config, said) =
        tolerant("[pi]\nhostname = \"attic\nroles = [\"producer\"]\n[node]\nzone = \"a\"\nweight = = 3");
    assert_eq!((&*config.pi.hostname, &*config.node.zone, config.node.weight), ("", "a", 1), "{said}");
    assert_eq!(config.pi.roles, [PiService::Producer]);
    assert!(said.starts_with("bramble.toml:2:") && said.contains("\nbramble.toml:6:"), "{said}");
}

#[test]
fn nothing_below_a_broken_heading_goes_to_the_section_above() {
    let (config, said) = tolerant("[consumer]\n[registry\nlisten = \"0.0.0.0:1\"\n\n[node]\nzone = \"a\"");
    assert_eq!(config.consumer, Config::default().consumer);
    assert_eq!(config.registry, Config::default().registry);
    assert_eq!(config.node.zone, "a", "{said}");
    assert!(said.starts_with("bramble.toml:2:"), "{said}");
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
    let (config, said) = tolerant("[pi]\naddress = \"192.0.2.7/24\"\ngateway = \"10.0.0.1\"");
    assert_eq!((config.pi.address.to_string().as_str(), config.pi.gateway), ("192.0.2.7/24", None));
    assert!(said.starts_with("bramble.toml:3:11: pi.gateway: 10.0.0.1 is not in the network"), "{said}");
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

    #[test]
    fn a_file_with_stray_pieces_is_read_as_a_valid_configuration(
        pieces in prop::collection::vec((0..uncommented().len(), "[\\PC\n]{0,4}|\"|\\[|\\]|\n\\[|= 7"), 1..5),
    ) {
        let mut source = uncommented().into_bytes();
        for (at, piece) in &pieces {
            source.splice(*at..*at, piece.bytes());
        }
        let (_, said) = tolerant(&source);
        let strict = Config::load(&Sources::text(String::from_utf8_lossy(&source)));
        prop_assert!(strict.is_ok() || !said.is_empty(), "nothing is said of {strict:?}");
    }
}

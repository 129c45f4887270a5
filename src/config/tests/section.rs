//! Sections of services.

use std::net::IpAddr;

use super::*;
use crate::Service;
use crate::config::{Conflict, Fields, Section};

#[derive(Debug, Clone, PartialEq)]
struct Desk {
    patience: Duration,
    bells: u32,
    warmth: f64,
    greets: bool,
    rooms: Vec<String>,
}

impl Default for Desk {
    fn default() -> Self {
        Self { patience: Duration::from_secs(2), bells: 1, warmth: 21.0, greets: true, rooms: Vec::new() }
    }
}

impl Section for Desk {
    const NAME: &'static str = "front-desk";

    fn fields(&mut self, fields: &mut Fields<'_>) {
        fields.time("patience", &mut self.patience, Duration::from_millis(1)..=Duration::from_secs(60));
        fields.count("bells", &mut self.bells, 0..=9);
        fields.number("warmth", &mut self.warmth, -10.0..=40.0);
        fields.switch("greets", &mut self.greets);
        let is_room = |text: &str| if text.is_empty() { Err("is not the name of a room") } else { Ok(()) };
        fields.list("rooms", &mut self.rooms, is_room, 4);
    }

    fn conflicts(&self) -> Vec<Conflict> {
        let is_silent = self.bells == 0 && !self.greets;
        let conflict = Conflict::new(["bells", "greets"], "0 and greets = false leave nothing to hear");
        Some(conflict).filter(|_| is_silent).into_iter().collect()
    }
}

const DESK: Service = Service::named("front-desk").section::<Desk>();

fn desk(sources: &Sources) -> Result<Desk, String> {
    let config = DESK.load(sources).map_err(|error| error.to_string())?;
    assert_eq!(
        DESK.load(&Sources::text(config.to_toml())).as_ref(),
        Ok(&config),
        "what is shown reads back to the same"
    );
    Ok(config.known_section::<Desk>().expect("its section").clone())
}

fn wrong(text: &str) -> String {
    desk(&Sources::text(text)).expect_err("it is wrong")
}

#[test]
fn a_services_own_section_is_read_like_the_others() {
    assert_eq!(desk(&Sources::text("")), Ok(Desk::default()));
    let file = "[service.front-desk]\npatience = \"5s\"\nwarmth = -4.5\nrooms = [\"7\", \"8\"]";
    let set = desk(&Sources {
        env: vec![("BRAMBLE__SERVICE__FRONT_DESK__BELLS".to_owned(), "3".to_owned())],
        flags: vec![("service.front-desk.patience".to_owned(), "6s".to_owned())],
        ..Sources::text(file)
    });
    let rooms = vec!["7".to_owned(), "8".to_owned()];
    assert_eq!(set, Ok(Desk { patience: Duration::from_secs(6), bells: 3, warmth: -4.5, rooms, ..Desk::default() }));
}

#[test]
fn mistakes_in_it_have_their_line_and_what_would_be_right() {
    for (file, said) in [
        (
            "patience = \"2h\"",
            "bramble.toml:2:12: service.front-desk.patience: \"2h\" is out of range; allowed is 1ms to 1m",
        ),
        ("patience = 3", "service.front-desk.patience: 3 is not a duration"),
        ("patienc = \"3s\"", "bramble.toml:2:1: service.front-desk.patienc: is an unknown key; did you mean patience?"),
        ("bells = 10", "allowed is 0 to 9"),
        ("warmth = 41", "41 is out of range; allowed is -10.0 to 40.0"),
        ("warmth = nan", "is out of range"),
        ("warmth = \"7\"", "is not a number"),
        ("rooms = [\"\"]", "is not the name of a room"),
        (
            "bells = 0\ngreets = false",
            "bramble.toml:2:9: service.front-desk.bells: 0 and greets = false leave nothing to hear",
        ),
    ] {
        let error = wrong(&format!("[service.front-desk]\n{file}"));
        assert!(error.contains(said), "{file}: {error}");
    }
    let flag = Sources { flags: vec![("service.frontdesk.bells".to_owned(), "1".to_owned())], ..Sources::text("") };
    assert!(desk(&flag).expect_err("another name").contains("service.frontdesk.bells"));
}

#[test]
fn sections_of_other_services_in_the_same_file_are_theirs_but_a_slip_is_found() {
    let file = "[service.thermometer]\nanything = 1\n[service.front-desk]\nbells = 2";
    assert_eq!(desk(&Sources::text(file)).map(|desk| desk.bells), Ok(2));
    assert!(text(file).is_ok(), "a program without settings of its own, too");
    let variable = ("BRAMBLE__SERVICE__THERMOMETER__PATIENCE".to_owned(), "5s".to_owned());
    assert_eq!(desk(&Sources { env: vec![variable], ..Sources::text("") }), Ok(Desk::default()));
    assert!(wrong("[service.frontdesk]\nbells = 2").contains("did you mean [service.front-desk]?"));
    assert!(wrong("service = 7").contains("is not a section"));
    assert!(wrong("[service]\nbells = 7").contains("write [service.bells] on a line of its own"));
}

#[test]
fn where_two_keys_of_a_service_contradict_each_other_a_tolerant_reader_takes_the_default_of_the_first() {
    let file = "[service.front-desk]\nbells = 0\ngreets = false";
    let (config, mistakes) = DESK.default_config().merge_tolerant(file, "bramble.toml");
    let desk: Desk = config.section();
    assert_eq!((desk.bells, desk.greets, mistakes.len()), (1, false, 1));
}

/// A section of a program that has the file to itself, with the kinds of fields that the other one lacks.
#[derive(Debug, Clone, PartialEq)]
struct Lobby {
    listen: SocketAddr,
    gate: Option<IpAddr>,
    floors: Vec<i8>,
    codes: Vec<String>,
    key_file: Option<PathBuf>,
}

impl Default for Lobby {
    fn default() -> Self {
        let listen = SocketAddr::from(([0, 0, 0, 0], 80));
        Self { listen, gate: None, floors: vec![0], codes: Vec::new(), key_file: None }
    }
}

impl Section for Lobby {
    const NAME: &'static str = "lobby";
    const IS_TOP_LEVEL: bool = true;
    const CREDENTIALS: &'static [(&'static str, &'static str)] = &[("lobby.key", "key_file")];

    fn fields(&mut self, fields: &mut Fields<'_>) {
        fields.listen("listen", &mut self.listen);
        fields.optional("gate", &mut self.gate, |text| text.parse().map_err(|_| "is not an address"));
        fields.values("floors", &mut self.floors, |text| text.parse().map_err(|_| "is not a floor"), 1..=3);
        let is_code = |text: &str| if text.len() == 4 { Ok(text.to_owned()) } else { Err("is not a code") };
        fields.hidden_values("codes", &mut self.codes, is_code, 2);
        fields.file("key_file", &mut self.key_file);
    }
}

fn lobby(sources: &Sources) -> Result<Config, String> {
    Config::default().with(Lobby::default()).merge(sources).map_err(|error| error.to_string())
}

#[test]
fn a_section_at_the_top_level_is_read_and_shown_like_those_of_the_library() {
    let file = "[lobby]\nlisten = \"[::1]:0\"\ngate = \"192.0.2.1\"\nfloors = [\"-1\", \"2\"]\ncodes = [\"4711\"]";
    let env = vec![("BRAMBLE__LOBBY__GATE".to_owned(), "192.0.2.2".to_owned())];
    let flags = vec![("lobby.floors".to_owned(), "[\"7\"]".to_owned())];
    let config = lobby(&Sources { env, flags, ..Sources::text(file) }).expect("right");
    assert_eq!(
        config.section::<Lobby>(),
        Lobby {
            listen: "[::1]:0".parse().expect("an address"),
            gate: Some([192, 0, 2, 2].into()),
            floors: vec![7],
            codes: vec!["4711".into()],
            key_file: None
        }
    );
    assert!(config.to_toml().contains("\n[lobby]\nlisten = \"[::1]:0\"\n"), "{}", config.to_toml());
    assert_eq!(lobby(&Sources::text(config.to_toml())), Ok(config));
}

#[test]
fn a_list_of_values_has_each_once_and_a_hidden_one_is_not_repeated() {
    let wrong = |keys: &str| lobby(&Sources::text(format!("[lobby]\n{keys}"))).expect_err("it is wrong");
    assert!(wrong("floors = []").contains("has 0 items; allowed are 1 to 3"));
    assert!(wrong("floors = [\"1\", \"1\"]").contains("\"1\" stands there twice"));
    assert!(wrong("floors = [\"up\"]").contains("\"up\" is not a floor"));
    assert_eq!(wrong("codes = [\"hunter2\"]"), "bramble.toml:2:10: lobby.codes: this value is not a code");
}

#[test]
fn other_programs_may_have_sections_in_the_file_unless_one_program_has_it_to_itself() {
    let file = "[lobby]\nlisten = \"0.0.0.0:1\"\n[annex]\nanything = 1";
    let env = vec![("BRAMBLE__ANNEX__ANYTHING".to_owned(), "1".to_owned())];
    let sources = Sources { env, ..Sources::text(file) };
    assert_eq!(desk(&sources), Ok(Desk::default()));
    let said = lobby(&sources).expect_err("[annex] is no section of this program");
    assert!(said.contains("bramble.toml:3:2: annex: is an unknown section"), "{said}");
    assert!(said.contains("BRAMBLE__ANNEX__ANYTHING: is in an unknown section"), "{said}");
    assert!(wrong("[brekaer]\nwindow = \"1s\"").contains("did you mean [breaker]?"), "a slip is found all the same");
    assert!(wrong("annex = 7").contains("is an unknown section"));
    let flag = Sources { flags: vec![("annex.anything".to_owned(), "1".to_owned())], ..Sources::text("") };
    assert!(desk(&flag).expect_err("a flag is for this program").contains("annex.anything"));
}

#[test]
fn a_credential_sets_the_key_that_the_section_names() {
    let folder = std::env::temp_dir().join(format!("bramble-section-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the test");
    std::fs::write(folder.join("lobby.key"), "open sesame\n").expect("writable");
    let config = lobby(&Sources { credentials: Some(folder.clone()), ..Sources::text("") }).expect("right");
    assert_eq!(config.section::<Lobby>().key_file, Some(folder.join("lobby.key")));
    std::fs::remove_dir_all(folder).expect("the test's own folder");
}

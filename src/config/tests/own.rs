//! Settings of a service's own.

use super::*;
use crate::Service;
use crate::config::{Fields, Section};

#[derive(Debug, Clone, PartialEq)]
struct Desk {
    patience: Duration,
    bells: u32,
    greets: bool,
    rooms: Vec<String>,
}

impl Default for Desk {
    fn default() -> Self {
        Self { patience: Duration::from_secs(2), bells: 1, greets: true, rooms: Vec::new() }
    }
}

impl Section for Desk {
    const NAME: &'static str = "front-desk";

    fn fields(&mut self, fields: &mut Fields<'_>) {
        fields.time("patience", &mut self.patience, Duration::from_millis(1)..=Duration::from_secs(60));
        fields.count("bells", &mut self.bells, 0..=9);
        fields.switch("greets", &mut self.greets);
        let is_room = |text: &str| if text.is_empty() { Err("is not the name of a room") } else { Ok(()) };
        fields.list("rooms", &mut self.rooms, is_room, 4);
    }

    fn conflicts(&self) -> Vec<String> {
        let is_silent = self.bells == 0 && !self.greets;
        is_silent.then(|| "bells = 0 and greets = false leave nothing to hear".to_owned()).into_iter().collect()
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
    Ok(config.own.get::<Desk>().expect("its section").clone())
}

fn wrong(text: &str) -> String {
    desk(&Sources::text(text)).expect_err("it is wrong")
}

#[test]
fn a_services_own_section_is_read_like_the_others() {
    assert_eq!(desk(&Sources::text("")), Ok(Desk::default()));
    let file = "[service.front-desk]\npatience = \"5s\"\nrooms = [\"7\", \"8\"]";
    let set = desk(&Sources {
        env: vec![("BRAMBLE__SERVICE__FRONT_DESK__BELLS".to_owned(), "3".to_owned())],
        flags: vec![("service.front-desk.patience".to_owned(), "6s".to_owned())],
        ..Sources::text(file)
    });
    let rooms = vec!["7".to_owned(), "8".to_owned()];
    assert_eq!(set, Ok(Desk { patience: Duration::from_secs(6), bells: 3, rooms, ..Desk::default() }));
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
        ("rooms = [\"\"]", "is not the name of a room"),
        ("bells = 0\ngreets = false", "service.front-desk: bells = 0 and greets = false leave nothing to hear"),
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

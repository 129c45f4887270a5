//! The demo as a person runs it: started from the command, asked through its form, a producer killed, and ended in each
//! way a program can end. All on loopback, each demo in a cluster and on ports of its own.

mod support {
    pub(crate) mod demo;
    pub(crate) mod http;
    pub(crate) mod patience;
    pub(crate) mod process;
    pub(crate) mod until;
}

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Instant;

use support::demo::{Demo, children_of, is_running};
use support::http::get;
use support::process::{BRAMBLE, PATIENCE, kill};
use support::until::until;

#[test]
fn a_person_gets_the_weather_through_the_form_and_goes_on_getting_it_when_a_producer_is_killed() {
    let mut demo = Demo::start("form");
    let (status, page) = get(demo.consumer, "/");
    assert_eq!(status, 200);
    assert!(page.contains("<form"), "{page}");

    let (status, page) = get(demo.consumer, "/?zip=70569&country=DE");
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("°C") && page.contains("producer-"), "{page}");

    // Every producer is asked sooner or later, and every place here is a new one: nothing comes from the consumer.
    kill("KILL", demo.producers.remove(0));
    for zip in ["1010", "5020", "6020", "8010", "4020", "9020", "6900", "7000"] {
        let (status, page) = get(demo.consumer, &format!("/api/weather?zip={zip}&country=AT"));
        assert!(status == 200 || status == 404, "{zip}: {status} {page}");
    }

    let (status, page) = get(demo.consumer, "/?zip=00000&country=DE");
    assert_eq!(status, 404, "{page}");
    let (status, page) = get(demo.consumer, "/?zip=!&country=DE");
    assert_eq!(status, 400, "{page}");

    demo.send("INT");
    assert_eq!(demo.ends().code(), Some(0));
    demo.leaves_no_child();
}

#[test]
fn the_terminal_finds_what_the_demo_runs() {
    let demo = Demo::start("terminal");
    // Gives up after its three seconds, as on a machine so busy that no instance has answered its first question.
    let began = Instant::now();
    let asked = loop {
        let asked = demo.command(&["weather", "70569", "DE", "--json"]);
        if asked.status.success() || began.elapsed() > *PATIENCE {
            break asked;
        }
    };
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {asked:?}"));
    assert_eq!((&report["zip"], &report["country"]), (&"70569".into(), &"DE".into()), "{report}");
    assert!(report["temperature_c"].is_number(), "{report}");

    let asked = demo.command(&["weather", "01004"]);
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(text.starts_with("Amherst (01004)\n") && text.contains("United States (US), assumed"), "{asked:?}");

    let listed = demo.command(&["browse", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let mut services: Vec<&str> =
        list.as_array().expect("a list").iter().filter_map(|one| one["service"].as_str()).collect();
    services.sort_unstable();
    assert_eq!(services, ["consumer", "producer", "producer", "producer", "registry"]);

    let (status, page) = get(demo.registry, "/");
    assert_eq!(status, 200);
    assert_eq!(page.matches("producer-").count() % 3, 0, "{page}");
    assert!(page.contains("producer-"), "{page}");
}

#[test]
fn no_child_outlives_a_demo_that_is_killed() {
    let mut demo = Demo::start("killed");
    assert_eq!(demo.children.len(), 6);
    demo.send("KILL");
    demo.ends();
    demo.leaves_no_child();
}

/// Presses a button on the page of all services; `origin` is what a browser says of where it comes from.
fn press(demo: &Demo, deed: &str, origin: &str) -> u16 {
    answer_to_press(demo, deed, origin).0
}

/// The status and the whole answer.
fn answer_to_press(demo: &Demo, deed: &str, origin: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(demo.registry).expect("the page is there");
    stream.set_read_timeout(Some(*PATIENCE)).expect("a valid time");
    let host = demo.registry;
    let head = format!("POST /demo/{deed} HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\ncontent-length: 0\r\n");
    stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("a whole answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer}")), answer)
}

/// Whether an answer is a page in the frame of all pages, with the sentence `says` and the way back.
fn is_page_of_failure(answer: &str, says: &str) -> bool {
    let frame = ["content-type: text/html", "<header class=\"site\">", "href=\"/\">All services</a>"];
    frame.iter().chain([&says]).all(|text| answer.contains(text))
}

#[test]
fn the_buttons_do_what_they_say_and_no_other_site_can_press_them() {
    let mut demo = Demo::start("buttons");
    let own = format!("http://{}", demo.registry);
    let (_, page) = get(demo.registry, "/");
    assert_eq!(page.matches("<form").count(), 3 * 4 + 2, "{page}");
    let (first, second, third) = (demo.producers[0], demo.producers[1], demo.producers[2]);

    let (status, page) = answer_to_press(&demo, "producers/1/kill", "http://evil.example");
    assert_eq!(status, 403);
    assert!(is_page_of_failure(&page, "This POST does not come from the page of all services"), "{page}");
    let (status, page) = get(demo.registry, "/demo/producers/1/kill");
    assert!(status == 405 && page.contains("This is the address of a button"), "{status} {page}");
    assert!(is_running(first));
    assert_eq!(press(&demo, "producers/1/kill", &own), 303);
    until("the first is dead", || !is_running(first));
    assert_eq!(press(&demo, "producers/2/stop", &own), 303);
    until("the second has ended", || !is_running(second));
    assert_eq!(press(&demo, "producers/1/slow", &own), 409, "no process is there to be slowed");
    let (status, page) = answer_to_press(&demo, "producers/9/kill", &own);
    assert_eq!(status, 409);
    assert!(is_page_of_failure(&page, "There is no producer 9."), "{page}");
    let (status, page) = answer_to_press(&demo, "producers/1/frobnicate", &own);
    assert_eq!(status, 404);
    assert!(is_page_of_failure(&page, "The demo has no such button."), "{page}");

    assert_eq!(press(&demo, "producers/1/restart", &own), 303);
    let now = children_of(demo.process.id());
    assert_eq!(now.difference(&demo.children).count(), 1, "a new process");
    demo.children.extend(now);

    let stat = move || fs::read_to_string(format!("/proc/{third}/stat")).expect("it runs");
    assert_eq!(press(&demo, "producers/3/slow", &own), 303);
    until("the third stands still at times", || stat().contains(") T "));
    until("and runs at times", || !stat().contains(") T "));

    assert_eq!(press(&demo, "weather/break", &own), 303);
    let asked = |zip: &str| get(demo.consumer, &format!("/api/weather?zip={zip}&country=AT")).0;
    until("no weather for a new place", || asked("5020") == 502);
    assert_eq!(press(&demo, "weather/mend", &own), 303);
    until("weather again", || asked("6020") == 200);

    demo.send("TERM");
    assert_eq!(demo.ends().code(), Some(0));
    demo.leaves_no_child();
}

#[test]
fn a_taken_port_is_said_plainly() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let ended = Command::new(BRAMBLE).args(["demo", "--consumer-port", &port.to_string()]).output().expect("it runs");
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains(&format!("port {port} is taken; try --consumer-port")), "{said}");
}

#[test]
fn without_any_producer_the_terminal_says_that_none_was_found_and_what_to_look_at() {
    let ended = Command::new(BRAMBLE)
        .args(["weather", "70569", "DE", "--set", "call.timeout=200ms", "--set", "call.attempt_timeout=200ms"])
        .env("BRAMBLE__DISCOVERY__INTERFACES", r#"["lo"]"#)
        .env("BRAMBLE__NODE__CLUSTER", format!("test-empty-{}", std::process::id()))
        .output()
        .expect("it runs");
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("no producer is available: none was found; is one running, and is mDNS"), "{said}");
}

#[test]
fn an_address_that_this_machine_does_not_have_is_named_with_what_to_write() {
    let ended = Command::new(BRAMBLE).args(["consumer", "--listen", "203.0.113.1:80"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot listen at 203.0.113.1:80: this machine has no such address"), "{said}");
}

#[test]
fn a_log_level_that_does_not_exist_is_warned_of_with_those_that_do() {
    let ended = Command::new(BRAMBLE).arg("check-config").env("BRAMBLE_LOG", "banana").output().expect("it runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    assert!(said.contains("\"banana\" is no level: write off, error, warn, info, debug or trace"), "{said}");
}

#[test]
fn a_wrong_command_line_is_exit_code_2_and_says_what_is_wrong() {
    for (args, says) in [
        (&["weather", "!"][..], "postal code"),
        (&["producer", "--set", "call.timeout=3x"], "call.timeout"),
        (&["producer", "--config", "/nowhere/bramble.toml"], "/nowhere/bramble.toml"),
        (&["producer"], "api_key_file"),
        (&["frobnicate"], "frobnicate"),
        (
            &["consumer", "--listen", "8080"],
            "'8080' for '--listen <ADDR:PORT>': write an address of this machine and a port",
        ),
        (
            &["health", "--timeout", "0s"],
            "'0s' for '--timeout <TIME>': nothing answers in no time; write a time such as 2s",
        ),
        (&["health", "--timeout", "banana"], "write a number with a unit, such as 500ms"),
    ] {
        let ended = Command::new(BRAMBLE)
            .args(args)
            .env("BRAMBLE__DISCOVERY__INTERFACES", r#"["lo"]"#)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
        assert!(ended.stdout.is_empty(), "{args:?}");
    }
}

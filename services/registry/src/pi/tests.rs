use bramble::config::Config;
use bramble::serve::Host;
use std::path::PathBuf;
use std::sync::Arc;

use bramble_pi::state::{Origin, Role, Throttling, TimeSource};
use tide::StatusCode;
use tide::http::{Method, Url};

use super::*;
use crate::state::State;

/// A file of its own for each test, gone with it.
struct Sample(PathBuf);

impl Sample {
    fn with(content: &[u8]) -> Self {
        let name = format!("bramble-registry-{}-{:016x}.json", std::process::id(), fastrand::u64(..));
        let sample = Self(std::env::temp_dir().join(name));
        std::fs::write(&sample.0, content).expect("a temporary file");
        sample
    }

    fn of(pi: &Pi) -> Self {
        Self::with(&serde_json::to_vec(pi).expect("plain data"))
    }

    fn aged(self, by: Duration) -> Self {
        let file = File::options().write(true).open(&self.0).expect("just written");
        file.set_modified(SystemTime::now() - by).expect("own file");
        self
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn pi() -> Pi {
    let mut pi = Pi { hostname: "shelf".into(), uptime_s: 7200, temperature_c: Some(48.31), ..Pi::default() };
    pi.model = Some("Raspberry Pi 2 Model B Rev 1.1".into());
    pi.serial = Some("00000000a1b2c3d4".into());
    pi.image.version = "0.2.0".into();
    pi.image.built = 1_700_000_000;
    pi.network.interface = Some("eth0".into());
    pi.network.cable = true;
    pi.network.address = Some("192.0.2.7/24".into());
    pi.network.origin = Origin::Dhcp;
    pi.roles.push(Role { name: "producer".into(), pid: Some(120), healthy: true, restarts: 2, ..Role::default() });
    pi
}

/// Answer of the registry to `path`, with a page of the Pi described in `file` if there is one.
fn answer(file: Option<&Path>, path: &str, accept: &str) -> (StatusCode, String) {
    let mut config = Config::default();
    config.discovery.mdns = false;
    let executor = Arc::new(smol::Executor::new());
    let host = Host::new(crate::SERVICE, config, Arc::clone(&executor)).expect("a host");
    let state = match file {
        Some(file) => State::new(&host).with_pi(file.to_owned()),
        None => State::new(&host),
    };
    let url = Url::parse(&format!("http://localhost{path}")).expect("a URL");
    let mut request = tide::http::Request::new(Method::Get, url);
    request.insert_header("accept", accept);
    smol::block_on(executor.run(async {
        let mut response: tide::http::Response = crate::app(state).respond(request).await.expect("an answer");
        (response.status(), response.body_string().await.expect("text"))
    }))
}

fn page(file: &Path) -> (StatusCode, String) {
    answer(Some(file), "/pi", "text/html")
}

#[test]
fn the_page_tells_how_the_pi_is() {
    let sample = Sample::of(&pi());
    let (status, page) = page(&sample.0);
    assert_eq!(status, StatusCode::Ok);
    for told in [
        "<title>shelf is well · Bramble</title>",
        "<h1>shelf</h1>",
        "Raspberry Pi 2 Model B Rev 1.1",
        "00000000a1b2c3d4",
        "2 h",
        "48 °C",
        "192.0.2.7/24",
        " from DHCP",
        "shelf.local",
        "2023-11-14T22:13:20Z",
        "<span class=\"mark live\">answers</span>",
        "Not set yet: not earlier than when the image was built",
        "The data partition has not been looked at yet",
    ] {
        assert!(page.contains(told), "{told} is missing: {page}");
    }
    assert!(!page.contains("What is wrong"), "{page}");
}

#[test]
fn problems_come_first_and_the_main_page_counts_them() {
    let sample = Sample::of(&Pi { problems: vec!["No <cable>.".into(), "The clock is not set.".into()], ..pi() });
    let (_, page) = page(&sample.0);
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is missing: {page}"));
    assert!(at("No &lt;cable&gt;.") < at("Temperature"), "and what they say is escaped");
    assert!(page.contains("<title>shelf has 2 problems · Bramble</title>"));
    let (_, main) = answer(Some(&sample.0), "/", "text/html");
    assert!(main.contains(r#"has <a href="/pi">2 problems</a>"#), "{main}");
}

#[test]
fn without_a_file_to_read_there_is_no_page_and_no_link() {
    assert_eq!(answer(None, "/pi", "text/html").0, StatusCode::NotFound);
    assert_eq!(answer(None, "/api/pi", "").0, StatusCode::NotFound);
    assert!(!answer(None, "/", "text/html").1.contains("/pi"));
    let sample = Sample::of(&pi());
    let (_, main) = answer(Some(&sample.0), "/", "text/html");
    assert!(main.contains(r#"<a href="/pi">This Pi</a>"#) && !main.contains("problem"), "{main}");
}

#[test]
fn a_client_that_wants_json_gets_what_was_written_and_its_age() {
    let sample = Sample::of(&pi());
    for (path, accept) in [("/api/pi", "*/*"), ("/pi", "application/json")] {
        let (status, body) = answer(Some(&sample.0), path, accept);
        let told: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(status, StatusCode::Ok);
        assert_eq!(serde_json::from_str::<Pi>(&body).expect("the same"), pi());
        assert!(told["age_s"].as_u64().is_some_and(|age| age < 20), "{told}");
    }
}

#[test]
fn a_file_that_is_missing_or_garbled_or_endless_is_told_in_a_sentence() {
    let nothing = Path::new("/nonexistent/pi.json").to_owned();
    let garbled = Sample::with(b"{\"hostname\": 3, \"secret\": \"hunter2\"");
    let wrong = Sample::with(br#"{"roles": "hunter2"}"#);
    let not_text = Sample::with(&[0xff; 100]);
    let large = Sample::with(&[b' '; (64 << 10) + 1]);
    for (file, why) in [
        (&nothing, "cannot be read"),
        (&garbled.0, "is not what bramble pi writes"),
        (&wrong.0, "is not what bramble pi writes"),
        (&not_text.0, "cannot be read"),
        (&large.0, "larger than 64 KiB"),
        (&PathBuf::from("/dev/zero"), "not a file"),
        (&std::env::temp_dir(), "not a file"),
    ] {
        let (status, page) = page(file);
        assert_eq!(status, StatusCode::ServiceUnavailable, "{}", file.display());
        assert!(page.contains("The state of this Pi is unknown") && page.contains(why), "{page}");
        assert!(!page.contains("hunter2"), "{page}");
        let (status, body) = answer(Some(file), "/api/pi", "*/*");
        assert!(status == StatusCode::ServiceUnavailable && body.contains("\"unavailable\""), "{body}");
        assert!(answer(Some(file), "/", "text/html").1.contains("1 problem<"), "the main page says so");
    }
}

#[test]
fn an_old_file_is_shown_with_a_warning_and_one_of_the_future_without() {
    let old = Sample::of(&pi()).aged(Duration::from_secs(90));
    let (status, page_of_old) = page(&old.0);
    assert_eq!(status, StatusCode::Ok);
    assert!(
        page_of_old.contains("This is out of date") && page_of_old.contains("shelf has a problem"),
        "{page_of_old}"
    );
    let recent = Sample::of(&pi()).aged(Duration::from_secs(20));
    assert!(!page(&recent.0).1.contains("out of date"));
    let future = Sample::of(&pi());
    let file = File::options().write(true).open(&future.0).expect("just written");
    file.set_modified(SystemTime::now() + Duration::from_secs(86_400)).expect("own file");
    assert!(page(&future.0).1.contains("shelf is well"), "the clock was set back");
}

#[test]
fn a_pi_in_trouble_says_so_in_each_place() {
    let mut pi = pi();
    pi.network.renamed = Some("shelf-2".into());
    pi.network.cable = false;
    pi.throttling = Some(Throttling { now: true, since_start: true });
    pi.clock.source = TimeSource::Saved;
    pi.clock.now = u64::MAX;
    pi.image.built = u64::MAX;
    pi.uptime_s = u64::MAX;
    pi.temperature_c = Some(f32::MAX);
    pi.memory.used_kib = u64::MAX;
    pi.roles[0].pid = None;
    pi.roles[0].last_end = Some("killed by signal 9".into());
    pi.roles.push(Role { name: "registry".into(), pid: Some(1), ..Role::default() });
    let sample = Sample::of(&pi);
    let (_, page) = page(&sample.0);
    for told in [
        "shelf-2.local",
        "since another Pi is called shelf",
        "No cable",
        "too weak",
        "not earlier than when this Pi last ran",
    ] {
        assert!(page.contains(told), "{told} is missing: {page}");
    }
    for told in ["not running", "killed by signal 9", "silent"] {
        assert!(page.contains(told), "{told} is missing: {page}");
    }
}

#[test]
fn an_empty_state_is_shown_too() {
    let sample = Sample::with(b"{}");
    let (status, page) = page(&sample.0);
    assert!(status == StatusCode::Ok && page.contains("<h1>This Pi</h1>"), "{page}");
}

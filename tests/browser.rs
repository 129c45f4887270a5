//! The pages in a real browser, as a person meets them: by keyboard, with and without JavaScript, on a phone and in the
//! dark. Needs chromium and chromedriver; `cargo xtask test --only browser` brings them, and axe-core.

#[path = "support"]
mod support {
    #[allow(dead_code, reason = "each test file uses a part")]
    pub(crate) mod demo;
    pub(crate) mod http;
    pub(crate) mod patience;
    #[allow(dead_code, reason = "each test file uses a part")]
    pub(crate) mod process;
    pub(crate) mod until;
}

#[path = "browser/appearance.rs"]
mod appearance;
#[path = "browser/buttons.rs"]
mod buttons;
#[path = "browser/cluster.rs"]
mod cluster;
#[path = "browser/driver.rs"]
mod driver;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use appearance::look_at;
use cluster::Cluster;
use driver::{Browser, ENTER, Script, TAB};
use support::http::get;

/// Each answer is asked for anew, and an old one is good for a day.
const ALWAYS_STALE: [&str; 2] = ["cache.fresh_for=1ms", "cache.stale_while_revalidate=1ms"];

/// Puts the question by keyboard alone and waits for the next page.
fn ask_by_keyboard(browser: &Browser, cluster: &Cluster, zip: &str, country: &str) {
    browser.open(cluster.consumer.addr, "/");
    browser.tab_to("zip");
    browser.press(&format!("{zip}{TAB}{country}{ENTER}"));
    browser.soon("the answer", |browser| browser.url().contains("zip="));
    browser.soon("its heading", |browser| browser.text("h1").is_some());
}

fn the_form_works_by_keyboard(script: Script) {
    let cluster = Cluster::start(&[], &[]);
    let browser = Browser::start(script);

    ask_by_keyboard(&browser, &cluster, "70569", "DE");
    let page = browser.reads("main");
    assert!(page.contains("°C") && page.contains("producer-"), "{page}");

    ask_by_keyboard(&browser, &cluster, "!", "DE");
    assert_eq!(browser.focused("role"), "alert", "the summary is read first");
    let summary = browser.reads("[role=alert]");
    assert!(summary.contains("postal code"), "{summary}");
    browser.press(&format!("{TAB}{ENTER}"));
    browser.soon("the link leads to the field", |browser| browser.url().ends_with("#zip"));
    // A user that follows the link can type at once, after at most one Tab.
    if browser.focused("id") != "zip" {
        browser.press(TAB);
    }
    assert_eq!(browser.focused("id"), "zip");

    ask_by_keyboard(&browser, &cluster, "00000", "DE");
    let page = browser.reads("main");
    assert!(browser.title().starts_with("Error"), "{}", browser.title());
    assert!(page.contains("00000"), "it says which place is unknown: {page}");
}

#[test]
fn the_form_works_by_keyboard_alone() {
    the_form_works_by_keyboard(Script::On);
}

#[test]
fn the_form_works_by_keyboard_alone_without_javascript() {
    the_form_works_by_keyboard(Script::Off);
}

#[test]
fn an_old_answer_and_an_empty_one_are_told_apart_from_a_good_one() {
    let cluster = Cluster::start(&ALWAYS_STALE, &[]);
    let browser = Browser::start(Script::On);
    ask_by_keyboard(&browser, &cluster, "70569", "DE");
    let good = browser.reads(".state strong");
    for _ in 0..4 {
        get(cluster.consumer.addr, "/?zip=70569&country=DE"); // until both producers have one to keep
    }
    cluster.break_weather_api();
    browser.soon("an old answer", |browser| {
        ask_by_keyboard(browser, &cluster, "70569", "DE");
        browser.reads("main").contains("CAUTION - Response out of date!")
    });
    assert_ne!(browser.reads(".state strong"), good);
    assert!(browser.reads("main").contains("°C"), "there is still a temperature");

    let lonely = cluster.lonely_consumer(&["call.fallback=fail-silent"]);
    browser.open(lonely.addr, "/?zip=70569&country=DE");
    let empty = browser.reads("main");
    assert!(empty.contains("Empty response"), "{empty}");
    assert!(!empty.contains("°C"), "nothing is known: {empty}");
    look_at(&browser, cluster.consumer.addr, "/?zip=70569&country=DE", "form-stale");
    look_at(&browser, lonely.addr, "/?zip=70569&country=DE", "form-empty");
}

/// Postal codes in Germany that the stand-in knows. Equal questions go to one producer; of so many, each gets some.
const PLACES: [&str; 12] =
    ["01067", "04109", "10115", "20095", "28195", "30159", "40213", "50667", "60311", "69117", "70173", "70569"];

#[test]
fn the_page_of_all_services_shows_a_killed_producer_without_a_reload() {
    let mut cluster = Cluster::start(&ALWAYS_STALE, &[]);
    let browser = Browser::start(Script::On);
    browser.open(cluster.registry.addr, "/");
    browser.soon("all are there", |browser| browser.reads("#service-producer > p") == "2 of 2 producers answer.");
    browser.soon("a heartbeat", |browser| browser.reads("#live-state").starts_with("Live"));
    browser.run("window.never_reloaded = true; document.querySelector('#service-producer [tabindex]').focus()");

    cluster.producers[0].kill();
    let killed = Instant::now();
    for zip in PLACES {
        assert_eq!(get(cluster.consumer.addr, &format!("/?zip={zip}&country=DE")).0, 200);
    }
    browser.soon("one is missed", |browser| browser.reads("#service-producer > p") == "1 of 2 producers answers.");
    assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
    browser.soon("it is said", |browser| browser.reads("#said").contains("producer-"));
    browser.soon("its circuit", |browser| browser.reads("#service-producer").contains("open"));
    assert_eq!(browser.run("return window.never_reloaded"), true);
    assert!(!browser.focused("tabIndex").is_null() && browser.focused("tagName") == "DIV", "the focus has stayed");

    browser.click("#live-pause");
    assert_eq!((browser.reads("#live-state"), browser.reads("#live-pause")), ("Paused".into(), "Go on".into()));
    let before = browser.reads("#parts");
    std::thread::sleep(Duration::from_millis(3000)); // longer than two heartbeats are apart
    assert_eq!(browser.reads("#parts"), before, "nothing moves while one reads");
    browser.click("#live-pause");
    browser.soon("it goes on", |browser| browser.reads("#parts") != before);
}

#[test]
fn the_page_of_all_services_shows_a_circuit_open_ramp_and_close() {
    let consumer =
        ["breaker.consecutive_failures=1", "breaker.open_for=1s", "breaker.ramp=6s", "balance.policy=round-robin"];
    let cluster = Cluster::start(&[], &consumer);
    let browser = Browser::start(Script::On);
    browser.open(cluster.registry.addr, "/");
    let form = cluster.consumer.addr;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for place in PLACES.into_iter().cycle() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                get(form, &format!("/?zip={place}&country=DE"));
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let _ends = StopOnDrop(&ended);
        let circuits = |browser: &Browser| browser.reads("#service-producer table");
        browser.soon("both are called", |browser| circuits(browser).matches("gets its full share").count() == 2);
        cluster.producers[0].signal("STOP");
        browser.soon("one is open", |browser| browser.text(".why .mark.error").is_some_and(|text| text == "open"));
        cluster.producers[0].signal("CONT");
        browser.soon("it ramps", |browser| circuits(browser).contains("% of its share"));
        browser.soon("it is closed", |browser| circuits(browser).matches("gets its full share").count() == 2);
        let news = browser.reads("#news");
        for state in ["open", "ramping", "closed"] {
            assert!(news.contains(&format!("has its circuit {state} in consumer-")), "{state}: {news}");
        }
    });
}

/// Ends the load also when a test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn the_page_of_all_services_is_whole_without_javascript() {
    let mut cluster = Cluster::start(&[], &[]);
    let browser = Browser::start(Script::Off);
    browser.open(cluster.registry.addr, "/");
    assert_eq!(browser.reads("#service-producer > p"), "2 of 2 producers answer.");
    assert!(browser.text("#live-pause").is_none_or(|text| text.is_empty()), "no button that does nothing");
    cluster.producers[0].kill();
    browser.soon("one is missed after a reload", |browser| {
        browser.click(".upkeep a");
        browser.reads("#service-producer > p") == "1 of 2 producers answers."
    });
}

#[test]
fn every_page_is_accessible_in_each_width_light_and_dark() {
    let cluster = Cluster::start(&[], &[]);
    let browser = Browser::start(Script::On);
    let (form, registry) = (cluster.consumer.addr, cluster.registry.addr);
    for (addr, path, name) in [
        (form, "/", "form"),
        (form, "/?zip=70569&country=DE", "form-answer"),
        (form, "/?zip=!&country=DE", "form-wrong"),
        (form, "/?zip=00000&country=DE", "form-unknown"),
        (form, "/nowhere", "form-no-such-page"),
        (registry, "/", "registry"),
        (registry, "/nowhere", "registry-no-such-page"),
    ] {
        look_at(&browser, addr, path, name);
    }
}

/// How a Pi may be on a bad day.
fn a_pi_in_trouble() -> serde_json::Value {
    serde_json::json!({
        "hostname": "shelf",
        "image": {"version": "0.2.0", "revision": "1a2b3c4d5e6f", "kernel": "6.12.57+deb13-armmp", "built": 1_800_000_000},
        "model": "Raspberry Pi 2 Model B Rev 1.1", "serial": "00000000a1b2c3d4", "uptime_s": 93_784,
        "temperature_c": 61.2, "throttling": {"now": false, "since_start": true},
        "memory": {"total_kib": 944_128, "used_kib": 47_104},
        "network": {
            "interface": "eth0", "mac": "b8:27:eb:a1:b2:c3", "cable": true, "address": "192.0.2.7/24", "origin": "dhcp",
            "gateway": "192.0.2.1", "dns": ["192.0.2.1", "2001:db8::53"], "renamed": "shelf-2",
        },
        "clock": {"source": "ntp", "server": "0.debian.pool.ntp.org", "now": 1_800_093_784},
        "data": "mounted", "ssh": true, "watchdog": true,
        "roles": [
            {"name": "producer", "pid": 201, "url": "http://192.0.2.7:40123", "healthy": true, "restarts": 0, "memory_kib": 2_310},
            {"name": "consumer", "pid": 202, "url": "http://0.0.0.0:8088", "healthy": false, "restarts": 3, "memory_kib": 2_101,
             "last_end": "it did not answer /healthz for 10 s and was stopped"},
            {"name": "registry", "restarts": 7, "last_end": "it used more than 32 MiB of memory and was killed"},
        ],
        "problems": [
            "bramble.toml:7:10: pi.roles: \"chef\" is not one of \"producer\", \"consumer\", \"registry\"",
            "Another Pi on this network is called shelf; this one is called shelf-2. Give one of them another name in bramble.toml.",
        ],
    })
}

#[test]
fn the_page_of_a_pi_is_accessible_and_leads_there_and_back_without_javascript() {
    let cluster = Cluster::start(&[], &[]);
    let registry = cluster.registry_on_a_pi(&a_pi_in_trouble());
    let browser = Browser::start(Script::Off);
    browser.open(registry.addr, "/");
    assert!(browser.reads("#now").contains("has 2 problems"), "{}", browser.reads("#now"));
    browser.click(".notice a");
    browser.soon("the page of the Pi", |browser| browser.text("h1").is_some_and(|heading| heading == "shelf"));
    assert!(browser.reads(".notice").contains("is called shelf-2"));
    browser.click(".upkeep a[href='/']");
    browser.soon("the way back", |browser| browser.text("#now").is_some());

    let browser = Browser::start(Script::On);
    look_at(&browser, registry.addr, "/pi", "pi");
    look_at(&browser, registry.addr, "/", "registry-on-a-pi");
    let nothing = cluster.registry_on_a_pi(&serde_json::json!({"roles": 3}));
    look_at(&browser, nothing.addr, "/pi", "pi-unknown");
}

//! The demo's buttons, clicked in a browser.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use crate::appearance::look_at;
use crate::driver::{Browser, Script};
use crate::support::demo::Demo;

/// Clicks a button and waits for the page that the browser is sent back to.
fn click(browser: &Browser, path: &str) {
    browser.run("window.is_old = true");
    browser.click(&format!("form[action='/demo/{path}'] button"));
    browser.soon("the page again", |browser| {
        browser.url().ends_with("/#demo") && browser.run("return window.is_old === undefined") == true
    });
}

/// The legend of the buttons of one child, from 1: its name, its address, its state. Empty between two pages.
fn legend(browser: &Browser, number: usize) -> String {
    browser.text(&format!("#demo fieldset:nth-of-type({number}) legend")).unwrap_or_default()
}

/// Clicks a button of a child and waits until the page says that it is `state`.
fn click_until(browser: &Browser, number: usize, path: &str, state: &str) {
    click(browser, path);
    browser.soon(state, |browser| legend(browser, number).ends_with(state));
}

/// States of the instances at `addr` in the table of the producers: `up`, `silent`, `lost` or `ending` for each.
fn statuses(browser: &Browser, addr: &str) -> Vec<String> {
    let script = format!(
        "return [...document.querySelectorAll('#service-producer tbody tr')]
             .filter((row) => row.querySelector('[data-l=Address] a').textContent === '{addr}')
             .map((row) => row.querySelector('[data-l=Status] .mark').textContent)"
    );
    let found = browser.run(&script);
    found.as_array().expect("a list").iter().map(|status| status.as_str().expect("a string").to_owned()).collect()
}

#[test]
fn each_button_of_the_demo_does_what_it_says_and_the_page_shows_it() {
    let demo = Demo::start("clicks");
    let browser = Browser::start(Script::On);
    browser.open(demo.registry, "/");
    browser.soon("all are there", |browser| browser.reads("#service-producer > p") == "3 of 3 producers answer.");
    assert_eq!(browser.run("return document.querySelectorAll('#demo button').length"), 14);

    for number in 1..=3 {
        let name = legend(&browser, number);
        let addr = name.split_whitespace().nth(3).unwrap_or_else(|| panic!("{name}")).to_owned();
        assert!(name.starts_with(&format!("producer {number} at 127.0.0.1:")) && name.ends_with("running"), "{name}");
        let is_up = |browser: &Browser| statuses(browser, &addr).iter().any(|status| status == "up");
        assert!(is_up(&browser), "{name}");

        click_until(&browser, number, &format!("producers/{number}/slow"), "slow");
        click_until(&browser, number, &format!("producers/{number}/kill"), "killed");
        browser.soon("it is listed as gone", |browser| !is_up(browser) && !statuses(browser, &addr).is_empty());
        click_until(&browser, number, &format!("producers/{number}/restart"), "restarted");
        browser.soon("a new one is listed", is_up);
        click_until(&browser, number, &format!("producers/{number}/stop"), "stopped");
        browser.soon("it is listed as ended", |browser| !is_up(browser));
    }

    click_until(&browser, 1, "producers/1/restart", "restarted");
    assert!(legend(&browser, 4).ends_with("working"), "{}", legend(&browser, 4));
    click_until(&browser, 4, "weather/break", "broken");
    look_at(&browser, demo.registry, "/", "demo");
    let weather = |browser: &Browser, zip: &str| {
        browser.open(demo.consumer, &format!("/?zip={zip}&country=AT"));
        browser.reads("main")
    };
    browser.soon("no weather for a new place", |browser| !weather(browser, "5020").contains("°C"));
    browser.open(demo.registry, "/");
    click_until(&browser, 4, "weather/mend", "working");
    browser.soon("weather for a new place", |browser| weather(browser, "6020").contains("°C"));
}

/// Serves a page with one form that posts to `action`, until this process ends.
fn form_at(action: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let page = format!("<!doctype html><title>another site</title><form method=post action='{action}'><button>Win");
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{page}",
        page.len()
    );
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // chromium opens connections ahead on which it asks nothing.
            let answer = answer.clone();
            thread::spawn(move || {
                if stream.read(&mut [0; 4 << 10]).is_ok_and(|n| n > 0) {
                    let _ = stream.write_all(answer.as_bytes());
                }
            });
        }
    });
    addr
}

/// Towards plain HTTP at other addresses than loopback, browsers leave `Sec-Fetch-Site` out.
#[test]
fn the_buttons_work_without_javascript_and_by_a_name_that_the_browser_does_not_trust() {
    let demo = Demo::start("names");
    let browser = Browser::start_with(Script::Off, &["--host-resolver-rules=MAP shelf.test 127.0.0.1"]);
    browser.open(format_args!("shelf.test:{}", demo.registry.port()), "/");
    assert_eq!(browser.run("return isSecureContext"), false);
    click(&browser, "producers/2/kill");
    assert!(legend(&browser, 2).ends_with("killed"), "{}", legend(&browser, 2));
    click(&browser, "weather/break");
    assert!(legend(&browser, 4).ends_with("broken"), "{}", legend(&browser, 4));
}

#[test]
fn a_page_of_another_site_cannot_press_the_buttons() {
    let demo = Demo::start("foreign");
    let foreign = form_at(&format!("http://{}/demo/producers/1/kill", demo.registry));
    let browser = Browser::start(Script::On);
    browser.open(foreign, "/");
    browser.click("button");
    browser.soon("a refusal", |browser| {
        browser.text("body").is_some_and(|said| said.contains("does not come from the page"))
    });
    browser.open(demo.registry, "/");
    assert!(legend(&browser, 1).ends_with("running"), "{}", legend(&browser, 1));
}

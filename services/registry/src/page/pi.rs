//! The page of the Pi itself: faults come first, then what one asks first of a machine that no one logs in to.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bramble_pi::state::{Clock, Data, Image, Memory, Network, Origin, Role, State as Pi, TimeSource};
use maud::{Markup, html};

use super::words::{in_words, or_dash};
use crate::pi::PiReport;
use crate::site::SITE;

/// The whole page.
pub(crate) fn whole(report: &Result<PiReport, String>, now: SystemTime) -> Markup {
    let (title, body) = match report {
        Ok(report) => {
            let problems = report.problems();
            let title = match problems {
                0 => format!("{} is well", name(&report.pi)),
                1 => format!("{} has a problem", name(&report.pi)),
                many => format!("{} has {many} problems", name(&report.pi)),
            };
            (title, all(report))
        }
        Err(why) => {
            let said = html! {
                div.heading { h1 { "This Pi" } }
                div.notice.caution { div { h2 { "The state of this Pi is unknown" } p { (why) } } }
            };
            ("The state of this Pi is unknown".to_owned(), said)
        }
    };
    SITE.page(
        &title,
        &html! {
            div.upkeep {
                p.fine {
                    a href="/pi" { "Reload" } " · " a href="/" { "All services" } " · " a href="/api/pi" { "This page as JSON" }
                    " · as of " (humantime::format_rfc3339_seconds(now))
                }
            }
            (body)
        },
    )
}

fn name(pi: &Pi) -> &str {
    if pi.hostname.is_empty() { "This Pi" } else { &pi.hostname }
}

fn all(report: &PiReport) -> Markup {
    let pi = &report.pi;
    html! {
        div.heading {
            h1 { (name(pi)) }
            p.lead { (pi.model.as_deref().unwrap_or("A computer")) ", started from Bramble's SD card." }
        }
        @if let Some(warning) = report.warning() {
            div.notice.error { div { h2 { "This is out of date" } p { (warning) } } }
        }
        @if !pi.problems.is_empty() {
            div.notice.caution { div {
                h2 { "What is wrong" }
                ul { @for problem in &pi.problems { li { (problem) } } }
            } }
        }
        (totals(pi))
        (roles(&pi.roles))
        (network(pi))
        (clock(&pi.clock))
        (card(pi))
    }
}

fn totals(pi: &Pi) -> Markup {
    let healthy = pi.roles.iter().filter(|role| role.healthy).count();
    let Memory { total_kib, used_kib } = pi.memory;
    html! {
        div.now { dl.totals {
            div.card { dt { "Services that answer" } dd { (healthy) span.aside { " of " (pi.roles.len()) } } }
            div.card { dt { "Running for" } dd { (in_words(Duration::from_secs(pi.uptime_s))) } }
            div.card { dt { "Temperature" } dd {
                @match pi.temperature_c { Some(degrees) => { (format!("{degrees:.0} °C")) } None => span.absent { "unknown" } }
            } }
            div.card { dt { "Memory in use" } dd { (mib(used_kib)) span.aside { " of " (mib(total_kib)) " MiB" } } }
        } }
    }
}

fn roles(roles: &[Role]) -> Markup {
    const HEADS: [&str; 6] = ["Service", "State", "Restarts", "Memory", "Where", "How it ended last"];
    html! {
        section.service {
            h2 #roles-name { "Services on this Pi" }
            @if roles.is_empty() { p { "None." } }
            @else { div.card.table role="region" tabindex="0" aria-labelledby="roles-name" {
                table role="table" aria-labelledby="roles-name" {
                    thead { tr role="row" { @for head in HEADS { th role="columnheader" scope="col" { (head) } } } }
                    tbody { @for role in roles {
                        tr role="row" {
                            th role="rowheader" scope="row" { (role.name) }
                            td role="cell" data-l="State" { (health(role)) }
                            td role="cell" data-l="Restarts" { (role.restarts) }
                            td role="cell" data-l="Memory" {
                                @match role.memory_kib { Some(kib) => { (mib(kib)) " MiB" } None => { "–" } }
                            }
                            td role="cell" data-l="Where" { (or_dash(role.url.as_deref().unwrap_or_default())) }
                            td.long role="cell" data-l="How it ended last" { (or_dash(role.last_end.as_deref().unwrap_or_default())) }
                        }
                    } }
                }
            } }
        }
    }
}

fn health(role: &Role) -> Markup {
    match (role.pid, role.healthy) {
        (Some(_), true) => html! { span.mark.live { "answers" } },
        (Some(_), false) => html! { span.mark.stale { "silent" } },
        (None, _) => html! { span.mark.error { "not running" } },
    }
}

/// A heading, a state with its colour, and facts below it.
fn facts(heading: &str, (kind, state): (&str, &str), facts: &[(&str, Markup)]) -> Markup {
    html! {
        section.service {
            h2 { (heading) }
            div.card.details {
                p.state { strong class=(kind) { (state) } }
                dl { @for (what, fact) in facts { div { dt { (what) } dd { (fact) } } } }
            }
        }
    }
}

fn text(known: Option<&str>) -> Markup {
    match known.filter(|text| !text.is_empty()) {
        Some(text) => html! { (text) },
        None => html! { span.absent { "none" } },
    }
}

fn network(pi: &Pi) -> Markup {
    let Network { interface, mac, cable, address, origin, gateway, dns, renamed } = &pi.network;
    let state = match (interface, cable, origin) {
        (None, ..) => ("stale", "No network device was found"),
        (_, false, _) => ("stale", "No cable"),
        (_, _, Origin::None) => ("stale", "No address yet"),
        (_, _, Origin::LinkLocal) => ("stale", "Connected, and no server gave an address"),
        _ => ("live", "Connected"),
    };
    let came = match origin {
        Origin::None => "",
        Origin::Dhcp => " from DHCP",
        Origin::Fixed => " from bramble.toml",
        Origin::LinkLocal => " chosen by itself",
    };
    let own = renamed.as_deref().unwrap_or(&pi.hostname);
    let name = html! {
        (own) ".local"
        @if renamed.is_some() { " " span.fine { "since another Pi is called " (pi.hostname) } }
    };
    let address = html! { (text(address.as_deref())) span.fine { (came) } };
    facts(
        "Network",
        state,
        &[
            ("Name", name),
            ("Address", address),
            ("Gateway", text(gateway.as_deref())),
            ("Name servers", text(Some(&dns.join(", ")))),
            ("Device", text(interface.as_deref())),
            ("Hardware address", text(mac.as_deref())),
        ],
    )
}

fn clock(clock: &Clock) -> Markup {
    let state = match clock.source {
        TimeSource::Ntp => ("live", "From a time server"),
        TimeSource::Saved => ("stale", "Not set yet: not earlier than when this Pi last ran"),
        TimeSource::Build => ("stale", "Not set yet: not earlier than when the image was built"),
    };
    let now = text(date(clock.now).as_deref());
    facts("Time", state, &[("Time server", text(clock.server.as_deref())), ("Time of this Pi", now)])
}

fn card(pi: &Pi) -> Markup {
    let Image { version, revision, kernel, built } = &pi.image;
    let data = match pi.data {
        Data::Mounted => ("live", "The data partition is in use"),
        Data::Rebuilt => ("cached", "The data partition was broken and has been made anew"),
        Data::ReadOnly => ("stale", "The data partition is full or broken: nothing new outlasts the plug"),
        Data::Unknown => ("cached", "The data partition has not been looked at yet"),
        Data::Missing => ("stale", "There is no data partition: nothing outlasts the plug"),
    };
    let throttling = match pi.throttling {
        None => html! { span.absent { "unknown" } },
        Some(seen) if seen.now => html! { span.mark.error { "too weak" } },
        Some(seen) if seen.since_start => html! { span.mark.stale { "was too weak" } },
        Some(_) => html! { span.mark.live { "fine" } },
    };
    let switch = |is_on: bool, on: &'static str, off: &'static str| html! { (if is_on { on } else { off }) };
    facts(
        "Card and board",
        data,
        &[
            ("Bramble", html! { (or_dash(version)) @if !revision.is_empty() { " " span.fine { "(" (revision) ")" } } }),
            ("Built", text(date(*built).as_deref())),
            ("Linux", text(Some(kernel))),
            ("Serial number", text(pi.serial.as_deref())),
            ("Power supply", throttling),
            ("Watchdog", switch(pi.watchdog, "restarts the Pi if it hangs", "off")),
            ("SSH", switch(pi.ssh, "on, for the keys on the card", "off")),
        ],
    )
}

fn mib(kib: u64) -> String {
    match kib {
        0..10_240 => format!("{}.{}", kib / 1024, kib % 1024 * 10 / 1024),
        _ => (kib / 1024).to_string(),
    }
}

/// Date of a time in UTC. The year 9999 is the last that can be written so.
fn date(unix: u64) -> Option<String> {
    let time = (1..253_402_300_800).contains(&unix).then(|| UNIX_EPOCH + Duration::from_secs(unix))?;
    Some(humantime::format_rfc3339_seconds(time).to_string())
}

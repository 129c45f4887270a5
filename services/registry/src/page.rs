//! The page itself, a pure function of a [`View`]. It is made of parts with ids of their own, so that the script can
//! change one and leave the others, and with them focus and scrolling, alone.

mod demo;
mod instance;
pub(crate) mod pi;
mod words;

use std::net::SocketAddr;

use bramble_look::asset::Asset;
use maud::{Markup, html};

use crate::site::SITE;
use crate::view::{Caution, Refused, Service, Unproven, View};
use words::{in_words, one_of, plural};

/// Keeps the page up to date in a browser.
pub(crate) const LIVE: Asset = Asset::new("/live.js", "text/javascript; charset=utf-8", include_str!("live.js"));

/// A piece of the page that changes by itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Of its element.
    pub(crate) id: String,
    /// The element.
    pub(crate) html: String,
}

/// The whole page.
pub(crate) fn whole(view: &View) -> Markup {
    SITE.page(
        &title(view),
        &html! {
            div.heading {
                h1 { "Services on this network" }
                p.lead { "This is what " em { "this" } " node sees, " code { (view.seen_by) } ". Another may see it a moment earlier or later." }
            }
            div.upkeep {
                p.fine { a href="/" { "Reload" } @if view.pi_problems.is_some() { " · " a href="/pi" { "This Pi" } } " · as of " (humantime::format_rfc3339_seconds(view.at)) }
                p #live-state .fine hidden {}
                button #live-pause .button.quiet.small type="button" hidden { "Pause" }
            }
            p #said .said role="status" {}
            div #parts { @for part in parts(view) { (maud::PreEscaped(part.html)) } }
            script src=(LIVE.href()) defer {}
        },
    )
}

/// All that changes, in the page's order.
pub(crate) fn parts(view: &View) -> Vec<Part> {
    let part = |id: String, html: Markup| Part { html: html.into_string(), id };
    let services = view.services.iter().map(|one| {
        let id = format!("service-{}", one.service);
        part(id.clone(), service(&id, one, view.signatures_checked))
    });
    std::iter::once(part("now".into(), now(view)))
        .chain(services)
        .chain(
            (!view.unproven.is_empty())
                .then(|| part("unproven".into(), unproven(&view.unproven, view.unproven_beyond))),
        )
        .chain((!view.refused.is_empty()).then(|| part("refused".into(), refused(&view.refused, view.refused_beyond))))
        .chain((!view.news.is_empty()).then(|| part("news".into(), news(view))))
        .chain(view.demo.as_ref().map(|state| part("demo".into(), demo::section(state))))
        .collect()
}

pub(crate) fn title(view: &View) -> String {
    let all = view.instances().count();
    let answering: usize = view.services.iter().map(|service| service.answering).sum();
    match all {
        0 => "No service was found".to_owned(),
        _ => format!("{answering} of {all} answer"),
    }
}

/// Totals, and what makes them doubtful.
fn now(view: &View) -> Markup {
    let all = view.instances().count();
    let answering: usize = view.services.iter().map(|service| service.answering).sum();
    let rate = view.instances().filter_map(|one| one.rate()).reduce(|one, other| one + other);
    html! {
        section #now .now {
            dl.totals {
                div.card { dt { "Answer" } dd { (answering) span.aside { " of " (all) } } }
                div.card { dt { "Services" } dd { (view.services.len()) } }
                div.card { dt { "Calls a second" } dd { @match rate {
                    Some(rate) => { (format!("{rate:.1}")) }
                    None => span.absent { "unknown" }
                } } }
                div.card { dt { "Open circuits" } dd { (view.open_circuits()) } }
            }
            @if let Some(caution) = view.caution { (warning(caution)) }
            @if let Some(count @ 1..) = view.pi_problems {
                div.notice.caution { p { "The Pi that this page comes from has " a href="/pi" { (count) " " (plural("problem", count)) } "." } }
            }
        }
    }
}

fn warning(caution: Caution) -> Markup {
    let (heading, advice) = match caution {
        Caution::Settling => ("Still looking", "This node has just begun to look; answers take up to three seconds."),
        Caution::Alone => (
            "This node finds no instance but itself",
            "Is a service running, and is mDNS (UDP 5353) allowed on this network? Its cable may be out, too.",
        ),
        Caution::OutOfDate => (
            "This list may be out of date",
            "Most others do not answer, or are no longer heard of: this node may be cut off from the network.",
        ),
    };
    html! {
        div.notice.caution { div { h2 { (heading) } p { (advice) } } }
    }
}

fn service(id: &str, service: &Service, signed: bool) -> Markup {
    let count = service.instances.len();
    let is_called = service.instances.iter().any(|one| !one.callers.is_empty());
    let calls = service.instances.iter().any(|one| !one.calls.is_empty());
    html! {
        section.service id=(id) {
            h2 id={ (id) "-name" } { (service.service) }
            p { (service.answering) " of " (count) " " (plural(&service.service, count)) " " (one_of(service.answering, "answers", "answer")) "." }
            div.card.table role="region" tabindex="0" aria-labelledby={ (id) "-name" } {
                (instance::table(service, &instance::Columns { is_called, calls, signed }, id))
            }
        }
    }
}

fn unproven(all: &[Unproven], beyond: usize) -> Markup {
    let about = "Announced here, and not answering yet: they get no calls before they do.";
    let row = |one: &Unproven| {
        let mark = instance::mark("stale", "unproven");
        let why = html! { (mark) " announced for " (in_words(one.announced_for)) "; " (one.reason) };
        claim(&one.id, &one.service, Some(one.addr), &why)
    };
    not_in_use("unproven", "Unproven", about, beyond, all.iter().map(row))
}

fn refused(all: &[Refused], beyond: u64) -> Markup {
    let about = "Announced here, and not believed: none of them is ever called.";
    let row = |one: &Refused| {
        let why = html! { (instance::mark("error", "refused")) " " (one.reason) };
        claim(&one.name, &one.service, one.addr, &why)
    };
    not_in_use("refused", "Refused", about, usize::try_from(beyond).unwrap_or(usize::MAX), all.iter().map(row))
}

/// Name and address of an instance that is not in use, as it announces them, and why it is not used.
fn claim(name: &str, service: &str, addr: Option<SocketAddr>, why: &Markup) -> Markup {
    html! {
        tr role="row" {
            th role="rowheader" scope="row" { code { (name) } }
            td role="cell" data-l="Claims to be" {
                (words::or_dash(service))
                @if let Some(addr) = addr { " at " (addr) }
            }
            td.long role="cell" data-l="Why" { (why) }
        }
    }
}

/// A table of instances that get no calls.
fn not_in_use(id: &str, heading: &str, about: &str, beyond: usize, rows: impl Iterator<Item = Markup>) -> Markup {
    html! {
        section.service id=(id) {
            h2 id={ (id) "-name" } { (heading) }
            p { (about) @if beyond > 0 { " " (beyond) " more are not listed." } }
            div.card.table role="region" tabindex="0" aria-labelledby={ (id) "-name" } {
                table role="table" aria-labelledby={ (id) "-name" } {
                    thead { tr role="row" { @for head in ["Name", "Claims to be", "Why"] { th role="columnheader" scope="col" { (head) } } } }
                    tbody { @for row in rows { (row) } }
                }
            }
        }
    }
}

fn news(view: &View) -> Markup {
    html! {
        section #news .service {
            h2 #news-name { "What happened" }
            ol.card.news tabindex="0" aria-labelledby="news-name" { @for one in &view.news {
                li { span { (in_words(one.ago)) " ago" } div { code { (one.subject) } " " (one.what) } }
            } }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! The page itself, a pure function of what is seen.

use std::time::Duration;

use bramble::discovery::{Seen, Status};
use bramble_look::Site;
use maud::{Markup, html};

/// The frame of every page here.
pub(crate) const SITE: Site = Site {
    motto: "Services on this network",
    is_broad: true,
    back: "All services",
    footer: || html! { "Seen by mDNS from this node. No other service depends on this page." },
};

/// Every instance this node sees, one table a service.
pub(crate) fn services(own_id: &str, all: &[Seen]) -> Markup {
    let title = match all.len() {
        0 => "Nobody is there".to_owned(),
        1 => "1 instance".to_owned(),
        count => format!("{count} instances"),
    };
    let by_service = all.chunk_by(|a, b| a.instance.service == b.instance.service);
    SITE.page(
        &title,
        &html! {
            div {
                h1 { (title) }
                p.lead { "This is what " code { (own_id) } " sees. Another node may see it a moment earlier or later." }
            }
            @if all.is_empty() {
                p.notice.caution { "Is a service running, and is mDNS (UDP 5353) allowed on this network?" }
            }
            @for instances in by_service {
                (table(instances))
            }
        },
    )
}

fn table(instances: &[Seen]) -> Markup {
    let service = instances.first().map(|seen| &*seen.instance.service).unwrap_or_default();
    let up = instances.iter().filter(|seen| seen.instance.status == Status::Up).count();
    html! {
        section.service {
            h2 id=(service) { (service) }
            p { (up) " of " (instances.len()) " in service." }
            div.card.table role="region" tabindex="0" aria-labelledby=(service) {
                table aria-labelledby=(service) {
                    thead {
                        tr {
                            @for head in ["Instance", "Address", "Status", "Zone", "Weight", "Version", "Known for", "Seen by"] {
                                th scope="col" { (head) }
                            }
                        }
                    }
                    tbody { @for seen in instances { (row(seen)) } }
                }
            }
        }
    }
}

fn row(seen: &Seen) -> Markup {
    let one = &seen.instance;
    let or_dash = |text: &str| if text.is_empty() { "–".to_owned() } else { text.to_owned() };
    html! {
        tr {
            th scope="row" { code { (one.id) } }
            td { a href={ "http://" (one.addr) "/healthz" } { (one.addr) } }
            td { span.state { (status(one.status)) } }
            td { (or_dash(&one.zone)) }
            td { (one.weight) }
            td { (or_dash(&one.version)) }
            td { (in_words(seen.known_for)) }
            td { (one.source.as_str()) }
        }
    }
}

/// A word, a shape and a colour: each says it alone.
fn status(status: Status) -> Markup {
    match status {
        Status::Up => html! { strong.live { span aria-hidden="true" { "●" } "up" } },
        Status::Drain => html! { strong.stale { span aria-hidden="true" { "◐" } "ending" } },
    }
}

/// `42 s`, `5 min`, `3 h`, `2 d`.
fn in_words(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s @ 3600..86_400 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use bramble::discovery::{Instance, Source, Standing};

    use super::*;

    fn seen(service: &str, id: &str, status: Status) -> Seen {
        let instance = Instance {
            id: id.into(),
            service: service.into(),
            addr: SocketAddr::from(([192, 0, 2, 7], 4711)),
            path: "/".into(),
            zone: "<b>shelf</b>".into(),
            weight: 1,
            version: "".into(),
            status,
            source: Source::Mdns,
        };
        let known_for = Duration::from_secs(90);
        Seen { instance: Arc::new(instance), known_for, standing: Standing::Confirmed, standing_for: known_for }
    }

    #[test]
    fn every_service_has_a_table_and_a_sentence_and_what_others_say_is_escaped() {
        let all = [
            seen("consumer", "consumer-a", Status::Up),
            seen("producer", "producer-a", Status::Up),
            seen("producer", "producer-b", Status::Drain),
        ];
        let page = services("registry-a", &all).into_string();
        assert_eq!(page.matches("<table").count(), 2);
        assert!(page.contains("1 of 2 in service."), "{page}");
        assert!(page.contains("&lt;b&gt;shelf") && !page.contains("<b>shelf"), "{page}");
        assert!(page.contains("1 min"), "{page}");
    }

    #[test]
    fn an_empty_network_says_what_to_check() {
        assert!(services("registry-a", &[]).into_string().contains("UDP 5353"));
    }
}

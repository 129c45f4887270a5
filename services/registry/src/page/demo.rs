//! The demo's section: the state of each of its children, and the buttons.

use maud::{Markup, html};

use super::instance::mark;
use crate::demo::{ApiState, DemoState, ProducerState};

/// Actions on a producer: the last part of the button's URL, and its label.
const ACTIONS: [(&str, &str); 4] = [("stop", "Stop"), ("kill", "Kill"), ("slow", "Slow down"), ("restart", "Restart")];

pub(super) fn section(demo: &DemoState) -> Markup {
    let button = |path: String, words: &str| {
        html! {
            form method="post" action={ "/demo/" (path) } { button.button.quiet.small type="submit" { (words) } }
        }
    };
    html! {
        section #demo .service {
            h2 { "Try it" }
            p { "This is the demo: do something to a producer, or to the weather API, and watch its circuit open, ramp and close." }
            p { "Stop lets a producer say goodbye first, so that no circuit opens; Kill does not. Slow down lasts for half a minute." }
            @for (number, producer) in (1..).zip(&demo.producers) {
                fieldset.card.actions.deeds {
                    legend {
                        (producer.name) @if let Some(addr) = producer.addr { " at " (addr) } " " (producer_mark(producer.state))
                    }
                    @for (path, words) in ACTIONS { (button(format!("producers/{number}/{path}"), words)) }
                }
            }
            fieldset.card.actions.deeds {
                legend { "The weather API " (api_mark(demo.weather_api)) }
                (button("weather/break".into(), "Break"))
                (button("weather/mend".into(), "Mend"))
            }
        }
    }
}

fn producer_mark(state: ProducerState) -> Markup {
    match state {
        ProducerState::Running => mark("live", "running"),
        ProducerState::Restarted => mark("live", "restarted"),
        ProducerState::Slow => mark("stale", "slow"),
        ProducerState::Stopping => mark("stale", "stopping"),
        ProducerState::Stopped => mark("error", "stopped"),
        ProducerState::Killed => mark("error", "killed"),
        ProducerState::Ended => mark("error", "ended"),
    }
}

fn api_mark(state: ApiState) -> Markup {
    match state {
        ApiState::Working => mark("live", "working"),
        ApiState::Broken => mark("error", "broken"),
        ApiState::Unknown => mark("none", "unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::DemoProducer;

    #[test]
    fn every_producer_has_its_state_and_its_buttons_and_its_name_is_escaped() {
        let producer = |name: &str, state| DemoProducer { name: name.into(), addr: None, state };
        let producers = vec![producer("producer 1", ProducerState::Running), producer("<b>", ProducerState::Killed)];
        let page = section(&DemoState { producers, weather_api: ApiState::Broken }).into_string();
        assert_eq!(page.matches("<form").count(), 2 * ACTIONS.len() + 2);
        assert!(page.contains(r#"action="/demo/producers/2/kill""#), "{page}");
        for word in [">running<", ">killed<", ">broken<"] {
            assert_eq!(page.matches(word).count(), 1, "{word}: {page}");
        }
        assert!(!page.contains("<b>"), "{page}");
    }
}

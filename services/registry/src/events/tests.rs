use bramble::config::Config;
use bramble::serve::{Host, event_stream};
use event_listener::Event;
use futures_lite::{AsyncReadExt as _, future};
use smol::Executor;

use bramble::bulkhead::Bulkhead;

use super::*;
use crate::page::tests::view;
use crate::state::READERS;

fn lost(ago: Duration) -> News {
    News { ago, subject: "producer-a".into(), what: "was\nlost".into() }
}

fn names(events: &str) -> Vec<&str> {
    events.lines().filter_map(|line| line.strip_prefix("event: ")).collect()
}

#[test]
fn a_reader_is_told_everything_once_and_then_what_differs() {
    let (mut diff, now) = (PageDiff::default(), Instant::now());
    assert_eq!(names(&diff.update(&view(Vec::new()), now)), ["order", "part", "beat"]);
    assert_eq!(names(&diff.update(&view(Vec::new()), now + EVERY)), ["beat"], "nothing is new");
    let third = diff.update(&View { news: vec![lost(Duration::from_secs(1))], ..view(Vec::new()) }, now + 2 * EVERY);
    assert_eq!(names(&third), ["order", "part", "said", "beat"]);
    assert!(third.contains("data: producer-a was lost.\n\n"), "one line: {third}");
}

#[test]
fn a_change_before_the_first_look_is_not_said_as_if_it_were_new() {
    let (mut diff, now) = (PageDiff::default(), Instant::now());
    let first = diff.update(&View { news: vec![lost(Duration::from_secs(1))], ..view(Vec::new()) }, now);
    assert!(!names(&first).contains(&"said"), "{first}");
    let second = diff.update(&View { news: vec![lost(Duration::from_secs(3))], ..view(Vec::new()) }, now + EVERY);
    assert!(!names(&second).contains(&"said"), "{second}");
}

#[test]
fn there_are_so_many_places_and_each_is_given_back() {
    let places = Bulkhead::new("test", READERS);
    let taken: Vec<_> = (0..READERS).map_while(|_| places.try_enter().ok()).collect();
    assert_eq!(taken.len(), READERS);
    assert!(places.try_enter().is_err());
    drop(taken);
    assert!(places.try_enter().is_ok());
}

#[test]
fn a_stream_says_each_thing_once_has_a_heartbeat_and_ends_with_the_service() {
    let executor = Arc::new(Executor::new());
    let mut config = Config::default();
    config.discovery.mdns = false;
    let host = Host::new(crate::SERVICE, config, Arc::clone(&executor)).expect("valid");
    let (state, end) = (State::new(&host), Event::new());
    let permit = state.readers.try_enter().expect("a permit");
    let mut body = event_stream(events(state), end.listen(), permit).take_body();
    let read = async {
        let (mut text, mut piece) = (Vec::new(), [0; 64]);
        loop {
            let n = body.read(&mut piece).await.expect("it cannot fail");
            text.extend_from_slice(&piece[..n]);
            if n == 0 {
                return String::from_utf8(text).expect("text");
            }
            if String::from_utf8_lossy(&text).matches("event: beat").count() == 2 {
                end.notify(usize::MAX);
            }
        }
    };
    let text = future::block_on(executor.run(read));
    assert_eq!(names(&text).iter().filter(|name| **name == "order").count(), 1, "{text}");
    assert_eq!(names(&text).iter().filter(|name| **name == "beat").count(), 2, "{text}");
    assert!(text.ends_with("\n\n"), "{text}");
}

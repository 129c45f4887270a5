//! Instances that do not answer: probes, loss and return.

use super::*;

#[test]
fn an_instance_whose_calls_time_out_is_lost_once_two_probes_have_failed() {
    let now = Instant::now();
    let directory = of_one(now);
    let later = now + 2 * SECOND;
    for _ in 0..100 {
        directory.suspect("producer-a", Suspicion::TimedOut, later);
    }
    assert_eq!(answer(&directory, None), later, "at once");
    assert_eq!(ids(&directory), ["producer-a"], "one lost packet is no loss");
    answer(&directory, None);
    assert_eq!(ids(&directory), [""; 0]);
    assert_eq!(standing(&directory, later), [("producer-a".into(), InstanceState::Lost)]);
    assert!(directory.why_none_found("producer").starts_with("producer-a at 127.0.0.1:1 has stopped answering;"));
}

#[test]
fn an_instance_that_answers_probes_stays_in_use_and_is_probed_once_a_second_at_most() {
    let now = Instant::now();
    let directory = of_one(now);
    let version = directory.version();
    for (at, alive) in [(now, ProbeResult::Answered(addr(1))), (now + 5 * SECOND, ProbeResult::Unclear)] {
        directory.suspect("producer-a", Suspicion::TimedOut, at);
        assert_eq!(result(&directory, alive), at.max(now + SECOND));
    }
    assert_eq!((directory.next_probe(), directory.version()), (None, version));
}

#[test]
fn a_lost_instance_takes_calls_at_its_first_answer_under_another_epoch() {
    let now = Instant::now();
    let directory = of_one(now);
    let before = epoch(&directory);
    directory.suspect("producer-a", Suspicion::Unreachable, now + SECOND);
    answer(&directory, None);
    let lost = answer(&directory, None);
    assert_eq!(answer(&directory, None), lost + SECOND / 4, "there is no other one");
    let version = directory.version();
    assert_eq!(result(&directory, ProbeResult::Unclear), lost + SECOND / 2);
    assert_eq!((ids(&directory).len(), directory.version()), (0, version), "a stranger may have its address");
    let back = answer(&directory, Some(1));
    assert_eq!(ids(&directory), ["producer-a"]);
    assert_ne!(epoch(&directory), before);
    assert!(directory.version() > version);
    assert_eq!(
        standing(&directory, back),
        [("producer-a".into(), InstanceState::Confirmed)],
        "mDNS never stopped telling"
    );
    assert!(wants_look(&directory), "others may be back with it");
    assert_eq!(directory.events(back)[0].what, NewsKind::FoundAgain);
}

#[test]
fn a_lost_instance_is_probed_every_second_while_another_one_takes_its_calls() {
    let now = Instant::now();
    let directory = of_one(now);
    announce(&directory, "b", &[2], now);
    answer(&directory, Some(2));
    directory.suspect("producer-a", Suspicion::Unreachable, now + SECOND);
    answer(&directory, None);
    let lost = answer(&directory, None);
    assert_eq!(ids(&directory), ["producer-b"]);
    assert_eq!(answer(&directory, None), lost + SECOND);
    assert_eq!(answer(&directory, None), lost + 2 * SECOND);
}

#[test]
fn a_lost_instance_without_another_is_probed_the_whole_time_and_seven_of_eight_probes_are_short() {
    let now = Instant::now();
    let directory = of_one(now);
    directory.suspect("producer-a", Suspicion::Unreachable, now + SECOND);
    answer(&directory, None);
    let mut at = answer(&directory, None) + SECOND / 4;
    let mut within = Vec::new();
    for _ in 0..16 {
        let due = directory.due_probes(at);
        assert_eq!(due.len(), 1, "{at:?}");
        within.push(due[0].connects_within.as_millis());
        let begun = at;
        at += due[0].connects_within;
        directory.probed(&due[0], ProbeResult::Absent, at);
        assert_eq!(directory.next_probe(), Some(at), "more than 250 ms after {begun:?}");
    }
    let eight = [400, 400, 400, 400, 400, 400, 400, 1500];
    assert_eq!(within, [eight, eight].concat());
}

#[test]
fn when_one_is_back_the_other_lost_ones_are_probed_at_once() {
    let now = Instant::now();
    let directory = Directory::new(ServiceFilter::None, now);
    for key in ["a", "b"] {
        let port = u16::from(key.as_bytes()[0]);
        announce(&directory, key, &[port], now);
        answer(&directory, Some(port));
        unheard(&directory, key, now);
        answer(&directory, None);
    }
    let late = now + 500 * SECOND;
    for request in directory.due_probes(late) {
        directory.probed(&request, ProbeResult::Absent, late);
    }
    let later = late + 3 * SECOND / 2;
    announce(&directory, "a", &[97], later);
    assert_eq!(answer(&directory, Some(97)), later);
    assert_eq!(directory.due_probes(later).len(), 1, "otherwise after {:?}", directory.next_probe());
}

#[test]
fn a_refused_connection_has_the_instance_probed_soon_and_one_more_failure_makes_it_lost() {
    let now = Instant::now();
    let directory = of_one(now);
    let later = now + 2 * SECOND;
    directory.suspect("producer-a", Suspicion::Refused, later);
    directory.suspect("producer-a", Suspicion::Unreachable, later + SECOND);
    let second = answer(&directory, None);
    assert!((later + SECOND / 10..later + SECOND).contains(&second), "not in chorus with other callers");
    assert_eq!(standing(&directory, second), [("producer-a".into(), InstanceState::Lost)]);
}

#[test]
fn an_instance_that_neither_mdns_nor_a_probe_finds_is_out_of_use_until_it_answers() {
    let now = Instant::now();
    let directory = of_one(now);
    unheard(&directory, "a", now);
    answer(&directory, None);
    assert_eq!(standing(&directory, now), [("producer-a".into(), InstanceState::Lost)]);
    answer(&directory, None);
    wants_look(&directory);
    let back = answer(&directory, Some(1));
    assert_eq!(standing(&directory, back), [("producer-a".into(), InstanceState::Unconfirmed)]);
    assert!(wants_look(&directory), "others may be back with it");
}

#[test]
fn a_lost_instance_is_forgotten_after_ten_minutes() {
    let now = Instant::now();
    let directory = of_one(now);
    unheard(&directory, "a", now);
    let mut last = now;
    while directory.next_probe().is_some_and(|at| at < now + 600 * SECOND) {
        last = answer(&directory, None);
    }
    assert!(last > now + 580 * SECOND);
    assert!(directory.due_probes(now + 601 * SECOND).is_empty());
    assert_eq!((directory.next_probe(), directory.lost(now).len()), (None, 0));
}

#[test]
fn an_instance_that_dies_while_nothing_is_called_is_lost_within_a_minute() {
    for told in [ServiceFilter::All, ServiceFilter::Of(&["producer"])] {
        let now = Instant::now();
        let directory = Directory::new(told, now);
        announce(&directory, "a", &[1], now);
        answer(&directory, Some(1));
        let version = directory.version();
        assert_eq!(answer(&directory, Some(1)), now + 30 * SECOND, "nothing bad is known of it");
        assert_eq!(result(&directory, ProbeResult::Unclear), now + 60 * SECOND, "two probes a minute are enough");
        assert_eq!(directory.version(), version, "callers hear nothing of it");
        assert_eq!(answer(&directory, None), now + 90 * SECOND);
        for _ in 0..4 {
            let failed = answer(&directory, None);
            assert_eq!(
                standing(&directory, failed),
                [("producer-a".into(), InstanceState::Confirmed)],
                "packets get lost"
            );
        }
        let lost = answer(&directory, None);
        assert!(lost < now + 92 * SECOND);
        assert_eq!(standing(&directory, lost), [("producer-a".into(), InstanceState::Lost)]);
    }
}

#[test]
fn an_instance_that_fails_probes_and_calls_is_lost_sooner_than_one_that_nothing_else_speaks_against() {
    let now = Instant::now();
    let directory = Directory::new(ServiceFilter::All, now);
    announce(&directory, "a", &[1], now);
    answer(&directory, Some(1));
    for _ in 0..3 {
        answer(&directory, None);
    }
    let failed = answer(&directory, None);
    directory.suspect("producer-a", Suspicion::TimedOut, failed);
    let lost = answer(&directory, None);
    assert_eq!(standing(&directory, lost), [("producer-a".into(), InstanceState::Lost)]);
}

#[test]
fn an_instance_that_this_process_neither_calls_nor_shows_is_not_probed_while_nothing_bad_is_known_of_it() {
    for told in [ServiceFilter::None, ServiceFilter::Of(&["consumer"])] {
        let now = Instant::now();
        let directory = Directory::new(told, now);
        announce(&directory, "a", &[1], now);
        answer(&directory, Some(1));
        assert_eq!(directory.next_probe(), None);
    }
}

#[test]
fn an_instance_that_does_not_answer_a_look_is_probed() {
    let now = Instant::now();
    let directory = of_one(now);
    announce(&directory, "b", &[2], now);
    answer(&directory, Some(2));
    let looked = now + 10 * SECOND;
    announce(&directory, "b", &[2], looked + SECOND);
    directory.doubt_unheard_since(looked, false, looked + 5 * SECOND);
    let due = directory.due_probes(looked + 5 * SECOND);
    assert_eq!(due.iter().map(|request| &*request.id).collect::<Vec<_>>(), ["producer-a"]);
    assert!(!wants_look(&directory), "looking once more would find no more");
}

//! Instances that end or say that they do.

use super::*;

#[test]
fn an_instance_that_answers_stays_in_use_though_a_goodbye_was_sent_for_it() {
    let now = Instant::now();
    let directory = of_one(now);
    unheard(&directory, "a", now + SECOND);
    assert_eq!(ids(&directory), ["producer-a"]);
    assert!(wants_look(&directory));
    assert_eq!(answer(&directory, Some(1)), now + SECOND, "at once");
    let later = answer(&directory, Some(1));
    assert_eq!(later, now + 6 * SECOND);
    assert_eq!(standing(&directory, later), [("producer-a".into(), InstanceState::Unconfirmed)]);
    announce(&directory, "a", &[1], later);
    assert_eq!(standing(&directory, later), [("producer-a".into(), InstanceState::Confirmed)]);
    assert_eq!(directory.next_probe(), None, "a confirmed instance is not probed");
    let what: Vec<NewsKind> = directory.events(later).iter().map(|news| news.what).collect();
    assert_eq!(what, [NewsKind::FoundAgain, NewsKind::Unconfirmed, NewsKind::Registered]);
}

#[test]
fn an_instance_that_said_it_was_ending_is_gone_at_once() {
    let now = Instant::now();
    let directory = of_one(now);
    announce_end(&directory, "a", 1, now);
    assert_eq!(found(&directory)[0].status, Status::Drain);
    unheard(&directory, "a", now);
    announce_end(&directory, "a", 1, now); // the second packet of the same
    assert_eq!(standing(&directory, now), []);
    assert!(!wants_look(&directory), "no other one is in doubt");
    assert_eq!(answer(&directory, None), now + 5 * SECOND);
    assert_eq!(directory.next_probe(), None, "it has ended");
}

#[test]
fn an_instance_that_said_it_was_ending_is_gone_though_its_goodbye_was_lost() {
    let now = Instant::now();
    let directory = of_one(now);
    announce_end(&directory, "a", 1, now);
    let at = directory.next_probe().expect("its goodbye may be lost");
    assert!(at < now + 3 * SECOND / 2);
    assert_eq!((directory.due_probes(at).len(), ids(&directory).len()), (0, 0));
}

#[test]
fn an_instance_that_ends_while_it_is_probed_is_gone_all_the_same() {
    for result in [ProbeResult::Absent, ProbeResult::Unclear, ProbeResult::Answered(addr(1))] {
        let now = Instant::now();
        let directory = of_one(now);
        directory.suspect("producer-a", Suspicion::TimedOut, now + SECOND);
        let due = directory.due_probes(now + SECOND);
        announce_end(&directory, "a", 1, now + SECOND);
        directory.probed(&due[0], result, now + SECOND);
        let ends = directory.next_probe().expect("its goodbye may be lost");
        directory.due_probes(ends);
        assert_eq!((standing(&directory, ends), ends < now + 3 * SECOND), (Vec::new(), true));
    }
}

#[test]
fn how_long_an_instance_has_been_ending_is_counted_from_when_it_said_so() {
    let now = Instant::now();
    let directory = of_one(now);
    let ending_for = |at| directory.all(at)[0].ending_for;
    assert_eq!(ending_for(now + 360 * SECOND), None);
    announce_end(&directory, "a", 1, now + 360 * SECOND);
    announce_end(&directory, "a", 1, now + 361 * SECOND);
    assert_eq!(ending_for(now + 361 * SECOND), Some(SECOND));
    let json = serde_json::to_value(&directory.all(now + 361 * SECOND)[0]).expect("JSON");
    assert_eq!((&json["ending_for_s"], &json["known_for_s"]), (&1.into(), &361.into()));
    announce(&directory, "a", &[1], now + 361 * SECOND);
    assert_eq!(ending_for(now + 362 * SECOND), None, "it has changed its mind");
}

#[test]
fn an_instance_that_still_answers_after_its_goodbye_has_not_ended() {
    let now = Instant::now();
    let directory = of_one(now);
    announce_end(&directory, "a", 1, now);
    unheard(&directory, "a", now);
    let back = answer(&directory, Some(1));
    let all = directory.all(back);
    assert_eq!((all[0].instance.status, all[0].standing), (Status::Up, InstanceState::Unconfirmed));
}

#[test]
fn an_instance_that_said_goodbye_is_not_called_because_a_name_leads_to_it_until_it_has_ended() {
    let now = Instant::now();
    let directory = of_one(now);
    let named = || vec![instance("127.0.0.1:1", 1, Source::Dns)];
    directory.replace(Source::Dns, "producer", named(), now);
    announce_end(&directory, "a", 1, now);
    unheard(&directory, "a", now);
    directory.replace(Source::Dns, "producer", named(), now + SECOND);
    assert_eq!(ids(&directory), [""; 0], "the name leads there for a moment longer");
    answer(&directory, None);
    assert_eq!(ids(&directory), ["127.0.0.1:1"], "it has ended: what the name says counts again");
}

#[test]
fn an_instance_that_has_ended_is_not_reported_as_not_found_or_not_answering() {
    let now = Instant::now();
    let directory = of_one(now);
    announce_end(&directory, "a", 1, now);
    unheard(&directory, "a", now);
    assert_eq!(ids(&directory), [""; 0]);
    let why = directory.why_none_found("producer");
    assert!(why.starts_with("producer-a at 127.0.0.1:1 has said that it is ending, and no other was found"), "{why}");
}

//! Announced instances that have not answered yet.

use super::*;

#[test]
fn an_announced_instance_takes_no_calls_before_it_has_answered_a_probe_with_its_id() {
    let now = Instant::now();
    let directory = Directory::new(ServiceFilter::None, now);
    let version = directory.version();
    announce(&directory, "a", &[1], now);
    assert_eq!((ids(&directory).len(), directory.version()), (0, version), "callers hear nothing of it");
    assert_eq!(standing(&directory, now), [("producer-a".into(), InstanceState::Unproven)]);
    assert!(
        directory.why_none_found("producer").starts_with("producer-a at 127.0.0.1:1 is announced, but does not answer")
    );
    assert_eq!(answer(&directory, None), now, "it is probed at once");
    assert_eq!(answer(&directory, None), now + SECOND, "and again");
    assert_eq!(result(&directory, ProbeResult::Unclear), now + 3 * SECOND, "a process that hangs is not in use either");
    assert_eq!(ids(&directory), [""; 0]);
    assert_eq!(answer(&directory, Some(1)), now + 7 * SECOND);
    assert_eq!(ids(&directory), ["producer-a"]);
    assert!(directory.version() > version);
    assert_eq!(directory.next_probe(), None, "a confirmed instance is not probed");
}

#[test]
fn an_announced_instance_that_never_answers_is_gone_with_its_announcement() {
    let now = Instant::now();
    let directory = Directory::new(ServiceFilter::None, now);
    announce(&directory, "a", &[1], now);
    answer(&directory, None);
    unheard(&directory, "a", now + SECOND);
    assert_eq!((standing(&directory, now + SECOND), directory.next_probe()), (Vec::new(), None));
    assert!(directory.events(now).is_empty(), "it never was there");
}

#[test]
fn forged_announcements_push_out_no_instance_that_answers_and_leave_room_for_new_ones() {
    let now = Instant::now();
    let directory = of_one(now);
    for forged in 0..2000_u16 {
        announce(&directory, &format!("forged-{forged:04}"), &[9], now);
    }
    assert_eq!(ids(&directory), ["producer-a"]);
    assert_eq!(directory.unproven(now).len(), MAX_UNPROVEN);
    assert!(wants_look(&directory), "which of these are there?");
    for request in directory.due_probes(now) {
        directory.probed(&request, ProbeResult::Absent, now);
    }
    announce(&directory, "b", &[2], now);
    let request = std::iter::repeat_with(|| directory.due_probes(now)).take(100).flatten().find(|request| {
        directory.probed(request, ProbeResult::Absent, now);
        &*request.id == "producer-b"
    });
    assert!(request.is_some(), "one that failed has made room for it");
}

#[test]
fn a_flood_of_forged_announcements_does_not_make_this_process_scan_the_network() {
    let now = Instant::now();
    let directory = Directory::new(ServiceFilter::None, now);
    let mut probes = 0;
    for tenth in 0..100 {
        let at = now + tenth * SECOND / 10;
        for forged in 0..100 {
            announce(&directory, &format!("{tenth:03}-{forged:03}"), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], at);
        }
        let due = directory.due_probes(at);
        assert!(due.len() <= 24, "at the same time: {}", due.len());
        for request in due {
            probes += request.addrs.len();
            directory.probed(&request, ProbeResult::Absent, at);
        }
    }
    assert!(probes <= 256 + 25 * 10 + 8, "{probes} connects in 10 s");
}

#[test]
fn suspected_instances_are_probed_though_a_flood_has_taken_every_seat_of_the_unproven() {
    let now = Instant::now();
    let directory = of_one(now);
    (0..100).for_each(|forged| announce(&directory, &format!("forged-{forged}"), &[9], now));
    directory.due_probes(now); // all of them are silent
    let later = now + 2 * SECOND;
    directory.suspect("producer-a", Suspicion::TimedOut, later);
    assert_eq!(directory.due_probes(later).iter().map(|request| &*request.id).collect::<Vec<_>>(), ["producer-a"]);
}

use super::table::{MAX_LOST, MAX_UNPROVEN};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn instance(id: &str, port: u16, source: Source) -> Instance {
    Instance {
        id: id.into(),
        service: "producer".into(),
        addr: addr(port),
        path: "/".into(),
        zone: "".into(),
        weight: 1,
        version: "".into(),
        status: Status::Up,
        source,
        epoch: 0,
    }
}

/// Announces `producer-KEY` at these ports.
fn announce(directory: &Directory, key: &str, ports: &[u16], now: Instant) {
    let said = instance(&format!("producer-{key}"), ports[0], Source::Mdns);
    let addrs = ports.iter().map(|port| addr(*port)).collect();
    directory.apply(Source::Mdns, key, Change::Announced(said, addrs), now);
}

fn announce_end(directory: &Directory, key: &str, port: u16, now: Instant) {
    let said = Instance { status: Status::Drain, ..instance(&format!("producer-{key}"), port, Source::Mdns) };
    directory.apply(Source::Mdns, key, Change::Announced(said, vec![addr(port)]), now);
}

fn unheard(directory: &Directory, key: &str, now: Instant) {
    directory.apply(Source::Mdns, key, Change::Unheard, now);
}

/// What the next probe comes to, when it is due: the port that answers, or none. Gives back the time.
fn answer(directory: &Directory, port: Option<u16>) -> Instant {
    result(directory, port.map_or(ProbeResult::Absent, |port| ProbeResult::Answered(addr(port))))
}

fn result(directory: &Directory, result: ProbeResult) -> Instant {
    let at = directory.next_probe().expect("a probe is wanted");
    let due = directory.due_probes(at);
    assert_eq!(due.len(), 1, "{due:?}");
    assert!(directory.due_probes(at).is_empty(), "each probe is made once");
    directory.probed(&due[0], result, at);
    at
}

/// A directory of one producer that is announced at port 1, and answers there at `now`.
fn of_one(now: Instant) -> Directory {
    let directory = Directory::new(Told::Nobody, now);
    announce(&directory, "a", &[1], now);
    assert_eq!(answer(&directory, Some(1)), now);
    directory
}

fn found(directory: &Directory) -> Vec<Arc<Instance>> {
    directory.instances("producer").iter().flat_map(|found| found.iter().cloned()).collect()
}

fn ids(directory: &Directory) -> Vec<String> {
    found(directory).iter().map(|instance| instance.id.to_string()).collect()
}

fn ports(directory: &Directory) -> Vec<u16> {
    found(directory).iter().map(|instance| instance.addr.port()).collect()
}

fn epoch(directory: &Directory) -> u32 {
    found(directory)[0].epoch
}

fn standing(directory: &Directory, now: Instant) -> Vec<(String, Standing)> {
    let all = [directory.all(now), directory.lost(now), directory.unproven(now)].concat();
    all.into_iter().map(|seen| (seen.instance.id.to_string(), seen.standing)).collect()
}

fn wants_look(directory: &Directory) -> bool {
    directory.inner.looks.1.try_recv().is_ok()
}

#[test]
fn an_announced_instance_takes_no_calls_before_it_has_answered_a_probe_with_its_id() {
    let now = Instant::now();
    let directory = Directory::new(Told::Nobody, now);
    let version = directory.version();
    announce(&directory, "a", &[1], now);
    assert_eq!((ids(&directory).len(), directory.version()), (0, version), "callers hear nothing of it");
    assert_eq!(standing(&directory, now), [("producer-a".into(), Standing::Unproven)]);
    assert!(
        directory.why_nobody("producer").starts_with("producer-a at 127.0.0.1:1 is announced, but does not answer")
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
    let directory = Directory::new(Told::Nobody, now);
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
    let directory = Directory::new(Told::Nobody, now);
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
    assert_eq!(standing(&directory, later), [("producer-a".into(), Standing::Lost)]);
    assert!(directory.why_nobody("producer").starts_with("producer-a at 127.0.0.1:1 has stopped answering;"));
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
    assert_eq!(standing(&directory, back), [("producer-a".into(), Standing::Confirmed)], "mDNS never stopped telling");
    assert!(wants_look(&directory), "others may be back with it");
    assert_eq!(directory.events(back)[0].what, What::FoundAgain);
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
    let directory = Directory::new(Told::Nobody, now);
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
    assert_eq!(standing(&directory, second), [("producer-a".into(), Standing::Lost)]);
}

#[test]
fn of_two_addresses_the_one_that_answers_is_in_use() {
    let now = Instant::now();
    let directory = Directory::new(Told::Nobody, now);
    announce(&directory, "a", &[1, 2], now);
    answer(&directory, Some(2));
    assert_eq!(ports(&directory), [2]);
    announce(&directory, "a", &[1, 2], now);
    assert_eq!((ports(&directory), directory.next_probe()), (vec![2], None), "that is known");

    let before = (directory.version(), epoch(&directory));
    directory.suspect("producer-a", Suspicion::TimedOut, now + 2 * SECOND);
    let due = directory.due_probes(now + 2 * SECOND);
    assert_eq!(due[0].addrs, [addr(2), addr(1)], "the one in use is asked first");
    directory.probed(&due[0], ProbeResult::Answered(addr(1)), now + 2 * SECOND);
    assert_eq!(ports(&directory), [1]);
    assert!(directory.version() > before.0 && epoch(&directory) != before.1);
    assert_eq!(directory.events(now)[0].what, What::Moved);
}

#[test]
fn a_new_address_is_tried_at_once_though_the_old_one_is_still_announced() {
    let now = Instant::now();
    let directory = of_one(now);
    announce(&directory, "a", &[1, 2], now + SECOND / 2);
    assert_eq!(answer(&directory, Some(2)), now + SECOND, "no call has failed yet");
    assert_eq!(ports(&directory), [2]);
}

#[test]
fn an_instance_is_believed_to_have_moved_once_it_answers_there_and_not_where_it_was() {
    let now = Instant::now();
    let directory = of_one(now);
    announce(&directory, "a", &[2], now + SECOND);
    answer(&directory, Some(1));
    assert_eq!(ports(&directory), [1], "a forged record takes nothing away");
    assert!(wants_look(&directory), "the forged record is to be forgotten");
    announce(&directory, "a", &[2], now + 2 * SECOND);
    answer(&directory, Some(2));
    assert_eq!((ports(&directory), directory.next_probe()), (vec![2], None));
}

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
    assert_eq!(standing(&directory, later), [("producer-a".into(), Standing::Unconfirmed)]);
    announce(&directory, "a", &[1], later);
    assert_eq!(standing(&directory, later), [("producer-a".into(), Standing::Confirmed)]);
    assert_eq!(directory.next_probe(), None, "a confirmed instance is not probed");
    let what: Vec<What> = directory.events(later).iter().map(|news| news.what).collect();
    assert_eq!(what, [What::FoundAgain, What::Unconfirmed, What::Registered]);
}

#[test]
fn an_instance_that_neither_mdns_nor_a_probe_finds_is_out_of_use_until_it_answers() {
    let now = Instant::now();
    let directory = of_one(now);
    unheard(&directory, "a", now);
    answer(&directory, None);
    assert_eq!(standing(&directory, now), [("producer-a".into(), Standing::Lost)]);
    answer(&directory, None);
    wants_look(&directory);
    let back = answer(&directory, Some(1));
    assert_eq!(standing(&directory, back), [("producer-a".into(), Standing::Unconfirmed)]);
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
    assert_eq!((all[0].instance.status, all[0].standing), (Status::Up, Standing::Unconfirmed));
}

#[test]
fn an_instance_that_dies_while_nothing_is_called_is_lost_within_a_minute() {
    for told in [Told::Everyone, Told::Of(&["producer"])] {
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
            assert_eq!(standing(&directory, failed), [("producer-a".into(), Standing::Confirmed)], "packets get lost");
        }
        let lost = answer(&directory, None);
        assert!(lost < now + 92 * SECOND);
        assert_eq!(standing(&directory, lost), [("producer-a".into(), Standing::Lost)]);
    }
}

#[test]
fn an_instance_that_fails_probes_and_calls_is_lost_sooner_than_one_that_nothing_else_speaks_against() {
    let now = Instant::now();
    let directory = Directory::new(Told::Everyone, now);
    announce(&directory, "a", &[1], now);
    answer(&directory, Some(1));
    for _ in 0..3 {
        answer(&directory, None);
    }
    let failed = answer(&directory, None);
    directory.suspect("producer-a", Suspicion::TimedOut, failed);
    let lost = answer(&directory, None);
    assert_eq!(standing(&directory, lost), [("producer-a".into(), Standing::Lost)]);
}

#[test]
fn an_instance_that_this_process_neither_calls_nor_shows_is_not_probed_while_nothing_bad_is_known_of_it() {
    for told in [Told::Nobody, Told::Of(&["consumer"])] {
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

#[test]
fn a_process_started_anew_at_its_old_port_takes_the_place_of_the_dead_one() {
    let now = Instant::now();
    let directory = of_one(now);
    announce(&directory, "b", &[1], now + SECOND);
    assert_eq!(ids(&directory), ["producer-a"], "anything can say that");
    answer(&directory, Some(1));
    assert_eq!(standing(&directory, now + SECOND), [("producer-b".into(), Standing::Confirmed)]);
    let told: Vec<_> = directory.events(now).iter().map(|news| (news.id.to_string(), news.what.as_str())).collect();
    let expected = [("producer-a", "was replaced by another one at the same address"), ("producer-b", "registered")];
    assert!(expected.iter().all(|(id, what)| told.contains(&((*id).into(), *what))), "{told:?}");
    assert!(!told.iter().any(|(_, what)| *what == "said goodbye"), "{told:?}");
}

#[test]
fn of_events_and_of_lost_instances_a_bounded_number_is_kept() {
    let now = Instant::now();
    let directory = Directory::new(Told::Nobody, now);
    for port in 1..=1000 {
        let at = now + u32::from(port) * SECOND / 100;
        let key = port.to_string();
        directory.apply(Source::Mdns, &key, Change::Is(instance(&key, port, Source::Mdns)), at);
        unheard(&directory, &key, at);
        for request in directory.due_probes(at) {
            directory.probed(&request, ProbeResult::Absent, at);
        }
    }
    assert_eq!((directory.lost(now).len(), directory.events(now).len()), (MAX_LOST, 100));
}

#[test]
fn more_instances_than_may_be_in_use_are_left_out_and_the_first_ones_stay() {
    let now = Instant::now();
    let directory = Directory::new(Told::Nobody, now);
    for port in 1..=2000 {
        let one = instance(&format!("producer-{port:05}"), port, Source::Mdns);
        directory.apply(Source::Mdns, &port.to_string(), Change::Is(one), now);
    }
    assert_eq!(ids(&directory).len(), MAX_PER_SERVICE);
    assert_eq!(ids(&directory)[0], "producer-00001");
}

#[test]
fn an_instance_that_was_left_out_is_looked_for_when_there_is_room_again() {
    let now = Instant::now();
    let directory = Directory::new(Told::Nobody, now);
    let name = |port: u16, at: Instant| {
        let one = instance(&format!("producer-{port}"), port, Source::Mdns);
        directory.apply(Source::Mdns, &port.to_string(), Change::Is(one), at);
    };
    (1..=300).for_each(|port| name(port, now));
    assert!(wants_look(&directory), "which of these are there?");
    name(301, now + SECOND);
    assert!(!wants_look(&directory), "that has just been asked");
    directory.apply(Source::Mdns, "1", Change::Gone, now + 2 * SECOND);
    assert!(wants_look(&directory), "there is room for it now");
    directory.apply(Source::Mdns, "2", Change::Gone, now + 3 * SECOND);
    assert!(!wants_look(&directory), "no other one was left out");
}

#[test]
fn what_two_sources_tell_of_one_address_is_one_instance_with_the_name_mdns_gives_it() {
    let now = Instant::now();
    let directory = Directory::new(Told::Nobody, now);
    directory.replace(Source::Fixed, "producer", vec![instance("127.0.0.1:1", 1, Source::Fixed)], now);
    announce(&directory, "a", &[1], now);
    assert_eq!(ids(&directory), ["127.0.0.1:1"], "the fixed list needs no probe");
    answer(&directory, Some(1));
    assert_eq!(ids(&directory), ["producer-a"]);
    directory.apply(Source::Mdns, "a", Change::Gone, now);
    assert_eq!(ids(&directory), ["127.0.0.1:1"], "the fixed list still knows it");
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
fn when_a_service_may_be_back_is_known_while_an_instance_of_it_is_probed() {
    let now = Instant::now();
    let directory = of_one(now);
    assert_eq!(directory.next_probe_of("producer"), None, "it is there");
    directory.suspect("producer-a", Suspicion::Unreachable, now + SECOND);
    answer(&directory, None);
    let next = answer(&directory, None) + SECOND / 4; // while there is no other
    assert_eq!(directory.next_probe_of("producer"), Some(next));
    assert_eq!(directory.next_probe_of("registry"), None);
    let due = directory.due_probes(next);
    assert_eq!((due.len(), directory.next_probe_of("producer")), (1, Some(next)), "under way");
}

#[test]
fn of_an_instance_that_has_ended_nobody_is_told_that_none_was_found_or_that_it_does_not_answer() {
    let now = Instant::now();
    let directory = of_one(now);
    announce_end(&directory, "a", 1, now);
    unheard(&directory, "a", now);
    assert_eq!(ids(&directory), [""; 0]);
    let why = directory.why_nobody("producer");
    assert!(why.starts_with("producer-a at 127.0.0.1:1 has said that it is ending, and no other was found"), "{why}");
}

#[test]
fn why_no_instance_is_there_depends_on_where_was_looked() {
    let directory = Directory::new(Told::Nobody, Instant::now());
    let why = directory.why_nobody("producer");
    assert!(why.starts_with("none was found; ") && why.contains("UDP 5353"), "{why}");
    directory.goes_without_mdns("off: [discovery] mdns is false");
    assert!(directory.why_nobody("producer").contains("[discovery] dns or fixed"));
    directory.follow_alias(&"producer".into(), &"producer:1".into());
    directory.tell_of_alias("producer", 0, Some("producer:1 has no address".into()), Instant::now());
    assert_eq!(directory.why_nobody("producer"), "producer:1 has no address");
}

#[test]
fn a_refusal_has_a_name_looked_up_only_if_the_name_leads_there() {
    let now = Instant::now();
    let directory = of_one(now);
    let wishes = directory.follow_alias(&"producer".into(), &"producer:1".into());
    directory.suspect("producer-a", Suspicion::Refused, now);
    assert!(wishes.try_recv().is_err());
    directory.replace(Source::Dns, "producer", vec![instance("127.0.0.1:1", 1, Source::Dns)], now);
    directory.suspect("producer-a", Suspicion::TimedOut, now);
    assert!(wishes.try_recv().is_err(), "a slow answer is no sign of another address");
    directory.suspect("producer-a", Suspicion::Unreachable, now);
    assert!(wishes.try_recv().is_ok(), "by whatever name it is called");
}

#[test]
fn an_alias_that_loses_an_address_loses_that_instance_alone() {
    let now = Instant::now();
    let directory = Directory::new(Told::Nobody, now);
    let three = [1, 2, 3].map(|port| instance(&port.to_string(), port, Source::Dns));
    directory.replace(Source::Dns, "producer", three.to_vec(), now);
    directory.replace(Source::Dns, "producer", vec![three[0].clone(), three[2].clone()], now);
    assert_eq!(ids(&directory), ["1", "3"]);
}

#[test]
fn what_is_already_known_changes_nothing_and_wakes_nothing() {
    let now = Instant::now();
    let directory = of_one(now);
    let (version, epoch_before) = (directory.version(), epoch(&directory));
    announce(&directory, "a", &[1], now);
    directory.apply(Source::Mdns, "b", Change::Gone, now);
    unheard(&directory, "c", now);
    assert_eq!((directory.version(), epoch(&directory)), (version, epoch_before));
}

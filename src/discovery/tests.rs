mod ending;
mod lost;
mod unproven;

use super::table::{MAX_LOST, MAX_UNPROVEN};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn instance(id: &str, port: u16, source: Source) -> Instance {
    Instance::new(id, "producer", addr(port), source)
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

/// Ends the next probe, when it is due, with the port that answers, or none. Gives back the time.
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
    let directory = Directory::new(ServiceFilter::None, now);
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

fn standing(directory: &Directory, now: Instant) -> Vec<(String, InstanceState)> {
    let all = [directory.all(now), directory.lost(now), directory.unproven(now)].concat();
    all.into_iter().map(|seen| (seen.instance.id.to_string(), seen.standing)).collect()
}

fn wants_look(directory: &Directory) -> bool {
    directory.inner.looks.1.try_recv().is_ok()
}

#[test]
fn of_two_addresses_the_one_that_answers_is_in_use() {
    let now = Instant::now();
    let directory = Directory::new(ServiceFilter::None, now);
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
    assert_eq!(directory.events(now)[0].what, NewsKind::Moved);
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
fn a_process_started_anew_at_its_old_port_takes_the_place_of_the_dead_one() {
    let now = Instant::now();
    let directory = of_one(now);
    announce(&directory, "b", &[1], now + SECOND);
    assert_eq!(ids(&directory), ["producer-a"], "anything can say that");
    answer(&directory, Some(1));
    assert_eq!(standing(&directory, now + SECOND), [("producer-b".into(), InstanceState::Confirmed)]);
    let told: Vec<_> = directory.events(now).iter().map(|news| (news.id.to_string(), news.what.as_str())).collect();
    let expected = [("producer-a", "was replaced by another one at the same address"), ("producer-b", "registered")];
    assert!(expected.iter().all(|(id, what)| told.contains(&((*id).into(), *what))), "{told:?}");
    assert!(!told.iter().any(|(_, what)| *what == "said goodbye"), "{told:?}");
}

#[test]
fn of_events_and_of_lost_instances_a_bounded_number_is_kept() {
    let now = Instant::now();
    let directory = Directory::new(ServiceFilter::None, now);
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
    let directory = Directory::new(ServiceFilter::None, now);
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
    let directory = Directory::new(ServiceFilter::None, now);
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
    let directory = Directory::new(ServiceFilter::None, now);
    directory.replace(Source::Fixed, "producer", vec![instance("127.0.0.1:1", 1, Source::Fixed)], now);
    announce(&directory, "a", &[1], now);
    assert_eq!(ids(&directory), ["127.0.0.1:1"], "the fixed list needs no probe");
    answer(&directory, Some(1));
    assert_eq!(ids(&directory), ["producer-a"]);
    directory.apply(Source::Mdns, "a", Change::Gone, now);
    assert_eq!(ids(&directory), ["127.0.0.1:1"], "the fixed list still knows it");
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
fn why_no_instance_is_there_depends_on_where_was_looked() {
    let directory = Directory::new(ServiceFilter::None, Instant::now());
    let why = directory.why_none_found("producer");
    assert!(why.starts_with("none was found; ") && why.contains("UDP 5353"), "{why}");
    directory.uses_mdns_port(5454);
    assert!(directory.why_none_found("producer").contains("is mDNS (UDP 5454) allowed"), "the port that is set");
    directory.goes_without_mdns("off: [discovery] mdns is false");
    assert!(directory.why_none_found("producer").contains("[discovery] dns or fixed"));
    directory.follow_alias(&"producer".into(), &"producer:1".into());
    directory.tell_of_alias("producer", 0, Some("producer:1 has no address".into()), Instant::now());
    assert_eq!(directory.why_none_found("producer"), "producer:1 has no address");
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
    let directory = Directory::new(ServiceFilter::None, now);
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

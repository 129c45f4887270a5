//! Events of the network: cables, addresses, partitions, loss, and interfaces of container engines.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::dns::addresses_of;
use crate::lan::ip;
use crate::node::{PATIENCE, View};

const SECOND: Duration = Duration::from_secs(1);
/// A lost instance is probed every second, and a probe sends its second SYN after another one.
const BACK_WITHIN: Duration = Duration::from_millis(2500);

#[test]
fn a_cable_pulled_and_put_back_heals_by_itself() {
    let cluster = Cluster::new(3);
    let addr = cluster.producers[2].addr;
    let user = cluster.user();
    cluster.lan.cable(4, false);
    sleep(15 * SECOND);
    cluster.lan.cable(4, true);
    let took = cluster.until(*PATIENCE, |found| found.contains(&(addr, "confirmed".into())));
    assert!(took <= 10 * SECOND, "found again after {took:?}");
    user.was_always_answered();
}

#[test]
fn the_consumers_own_cable_pulled_and_put_back_heals_by_itself() {
    let cluster = Cluster::new(2);
    cluster.lan.cable(1, false);
    sleep(15 * SECOND);
    cluster.lan.cable(1, true);
    let took = cluster.until_found();
    assert!(took <= 10 * SECOND, "found again after {took:?}");
    let user = cluster.user();
    sleep(2 * SECOND);
    user.was_always_answered();
}

#[test]
fn a_new_address_is_announced_and_used() {
    let mut cluster = Cluster::new(2);
    let old = cluster.producers[1].addr;
    let user = cluster.user();
    cluster.lan.on(3, "address del 10.77.0.3/24 dev eth0");
    cluster.lan.on(3, "address add 10.77.0.99/24 dev eth0");
    cluster.lan.on(3, "route replace default via 10.77.0.254");
    cluster.producers[1].addr.set_ip([10, 77, 0, 99].into());
    let new = cluster.producers[1].addr;
    let took = cluster.until(*PATIENCE, |found| {
        found.iter().any(|(addr, _)| *addr == new) && found.iter().all(|(addr, _)| *addr != old)
    });
    assert!(took <= 10 * SECOND, "{took:?}");
    sleep(2 * SECOND); // the user goes on for a moment
    user.was_always_answered();
}

#[test]
fn an_address_that_changes_right_after_the_start_is_found_within_five_seconds() {
    let mut cluster = Cluster::new(1);
    // Within a second of the announcement, a cache of mDNS keeps the old address beside the new one (RFC 6762, 10.2).
    for (round, after_ms) in (0..).zip([100, 400, 500, 700]) {
        let producer = cluster.start_producer(2);
        let (port, old, new) = (producer.addr.port(), ip(2 + 100 * (round % 2)), ip(2 + 100 * ((round + 1) % 2)));
        cluster.producers.push(producer);
        cluster.until(*PATIENCE, |found| found.contains(&(SocketAddr::from((old, port)), "confirmed".into())));
        sleep(Duration::from_millis(after_ms));
        cluster.lan.on(2, &format!("address add {new}/24 dev eth0"));
        cluster.lan.on(2, &format!("address del {old}/24 dev eth0"));
        cluster.lan.on(2, &format!("address replace {new}/24 dev eth0")); // the kernel may delete both
        cluster.lan.on(2, "route replace default via 10.77.0.254");
        let there = SocketAddr::from((new, port));
        let took = cluster.until(*PATIENCE, |found| found.iter().any(|(addr, _)| *addr == there));
        assert!(took <= 5 * SECOND, "{after_ms} ms after the start: {took:?}");
    }
}

#[test]
fn an_instance_that_was_cut_off_is_lost_soon_and_callable_again_right_after() {
    let cluster = Cluster::new(2);
    let cut = cluster.producers[1].addr;
    let user = cluster.user();
    cluster.lan.partition(3, true);
    let took = cluster.until_gone(cut, *PATIENCE);
    assert!(took <= 10 * SECOND, "mDNS would need two minutes; it took {took:?}");
    assert_eq!(View::of(&cluster.lan, &cluster.consumer).lost("producer"), [cut]);
    for out_for in [5, 20] {
        sleep(out_for * SECOND);
        cluster.lan.partition(3, false);
        let took = cluster.until(*PATIENCE, |found| found.iter().any(|(addr, _)| *addr == cut));
        assert!(took <= BACK_WITHIN, "callable again after {took:?}");
        cluster.lan.partition(3, true);
        cluster.until_gone(cut, *PATIENCE);
    }
    user.was_always_answered();
}

#[test]
fn what_is_announced_is_what_is_bound() {
    let mut cluster = Cluster::new(1);
    cluster.lan.on(2, "address add 10.77.0.102/24 dev eth0");
    let one = cluster.start_producer_at(2, "10.77.0.102:0");
    let there = SocketAddr::from((ip(102), one.addr.port()));
    cluster.until(*PATIENCE, |found| found.iter().any(|(addr, _)| *addr == there));
    let view = View::of(&cluster.lan, &cluster.consumer);
    let at = view.addrs("producer").iter().position(|addr| *addr == there).expect("just seen");
    let id = &view.ids("producer")[at];
    assert_eq!(cluster.lan.inside(1, || addresses_of(id)), [ip(102)], "{id}");
    cluster.producers.push(one);

    let hidden = cluster.start_producer_at(2, "127.0.0.1:0");
    let told = "alone, where no other machine can reach it, so it is not announced by mDNS; set [server] listen";
    let began = Instant::now();
    while !hidden.log().contains(told) {
        assert!(began.elapsed() < *PATIENCE, "{}", hidden.log());
        sleep(SECOND / 10);
    }
    sleep(2 * SECOND);
    let view = View::of(&cluster.lan, &cluster.consumer);
    let port = hidden.addr.port();
    let all = [view.addrs("producer"), view.unproven("producer")].concat();
    assert!(all.iter().all(|addr| addr.port() != port), "{:#}", view.json());
}

#[test]
fn after_a_partition_longer_than_the_time_to_live_every_instance_is_found_again_within_two_and_a_half_seconds() {
    let cluster = Cluster::new(3);
    let cut = cluster.producers[2].addr;
    let user = cluster.user();
    cluster.lan.partition(4, true);
    let began = Instant::now();
    cluster.until_gone(cut, 130 * SECOND);
    sleep((130 * SECOND).saturating_sub(began.elapsed()));
    cluster.lan.partition(4, false);
    let took = cluster.until(*PATIENCE, |found| found.iter().any(|(addr, _)| *addr == cut));
    assert!(took <= BACK_WITHIN, "found again after {took:?}");
    cluster.until_found(); // and confirmed by mDNS
    user.was_always_answered();
}

#[test]
fn a_consumer_that_was_alone_finds_everybody_again_and_its_users_get_answers_at_once() {
    let cluster = Cluster::new(2);
    let user = cluster.user();
    sleep(2 * SECOND);
    cluster.lan.partition(1, true);
    let began = Instant::now();
    cluster.until(130 * SECOND, <[_]>::is_empty);
    sleep((130 * SECOND).saturating_sub(began.elapsed()));
    cluster.lan.partition(1, false);
    let healed = Instant::now();
    let took = cluster.until(*PATIENCE, |found| found.len() == 2);
    assert!(took <= BACK_WITHIN, "found again after {took:?}");
    cluster.until_found();
    let (first, share) = user.recovered(healed);
    println!("cut of 130 s: first answer {first:.1?} after it healed, {:.1} % from 4 s on", 100.0 * share);
    assert!(first <= BACK_WITHIN && share >= 0.98, "{first:?}, {share}");
}

#[test]
fn with_the_cables_of_five_of_seven_producers_out_users_are_answered_by_the_two_that_are_left() {
    let cluster = Cluster::new(7);
    let user = cluster.user();
    sleep(2 * SECOND);
    (2..=6).for_each(|host| cluster.lan.cable(host, false));
    sleep(30 * SECOND);
    user.fails_at_most(0.01);
}

#[test]
fn where_every_fifth_packet_is_lost_no_living_instance_is_thrown_out_of_use() {
    let cluster = Cluster::new(4);
    cluster.lan.lose_every_fifth();
    let began = Instant::now();
    // Longer than the time to live of 120 s: each record must be refreshed at least once.
    while began.elapsed() < 140 * SECOND {
        let found = View::of(&cluster.lan, &cluster.consumer);
        assert_eq!(found.instances("producer").len(), 4, "after {:?}: {:#}", began.elapsed(), found.json());
        sleep(SECOND / 2);
    }
}

#[test]
fn beside_docker0_and_thirty_veths_exactly_the_right_address_is_published() {
    let mut cluster = Cluster::new(1);
    cluster.lan.on(2, "link add docker0 type bridge");
    cluster.lan.on(2, "address add 172.17.0.1/16 dev docker0");
    cluster.lan.on(2, "link set docker0 up");
    for number in 0..30 {
        cluster.lan.on(2, &format!("link add veth{number} type veth peer name ctr{number}"));
        cluster.lan.on(2, &format!("link set veth{number} master docker0 up"));
        cluster.lan.on(2, &format!("link set ctr{number} up"));
        cluster.lan.on(2, &format!("address add 172.18.{number}.1/24 dev veth{number}"));
    }
    let second = cluster.start_producer(2);
    cluster.producers.push(second);
    cluster.until_found();
    sleep(5 * SECOND); // two looks at the interfaces
    for id in View::of(&cluster.lan, &cluster.consumer).ids("producer") {
        let published = cluster.lan.inside(1, || addresses_of(&id));
        assert_eq!(published, [ip(2)], "{id}");
    }
}

#[test]
fn a_host_without_an_address_is_told_what_to_check_and_heals_once_it_has_one() {
    let mut cluster = Cluster::new(1);
    cluster.lan.on(2, "address del 10.77.0.2/24 dev eth0");
    let second = cluster.start_producer(2);
    let began = Instant::now();
    while !second.log().contains("mDNS announced nothing within 3 s; is there an interface with an IPv4 address") {
        assert!(began.elapsed() < 10 * SECOND, "{}", second.log());
        sleep(SECOND / 10);
    }
    cluster.producers.push(second);
    cluster.lan.on(2, "address add 10.77.0.2/24 dev eth0");
    let took = cluster.until_found();
    assert!(took <= 10 * SECOND, "{took:?}");
}

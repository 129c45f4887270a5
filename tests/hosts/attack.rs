//! An attacker on the LAN that lies, or floods. There is no cluster key here: these are the rules that hold without
//! one.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::dns::{Announcer, Claim};
use crate::lan::ip;
use crate::node::{PATIENCE, StandIn, View};

const SECOND: Duration = Duration::from_secs(1);
/// The last host of a cluster of two producers and an attacker's machine.
const ATTACKER: u8 = 4;
/// A service stays under 32 MB, of which a release build's program and libraries are 7.
const FILLED_KB: u64 = (32 - 7) * 1024;

/// Two producers, and a third host whose producer has ended: there the attacker is alone with the port.
fn cluster() -> Cluster {
    with_room_for_an_attacker(Cluster::new(3))
}

fn with_room_for_an_attacker(mut cluster: Cluster) -> Cluster {
    let ended = cluster.producers.pop().expect("three");
    ended.signal("TERM");
    cluster.until_gone(ended.addr, *PATIENCE);
    sleep(2 * SECOND); // it serves on for a moment
    cluster
}

fn id_of(cluster: &Cluster, addr: SocketAddr) -> String {
    let view = View::of(&cluster.lan, &cluster.consumer);
    let at = view.addrs("producer").iter().position(|one| *one == addr).expect("it was found");
    view.ids("producer")[at].clone()
}

/// The attacker says `packets` again and again while the consumer is watched.
fn attack(cluster: &Cluster, packets: &[Vec<u8>], lasts: Duration, watch: impl Fn(&View)) {
    let announcer = cluster.lan.inside(ATTACKER, Announcer::open);
    let began = Instant::now();
    while began.elapsed() < lasts {
        for packet in packets {
            announcer.say(packet);
        }
        watch(&View::of(&cluster.lan, &cluster.consumer));
        sleep(SECOND / 10);
    }
}

fn all_in_use(cluster: &Cluster, view: &View) {
    let found = view.addrs("producer");
    let missing: Vec<_> =
        cluster.producers.iter().filter(|one| !found.contains(&one.addr)).map(|one| one.addr).collect();
    assert!(missing.is_empty(), "{missing:?} are not in use: {:#}", view.json());
}

#[test]
fn a_forged_goodbye_takes_no_living_producer_out_of_use() {
    let cluster = cluster();
    let user = cluster.user();
    let goodbye = |addr: SocketAddr| Claim { ttl: 0, ..Claim::whole(&id_of(&cluster, addr), addr) }.packet();
    let goodbyes: Vec<_> = cluster.producers.iter().map(|one| goodbye(one.addr)).collect();
    attack(&cluster, &goodbyes, 15 * SECOND, |view| all_in_use(&cluster, view));
    user.was_always_answered();
    cluster.until_found(); // and after it, all are confirmed again
}

#[test]
fn a_poisoned_record_leads_no_caller_away_from_a_living_producer() {
    let cluster = cluster();
    let user = cluster.user();
    let victim = cluster.producers[0].addr;
    let id = id_of(&cluster, victim);
    let elsewhere = SocketAddr::from((ip(ATTACKER), 9));
    let to_another_port = Claim { kinds: "srv", ..Claim::whole(&id, elsewhere) };
    let to_another_host = Claim { kinds: "srv a", host: "attacker".into(), ..Claim::whole(&id, elsewhere) };
    let to_another_address = Claim { kinds: "a", ..Claim::whole(&id, elsewhere) };
    let poison: Vec<_> = [to_another_port, to_another_host, to_another_address].iter().map(Claim::packet).collect();
    attack(&cluster, &poison, 10 * SECOND, |view| all_in_use(&cluster, view));
    user.was_always_answered();
    cluster.until_found();
}

#[test]
fn rogue_records_cost_no_user_an_answer_and_what_cannot_be_is_not_taken_in() {
    let cluster = cluster();
    let user = cluster.user();
    let rogue = |id: &str, addr: ([u8; 4], u16)| Claim::whole(id, SocketAddr::from(addr)).packet();
    let impossible = [
        rogue("producer-loopback", ([127, 0, 0, 1], 5353)),
        rogue("producer-multicast", ([224, 0, 0, 1], 9000)),
        rogue("producer-broadcast", ([255, 255, 255, 255], 9000)),
        rogue("producer-nowhere", ([0, 0, 0, 0], 9000)),
        rogue("producer-no-port", (ip(ATTACKER).octets(), 0)),
        rogue("<b>producer</b>", (ip(ATTACKER).octets(), 9000)),
    ];
    attack(&cluster, &impossible, 5 * SECOND, |view| {
        all_in_use(&cluster, view);
        assert_eq!(view.addrs("producer").len(), 2, "{:#}", view.json());
    });
    user.was_always_answered();
}

/// Five packets were an outage once: they name more instances than a call asks.
#[test]
fn forged_producers_get_no_call_before_they_prove_that_they_are_there() {
    let cluster = cluster();
    let stranger = StandIn::start(&cluster.lan, ATTACKER, 0, None);
    let other = StandIn::start(&cluster.lan, ATTACKER, 0, Some("producer-0000000000000bad"));
    let user = cluster.user();
    let unused = Ipv4Addr::new(10, 77, 0, 200); // no host has it
    let at = [
        (ip(ATTACKER), 9000), // refuses
        (unused, 9000),
        (unused, 9001),
        (ip(ATTACKER), stranger.port()),
        (ip(ATTACKER), other.port()),
    ];
    let forged: Vec<SocketAddr> = at.map(SocketAddr::from).to_vec();
    let packets: Vec<_> = (1..)
        .zip(&forged)
        .map(|(number, addr)| Claim::whole(&format!("producer-{number:016x}"), *addr).packet())
        .collect();
    attack(&cluster, &packets, 10 * SECOND, |view| {
        all_in_use(&cluster, view);
        assert_eq!(view.addrs("producer").len(), 2, "{:#}", view.json());
    });
    let view = View::of(&cluster.lan, &cluster.consumer);
    let mut unproven = view.unproven("producer");
    unproven.sort();
    let mut wanted = forged;
    wanted.sort();
    assert_eq!(unproven, wanted, "they are shown: {:#}", view.json());
    user.was_always_answered();
}

#[test]
fn a_flood_of_forged_producers_makes_no_service_scan_the_network_and_hides_no_new_one() {
    let mut cluster = cluster();
    let user = cluster.user();
    let victim = StandIn::start(&cluster.lan, ATTACKER, 0, None);
    let announcer = cluster.lan.inside(ATTACKER, Announcer::open);
    let began = Instant::now();
    for number in 0..2_000 {
        let id = format!("producer-{number:016x}");
        announcer.say(&Claim::whole(&id, SocketAddr::from((ip(ATTACKER), victim.port()))).packet());
        sleep(SECOND / 500);
    }
    let took = began.elapsed();
    // Two producers and the consumer hear of it; each probes 256 at once and then 25 a second.
    let most = 3 * (256 + 25 * (took.as_secs() as usize + 1));
    assert!(victim.asked() <= most, "{} probes in {took:?}, and {most} are fine", victim.asked());
    assert!(victim.asked() > 0, "nothing was probed");
    let third = cluster.start_producer(3);
    let third_addr = third.addr;
    cluster.producers.push(third);
    cluster.until(20 * SECOND, |found| found.iter().any(|(addr, _)| *addr == third_addr));
    user.was_always_answered();
}

#[test]
fn ten_thousand_malformed_packets_change_nothing() {
    let cluster = cluster();
    let user = cluster.user();
    let mut good = Claim::whole("producer-000000000000bad0", SocketAddr::from((ip(ATTACKER), 9000))).packet();
    // Of another cluster: some come through with nothing broken but a letter of the name, and are no less well-formed.
    let cluster_name = good.windows(10).position(|bytes| bytes == b"cl=bramble").expect("it is in the TXT record");
    good[cluster_name + 3] = b'o';
    let mut rng = fastrand::Rng::with_seed(4711);
    let announcer = cluster.lan.inside(ATTACKER, Announcer::open);
    for number in 0..10_000 {
        let mut packet = good.clone();
        match number % 3 {
            0 => packet.truncate(rng.usize(..packet.len())),
            1 => (0..8).for_each(|_| {
                let at = rng.usize(..packet.len());
                packet[at] = rng.u8(..);
            }),
            _ => rng.fill(&mut packet),
        }
        announcer.say(&packet);
        if number % 100 == 0 {
            sleep(SECOND / 100);
            all_in_use(&cluster, &View::of(&cluster.lan, &cluster.consumer));
        }
    }
    let third = cluster.start_producer(3);
    cluster.until(5 * SECOND, |found| found.iter().any(|(addr, _)| *addr == third.addr));
    user.was_always_answered();
}

/// No other test runs meanwhile: the library's thread gives memory back once it has read what has come, which is never
/// if the others take its processor.
#[test]
fn a_flood_of_a_minute_takes_no_memory_and_hides_no_producer() {
    let mut cluster = with_room_for_an_attacker(Cluster::alone(3));
    let user = cluster.user();
    let announcer = cluster.lan.inside(ATTACKER, Announcer::open);
    let (began, mut number, mut most) = (Instant::now(), 0_u64, 0);
    while began.elapsed() < 60 * SECOND {
        for _ in 0..100 {
            number += 1;
            let id = format!("producer-{number:016x}");
            let mut claim = Claim::whole(&id, SocketAddr::from((ip(ATTACKER), 9000)));
            claim.ttl = 1_000_000;
            claim.kinds = ["ptr srv txt a", "a", "srv", "txt"][number as usize % 4];
            announcer.say(&claim.packet());
        }
        sleep(SECOND / 20);
        if number % 1_000 == 0 {
            all_in_use(&cluster, &View::of(&cluster.lan, &cluster.consumer));
            let filled = [&cluster.consumer, &cluster.producers[0]].map(crate::node::Node::anonymous_kb);
            most = most.max(filled[0]).max(filled[1]);
        }
    }
    println!("flood: {number} packets in 60 s; at most {most} kB filled");
    assert!(number > 30_000, "{number} packets are no flood");
    assert!(cluster.consumer.log().contains("mDNS is started anew"), "the flood was not noticed");
    assert!(most < FILLED_KB, "{most} kB");
    sleep(2 * SECOND);
    let third = cluster.start_producer(3);
    cluster.producers.push(third);
    let third = cluster.producers[2].addr;
    // The forged ones go 5 s after the last look, and then the next one, after 10 s, finds the one that was left out
    // for them.
    cluster.until(20 * SECOND, |found| found.iter().any(|(addr, _)| *addr == third));
    user.was_always_answered();
}

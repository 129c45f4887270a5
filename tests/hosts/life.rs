//! Coming, ending in order, and dying.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::node::{PATIENCE, View, until};

const SECOND: Duration = Duration::from_secs(1);

/// From the line `listening on` to the consumer's seeing it.
pub(crate) fn found_within(cluster: &mut Cluster) -> Duration {
    let began = Instant::now();
    let producer = cluster.start_producer(2);
    let addr = producer.addr;
    cluster.until(*PATIENCE, |found| found.iter().any(|(there, _)| *there == addr));
    cluster.producers.push(producer);
    began.elapsed()
}

/// From SIGTERM to the consumer's no longer using it.
pub(crate) fn gone_after(cluster: &mut Cluster, signal: &str, within: Duration) -> Duration {
    let producer = cluster.producers.pop().expect("a producer is there");
    let began = Instant::now();
    producer.signal(signal);
    cluster.until_gone(producer.addr, within);
    began.elapsed()
}

#[test]
fn a_started_producer_is_found_within_two_seconds_and_a_stopped_one_gone_within_one_and_a_half() {
    let mut cluster = Cluster::new(2);
    let user = cluster.user();
    let (mut found, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        found.push(found_within(&mut cluster));
        gone.push(gone_after(&mut cluster, "TERM", *PATIENCE));
    }
    user.was_always_answered();
    assert!(found.iter().all(|took| *took <= 2 * SECOND), "found: {found:?}");
    assert!(gone.iter().all(|took| *took <= 3 * SECOND / 2), "gone: {gone:?}");
    let events = View::of(&cluster.lan, &cluster.consumer).events();
    for what in ["registered", "ending", "goodbye"] {
        assert!(events.iter().filter(|(happened, _)| happened == what).count() >= 10, "{what}: {events:?}");
    }
}

#[test]
fn the_death_of_a_producer_is_no_users_trouble_and_is_seen_within_ten_seconds() {
    let mut cluster = Cluster::new(3);
    let user = cluster.user();
    std::thread::sleep(SECOND);
    let took = gone_after(&mut cluster, "KILL", 10 * SECOND);
    assert!(took <= 10 * SECOND, "{took:?}");
    std::thread::sleep(SECOND);
    user.was_always_answered();
    let events = View::of(&cluster.lan, &cluster.consumer).events();
    assert!(events.iter().any(|(what, _)| what == "lost"), "{events:?}");
}

#[test]
fn two_producers_on_one_host_are_two_and_the_goodbye_of_one_leaves_the_other() {
    let mut cluster = Cluster::new(1);
    found_within(&mut cluster);
    let user = cluster.user();
    gone_after(&mut cluster, "TERM", 5 * SECOND);
    std::thread::sleep(3 * SECOND); // a shared host name would be gone by now, and with it the other
    cluster.until_found();
    user.was_always_answered();
}

#[test]
fn two_hundred_instances_are_complete_within_five_seconds() {
    use crate::lan::Lan;
    use crate::node::{Node, StandIn};
    use bramble::config::Config;
    use bramble::discovery::{Announcement, Status, mdns::Mdns};

    let lan = Lan::new(5);
    let id = |host: u8, number: u16| format!("producer-{host:08x}{number:08x}");
    let stand_ins: Vec<Vec<StandIn>> = (1..=4)
        .map(|host| (1..=50).map(|number| StandIn::start(&lan, host, 0, Some(&id(host, number)))).collect())
        .collect();
    let daemons: Vec<_> = (1..=4_u8)
        .map(|host| {
            let ports: Vec<u16> = stand_ins[usize::from(host) - 1].iter().map(StandIn::port).collect();
            lan.inside(host, || {
                let mut config = Config::default().discovery;
                config.interfaces = vec!["eth0".into()];
                let mdns = Mdns::start(&config, true).expect("a thread");
                let registrations: Vec<_> = (1..=50_u16)
                    .map(|number| {
                        let said = Announcement {
                            cluster: "bramble".into(),
                            id: id(host, number),
                            service: "producer".into(),
                            version: env!("CARGO_PKG_VERSION").into(),
                            path: "/".into(),
                            zone: String::new(),
                            weight: 1,
                            status: Status::Up,
                        };
                        std::thread::sleep(Duration::from_millis(10)); // its queue holds 100 commands
                        let addr = (Ipv4Addr::UNSPECIFIED, ports[usize::from(number) - 1]).into();
                        mdns.register(said, addr, None).expect("a running daemon").0
                    })
                    .collect();
                (mdns, registrations)
            })
        })
        .collect();
    std::thread::sleep(3 * SECOND); // the announcements are over: a process that starts now must ask
    let began = Instant::now();
    let registry = Node::start(&lan, 5, &["registry"], &[]);
    until(&lan, &registry, *PATIENCE, |view| view.instances("producer").len() == 200);
    let took = began.elapsed();
    for (mdns, registrations) in daemons {
        drop(registrations);
        mdns.shutdown();
    }
    assert!(took <= 5 * SECOND, "{took:?}");
}

//! The resolver against a DNS server that answers well, badly, late or not at all.

mod support {
    pub(crate) mod dns_server;
}

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bramble::internals::resolve::{Addresses, Error, Resolver, ResolverConfig};
use simple_dns::rdata::{CNAME, RData};
use simple_dns::{Name, PacketFlag, RCODE};
use support::dns_server::{Dns, GUARD, Protocol, a, aaaa, bytes, record, sockets, v4, v6};

fn run<T>(test: impl Future<Output = T>) -> T {
    smol::block_on(smol::future::or(test, async {
        smol::Timer::after(GUARD).await;
        panic!("the test hangs");
    }))
}

fn within(resolver: &Resolver, name: &str, time: Duration) -> Result<Addresses, Error> {
    run(resolver.lookup(name, Instant::now() + time))
}

fn lookup(resolver: &Resolver, name: &str) -> Result<Vec<IpAddr>, Error> {
    within(resolver, name, Duration::from_secs(5)).map(|answer| answer.addrs)
}

fn asking(servers: &[&Dns]) -> Resolver {
    Resolver::with_servers(servers.iter().map(|server| server.addr).collect(), "")
}

#[test]
fn both_families_are_found_ipv4_first() {
    let dns = Dns::new(|asked| match asked.ipv6 {
        true => asked.records(vec![aaaa(&asked.name, 1)]),
        false => asked.records(vec![a(&asked.name, 1), a(&asked.name, 2)]),
    });
    let answer = within(&asking(&[&dns]), "pi.example.org", Duration::from_secs(5)).expect("known");
    assert_eq!(answer.addrs, [v4(1), v4(2), v6(1).into()]);
    assert_eq!(answer.ttl, Duration::from_secs(60));
}

#[test]
fn one_family_is_enough() {
    let dns = Dns::new(|asked| match (asked.name.as_str(), asked.ipv6) {
        ("four.example.org", false) => asked.records(vec![a(&asked.name, 4)]),
        ("six.example.org", true) => asked.records(vec![aaaa(&asked.name, 6)]),
        _ => asked.records(vec![]),
    });
    let resolver = asking(&[&dns]);
    assert_eq!(lookup(&resolver, "four.example.org"), Ok(vec![v4(4)]));
    assert_eq!(lookup(&resolver, "six.example.org"), Ok(vec![v6(6).into()]));
}

#[test]
fn a_family_that_is_never_answered_delays_the_other_a_little_only() {
    let dns = Dns::new(|asked| if asked.ipv6 { vec![] } else { asked.records(vec![a(&asked.name, 1)]) });
    let begin = Instant::now();
    assert_eq!(lookup(&asking(&[&dns]), "pi.example.org"), Ok(vec![v4(1)]));
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
}

#[test]
fn aliases_within_an_answer_are_followed() {
    let dns = Dns::new(|asked| {
        let alias = |from, to| record(from, RData::CNAME(CNAME(Name::new_unchecked(to))));
        let mut records = vec![alias("www.example.org", "cdn.example.net"), alias("cdn.example.net", "x.example.net")];
        if !asked.ipv6 {
            records.push(a("x.example.net", 7));
        }
        asked.records(records)
    });
    assert_eq!(lookup(&asking(&[&dns]), "www.example.org"), Ok(vec![v4(7)]));
}

#[test]
fn an_answer_that_does_not_fit_is_fetched_over_tcp() {
    let dns = Dns::new(|asked| match (asked.ipv6, asked.over) {
        (true, _) => asked.records(vec![]),
        (false, Protocol::Udp) => {
            let mut reply = asked.reply();
            reply.set_flags(PacketFlag::TRUNCATION);
            bytes(&reply)
        }
        (false, Protocol::Tcp) => asked.records((1..=30).map(|last| a(&asked.name, last)).collect()),
    });
    let addrs = lookup(&asking(&[&dns]), "many.example.org").expect("over TCP");
    assert_eq!(addrs, (1..=30).map(v4).collect::<Vec<_>>());
}

#[test]
fn a_name_that_does_not_exist_and_one_without_address_are_told_apart() {
    let dns = Dns::new(|asked| match asked.name.as_str() {
        "empty.example.org" => asked.records(vec![]),
        _ => asked.code(RCODE::NameError),
    });
    let resolver = asking(&[&dns]);
    let error = lookup(&resolver, "none.example.org").expect_err("unknown");
    assert_eq!(error, Error::NoSuchName("none.example.org".into()));
    assert!(error.is_no_such_host() && error.to_string().contains("none.example.org"), "{error}");
    assert_eq!(lookup(&resolver, "empty.example.org"), Err(Error::NoAddress("empty.example.org".into())));
}

#[test]
fn a_broken_server_gives_way_to_the_next_and_is_named_if_there_is_none() {
    let broken = Dns::new(|asked| asked.code(RCODE::ServerFailure));
    let good =
        Dns::new(|asked| if asked.ipv6 { asked.records(vec![]) } else { asked.records(vec![a(&asked.name, 1)]) });
    assert_eq!(lookup(&asking(&[&broken, &good]), "pi.example.org"), Ok(vec![v4(1)]));
    let error = lookup(&asking(&[&broken]), "pi.example.org").expect_err("broken");
    let expected = Error::ServerFailed { server: broken.addr, name: "pi.example.org".into(), why: "SERVFAIL".into() };
    assert_eq!(error, expected);
    assert!(error.to_string().contains(&broken.addr.to_string()), "{error}");
}

#[test]
fn a_silent_server_gives_way_to_the_next_within_the_deadline() {
    let silent = Dns::new(|_| vec![]);
    let good =
        Dns::new(|asked| if asked.ipv6 { asked.records(vec![]) } else { asked.records(vec![a(&asked.name, 1)]) });
    let begin = Instant::now();
    let answer = within(&asking(&[&silent, &good]), "pi.example.org", Duration::from_millis(800));
    assert_eq!(answer.map(|answer| answer.addrs), Ok(vec![v4(1)]));
    assert!(begin.elapsed() < Duration::from_millis(700), "{:?}", begin.elapsed());
    assert!(silent.queries() > 0);
}

#[test]
fn servers_that_are_all_silent_are_a_timeout_at_the_deadline() {
    let silent = Dns::new(|_| vec![]);
    let begin = Instant::now();
    let error = within(&asking(&[&silent]), "pi.example.org", Duration::from_millis(300)).expect_err("silent");
    assert!(error.is_timeout() && error.to_string().contains(&silent.addr.to_string()), "{error}");
    assert!((290..1000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    assert_eq!(silent.queries(), 4, "two attempts for two families");
}

#[test]
fn a_port_without_a_server_is_known_at_once() {
    let gone = sockets().0.local_addr().expect("bound");
    let begin = Instant::now();
    let error = lookup(&Resolver::with_servers(vec![gone], ""), "pi.example.org").expect_err("no server there");
    assert!(matches!(error, Error::ServerFailed { .. }), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[test]
fn junk_and_answers_to_other_questions_are_passed_over() {
    let dns = Dns::new(|asked| {
        let good = asked.records(if asked.ipv6 { vec![] } else { vec![a(&asked.name, 1)] }).remove(0);
        let forged = asked.records(vec![a(&asked.name, 66)]).remove(0);
        let mut wrong_id = forged.clone();
        wrong_id[0] ^= 0xff;
        let mut no_answer = forged.clone();
        no_answer[2] &= 0x7f;
        let mut wrong_name = forged.clone();
        wrong_name[13] = b'q'; // the first letter of the question
        let mut impossible = forged.clone();
        impossible[6..8].copy_from_slice(&[0xff, 0xff]);
        let cut = forged[..forged.len() - 2].to_vec();
        vec![vec![], b"junk".to_vec(), vec![0xff; 500], wrong_id, no_answer, wrong_name, impossible, cut, good]
    });
    assert_eq!(lookup(&asking(&[&dns]), "pi.example.org"), Ok(vec![v4(1)]));
}

#[test]
fn a_flood_of_junk_ends() {
    let dns = Dns::new(|_| vec![vec![0; 100]; 200]);
    let error = within(&asking(&[&dns]), "pi.example.org", Duration::from_secs(2)).expect_err("junk");
    assert!(error.is_timeout(), "{error:?}");
}

#[test]
fn short_names_are_searched_in_the_domains() {
    let dns = Dns::new(|asked| match asked.name.as_str() {
        "pi.example.org" if !asked.ipv6 => asked.records(vec![a(&asked.name, 1)]),
        "pi.example.org" => asked.records(vec![]),
        _ => asked.code(RCODE::NameError),
    });
    let search = vec!["lan".to_owned(), "example.org".to_owned()];
    let resolver = Resolver::with_config(ResolverConfig { search, ..ResolverConfig::new(vec![dns.addr]) });
    assert_eq!(lookup(&resolver, "pi"), Ok(vec![v4(1)]));
    assert_eq!(dns.names(), ["pi.lan", "pi.example.org"]);
    assert_eq!(lookup(&resolver, "pi."), Err(Error::NoSuchName("pi".into())));
    assert_eq!(dns.names()[2..], ["pi"]);
}

#[test]
fn a_domain_whose_server_fails_does_not_hide_the_next_one() {
    let dns = Dns::new(|asked| match asked.name.as_str() {
        "pi.example.org" if !asked.ipv6 => asked.records(vec![a(&asked.name, 1)]),
        "pi.example.org" => asked.records(vec![]),
        "pi.lan" | "pu.lan" => asked.code(RCODE::ServerFailure),
        _ => asked.code(RCODE::NameError),
    });
    let search = vec!["lan".to_owned(), "example.org".to_owned()];
    let resolver = Resolver::with_config(ResolverConfig { search, ..ResolverConfig::new(vec![dns.addr]) });
    assert_eq!(lookup(&resolver, "pi"), Ok(vec![v4(1)]));
    let error = lookup(&resolver, "pu").expect_err("nowhere, as far as is known");
    assert!(matches!(&error, Error::ServerFailed { name, .. } if name == "pu.lan"), "{error:?}");
}

#[test]
fn a_watched_name_gives_what_the_server_says_now() {
    let last = Arc::new(AtomicUsize::new(1));
    let now = Arc::clone(&last);
    let dns = Dns::new(move |asked| match asked.ipv6 {
        true => asked.records(vec![]),
        false => asked.records(vec![a(&asked.name, now.load(Ordering::SeqCst) as u8)]),
    });
    let resolver = asking(&[&dns]);
    assert_eq!(lookup(&resolver, "tasks.producer"), Ok(vec![v4(1)]));
    last.store(2, Ordering::SeqCst);
    assert_eq!(lookup(&resolver, "tasks.producer"), Ok(vec![v4(1)]));
    let fresh = run(resolver.refresh("tasks.producer", Instant::now() + Duration::from_secs(5)));
    assert_eq!(fresh.map(|answer| answer.addrs), Ok(vec![v4(2)]));
    assert_eq!(lookup(&resolver, "tasks.producer"), Ok(vec![v4(2)]));
}

#[test]
fn what_is_known_here_is_not_asked_for() {
    let dns = Dns::new(|asked| asked.code(RCODE::NameError));
    let resolver = Resolver::with_servers(vec![dns.addr], "192.0.2.9 Pi-9 pi-9.lan # mine\n2001:db8::9 pi-9\n");
    assert_eq!(lookup(&resolver, "192.0.2.1"), Ok(vec![v4(1)]));
    assert_eq!(lookup(&resolver, "[2001:db8::1]"), Ok(vec![v6(1).into()]));
    let loopback = vec![IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
    assert_eq!(lookup(&resolver, "localhost"), Ok(loopback.clone()));
    assert_eq!(lookup(&resolver, "anything.localhost."), Ok(loopback));
    assert_eq!(lookup(&resolver, "PI-9"), Ok(vec![v4(9), v6(9).into()]));
    assert_eq!(lookup(&resolver, "pi-9.lan"), Ok(vec![v4(9)]));
    assert_eq!(lookup(&resolver, "not a name"), Err(Error::BadName("not a name".into())));
    assert_eq!(dns.queries(), 0);
    assert_eq!(lookup(&Resolver::with_servers(vec![], ""), "pi"), Err(Error::NoServer("pi".into())));
}

#[test]
fn a_name_is_asked_for_once_in_its_life_and_by_any_clone() {
    let dns = Dns::new(|asked| {
        let ttl = if asked.name == "brief.example.org" { 0 } else { 60 };
        let mut record = a("x", 1);
        record.name = Name::new_unchecked(&asked.name);
        record.ttl = ttl;
        if asked.ipv6 { asked.records(vec![]) } else { asked.records(vec![record]) }
    });
    let resolver = asking(&[&dns]);
    for _ in 0..10 {
        assert_eq!(lookup(&resolver.clone(), "pi.example.org"), Ok(vec![v4(1)]));
    }
    assert_eq!(dns.queries(), 2);
    // A TTL of zero is held for a second.
    assert_eq!(lookup(&resolver, "brief.example.org"), Ok(vec![v4(1)]));
    assert_eq!(lookup(&resolver, "brief.example.org"), Ok(vec![v4(1)]));
    assert_eq!(dns.queries(), 4);
    thread::sleep(Duration::from_millis(1010));
    assert_eq!(lookup(&resolver, "brief.example.org"), Ok(vec![v4(1)]));
    assert_eq!(dns.queries(), 6);
}

#[test]
fn failures_are_not_remembered() {
    let works = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&works);
    let dns = Dns::new(move |asked| match (switch.load(Ordering::SeqCst), asked.ipv6) {
        (false, _) => asked.code(RCODE::NameError),
        (true, true) => asked.records(vec![]),
        (true, false) => asked.records(vec![a(&asked.name, 1)]),
    });
    let resolver = asking(&[&dns]);
    assert!(lookup(&resolver, "pi.example.org").is_err());
    works.store(true, Ordering::SeqCst);
    assert_eq!(lookup(&resolver, "pi.example.org"), Ok(vec![v4(1)]));
}

/// A server that answers each query after this time.
fn slow(time: Duration) -> Dns {
    Dns::new(move |asked| {
        thread::sleep(time);
        if asked.ipv6 { asked.records(vec![]) } else { asked.records(vec![a(&asked.name, 1)]) }
    })
}

#[test]
fn a_lookup_that_is_late_for_its_caller_goes_on_and_the_next_caller_has_its_answer() {
    let dns = slow(Duration::from_millis(150)); // one query after the other, so 300 ms for both families
    let executor = Arc::new(smol::Executor::new());
    let resolver = asking(&[&dns]).with_background(&executor);
    run(executor.run(async {
        let soon = || Instant::now() + Duration::from_millis(100);
        let error = resolver.lookup("pi.example.org", soon()).await.expect_err("too early");
        assert!(error.is_timeout(), "{error}");
        let mut callers = 1;
        let answer = loop {
            callers += 1;
            match resolver.lookup("pi.example.org", soon()).await {
                Ok(answer) => break answer,
                Err(error) => assert!(error.is_timeout() && callers < 100, "{error}"),
            }
        };
        assert_eq!(answer.addrs, [v4(1)]);
        let queries = dns.queries();
        resolver.lookup("pi.example.org", soon()).await.expect("from the cache");
        assert_eq!(dns.queries(), queries);
    }));
}

#[test]
fn a_lookup_whose_caller_was_cancelled_goes_on_too() {
    let dns = slow(Duration::from_millis(50));
    let executor = Arc::new(smol::Executor::new());
    let resolver = asking(&[&dns]).with_background(&executor);
    run(executor.run(async {
        let patient = resolver.lookup("pi.example.org", Instant::now() + Duration::from_secs(5));
        let cancelled = smol::future::or(async { Some(patient.await) }, async {
            smol::Timer::after(Duration::from_millis(10)).await;
            None
        });
        assert!(cancelled.await.is_none(), "it was asked, and cancelled");
        let asked = dns.queries();
        let answer = loop {
            // A caller without time asks no server, so what it gets has come from the one that was cancelled.
            match resolver.lookup("pi.example.org", Instant::now()).await {
                Ok(answer) => break answer,
                Err(error) => assert!(error.is_timeout(), "{error}"),
            }
            smol::Timer::after(Duration::from_millis(10)).await;
        };
        assert_eq!(answer.addrs, [v4(1)]);
        assert!(dns.queries() > asked);
    }));
}

#[test]
fn of_lookups_that_go_on_there_is_a_bounded_number() {
    let dns = Dns::new(|_| vec![]);
    let executor = Arc::new(smol::Executor::new());
    let resolver = asking(&[&dns]).with_background(&executor);
    run(executor.run(async {
        for number in 0..50 {
            let name = format!("pi-{number}.example.org");
            resolver.lookup(&name, Instant::now()).await.expect_err("no time");
            resolver.lookup(&name, Instant::now()).await.expect_err("no time");
        }
        while dns.queries() < 16 {
            smol::Timer::after(Duration::from_millis(10)).await;
        }
        smol::Timer::after(Duration::from_millis(300)).await;
        assert_eq!(dns.queries(), 16, "two of each of eight names; the next try comes after seconds");
    }));
}

//! Calls by the name of a service, against instances that fail in each way an instance can: over real sockets, with the
//! instances known from a list.

mod support {
    pub(crate) mod fake_producer;
    pub(crate) mod patience;
}

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use bramble::Ratio;
use bramble::balance::Policy;
use bramble::call::HedgeDelay;
use bramble::client::{Answer, Client, Error};
use bramble::config::Config;
use bramble::discovery::{Change, Directory, Instance, ServiceFilter, Source, Status};
use bramble::telemetry::{Collect as _, OpenMetrics};
use futures_lite::future::{or, poll_once};
use serde_json::Value;
use smol::{Timer, block_on};

use support::fake_producer::{Behaviour, FakeProducer};
use support::patience::patience;

const SERVICE: &str = "producer";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// Longer than anything here takes on a busy machine; reached only when something is broken.
static PATIENCE: LazyLock<Duration> = LazyLock::new(|| patience(20));

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A client with a fixed list, asked by one after the other unless the test says otherwise.
struct Bench {
    client: Client,
    directory: Directory,
}

impl Bench {
    fn new(addrs: &[SocketAddr], tune: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.balance.policy = Policy::RoundRobin;
        config.call.hedge_after = HedgeDelay::Off;
        tune(&mut config);
        // Is no longer settling: an instance that is not there now is not waited for.
        let directory = Directory::new(ServiceFilter::None, Instant::now() - ms(5000));
        let bench = Self { client: client(config, &directory), directory };
        for addr in addrs {
            bench.list(*addr, Status::Up);
        }
        bench
    }

    fn of<const N: usize>(producers: [&FakeProducer; N], tune: impl FnOnce(&mut Config)) -> Self {
        Self::new(&producers.map(|producer| producer.addr), tune)
    }

    fn list(&self, addr: SocketAddr, status: Status) {
        list(&self.directory, addr, status);
    }

    fn get(&self, path: &str, time: Duration) -> Result<Answer, Error> {
        block_on(self.get_async(path, time))
    }

    async fn get_async(&self, path: &str, time: Duration) -> Result<Answer, Error> {
        self.client.get(SERVICE, path).within(time).send().await
    }

    fn ask(&self) -> Result<Answer, Error> {
        self.get("/weather?zip=1", *PATIENCE)
    }

    /// Asks `calls` times, and returns the answers.
    fn ask_often(&self, calls: usize) -> Vec<Answer> {
        (0..calls).map(|_| self.ask().expect("an answer")).collect()
    }

    /// Asks until the turn was at `instance`, and returns the answers, of which the last is of that call.
    fn ask_until_it_is_the_turn_of(&self, instance: &FakeProducer) -> Vec<Answer> {
        let mut answers = Vec::new();
        while instance.calls() == 0 {
            assert!(answers.len() < 10, "it is never asked");
            answers.push(self.ask().expect("an answer"));
        }
        answers
    }

    /// Text of `/metrics`.
    fn metrics(&self) -> String {
        let mut page = OpenMetrics::default();
        self.client.metrics(&mut page);
        page.finish()
    }

    /// The circuit of an instance as `/circuits` shows it.
    fn circuit(&self, addr: SocketAddr) -> Value {
        let circuits = self.client.circuits();
        let endpoints = circuits[0]["endpoints"].as_array().expect("a list");
        let found = endpoints.iter().find(|one| one["id"] == addr.to_string());
        found.unwrap_or_else(|| panic!("{addr} in {circuits:?}")).clone()
    }
}

fn client(config: Config, directory: &Directory) -> Client {
    Client::new(config, directory.clone())
}

fn list(directory: &Directory, addr: SocketAddr, status: Status) {
    let instance = Instance { status, ..Instance::new(addr.to_string(), SERVICE, addr, Source::Fixed) };
    directory.apply(Source::Fixed, &addr.to_string(), Change::Is(instance), Instant::now());
}

/// An address where no server listens: nothing else here uses this part of the loopback.
fn unused_address() -> SocketAddr {
    TcpListener::bind("127.0.0.99:0").expect("a free port").local_addr().expect("bound")
}

/// Waits for what another thread is about to notice.
fn soon(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < *PATIENCE, "not seen: {what}");
        std::thread::sleep(ms(2));
    }
}

#[test]
fn a_failed_call_goes_to_an_instance_that_was_not_tried_yet() {
    for failure in [Behaviour::Answer(500), Behaviour::Answer(503), Behaviour::Close] {
        let (bad, good) = (FakeProducer::start(failure), FakeProducer::start(Behaviour::Answer(200)));
        let bench = Bench::of([&bad, &good], |_| {});
        let answers = bench.ask_until_it_is_the_turn_of(&bad);
        for answer in &answers {
            assert_eq!((answer.status, &*answer.from), (200, &*good.addr.to_string()), "{failure:?}");
        }
        assert_eq!((bad.calls(), good.calls()), (1, answers.len()), "{failure:?}");
    }
}

#[test]
fn a_call_without_a_better_answer_gets_the_one_there_is() {
    let (one, other) = (FakeProducer::start(Behaviour::Answer(500)), FakeProducer::start(Behaviour::Answer(503)));
    let answer = Bench::of([&one, &other], |_| {}).ask().expect("a failure is an answer");
    assert!(matches!(answer.status, 500 | 503));
    assert_eq!((one.calls(), other.calls()), (1, 1), "each is asked once");
}

#[test]
fn the_only_instance_is_not_asked_twice_for_one_call() {
    let bad = FakeProducer::start(Behaviour::Answer(500));
    assert_eq!(Bench::of([&bad], |_| {}).ask().expect("a failure is an answer").status, 500);
    assert_eq!(bad.calls(), 1);
}

#[test]
fn an_instance_that_refuses_the_connection_is_left_alone_at_once_and_the_others_are_used() {
    let (gone, good) = (unused_address(), FakeProducer::start(Behaviour::Answer(200)));
    let bench = Bench::new(&[gone, good.addr], |_| {});
    let mut asked = 0;
    let circuit = loop {
        assert_eq!(bench.ask().expect("the other answers").status, 200);
        let circuit = bench.circuit(gone);
        if circuit["state"] != "closed" || asked == 10 {
            break circuit;
        }
        asked += 1;
    };
    assert_eq!((&circuit["state"], &circuit["reason"]), (&"open".into(), &"connection refused".into()), "{circuit}");
    assert!(bench.ask_often(20).iter().all(|answer| answer.status == 200));
}

#[test]
fn a_refused_connection_was_no_work_for_any_server_and_costs_no_budget() {
    let good = FakeProducer::start(Behaviour::Answer(200));
    for _ in 0..10 {
        let bench = Bench::new(&[unused_address(), unused_address(), unused_address(), good.addr], |config| {
            config.balance.policy = Policy::Random;
            config.call.retry_budget = None;
        });
        assert_eq!(bench.ask().expect("the one that is left answers").status, 200);
    }
}

#[test]
fn the_timeout_of_one_attempt_leaves_time_for_another() {
    let (hung, good) = (FakeProducer::start(Behaviour::Hang), FakeProducer::start(Behaviour::Answer(200)));
    let bench = Bench::of([&hung, &good], |config| config.call.attempt_timeout = ms(150));
    let started = Instant::now();
    assert!(bench.ask_until_it_is_the_turn_of(&hung).iter().all(|answer| answer.status == 200));
    assert!(started.elapsed() >= ms(150), "one call has waited");
    assert_eq!(hung.calls(), 1);
    soon("the connection of the attempt that was given up is closed", || hung.abandoned() == 1);
}

#[test]
fn the_deadline_of_a_call_holds_though_everybody_hangs() {
    for hedge_after in [HedgeDelay::Off, HedgeDelay::After(ms(50))] {
        let hung = [(); 3].map(|()| FakeProducer::start(Behaviour::Answer(200)));
        let bench = Bench::of(hung.each_ref(), |config| {
            config.call.attempt_timeout = ms(300);
            config.call.hedge_after = hedge_after;
            config.call.retry_budget = Some(Ratio::ONE);
        });
        bench.ask_often(6); // what they did not spend pays for what comes
        hung.iter().for_each(|one| one.set_behaviour(Behaviour::Hang));
        let started = Instant::now();
        let error = bench.get("/", ms(500)).expect_err("no producer answers");
        let took = started.elapsed();
        assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error:?}");
        assert!(took >= ms(450) && took < ms(1500), "{took:?}");
        let calls: usize = hung.iter().map(FakeProducer::calls).sum();
        assert_eq!(calls - 6, if hedge_after == HedgeDelay::Off { 2 } else { 3 }, "{hedge_after:?}");
    }
}

#[test]
fn one_call_more_than_allowed_is_refused_at_once_and_a_cancelled_one_makes_room() {
    let hung = FakeProducer::start(Behaviour::Hang);
    let bench = Bench::of([&hung], |config| config.call.max_concurrent = 2);
    block_on(async {
        let (mut one, mut other) =
            (Box::pin(bench.get_async("/1", *PATIENCE)), Box::pin(bench.get_async("/2", *PATIENCE)));
        assert!(poll_once(&mut one).await.is_none() && poll_once(&mut other).await.is_none());
        let refused = poll_once(bench.get_async("/3", *PATIENCE)).await.expect("no waiting").expect_err("no room");
        assert!(matches!(refused, Error::Full { max: 2, .. }), "{refused:?}");
        assert!(refused.to_string().contains("call.max_concurrent"), "{refused}");
        drop((one, other));
    });
    hung.set_behaviour(Behaviour::Answer(200));
    assert_eq!(bench.ask().expect("there is room").status, 200);
}

#[test]
fn a_call_without_instances_fails_at_once_and_says_what_to_look_for() {
    let error = block_on(poll_once(Bench::new(&[], |_| {}).get_async("/", *PATIENCE)));
    let error = error.expect("no waiting").expect_err("no instance is there");
    assert!(matches!(error, Error::NoInstance { .. }), "{error:?}");
    assert!(error.to_string().starts_with("no producer is available: none was found; "), "{error}");
    assert!(error.to_string().contains("mDNS"), "{error}");
}

#[test]
fn a_call_of_a_new_process_that_finds_no_instance_in_all_its_time_says_so_and_not_that_none_answered() {
    let client = client(Config::default(), &Directory::new(ServiceFilter::None, Instant::now()));
    let error = block_on(client.get(SERVICE, "/").within(ms(50)).send()).expect_err("no instance");
    assert!(error.to_string().starts_with("no producer is available: none was found; "), "{error}");
}

#[test]
fn in_the_first_moments_of_a_process_an_instance_that_is_not_there_yet_is_waited_for() {
    let good = FakeProducer::start(Behaviour::Answer(200));
    let directory = Directory::new(ServiceFilter::None, Instant::now());
    let client = client(Config::default(), &directory);
    block_on(async {
        let mut asking = Box::pin(client.get(SERVICE, "/").within(*PATIENCE).send());
        assert!(poll_once(&mut asking).await.is_none());
        list(&directory, good.addr, Status::Up);
        assert_eq!(asking.await.expect("found in time").status, 200);
    });
}

#[test]
fn a_service_of_which_every_instance_fails_is_asked_all_the_same_and_well_as_soon_as_one_is() {
    let bad = [(); 2].map(|()| FakeProducer::start(Behaviour::Answer(500)));
    let bench = Bench::of(bad.each_ref(), |config| config.breaker.consecutive_failures = NonZeroU32::MIN);
    for calls in 1..=10 {
        assert_eq!(bench.ask().expect("the failure itself").status, 500);
        assert!(bad.iter().map(FakeProducer::calls).sum::<usize>() >= calls, "no call is refused");
    }
    assert!(bad.iter().all(|one| bench.circuit(one.addr)["state"] != "closed"));
    bad.iter().for_each(|one| one.set_behaviour(Behaviour::Answer(200)));
    assert_eq!(bench.ask().expect("an answer").status, 200);
}

#[test]
fn what_a_server_behind_an_instance_did_opens_no_circuit_and_one_other_is_asked() {
    for status in [502, 504] {
        let bad = [(); 3].map(|()| FakeProducer::start(Behaviour::Answer(status)));
        let bench = Bench::of(bad.each_ref(), |config| config.breaker.consecutive_failures = NonZeroU32::MIN);
        for _ in 0..3 {
            assert_eq!(bench.ask().expect("an answer").status, status);
        }
        assert_eq!(bad.iter().map(FakeProducer::calls).sum::<usize>(), 6, "two for each call");
        let circuits = bad.each_ref().map(|one| bench.circuit(one.addr));
        assert!(circuits.iter().all(|circuit| circuit["state"] == "closed"));
        let count = |outcome| circuits.iter().filter_map(|one| one["total"][outcome].as_u64()).sum::<u64>();
        assert_eq!((count("upstream_failed"), count("failure")), (6, 0), "{status}");
        let metrics = bench.metrics();
        for line in ["outcome=\"upstream_failed\"} 3", "outcome=\"failure\"} 0"] {
            let line = format!("bramble_calls_total{{service=\"producer\",{line}\n");
            assert!(metrics.contains(&line), "{status}: {line} is not in {metrics}");
        }
    }
}

#[test]
fn a_stranger_at_an_address_costs_no_call_and_is_taken_out() {
    for status in [200, 301, 403, 404, 500, 503] {
        let (stranger, good) =
            (FakeProducer::start(Behaviour::Stranger(status)), FakeProducer::start(Behaviour::Answer(200)));
        let bench = Bench::of([&stranger, &good], |config| config.call.retry_budget = None);
        for answer in bench.ask_often(10) {
            assert_eq!((answer.status, &*answer.from), (200, &*good.addr.to_string()), "{status}");
        }
        assert_eq!(stranger.calls(), 1, "{status}");
        assert_eq!(bench.circuit(stranger.addr)["reason"], "answered by another server or cluster", "{status}");
    }
}

#[test]
fn an_answer_that_its_caller_does_not_accept_is_asked_for_elsewhere() {
    let both = [(); 2].map(|()| FakeProducer::start(Behaviour::Answer(200)));
    let bench = Bench::of(both.each_ref(), |_| {});
    let wrong = both[0].addr.to_string();
    let is_valid = |answer: &Answer| *answer.from != *wrong;
    for _ in 0..4 {
        let answer = block_on(bench.client.get(SERVICE, "/").valid_if(&is_valid).send()).expect("an answer");
        assert_eq!(*answer.from, *both[1].addr.to_string());
    }
    assert_eq!(both[0].calls(), 1, "its circuit is open after the first");
}

#[test]
fn equal_questions_go_to_the_same_instance_and_its_copies_ask_for_what_is_cached() {
    let all = [(); 5].map(|()| FakeProducer::start(Behaviour::Answer(200)));
    let bench = Bench::of(all.each_ref(), |config| config.call.hedge_after = HedgeDelay::After(ms(50)));
    let ask = |home: &str| {
        block_on(bench.client.get(SERVICE, "/").home(home).within(*PATIENCE).send()).expect("an answer").from
    };
    for place in ["70569", "10115", "90210", "1012", "8001", "28105", "1010"] {
        let home = ask(place);
        assert!((0..11).all(|_| ask(place) == home), "{place}");
    }
    let home = ask("70569");
    let slow = all.iter().find(|one| *one.addr.to_string() == *home).expect("one of them");
    let copies = || all.iter().flat_map(FakeProducer::heads).filter(|head| head.contains("only-if-cached")).count();
    let before = copies();
    slow.set_behaviour(Behaviour::Late(ms(300), 200));
    ask("70569");
    assert_eq!(copies() - before, 1);

    all.iter().filter(|one| one.addr != slow.addr).for_each(|one| one.set_behaviour(Behaviour::Answer(504)));
    assert_eq!(ask("70569"), home, "what is not in the other cache is waited for");
    for outcome in ["failure", "upstream_failed"] {
        assert!(all.iter().all(|one| bench.circuit(one.addr)["total"][outcome] == 0), "a miss is no failure");
    }
}

#[test]
fn a_new_instance_is_asked_though_all_before_had_failed() {
    let (bad, good) = (FakeProducer::start(Behaviour::Answer(500)), FakeProducer::start(Behaviour::Answer(200)));
    let bench = Bench::of([&bad], |config| config.breaker.consecutive_failures = NonZeroU32::MIN);
    assert_eq!(bench.ask().expect("the failure itself").status, 500);
    assert_eq!(bench.ask().expect("the failure itself").status, 500);
    bench.list(good.addr, Status::Up);
    assert_eq!(bench.ask().expect("there is another instance").status, 200);
}

#[test]
fn callers_that_wait_too_short_a_time_open_no_circuit() {
    let slow = FakeProducer::start(Behaviour::Hang);
    let bench = Bench::of([&slow], |config| config.breaker.consecutive_failures = NonZeroU32::MIN);
    for _ in 0..3 {
        bench.get("/", ms(20)).expect_err("too short for any instance");
    }
    slow.set_behaviour(Behaviour::Answer(200));
    assert_eq!(bench.ask().expect("nothing was held against it").status, 200);
}

#[test]
fn an_instance_that_drains_gets_no_new_calls() {
    let (ending, good) = (FakeProducer::start(Behaviour::Answer(200)), FakeProducer::start(Behaviour::Answer(200)));
    let bench = Bench::of([&ending, &good], |_| {});
    bench.ask_often(4);
    let before = ending.calls();
    assert!(before > 0, "it was asked while it was up");
    bench.list(ending.addr, Status::Drain);
    bench.ask_often(10);
    assert_eq!((ending.calls(), good.calls()), (before, 14 - before));
}

#[test]
fn when_all_calls_fail_the_budget_keeps_retries_from_becoming_a_storm() {
    const CALLS: usize = 200;
    let bad = [(); 3].map(|()| FakeProducer::start(Behaviour::Answer(500)));
    let bench = Bench::of(bad.each_ref(), |config| {
        // No circuit helps the budget here.
        config.breaker.consecutive_failures = NonZeroU32::MAX;
        config.breaker.minimum_calls = NonZeroU32::MAX;
    });
    let started = Instant::now();
    for _ in 0..CALLS {
        assert_eq!(bench.ask().expect("the failure itself").status, 500);
    }
    let attempts: usize = bad.iter().map(FakeProducer::calls).sum();
    // What a new client may spend, and what comes with time; nothing succeeds that could pay for more.
    let allowed = 25 + started.elapsed().as_secs() as usize / 10 + 1;
    assert!(attempts > CALLS, "some are retried: {attempts}");
    assert!(attempts <= CALLS + allowed, "{attempts} attempts for {CALLS} calls");
}

#[test]
fn an_instance_is_told_how_long_its_answer_is_waited_for() {
    let good = FakeProducer::start(Behaviour::Answer(200));
    let bench = Bench::of([&good], |config| config.call.attempt_timeout = ms(1300));
    bench.get("/", ms(5000)).expect("an answer");
    bench.get("/", ms(400)).expect("an answer");
    let told: Vec<u64> = good
        .heads()
        .iter()
        .flat_map(|head| head.lines().filter_map(|line| line.strip_prefix("x-envoy-expected-rq-timeout-ms: ")))
        .map(|left| left.parse().expect("milliseconds"))
        .collect();
    assert_eq!(told.len(), 2);
    assert!((1000..=1300).contains(&told[0]), "not more than an attempt has: {told:?}");
    assert!((1..=400).contains(&told[1]), "not more than is left of the call: {told:?}");
}

#[test]
fn a_trace_is_passed_on_with_the_id_of_the_request_if_it_is_one() {
    let good = FakeProducer::start(Behaviour::Answer(200));
    let bench = Bench::of([&good], |_| {});
    for trace in [TRACE, "00-evil\r\nx-forged: 1", ""] {
        block_on(bench.client.get(SERVICE, "/").trace(trace).send()).expect("an answer");
    }
    let heads = good.heads();
    let sent = heads[0].lines().find_map(|line| line.strip_prefix("traceparent: ")).expect("a trace");
    let (trace, parent, flags) = (&sent[..36], &sent[36..52], &sent[52..]);
    assert_eq!((trace, flags), (&TRACE[..36], &TRACE[52..]), "it is the same trace");
    assert!(
        parent != &TRACE[36..52] && parent.bytes().all(|b| b.is_ascii_hexdigit()),
        "with an id of this request: {sent}"
    );
    assert!(heads[1..].iter().all(|head| !head.contains("traceparent") && !head.contains("x-forged")), "{heads:?}");
}

#[test]
fn an_unknown_place_is_an_answer_and_asked_for_once() {
    let all = [(); 3].map(|()| FakeProducer::start(Behaviour::Answer(404)));
    let bench = Bench::of(all.each_ref(), |config| config.breaker.consecutive_failures = NonZeroU32::MIN);
    for calls in 1..=9 {
        assert_eq!(bench.ask().expect("an answer").status, 404);
        assert_eq!(all.iter().map(FakeProducer::calls).sum::<usize>(), calls);
    }
    assert!(all.iter().all(|one| bench.circuit(one.addr)["state"] == "closed"));
}

#[test]
fn an_instance_that_asks_for_patience_gets_it() {
    let (limited, good) = (FakeProducer::start(Behaviour::Limit(30)), FakeProducer::start(Behaviour::Answer(200)));
    let bench = Bench::of([&limited, &good], |_| {});
    assert!(bench.ask_often(12).iter().all(|answer| answer.status == 200));
    assert_eq!(limited.calls(), 1);
    let circuit = bench.circuit(limited.addr);
    assert_eq!((&circuit["state"], &circuit["full"]), (&"closed".into(), &true.into()), "no failure: {circuit}");
}

fn hedging(config: &mut Config) {
    config.call.hedge_after = HedgeDelay::After(ms(50));
}

#[test]
fn a_copy_elsewhere_wins_over_a_late_answer_and_the_late_one_is_cancelled() {
    let (slow, fast) = (FakeProducer::start(Behaviour::Hang), FakeProducer::start(Behaviour::Answer(200)));
    let bench = Bench::of([&slow, &fast], hedging);
    let started = Instant::now();
    let answers = bench.ask_until_it_is_the_turn_of(&slow);
    for answer in &answers {
        assert_eq!((answer.status, &*answer.from), (200, &*fast.addr.to_string()));
    }
    let took = started.elapsed();
    assert!(took >= ms(50) && took < ms(1300), "the copy goes out long before the attempt's timeout: {took:?}");
    soon("the late one sees its caller go", || slow.abandoned() == 1);
    assert_eq!((slow.calls(), fast.calls()), (1, answers.len()));
    let circuit = bench.circuit(slow.addr);
    assert_eq!((&circuit["in_flight"], &circuit["recent_calls"]), (&0.into(), &0.into()), "{circuit}");
}

#[test]
fn an_answer_that_is_not_late_makes_no_copy() {
    let both = [(); 2].map(|()| FakeProducer::start(Behaviour::Answer(200)));
    let bench = Bench::of(both.each_ref(), |config| {
        config.call.hedge_after = HedgeDelay::After(ms(1000));
    });
    bench.ask_often(10);
    assert_eq!(both.iter().map(FakeProducer::calls).sum::<usize>(), 10);
}

#[test]
fn whichever_of_the_two_fails_waits_for_the_other() {
    let late = |time, status| FakeProducer::start(Behaviour::Late(ms(time), status));
    for (one, other) in
        [(late(120, 500), late(250, 200)), (late(250, 200), FakeProducer::start(Behaviour::Answer(500)))]
    {
        // Whichever of the two is asked first.
        let bench = Bench::of([&one, &other], hedging);
        for answer in bench.ask_often(2) {
            assert_eq!(answer.status, 200);
        }
    }
}

#[test]
fn copies_have_a_budget_of_their_own_and_without_it_the_late_answer_counts() {
    // A copy is sent after three quarters of the usual time: the last quarter is longer than a busy machine is late.
    let both = [(); 2].map(|()| FakeProducer::start(Behaviour::Late(ms(300), 200)));
    let bench = Bench::of(both.each_ref(), |config| {
        hedging(config);
        config.call.retry_budget = None;
    });
    assert!(bench.ask_often(20).iter().all(|answer| answer.status == 200));
    let attempts = both.iter().map(FakeProducer::calls).sum::<usize>();
    assert!((25..=28).contains(&attempts), "5 that a new client has, and a tenth of the successes: {attempts}");
}

#[test]
fn the_answer_of_a_cancelled_call_never_reaches_another_one() {
    let slow = FakeProducer::start(Behaviour::Late(ms(40), 200));
    let bench = Bench::of([&slow], |config| {
        config.breaker.consecutive_failures = NonZeroU32::MAX;
        config.breaker.minimum_calls = NonZeroU32::MAX;
    });
    for round in 0..15 {
        // Cancelled by its caller, or by its deadline, at different moments of the exchange.
        let given_up = format!("/given-up/{round}");
        block_on(or(
            async {
                let _ = bench.get_async(&given_up, ms(20 + 3 * round)).await;
            },
            async {
                Timer::after(ms(10 + 4 * round)).await;
            },
        ));
        let path = format!("/wanted/{round}");
        let answer = bench.get(&path, *PATIENCE).expect("an answer");
        assert_eq!(String::from_utf8_lossy(&answer.body), path);
    }
}

#[test]
fn every_change_of_a_circuit_is_one_line_in_the_log() {
    listen();
    let (flaky, good) = (FakeProducer::start(Behaviour::Answer(500)), FakeProducer::start(Behaviour::Answer(200)));
    let bench = Bench::of([&flaky, &good], |config| {
        config.breaker.consecutive_failures = NonZeroU32::MIN;
        config.breaker.open_for = ms(200);
        config.breaker.open_for_max = ms(200);
        config.breaker.ramp = ms(300);
    });
    bench.ask_until_it_is_the_turn_of(&flaky);
    assert_eq!(bench.circuit(flaky.addr)["state"], "open");
    flaky.set_behaviour(Behaviour::Answer(200));
    soon("the circuit is closed again", || {
        bench.ask().expect("an answer");
        bench.circuit(flaky.addr)["state"] == "closed"
    });
    let id = flaky.addr.to_string();
    let of_it = format!(" circuit of {id}: ");
    let said: Vec<String> =
        lines().iter().filter(|line| line.contains(&*of_it)).map(|line| line.replace(&*of_it, " ")).collect();
    let expected = [
        "WARN open for 0.2 s (1 consecutive failures)",
        "INFO half-open, a trial call is made",
        "INFO ramping up from 10 % of its load",
        "INFO closed",
    ];
    assert_eq!(said, expected);
}

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Remember;

impl log::Log for Remember {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Info
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.lock().expect("no panic").push(format!("{} {}", record.level(), record.args()));
        }
    }

    fn flush(&self) {}
}

/// Remembers from now on what is logged.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Remember).expect("the first logger");
        log::set_max_level(log::LevelFilter::Info);
    });
}

fn lines() -> Vec<String> {
    LINES.lock().expect("no panic").clone()
}

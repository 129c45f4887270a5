use std::sync::atomic::{AtomicUsize, Ordering};

use bramble::config::Config;
use bramble::discovery::{Change as Heard, Instance, Source};
use bramble::serve::Host;
use futures_lite::{AsyncWriteExt as _, future};
use smol::net::TcpListener;

use super::*;

const CIRCUITS: &str = r#"{"id":"a","services":[{"service":"upstream","endpoints":[{"id":"api","state":"closed"}]}]}"#;

/// A gatherer with a directory of its own, and the executor that drives it.
struct Bench {
    gather: Gather,
    executor: Arc<Executor<'static>>,
}

impl Bench {
    fn new() -> Self {
        let executor = Arc::new(Executor::new());
        let mut config = Config::default();
        config.discovery.mdns = false;
        let host = Host::new(crate::SERVICE, config, Arc::clone(&executor)).expect("valid");
        let gather = Gather::new(host.directory.clone(), host.outside(), Arc::clone(&executor));
        Self { gather, executor }
    }

    fn knows(&self, name: &str, addr: SocketAddr) {
        let instance = Instance::new(name, "producer", addr, Source::Mdns);
        self.gather.directory.apply(Source::Mdns, name, Heard::Is(instance), Instant::now());
    }

    /// Starts a server that answers each question with `body`; none: it accepts and is silent. Counts connections.
    fn answers(&self, body: Option<String>) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let listener = TcpListener::try_from(listener).expect("a listener");
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let serve = async move {
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let Some(body) = &body else {
                    silent.push(stream);
                    continue;
                };
                let mut head = [0; 2048];
                let _ = stream.read(&mut head).await;
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await; // it may have heard enough
            }
        };
        self.executor.spawn(serve).detach();
        (addr, asked)
    }

    fn look(&self) -> Arc<GatheredCircuits> {
        future::block_on(self.executor.run(self.gather.look()))
    }
}

#[test]
fn a_second_look_at_once_sees_what_was_seen_and_no_instance_is_asked_twice() {
    let bench = Bench::new();
    let (addr, asked) = bench.answers(Some(CIRCUITS.into()));
    bench.knows("producer-a", addr);
    let first = bench.look();
    assert_eq!(first.of("producer-a", Instant::now()).flatten().map(|circuits| circuits.services.len()), Some(1));
    for _ in 0..10 {
        bench.look();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let later = Instant::now() + KEPT;
    assert!(first.of("producer-a", later).is_none(), "what is old is not shown as if it were new");
}

#[test]
fn a_silent_instance_holds_up_no_other_and_is_shown_as_silent() {
    let bench = Bench::new();
    for number in 0..AT_ONCE / 2 {
        let (addr, _) = bench.answers(None);
        bench.knows(&format!("producer-{number}"), addr);
    }
    let (addr, _) = bench.answers(Some(CIRCUITS.into()));
    bench.knows("producer-z", addr);
    let since = Instant::now();
    let gathered = bench.look();
    assert!(since.elapsed() < ALL_WITHIN, "{:?}", since.elapsed());
    assert!(gathered.of("producer-z", Instant::now()).flatten().is_some());
    assert_eq!(gathered.of("producer-0", Instant::now()), Some(None));
}

#[test]
fn a_round_ends_when_its_time_is_over_and_the_next_begins_with_those_it_left_out() {
    let bench = Bench::new();
    let all = AT_ONCE * 4;
    for number in 0..all {
        let (addr, _) = bench.answers(None);
        bench.knows(&format!("producer-{number:03}"), addr);
    }
    let since = Instant::now();
    let first = future::block_on(bench.executor.run(bench.gather.round(&GatheredCircuits::default(), Instant::now())));
    assert!(since.elapsed() < ALL_WITHIN + ONE_WITHIN, "{:?}", since.elapsed());
    let asked = first.answers.len();
    assert!(0 < asked && asked < all, "{asked} were asked");
    let second = future::block_on(bench.executor.run(bench.gather.round(&first, Instant::now())));
    assert_eq!(second.answers.len(), all);
}

#[test]
fn an_answer_without_end_is_not_taken_in() {
    let bench = Bench::new();
    let (addr, _) = bench.answers(Some(format!("{CIRCUITS}{}", " ".repeat(2 * LONGEST as usize))));
    bench.knows("producer-a", addr);
    assert_eq!(bench.look().of("producer-a", Instant::now()), Some(None));
}

#[test]
fn a_refused_connection_is_told_from_silence() {
    let bench = Bench::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let (silent, _) = bench.answers(None);
    let ask = |addr| future::block_on(bench.executor.run(ask(&bench.gather.client, addr))).map_err(|it| it.suspicion);
    assert_eq!(ask(closed), Err(Some(Suspicion::Refused)), "so the directory makes sure of it");
    assert_eq!(ask(silent), Err(Some(Suspicion::TimedOut)), "of this as well");
    let (strange, _) = bench.answers(Some("<html>".into()));
    assert_eq!(ask(strange), Err(None), "it is there");
}

#[test]
fn a_circuit_that_moves_is_news_and_one_that_was_never_open_is_none() {
    let read = |state: &str| {
        let text = CIRCUITS.replace("closed", state).replace("}]}]", r#","reason":"it failed"}]}]"#);
        Circuits::read(text.as_bytes()).expect("valid")
    };
    let (by, now) = ("producer-a".into(), Instant::now());
    let news = |from: &str, to: &str| moved(&read(from), &read(to), &by, now);
    assert!(news("closed", "closed").is_empty() && moved(&Circuits::default(), &read("closed"), &by, now).is_empty());
    let opened = news("closed", "open");
    assert_eq!(opened.len(), 1);
    assert_eq!((opened[0].subject.as_str(), opened[0].to), ("the weather API", CircuitState::Open));
    assert_eq!(opened[0].reason.as_deref(), Some("it failed"));
    assert_eq!(news("open", "ramping")[0].reason, None);
}

#[test]
fn of_changes_only_the_last_hundred_are_kept() {
    let bench = Bench::new();
    let mut gathered = GatheredCircuits::default();
    for number in 0..3 * CHANGES {
        let state = if number % 2 == 0 { "open" } else { "closed" };
        let circuits = Circuits::read(CIRCUITS.replace("closed", state).as_bytes()).expect("valid");
        bench.gather.note(&mut gathered, "producer-a".into(), Ok(circuits));
    }
    assert_eq!(gathered.changes.len(), CHANGES);
    assert_eq!(gathered.changes.back().map(|change| change.to), Some(CircuitState::Closed));
}

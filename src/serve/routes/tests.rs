//! The routes over a real socket on loopback.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _};
use smol::net::TcpStream;
use smol::{Executor, Timer};

use super::*;
use crate::client::Client;
use crate::config::Config;
use crate::telemetry::Event;
use crate::telemetry::hystrix::tests::check_event;
use crate::telemetry::openmetrics::check;
use crate::transport::server::{self, Options};

/// Longer than anything here takes on a busy machine; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

struct Service {
    addr: SocketAddr,
    health: Arc<Health>,
    client: Client,
    stop: smol::channel::Sender<()>,
    ended: smol::Task<server::Drained>,
}

/// A consumer that declares no calls, and knows one producer which answers and one without a listener.
async fn service(executor: &Arc<Executor<'static>>) -> Service {
    let mut config = Config::default();
    config.discovery.mdns = false;
    let producer = producer(executor);
    let unused = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    config.discovery.fixed = [("producer".to_owned(), vec![producer, unused])].into();
    let host =
        Host::new(crate::Service::named("consumer").version("7.8.9"), config, Arc::clone(executor)).expect("a host");
    let client = host.client();
    let (health, stats) = (Arc::new(Health::default()), Arc::new(Stats::default()));
    health.set(Phase::Ready);
    let mut app = tide::new();
    let collect: Vec<Arc<dyn Collect>> = vec![Arc::new(client.clone()), Arc::new(client.clone())];
    add(&mut app, RouteState::new(&host, collect, Arc::clone(&health), Arc::clone(&stats)));
    let listener = server::listen(([127, 0, 0, 1], 0).into()).expect("a port");
    let addr = listener.get_ref().local_addr().expect("bound");
    let options = Options { stats, ..Options::new((&host.config.server).into(), Arc::clone(executor)) };
    let (stop, stopped) = smol::channel::bounded::<()>(1);
    let until_stopped = async move {
        let _ = stopped.recv().await;
    };
    let ended = executor.spawn(server::serve(listener, app, options, until_stopped));
    Service { addr, health, client, stop, ended }
}

/// Answers 200, and 404 below `/unknown`.
fn producer(executor: &Arc<Executor<'static>>) -> SocketAddr {
    let mut app = tide::new();
    app.at("/").get(|_| async { Ok("fine") });
    let listener = server::listen(([127, 0, 0, 1], 0).into()).expect("a port");
    let addr = listener.get_ref().local_addr().expect("bound");
    let limits = (&Config::default().server).into();
    let id = Some("producer-0000000000000001".into());
    let options = Options { id, ..Options::new(limits, Arc::clone(executor)) };
    executor.spawn(server::serve(listener, app, options, std::future::pending())).detach();
    addr
}

fn run<F: Future>(test: impl FnOnce(Arc<Executor<'static>>) -> F) -> F::Output {
    let executor = Arc::new(Executor::new());
    let late = async {
        Timer::after(PATIENCE).await;
        panic!("the test hangs");
    };
    smol::block_on(executor.run(test(Arc::clone(&executor)).or(late)))
}

async fn call(client: &Client, path: &str) {
    client.get("producer", path).within(PATIENCE).send().await.expect("one of them answers");
}

async fn ask(addr: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

/// Head and body, whole; only for answers with a length.
async fn get(addr: SocketAddr, path: &str) -> (String, String) {
    let mut all = String::new();
    ask(addr, path).await.read_to_string(&mut all).await.expect("an answer");
    let (head, body) = all.split_once("\r\n\r\n").expect("a head");
    (head.to_lowercase(), body.to_owned())
}

/// A stream of which the head has come.
struct Reader {
    stream: TcpStream,
    head: String,
    left: Vec<u8>,
}

impl Reader {
    async fn open(addr: SocketAddr, path: &str) -> Self {
        let stream = ask(addr, path).await;
        let mut reader = Self { stream, head: String::new(), left: Vec::new() };
        reader.head = reader.until("\r\n\r\n").await.to_lowercase();
        reader
    }

    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or("")
    }

    /// Reads up to and with `end`.
    async fn until(&mut self, end: &str) -> String {
        loop {
            let there = self.left.windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(at) = there {
                let part: Vec<u8> = self.left.drain(..at + end.len()).collect();
                return String::from_utf8(part).expect("text");
            }
            let mut buffer = [0; 4096];
            let n = self.stream.read(&mut buffer).await.expect("no error");
            assert!(n > 0, "ended before {end:?}");
            self.left.extend_from_slice(&buffer[..n]);
        }
    }

    /// Reads a chunk of the body: one event. Empty: the body has ended as it should.
    async fn chunk(&mut self) -> String {
        let size = self.until("\r\n").await;
        let size = usize::from_str_radix(size.trim(), 16).expect("a size");
        let chunk = self.until("\r\n").await;
        let mut chunk = chunk;
        while chunk.len() < size + 2 {
            chunk.push_str(&self.until("\r\n").await);
        }
        chunk.truncate(size);
        chunk
    }
}

#[test]
fn every_circuit_is_one_whole_event_for_netflix_s_dashboard() {
    run(|executor| async move {
        let service = service(&executor).await;
        for _ in 0..20 {
            call(&service.client, "/").await;
        }
        call(&service.client, "/unknown").await;
        service.client.fell_back("producer", Event::FallbackSuccess);
        let mut reader = Reader::open(service.addr, "/hystrix.stream?delay=100").await;
        assert!(reader.head.contains("content-type: text/event-stream;charset=utf-8\r\n"), "{}", reader.head);
        assert!(reader.head.contains("cache-control: no-cache"), "{}", reader.head);
        let mut events = Vec::new();
        for _ in 0..6 {
            events.push(check_event(&reader.chunk().await));
        }
        let names: Vec<_> = events.iter().filter_map(|event| event["name"].as_str()).collect();
        assert_eq!([names[0], names[3]], ["producer"; 2], "one of each that collects");
        assert!(names[1].starts_with("producer@127.0.0.1:") && names[1] != names[2], "{names:?}");
        let whole = &events[0];
        assert_eq!((&whole["rollingCountSuccess"], &whole["rollingCountBadRequests"]), (&20.into(), &1.into()));
        assert_eq!((&whole["requestCount"], &whole["errorPercentage"]), (&20.into(), &0.into()));
        assert_eq!((&whole["rollingCountFallbackSuccess"], &whole["isCircuitBreakerOpen"]), (&1.into(), &false.into()));
        let sum = |field: &str| events[1..3].iter().filter_map(|event| event[field].as_u64()).sum::<u64>();
        assert_eq!(sum("rollingCountSuccess") + sum("rollingCountBadRequests"), 21);
    });
}

#[test]
fn a_sixth_reader_is_refused_until_one_of_five_goes() {
    run(|executor| async move {
        let service = service(&executor).await;
        let mut readers = Vec::new();
        for _ in 0..5 {
            readers.push(Reader::open(service.addr, "/hystrix.stream?delay=100").await);
        }
        assert!(readers.iter().all(|reader| reader.status() == "200"));
        assert_eq!(readers[4].chunk().await, "ping: \n\n", "no service has been called");
        let (head, why) = get(service.addr, "/hystrix.stream").await;
        assert!(head.starts_with("http/1.1 503"), "{head}");
        assert_eq!(why, "MaxConcurrentConnections reached: 5");
        drop(readers.pop());
        while Reader::open(service.addr, "/hystrix.stream?delay=100").await.status() != "200" {
            Timer::after(Duration::from_millis(10)).await; // the server has to see that it is gone
        }
    });
}

#[test]
fn a_request_for_the_head_only_takes_no_place() {
    run(|executor| async move {
        let service = service(&executor).await;
        for _ in 0..6 {
            let mut stream = TcpStream::connect(service.addr).await.expect("a connection");
            let request =
                format!("HEAD /hystrix.stream HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", service.addr);
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut head = String::new();
            stream.read_to_string(&mut head).await.expect("an answer");
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        }
    });
}

#[test]
fn draining_ends_the_streams_at_once_and_begins_none() {
    run(|executor| async move {
        let service = service(&executor).await;
        call(&service.client, "/").await;
        let mut reader = Reader::open(service.addr, "/hystrix.stream?delay=10000").await;
        check_event(&reader.chunk().await);
        let since = Instant::now();
        service.health.set(Phase::Draining);
        while !reader.chunk().await.is_empty() {}
        assert!(since.elapsed() < Duration::from_secs(8), "before the next round was due");
        let (head, _) = get(service.addr, "/hystrix.stream").await;
        assert!(head.starts_with("http/1.1 503"), "{head}");
        service.stop.send(()).await.expect("it serves");
        assert_eq!(service.ended.await.cut, 0);
    });
}

#[test]
fn a_page_of_numbers_by_two_collectors_of_the_same_is_valid_for_us_and_the_reference_parser() {
    run(|executor| async move {
        let service = service(&executor).await;
        for path in ["/", "/", "/", "/unknown"] {
            call(&service.client, path).await;
        }
        let (head, page) = get(service.addr, "/metrics").await;
        assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
        let families = check::page(&page).unwrap_or_else(|why| panic!("{why}\n{page}"));
        for family in [
            "bramble_build",
            "bramble_instances",
            "bramble_server_answers",
            "bramble_calls",
            "bramble_call_duration_seconds",
            "bramble_call_fallbacks",
            "bramble_attempts",
            "bramble_attempt_duration_seconds",
            "bramble_circuit_state",
        ] {
            assert!(families.contains(family), "{family} is missing");
        }
        let says = |line: &str| assert!(page.contains(&format!("{line}\n")), "{line}\n{page}");
        assert!(
            page.contains("bramble_build_info{version=\"7.8.9\",service=\"consumer\""),
            "the service's own version"
        );
        says("bramble_calls_total{service=\"producer\",outcome=\"success\"} 3");
        says("bramble_calls_total{service=\"producer\",outcome=\"bad_request\"} 1");
        says("bramble_call_duration_seconds_count{service=\"producer\"} 4");
        says("bramble_calls_in_flight{service=\"producer\"} 0");
        check::by_reference(&page).unwrap_or_else(|why| panic!("{why}"));
    });
}

#[test]
fn instances_says_why_a_list_is_empty() {
    run(|executor| async move {
        let mut config = Config::default();
        config.discovery.mdns = false;
        let host =
            Host::new(crate::Service::named("registry").calls_all(), config, Arc::clone(&executor)).expect("a host");
        let names = [("producer".to_owned(), "producer:8080".to_owned())].into();
        let resolver = crate::resolve::Resolver::with_servers(vec![], "");
        crate::discovery::dns::follow(&host.directory, &names, &resolver, &executor);
        let told = RouteState::new(&host, Vec::new(), Arc::default(), Arc::default());
        while host.directory.aliases(Instant::now()).iter().all(|alias| alias.problem.is_none()) {
            Timer::after(Duration::from_millis(5)).await;
        }
        let seen: serde_json::Value = told.seen().take_body().into_json().await.expect("JSON");
        assert_eq!(seen["mdns"], "off: [discovery] mdns is false");
        let alias = &seen["aliases"][0];
        assert_eq!((&alias["name"], &alias["addresses"]), (&"producer:8080".into(), &0.into()));
        assert_eq!(alias["answered_ago_s"], serde_json::Value::Null);
        let problem = alias["problem"].as_str().expect("a sentence");
        assert!(problem.contains("/etc/resolv.conf names no server"), "{problem}");
    });
}

//! Services behind a DNS name, as in a container network: replicas that come, go, drain and die, a server that gives
//! ten minutes to live to all of them, and mDNS beside it. Each replica has an address of loopback for itself.

mod support {
    pub(crate) mod dns_server;
}

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bramble::client::{Answer, Client, Error};
use bramble::config::Config;
use bramble::discovery::{self, Change, Directory, Instance, ServiceFilter, Source, Status, Suspicion};
use bramble::internals::resolve::Resolver;
use bramble::internals::transport::server::{self, Options};
use bramble::telemetry::Collect as _;
use futures_lite::FutureExt as _;
use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Name, RCODE, ResourceRecord};
use smol::{Executor, Timer};
use support::dns_server::{Dns, GUARD, Question};

/// Docker's, for what may change the next moment.
const TTL: u32 = 600;
const PORT: u16 = 0;

/// Answer of the name: the last bytes of its addresses, or the code of a failure.
#[derive(Debug, Clone)]
enum NameAnswer {
    Addresses(Vec<u8>),
    Fails(RCODE),
    Nothing,
}

/// A cluster with a name that stands for its replicas.
struct Cluster {
    executor: Arc<Executor<'static>>,
    says: Arc<Mutex<NameAnswer>>,
    dns: Dns,
    directory: Directory,
    client: Client,
    port: u16,
    /// Third byte of every address: tests do not meet.
    net: u8,
}

static NETS: AtomicU8 = AtomicU8::new(1);

impl Cluster {
    fn new(executor: &Arc<Executor<'static>>, says: NameAnswer) -> Self {
        let net = NETS.fetch_add(1, Ordering::SeqCst);
        let says = Arc::new(Mutex::new(says));
        let told = Arc::clone(&says);
        let dns = Dns::new(move |asked| match &*told.lock().expect("no panic") {
            NameAnswer::Nothing => vec![],
            NameAnswer::Fails(code) => asked.code(*code),
            NameAnswer::Addresses(_) if asked.ipv6 => asked.records(vec![]),
            NameAnswer::Addresses(last) => addresses(asked, net, last),
        });
        let mut config = Config::default();
        config.discovery.mdns = false;
        let directory = Directory::new(ServiceFilter::None, Instant::now());
        let resolver = Resolver::with_servers(vec![dns.addr], "");
        let free = TcpListener::bind((Ipv4Addr::new(127, 0, net, 250), PORT)).expect("a free port");
        let port = free.local_addr().expect("bound").port();
        let names = BTreeMap::from([("producer".to_owned(), format!("producer:{port}"))]);
        discovery::dns::follow(&directory, &names, &resolver, executor);
        let client = Client::new(config, directory.clone());
        Self { executor: Arc::clone(executor), says, dns, directory, client, port, net }
    }

    fn say(&self, says: NameAnswer) {
        *self.says.lock().expect("no panic") = says;
    }

    fn addr(&self, last: u8) -> SocketAddr {
        (Ipv4Addr::new(127, 0, self.net, last), self.port).into()
    }

    /// A producer at this address, which takes `takes` for an answer.
    fn replica(&self, last: u8, takes: Duration) -> Replica {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut app = tide::new();
        let counted = Arc::clone(&asked);
        app.at("/weather").get(move |_| {
            counted.lock().expect("no panic").push(Instant::now());
            async move {
                Timer::after(takes).await;
                Ok("fine")
            }
        });
        let listener = server::listen(self.addr(last)).expect("a free port");
        let limits = (&Config::default().server).into();
        let id = Some(Arc::from("producer-a"));
        let options = Options { id, ..Options::new(limits, Arc::clone(&self.executor)) };
        let (stop, stopped) = smol::channel::bounded::<()>(1);
        let until_stopped = async move {
            let _ = stopped.recv().await;
        };
        let ended = self.executor.spawn(server::serve(listener, app, options, until_stopped));
        Replica { asked, stop, ended }
    }

    async fn ask(&self) -> Result<Answer, Error> {
        self.client.get("producer", "/weather").within(Duration::from_secs(3)).send().await
    }

    /// Asks thirty times a second for as long as `time`; every answer must be good.
    async fn light_load(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let answer = self.ask().await.expect("no request fails");
            assert_eq!(answer.status, 200);
            Timer::after(Duration::from_millis(33)).await;
        }
    }

    fn known(&self) -> Vec<String> {
        let found = self.directory.instances("producer");
        found.iter().flat_map(|found| found.iter()).map(|one| one.id.to_string()).collect()
    }

    /// Waits until so many are known.
    async fn until_known(&self, count: usize) {
        while self.known().len() != count {
            self.directory.changed().or_timeout(Duration::from_millis(50)).await;
        }
    }
}

/// A listener that is not waited for for ever.
trait Timeout {
    async fn or_timeout(self, time: Duration);
}

impl<F: Future> Timeout for F {
    async fn or_timeout(self, time: Duration) {
        let late = async {
            Timer::after(time).await;
        };
        let this = async {
            self.await;
        };
        this.or(late).await;
    }
}

struct Replica {
    asked: Arc<Mutex<Vec<Instant>>>,
    stop: smol::channel::Sender<()>,
    ended: smol::Task<server::Drained>,
}

impl Replica {
    fn asked(&self) -> Vec<Instant> {
        self.asked.lock().expect("no panic").clone()
    }
}

fn addresses(asked: &Question<'_>, net: u8, last: &[u8]) -> Vec<Vec<u8>> {
    let record = |last: &u8| {
        let name = Name::new_unchecked(&asked.name);
        ResourceRecord::new(name, CLASS::IN, TTL, RData::A(A::from(Ipv4Addr::new(127, 0, net, *last))))
    };
    asked.records(last.iter().map(record).collect())
}

fn run<F: Future>(test: impl FnOnce(Arc<Executor<'static>>) -> F) -> F::Output {
    let executor = Arc::new(Executor::new());
    let late = async {
        Timer::after(GUARD).await;
        panic!("the test hangs");
    };
    smol::block_on(executor.run(test(Arc::clone(&executor)).or(late)))
}

const AT_ONCE: Duration = Duration::ZERO;

#[test]
fn new_replicas_have_calls_within_two_seconds_removed_ones_none_and_no_request_fails() {
    run(|executor| async move {
        let cluster = Cluster::new(&executor, NameAnswer::Addresses(vec![1]));
        let replicas: Vec<Replica> = (1..=5).map(|last| cluster.replica(last, AT_ONCE)).collect();
        cluster.light_load(Duration::from_millis(700)).await;
        cluster.say(NameAnswer::Addresses(vec![3, 1, 5, 2, 4]));
        let scaled = Instant::now();
        cluster.light_load(Duration::from_millis(2500)).await;
        for (number, replica) in replicas.iter().enumerate().skip(1) {
            let first = replica.asked().first().copied().expect("a new replica has calls");
            assert!(first - scaled < Duration::from_secs(2), "replica {number} waits for {:?}", first - scaled);
        }
        cluster.say(NameAnswer::Addresses(vec![2, 4]));
        cluster.until_known(2).await;
        let removed = Instant::now();
        cluster.light_load(Duration::from_millis(700)).await;
        for number in [0, 2, 4] {
            assert!(replicas[number].asked().iter().all(|at| *at < removed), "replica {number} has calls still");
        }
        assert_eq!(cluster.directory.aliases(Instant::now())[0].addresses, 2);
    });
}

#[test]
fn a_removed_replica_finishes_what_it_has_and_a_killed_one_costs_no_request() {
    run(|executor| async move {
        let cluster = Cluster::new(&executor, NameAnswer::Addresses(vec![1]));
        let first = cluster.replica(1, Duration::from_millis(600));
        cluster.until_known(1).await;
        let in_flight = cluster.ask();
        let removed = async {
            while first.asked().is_empty() {
                Timer::after(Duration::from_millis(5)).await;
            }
            let second = cluster.replica(2, AT_ONCE);
            cluster.say(NameAnswer::Addresses(vec![2]));
            first.stop.send(()).await.expect("it runs"); // its address is known for up to a second more
            while cluster.known() != [cluster.addr(2).to_string()] {
                Timer::after(Duration::from_millis(5)).await;
            }
            cluster.light_load(Duration::from_millis(300)).await;
            second
        };
        let (answer, second) = futures_lite::future::zip(in_flight, removed).await;
        assert_eq!(answer.expect("it was being answered").status, 200);
        assert_eq!(first.ended.await.cut, 0);
        let third = cluster.replica(3, AT_ONCE);
        cluster.say(NameAnswer::Addresses(vec![2, 3]));
        cluster.until_known(2).await;
        second.ended.cancel().await; // its sockets close at once; the name still leads to it
        cluster.light_load(Duration::from_millis(500)).await;
        assert!(!third.asked().is_empty());
    });
}

#[test]
fn a_refused_connection_has_the_name_looked_up_at_once_but_a_storm_of_them_only_once_a_second() {
    run(|executor| async move {
        let cluster = Cluster::new(&executor, NameAnswer::Addresses(vec![1]));
        cluster.until_known(1).await;
        let queries = cluster.dns.queries();
        while cluster.dns.queries() == queries {
            Timer::after(Duration::from_millis(5)).await;
        }
        Timer::after(Duration::from_millis(50)).await; // the other family's query
        let before = cluster.dns.queries();
        let began = Instant::now();
        assert!(cluster.ask().await.is_err(), "no producer listens there");
        while cluster.dns.queries() == before {
            Timer::after(Duration::from_millis(5)).await;
        }
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        for _ in 0..500 {
            cluster.directory.suspect(&cluster.addr(1).to_string(), Suspicion::Refused, Instant::now());
            Timer::after(Duration::from_millis(4)).await;
        }
        let asked = (cluster.dns.queries() - before) / 2;
        let seconds = began.elapsed().as_secs() as usize + 1;
        assert!(asked <= 2 * seconds + 1, "{asked} look-ups in {seconds} s: one in turn, one wished for");
    });
}

#[test]
fn a_name_that_fails_keeps_its_replicas_and_one_that_never_answered_says_what_to_look_at() {
    run(|executor| async move {
        let cluster = Cluster::new(&executor, NameAnswer::Addresses(vec![1]));
        let _replica = cluster.replica(1, AT_ONCE);
        cluster.light_load(Duration::from_millis(100)).await;
        for says in [
            NameAnswer::Fails(RCODE::NameError),
            NameAnswer::Addresses(vec![]),
            NameAnswer::Fails(RCODE::ServerFailure),
        ] {
            cluster.say(says);
            while cluster.directory.aliases(Instant::now())[0].problem.is_none() {
                cluster.light_load(Duration::from_millis(50)).await;
            }
            let problem = cluster.directory.aliases(Instant::now())[0].problem.clone().expect("just seen");
            assert!(problem.contains("going on with the last 1 address of producer"), "{problem}");
            cluster.light_load(Duration::from_millis(100)).await;
            cluster.say(NameAnswer::Addresses(vec![1]));
            while cluster.directory.aliases(Instant::now())[0].problem.is_some() {
                Timer::after(Duration::from_millis(20)).await;
            }
        }
    });
    run(|executor| async move {
        let cluster = Cluster::new(&executor, NameAnswer::Fails(RCODE::NameError));
        while cluster.directory.is_settling(Instant::now()) {
            Timer::after(Duration::from_millis(50)).await;
        }
        let error = cluster.ask().await.expect_err("no producer is there").to_string();
        assert!(error.contains(&format!("producer:{} has no address", cluster.port)), "{error}");
        assert!(error.contains("there is no host producer") && error.contains("same network"), "{error}");
    });
}

#[test]
fn a_silent_server_is_no_outage_either() {
    run(|executor| async move {
        let cluster = Cluster::new(&executor, NameAnswer::Addresses(vec![1]));
        let _replica = cluster.replica(1, AT_ONCE);
        cluster.until_known(1).await;
        cluster.say(NameAnswer::Nothing);
        cluster.light_load(Duration::from_millis(1500)).await;
    });
}

#[test]
fn one_that_mdns_and_the_name_both_know_counts_once_under_the_name_that_mdns_gives_it() {
    run(|executor| async move {
        let cluster = Cluster::new(&executor, NameAnswer::Addresses(vec![1, 2]));
        let replicas = [cluster.replica(1, AT_ONCE), cluster.replica(2, AT_ONCE)];
        cluster.until_known(2).await;
        let by_mdns = |status| Instance {
            version: "0.2.0".into(),
            status,
            ..Instance::new("producer-a", "producer", cluster.addr(1), Source::Mdns)
        };
        cluster.directory.apply(Source::Mdns, "a", Change::Is(by_mdns(Status::Up)), Instant::now());
        let second = cluster.addr(2).to_string();
        assert_eq!(cluster.known(), [second.as_str(), "producer-a"]);
        assert_eq!(cluster.directory.all(Instant::now()).len(), 2);
        cluster.light_load(Duration::from_millis(500)).await;
        let circuits = serde_json::to_value(cluster.client.circuits()).expect("JSON");
        let endpoints = circuits[0]["endpoints"].as_array().expect("a list");
        let ids: Vec<&str> = endpoints.iter().map(|one| one["id"].as_str().expect("a text")).collect();
        assert_eq!(ids.len(), 2, "{ids:?}");
        assert!(ids.contains(&"producer-a") && ids.contains(&&*second), "{ids:?}");
        // It says goodbye. The name leads to it for as long as its process runs, and that is no reason to call it.
        cluster.directory.apply(Source::Mdns, "a", Change::Is(by_mdns(Status::Drain)), Instant::now());
        cluster.directory.apply(Source::Mdns, "a", Change::Unheard, Instant::now());
        assert_eq!(cluster.known(), [second.as_str()]);
        let goodbye = Instant::now();
        cluster.light_load(Duration::from_millis(500)).await;
        assert!(replicas[0].asked().iter().all(|at| *at < goodbye));
    });
}

#[test]
fn a_hundred_replicas_are_all_known() {
    run(|executor| async move {
        let all: Vec<u8> = (1..=100).collect();
        let cluster = Cluster::new(&executor, NameAnswer::Addresses(all));
        cluster.until_known(100).await;
        let version = cluster.directory.version();
        let seen = AtomicUsize::new(cluster.dns.queries());
        while cluster.dns.queries() < seen.load(Ordering::Relaxed) + 4 {
            Timer::after(Duration::from_millis(20)).await;
        }
        assert_eq!(cluster.directory.version(), version, "no instance comes or goes");
    });
}

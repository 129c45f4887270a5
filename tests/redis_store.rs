//! Answers shared through a real `redis-server` on loopback: found by others and by those that come after, and never in
//! the way when it is killed, hangs, refuses or holds bytes that are no answer.

mod support {
    pub(crate) mod bramble;
    pub(crate) mod key_file;
    pub(crate) mod patience;
    pub(crate) mod redis_server;
    pub(crate) mod until;
}

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bramble::cache::redis::Redis;
use bramble::cache::{
    AnswerOrigin, Cache, CacheError, CacheSettings, CachedAnswer, FetchFailure, Lifetimes, SharedStore,
};
use bramble::config::Config;
use bramble::discovery::dns::Resolver;
use serde_json::Value;
use smol::Executor;

use support::bramble::{Service, get};
use support::key_file::{KEY, KeyFile};
use support::redis_server::RedisServer;
use support::until::until;

const CAUTION: &str = "memory only: redis unreachable";

/// The stand-in for the weather API and the folder of its key.
struct Upstream {
    service: Service,
    key_file: KeyFile,
}

impl Upstream {
    fn start() -> Self {
        Self { service: Service::start(&["upstream-sim", "--key", KEY], &[]), key_file: KeyFile::new() }
    }

    /// A producer that asks it, with more settings.
    fn producer(&self, settings: &[(&str, &str)]) -> Service {
        let upstream = format!("http://{}", self.service.addr());
        let key_file = self.key_file.path().display().to_string();
        let mut all =
            vec![("BRAMBLE__PRODUCER__UPSTREAM", &*upstream), ("BRAMBLE__PRODUCER__API_KEY_FILE", &*key_file)];
        all.extend_from_slice(settings);
        Service::start(&["producer"], &all)
    }

    fn producer_with(&self, redis: &RedisServer) -> Service {
        let producer = self.producer(&[("BRAMBLE__CACHE__STORE", &redis.store())]);
        until("redis is used", || !is_alone(&producer));
        producer
    }

    fn calls(&self) -> u64 {
        self.service.json("/sim/calls")["total"].as_u64().expect("a number")
    }
}

/// Whether a producer is ready and says that it does without Redis.
fn is_alone(producer: &Service) -> bool {
    let told = producer.json("/readyz");
    assert_eq!(told["status"], "ready");
    assert!(told["cache"].is_null() || told["cache"] == CAUTION, "{told}");
    told["cache"] == CAUTION
}

/// The circuit named redis.
fn circuit(producer: &Service) -> Value {
    let mut told = producer.json("/circuits");
    let services = told["services"].as_array_mut().expect("a list");
    let mut ours = services.iter_mut().filter(|one| one["service"] == "redis");
    ours.next().expect("a circuit named redis")["endpoints"][0].take()
}

/// Counter of reads and writes by result.
fn count(producer: &Service, result: &str) -> u64 {
    producer.metric(&format!("bramble_shared_cache_calls_total{{result=\"{result}\"}}"))
}

/// Places that the stand-in knows, each once.
fn places() -> impl Iterator<Item = String> {
    let rows = include_str!("../services/upstream-sim/places.csv").lines().skip(1);
    let mut seen = std::collections::BTreeSet::new();
    rows.filter_map(|row| {
        let mut cells = row.split(',');
        let (country, zip) = (cells.next()?, cells.next()?);
        zip.bytes().all(|b| b.is_ascii_digit()).then(|| format!("zip={zip}&country={country}"))
    })
    .filter(move |place| seen.insert(place.clone()))
}

/// Key of `zip=Z&country=C` in the default cluster.
fn key(place: &str) -> String {
    let (zip, country) = place.split_once("&country=").expect("a place");
    format!("bramble:bramble:weather:{}|{country}|metric|en", zip.trim_start_matches("zip="))
}

fn ask(producer: &Service, place: &str) -> Value {
    producer.json(&format!("/weather?{place}"))
}

const BUESNAU: &str = "zip=70569&country=DE";

#[test]
fn two_producers_share_an_answer_and_one_that_starts_later_finds_it() {
    let (redis, upstream) = (RedisServer::start(&[]), Upstream::start());
    let (first, second) = (upstream.producer_with(&redis), upstream.producer_with(&redis));
    let told = ask(&first, BUESNAU);
    assert_eq!(told["source"], "live");
    until("the answer is in redis", || redis.get(&key(BUESNAU)).is_some());
    let left: u64 = redis.say(&[b"PTTL", key(BUESNAU).as_bytes()]).expect("a number").parse().expect("a time to live");
    let kept_for = (24 * 60 + 10) * 60 * 1000;
    assert!(left <= kept_for && left > kept_for - 60_000, "{left}");

    let shared = ask(&second, BUESNAU);
    assert_eq!((&shared["source"], &shared["message"]), (&"cache".into(), &"OK".into()));
    for same in ["city", "temperature_c", "wind_mps", "observed_at", "fetched_at", "icon"] {
        assert_eq!(shared[same], told[same], "{same}");
    }
    assert_ne!(shared["served_by"], told["served_by"]);
    drop((first, second));
    let third = upstream.producer_with(&redis);
    assert_eq!(ask(&third, BUESNAU)["source"], "cache");
    assert_eq!(count(&third, "found"), 1);
    ask(&third, BUESNAU);
    assert_eq!(count(&third, "found"), 1, "its own memory comes first");
    assert_eq!(upstream.calls(), 1);
    assert_eq!(circuit(&third)["state"], "closed");
}

#[test]
fn a_redis_that_is_killed_under_load_costs_no_answer_and_is_used_again_when_it_is_back() {
    let (mut redis, upstream) = (RedisServer::start(&[]), Upstream::start());
    let producer = upstream.producer_with(&redis);
    let (end, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut places: Vec<_> = places().collect();
    let last = places.pop().expect("many places");
    assert!(places.len() > Config::default().cache.capacity);
    std::thread::scope(|scope| {
        // A panic here must end the load too.
        let _ended = StopOnDrop(&end);
        let load: Vec<_> = (0..3)
            .map(|thread| {
                let (places, end, asked, addr) = (&places, &end, &asked, producer.addr());
                scope.spawn(move || keep_asking(addr, places.iter().skip(thread).step_by(3).cycle(), end, asked))
            })
            .collect();
        let some_more = || {
            let from = asked.load(Ordering::Relaxed);
            until("questions are answered", || asked.load(Ordering::Relaxed) > from + 60);
        };
        some_more();
        redis.kill();
        until("it says that redis is away", || is_alone(&producer));
        some_more();
        assert!(is_alone(&producer));
        until("the circuit is open", || circuit(&producer)["state"] == "open");
        assert_eq!(circuit(&producer)["connected"], false);
        assert_eq!(producer.metric("bramble_shared_cache_connected"), 0);
        redis.start_again();
        until("redis is used again", || !is_alone(&producer));
        assert_eq!(circuit(&producer)["state"], "closed");
        some_more();
        end.store(true, Ordering::Relaxed);
        for load in load {
            load.join().expect("every question was answered in time");
        }
    });
    ask(&producer, &last);
    until("answers are shared again", || redis.get(&key(&last)).is_some());
    assert_eq!(producer.logged("going on with memory only").len(), 1, "{:?}", producer.logged("redis"));
    assert_eq!(producer.logged("shared through redis").len(), 2, "{:?}", producer.logged("redis"));
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks for each place twice, within the producer's own time. There are more places than its memory holds, so that
/// Redis or the weather API is asked at first, and memory then.
fn keep_asking<'a>(addr: SocketAddr, places: impl Iterator<Item = &'a String>, end: &AtomicBool, asked: &AtomicUsize) {
    for place in places {
        for _ in 0..2 {
            let since = Instant::now();
            let (status, body) = get(addr, &format!("/weather?{place}"));
            assert_eq!(status, 200, "{place}: {body}");
            assert!(since.elapsed() < Duration::from_secs(1), "{place}: {:?}", since.elapsed());
            asked.fetch_add(1, Ordering::Relaxed);
        }
        if end.load(Ordering::Relaxed) {
            return;
        }
    }
}

#[test]
fn a_redis_that_hangs_costs_a_short_time_three_times_and_then_nothing() {
    let (redis, upstream) = (RedisServer::start(&[]), Upstream::start());
    let producer = upstream.producer_with(&redis);
    let mut places = places();
    let mut ask_next = || assert_eq!(ask(&producer, &places.next().expect("many places"))["source"], "live");
    redis.hang();
    until("the circuit opens", || {
        ask_next();
        circuit(&producer)["state"] != "closed"
    });
    // A question reads and writes; the write of the second may be under way when the third reads.
    let failed = count(&producer, "failed");
    assert!((3..=4).contains(&failed), "{failed}");
    assert!(is_alone(&producer));
    // For as long as the keeper tries in vain, at growing distances, no question waits.
    let passed_by = count(&producer, "passed_by");
    until("the circuit has stayed open for longer each time", || {
        ask_next();
        circuit(&producer)["next_probe_ms"].as_u64().is_some_and(|left| left > 2000)
    });
    assert_eq!(count(&producer, "failed"), failed);
    assert!(count(&producer, "passed_by") > passed_by);
    redis.go_on();
    until("redis is used again", || !is_alone(&producer));
    let found = count(&producer, "missed");
    ask_next();
    assert_eq!(count(&producer, "missed"), found + 1, "it was asked");
    assert_eq!(producer.logged("going on with memory only").len(), 1, "{:?}", producer.logged("redis"));
}

#[test]
fn bytes_that_are_no_answer_are_as_good_as_nothing_and_are_logged_once() {
    let (redis, upstream) = (RedisServer::start(&[]), Upstream::start());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis();
    let entry =
        |format: u32, at: u128, value: &str| format!(r#"{{"format":{format},"asked_ms":{at},"value":{value}}}"#);
    let good = r#"{"temperature_c":12.5,"description":"mist"}"#;
    let values = [
        "junk".to_owned(),
        "{\"format\":1".to_owned(),
        entry(2, now, good),
        entry(1, now + 3_600_000, good),
        entry(1, now, "{}"),
        entry(1, now, r#"{"temperature_c":1e9,"city":"Nowhere"}"#),
        format!("{}{}", entry(1, now, good), " ".repeat(1 << 20)),
        "\0\u{1}".repeat(100),
    ];
    let places: Vec<_> = places().take(values.len() + 3).collect();
    for (place, value) in places.iter().zip(&values) {
        redis.say(&[b"SET", key(place).as_bytes(), value.as_bytes()]).expect("kept");
    }
    let [list, old, right] = places.get(values.len()..).expect("three more") else { panic!("three more") };
    redis.say(&[b"RPUSH", key(list).as_bytes(), b"a"]).expect("kept");
    redis.say(&[b"SET", key(old).as_bytes(), entry(1, now - 100_000_000, good).as_bytes()]).expect("kept");
    redis.say(&[b"SET", key(right).as_bytes(), entry(1, now - 60_000, good).as_bytes()]).expect("kept");

    let producer = upstream.producer_with(&redis);
    let kept = ask(&producer, right);
    assert_eq!((&kept["source"], &kept["temperature_c"]), (&"cache".into(), &12.5.into()), "the test tests something");
    assert!(kept["age_s"].as_u64().is_some_and(|age| (60..120).contains(&age)), "{kept}");
    for place in places.iter().filter(|place| *place != right) {
        assert_eq!(ask(&producer, place)["source"], "live", "{:?}", redis.say(&[b"TYPE", key(place).as_bytes()]));
        until("a good one takes its place", || {
            redis.get(&key(place)).is_some_and(|text| text.starts_with("{\"format\":1") && !text.ends_with(' '))
                && !redis.get(&key(place)).is_some_and(|text| values.contains(&text))
        });
    }
    let told = producer.logged("in redis is ignored");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(count(&producer, "unusable"), values.len() as u64 + 1);
    assert_eq!(count(&producer, "failed"), 0);
    assert_eq!(circuit(&producer)["state"], "closed", "what it holds is no fault of its connection");
}

#[test]
fn redis_starts_no_thread() {
    let (redis, upstream) = (RedisServer::start(&[]), Upstream::start());
    let without = upstream.producer(&[]);
    let with = upstream.producer_with(&redis);
    for place in places().take(5) {
        ask(&without, &place);
        ask(&with, &place);
        until("it is in redis", || redis.get(&key(&place)).is_some());
    }
    assert_eq!(with.threads(), without.threads());
}

#[test]
fn a_password_comes_from_its_file_and_a_number_chooses_the_database() {
    let (redis, upstream) = (RedisServer::start(&["--requirepass", "hunter2"]), Upstream::start());
    let file = upstream.key_file.path().with_extension("password");
    std::fs::write(&file, "hunter2\n").expect("a temporary file");
    let store = redis.store() + "/3";
    let settings = [("BRAMBLE__CACHE__STORE", &*store), ("BRAMBLE__CACHE__PASSWORD_FILE", &file.display().to_string())];
    let knows = upstream.producer(&settings);
    let knows_not = upstream.producer(&settings[..1]);
    std::fs::remove_file(&file).expect("own file");
    until("the password is right", || !is_alone(&knows));
    ask(&knows, BUESNAU);
    until("it is written", || count(&knows, "written") == 1);
    until("it is said what redis wants", || !knows_not.logged("Authentication required").is_empty());
    assert!(is_alone(&knows_not));
    assert_eq!(ask(&knows_not, BUESNAU)["source"], "live");
    assert_eq!((knows.logged("hunter2"), knows_not.logged("hunter2")), (vec![], vec![]));
    let info = redis.say(&[b"PING"]).expect("an answer");
    assert!(info.starts_with("NOAUTH"), "the test tests something: {info}");
}

#[test]
fn a_redis_without_room_is_still_read_and_says_so_once() {
    let (redis, upstream) = (RedisServer::start(&["--maxmemory", "1"]), Upstream::start());
    let producer = upstream.producer_with(&redis);
    for place in places().take(5) {
        assert_eq!(ask(&producer, &place)["source"], "live");
    }
    until("five writes were refused", || count(&producer, "refused") == 5);
    assert_eq!(count(&producer, "missed"), 5);
    until("it is logged", || !producer.logged("refuses: OOM").is_empty());
    assert_eq!(producer.logged("refuses: OOM").len(), 1);
    assert!(!is_alone(&producer));
}

#[derive(Debug, Clone, PartialEq)]
enum Trouble {
    Unreachable,
    Unknown,
}

impl FetchFailure for Trouble {
    fn stale_may_stand_in(&self) -> bool {
        *self == Self::Unreachable
    }

    fn remember_for(&self) -> Duration {
        Duration::ZERO
    }
}

type Words = Cache<String, Trouble>;

/// Any number of caches, as if each were in a process of its own, with time passing by hand.
struct Bench {
    server: RedisServer,
    executor: Arc<Executor<'static>>,
    start: SystemTime,
}

impl Bench {
    fn new() -> Self {
        Self { server: RedisServer::start(&[]), executor: Arc::default(), start: SystemTime::now() }
    }

    async fn cache(&self) -> (Words, Redis) {
        let mut config = Config::default();
        config.cache.store = self.server.store();
        let redis = Redis::from_config(&config.cache, &config.call, Resolver::from_system(), &self.executor);
        let redis = redis.expect("a store").expect("not memory");
        let since = Instant::now();
        while !redis.is_there() {
            assert!(since.elapsed() < Duration::from_secs(20), "redis is not there");
            smol::Timer::after(Duration::from_millis(5)).await;
        }
        let lifetimes = Lifetimes {
            fresh_for: Duration::from_secs(600),
            stale_while_revalidate: Duration::from_secs(30),
            stale_if_error: Duration::from_secs(3600),
        };
        let settings = CacheSettings { lifetimes, capacity: 8, max_in_flight: 4, fetch_for: Duration::from_secs(10) };
        let store = SharedStore::new(redis.clone(), "bramble:test:");
        let weigh = |word: &String| (!word.is_empty()).then_some(word.len());
        (Cache::with_store(settings, weigh, Some(store), Arc::clone(&self.executor)), redis)
    }

    async fn ask(
        &self,
        cache: &Words,
        seconds: u64,
        fetch: impl Future<Output = Result<String, Trouble>> + Send + 'static,
    ) -> Result<CachedAnswer<String, Trouble>, CacheError<Trouble>> {
        let now = self.start + Duration::from_secs(seconds);
        cache.get_or_fetch("a", now, Instant::now() + Duration::from_secs(10), || fetch).await
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        smol::block_on(self.executor.run(future))
    }

    /// Leaves an answer of a process that has ended since.
    async fn leave_one(&self) {
        let (cache, _redis) = self.cache().await;
        self.ask(&cache, 0, async { Ok("one".to_owned()) }).await.expect("fetched");
        let since = Instant::now();
        while self.server.get("bramble:test:a").is_none() {
            assert!(since.elapsed() < Duration::from_secs(20), "it is not written");
            smol::Timer::after(Duration::from_millis(5)).await;
        }
    }
}

#[test]
fn an_answer_of_another_process_ages_by_the_same_rules() {
    let bench = Bench::new();
    bench.run(async {
        bench.leave_one().await;
        let (fresh, _redis) = bench.cache().await;
        let found = bench.ask(&fresh, 599, pending()).await.expect("kept");
        assert_eq!((found.value.as_str(), found.age.as_secs(), found.origin), ("one", 599, AnswerOrigin::Fresh));
        assert_eq!((fresh.counts().fetches, fresh.counts().fresh), (0, 1));

        let (stale, _redis) = bench.cache().await;
        let found = bench.ask(&stale, 610, pending()).await.expect("at once, while the fetch goes on");
        assert_eq!((found.value.as_str(), found.age.as_secs(), found.origin), ("one", 610, AnswerOrigin::Revalidating));
        assert_eq!((stale.counts().fetches, stale.counts().revalidating), (1, 1));

        let (old, _redis) = bench.cache().await;
        let found = bench.ask(&old, 700, async { Err(Trouble::Unreachable) }).await.expect("kept");
        assert_eq!((found.value.as_str(), found.age.as_secs()), ("one", 700));
        assert_eq!(found.origin, AnswerOrigin::StaleIfError(CacheError::Failed(Trouble::Unreachable)));
        let unknown = bench.ask(&old, 701, async { Err(Trouble::Unknown) }).await;
        assert_eq!(unknown, Err(CacheError::Failed(Trouble::Unknown)));

        let (expired, _redis) = bench.cache().await;
        let failed = bench.ask(&expired, 4200, async { Err(Trouble::Unreachable) }).await;
        assert_eq!(failed, Err(CacheError::Failed(Trouble::Unreachable)));
    });
}

#[test]
fn what_is_out_of_date_here_is_looked_for_there_before_it_is_fetched() {
    let bench = Bench::new();
    bench.run(async {
        let ((one, _redis), (other, _other_redis)) = (bench.cache().await, bench.cache().await);
        bench.ask(&one, 0, async { Ok("one".to_owned()) }).await.expect("fetched");
        bench.ask(&other, 650, async { Ok("two".to_owned()) }).await.expect("fetched");
        let since = Instant::now();
        while !bench.server.get("bramble:test:a").is_some_and(|text| text.contains("two")) {
            assert!(since.elapsed() < Duration::from_secs(20), "it is not written");
            smol::Timer::after(Duration::from_millis(5)).await;
        }
        let found = bench.ask(&one, 700, pending()).await.expect("kept by the other");
        assert_eq!((found.value.as_str(), found.age.as_secs(), found.origin), ("two", 50, AnswerOrigin::Fresh));
        assert_eq!(one.counts().fetches, 1);
    });
}

#[test]
fn equal_questions_at_once_are_one_there_too() {
    let bench = Bench::new();
    bench.run(async {
        bench.leave_one().await;
        let (cache, _redis) = bench.cache().await;
        bench.server.say(&[b"CONFIG", b"RESETSTAT"]).expect("OK");
        let mut asking: Vec<_> = (0..50).map(|_| Box::pin(bench.ask(&cache, 1, pending()))).collect();
        for asking in &mut asking {
            assert!(smol::future::poll_once(asking).await.is_none());
        }
        for asking in asking {
            assert_eq!(asking.await.expect("kept").value, "one");
        }
        let info = bench.server.say(&[b"INFO", b"commandstats"]).expect("numbers");
        assert!(info.contains("cmdstat_getrange:calls=1,"), "{info}");
    });
}

#[test]
fn the_connection_ends_with_its_last_user() {
    let bench = Bench::new();
    bench.run(async {
        let clients = || {
            let list = bench.server.say(&[b"CLIENT", b"LIST"]).expect("a list");
            list.lines().count() - 1
        };
        let (cache, redis) = bench.cache().await;
        assert_eq!(clients(), 1, "one connection");
        drop((cache, redis));
        let since = Instant::now();
        while clients() > 0 {
            assert!(since.elapsed() < Duration::from_secs(20), "still connected");
            smol::Timer::after(Duration::from_millis(5)).await;
        }
    });
}

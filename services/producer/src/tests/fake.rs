//! A weather API in memory, a logger that remembers, and a service between them.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant, SystemTime};

use bramble::client::Deadline;
use bramble::config::Config;
use bramble_weather::{ApiError, Query, Report};
use smol::Executor;
use smol::channel::{Receiver, Sender, unbounded};
use smol::future::{block_on, pending};
use surf::http::{Request, Response};

use crate::ProducerSettings;
use crate::clock::Clock;
use crate::weather::{Moment, Weather};

pub(super) const KEY: &str = "0123456789abcdef0123456789abcdef";
pub(super) const OK: &str = r#"{"weather":[{"description":"mist","icon":"50d"}],"main":{"temp":3.37,"humidity":81},"dt":1800000000,"name":"Büsnau","cod":200}"#;
pub(super) const BAD_KEY: &str = r#"{"cod":401, "message": "Invalid API key."}"#;
pub(super) const NOT_FOUND: &str = r#"{"cod":"404","message":"city not found"}"#;

/// Behaviour of the fake towards a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Behaviour {
    Answer(u16, &'static str),
    Limit(&'static str),
    /// Fails with a text that has the whole address in it.
    Fail,
    Hang,
    /// Answers when the bench [releases](Bench::release) it, as it is told then.
    Wait,
}

#[derive(Debug)]
struct State {
    does: Mutex<Behaviour>,
    asked: Mutex<Vec<String>>,
    /// How much time each call had.
    deadlines: Mutex<Vec<Option<Duration>>>,
    /// A message for each call that waits.
    released: (Sender<Behaviour>, Receiver<Behaviour>),
}

#[derive(Debug, Clone)]
pub(super) struct Fake(Arc<State>);

#[surf::utils::async_trait]
impl surf::HttpClient for Fake {
    async fn send(&self, request: Request) -> Result<Response, surf::Error> {
        self.0.asked.lock().expect("no panic").push(request.url().to_string());
        let deadline = request.ext().get::<Deadline>().map(|deadline| deadline.0.duration_since(Instant::now()));
        self.0.deadlines.lock().expect("no panic").push(deadline);
        smol::future::yield_now().await;
        let does = *self.0.does.lock().expect("no panic");
        let does = if let Behaviour::Wait = does { self.0.released.1.recv().await.expect("a bench") } else { does };
        match does {
            Behaviour::Answer(status, body) => {
                let mut response = Response::new(status);
                response.set_body(body);
                Ok(response)
            }
            Behaviour::Limit(retry_after) => {
                let mut response = Response::new(429_u16);
                response.insert_header("retry-after", retry_after);
                Ok(response)
            }
            Behaviour::Fail => Err(surf::Error::from_str(502, format!("no route to {}", request.url()))),
            Behaviour::Hang | Behaviour::Wait => pending().await,
        }
    }
}

/// The service, its executor, and the fake behind it. Time starts at `start` and passes by hand.
pub(super) struct Bench {
    pub(super) weather: Arc<Weather>,
    pub(super) start: Moment,
    executor: Arc<Executor<'static>>,
    fake: Fake,
}

pub(super) fn config() -> Config {
    let mut config = Config::default();
    producer(&mut config).api_key_file = Some(key_file());
    config.breaker.open_for = Duration::from_secs(3);
    config
}

/// `[producer]`, to be changed.
pub(super) fn producer(config: &mut Config) -> &mut ProducerSettings {
    config.section_mut()
}

fn key_file() -> PathBuf {
    static FILES: AtomicU32 = AtomicU32::new(0);
    let name = format!("bramble-producer-{}-{}.key", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, KEY).expect("a temporary file");
    path
}

impl Bench {
    pub(super) fn new(does: Behaviour) -> Self {
        Self::with(does, &config())
    }

    pub(super) fn with(does: Behaviour, config: &Config) -> Self {
        Self::with_clock(does, config, None)
    }

    /// A fake whose clock is a guess while the file is there.
    pub(super) fn with_clock(does: Behaviour, config: &Config, clock_unset: Option<PathBuf>) -> Self {
        let (asked, deadlines) = (Mutex::default(), Mutex::default());
        let fake = Fake(Arc::new(State { does: Mutex::new(does), asked, deadlines, released: unbounded() }));
        let executor = Arc::new(Executor::new());
        let client = surf::Client::with_http_client(fake.clone());
        let clock = Clock::unset_while(clock_unset);
        let weather = Weather::with_clock(config, client, (Arc::clone(&executor), "producer-1"), clock);
        let weather = weather.expect("a configuration");
        std::fs::remove_file(config.section::<ProducerSettings>().api_key_file.expect("a key")).expect("own file");
        let start = Moment { wall: SystemTime::now(), steady: Instant::now() };
        Self { weather: Arc::new(weather), start, executor, fake }
    }

    pub(super) fn does(&self, does: Behaviour) {
        *self.fake.0.does.lock().expect("no panic") = does;
    }

    /// Has one call that waits answer so, and all calls from now on.
    pub(super) fn release(&self, does: Behaviour) {
        self.does(does);
        self.fake.0.released.0.try_send(does).expect("a fake");
    }

    /// Addresses that were asked.
    pub(super) fn asked(&self) -> Vec<String> {
        self.fake.0.asked.lock().expect("no panic").clone()
    }

    /// How much time each call had, if it was told.
    pub(super) fn deadlines(&self) -> Vec<Option<Duration>> {
        self.fake.0.deadlines.lock().expect("no panic").clone()
    }

    pub(super) fn calls(&self) -> usize {
        self.asked().len()
    }

    /// The moment `seconds` after the start.
    pub(super) fn at(&self, seconds: u64) -> Moment {
        let passed = Duration::from_secs(seconds);
        Moment { wall: self.start.wall + passed, steady: self.start.steady + passed }
    }

    /// Asks for a German place, `seconds` after the start.
    pub(super) async fn ask(&self, zip: &str, seconds: u64) -> Result<Report, ApiError> {
        let query = Query::parse(zip, Some("DE")).expect("a question");
        let now = self.at(seconds);
        self.weather.report_at(&query, now, now.steady + Duration::from_secs(60)).await
    }

    pub(super) async fn get(&self, target: &str) -> Response {
        self.send(Request::get(format!("http://producer{target}").as_str())).await
    }

    pub(super) async fn send(&self, request: Request) -> Response {
        crate::app(Arc::clone(&self.weather)).respond(request).await.expect("an answer")
    }

    pub(super) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(self.executor.run(future))
    }
}

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Remember;

impl log::Log for Remember {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LINES.with_borrow_mut(|lines| lines.push(format!("{} {}", record.level(), record.args())));
    }

    fn flush(&self) {}
}

/// Remembers from now on what each thread logs, at every level.
pub(super) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Remember).expect("the first logger");
        log::set_max_level(log::LevelFilter::Trace);
    });
    LINES.take();
}

/// Lines that this thread logged since [`listen`].
pub(super) fn lines() -> Vec<String> {
    LINES.with_borrow(Clone::clone)
}

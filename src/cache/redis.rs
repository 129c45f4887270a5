//! Answers shared through Redis, by instances that run and by those that start later. It is a help and never a need, so
//! nothing here makes an answer wait for long.
//!
//! One task, the keeper, holds the one connection and makes it anew when it breaks. While there is none, questions pass
//! by at once; a Redis that hangs costs a few of them [`OPERATION_FOR`], then the circuit opens and the keeper drops the
//! connection. The keeper's next connection is also the circuit's probe: no question ever pays for trying.
//!
//! The crate makes connections on an executor and a thread of its own; so the socket is opened here, after a look-up
//! without a blocking thread, and what the crate calls the driver runs in the keeper.

mod place;
mod report;

use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use futures_lite::future;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, Value};
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

use crate::breaker::{BreakerSettings, CircuitBreaker, Outcome};
use crate::bulkhead::{Bulkhead, Seat};
use crate::call::CallSettings;
use crate::circuit::guard::{CircuitGuard, GuardedCall};
use crate::config;
use crate::resolve::Resolver;
use crate::telemetry::Event;
use crate::telemetry::hystrix::Settings;
use crate::timeout::timeout_at;

use place::Place;
pub use place::SetupError;

/// The longest one question waits for Redis. An API of the internet answers in about that time: waiting longer is no shortcut.
pub const OPERATION_FOR: Duration = Duration::from_millis(100);

/// The largest value that is written or read.
pub const MAX_VALUE: usize = 16 << 10;

/// Time for a name, a connection and a password. No caller waits for them.
const CONNECT_FOR: Duration = Duration::from_secs(1);

/// A connection that breaks sooner is not made anew before that.
const LEAST_LIFE: Duration = Duration::from_secs(1);

/// Longest life of an entry; one that is asked for is written anew long before.
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Rules of the circuit. Three calls in a row that hang are no accident on a LAN, and all that the others wait for.
/// Trying again costs a connection of the keeper's and no caller's time, so it is tried often; and a cache that is back
/// may have all its load.
const BREAKER: BreakerSettings = BreakerSettings {
    window: Duration::from_secs(10),
    minimum_calls: 10,
    consecutive_failures: 3,
    failure_rate: 0.5,
    slow_call: OPERATION_FOR,
    slow_call_rate: 1.0,
    open_for: Duration::from_secs(1),
    open_for_max: Duration::from_secs(10),
    half_open_calls: 1,
    ramp: Duration::ZERO,
    ramp_floor: 1.0,
};

/// A Redis to share answers through. A clone is the same one; it is let go with the last of them.
#[derive(Clone)]
pub struct Redis {
    link: Arc<Link>,
    /// Ends with the last clone.
    _keeper: Arc<smol::Task<()>>,
}

/// Result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// No entry, or no connection.
    Nothing,
    /// A value of at most [`MAX_VALUE`].
    Bytes(Vec<u8>),
    /// Bytes that no cache has written.
    Alien(&'static str),
}

struct Link {
    place: Place,
    login: RedisConnectionInfo,
    resolver: Resolver,
    guard: CircuitGuard,
    /// Reads and writes under way.
    seats: Arc<Bulkhead>,
    standing: Mutex<ConnectionState>,
    /// Notified when a call has opened the circuit.
    tripped: event_listener::Event,
    /// Whether the last write was refused, so that the log says it once.
    refused: AtomicBool,
    counters: Counters,
}

struct ConnectionState {
    connection: Option<MultiplexedConnection>,
    /// Why there is no connection, in a few words.
    why_not: Option<String>,
    /// Whether the log has said so.
    said: bool,
}

#[derive(Default)]
struct Counters {
    found: AtomicU64,
    missed: AtomicU64,
    alien: AtomicU64,
    written: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    passed_by: AtomicU64,
}

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Redis {
    /// The store that `[cache]` names, or None if that is this process's memory. Whether it is there shows later.
    ///
    /// # Errors
    /// The store's address or password cannot be made sense of.
    pub fn from_config(
        cache: &config::Cache,
        call: &CallSettings,
        resolver: Resolver,
        executor: &smol::Executor<'static>,
    ) -> Result<Option<Self>, SetupError> {
        let Some(place) = Place::from_config(&cache.store)? else { return Ok(None) };
        let mut login = RedisConnectionInfo::default().set_db(place.db.into()).set_skip_set_lib_name();
        if let Some(path) = &cache.password_file {
            login = login.set_password(place::password(path)?);
        }
        let now = Instant::now();
        let breaker = CircuitBreaker::new(&BREAKER, now, fastrand::u64(..))?;
        let link = Arc::new(Link {
            place,
            login,
            resolver,
            guard: CircuitGuard::new("redis", breaker, Settings::new(&BREAKER, call, OPERATION_FOR), now),
            seats: Bulkhead::new("redis", call.max_concurrent),
            standing: Mutex::new(ConnectionState { connection: None, why_not: None, said: false }),
            tripped: event_listener::Event::new(),
            refused: AtomicBool::new(false),
            counters: Counters::default(),
        });
        let keeper = executor.spawn(keep(Arc::clone(&link)));
        Ok(Some(Self { link, _keeper: Arc::new(keeper) }))
    }

    /// Whether it can be asked right now.
    pub fn is_there(&self) -> bool {
        self.link.standing().connection.is_some()
    }

    /// Reads the value under `key`. Whether bytes are of use shows later; see [`count_found`](Self::count_found).
    pub(super) async fn read(&self, key: &str) -> Read {
        // A range, so that no more is sent than can be used, whatever the key holds.
        let command = command("GETRANGE", |command| command.arg(key).arg(0).arg(MAX_VALUE));
        let counters = &self.link.counters;
        let (counter, read) = match self.link.ask(&command).await {
            Some(Value::BulkString(bytes)) if bytes.is_empty() => (&counters.missed, Read::Nothing),
            Some(Value::BulkString(bytes)) if bytes.len() <= MAX_VALUE => return Read::Bytes(bytes),
            Some(Value::BulkString(_)) => (&counters.alien, Read::Alien("it is too large")),
            Some(Value::ServerError(error)) if error.code() == "WRONGTYPE" => {
                (&counters.alien, Read::Alien("it is no string"))
            }
            Some(Value::ServerError(error)) => {
                self.link.say_refused(&error);
                (&counters.refused, Read::Nothing)
            }
            Some(_) => (&counters.alien, Read::Alien("it is no string")),
            None => return Read::Nothing,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        read
    }

    /// Keeps `value` under `key` for `keep_for`, if there is a connection.
    pub(super) async fn write(&self, key: &str, value: &[u8], keep_for: Duration) {
        let milliseconds = keep_for.min(LONGEST_LIFE).as_millis();
        if milliseconds == 0 || value.len() > MAX_VALUE {
            return;
        }
        let milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX);
        let command = command("SET", |command| command.arg(key).arg(value).arg("PX").arg(milliseconds));
        let counter = match self.link.ask(&command).await {
            Some(Value::ServerError(error)) => {
                self.link.say_refused(&error);
                &self.link.counters.refused
            }
            Some(_) => {
                self.link.refused.store(false, Ordering::Relaxed);
                &self.link.counters.written
            }
            None => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes note whether the bytes that were read were of use.
    pub(super) fn count_found(&self, is_useful: bool) {
        let Counters { found, alien, .. } = &self.link.counters;
        if is_useful { found } else { alien }.fetch_add(1, Ordering::Relaxed);
    }
}

fn command(name: &str, arguments: impl FnOnce(&mut Cmd) -> &mut Cmd) -> Cmd {
    let mut command = redis::cmd(name);
    arguments(&mut command);
    command
}

/// Connects, stays, and begins again, until it is dropped.
async fn keep(link: Arc<Link>) {
    loop {
        let begun = Instant::now();
        let permit = match link.guard.breaker().try_acquire(begun) {
            Ok(permit) => permit,
            Err(refusal) => {
                link.is_gone_for_a_while();
                Timer::at(refusal.retry_at.unwrap_or(begun + BREAKER.open_for)).await;
                continue;
            }
        };
        match link.connect(begun + CONNECT_FOR).await {
            Ok((connection, driver, latency)) => {
                permit.record(Outcome::Success { latency }, Instant::now());
                link.is_here(connection);
                future::or(driver, link.until_tripped()).await;
                link.standing().connection = None;
                // One that was idle and closed for that is made anew before a caller notices.
                if Instant::now() < begun + LEAST_LIFE {
                    link.is_gone_for_a_while();
                    Timer::at(begun + LEAST_LIFE).await;
                }
            }
            Err(why) => {
                permit.record(Outcome::Refused, Instant::now());
                link.is_away(&why);
            }
        }
    }
}

impl Link {
    fn standing(&self) -> MutexGuard<'_, ConnectionState> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to `command`, or None: there is no connection, no room, no answer in time.
    async fn ask(&self, command: &Cmd) -> Option<Value> {
        let started = Instant::now();
        let Some((mut connection, _seat, call)) = self.admit(started) else {
            self.counters.passed_by.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let answer = timeout_at(started + OPERATION_FOR, connection.send_packed_command(command)).await;
        let took = started.elapsed();
        let outcome = match &answer {
            Some(Ok(_)) => Outcome::Success { latency: took },
            Some(Err(_)) => Outcome::Failure,
            None => Outcome::Timeout,
        };
        call.ended(outcome, started, took);
        if !self.guard.breaker().state().is_available() {
            self.tripped.notify(usize::MAX);
        }
        if let Some(Ok(value)) = answer {
            return Some(value);
        }
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// A connection, a seat and the permit of the circuit. None: one of them is missing, which is counted.
    fn admit(&self, now: Instant) -> Option<(MultiplexedConnection, Seat, GuardedCall<'_>)> {
        let Some(connection) = self.standing().connection.clone() else {
            self.guard.note(Event::ShortCircuited, now);
            return None;
        };
        let Ok(seat) = self.seats.try_enter() else {
            self.guard.note(Event::Full, now);
            return None;
        };
        Some((connection, seat, self.guard.admit(now).ok()?))
    }

    /// A connection that has answered a `PING` within the time that others get, and how fast it did.
    async fn connect(&self, deadline: Instant) -> Result<(MultiplexedConnection, Driver, Duration), String> {
        let stream = self.open(deadline).await?.compat();
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(self.seats.max());
        let setup = MultiplexedConnection::new_with_config(&self.login, stream, config);
        let setup = timeout_at(deadline, Box::pin(setup)).await.ok_or("it does not answer")?;
        let (mut connection, driver) = setup.map_err(|error| brief(&error.to_string()))?;
        let mut driver: Driver = Box::pin(driver);
        let started = Instant::now();
        let ping = redis::cmd("PING");
        let answer = timeout_at(started + OPERATION_FOR, connection.send_packed_command(&ping));
        let broken = async {
            (&mut driver).await;
            None
        };
        match future::or(answer, broken).await {
            Some(Ok(Value::ServerError(error))) => Err(words(&error)),
            Some(Ok(_)) => Ok((connection, driver, started.elapsed())),
            Some(Err(error)) => Err(brief(&error.to_string())),
            None => Err(format!("it does not answer within {OPERATION_FOR:?}")),
        }
    }

    /// A connection to the first address that takes one.
    async fn open(&self, deadline: Instant) -> Result<Async<TcpStream>, String> {
        let found = self.resolver.lookup(&self.place.host, deadline).await.map_err(|error| error.to_string())?;
        let mut why = String::new();
        for (tried, &ip) in found.addrs.iter().enumerate() {
            let now = Instant::now();
            let share = deadline.saturating_duration_since(now) / u32::try_from(found.addrs.len() - tried).unwrap_or(1);
            let addr = SocketAddr::from((ip, self.place.port));
            match timeout_at(now + share, Async::<TcpStream>::connect(addr)).await {
                Some(Ok(stream)) => {
                    stream.get_ref().set_nodelay(true).map_err(|error| error.to_string())?;
                    return Ok(stream);
                }
                Some(Err(error)) => why = error.to_string(),
                None => why = format!("{addr} does not answer"),
            }
        }
        Err(why)
    }

    async fn until_tripped(&self) {
        loop {
            let tripped = self.tripped.listen();
            if !self.guard.breaker().state().is_available() {
                return;
            }
            tripped.await;
        }
    }

    fn is_here(&self, connection: MultiplexedConnection) {
        let mut standing = self.standing();
        let again = if standing.said { " again" } else { "" };
        *standing = ConnectionState { connection: Some(connection), why_not: None, said: false };
        drop(standing);
        log::info!("answers are shared through redis at {}{again}", self.place);
    }

    /// There will be no connection for some time; why shows in the circuit, unless it is known already.
    fn is_gone_for_a_while(&self) {
        let snapshot = self.guard.breaker().snapshot(Instant::now());
        let tripped = snapshot.reason.filter(|_| !snapshot.state.is_available());
        let known = self.standing().why_not.clone();
        let why = known.or_else(|| tripped.map(|reason| reason.to_string()));
        self.is_away(&why.unwrap_or_else(|| "the connection broke".to_owned()));
    }

    fn is_away(&self, why: &str) {
        let mut standing = self.standing();
        standing.why_not = Some(why.to_owned());
        if !std::mem::replace(&mut standing.said, true) {
            drop(standing);
            log::warn!("redis at {} cannot be used ({why}); going on with memory only, and trying on", self.place);
        }
    }

    /// Logs that Redis answers, but refuses to keep things: out of memory, read-only, not permitted.
    fn say_refused(&self, error: &redis::ServerError) {
        if !self.refused.swap(true, Ordering::Relaxed) {
            log::warn!("redis at {} refuses: {}", self.place, words(error));
        }
    }
}

fn words(error: &redis::ServerError) -> String {
    brief(&format!("{} {}", error.code(), error.details().unwrap_or_default()))
}

/// On one line and at most 200 characters.
fn brief(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Redis").field(&self.link.place).finish()
    }
}

//! The connection to a Redis: made, kept, made anew when it breaks, and guarded by a circuit.

use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use event_listener::Event;
use futures_lite::future;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, Value};
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

use super::place::Place;
use crate::breaker::{BreakerSettings, CircuitBreaker, Outcome};
use crate::bulkhead::{Bulkhead, BulkheadPermit};
use crate::call::CallSettings;
use crate::circuit::guard::{CircuitGuard, GuardedCall};
use crate::ratio::Ratio;
use crate::resolve::Resolver;
use crate::telemetry::Event as CallEvent;
use crate::telemetry::hystrix::CommandSettings;
use crate::timeout::timeout_at;

/// The longest one question waits for Redis. An API of the internet answers in about that time: waiting longer is no
/// shortcut.
pub const OPERATION_FOR: Duration = Duration::from_millis(100);

/// Time for a name, a connection and a password. No caller waits for them.
const CONNECT_FOR: Duration = Duration::from_secs(1);

/// A connection that breaks sooner is not made anew before that.
const LEAST_LIFE: Duration = Duration::from_secs(1);

/// Rules of the circuit. Three calls in a row that hang are no accident on a LAN, and all that the others wait for.
/// Trying again costs a connection of the keeper's and no caller's time, so it is tried often; and a cache that is back
/// may have all its load.
const BREAKER: BreakerSettings = BreakerSettings {
    window: Duration::from_secs(10),
    minimum_calls: NonZeroU32::new(10).expect("above 0"),
    consecutive_failures: NonZeroU32::new(3).expect("above 0"),
    failure_rate: Ratio::new(0.5).expect("a ratio"),
    slow_call: OPERATION_FOR,
    slow_call_rate: Ratio::ONE,
    open_for: Duration::from_secs(1),
    open_for_max: Duration::from_secs(10),
    half_open_calls: NonZeroU32::MIN,
    ramp: Duration::ZERO,
    ramp_floor: Ratio::ONE,
};

/// The connection to a Redis, kept by [`keep`].
pub(super) struct Link {
    pub(super) place: Place,
    login: RedisConnectionInfo,
    resolver: Resolver,
    pub(super) guard: CircuitGuard,
    /// Reads and writes under way.
    pub(super) bulkhead: Arc<Bulkhead>,
    state: Mutex<ConnectionState>,
    /// Notified when a call has opened the circuit.
    tripped: Event,
    /// Whether the last write was refused, so that the log says it once.
    refused: AtomicBool,
    pub(super) counters: Counters,
}

/// The connection, or why there is none.
pub(super) struct ConnectionState {
    pub(super) connection: Option<MultiplexedConnection>,
    /// Why there is no connection, in a few words.
    pub(super) why_not: Option<String>,
    /// Whether the log has a line about it.
    said: bool,
}

/// Reads and writes by their result.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) found: AtomicU64,
    pub(super) missed: AtomicU64,
    pub(super) alien: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) passed_by: AtomicU64,
}

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Connects, stays, and begins again, until it is dropped.
pub(super) async fn keep(link: Arc<Link>) {
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
                link.state().connection = None;
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
    /// A link without a connection.
    pub(super) fn new(place: Place, login: RedisConnectionInfo, resolver: Resolver, call: &CallSettings) -> Self {
        let now = Instant::now();
        let breaker = CircuitBreaker::new(&BREAKER, now, fastrand::u64(..));
        Self {
            place,
            login,
            resolver,
            guard: CircuitGuard::new("redis", breaker, CommandSettings::new(&BREAKER, call, OPERATION_FOR), now),
            bulkhead: Bulkhead::new("redis", call.max_concurrent),
            state: Mutex::new(ConnectionState { connection: None, why_not: None, said: false }),
            tripped: Event::new(),
            refused: AtomicBool::new(false),
            counters: Counters::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to `command`, or None: there is no connection, no room, no answer in time.
    pub(super) async fn ask(&self, command: &Cmd) -> Option<Value> {
        let started = Instant::now();
        let Some((mut connection, _permit, call)) = self.admit(started) else {
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

    /// A connection, a permit of the bulkhead and one of the circuit. None: one of them is missing, which is counted.
    fn admit(&self, now: Instant) -> Option<(MultiplexedConnection, BulkheadPermit, GuardedCall<'_>)> {
        let Some(connection) = self.state().connection.clone() else {
            self.guard.note(CallEvent::ShortCircuited, now);
            return None;
        };
        let Ok(permit) = self.bulkhead.try_enter() else {
            self.guard.note(CallEvent::Full, now);
            return None;
        };
        Some((connection, permit, self.guard.admit(now).ok()?))
    }

    /// A connection that has answered a `PING` within the time that others get, and how fast it did.
    async fn connect(&self, deadline: Instant) -> Result<(MultiplexedConnection, Driver, Duration), String> {
        let stream = self.open(deadline).await?.compat();
        let config =
            AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(self.bulkhead.max());
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
        let mut state = self.state();
        let again = if state.said { " again" } else { "" };
        *state = ConnectionState { connection: Some(connection), why_not: None, said: false };
        drop(state);
        log::info!("answers are shared through redis at {}{again}", self.place);
    }

    /// There will be no connection for some time; why shows in the circuit, unless it is known already.
    fn is_gone_for_a_while(&self) {
        let snapshot = self.guard.breaker().snapshot(Instant::now());
        let tripped = snapshot.reason.filter(|_| !snapshot.state.is_available());
        let known = self.state().why_not.clone();
        let why = known.or_else(|| tripped.map(|reason| reason.to_string()));
        self.is_away(&why.unwrap_or_else(|| "the connection broke".to_owned()));
    }

    fn is_away(&self, why: &str) {
        let mut state = self.state();
        state.why_not = Some(why.to_owned());
        if !std::mem::replace(&mut state.said, true) {
            drop(state);
            log::warn!("redis at {} cannot be used ({why}); going on with memory only, and trying on", self.place);
        }
    }

    /// The last write was taken.
    pub(super) fn note_written(&self) {
        self.refused.store(false, Ordering::Relaxed);
    }

    /// Logs that Redis answers, but refuses to keep things: out of memory, read-only, not permitted.
    pub(super) fn say_refused(&self, error: &redis::ServerError) {
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

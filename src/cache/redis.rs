//! Answers shared through Redis, by instances that run and by those that start later. It is a help and never a need, so
//! nothing here makes an answer wait for long.
//!
//! One task, the keeper, holds the one connection and makes it anew when it breaks. While there is none, questions pass
//! by at once; a Redis that hangs costs a few of them [`OPERATION_FOR`], then the circuit opens and the keeper drops
//! the connection. The keeper's next connection is also the circuit's probe: no question ever pays for trying.
//!
//! The crate makes connections on an executor and a thread of its own; so the socket is opened here, after a look-up
//! without a blocking thread, and what the crate calls the driver runs in the keeper.

mod link;
mod place;
mod report;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::{Cmd, RedisConnectionInfo, Value};

use crate::call::CallSettings;
use crate::config;
use crate::resolve::Resolver;

pub use link::OPERATION_FOR;
use link::{Counters, Link, keep};
use place::Place;
pub use place::SetupError;

/// The largest value that is written or read.
pub const MAX_VALUE: usize = 16 << 10;

/// Longest life of an entry; one that is asked for is written anew long before.
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

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

impl Redis {
    /// The store that `[cache]` names, or None if that is this process's memory. Whether it is there shows later.
    ///
    /// # Errors
    /// The store's address or password cannot be made sense of.
    pub fn from_config(
        cache: &config::CacheSection,
        call: &CallSettings,
        resolver: Resolver,
        executor: &smol::Executor<'static>,
    ) -> Result<Option<Self>, SetupError> {
        let Some(place) = Place::from_config(&cache.store)? else { return Ok(None) };
        let mut login = RedisConnectionInfo::default().set_db(place.db.into()).set_skip_set_lib_name();
        if let Some(path) = &cache.password_file {
            login = login.set_password(place::password(path)?);
        }
        let link = Arc::new(Link::new(place, login, resolver, call));
        let keeper = executor.spawn(keep(Arc::clone(&link)));
        Ok(Some(Self { link, _keeper: Arc::new(keeper) }))
    }

    /// Whether it can be asked right now.
    pub fn is_there(&self) -> bool {
        self.link.state().connection.is_some()
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
                self.link.note_written();
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

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Redis").field(&self.link.place).finish()
    }
}

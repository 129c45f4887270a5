//! Format of shared entries: an entry says in which format it is, and when its answer was asked for, since it is of use
//! only to processes that mean the same by it.
//!
//! Any program may write into a Redis, by mistake or as an older version. Bytes that cannot be read are as good as
//! nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Entry;
use super::redis::{Read, Redis};

/// Raised when the meaning of an entry changes. Entries of another format are not read.
const FORMAT: u32 = 1;

/// Entries shared with other processes, beyond this one's memory.
pub struct SharedStore<V> {
    redis: Redis,
    prefix: Box<str>,
    encode: fn(&Entry<V>) -> Option<Vec<u8>>,
    decode: fn(&[u8]) -> Option<Entry<V>>,
    /// Whether the log has told of an unusable entry.
    said: AtomicBool,
}

/// An entry as JSON.
#[derive(Serialize, Deserialize)]
struct Envelope<V> {
    format: u32,
    /// When the answer was asked for, in milliseconds of Unix time.
    asked_ms: u64,
    value: V,
}

impl<V> SharedStore<V> {
    /// Entries in `redis` whose keys begin with `prefix`.
    pub fn new(redis: Redis, prefix: &str) -> Self
    where
        V: Serialize + DeserializeOwned,
    {
        Self { redis, prefix: prefix.into(), encode: encode::<V>, decode: decode::<V>, said: AtomicBool::new(false) }
    }

    /// Finds the entry for `key`, if its age is known at `now`.
    pub(super) async fn find(&self, key: &str, now: SystemTime) -> Option<Entry<V>> {
        let key = self.key(key);
        let why = match self.redis.read(&key).await {
            Read::Nothing => return None,
            Read::Alien(why) => why,
            Read::Bytes(bytes) => {
                let entry = (self.decode)(&bytes);
                let useful = entry.as_ref().is_some_and(|entry| entry.age(now).is_some());
                self.redis.count_found(useful);
                match entry {
                    Some(entry) if useful => return Some(entry),
                    Some(_) => "it is from the future; do the clocks agree?",
                    None => "it is not understood",
                }
            }
        };
        if !self.said.swap(true, Ordering::Relaxed) {
            log::warn!("the entry {key} in redis is ignored: {why}; further ones are ignored without a word");
        }
        None
    }

    /// Keeps `entry` for `keep_for`, as far as it can be.
    pub(super) async fn keep(&self, key: &str, entry: &Entry<V>, keep_for: Duration) {
        if let Some(bytes) = (self.encode)(entry) {
            self.redis.write(&self.key(key), &bytes, keep_for).await;
        }
    }

    fn key(&self, key: &str) -> String {
        [&self.prefix, key].concat()
    }
}

fn encode<V: Serialize>(entry: &Entry<V>) -> Option<Vec<u8>> {
    let asked = entry.stored_at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let asked_ms = u64::try_from(asked.as_millis()).ok()?;
    serde_json::to_vec(&Envelope { format: FORMAT, asked_ms, value: &entry.value }).ok()
}

fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Option<Entry<V>> {
    let Envelope { format, asked_ms, value } = serde_json::from_slice(bytes).ok()?;
    let stored_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(asked_ms))?;
    (format == FORMAT).then_some(Entry { value, stored_at })
}

impl<V> std::fmt::Debug for SharedStore<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedStore").field("redis", &self.redis).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_as_it_was_written() {
        let stored_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
        let entry = Entry { value: "warm".to_owned(), stored_at };
        let bytes = encode(&entry).expect("JSON");
        assert_eq!(bytes, br#"{"format":1,"asked_ms":1800000000123,"value":"warm"}"#);
        assert_eq!(decode::<String>(&bytes), Some(entry));
        assert_eq!(encode(&Entry { value: 1, stored_at: SystemTime::UNIX_EPOCH - Duration::from_secs(1) }), None);
    }

    #[test]
    fn what_another_has_written_is_not_read() {
        for bytes in [
            &b""[..],
            b"junk",
            b"{}",
            b"\xff\xfe",
            br#""warm""#,
            br#"{"format":2,"asked_ms":1800000000123,"value":"warm"}"#,
            br#"{"format":1,"asked_ms":-1,"value":"warm"}"#,
            br#"{"format":1,"asked_ms":1e99,"value":"warm"}"#,
            br#"{"format":1,"asked_ms":18446744073709551616,"value":"warm"}"#,
            br#"{"format":1,"asked_ms":1800000000123,"value":7}"#,
            br#"{"format":1,"asked_ms":1800000000123}"#,
            br#"{"format":1,"asked_ms":1800000000123,"value":"warm"}}"#,
        ] {
            assert_eq!(decode::<String>(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
        let far = decode::<String>(br#"{"format":1,"asked_ms":18446744073709551615,"value":"warm"}"#);
        assert!(far.is_none_or(|entry| entry.age(SystemTime::now()).is_none()), "no overflow");
    }
}

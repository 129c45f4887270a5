//! Signed records: an instance signs its announcement with the cluster's key, so that no other host on the network can
//! put one in.
//!
//! The address records of an instance differ from interface to interface, and its TXT record is the same on all of
//! them; so the TXT record lists the addresses, and that list is signed.

use std::time::{Duration, SystemTime};

use super::key::{ClusterKey, Mismatch, Tag};

/// How long a signature is good for; it is renewed at half of it.
pub(crate) const GOOD_FOR: Duration = Duration::from_secs(24 * 3600);
/// How far two clocks may be apart.
const SKEW: Duration = Duration::from_secs(10 * 60);
/// The beginning of 2026, in Unix time: a clock before it has not been set since power came on.
const NO_CLOCK_BEFORE: Duration = Duration::from_secs(1_767_225_600);
/// Keeps a record's signature from ever being a request's.
const DOMAIN: &[u8] = b"bramble record 1";

/// Fields that are signed, each as the text that is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    /// First label of the name it is registered under.
    pub(crate) name: &'a str,
    pub(crate) port: u16,
    pub(crate) cluster: &'a str,
    pub(crate) service: &'a str,
    pub(crate) id: &'a str,
    pub(crate) version: &'a str,
    pub(crate) path: &'a str,
    pub(crate) zone: &'a str,
    pub(crate) weight: &'a str,
    pub(crate) status: &'a str,
    /// Addresses between commas.
    pub(crate) addresses: &'a str,
    /// Unix time in seconds.
    pub(crate) expires: &'a str,
}

/// Why a record is not believed to be the cluster's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("it is not signed with the cluster's key")]
    Unsigned,
    #[error("it is signed with a key that is not known here")]
    UnknownKey,
    #[error("its signature does not fit")]
    Wrong,
    #[error("its signature has expired; are the clocks of both nodes right?")]
    Expired,
    #[error("it is an old record, sent again")]
    Old,
    #[error("its address is not among those that it signed")]
    Address,
}

impl Record<'_> {
    /// The name of the key and the signature.
    pub(crate) fn sign<'k>(&self, key: &'k ClusterKey) -> (&'k str, Tag) {
        key.sign(&self.parts(&self.port.to_be_bytes()))
    }

    /// Checks the signature and whether it still counts; says until when, in Unix time in seconds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn verify(&self, key: &ClusterKey, kid: &str, sig: &str, now: SystemTime) -> Result<u64, RecordError> {
        if kid.is_empty() && sig.is_empty() {
            return Err(RecordError::Unsigned);
        }
        let tag = Tag::parse(sig).ok_or(RecordError::Wrong)?;
        key.verify(kid, tag, &self.parts(&self.port.to_be_bytes())).map_err(|mismatch| match mismatch {
            Mismatch::UnknownKey => RecordError::UnknownKey,
            Mismatch::Wrong => RecordError::Wrong,
        })?;
        let expires = self.expires.parse().map_err(|_| RecordError::Wrong)?;
        if is_over(expires, now) { Err(RecordError::Expired) } else { Ok(expires) }
    }

    fn parts<'s>(&'s self, port: &'s [u8; 2]) -> [&'s [u8]; 13] {
        [
            DOMAIN,
            self.name.as_bytes(),
            port,
            self.cluster.as_bytes(),
            self.service.as_bytes(),
            self.id.as_bytes(),
            self.version.as_bytes(),
            self.path.as_bytes(),
            self.zone.as_bytes(),
            self.weight.as_bytes(),
            self.status.as_bytes(),
            self.addresses.as_bytes(),
            self.expires.as_bytes(),
        ]
    }
}

/// When a signature made at `now` expires, in Unix time in seconds.
pub(crate) fn expiry(now: SystemTime) -> u64 {
    (since_1970(now) + GOOD_FOR).as_secs()
}

/// Whether a signature that expires then should be made anew: half of its time is over, or the clock was set since.
pub(crate) fn is_due(expires: u64, now: SystemTime) -> bool {
    let left = expires.saturating_sub(since_1970(now).as_secs());
    let fresh = (GOOD_FOR / 2).as_secs()..=(GOOD_FOR + SKEW).as_secs();
    !fresh.contains(&left)
}

/// Whether the time is over. A clock that was never set cannot tell: then it is not.
pub(crate) fn is_over(expires: u64, now: SystemTime) -> bool {
    let now = since_1970(now);
    now >= NO_CLOCK_BEFORE && expires.saturating_add(SKEW.as_secs()) < now.as_secs()
}

fn since_1970(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    const NOON: u64 = 1_795_262_400;

    #[test]
    fn a_signature_lasts_a_day_and_ten_minutes_for_clocks_that_differ() {
        let expires = expiry(at(NOON));
        assert_eq!(expires, NOON + 86_400);
        for (seconds, over) in [(0, false), (86_400, false), (86_400 + 600, false), (86_400 + 601, true)] {
            assert_eq!(is_over(expires, at(NOON + seconds)), over, "{seconds}");
        }
        assert!(!is_over(expires, at(NOON - 7 * 86_400)), "a clock that is behind finds everything still to come");
        assert!(!is_over(u64::MAX, at(NOON)));
    }

    #[test]
    fn a_clock_that_was_never_set_does_not_judge() {
        assert!(!is_over(0, SystemTime::UNIX_EPOCH));
        assert!(!is_over(10, at(1_767_225_599)));
        assert!(is_over(10, at(1_767_225_600)));
    }

    #[test]
    fn it_is_signed_anew_at_half_its_time_and_when_the_clock_was_set() {
        let expires = expiry(at(NOON));
        assert!(!is_due(expires, at(NOON)) && !is_due(expires, at(NOON + 43_200)));
        assert!(is_due(expires, at(NOON + 43_201)), "half of it is over");
        assert!(is_due(expires, at(NOON + 10 * 86_400)), "the clock was set forward");
        assert!(is_due(expires, at(NOON - 86_400)), "the clock was set back");
    }
}

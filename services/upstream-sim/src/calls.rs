//! How often upstream was asked: the proof that a cache, coalescing or a breaker kept calls away.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::faults::Label;
use crate::places::Places;

const MINUTE: Duration = Duration::from_secs(60);

/// Counts since the start.
#[derive(Debug)]
pub(crate) struct Calls {
    /// Every call that arrived; those that hang or were given up have no status.
    total: u64,
    /// By what was answered; statuses are 200 and 400-599.
    by_status: BTreeMap<u16, u64>,
    /// A counter for each known place, so that strange questions cannot grow it.
    by_place: Vec<u64>,
}

impl Calls {
    pub(crate) fn new(places: &Places) -> Self {
        Self { total: 0, by_status: BTreeMap::new(), by_place: vec![0; places.all().len()] }
    }

    pub(crate) fn arrived(&mut self, place: Option<usize>) {
        self.total += 1;
        if let Some(count) = place.and_then(|index| self.by_place.get_mut(index)) {
            *count += 1;
        }
    }

    pub(crate) fn answered(&mut self, status: u16) {
        *self.by_status.entry(status).or_default() += 1;
    }

    /// `GET /sim/calls`.
    pub(crate) fn view<'a>(&'a self, places: &'a Places) -> View<'a> {
        View { total: self.total, by_status: &self.by_status, by_place: ByPlace { calls: self, places } }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct View<'a> {
    total: u64,
    by_status: &'a BTreeMap<u16, u64>,
    by_place: ByPlace<'a>,
}

#[derive(Debug)]
struct ByPlace<'a> {
    calls: &'a Calls,
    places: &'a Places,
}

impl Serialize for ByPlace<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counted = self.places.all().iter().zip(&self.calls.by_place);
        serializer.collect_map(counted.filter(|(_, count)| **count > 0).map(|(place, count)| (Label(place), count)))
    }
}

/// Calls one key has made in the current minute; the minute begins with its first call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Minute {
    began: Option<SystemTime>,
    calls: u32,
}

impl Minute {
    /// Whether one more call is within the limit. A refused one does not count.
    pub(crate) fn admits(&mut self, limit: u32, now: SystemTime) -> bool {
        // A clock set back begins a new minute, too: otherwise no call would be let in until it has caught up.
        let over = self.began.and_then(|began| now.duration_since(began).ok()).is_none_or(|age| age >= MINUTE);
        if over {
            *self = Self { began: Some(now), calls: 0 };
        }
        let admitted = self.calls < limit;
        self.calls += u32::from(admitted);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_admits_the_limit_and_the_next_begins_anew() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let mut minute = Minute::default();
        let admitted = |minute: &mut Minute, at| (0..100).filter(|_| minute.admits(60, at)).count();
        assert_eq!(admitted(&mut minute, start), 60);
        assert_eq!(admitted(&mut minute, start + Duration::from_millis(59_999)), 0);
        assert_eq!(admitted(&mut minute, start + MINUTE), 60);
        assert_eq!(admitted(&mut minute, start), 60, "the clock was set back");
    }

    #[test]
    fn only_known_places_are_counted_by_name() {
        let places = Places::embedded();
        let mut calls = Calls::new(&places);
        let index = places.by_zip("70569", "DE");
        for place in [index, index, None, Some(usize::MAX)] {
            calls.arrived(place);
        }
        calls.answered(404);
        let json = serde_json::to_string(&calls.view(&places)).expect("JSON");
        assert_eq!(json, r#"{"total":4,"by_status":{"404":1},"by_place":{"70569,DE":2}}"#);
    }
}

//! The state behind the routes: places, keys, counts, limit and faults.

use std::fmt;
use std::hint::black_box;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::ask::Ask;
use crate::body::{Current, GeoBody, Units};
use crate::calls::{Calls, Minute};
use crate::faults::{Faults, Plan};
use crate::places::Places;
use crate::reply::Reply;
use crate::weather::{Language, weather_at};

/// Clock of the simulation; another one makes a test's weather and minutes pass without waiting.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// How the stand-in is to behave.
#[derive(Clone)]
pub struct Settings {
    /// Accepted values of `appid`. None at all: every call is refused with 401.
    pub keys: Vec<String>,
    /// Calls a minute and key before 429; upstream's free plan has 60.
    pub limit_per_minute: Option<u32>,
    /// Whether `/sim/*` answers peers other than this machine.
    pub allow_remote_faults: bool,
    /// Decides which calls fail under an `error_rate`; None draws one from the system.
    pub seed: Option<u64>,
    /// Source of the time.
    pub clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            limit_per_minute: None,
            allow_remote_faults: false,
            seed: None,
            clock: Arc::new(SystemTime::now),
        }
    }
}

/// Says how many keys there are, never which.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("keys", &self.keys.len())
            .field("limit_per_minute", &self.limit_per_minute)
            .field("allow_remote_faults", &self.allow_remote_faults)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// The two things that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Weather,
    Zip,
}

/// The stand-in's state, shared by all of its routes.
pub struct Sim {
    pub(crate) settings: Settings,
    pub(crate) places: Places,
    pub(crate) calls: Mutex<Calls>,
    pub(crate) faults: Mutex<Faults>,
    rng: Mutex<fastrand::Rng>,
    /// A minute for each of the keys, in their order.
    minutes: Mutex<Vec<Minute>>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Locks `mutex`, poisoned or not: no value behind these locks is ever half changed, so a panic elsewhere does not
/// spoil it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sim {
    pub(crate) fn new(settings: Settings) -> Self {
        let places = Places::embedded();
        Self {
            calls: Mutex::new(Calls::new(&places)),
            faults: Mutex::default(),
            rng: Mutex::new(settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed)),
            minutes: Mutex::new(vec![Minute::default(); settings.keys.len()]),
            places,
            settings,
        }
    }

    /// Counts the call and decides what goes wrong with it.
    pub(crate) fn arrives(&self, place: Option<usize>) -> Plan {
        lock(&self.calls).arrived(place);
        lock(&self.faults).plan(place, &mut lock(&self.rng))
    }

    /// The answer when nothing goes wrong: first the key, then the limit, then the question, as upstream.
    pub(crate) fn honest(&self, route: Route, ask: &Ask<'_>, place: Result<usize, Reply>) -> Reply {
        let Some(key) = ask.appid.as_deref().and_then(|appid| self.key(appid)) else {
            return Reply::bad_key();
        };
        let now = (self.settings.clock)();
        if let Some(limit) = self.settings.limit_per_minute {
            if !lock(&self.minutes).get_mut(key).is_some_and(|minute| minute.admits(limit, now)) {
                return Reply::blocked();
            }
        }
        match place.map(|index| self.places.all().get(index)) {
            Ok(Some(place)) if route == Route::Zip => Reply::json(200, &GeoBody::new(place)),
            Ok(Some(place)) => {
                let units = ask.units.as_deref().map(Units::from_param).unwrap_or_default();
                let language = ask.lang.as_deref().map(Language::from_param).unwrap_or_default();
                Reply::json(200, &Current::new(place, &weather_at(place, now), units, language))
            }
            Ok(None) => Reply::city_not_found(),
            Err(refusal) => refusal,
        }
    }

    /// The position of a key. Every one is compared in full, so that the time taken does not tell how much was right.
    fn key(&self, asked: &str) -> Option<usize> {
        let keys = self.settings.keys.iter().enumerate();
        keys.fold(None, |found, (index, key)| if same(asked, key) { Some(index) } else { found })
    }
}

fn same(asked: &str, key: &str) -> bool {
    let differing = asked.bytes().zip(key.bytes().chain(std::iter::repeat(0))).fold(0, |sum, (a, b)| sum | (a ^ b));
    (black_box(differing) == 0) & (asked.len() == key.len()) & !key.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_equal_only_in_full() {
        assert!(same("secret", "secret"));
        for (asked, key) in
            [("secre", "secret"), ("secret1", "secret"), ("secret\0", "secret"), ("", "secret"), ("", "")]
        {
            assert!(!same(asked, key), "{asked:?} {key:?}");
        }
    }

    #[test]
    fn keys_never_show_in_debug_output() {
        let settings = Settings { keys: vec!["topsecret".into()], ..Settings::default() };
        let shown = format!("{settings:?} {:?}", Sim::new(settings.clone()));
        assert!(!shown.contains("topsecret") && shown.contains("keys: 1"), "{shown}");
    }
}

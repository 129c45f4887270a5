//! What the service is for, without HTTP around it: a question, the time there is, and the best answer to be had.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bramble::breaker::{CircuitBreaker, InvalidSetting};
use bramble::cache::redis::{Redis, SetupError as StoreError};
use bramble::cache::{Cache, Counts as CacheCounts, Failure, Found, How, Missed, Settings, SharedStore};
use bramble::call::Fallback;
use bramble::config::Config;
use bramble::resolve::Resolver;
use bramble::telemetry::{Event, hystrix};
use bramble_weather::{ApiError, Code, Query, Report, Source};

use crate::clock::Clock;
use crate::key::{ApiKey, KeyError};
use crate::openweathermap::{Observation, UpstreamError};
use crate::upstream::address::{self, AddressError};
use crate::upstream::{Manner, Upstream, UpstreamCounts};

/// A place that the weather API does not know is not asked for again so soon; a new postal code can wait a minute.
const REMEMBER_UNKNOWN: Duration = Duration::from_secs(60);

/// After a failure a place is asked for once a second at most. Longer, and a recovery would show late.
const REMEMBER_FAILURE: Duration = Duration::from_secs(1);

/// The cache's own patience beyond a call's timeout: it is there for a call that ignores its own.
const BACKSTOP: Duration = Duration::from_millis(250);

/// Both clocks at one moment: ages are told by the wall, pauses are measured by the other.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For what others see.
    pub wall: SystemTime,
    /// For what lasts.
    pub steady: Instant,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        Self { wall: SystemTime::now(), steady: Instant::now() }
    }
}

/// Why the service cannot start; its sentence says what to change.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No address that may be asked.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A circuit that cannot be built so.
    #[error(transparent)]
    Breaker(#[from] InvalidSetting),
    /// No shared store that could be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An error, and how long to wait before asking again, where that helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is said.
    pub error: ApiError,
    /// Set with 429 and 503.
    pub retry_after: Option<Duration>,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        refusal.error
    }
}

/// What the service has done since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions.
    pub cache: CacheCounts,
    /// Calls to the weather API.
    pub upstream: UpstreamCounts,
}

/// The service's core.
#[derive(Debug)]
pub struct Weather {
    cache: Cache<Arc<Observation>, UpstreamError>,
    /// The cache's second level, to tell of it.
    pub(crate) redis: Option<Redis>,
    upstream: Arc<Upstream>,
    clock: Clock,
    settings: Settings,
    fallback: Fallback,
    timeout: Duration,
    /// Ends each key of the cache: an answer in other units or another language is another answer.
    key_end: String,
    id: String,
}

impl Weather {
    /// A service that calls the weather API through `client`, fetches on `executor`, and signs its answers `id`.
    ///
    /// # Errors
    /// There is no key, the weather API's address would send it in the clear, `[breaker]` makes no sense, or `[cache]`
    /// names no possible store.
    pub fn new(
        config: &Config,
        client: surf::Client,
        executor: Arc<smol::Executor<'static>>,
        id: &str,
    ) -> Result<Self, SetupError> {
        Self::with_clock(config, client, (executor, id), Clock::default())
    }

    /// As [`Weather::new`], on a machine whose clock may be a guess.
    ///
    /// # Errors
    /// As [`Weather::new`].
    pub fn with_clock(
        config: &Config,
        client: surf::Client,
        (executor, id): (Arc<smol::Executor<'static>>, &str),
        clock: Clock,
    ) -> Result<Self, SetupError> {
        let key = ApiKey::from_file(config.producer.api_key_file.as_deref())?;
        let endpoint = address::endpoint(&config.producer.upstream)?;
        let language = &config.producer.language;
        let timeout = config.call.attempt_timeout.min(config.call.timeout);
        let breaker = CircuitBreaker::new(&config.breaker, Instant::now(), seed(id))?;
        let shown = hystrix::Settings::new(&config.breaker, &config.call, timeout);
        let manner = Manner { language: language.clone(), timeout, breaker, shown, clock: clock.clone() };
        let upstream = Upstream::new(client, endpoint, key, manner);
        let mut settings = Settings::new(&config.cache, &config.call);
        settings.fetch_for = timeout.saturating_add(BACKSTOP);
        let weigh = |observation: &Arc<Observation>| (!observation.is_empty()).then(|| observation.weight());
        let redis = Redis::from_config(&config.cache, &config.call, Resolver::from_system(), &executor)?;
        let prefix = format!("bramble:{}:weather:", config.node.cluster);
        let store = redis.clone().map(|redis| SharedStore::new(redis, &prefix));
        Ok(Self {
            cache: Cache::with_store(settings, weigh, store, executor),
            redis,
            upstream: Arc::new(upstream),
            clock,
            settings,
            fallback: config.call.fallback,
            timeout: config.call.timeout,
            key_end: format!("|metric|{language}"),
            id: id.to_owned(),
        })
    }

    /// The longest a caller may wait here.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long an answer counts as fresh.
    pub fn fresh_for(&self) -> Duration {
        self.settings.lifetimes.fresh_for
    }

    /// The weather at a place, by `deadline`. A call to the weather API that is under way then goes on within its own
    /// timeout, for those who ask next.
    ///
    /// # Errors
    /// Nothing is known, and `[call] fallback` wants no empty report. That a place is unknown or a question wrong is an
    /// error whatever the fallback.
    pub async fn report(&self, query: &Query, deadline: Instant) -> Result<Report, Refusal> {
        self.report_at(query, Moment::now(), deadline).await
    }

    /// As [`Weather::report`], asked at `now`.
    ///
    /// # Errors
    /// As [`Weather::report`].
    pub async fn report_at(&self, query: &Query, now: Moment, deadline: Instant) -> Result<Report, Refusal> {
        let key = [query.zip.as_str(), "|", query.country.as_str(), &self.key_end].concat();
        let fetch = || {
            let (upstream, query) = (Arc::clone(&self.upstream), query.clone());
            async move { upstream.fetch(&query, now.steady).await.map(Arc::new) }
        };
        match self.cache.get_or_fetch(&key, now.wall, deadline, fetch).await {
            Ok(Found { how: How::StaleIfError(missed), .. }) if self.fallback != Fallback::Stale => {
                self.without_answer(&missed)
            }
            Ok(found) => Ok(self.told(query, &found)),
            Err(missed) => self.without_answer(&missed),
        }
    }

    /// What the service has done since its start.
    pub fn counts(&self) -> Counts {
        Counts { cache: self.cache.counts(), upstream: self.upstream.counts() }
    }

    /// The circuit before the weather API, as `/circuits` shows it.
    pub fn circuit(&self) -> serde_json::Value {
        self.upstream.circuit(Instant::now())
    }

    /// The same, as `/hystrix.stream` shows it.
    pub fn command(&self, now: Instant) -> hystrix::Command {
        self.upstream.command(now)
    }

    /// Whether the weather API cannot be asked before the time of day is known.
    pub fn waits_for_the_time(&self) -> bool {
        self.upstream.waits_for_the_time()
    }

    fn without_answer(&self, missed: &Missed<UpstreamError>) -> Result<Report, Refusal> {
        if !missed.stale_may_stand_in() {
            return Err(refusal(missed)); // an answer, though not a welcome one
        }
        let (event, told) = match self.fallback {
            Fallback::FailSilent => (Event::FallbackSuccess, Ok(Report::empty())),
            Fallback::Stale => (Event::FallbackFailure, Err(refusal(missed))),
            Fallback::FailFast => (Event::FallbackMissing, Err(refusal(missed))),
        };
        self.upstream.fell_back(event);
        told
    }

    fn told(&self, query: &Query, found: &Found<Arc<Observation>, UpstreamError>) -> Report {
        if let How::StaleIfError(missed) = &found.how {
            log::debug!("answered out of date: {missed}");
            self.upstream.fell_back(Event::FallbackSuccess);
        }
        let (source, message) = match &found.how {
            How::Fetched => (Source::Live, Report::OK),
            How::Fresh => (Source::Cache, Report::OK),
            How::Revalidating | How::StaleIfError(_) => (Source::Stale, Report::STALE),
        };
        let observation = &*found.value;
        // What a guessed clock says of ages is worse than nothing.
        let is_known = !self.clock.is_a_guess();
        Report {
            zip: Some(query.zip.as_str().to_owned()),
            country: Some(query.country.as_str().to_owned()),
            city: observation.city.clone(),
            description: observation.description.clone(),
            icon: observation.icon.clone(),
            temperature_c: observation.temperature_c,
            feels_like_c: observation.feels_like_c,
            humidity_pct: observation.humidity_pct,
            pressure_hpa: observation.pressure_hpa,
            wind_mps: observation.wind_mps,
            observed_at: observation.observed_at.filter(|_| is_known),
            fetched_at: is_known.then_some(found.stored_at),
            age_s: is_known.then_some(found.age.as_secs()),
            source,
            message: message.to_owned(),
            served_by: Some(self.id.clone()),
        }
    }
}

impl Failure for UpstreamError {
    fn stale_may_stand_in(&self) -> bool {
        !matches!(self, Self::NotFound | Self::BadQuestion)
    }

    fn remember_for(&self) -> Duration {
        match self {
            Self::NotFound | Self::BadQuestion => REMEMBER_UNKNOWN,
            // These concern all places, and what stands before the weather API remembers them.
            Self::BadKey | Self::RateLimited { .. } | Self::CircuitOpen { .. } | Self::ClockUnset => Duration::ZERO,
            _ => REMEMBER_FAILURE,
        }
    }
}

/// A number of its own for each process: circuits that open together then do not probe together.
fn seed(id: &str) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(id)
}

/// What a caller is told. The sentences are for a person in front of a form, so they name no inner matter.
fn refusal(missed: &Missed<UpstreamError>) -> Refusal {
    let (code, message) = match missed {
        Missed::Failed(UpstreamError::NotFound) => {
            (Code::UnknownPlace, "The weather service knows no place with this postal code in this country.")
        }
        Missed::Failed(UpstreamError::BadQuestion) => {
            (Code::InvalidZip, "The weather service does not understand this postal code.")
        }
        Missed::Failed(UpstreamError::BadKey) => (
            Code::UpstreamRejected,
            "The weather service refuses our key; whoever runs this must set a valid one ([producer] api_key_file).",
        ),
        Missed::Failed(UpstreamError::RateLimited { .. }) => {
            (Code::RateLimited, "The weather service has been asked too often; try again later.")
        }
        Missed::Failed(UpstreamError::TimedOut) | Missed::Late | Missed::TimedOut => {
            (Code::DeadlineExceeded, "The weather service did not answer in time; try again.")
        }
        Missed::Busy => (Code::Unavailable, "Too many places are being asked for at once; try again in a moment."),
        Missed::Failed(UpstreamError::ClockUnset) => (
            Code::Unavailable,
            "We are waiting for the time: until a time server has answered, the weather service cannot be asked.",
        ),
        Missed::Failed(_) | Missed::Lost => {
            (Code::Unavailable, "The weather service cannot be reached at the moment; try again soon.")
        }
    };
    let retry_after = match (missed, code) {
        (Missed::Failed(UpstreamError::RateLimited { retry_after: Some(left) }), _)
        | (Missed::Failed(UpstreamError::CircuitOpen { retry_after: Some(left) }), _) => Some(*left),
        (_, Code::RateLimited | Code::Unavailable) => Some(REMEMBER_FAILURE),
        _ => None,
    };
    Refusal { error: ApiError::new(code, message), retry_after }
}

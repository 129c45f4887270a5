//! Weather reports, without HTTP around them: a question, the time there is, and the best answer to be had.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bramble::breaker::CircuitBreaker;
use bramble::cache::redis::{Redis, SetupError as StoreError};
use bramble::cache::{AnswerOrigin, Cache, CacheCounts, CacheError, CacheSettings, CachedAnswer, SharedStore};
use bramble::call::Fallback;
use bramble::config::Config;
use bramble::discovery::dns::Resolver;
use bramble::telemetry::{Event, hystrix};
use bramble_weather::{ApiError, Code, Query, Report, Source};

use crate::clock::Clock;
use crate::key::{ApiKey, KeyError};
use crate::openweathermap::{Observation, UpstreamError};
use crate::refusal::error;
use crate::settings::ProducerSettings;
use crate::upstream::{Upstream, UpstreamCounts, UpstreamOptions};

/// Time that the cache allows a fetch beyond `producer.fetch_timeout`, which the fetch itself keeps.
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
    /// The moment of the call.
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
    /// No shared store that could be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Counters since the start of the service.
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
    settings: CacheSettings,
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
    /// There is no key, `[breaker]` makes no sense, or `[cache]` names no possible store.
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
        let ProducerSettings { upstream, api_key_file, language, fetch_timeout: timeout, .. } = config.section();
        let key = ApiKey::from_file(api_key_file.as_deref())?;
        let rules = config.breaker.for_sole_callee();
        let breaker = CircuitBreaker::new(&rules, Instant::now(), seed(id));
        let shown = hystrix::CommandSettings::new(&rules, &config.call, timeout);
        let options = UpstreamOptions { language: language.clone(), timeout, breaker, shown, clock: clock.clone() };
        let upstream = Upstream::new(client, upstream.endpoint(), key, options);
        let mut settings = CacheSettings::new(&config.cache, &config.call);
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

    /// How long a caller waits that does not say how much time it has: `[call] timeout`.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long a caller can wait at all: no fetch takes longer.
    pub fn timeout_max(&self) -> Duration {
        self.timeout.max(self.settings.fetch_for)
    }

    /// How long an answer counts as fresh.
    pub fn fresh_for(&self) -> Duration {
        self.settings.lifetimes.fresh_for
    }

    /// The weather at a place, by `deadline`. A call to the weather API that is under way then goes on for
    /// `producer.fetch_timeout`, and its answer is kept for the next question.
    ///
    /// # Errors
    /// Nothing is known, and `[call] fallback` wants no empty report. That a place is unknown or a question wrong is an
    /// error whatever the fallback.
    pub async fn report(&self, query: &Query, deadline: Instant) -> Result<Report, ApiError> {
        self.report_at(query, Moment::now(), deadline).await
    }

    /// As [`Weather::report`], asked at `now`.
    ///
    /// # Errors
    /// As [`Weather::report`].
    pub async fn report_at(&self, query: &Query, now: Moment, deadline: Instant) -> Result<Report, ApiError> {
        let fetch = || {
            let (upstream, query) = (Arc::clone(&self.upstream), query.clone());
            async move { upstream.fetch(&query, now.steady).await.map(Arc::new) }
        };
        let asked = Instant::now();
        let outcome = self.cache.get_or_fetch(&self.key(query), now.wall, deadline, fetch).await;
        let now = now.steady + asked.elapsed();
        match outcome {
            Ok(CachedAnswer { origin: AnswerOrigin::StaleIfError(missed), .. }) if self.fallback != Fallback::Stale => {
                self.without_answer(&missed, now)
            }
            Ok(found) => Ok(self.report_from(query, &found)),
            Err(missed) => self.without_answer(&missed, now),
        }
    }

    /// The fresh report that is held for a place, without asking the weather API (`Cache-Control: only-if-cached`).
    ///
    /// # Errors
    /// [`Code::NotCached`], or the weather API has lately said that it knows no such place.
    pub fn held(&self, query: &Query, now: Moment) -> Result<Report, ApiError> {
        match self.cache.held(&self.key(query), now.wall) {
            Some(Ok(found)) => Ok(self.report_from(query, &found)),
            Some(Err(missed)) => Err(error(&missed, self.upstream.opens_in(now.steady))),
            None => Err(ApiError::new(Code::NotCached, "No fresh report is held, and the question wants no other.")),
        }
    }

    fn key(&self, query: &Query) -> String {
        [query.zip.as_str(), "|", query.country.as_str(), &self.key_end].concat()
    }

    /// Counters since the start of the service.
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

    fn without_answer(&self, missed: &CacheError<UpstreamError>, now: Instant) -> Result<Report, ApiError> {
        let refusal = error(missed, self.upstream.opens_in(now));
        if !missed.stale_may_stand_in() {
            return Err(refusal); // an answer, though not a welcome one
        }
        let (event, told) = match self.fallback {
            Fallback::FailSilent => (Event::FallbackSuccess, Ok(Report::empty())),
            Fallback::Stale => (Event::FallbackFailure, Err(refusal)),
            Fallback::FailFast => (Event::FallbackMissing, Err(refusal)),
        };
        self.upstream.fell_back(event);
        told
    }

    fn report_from(&self, query: &Query, found: &CachedAnswer<Arc<Observation>, UpstreamError>) -> Report {
        if let AnswerOrigin::StaleIfError(missed) = &found.origin {
            log::debug!("answered out of date: {missed}");
            self.upstream.fell_back(Event::FallbackSuccess);
        }
        let (source, message) = match &found.origin {
            AnswerOrigin::Fetched => (Source::Live, Report::OK),
            AnswerOrigin::Fresh => (Source::Cache, Report::OK),
            AnswerOrigin::Revalidating | AnswerOrigin::StaleIfError(_) => (Source::Stale, Report::STALE),
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

/// A number of its own for each process: circuits that open together then do not probe together.
fn seed(id: &str) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(id)
}

//! Asks producers for a report: a good one of any producer, else the last good one that was kept here, else an error that
//! says what failed, the weather API or the producers.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bramble::bulkhead::Bulkhead;
use bramble::cache::{Cache, Counts, Freshness, Settings};
use bramble::call::Fallback;
use bramble::client::{Answer, Client, Error};
use bramble::config::Config;
use bramble::telemetry::{Collect, Event, Kind, OpenMetrics};
use bramble_weather::{ApiError, Code, Query, Report, Source, is_answer, read_answer};
use smol::Executor;

use crate::{Ask, Question};

/// The service that is asked.
const SERVICE: &str = "producer";

/// The producers of the cluster, with the last good reports for when they give none.
#[derive(Debug)]
pub struct Producers {
    client: Client,
    /// The last good report of each place, for when no producer answers.
    kept: Cache<Arc<Report>>,
    fallback: Fallback,
    /// Fallbacks run when calls pile up, so they have a bound of their own.
    fallbacks: Arc<Bulkhead>,
}

/// A report with all that hangs on it, in bytes: what the cache counts. An empty one is never kept.
fn weigh(report: &Arc<Report>) -> Option<usize> {
    let texts = [&report.zip, &report.country, &report.city, &report.description, &report.icon, &report.served_by];
    let text: usize = texts.into_iter().flatten().map(String::len).sum();
    (report.source != Source::Empty).then(|| size_of::<Report>() + text + report.message.len())
}

impl Producers {
    /// Asks through `client`, and keeps what it gets as `config` says.
    ///
    /// # Errors
    /// A bound of `config` that makes no sense.
    pub fn new(
        config: &Config,
        client: Client,
        executor: Arc<Executor<'static>>,
    ) -> Result<Self, bramble::breaker::InvalidSetting> {
        Ok(Self {
            client,
            kept: Cache::new(Settings::new(&config.cache, &config.call), weigh, executor),
            fallback: config.call.fallback,
            fallbacks: Bulkhead::new("fallback", config.call.max_concurrent),
        })
    }

    /// Asks one producer after the other; keeps a good report.
    async fn report(&self, question: &Question<'_>, key: &str) -> Result<Report, ApiError> {
        let query = question.query;
        let path = query.to_path();
        let is_valid = |answer: &Answer| is_answer(query, answer.status, &answer.body);
        let left = question.deadline.saturating_duration_since(Instant::now());
        let mut request = self.client.get(SERVICE, &path).home(key).valid_if(&is_valid).within(left);
        if let Some(trace) = question.trace {
            request = request.trace(trace);
        }
        let answer = request.send().await.map_err(|error| unanswered(&error, Instant::now()))?;
        let report = understand(query, &answer)?;
        // Its age, not its time, says when it was asked for: the other node's clock may be off.
        let now = SystemTime::now();
        let stored_at = now - Duration::from_secs(report.age_s.unwrap_or(0).min(A_YEAR));
        self.kept.put(key, Arc::new(report.clone()), stored_at, now).await;
        let age = match report.source {
            Source::Live | Source::Cache => return Ok(report),
            Source::Stale => report.age_s.map_or(Duration::MAX, Duration::from_secs),
            Source::Empty => Duration::MAX,
        };
        // This producer may know less than another one did before.
        let kept = self.kept(key, now, Report::STALE).await;
        Ok(kept.filter(|(kept_age, _)| *kept_age + ROUNDING < age).map_or(report, |(_, kept)| kept))
    }

    /// The last good report as it reads now, and its age. One that is still fresh needs no caution, unless that is to say
    /// that no producer answers.
    async fn kept(&self, key: &str, now: SystemTime, caution: &str) -> Option<(Duration, Report)> {
        let kept = self.kept.peek(key, now).await.filter(|_| self.fallback == Fallback::Stale)?;
        let (source, message) = match kept.freshness {
            Freshness::Fresh if caution != Report::UNREACHABLE => (Source::Cache, Report::OK),
            _ => (Source::Stale, caution),
        };
        Some((kept.age, Report::clone(&kept.value).seen_at(now, source, message)))
    }

    /// What is given in the place of a producer's report.
    async fn fall_back(&self, key: &str, error: ApiError) -> Result<Report, ApiError> {
        if error.code.is_about_the_question() {
            return Err(error);
        }
        let (event, instead) = self.instead(key, error.code).await;
        self.client.fell_back(SERVICE, event);
        instead.ok_or(error)
    }

    /// What there is in the place of an answer, and what that counts as.
    async fn instead(&self, key: &str, code: Code) -> (Event, Option<Report>) {
        if self.fallback == Fallback::FailFast {
            return (Event::FallbackMissing, None);
        }
        let Ok(_seat) = self.fallbacks.try_enter() else { return (Event::FallbackRejection, None) };
        if self.fallback == Fallback::FailSilent {
            return (Event::FallbackSuccess, Some(Report::empty()));
        }
        let caution = if code == Code::Unavailable { Report::UNREACHABLE } else { Report::STALE };
        match self.kept(key, SystemTime::now(), caution).await {
            Some((_, report)) => (Event::FallbackSuccess, Some(report)),
            None => (Event::FallbackFailure, None),
        }
    }
}

/// Ages are told in whole seconds, so two of one report may differ by one.
const ROUNDING: Duration = Duration::from_secs(1);

/// An age beyond this is a forgery; it also keeps the subtraction from the present in range.
const A_YEAR: u64 = 365 * 24 * 3600;

fn key(query: &Query) -> String {
    format!("{}|{}", query.zip, query.country)
}

#[async_trait]
impl Ask for Producers {
    async fn weather(&self, question: &Question<'_>) -> Result<Report, ApiError> {
        let key = key(question.query);
        match self.report(question, &key).await {
            Ok(report) => Ok(report),
            Err(error) => {
                log::debug!("no report for {}: {error}", question.query.zip);
                self.fall_back(&key, error).await
            }
        }
    }
}

/// A producer's report, or why there is none. Only [`Code::Unavailable`] means that no producer answered.
fn understand(query: &Query, answer: &Answer) -> Result<Report, ApiError> {
    let unavailable = |message| ApiError::new(Code::Unavailable, message);
    let Some(answered) = read_answer(query, answer.status, &answer.body) else {
        let (from, status) = (&answer.from, answer.status);
        return Err(unavailable(format!("{from} gave no answer of a producer to this question (status {status})")));
    };
    let error = match answered {
        Ok(report) => return Ok(report),
        Err(error) => error,
    };
    Err(match error.code {
        // It is this node that is refused, and not the one that asks it.
        Code::Forbidden => unavailable(error.message),
        // A producer that answers so has no room, whatever it calls it.
        Code::Unavailable => ApiError { code: Code::Overloaded, ..error },
        // The answer to a copy of the question; the original has not been answered.
        Code::NotCached => ApiError { code: Code::UpstreamTimeout, ..error },
        _ => {
            let retry_after = answer.retry_after.or(error.retry_after);
            error.with_retry_after(retry_after)
        }
    })
}

/// What the client's error means to the one who asked, with the time to wait where that is known.
fn unanswered(error: &Error, now: Instant) -> ApiError {
    let (code, wait) = match error {
        // As in a producer: about as long as a call takes.
        Error::Full { .. } => (Code::Overloaded, Some(Duration::from_millis(250))),
        Error::AllOpen { retry_at, .. } | Error::NobodyThere { retry_at, .. } => {
            (Code::Unavailable, retry_at.map(|at| at.saturating_duration_since(now)))
        }
        _ => (Code::Unavailable, None),
    };
    ApiError::new(code, error.to_string()).with_retry_after(wait)
}

impl Collect for Producers {
    fn metrics(&self, to: &mut OpenMetrics) {
        let Counts { entries, bytes, evicted, .. } = self.kept.counts();
        to.family("bramble_fallback_entries", Kind::Gauge, "Reports kept for when no producer answers.");
        to.sample(&[], entries);
        to.family("bramble_fallback_size_bytes", Kind::Gauge, "Memory they take.");
        to.sample(&[], bytes);
        to.family("bramble_fallback_evicted", Kind::Counter, "Reports that went for want of room.");
        to.sample(&[], evicted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bramble::serve::Host;

    /// What `/metrics` says of fallbacks after one question that no producer answers.
    fn fallbacks(fallback: Fallback) -> Vec<String> {
        let executor = Arc::new(Executor::new());
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let mut config = Config::default();
        config.discovery.mdns = false;
        config.discovery.fixed = [(SERVICE.to_owned(), vec![nobody.expect("a port")])].into();
        config.call.fallback = fallback;
        let host = Host::new(crate::SERVICE, config, Arc::clone(&executor)).expect("a host");
        let client = host.client().expect("a client");
        let producers = Producers::new(&host.config, client, Arc::clone(&executor)).expect("valid");
        let query = Query::parse("28105", None).expect("a place");
        let question = Question { query: &query, deadline: Instant::now() + Duration::from_secs(20), trace: None };
        let answer = smol::block_on(executor.run(producers.weather(&question)));
        assert_eq!(answer.is_ok(), fallback == Fallback::FailSilent);
        let mut page = OpenMetrics::default();
        host.client().expect("the same").metrics(&mut page);
        let page = page.finish();
        let told =
            page.lines().filter(|line| line.starts_with("bramble_call_fallbacks_total") && !line.ends_with(" 0"));
        told.map(str::to_owned).collect()
    }

    #[test]
    fn the_time_to_wait_is_that_until_a_producer_may_be_back_and_left_out_where_nobody_knows_it() {
        let (now, service): (_, Arc<str>) = (Instant::now(), SERVICE.into());
        let none =
            |retry_at| Error::NobodyThere { service: Arc::clone(&service), why: "none was found".into(), retry_at };
        assert_eq!(unanswered(&none(None), now).retry_after_s(), None);
        assert_eq!(unanswered(&none(Some(now + Duration::from_secs(11))), now).retry_after_s(), Some(11));
        let open = |retry_at| Error::AllOpen { service: Arc::clone(&service), retry_at };
        assert_eq!(unanswered(&open(Some(now + Duration::from_millis(1500))), now).retry_after_s(), Some(2));
        assert_eq!(unanswered(&open(None), now).retry_after_s(), None);
    }

    #[test]
    fn what_is_given_in_the_place_of_an_answer_is_counted_once() {
        for (fallback, result) in
            [(Fallback::FailFast, "missing"), (Fallback::FailSilent, "success"), (Fallback::Stale, "failure")]
        {
            let expected = format!("bramble_call_fallbacks_total{{service=\"producer\",result=\"{result}\"}} 1");
            assert_eq!(fallbacks(fallback), [expected]);
        }
    }
}

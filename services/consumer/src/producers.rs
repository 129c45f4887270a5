//! Asks producers for a report: a good one of any producer, else the last good one that was kept here, else an error
//! that says what failed, the weather API or the producers.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bramble::cache::{Cache, CacheCounts, CacheSettings, Freshness};
use bramble::call::Fallback;
use bramble::client::{Client, Error};
use bramble::config::Config;
use bramble::operation::CallError;
use bramble::telemetry::{Collect, Event, MetricType, OpenMetrics};
use bramble_weather::{ApiError, Code, Query, Report, Source, WEATHER};
use smol::Executor;

use crate::{Ask, Question};

/// The producers of the cluster, with the last good reports for when they give none.
#[derive(Debug)]
pub struct Producers {
    client: Client,
    /// The last good report of each place, for when no producer answers.
    kept: Cache<Arc<Report>>,
    fallback: Fallback,
}

/// A report with all that hangs on it, in bytes: what the cache counts. An empty one is never kept.
fn weigh(report: &Arc<Report>) -> Option<usize> {
    let texts = [&report.zip, &report.country, &report.city, &report.description, &report.icon, &report.served_by];
    let text: usize = texts.into_iter().flatten().map(String::len).sum();
    (report.source != Source::Empty).then(|| size_of::<Report>() + text + report.message.len())
}

impl Producers {
    /// Asks through `client`, and keeps what it gets as `config` says.
    pub fn new(config: &Config, client: Client, executor: Arc<Executor<'static>>) -> Self {
        Self {
            client,
            kept: Cache::new(CacheSettings::new(&config.cache, &config.call), weigh, executor),
            fallback: config.call.fallback,
        }
    }

    /// Asks one producer after the other; keeps a good report.
    async fn report(&self, question: &Question<'_>, key: &str) -> Result<Report, ApiError> {
        let is_answer = |report: &Report| question.query.is_answered_by(report);
        let left = question.deadline.saturating_duration_since(Instant::now());
        let mut call = self.client.call(&WEATHER, question.query).home(key).valid_if(&is_answer).within(left);
        if let Some(trace) = question.trace {
            call = call.trace(trace);
        }
        let report = call.send().await.map_err(|error| api_error(&error, Instant::now()))?;
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

    /// The last good report as it reads now, and its age. One that is still fresh needs no caution, unless that is to
    /// say that no producer answers.
    async fn kept(&self, key: &str, now: SystemTime, caution: &str) -> Option<(Duration, Report)> {
        let kept = self.kept.peek(key, now).await.filter(|_| self.fallback == Fallback::Stale)?;
        let (source, message) = match kept.freshness {
            Freshness::Fresh if caution != Report::UNREACHABLE => (Source::Cache, Report::OK),
            _ => (Source::Stale, caution),
        };
        Some((kept.age, Report::clone(&kept.value).seen_at(now, source, message)))
    }

    /// Report in the place of a producer's.
    async fn fall_back(&self, key: &str, error: ApiError) -> Result<Report, ApiError> {
        if error.code.is_about_the_question() {
            return Err(error);
        }
        let service = WEATHER.service();
        if self.fallback == Fallback::FailFast {
            self.client.fell_back(service, Event::FallbackMissing);
            return Err(error);
        }
        let fallback = |error: ApiError| async {
            if self.fallback == Fallback::FailSilent {
                return Ok(Report::empty());
            }
            let caution = if error.code == Code::Unavailable { Report::UNREACHABLE } else { Report::STALE };
            self.kept(key, SystemTime::now(), caution).await.map(|(_, report)| report).ok_or(error)
        };
        self.client.fall_back(service, error, fallback).await
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

/// Why there is no report, with the time to wait where that is known. Only [`Code::Unavailable`] means that no producer
/// answered.
fn api_error(error: &CallError, now: Instant) -> ApiError {
    let code = match error {
        CallError::Rejected { rejection, .. } => match ApiError::of(rejection) {
            // A producer that answers so has no room, whatever it calls it.
            Some(error) if error.code == Code::Unavailable => return ApiError { code: Code::Overloaded, ..error },
            // The answer to a copy of the question; the original has not been answered.
            Some(error) if error.code == Code::NotCached => return ApiError { code: Code::UpstreamTimeout, ..error },
            Some(error) if error.code != Code::Forbidden => return error,
            // It is this node that is refused, and not the one that asks it; or it is no error of a producer.
            _ => Code::Unavailable,
        },
        CallError::Unanswered(Error::Full { .. }) => Code::Overloaded,
        _ => Code::Unavailable,
    };
    ApiError::new(code, error.to_string()).with_retry_after(error.retry_after(now))
}

impl Collect for Producers {
    fn metrics(&self, to: &mut OpenMetrics) {
        let CacheCounts { entries, bytes, evicted, .. } = self.kept.counts();
        to.family("bramble_fallback_entries", MetricType::Gauge, "Reports kept for when no producer answers.");
        to.sample(&[], entries);
        to.family("bramble_fallback_size_bytes", MetricType::Gauge, "Memory they take.");
        to.sample(&[], bytes);
        to.family("bramble_fallback_evicted", MetricType::Counter, "Reports that went for want of room.");
        to.sample(&[], evicted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bramble::serve::Host;

    /// Metrics of fallbacks after one question that no producer answers.
    fn fallbacks(fallback: Fallback) -> Vec<String> {
        let executor = Arc::new(Executor::new());
        let unused = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let mut config = Config::default();
        config.discovery.mdns = false;
        config.discovery.fixed = [(WEATHER.service().to_owned(), vec![unused.expect("a port")])].into();
        config.call.fallback = fallback;
        let host = Host::new(crate::SERVICE, config, Arc::clone(&executor)).expect("a host");
        let client = host.client();
        let producers = Producers::new(&host.config, client, Arc::clone(&executor));
        let query = Query::parse("28105", None).expect("a place");
        let question = Question { query: &query, deadline: Instant::now() + Duration::from_secs(20), trace: None };
        let answer = smol::block_on(executor.run(producers.weather(&question)));
        assert_eq!(answer.is_ok(), fallback == Fallback::FailSilent);
        let mut page = OpenMetrics::default();
        host.client().metrics(&mut page);
        let page = page.finish();
        let told =
            page.lines().filter(|line| line.starts_with("bramble_call_fallbacks_total") && !line.ends_with(" 0"));
        told.map(str::to_owned).collect()
    }

    #[test]
    fn the_time_to_wait_is_that_until_a_producer_may_be_back_and_left_out_where_it_is_unknown() {
        let (now, service): (_, Arc<str>) = (Instant::now(), WEATHER.service().into());
        let none =
            |retry_at| Error::NoInstance { service: Arc::clone(&service), why: "none was found".into(), retry_at };
        let retry_after_s = |error: Error| api_error(&error.into(), now).retry_after_s();
        assert_eq!(retry_after_s(none(None)), None);
        assert_eq!(retry_after_s(none(Some(now + Duration::from_secs(11)))), Some(11));
        let open = |retry_at| Error::AllOpen { service: Arc::clone(&service), retry_at };
        assert_eq!(retry_after_s(open(Some(now + Duration::from_millis(1500)))), Some(2));
        assert_eq!(retry_after_s(open(None)), None);
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

//! Asking any producer, and what there is to say when none answers.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bramble::bulkhead::Bulkhead;
use bramble::cache::{Cache, Counts, Settings};
use bramble::call::Fallback;
use bramble::client::{Answer, Call, Client, Error};
use bramble::config::Config;
use bramble::telemetry::hystrix::Command;
use bramble::telemetry::{Collect, Event, Kind, OpenMetrics};
use bramble_weather::{ApiError, Code, Query, Report, Source};
use smol::Executor;

use crate::{Ask, Question};

/// The service that is asked.
const SERVICE: &str = "producer";

/// Every producer there is, as one that always has something to say.
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
    async fn report(&self, question: &Question<'_>) -> Result<Report, Unanswered> {
        let path = question.query.to_path();
        let call = Call { trace: question.trace, ..Call::new(&path, question.deadline) };
        let report = understand(&self.client.get(SERVICE, call).await?)?;
        // Its age, not its time, says when it was asked for: the other node's clock may be off.
        let now = SystemTime::now();
        let stored_at = now - Duration::from_secs(report.age_s.unwrap_or(0).min(A_YEAR));
        self.kept.put(&key(question.query), Arc::new(report.clone()), stored_at, now).await;
        Ok(report)
    }

    /// What there is to say without a producer's answer.
    async fn fall_back(&self, query: &Query, why: Unanswered) -> Result<Report, ApiError> {
        if !why.may_fall_back() {
            return Err(why.into_error());
        }
        let (event, instead) = self.instead(query, &why).await;
        self.client.fell_back(SERVICE, event);
        instead.ok_or_else(|| why.into_error())
    }

    /// What there is in the place of an answer, and what that counts as.
    async fn instead(&self, query: &Query, why: &Unanswered) -> (Event, Option<Report>) {
        if self.fallback == Fallback::FailFast {
            return (Event::FallbackMissing, None);
        }
        let Ok(_seat) = self.fallbacks.try_enter() else { return (Event::FallbackRejection, None) };
        if self.fallback == Fallback::FailSilent {
            return (Event::FallbackSuccess, Some(Report::empty()));
        }
        let now = SystemTime::now();
        match self.kept.peek(&key(query), now).await {
            Some(kept) => {
                let report = Report::clone(&kept.value).seen_at(now, Source::Stale, why.caution());
                (Event::FallbackSuccess, Some(report))
            }
            None => (Event::FallbackFailure, None),
        }
    }
}

/// An age beyond this is a forgery; it also keeps the subtraction from the present in range.
const A_YEAR: u64 = 365 * 24 * 3600;

fn key(query: &Query) -> String {
    format!("{}|{}", query.zip, query.country)
}

#[async_trait]
impl Ask for Producers {
    async fn weather(&self, question: &Question<'_>) -> Result<Report, ApiError> {
        match self.report(question).await {
            Ok(report) => Ok(report),
            Err(why) => {
                log::debug!("no report for {}: {why}", question.query.zip);
                self.fall_back(question.query, why).await
            }
        }
    }
}

/// Why there is no report of a producer's.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    /// No producer answered.
    #[error(transparent)]
    Nobody(#[from] Error),
    /// A producer said why not.
    #[error("a producer said: {0}")]
    Refused(#[from] ApiError),
    /// A producer answered, but not what was agreed.
    #[error("a producer's answer was not understood (status {0})")]
    Garbled(u16),
}

impl Unanswered {
    /// A place that is unknown stays so whatever was kept.
    fn may_fall_back(&self) -> bool {
        !matches!(self, Self::Refused(error) if matches!(error.code, Code::UnknownPlace | Code::InvalidZip | Code::InvalidCountry))
    }

    /// What is to be said beside an old report.
    fn caution(&self) -> &'static str {
        match self {
            Self::Nobody(_) | Self::Refused(ApiError { code: Code::Forbidden, .. }) => Report::UNREACHABLE,
            Self::Refused(_) | Self::Garbled(_) => Report::STALE,
        }
    }

    fn into_error(self) -> ApiError {
        let code = match self {
            // It is this node that is refused, and not whoever asks it.
            Self::Refused(ApiError { code: Code::Forbidden, .. }) => Code::Unavailable,
            Self::Refused(error) => return error,
            Self::Nobody(Error::DeadlineExceeded { .. }) => Code::DeadlineExceeded,
            Self::Nobody(_) | Self::Garbled(_) => Code::Unavailable,
        };
        ApiError::new(code, self.to_string())
    }
}

/// A report, or a producer's reason, or neither.
fn understand(answer: &Answer) -> Result<Report, Unanswered> {
    let garbled = |_| Unanswered::Garbled(answer.status);
    if answer.status == 200 {
        return serde_json::from_slice(&answer.body).map_err(garbled);
    }
    Err(Unanswered::Refused(serde_json::from_slice(&answer.body).map_err(garbled)?))
}

impl Collect for Producers {
    fn metrics(&self, to: &mut OpenMetrics) {
        self.client.metrics(to);
        let Counts { entries, bytes, evicted, .. } = self.kept.counts();
        to.family("bramble_fallback_entries", Kind::Gauge, "Reports kept for when no producer answers.");
        to.sample(&[], entries);
        to.family("bramble_fallback_size_bytes", Kind::Gauge, "Memory they take.");
        to.sample(&[], bytes);
        to.family("bramble_fallback_evicted", Kind::Counter, "Reports that went for want of room.");
        to.sample(&[], evicted);
    }

    fn circuits(&self) -> Vec<serde_json::Value> {
        self.client.circuits()
    }

    fn commands(&self, now: Instant) -> Vec<Command> {
        self.client.commands(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bramble::config::Role;
    use bramble::serve::Host;

    /// What `/metrics` says of fallbacks after one question that no producer answers.
    fn fallbacks(fallback: Fallback) -> Vec<String> {
        let executor = Arc::new(Executor::new());
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let mut config = Config::for_role(Role::Consumer);
        config.discovery.mdns = false;
        config.discovery.fixed = [(SERVICE.to_owned(), vec![nobody.expect("a port")])].into();
        config.call.fallback = fallback;
        let host = Host::new(Role::Consumer, config, Arc::clone(&executor)).expect("a host");
        let client = host.client().expect("a client");
        let producers = Producers::new(&host.config, client, Arc::clone(&executor)).expect("valid");
        let query = Query::parse("28105", None).expect("a place");
        let question = Question { query: &query, deadline: Instant::now() + Duration::from_secs(20), trace: None };
        let answer = smol::block_on(executor.run(producers.weather(&question)));
        assert_eq!(answer.is_ok(), fallback == Fallback::FailSilent);
        let mut page = OpenMetrics::default();
        producers.metrics(&mut page);
        let page = page.finish();
        let told =
            page.lines().filter(|line| line.starts_with("bramble_call_fallbacks_total") && !line.ends_with(" 0"));
        told.map(str::to_owned).collect()
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

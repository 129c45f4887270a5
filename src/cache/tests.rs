use std::sync::atomic::{AtomicUsize, Ordering};

use futures_lite::future::{block_on, pending, poll_once, yield_now};
use smol::Executor;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const LIFETIMES: Lifetimes = Lifetimes {
    fresh_for: Duration::from_secs(600),
    stale_while_revalidate: Duration::from_secs(30),
    stale_if_error: Duration::from_secs(3600),
};

#[derive(Debug, Clone, PartialEq)]
enum Trouble {
    Unreachable,
    Unknown,
}

impl FetchFailure for Trouble {
    fn stale_may_stand_in(&self) -> bool {
        *self == Self::Unreachable
    }

    fn remember_for(&self) -> Duration {
        match self {
            Self::Unreachable => Duration::from_secs(2),
            Self::Unknown => MINUTE,
        }
    }
}

type Words = Cache<&'static str, Trouble>;

/// A cache, the executor of its fetches, and how many fetches began.
struct Bench {
    cache: Words,
    executor: Arc<Executor<'static>>,
    fetches: Arc<AtomicUsize>,
}

fn bench() -> Bench {
    let settings =
        CacheSettings { lifetimes: LIFETIMES, capacity: 8, max_in_flight: 4, fetch_for: Duration::from_millis(50) };
    let executor = Arc::new(Executor::new());
    let cache = Cache::new(settings, |word: &&str| (!word.is_empty()).then_some(word.len()), Arc::clone(&executor));
    Bench { cache, executor, fetches: Arc::default() }
}

impl Bench {
    async fn ask(
        &self,
        key: &str,
        now: SystemTime,
        answer: Result<&'static str, Trouble>,
    ) -> Result<CachedAnswer<&'static str, Trouble>, CacheError<Trouble>> {
        let fetches = Arc::clone(&self.fetches);
        let fetch = move || async move {
            fetches.fetch_add(1, Ordering::SeqCst);
            yield_now().await;
            answer
        };
        self.cache.get_or_fetch(key, now, later(), fetch).await
    }

    /// Runs all fetches that are under way to their end.
    async fn settle(&self) {
        while !self.cache.shared.flights().is_empty() {
            yield_now().await;
        }
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        block_on(self.executor.run(future))
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn later() -> Instant {
    Instant::now() + MINUTE
}

#[test]
fn freshness_is_a_function_of_age_alone() {
    for (seconds, freshness) in [
        (0, Freshness::Fresh),
        (599, Freshness::Fresh),
        (600, Freshness::StaleWhileRevalidate),
        (629, Freshness::StaleWhileRevalidate),
        (630, Freshness::StaleIfError),
        (4199, Freshness::StaleIfError),
        (4200, Freshness::Expired),
        (u64::MAX, Freshness::Expired),
    ] {
        assert_eq!(LIFETIMES.at(Duration::from_secs(seconds)), freshness, "{seconds} s");
    }
    let endless = Lifetimes { fresh_for: Duration::MAX, ..LIFETIMES };
    assert_eq!(endless.kept_for(), Duration::MAX, "what is configured absurdly does not overflow");
}

#[test]
fn a_fresh_answer_is_given_without_a_fetch() {
    let bench = bench();
    bench.run(async {
        let first = bench.ask("a", at(0), Ok("one")).await.expect("fetched");
        assert_eq!((first.value, first.age, first.origin), ("one", Duration::ZERO, AnswerOrigin::Fetched));
        let second = bench.ask("a", at(599), Ok("two")).await.expect("kept");
        assert_eq!((second.value, second.age.as_secs(), second.origin), ("one", 599, AnswerOrigin::Fresh));
        assert_eq!(second.stored_at, at(0));
        assert_eq!(bench.fetches(), 1);
    });
}

#[test]
fn a_stale_answer_is_given_at_once_and_refreshed_exactly_once() {
    let bench = bench();
    bench.run(async {
        bench.ask("a", at(0), Ok("one")).await.expect("fetched");
        for _ in 0..10 {
            let mut asking = Box::pin(bench.ask("a", at(610), Ok("two")));
            let found = poll_once(&mut asking).await.expect("at once").expect("kept");
            assert_eq!((found.value, found.age.as_secs(), found.origin), ("one", 610, AnswerOrigin::Revalidating));
        }
        bench.settle().await;
        assert_eq!(bench.fetches(), 2);
        assert_eq!(bench.ask("a", at(611), Ok("three")).await.expect("kept").value, "two");
        assert_eq!(bench.fetches(), 2);
    });
}

#[test]
fn a_stale_answer_stands_in_for_an_error_but_not_for_a_known_answer() {
    let bench = bench();
    bench.run(async {
        bench.ask("a", at(0), Ok("one")).await.expect("fetched");
        let found = bench.ask("a", at(700), Err(Trouble::Unreachable)).await.expect("kept");
        assert_eq!(found.value, "one");
        assert_eq!(found.origin, AnswerOrigin::StaleIfError(CacheError::Failed(Trouble::Unreachable)));
        assert_eq!(bench.ask("a", at(800), Err(Trouble::Unknown)).await, Err(CacheError::Failed(Trouble::Unknown)));
        assert_eq!(
            bench.ask("a", at(4300), Err(Trouble::Unreachable)).await,
            Err(CacheError::Failed(Trouble::Unreachable)),
            "an answer older than stale_if_error is given to no caller"
        );
    });
}

#[test]
fn n_equal_questions_at_once_make_one_fetch() {
    let bench = bench();
    bench.run(async {
        let mut asking: Vec<_> = (0..50).map(|_| Box::pin(bench.ask("a", at(0), Ok("one")))).collect();
        for asking in &mut asking {
            assert!(poll_once(asking).await.is_none());
        }
        for asking in asking {
            assert_eq!(asking.await.expect("fetched").value, "one");
        }
        assert_eq!(bench.fetches(), 1);
    });
}

#[test]
fn a_flight_that_landed_while_one_looked_is_not_flown_again() {
    let bench = bench();
    bench.run(async {
        bench.ask("a", at(0), Ok("one")).await.expect("fetched");
        // What a caller does that found nothing kept just before the flight landed.
        let boarding = bench.cache.board("a", at(0), || async { Ok("two") });
        assert!(matches!(boarding, FlightAdmission::There(StoredAnswer { value: "one", .. })));
        assert!(bench.cache.shared.flights().is_empty());
    });
}

#[test]
fn n_equal_questions_on_several_threads_make_one_fetch() {
    let bench = Arc::new(bench());
    let (stop, stopped) = smol::channel::bounded::<()>(1);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| block_on(bench.executor.run(stopped.recv())));
        }
        let asking: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    for key in ["a", "b", "c", "d", "e"] {
                        assert_eq!(block_on(bench.ask(key, at(0), Ok("one"))).expect("found").value, "one");
                    }
                })
            })
            .collect();
        asking.into_iter().for_each(|asking| asking.join().expect("no panic"));
        drop(stop);
    });
    assert_eq!(bench.fetches(), 5);
}

#[test]
fn a_cancelled_leader_does_not_fail_its_followers() {
    let bench = bench();
    bench.run(async {
        let mut leader = Box::pin(bench.ask("a", at(0), Ok("one")));
        assert!(poll_once(&mut leader).await.is_none());
        let mut follower = Box::pin(bench.ask("a", at(0), Err(Trouble::Unknown)));
        assert!(poll_once(&mut follower).await.is_none());
        drop(leader);
        assert_eq!(follower.await.expect("the leader's fetch went on").value, "one");
        assert_eq!(bench.fetches(), 1);
    });
}

#[test]
fn a_panicking_fetch_gives_its_followers_an_error_and_leaves_no_trace() {
    let bench = bench();
    bench.run(async {
        let fetch = || async {
            yield_now().await;
            panic!("on purpose")
        };
        let mut leader = Box::pin(bench.cache.get_or_fetch("a", at(0), later(), fetch));
        assert!(poll_once(&mut leader).await.is_none());
        let follower = bench.ask("a", at(0), Ok("never"));
        assert_eq!(leader.await, Err(CacheError::Lost));
        assert_eq!(follower.await, Err(CacheError::Lost));
        assert_eq!(bench.ask("a", at(3), Ok("one")).await.expect("fetched anew").value, "one");
    });
}

#[test]
fn followers_of_an_executor_that_ends_get_an_error() {
    let Bench { cache, executor, .. } = bench();
    let shared = Arc::clone(&cache.shared);
    let mut asking = Box::pin(cache.get_or_fetch("a", at(0), later(), pending));
    assert!(block_on(poll_once(&mut asking)).is_none());
    let flight = Arc::clone(shared.flights().get("a").expect("under way"));
    drop(asking);
    drop((cache, executor));
    assert_eq!(block_on(flight.wait(later(), |_| true)), Err(CacheError::Lost));
    assert!(shared.flights().is_empty());
}

#[test]
fn a_fetch_that_hangs_is_given_up_and_its_caller_may_go_sooner() {
    let bench = bench();
    bench.run(async {
        let soon = Instant::now() + Duration::from_millis(5);
        assert_eq!(bench.cache.get_or_fetch("a", at(0), soon, pending).await, Err(CacheError::Late));
        assert_eq!(bench.ask("a", at(0), Ok("never")).await, Err(CacheError::TimedOut), "the same flight, to its end");
        assert_eq!(bench.fetches(), 0);
        let over = Instant::now();
        assert_eq!(bench.cache.get_or_fetch("b", at(0), over, pending).await, Err(CacheError::Late));
        assert!(bench.cache.shared.flights().is_empty(), "nothing is begun for a caller without time");
    });
}

#[test]
fn fetches_under_way_are_bounded() {
    let bench = bench();
    bench.run(async {
        let mut waiting: Vec<_> = ["a", "b", "c", "d"]
            .into_iter()
            .map(|key| Box::pin(bench.cache.get_or_fetch(key, at(0), later(), pending)))
            .collect();
        for waiting in &mut waiting {
            assert!(poll_once(waiting).await.is_none());
        }
        assert_eq!(bench.ask("e", at(0), Ok("one")).await, Err(CacheError::Busy));
        bench.settle().await;
        assert_eq!(bench.ask("e", at(0), Ok("one")).await.expect("room again").value, "one");
    });
}

#[test]
fn a_failure_is_remembered_for_as_long_as_it_says() {
    let bench = bench();
    bench.run(async {
        let unknown = Err(CacheError::Failed(Trouble::Unknown));
        assert_eq!(bench.ask("a", at(0), Err(Trouble::Unknown)).await, unknown);
        for second in 0..60 {
            assert_eq!(bench.ask("a", at(second), Ok("one")).await, unknown);
        }
        assert_eq!(bench.fetches(), 1);
        assert_eq!(bench.ask("b", at(1), Ok("other")).await.expect("its own question").value, "other");
        assert_eq!(bench.ask("a", at(61), Ok("one")).await.expect("asked again").value, "one");
    });
}

#[test]
fn a_failed_refresh_is_not_repeated_by_every_caller() {
    let bench = bench();
    bench.run(async {
        bench.ask("a", at(0), Ok("one")).await.expect("fetched");
        for _ in 0..20 {
            let found = bench.ask("a", at(610), Err(Trouble::Unreachable)).await.expect("kept");
            assert_eq!(found.value, "one");
            bench.settle().await;
        }
        assert_eq!(bench.fetches(), 2);
    });
}

#[test]
fn a_clock_that_is_set_back_frees_what_failed() {
    let bench = bench();
    bench.run(async {
        let failed = bench.ask("a", at(100_000), Err(Trouble::Unknown)).await;
        assert_eq!(failed, Err(CacheError::Failed(Trouble::Unknown)));
        assert_eq!(bench.ask("a", at(0), Ok("one")).await.expect("asked again").value, "one");
    });
}

#[test]
fn an_empty_answer_never_replaces_a_good_one() {
    let bench = bench();
    bench.run(async {
        bench.ask("a", at(0), Ok("one")).await.expect("fetched");
        assert_eq!(bench.ask("a", at(700), Ok("")).await.expect("fetched").value, "", "a caller gets what there is");
        assert!(!bench.cache.put("a", "", at(701), at(701)).await);
        let kept = bench.cache.peek("a", at(702)).await.expect("still there");
        assert_eq!((kept.value, kept.freshness), ("one", Freshness::StaleIfError));
    });
}

#[test]
fn what_is_put_is_found_until_it_is_too_old() {
    let bench = bench();
    bench.run(async {
        assert!(bench.cache.put("a", "one", at(0), at(20)).await);
        assert!(!bench.cache.put("a", "zero", at(0) - MINUTE, at(20)).await, "older than what is there");
        let kept = bench.cache.peek("a", at(20)).await.expect("kept");
        assert_eq!((kept.value, kept.age.as_secs(), kept.freshness), ("one", 20, Freshness::Fresh));
        assert_eq!(bench.cache.peek("a", at(4199)).await.map(|kept| kept.freshness), Some(Freshness::StaleIfError));
        assert_eq!(bench.cache.peek("a", at(4200)).await, None);
        assert_eq!(bench.cache.peek("b", at(0)).await, None);
    });
}

#[test]
fn every_answer_is_counted_once() {
    let bench = bench();
    bench.run(async {
        let _ = bench.ask("a", at(0), Ok("one")).await;
        let _ = bench.ask("a", at(1), Ok("one")).await;
        let _ = bench.ask("a", at(610), Err(Trouble::Unreachable)).await;
        bench.settle().await;
        let _ = bench.ask("a", at(700), Err(Trouble::Unreachable)).await;
        let _ = bench.ask("b", at(0), Err(Trouble::Unknown)).await;
        let counts = bench.cache.counts();
        let asked = [counts.fetched, counts.fresh, counts.revalidating, counts.stale_if_error, counts.missed];
        assert_eq!(asked, [1, 1, 1, 1, 1]);
        assert_eq!((counts.fetches, counts.entries, counts.evicted), (4, 1, 0));
    });
}

//! Each rule of the limiter by itself.

use super::*;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A limiter of which one request took `service`.
fn limiter(concurrency: usize, service: Duration, now: &mut Instant) -> Limiter {
    let mut limiter = Limiter::new(LimiterSettings { concurrency, ..LimiterSettings::default() }, *now);
    let permit = run(&mut limiter, *now);
    *now += service;
    limiter.finish(permit, *now);
    limiter
}

fn run(limiter: &mut Limiter, now: Instant) -> RequestPermit {
    match limiter.arrive(now, None) {
        Admission::Run(permit) => permit,
        other => panic!("{other:?}"),
    }
}

fn queue(limiter: &mut Limiter, now: Instant) -> Ticket {
    match limiter.arrive(now, None) {
        Admission::Queue(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn refused(limiter: &mut Limiter, now: Instant, left: Option<Duration>) -> RequestRefusal {
    match limiter.arrive(now, left.map(|left| now + left)) {
        Admission::Refuse(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_is_refused_where_the_queue_takes_more_than_a_second_and_a_half_of_a_sudden_and_then_a_second() {
    for (later, places) in [(millis(0), 15), (millis(250), 15), (millis(251), 10)] {
        let mut now = Instant::now();
        let mut limiter = limiter(1, millis(100), &mut now);
        let _runs = run(&mut limiter, now);
        now += later;
        for place in 1..=places {
            assert_eq!(limiter.expected_wait(), millis(100 * place));
            queue(&mut limiter, now);
        }
        let refusal = refused(&mut limiter, now, None);
        assert_eq!(refusal, RequestRefusal { reason: Reason::TooSlow, retry_after: millis(50 * (places + 1)) });
    }
}

#[test]
fn a_queue_that_has_stood_for_five_seconds_is_kept_shorter() {
    let mut now = Instant::now();
    let mut limiter = limiter(1, millis(100), &mut now);
    let mut runs = run(&mut limiter, now);
    let mut waiting: VecDeque<_> = (0..10).map(|_| queue(&mut limiter, now)).collect();
    for _ in 0..52 {
        now += millis(100);
        limiter.finish(runs, now);
        let next = waiting.pop_front().expect("the queue stands");
        assert_eq!(limiter.call(), Some(next));
        runs = limiter.start(next, now).expect("it has waited a second");
        if now.duration_since(limiter.low_at) <= seconds(5) {
            waiting.push_back(queue(&mut limiter, now));
        }
    }
    assert!(limiter.expected_wait() > millis(900));
    assert_eq!(refused(&mut limiter, now, None).reason, Reason::TooSlow);
    while waiting.len() >= 4 {
        limiter.leave(waiting.pop_back().expect("there are four"));
    }
    queue(&mut limiter, now);
    assert_eq!(refused(&mut limiter, now, None).reason, Reason::TooSlow, "400 ms are allowed");
    now += millis(100);
    limiter.finish(runs, now);
    while let Some(ticket) = limiter.call() {
        let permit = limiter.start(ticket, now).expect("in time");
        limiter.finish(permit, now);
    }
    let _runs = run(&mut limiter, now);
    for _ in 0..9 {
        queue(&mut limiter, now);
    }
}

#[test]
fn what_the_caller_does_not_wait_for_is_refused_at_once_or_dropped_in_its_turn() {
    let mut now = Instant::now();
    let mut limiter = limiter(1, millis(100), &mut now);
    let runs = run(&mut limiter, now);
    queue(&mut limiter, now);
    let refusal = refused(&mut limiter, now, Some(millis(199)));
    assert_eq!((refusal.reason, refusal.retry_after), (Reason::TooLate, millis(100)));
    let Admission::Queue(late) = limiter.arrive(now, Some(now + millis(200))) else { panic!("it would be in time") };
    let first = limiter.queue.front().expect("one waits").ticket;
    limiter.leave(first);
    now += millis(200);
    limiter.finish(runs, now);
    assert_eq!(limiter.call(), Some(late));
    assert_eq!(limiter.start(late, now).expect_err("its time is over").reason, Reason::TooLate);
    assert_eq!((limiter.running(), limiter.waiting()), (0, 0));
}

#[test]
fn what_waits_for_nothing_is_never_refused() {
    let mut now = Instant::now();
    let mut limiter = limiter(2, seconds(30), &mut now);
    now += seconds(60);
    assert!(matches!(limiter.arrive(now, Some(now)), Admission::Run(_)));
    assert!(matches!(limiter.arrive(now, Some(now + millis(1))), Admission::Run(_)));
}

#[test]
fn the_queue_is_bounded_even_before_anything_has_been_measured() {
    let now = Instant::now();
    let mut limiter = Limiter::new(LimiterSettings { concurrency: 0, queue: 2, ..LimiterSettings::default() }, now);
    let _runs = run(&mut limiter, now);
    queue(&mut limiter, now);
    queue(&mut limiter, now);
    assert_eq!(refused(&mut limiter, now, None).reason, Reason::QueueFull);
}

#[test]
fn a_few_slow_answers_do_not_make_the_server_refuse_everything() {
    let mut now = Instant::now();
    let mut limiter = limiter(1, millis(10), &mut now);
    for _ in 0..3 {
        let permit = run(&mut limiter, now);
        now += seconds(20);
        limiter.finish(permit, now);
    }
    assert!(limiter.expected_wait() < millis(14), "{:?}", limiter.expected_wait());
}

#[test]
fn handlers_that_compute_start_one_at_a_time_and_their_processor_time_is_the_wait() {
    let mut now = Instant::now();
    let mut limiter = Limiter::new(LimiterSettings::default(), now);
    let mut first = run(&mut limiter, now);
    now += millis(33);
    assert!(limiter.polled(&mut first, millis(33)), "others have their turn");
    limiter.finish(first, now);
    let waiting = [queue(&mut limiter, now), queue(&mut limiter, now), queue(&mut limiter, now)];
    assert_eq!(limiter.expected_wait(), 4 * millis(33), "64 permits do not make it compute faster");
    for ticket in waiting {
        assert_eq!(limiter.call(), None, "others have their turn");
        limiter.round_over();
        assert_eq!(limiter.call(), Some(ticket));
        assert_eq!(limiter.call(), None, "one after the other");
        let mut permit = limiter.start(ticket, now).expect("in time");
        now += millis(33);
        assert!(limiter.polled(&mut permit, millis(33)));
        limiter.finish(permit, now);
    }
}

#[test]
fn handlers_that_compute_little_have_a_slice_together() {
    let now = Instant::now();
    let mut limiter = Limiter::new(LimiterSettings::default(), now);
    let mut rounds = 0;
    for _ in 0..100 {
        let mut permit = run(&mut limiter, now);
        if limiter.polled(&mut permit, Duration::from_micros(100)) {
            rounds += 1;
            limiter.round_over();
        }
        limiter.finish(permit, now);
    }
    assert_eq!(rounds, 2, "one in {SLICE:?}");
}

#[test]
fn a_request_that_waits_for_its_body_holds_up_no_other() {
    let mut now = Instant::now();
    let mut limiter = limiter(1, millis(10), &mut now);
    let mut slow = run(&mut limiter, now);
    limiter.pause(&mut slow, now);
    let other = run(&mut limiter, now);
    now += seconds(20);
    limiter.resume(&mut slow, now);
    assert_eq!(limiter.running(), 2, "it goes on at once");
    now += millis(10);
    limiter.finish(other, now);
    limiter.finish(slow, now);
    assert_eq!(limiter.running(), 0);
    assert!(limiter.service.mean() < millis(12), "the time of the pause is not the handler's");
}

//! `/hystrix.stream`: what [`hystrix`](super::hystrix) tells, again and again, to readers that come and go.
//!
//! A dashboard left open over the weekend must not cost the service anything: a [`Feed`] is the body of an answer and
//! has no task of its own, it makes one event when the last one has been taken, and it ends when the service does.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use event_listener::EventListener;
use futures_lite::{AsyncBufRead, AsyncRead};
use smol::Timer;

use super::hystrix::Command;
use crate::bulkhead::Seat;

/// Hystrix's default of `hystrix.stream.maxConcurrentConnections`.
pub(crate) const READERS: usize = 5;
/// Hystrix's default of `delay`.
const DELAY: Duration = Duration::from_millis(500);
/// Shortest interval: faster than people look.
const DELAY_MIN: Duration = Duration::from_millis(100);
/// Slower, and a proxy between takes the stream for dead.
const DELAY_MAX: Duration = Duration::from_secs(10);
/// Circuits told at a time, services first; what Netflix's own queue holds.
const EVENTS: usize = 1000;
/// Said when there is no circuit: it finds out whether the reader is still there.
const PING: &[u8] = b"ping: \n\n";

/// The time between two rounds that the query asks for: `delay` in milliseconds, within bounds.
pub(crate) fn delay(query: Option<&str>) -> Duration {
    let asked = query.unwrap_or("").split('&').find_map(|pair| pair.strip_prefix("delay=")?.parse::<i64>().ok());
    asked.map_or(DELAY, |asked| Duration::from_millis(u64::try_from(asked).unwrap_or(0)).clamp(DELAY_MIN, DELAY_MAX))
}

/// All circuits at a moment.
pub(crate) type Look = Box<dyn Fn(Instant) -> Vec<Command> + Send + Sync>;

/// The stream of one reader, as a body.
pub(crate) struct Feed {
    look: Look,
    delay: Duration,
    /// When the next round is due.
    next: Timer,
    /// Commands that are left of this round, last first.
    round: Vec<Command>,
    event: Vec<u8>,
    /// How much of `event` has been taken.
    taken: usize,
    ends: EventListener,
    ended: bool,
    _seat: Seat,
}

impl Feed {
    /// Tells what `look` sees every `delay`, from now on until `ends` is notified.
    pub(crate) fn new(look: Look, delay: Duration, ends: EventListener, seat: Seat) -> Self {
        let next = Timer::at(Instant::now());
        Self { look, delay, next, round: Vec::new(), event: Vec::new(), taken: 0, ends, ended: false, _seat: seat }
    }

    /// Makes `event` hold something to be taken, or ends.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended || self.taken < self.event.len() {
            return Poll::Ready(());
        }
        if Pin::new(&mut self.ends).poll(cx).is_ready() {
            self.ended = true;
            (self.event, self.taken) = (Vec::new(), 0);
            return Poll::Ready(());
        }
        self.event = match self.round.pop() {
            Some(command) => command.event(SystemTime::now()),
            None => {
                let now = ready!(Pin::new(&mut self.next).poll(cx));
                self.next.set_after(self.delay);
                self.round = (self.look)(now);
                self.round.truncate(EVENTS);
                self.round.reverse();
                self.round.pop().map_or_else(|| PING.to_vec(), |command| command.event(SystemTime::now()))
            }
        };
        self.taken = 0;
        Poll::Ready(())
    }

    fn left(&self) -> &[u8] {
        self.event.get(self.taken..).unwrap_or(&[])
    }
}

impl AsyncBufRead for Feed {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_event(cx));
        Poll::Ready(Ok(this.left()))
    }

    fn consume(mut self: Pin<&mut Self>, read: usize) {
        self.taken = self.taken.saturating_add(read).min(self.event.len());
    }
}

impl AsyncRead for Feed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_event(cx));
        let n = into.len().min(self.left().len());
        into[..n].copy_from_slice(&self.left()[..n]);
        self.taken += n;
        Poll::Ready(Ok(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulkhead::Bulkhead;
    use crate::telemetry::Noted;
    use crate::telemetry::hystrix::tests::{check_event, command};
    use event_listener::Event;
    use futures_lite::{AsyncBufReadExt as _, AsyncReadExt as _, future};
    use std::sync::Arc;

    fn feed(names: &'static [&'static str], ends: &Event, places: &Arc<Bulkhead>) -> Feed {
        let look = move |_| names.iter().map(|name| command(name, Noted::default())).collect();
        Feed::new(Box::new(look), DELAY_MIN, ends.listen(), places.try_enter().expect("a place"))
    }

    #[test]
    fn the_delay_is_netflix_s_unless_the_reader_asks_for_another_within_bounds() {
        for (query, millis) in [
            (None, 500),
            (Some("delay=1000"), 1000),
            (Some("a=b&delay=2000"), 2000),
            (Some("delay=1"), 100),
            (Some("delay=-5"), 100),
            (Some("delay=99999999"), 10_000),
            (Some("delay=soon"), 500),
            (Some("delay=99999999999999999999"), 500),
        ] {
            assert_eq!(delay(query), Duration::from_millis(millis), "{query:?}");
        }
    }

    #[test]
    fn there_are_five_places_and_one_left_is_free_again() {
        let places = Bulkhead::new("test", READERS);
        let mut taken: Vec<_> = std::iter::from_fn(|| places.try_enter().ok()).collect();
        assert_eq!(taken.len(), READERS);
        taken.pop();
        assert!(places.try_enter().is_ok());
    }

    #[test]
    fn each_circuit_is_one_event_in_order_and_the_next_round_begins_anew() {
        let (ends, places) = (Event::new(), Bulkhead::new("test", READERS));
        let mut feed = feed(&["one", "two"], &ends, &places);
        let mut names = Vec::new();
        future::block_on(async {
            for _ in 0..5 {
                let event = feed.fill_buf().await.expect("no error").to_vec();
                feed.consume(event.len());
                names.push(check_event(std::str::from_utf8(&event).expect("text"))["name"].to_string());
            }
        });
        assert_eq!(names, ["\"one\"", "\"two\"", "\"one\"", "\"two\"", "\"one\""]);
    }

    #[test]
    fn without_circuits_it_pings() {
        let (ends, places) = (Event::new(), Bulkhead::new("test", READERS));
        let mut feed = feed(&[], &ends, &places);
        let mut said = [0; 16];
        future::block_on(feed.read_exact(&mut said)).expect("two pings");
        assert_eq!(&said, b"ping: \n\nping: \n\n");
    }

    #[test]
    fn it_ends_after_the_event_that_is_half_taken_once_the_service_does() {
        let (ends, places) = (Event::new(), Bulkhead::new("test", READERS));
        let mut feed = feed(&["one", "two"], &ends, &places);
        let mut all = vec![0; 100];
        future::block_on(async {
            feed.read_exact(&mut all).await.expect("a part");
            ends.notify(usize::MAX);
            feed.read_to_end(&mut all).await.expect("the rest");
        });
        assert_eq!(check_event(std::str::from_utf8(&all).expect("text"))["name"], "one");
        drop(feed);
        assert_eq!(places.in_flight(), 0);
    }
}

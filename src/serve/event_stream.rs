//! Answers with a stream of server-sent events.

use futures_lite::Stream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tide::{Body, Response, StatusCode};

use crate::bulkhead::BulkheadPermit;

/// An answer that sends `events`, each a whole one in the format `text/event-stream`, until `end` resolves
/// ([`Health::drains`](super::Health::drains)).
///
/// The next event is asked for when the last one has been sent, and no task runs for it: a reader that stands still costs
/// nothing. `permit` is given back when the reader leaves.
pub fn event_stream(
    events: impl Stream<Item = Vec<u8>> + Send + Sync + 'static,
    end: impl Future<Output = ()> + Send + Sync + 'static,
    permit: BulkheadPermit,
) -> Response {
    let events = events.take_until(end).map(move |event| {
        let _held = &permit;
        Ok(event)
    });
    let mut response = Response::new(StatusCode::Ok);
    response.set_body(Body::from_reader(Box::pin(events).into_async_read(), None));
    response.insert_header("content-type", "text/event-stream;charset=UTF-8");
    response.insert_header("cache-control", "no-store");
    response
}

#[cfg(test)]
mod tests {
    use event_listener::Event;
    use futures_lite::{AsyncReadExt as _, future, stream};

    use super::*;
    use crate::bulkhead::Bulkhead;

    #[test]
    fn a_stream_ends_after_the_event_that_is_half_read_and_gives_its_seat_back() {
        let (end, seats) = (Event::new(), Bulkhead::new("test", 1));
        let events = stream::repeat_with(|| b"data: a\n\n".to_vec());
        let mut body = event_stream(events, end.listen(), seats.try_enter().expect("a seat")).take_body();
        let mut all = vec![0; 12];
        future::block_on(async {
            body.read_exact(&mut all).await.expect("a part");
            end.notify(usize::MAX);
            body.read_to_end(&mut all).await.expect("the rest");
        });
        assert_eq!(all, b"data: a\n\ndata: a\n\n");
        assert_eq!(seats.in_flight(), 1);
        drop(body);
        assert_eq!(seats.in_flight(), 0);
    }
}

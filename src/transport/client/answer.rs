//! The body of an answer: at once if it is there already, else read from the connection, which it owns until its end.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes};
use futures_lite::{AsyncBufRead, AsyncRead};
use http_body::Body as _;
use http_types::{Body, Response};
use hyper::body::Incoming;

use super::connection::Connection;
use super::convert;
use super::error::{Error, Phase};
use super::pool::Pool;

/// A body up to this size that has arrived with its head is handed over whole.
const AT_ONCE: usize = 64 << 10;

/// Resources that an exchange holds until its last byte.
pub(super) struct Exchange {
    pub(super) connection: Box<Connection>,
    pub(super) pool: Arc<Pool>,
    pub(super) deadline: Instant,
    /// Bytes the body may have.
    pub(super) limit: u64,
}

/// The answer whose `head` has come over `exchange`.
pub(super) fn receive(head: http::Response<Incoming>, exchange: Exchange) -> Result<Response, Error> {
    let length = check(&head, &exchange)?;
    let (head, incoming) = head.into_parts();
    let has_type = head.headers.contains_key(http::header::CONTENT_TYPE);
    let mut response = convert::response(head.status, head.headers);
    let body = body(Reader::new(incoming, exchange), length)?;
    response.set_body(body);
    if !has_type {
        response.remove_header(http_types::headers::CONTENT_TYPE); // http-types made one up
    }
    Ok(response)
}

/// The answer whose `head` has come over `exchange`, with its whole body.
pub(super) async fn read(head: http::Response<Incoming>, exchange: Exchange) -> Result<http::Response<Vec<u8>>, Error> {
    let length = check(&head, &exchange)?;
    let (head, incoming) = head.into_parts();
    let mut reader = Reader::new(incoming, exchange);
    let mut body = Vec::with_capacity(length.map_or(0, |length| length.min(AT_ONCE as u64) as usize));
    loop {
        let chunk = poll_fn(|cx| reader.poll_chunk_for(cx)).await?;
        if chunk.is_empty() {
            return Ok(http::Response::from_parts(head, body));
        }
        body.extend_from_slice(&chunk);
    }
}

/// Whether the answer with this head may be read; the length of its body, if it is known.
fn check(head: &http::Response<Incoming>, exchange: &Exchange) -> Result<Option<u64>, Error> {
    let host = &exchange.connection.key;
    if head.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::Protocol { host: host.to_string(), why: "it switched protocols unasked".into() });
    }
    let length = head.body().size_hint().exact();
    if length.is_some_and(|length| length > exchange.limit) {
        return Err(Error::AnswerTooLarge { host: host.to_string(), limit: exchange.limit });
    }
    Ok(length)
}

/// All of the body if it is there, else what reads it.
fn body(mut reader: Reader, length: Option<u64>) -> Result<Body, Error> {
    let Some(exchange) = &reader.exchange else { return Ok(Body::empty()) };
    let waker = exchange.connection.waker();
    let mut own = Context::from_waker(&waker);
    let mut whole = Vec::with_capacity(length.map_or(0, |length| length.min(AT_ONCE as u64) as usize));
    while whole.len() <= AT_ONCE {
        match reader.poll_chunk(&mut own) {
            Poll::Ready(Ok(chunk)) if chunk.is_empty() => return Ok(Body::from_bytes(whole)),
            Poll::Ready(Ok(chunk)) => whole.extend_from_slice(&chunk),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => break,
        }
    }
    reader.chunk = whole.into();
    let length = length.and_then(|length| usize::try_from(length).ok());
    Ok(Body::from_reader(reader, length))
}

/// Reads a body; gives the connection back when it has ended well, and drops it in any other case.
struct Reader {
    incoming: Incoming,
    /// Come, but not yet read by the caller.
    chunk: Bytes,
    /// None after the end.
    exchange: Option<Exchange>,
    /// Bytes that may still come.
    left: u64,
    /// The end was not a good one; a reader that reads on must not take it for one.
    broken: bool,
}

impl Reader {
    fn new(incoming: Incoming, exchange: Exchange) -> Self {
        let left = exchange.limit;
        let mut reader = Self { incoming, chunk: Bytes::new(), exchange: Some(exchange), left, broken: false };
        if reader.incoming.is_end_stream() {
            reader.finish();
        }
        reader
    }

    /// The next bytes for the task of `cx`; none at the end.
    fn poll_chunk_for(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        let Some(exchange) = &self.exchange else { return Poll::Ready(Ok(Bytes::new())) };
        exchange.connection.attend(cx);
        let waker = exchange.connection.waker();
        self.poll_chunk(&mut Context::from_waker(&waker))
    }

    /// The next bytes; none at the end. `own` must be of the connection's waker.
    fn poll_chunk(&mut self, own: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        loop {
            let Some(exchange) = &mut self.exchange else { return Poll::Ready(Ok(Bytes::new())) };
            let connection = &mut exchange.connection;
            // hyper hands over a piece only when asked for it: ask first, and again after the connection has read.
            let mut frame = Pin::new(&mut self.incoming).poll_frame(own);
            if frame.is_pending() {
                connection.drive(own);
                frame = Pin::new(&mut self.incoming).poll_frame(own);
            }
            match frame {
                Poll::Pending => {
                    let error = ready!(connection.poll_deadline(exchange.deadline, Phase::Body, own));
                    return Poll::Ready(Err(self.fail(error)));
                }
                Poll::Ready(None) => self.finish(),
                Poll::Ready(Some(Err(error))) => {
                    let error = Error::of_engine(&connection.key, &error);
                    return Poll::Ready(Err(self.fail(error)));
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Poll::Ready(self.accept(data)),
                    _empty_or_trailers => (),
                },
            }
        }
    }

    fn accept(&mut self, data: Bytes) -> Result<Bytes, Error> {
        let size = data.len() as u64;
        if size > self.left {
            let host = self.exchange.as_ref().map(|exchange| exchange.connection.key.to_string()).unwrap_or_default();
            let limit = self.exchange.as_ref().map_or(0, |exchange| exchange.limit);
            return Err(self.fail(Error::AnswerTooLarge { host, limit }));
        }
        self.left -= size;
        if self.incoming.is_end_stream() {
            self.finish();
        }
        Ok(data)
    }

    /// The body has ended well.
    fn finish(&mut self) {
        let Some(Exchange { mut connection, pool, .. }) = self.exchange.take() else { return };
        if !connection.is_idle() {
            let waker = connection.waker();
            connection.drive(&mut Context::from_waker(&waker));
        }
        if connection.is_idle() {
            let now = Instant::now();
            connection.rest(now);
            pool.put(connection, now);
        }
    }

    /// Ends the body with `error`: nothing more comes from this connection.
    fn fail(&mut self, error: Error) -> Error {
        self.exchange = None;
        self.broken = true;
        error
    }
}

impl AsyncBufRead for Reader {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.chunk.is_empty() {
            if this.broken {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            this.chunk = ready!(this.poll_chunk_for(cx)).map_err(Error::into_io)?;
        }
        Poll::Ready(Ok(&this.chunk))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        let amount = amount.min(self.chunk.len());
        self.chunk.advance(amount);
    }
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let chunk = ready!(self.as_mut().poll_fill_buf(cx))?;
        let n = chunk.len().min(buffer.len());
        buffer[..n].copy_from_slice(&chunk[..n]);
        self.consume(n);
        Poll::Ready(Ok(n))
    }
}

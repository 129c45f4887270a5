//! A connection from accept to close: hyper's part, the watchdog, the drain, and an end the peer can understand.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_io::Async;
use event_listener::EventListener;
use futures_lite::future;
use futures_lite::{AsyncRead, AsyncWrite, AsyncWriteExt};
use http::HeaderValue;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};

use super::answer::{Session, answer};
use super::body::ResponseBody;
use super::convert::{MAX_TARGET, Peer};
use super::progress::{AwaitedEvent, Progress, Watchdog};
use super::refusal::{self, Refusal};
use super::{Shared, Stop};
use crate::timeout::timeout;
use crate::transport::io::Io;

/// The whole head of a request, and what is kept of a body or answer between two system calls.
const BUFFER: usize = 16 << 10;
/// How long a peer that was refused may go on sending, so that no reset overtakes the answer (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(1);

/// How hyper's part ended.
enum End {
    /// hyper closed it: the peer asked for that or left, the drain, a refusal.
    Closed,
    /// hyper could not parse the request and has said so.
    Unparsable,
    /// The peer's fault or an unfinished answer: nothing more can be said.
    Broken,
    Overdue(AwaitedEvent),
    Cut,
}

/// Serves one connection until it ends: after the first answer, unless it is kept alive.
pub(super) async fn run<S: Clone + Send + Sync + 'static>(
    stream: Async<TcpStream>,
    peer: SocketAddr,
    shared: Arc<Shared<S>>,
    keep_alive: bool,
) {
    let progress = Arc::new(Progress::default());
    let peer = Peer::new(peer, stream.get_ref().local_addr().ok());
    let session = Arc::new(Session { shared: Arc::clone(&shared), progress: Arc::clone(&progress), peer });
    let stream = Arc::new(stream);
    let end = {
        let wire =
            ConnectionIo { stream: Arc::clone(&stream), progress: Arc::clone(&progress), drained: false, line: 0 };
        let service = service_fn(move |request| answer(Arc::clone(&session), request));
        let connection = http1::Builder::new()
            .max_buf_size(BUFFER)
            .keep_alive(keep_alive)
            .header_read_timeout(None)
            .serve_connection(Io::vectored(wire), service);
        drive(pin!(connection), &progress, &shared).await
    };
    let refusal = match end {
        _ if progress.is_stalled() => return, // an answer is half sent: another may not follow it
        End::Closed | End::Broken if progress.refused().is_some() => progress.refused(),
        End::Closed => None,
        End::Unparsable => {
            shared.stats.answered(400);
            progress.leave_unread();
            None
        }
        End::Overdue(AwaitedEvent::Head) => Some(&refusal::HEADER_TIMEOUT),
        End::Overdue(AwaitedEvent::Body { answering: false }) => Some(&refusal::BODY_TIMEOUT),
        End::Overdue(_) | End::Broken | End::Cut => return,
    };
    if let Some(refusal) = refusal {
        shared.stats.answered(refusal.status.as_u16());
        refuse(&stream, refusal, shared.id.as_ref()).await;
    } else if progress.has_unread() {
        linger(&stream).await;
    }
}

/// Polls hyper, then asks whether something else ends the connection.
async fn drive<S, H>(
    mut connection: Pin<&mut http1::Connection<Io<ConnectionIo>, H>>,
    progress: &Progress,
    shared: &Shared<S>,
) -> End
where
    H: HttpService<Incoming, ResBody = ResponseBody, Error = std::convert::Infallible>,
{
    let mut watchdog = Watchdog::new(Instant::now());
    let mut orders = Orders::new(&shared.stop);
    poll_fn(|cx| {
        match orders.poll_new(cx, &shared.stop) {
            Some(Order::Drain) => connection.as_mut().graceful_shutdown(),
            Some(Order::Cut) => return Poll::Ready(End::Cut),
            None => {}
        }
        match connection.as_mut().poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(End::Closed),
            Poll::Ready(Err(error)) => {
                log::debug!("connection ended: {error}");
                Poll::Ready(if error.is_parse() { End::Unparsable } else { End::Broken })
            }
            Poll::Pending => watchdog.poll_overdue(cx, progress, &shared.limits).map(End::Overdue),
        }
    })
    .await
}

/// Order of the server to its connections.
enum Order {
    Drain,
    Cut,
}

/// Hears each order once. The listener is polled when made and not again: a task keeps its waker.
struct Orders {
    changed: EventListener,
    listening: bool,
    draining: bool,
}

impl Orders {
    fn new(stop: &Stop) -> Self {
        Self { changed: stop.changed.listen(), listening: false, draining: false }
    }

    fn poll_new(&mut self, cx: &mut Context<'_>, stop: &Stop) -> Option<Order> {
        while !self.listening {
            // Ready means that an order came in between; it is seen below, and the next one needs a new listener.
            match Pin::new(&mut self.changed).poll(cx) {
                Poll::Ready(()) => self.changed = stop.changed.listen(),
                Poll::Pending => self.listening = true,
            }
        }
        if stop.cut.load(SeqCst) {
            return Some(Order::Cut);
        }
        if !self.draining && stop.draining.load(SeqCst) {
            self.draining = true;
            self.changed = stop.changed.listen();
            self.listening = false;
            cx.waker().wake_by_ref(); // to poll the new listener
            return Some(Order::Drain);
        }
        None
    }
}

/// Whether the first bytes of a new connection ask for one of `paths`; takes `LINGER` at most. The bytes stay unread.
pub(super) async fn asks_for(stream: &Async<TcpStream>, paths: &[&str]) -> bool {
    let mut head = [0; 64];
    let look = stream.read_with(|stream| stream.peek(&mut head));
    let Some(Ok(count)) = timeout(LINGER, look).await else { return false };
    let target = head
        .get(..count)
        .and_then(|head| head.strip_prefix(b"GET "))
        .and_then(|rest| rest.split(|b| *b == b' ').next());
    target.is_some_and(|target| paths.iter().any(|path| path.as_bytes() == target))
}

/// Says why and closes; takes `LINGER` at most.
pub(super) async fn refuse(stream: &Async<TcpStream>, refusal: &Refusal, id: Option<&HeaderValue>) {
    let wire = refusal.wire(id);
    let say = async {
        let mut to = stream;
        let _ = to.write_all(wire.as_bytes()).await; // a peer that is gone needs no reason
        linger(stream).await;
    };
    let _ = timeout(LINGER, say).await; // the connection is closed either way
}

/// Ends our side and reads away what the peer still sends.
async fn linger(stream: &Async<TcpStream>) {
    let _ = stream.get_ref().shutdown(Shutdown::Write); // fails if the peer is gone, which is what we wait for
    let read_away = async {
        let discard = |mut stream: &TcpStream| stream.read(&mut [0; 8 << 10]);
        while stream.read_with(discard).await.is_ok_and(|n| n > 0) {
            future::yield_now().await; // a fast peer must not keep others from running
        }
    };
    let _ = timeout(LINGER, read_away).await; // the connection is closed either way
}

/// The socket, watched: notes what arrives and whether the peer takes what we send.
struct ConnectionIo {
    stream: Arc<Async<TcpStream>>,
    progress: Arc<Progress>,
    /// The last read took all there was: wait for more instead of asking the system again.
    drained: bool,
    /// Bytes of a request line whose end has not come yet.
    line: usize,
}

impl ConnectionIo {
    /// Looks at bytes that came while no request was under way, or while a request line was.
    fn check_head(&mut self, begins: bool, bytes: &[u8]) -> Option<&'static Refusal> {
        if begins {
            self.line = 0;
            if bytes.starts_with(b"PRI * HTTP/2") {
                return Some(&refusal::VERSION);
            }
            if has_two_lengths(bytes) {
                return Some(&refusal::TWO_LENGTHS);
            }
        }
        if bytes.contains(&b'\n') {
            self.line = 0;
        } else if begins || self.line > 0 {
            self.line += bytes.len();
        }
        (self.line > MAX_TARGET).then_some(&refusal::TARGET_TOO_LONG)
    }
}

/// Whether the head at the start of `bytes` has both a Content-Length and a Transfer-Encoding.
///
/// hyper would forget the first, go by the second and close after the answer, as RFC 9112 (6.3) allows; a head in
/// several pieces ends so. Where it is seen in time the sender is told: a proxy between us may count otherwise.
fn has_two_lengths(bytes: &[u8]) -> bool {
    let is = |line: &[u8], name: &[u8]| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let (mut length, mut encoding) = (false, false);
    for line in bytes.split(|&b| b == b'\n').skip(1) {
        match line.first() {
            Some(b'c' | b'C') => length |= is(line, b"content-length:"),
            Some(b't' | b'T') => encoding |= is(line, b"transfer-encoding:"),
            None | Some(b'\r') => break,
            _ => {}
        }
    }
    length && encoding
}

impl AsyncRead for ConnectionIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let n = loop {
            if this.drained {
                ready!(this.stream.poll_readable(cx))?;
                this.drained = false;
            }
            match this.stream.get_ref().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => this.drained = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => break done?,
            }
        };
        if n > 0 {
            this.drained = n < into.len();
            let begins = this.progress.received();
            if begins || this.line > 0 {
                if let Some(refusal) = this.check_head(begins, &into[..n]) {
                    this.progress.refuse(refusal);
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
            }
        }
        Poll::Ready(Ok(n))
    }
}

impl ConnectionIo {
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        send: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match send(self.stream.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                done => {
                    if self.progress.is_stalled() {
                        self.progress.stalled(false);
                    }
                    return Poll::Ready(done);
                }
            }
            if self.stream.poll_writable(cx)?.is_pending() {
                self.progress.stalled(true);
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for ConnectionIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |mut stream| stream.write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |mut stream| stream.write_vectored(parts))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// `run` closes, when it has said what hyper could not.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

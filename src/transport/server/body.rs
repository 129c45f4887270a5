//! Bodies stream both ways: a handler that wants the whole may read the whole, within `max_body`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_lite::{AsyncBufRead, AsyncRead};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::progress::Progress;

/// Copied out of a handler's reader at a time; hyper sends what it has at 16 KiB anyway.
const FRAME: usize = 16 << 10;
/// Frames in a row before other connections have their turn: half a MiB, under a millisecond on a Pi.
const BURST: u8 = 32;

/// The body of a request as tide reads it.
pub(super) struct RequestBody {
    incoming: Incoming,
    /// Bytes that came and are not read yet.
    chunk: Bytes,
    /// Bytes that may still come.
    left: usize,
    whole: bool,
    progress: Arc<Progress>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, max: usize, progress: Arc<Progress>) -> Self {
        Self { incoming, chunk: Bytes::new(), left: max, whole: false, progress }
    }

    fn end(&mut self) {
        self.whole = true;
        self.progress.body_done(true);
    }

    /// Makes `chunk` hold at least one byte, or the body `whole`.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.chunk.is_empty() && !self.whole {
            let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
                self.progress.body_awaited();
                return Poll::Pending;
            };
            let Some(frame) = frame else {
                self.end();
                break;
            };
            let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue }; // trailers
            let Some(left) = self.left.checked_sub(data.len()) else {
                self.progress.body_is_too_large();
                return Poll::Ready(Err(io::Error::other("the body of the request is too large")));
            };
            self.left = left;
            self.chunk = data;
            if self.incoming.is_end_stream() {
                self.end();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for RequestBody {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_chunk(cx))?;
        Poll::Ready(Ok(&this.chunk))
    }

    fn consume(mut self: Pin<&mut Self>, read: usize) {
        let read = read.min(self.chunk.len());
        drop(self.chunk.split_to(read));
    }
}

impl AsyncRead for RequestBody {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_chunk(cx))?;
        let n = into.len().min(self.chunk.len());
        let part = self.chunk.split_to(n);
        into[..n].copy_from_slice(&part);
        Poll::Ready(Ok(n))
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.whole {
            self.progress.body_done(false);
        }
    }
}

/// The body of an answer as hyper writes it.
pub(super) struct ResponseBody {
    source: Source,
    /// Bytes still to come, if known.
    left: Option<u64>,
    /// Frames since the last pause; at most `BURST`.
    burst: u8,
    progress: Arc<Progress>,
}

enum Source {
    Reader(Box<dyn AsyncBufRead + Unpin + Send + Sync>),
    Whole(Bytes),
}

impl ResponseBody {
    pub(super) fn new(body: http_types::Body, progress: Arc<Progress>) -> Self {
        let left = body.len().map(|len| len as u64);
        Self { source: Source::Reader(body.into_reader()), left, burst: 0, progress }
    }

    pub(super) fn text(text: String, progress: Arc<Progress>) -> Self {
        Self { left: Some(text.len() as u64), source: Source::Whole(text.into()), burst: 0, progress }
    }

    pub(super) fn fixed(text: &'static str, progress: Arc<Progress>) -> Self {
        let source = Source::Whole(Bytes::from_static(text.as_bytes()));
        Self { left: Some(text.len() as u64), source, burst: 0, progress }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if this.left == Some(0) {
            return Poll::Ready(None);
        }
        if this.burst == BURST {
            this.burst = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.burst += 1;
        let data = match &mut this.source {
            Source::Whole(bytes) => std::mem::take(bytes),
            Source::Reader(reader) => {
                let mut reader = Pin::new(reader);
                let filled = ready!(reader.as_mut().poll_fill_buf(cx))?;
                let most = this.left.map_or(FRAME, |left| usize::try_from(left).map_or(FRAME, |left| left.min(FRAME)));
                let data = Bytes::copy_from_slice(&filled[..filled.len().min(most)]);
                reader.consume(data.len());
                data
            }
        };
        match (&mut this.left, data.len()) {
            (None, 0) => return Poll::Ready(None),
            // Less than was promised: an error, so that the connection is cut and the peer knows.
            (Some(_), 0) => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            (None, _) => {}
            (Some(left), n) => *left -= n as u64,
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.progress.answered();
    }
}

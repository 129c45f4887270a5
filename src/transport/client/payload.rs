//! The body of a request: nothing, bytes that can be sent again, or a stream that cannot.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_lite::AsyncRead;
use http_body::{Body, Frame, SizeHint};

/// Bodies up to this size are held, so that a broken connection does not lose them.
const HELD: usize = 64 << 10;

const CHUNK: usize = 16 << 10;

/// Body of a request.
pub(crate) enum Payload {
    Empty,
    Full(Bytes),
    Stream(Box<Upload>),
}

/// A body read while it is sent.
pub(crate) struct Upload {
    body: http_types::Body,
    /// Read already, sent first.
    held: Bytes,
    /// Bytes still to be sent, `held` included. None: unknown, sent in chunks.
    left: Option<u64>,
}

impl Payload {
    /// `body` as it will be sent; a small one that is there already is held.
    pub(super) fn new(mut body: http_types::Body, cx: &mut Context<'_>) -> io::Result<Self> {
        let length = body.len();
        if length == Some(0) {
            return Ok(Self::Empty);
        }
        let mut held = Vec::new();
        if let Some(length) = length.filter(|&length| length <= HELD) {
            held.resize(length, 0);
            let mut filled = 0;
            while filled < length {
                match Pin::new(&mut body).poll_read(cx, &mut held[filled..]) {
                    Poll::Ready(Ok(0)) => return Err(short()),
                    Poll::Ready(Ok(n)) => filled += n,
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => break,
                }
            }
            if filled == length {
                return Ok(Self::Full(held.into()));
            }
            held.truncate(filled);
        }
        let left = length.map(|length| length as u64);
        Ok(Self::Stream(Box::new(Upload { body, held: held.into(), left })))
    }

    /// The same payload once more, if it can be had.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Full(bytes) => Some(Self::Full(bytes.clone())),
            Self::Stream(_) => None,
        }
    }
}

impl Upload {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        let mut chunk = std::mem::take(&mut self.held);
        if chunk.is_empty() {
            let mut buffer = vec![0; CHUNK];
            let n = ready!(Pin::new(&mut self.body).poll_read(cx, &mut buffer))?;
            if n == 0 {
                return Poll::Ready(self.left.map(|_| Err(short())));
            }
            buffer.truncate(n);
            chunk = buffer.into();
        }
        if let Some(left) = &mut self.left {
            // http-types never reads beyond the length it was given.
            *left = left.saturating_sub(chunk.len() as u64);
        }
        Poll::Ready(Some(Ok(chunk)))
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream(upload) => upload.poll_chunk(cx).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Stream(upload) => upload.left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(upload) => upload.left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

fn short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "its body ended before the length it was given")
}

//! hyper wants to be read into a buffer that may be uninitialised, smol reads into initialised bytes only.
//!
//! The usual bridges zero hyper's buffer before each read or need `unsafe`. A read is synchronous, so one scratch
//! buffer a thread serves every connection: read there, copy what came. An idle connection has no buffer of ours.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead, AsyncWrite};
use hyper::rt::ReadBufCursor;

/// Four TLS records; pages never written to cost no memory.
const SCRATCH: usize = 64 << 10;

thread_local! {
    static SCRATCH_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// A futures-io stream (a socket, a TLS session) as hyper wants it.
///
/// `T` must not itself read through an `Io` inside its `poll_read`: the two would share the scratch buffer.
#[derive(Debug)]
pub struct Io<T> {
    stream: T,
    vectored: bool,
}

impl<T> Io<T> {
    /// For streams where one write of two buffers is no better than two writes: TLS.
    pub fn new(stream: T) -> Self {
        Self { stream, vectored: false }
    }

    /// For streams that write several buffers in one system call: sockets.
    pub fn vectored(stream: T) -> Self {
        Self { stream, vectored: true }
    }
}

impl<T: AsyncRead + Unpin> hyper::rt::Read for Io<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        SCRATCH_BUFFER.with_borrow_mut(|scratch| {
            let room = into.remaining().min(SCRATCH);
            let n = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut scratch[..room]))?;
            into.put_slice(&scratch[..n]);
            Poll::Ready(Ok(()))
        })
    }
}

impl<T: AsyncWrite + Unpin> hyper::rt::Write for Io<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_fn};
    use futures_lite::io::Cursor;
    use hyper::rt::{Read, ReadBuf};

    fn read_into(io: &mut Io<Cursor<Vec<u8>>>, room: usize) -> Vec<u8> {
        let mut backing = vec![0; room];
        let mut buffer = ReadBuf::new(&mut backing);
        block_on(poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, buffer.unfilled()))).expect("a cursor never fails");
        buffer.filled().to_vec()
    }

    #[test]
    fn bytes_arrive_in_order_whatever_the_room() {
        let sent: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        for room in [1_000, SCRATCH, SCRATCH * 2] {
            let mut io = Io::new(Cursor::new(sent.clone()));
            let mut got = Vec::new();
            loop {
                let part = read_into(&mut io, room);
                if part.is_empty() {
                    break;
                }
                got.extend(part);
            }
            assert!(got == sent, "with room for {room}");
        }
    }
}

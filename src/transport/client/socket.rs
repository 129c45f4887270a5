//! The socket under a connection, and the waker that stays with it.
//!
//! A pooled connection is used by one task after another. The reactor wakes the task it knew before whenever a new one
//! registers, and a timer is taken out and put in again; both cost system calls on every exchange. So the reactor only
//! ever sees the connection's own waker, which passes the call on to the task that uses the connection now.

use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use async_io::Async;
use futures_lite::{AsyncRead, AsyncWrite};

#[cfg(feature = "tls")]
use crate::transport::tls::TlsStream;

/// State that a connection and its socket share.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Waker of the task that uses the connection now; none while it is idle.
    task: Mutex<Option<Waker>>,
    /// Whether a byte of HTTP has come since the last [`Watch::begin`]; tickets and alerts of TLS are none.
    heard: AtomicBool,
    /// Whether the next read asks the kernel whatever the reactor knows.
    probe: AtomicBool,
}

impl Watch {
    /// A new exchange: nothing heard yet, and the peer may have closed meanwhile without the reactor having seen it.
    pub(super) fn begin(&self) {
        self.heard.store(false, Ordering::Relaxed);
        self.probe.store(true, Ordering::Relaxed);
    }

    /// Passes wake-ups on to the task of `cx` from now on.
    pub(super) fn attend(&self, cx: &Context<'_>) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *task {
            Some(known) if known.will_wake(cx.waker()) => (),
            other => *other = Some(cx.waker().clone()),
        }
    }

    /// Removes the waker: no task is woken from now on.
    pub(super) fn leave(&self) {
        drop(self.take());
    }

    /// Whether a byte of this exchange's answer has come.
    pub(super) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    fn take(&self) -> Option<Waker> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(task) = self.take() {
            task.wake();
        }
    }
}

/// A TCP socket that does not ask the kernel for bytes which cannot be there.
pub(super) struct Socket {
    io: Async<TcpStream>,
    watch: Arc<Watch>,
    /// The last read emptied the kernel's buffer; only the reactor can know of more.
    drained: bool,
}

impl Socket {
    pub(super) fn new(io: Async<TcpStream>, watch: Arc<Watch>) -> Self {
        Self { io, watch, drained: false }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.drained && !self.watch.probe.load(Ordering::Relaxed) {
            ready!(self.io.poll_readable(cx))?;
        }
        self.watch.probe.store(false, Ordering::Relaxed);
        self.drained = true; // if nothing is there, the reactor was told to watch
        let n = ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        self.drained = n > 0 && n < buffer.len(); // the end stays readable
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}

/// With or without TLS.
pub(super) enum Stream {
    Plain(Socket),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    fn watch(&self) -> &Watch {
        match self {
            Self::Plain(socket) => &socket.watch,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => &stream.get_ref().0.watch,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let n = ready!(match this {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        })?;
        if n > 0 {
            this.watch().heard.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_close(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_close(cx),
        }
    }
}

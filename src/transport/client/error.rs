//! Errors on the wire, as the caller must tell them apart: no listener, too slow, broken off, or nonsense.

use std::io;
use std::net::SocketAddr;

use http_types::StatusCode;

use crate::resolve;
use crate::transport::tls;

/// Phase of an exchange in which its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Looking for the address.
    Resolve,
    /// Waiting for the connection.
    Connect,
    /// Shaking hands.
    Tls,
    /// Sending the request, or waiting for the head of the answer.
    Head,
    /// Reading the answer's body.
    Body,
}

impl Phase {
    fn verb(self) -> &'static str {
        match self {
            Self::Resolve => "looking up its address",
            Self::Connect => "connecting",
            Self::Tls => "the TLS handshake",
            Self::Head => "waiting for the answer",
            Self::Body => "reading the answer's body",
        }
    }
}

/// Why there is no answer. [`Error::of`] finds it in what surf returns.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL cannot be called.
    #[error("cannot call {url}: {why}")]
    Url {
        /// Without its query, which may hold a key.
        url: String,
        /// Mistake in the URL.
        why: &'static str,
    },
    /// The name has no address.
    #[error(transparent)]
    Resolve(#[from] resolve::Error),
    /// No program listens there.
    #[error("{0} refused the connection; is the service running, and at this port?")]
    Refused(SocketAddr),
    /// The system could not connect.
    #[error("no connection to {addr}: {source}; is the machine up and on this network?")]
    Connect {
        /// The address last tried.
        addr: SocketAddr,
        /// Error of the system.
        source: io::Error,
    },
    /// No trusted connection.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The deadline passed.
    #[error("{host} did not answer in time: the deadline passed while {}", phase.verb())]
    TimedOut {
        /// Host and port called.
        host: String,
        /// Phase in which the time was over.
        phase: Phase,
    },
    /// The other side closed or reset the connection before the answer was whole.
    #[error("{host} closed the connection before its answer was complete; it may have crashed or been restarted")]
    Closed {
        /// Host and port called.
        host: String,
    },
    /// The answer is not HTTP/1.1.
    #[error("{host} sent what is not an HTTP/1.1 answer: {why}")]
    Protocol {
        /// Host and port called.
        host: String,
        /// Mistake in the answer.
        why: String,
    },
    /// The answer is larger than allowed.
    #[error("the answer of {host} is larger than {limit} bytes; raise the limit if that is right")]
    AnswerTooLarge {
        /// Host and port called.
        host: String,
        /// Bytes allowed.
        limit: u64,
    },
    /// The request itself cannot be sent: its body failed or a header is not valid.
    #[error("the request cannot be sent: {0}")]
    Request(String),
}

impl Error {
    /// The error of this module inside `error`, whether the head or the body of the answer failed.
    pub fn of(error: &http_types::Error) -> Option<&Self> {
        let in_body = || error.downcast_ref::<io::Error>().and_then(Self::in_io);
        error.downcast_ref::<Self>().or_else(in_body)
    }

    /// The error of this module inside `error`, as reading a body returns it.
    pub fn in_io(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Self>())
    }

    /// Whether no program listens at the address: the instance is gone, its host is not.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Whether the deadline passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. }) || matches!(self, Self::Resolve(error) if error.is_timeout())
    }

    /// Whether the request can not have reached a server, so that sending it elsewhere is safe whatever its method.
    pub fn is_before_sending(&self) -> bool {
        match self {
            Self::Url { .. } | Self::Resolve(_) | Self::Refused(_) | Self::Connect { .. } | Self::Tls(_) => true,
            Self::TimedOut { phase, .. } => matches!(phase, Phase::Resolve | Phase::Connect | Phase::Tls),
            _ => false,
        }
    }

    /// Whether the connection broke before the answer was complete.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// Whether the answer was refused for its size.
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::AnswerTooLarge { .. })
    }

    /// The status a gateway answers with: 504 after a timeout, else 502.
    pub fn status(&self) -> StatusCode {
        if self.is_timeout() { StatusCode::GatewayTimeout } else { StatusCode::BadGateway }
    }

    /// As a body's reader must return it.
    pub(super) fn into_io(self) -> io::Error {
        let kind = match &self {
            Self::TimedOut { .. } => io::ErrorKind::TimedOut,
            Self::Closed { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, self)
    }

    /// Meaning of `error` of the HTTP engine, in an exchange with `host`.
    pub(super) fn of_engine(host: &str, error: &hyper::Error) -> Self {
        let host = host.to_owned();
        if error.is_user() {
            return Self::Request(deepest(error));
        }
        if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            return Self::Closed { host };
        }
        match io_cause(error) {
            Some(cause) if is_broken(cause.kind()) => Self::Closed { host },
            _ => Self::Protocol { host, why: deepest(error) },
        }
    }
}

fn is_broken(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof, WriteZero};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof | WriteZero)
}

fn io_cause(error: &hyper::Error) -> Option<&io::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref() {
            return Some(io);
        }
        cause = inner.source();
    }
    None
}

/// The innermost text says most: "invalid HTTP header parsed", not "error reading a body".
fn deepest(error: &hyper::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(inner) = deepest.source() {
        deepest = inner;
    }
    deepest.to_string()
}

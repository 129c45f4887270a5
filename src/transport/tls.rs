//! TLS towards upstreams, by rustls where the cargo feature `tls` is on.

use std::path::PathBuf;

#[cfg_attr(feature = "tls", path = "tls/rustls.rs")]
#[cfg_attr(not(feature = "tls"), path = "tls/absent.rs")]
mod connector;

pub(super) use connector::*;

/// Why a server is not talked to. The texts say what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are certificate authorities, and no TLS.
    #[error("certificates are set, and this program was built without the cargo feature `tls` of bramble")]
    NotBuilt,
    /// The file of certificate authorities cannot be read.
    #[error("cannot read the certificate authorities in {path}: {why}; check the path and its permissions")]
    Unreadable {
        /// As configured.
        path: PathBuf,
        /// What the system or the PEM reader said.
        why: String,
    },
    /// The file of certificate authorities has none.
    #[error("{path} holds no usable certificate; it must contain PEM blocks that begin with BEGIN CERTIFICATE")]
    Empty {
        /// As configured.
        path: PathBuf,
    },
    /// The system has no roots.
    #[error("this system has no root certificates; install the package ca-certificates, or set a CA file")]
    NoRoots,
    /// What was asked for cannot stand in a certificate.
    #[error("\"{0}\" cannot be the name of a TLS server; check the URL")]
    BadName(String),
    /// The certificate is for somebody else.
    #[error("the certificate of {0} is for another name; check the URL, or who answers at that address")]
    WrongName(String),
    /// The certificate's time is over, or this machine's clock is wrong.
    #[error("the certificate of {0} has expired; is this machine's clock right?")]
    Expired(String),
    /// The certificate's time has not come, or this machine's clock is wrong.
    #[error("the certificate of {0} is not valid yet; is this machine's clock right?")]
    NotValidYet(String),
    /// Nobody we trust has signed the certificate.
    #[error("the certificate of {0} is signed by an authority unknown here; set the CA file if it is your own")]
    UnknownAuthority(String),
    /// Anything else of TLS: no common version, an alert, bytes that are not TLS.
    #[error("no TLS with {host}: {why}; does it speak HTTPS at this port?")]
    Handshake {
        /// Who was called.
        host: String,
        /// What the TLS library said.
        why: String,
    },
}

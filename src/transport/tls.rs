//! TLS towards upstreams, paid for only by processes that use it: the system's roots are some 140 certificates and half
//! a megabyte, so they are read at the first `https` call and never by a process that makes none.
//!
//! The only file that names rustls.

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
        /// Error of the system or the PEM reader.
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
    /// A name that cannot stand in a certificate.
    #[error("\"{0}\" cannot be the name of a TLS server; check the URL")]
    BadName(String),
    /// The certificate is for another name.
    #[error("the certificate of {0} is for another name; check the URL, or which server answers at that address")]
    WrongName(String),
    /// The certificate's time is over, or this machine's clock is wrong.
    #[error("the certificate of {0} has expired; is this machine's clock right?")]
    Expired(String),
    /// The certificate's time has not come, or this machine's clock is wrong.
    #[error("the certificate of {0} is not valid yet; is this machine's clock right?")]
    NotValidYet(String),
    /// The certificate's signer is not trusted.
    #[error("the certificate of {0} is signed by an authority unknown here; set the CA file if it is your own")]
    UnknownAuthority(String),
    /// Any other error of TLS: no common version, an alert, bytes that are not TLS.
    #[error("no TLS with {host}: {why}; does it speak HTTPS at this port?")]
    Handshake {
        /// Host that was called.
        host: String,
        /// Error of the TLS library.
        why: String,
    },
}

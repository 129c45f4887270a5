//! The roots are read at the first `https` call, and never by a process that makes none: those of a system are some 140
//! certificates and half a megabyte.
//!
//! The only file that names rustls.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use futures_lite::{AsyncRead, AsyncWrite};
use futures_rustls::TlsConnector;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};

use super::Error;

pub(in crate::transport) use futures_rustls::client::TlsStream;

/// Sessions kept for resumption; a service has one or two upstreams.
const SESSIONS: usize = 8;

/// Makes TLS connections; the roots are read at most once.
#[derive(Default)]
pub(in crate::transport) struct Tls {
    connector: OnceLock<Result<TlsConnector, Error>>,
}

impl Tls {
    /// Trusts `ca_file` alone, read now, or the system's roots, read at first use.
    pub(in crate::transport) fn new(ca_file: Option<&Path>) -> Result<Self, Error> {
        let connector = OnceLock::new();
        if let Some(path) = ca_file {
            // Just made, so it is empty and takes the value.
            let _ = connector.set(Ok(connector_with(roots_of_file(path)?)));
        }
        Ok(Self { connector })
    }

    /// Shakes hands with `host` over `stream`.
    pub(in crate::transport) async fn connect<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::BadName(host.to_owned()))?;
        let connector = self.connector.get_or_init(|| Ok(connector_with(system_roots()?))).as_ref();
        connector.map_err(Clone::clone)?.connect(name, stream).await.map_err(|error| refusal(host, &error))
    }
}

/// Meaning of `error` of a handshake or a read with `host`.
fn refusal(host: &str, error: &io::Error) -> Error {
    let host = host.to_owned();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(certificate)) = inner else {
        return Error::Handshake { host, why: error.to_string() };
    };
    match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Error::Expired(host),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Error::NotValidYet(host),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Error::WrongName(host),
        CertificateError::UnknownIssuer => Error::UnknownAuthority(host),
        other => Error::Handshake { host, why: other.to_string() },
    }
}

fn connector_with(roots: RootCertStore) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Arc::new(config).into()
}

fn roots_of_file(path: &Path) -> Result<RootCertStore, Error> {
    let unreadable = |why: String| Error::Unreadable { path: path.to_owned(), why };
    let pem = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
    }
    if roots.is_empty() { Err(Error::Empty { path: path.to_owned() }) } else { Ok(roots) }
}

fn system_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::warn!("a root certificate of this system is left out: {error}");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() { Err(Error::NoRoots) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_ca_file_is_an_error_with_its_path() {
        let path = Path::new("/nonexistent/ca.pem");
        let Err(error) = Tls::new(Some(path)) else { panic!("a missing file was accepted") };
        assert!(matches!(&error, Error::Unreadable { path: named, .. } if named == path), "{error:?}");
        assert!(error.to_string().contains("/nonexistent/ca.pem"));
    }

    #[test]
    fn without_a_ca_file_nothing_is_read_until_the_first_call() {
        let tls = Tls::new(None).expect("no file, no error");
        assert!(tls.connector.get().is_none());
    }
}

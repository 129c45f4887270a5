//! The stand-in where the cargo feature `tls` is off: no connection is made, and a URL with https is refused before.

use std::path::Path;

use super::Error;

/// No TLS.
#[derive(Default)]
pub(in crate::transport) struct Tls {}

impl Tls {
    /// Refuses certificate authorities: nothing would be checked against them.
    pub(in crate::transport) fn new(ca_file: Option<&Path>) -> Result<Self, Error> {
        if ca_file.is_some() { Err(Error::NotBuilt) } else { Ok(Self {}) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::transport::client::{Error, HttpTransport, HttpTransportSettings};

    #[test]
    fn https_and_certificates_are_errors_that_name_the_feature() {
        let wire = HttpTransport::new(HttpTransportSettings::default()).expect("no certificates");
        let asked = smol::block_on(async { wire.into_surf().get("https://localhost/").await });
        let error = asked.expect_err("no TLS");
        let ours = Error::of(&error).map(ToString::to_string).unwrap_or_default();
        assert!(ours.contains("https://localhost/") && ours.contains("without the cargo feature `tls`"), "{ours}");
        let certificates =
            HttpTransportSettings { ca_file: Some(PathBuf::from("ca.pem")), ..HttpTransportSettings::default() };
        let error = HttpTransport::new(certificates).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("without the cargo feature `tls`"), "{error}");
    }
}

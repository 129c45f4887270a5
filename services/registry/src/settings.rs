//! The section `[registry]`.

use std::net::{Ipv4Addr, SocketAddr};

use bramble::config::{Fields, Section};

/// `[registry]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Address and port of the page.
    pub listen: SocketAddr,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::UNSPECIFIED, 8761).into() }
    }
}

impl Section for RegistrySettings {
    const NAME: &'static str = "registry";
    const IS_TOP_LEVEL: bool = true;

    fn fields(&mut self, fields: &mut Fields<'_>) {
        fields.listen("listen", &mut self.listen);
    }
}

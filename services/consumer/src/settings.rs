//! The section `[consumer]`.

use std::net::{Ipv4Addr, SocketAddr};

use bramble::config::{Fields, Section};

/// `[consumer]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// Address and port of the form.
    pub listen: SocketAddr,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::UNSPECIFIED, 8088).into() }
    }
}

impl Section for ConsumerSettings {
    const NAME: &'static str = "consumer";
    const IS_TOP_LEVEL: bool = true;

    fn fields(&mut self, fields: &mut Fields<'_>) {
        fields.listen("listen", &mut self.listen);
    }
}

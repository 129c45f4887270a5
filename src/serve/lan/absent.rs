//! The stand-in for `lan.rs` where the cargo feature `mdns` is off. No value of its types exists.

use std::net::SocketAddr;
use std::sync::Arc;

use smol::Executor;

use super::Host;
use crate::config::Config;
use crate::discovery::Directory;
use crate::service::Service;
use crate::trust::Trust;

pub(super) enum Lan {}

pub(super) enum Registration {}

impl Lan {
    /// Logs that `[discovery] mdns` has no effect.
    pub(super) fn start(
        _: &Service,
        _: &Config,
        _: &Directory,
        _: &Arc<Trust>,
        _: &Executor<'static>,
    ) -> Result<Self, String> {
        // [discovery] mdns is on by default, so this is no warning.
        let why = "off: this program was built without the cargo feature `mdns` of bramble";
        log::info!("mDNS is {why}; services are found by [discovery] dns and fixed");
        Err(why.into())
    }

    pub(super) fn register(&self, _: &Host, _: SocketAddr) -> Option<Registration> {
        match *self {}
    }

    pub(super) fn end(&self) {
        match *self {}
    }
}

impl Registration {
    pub(super) async fn stay_signed(&self) {
        match *self {}
    }

    pub(super) fn drain(&mut self) {
        match *self {}
    }

    pub(super) async fn end(self) {
        match self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_without_mdns_says_so_and_names_the_other_ways() {
        const GREETER: Service = Service::named("greeter");
        let host = Host::new(GREETER, GREETER.default_config(), Arc::new(Executor::new())).expect("the defaults");
        let why = host.directory.why_none_found("clock");
        assert!(why.contains("without the cargo feature `mdns`") && why.contains("[discovery] dns or fixed"), "{why}");
    }
}

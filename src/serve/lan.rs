//! A host's part in mDNS: it finds others, and they find it.

use std::net::SocketAddr;
use std::sync::Arc;

use smol::Executor;

use super::Host;
use crate::config::Config;
use crate::discovery::mdns::{self, Mdns};
use crate::discovery::{Announcement, Directory, Status, container};
use crate::service::Service;
use crate::trust::Trust;

pub(super) use crate::discovery::Registration;

/// The thread of mDNS, from [`Host::new`] to the end of [`Host::serve`].
pub(super) struct Lan(Mdns);

impl Lan {
    /// Enters the instances of the cluster into `directory`. What is in the way is logged, and returned as a sentence.
    pub(super) fn start(
        service: &Service,
        config: &Config,
        directory: &Directory,
        trust: &Arc<Trust>,
        executor: &Executor<'static>,
    ) -> Result<Self, String> {
        if let Some(why) = container::is_in_the_way(&config.discovery, service) {
            return Err(why);
        }
        let start = || -> Result<Mdns, mdns::Error> {
            let mdns = Mdns::start(&config.discovery, service.is_program())?.trusting(Arc::clone(trust));
            mdns.browse(config.node.cluster.clone(), directory.clone(), executor)?.detach();
            Ok(mdns)
        };
        start().map(Self).map_err(|error| {
            log::error!("{error}");
            format!("off: {error}")
        })
    }

    /// Announces that `host` listens at `addr`. What is in the way is logged, and heals by itself when the network
    /// does.
    pub(super) fn register(&self, host: &Host, addr: SocketAddr) -> Option<Registration> {
        let announcement = Announcement {
            cluster: host.config.node.cluster.clone(),
            id: host.id.to_string(),
            service: host.service.name().into(),
            version: host.service.version_str().into(),
            path: if host.service.title().is_some() { "/" } else { "/readyz" }.into(),
            zone: host.config.node.zone.clone(),
            weight: host.config.node.weight,
            status: Status::Up,
        };
        match self.0.register(announcement, addr, host.service.title()) {
            Ok((registration, announced)) => {
                let id = Arc::clone(&host.id);
                let log = async move {
                    match announced.await {
                        Ok(()) => log::info!("{id} is announced by mDNS"),
                        Err(error) => log::error!("{error}"),
                    }
                };
                host.executor.spawn(log).detach();
                Some(registration)
            }
            Err(error) => {
                log::warn!("{error}");
                None
            }
        }
    }

    /// Ends the thread. To be called after the registration has ended.
    pub(super) fn end(&self) {
        self.0.shutdown();
    }
}

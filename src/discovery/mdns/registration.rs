//! What others see of this process, from the first announcement to the goodbye.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mdns_sd::ServiceInfo;
use smol::Timer;

use super::{Error, Link};
use crate::discovery::{Announcement, SERVICE_TYPE, Status};

/// The library sends each goodbye a second time after 120 ms; ending before that would lose it.
const GOODBYE_TAKES: Duration = Duration::from_millis(250);

/// What others see of this process. [`Registration::end`] says goodbye; so does dropping it, if a thread is left to.
pub struct Registration {
    link: Arc<Link>,
    said: Announcement,
    port: u16,
    /// Full names to unregister.
    names: Vec<String>,
}

impl Registration {
    pub(super) fn new(link: Arc<Link>, said: Announcement, port: u16, is_form: bool) -> Result<Self, Error> {
        link.is_called(&said.id);
        let mut registration = Self { link, said, port, names: Vec::new() };
        registration.announce()?;
        if is_form {
            registration.announce_form()?;
        }
        Ok(registration)
    }

    /// Tells everybody that no new calls are wanted.
    pub fn drain(&mut self) {
        self.said.status = Status::Drain;
        if let Err(error) = self.announce() {
            log::warn!("could not announce the end: {error}");
        }
    }

    /// Says goodbye and waits until it has been sent twice.
    pub async fn end(mut self) {
        self.goodbye();
        Timer::after(GOODBYE_TAKES).await;
    }

    fn goodbye(&mut self) {
        for name in self.names.drain(..) {
            if let Err(error) = self.link.unsay(&name) {
                log::warn!("no goodbye for {name}: {error}");
            }
        }
    }

    fn announce(&mut self) -> Result<(), Error> {
        let service_type = format!("_{}._sub.{SERVICE_TYPE}", self.said.service);
        let txt = self.said.to_txt();
        let id = self.said.id.clone();
        self.publish(&service_type, &id, &txt)
    }

    fn announce_form(&mut self) -> Result<(), Error> {
        // Four digits tell the forms of one LAN apart, and a person can read them.
        let short = self.said.id.rsplit('-').next().and_then(|hex| hex.get(..4)).unwrap_or_default();
        let name = format!("Bramble weather {short}");
        let txt = [("path", self.said.path.clone())];
        self.publish("_http._tcp.local.", &name, &txt)
    }

    fn publish(&mut self, service_type: &str, name: &str, txt: &[(&'static str, String)]) -> Result<(), Error> {
        let host = format!("{}.local.", self.said.id);
        let info = ServiceInfo::new(service_type, name, &host, "", self.port, txt)?.enable_addr_auto();
        let fullname = self.link.say(info)?;
        if !self.names.contains(&fullname) {
            self.names.push(fullname);
        }
        Ok(())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.goodbye();
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("said", &self.said).field("port", &self.port).finish_non_exhaustive()
    }
}

//! State that all handlers share: what this node knows of the network, and the extras of the demo and of a Pi.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bramble::bulkhead::Bulkhead;
use bramble::discovery::Directory;
use bramble::serve::{Health, Host};
use bramble::trust::Trust;
use futures_lite::future;
use smol::Executor;

use crate::demo::DemoControl;
use crate::gather::Gather;
use crate::pi;
use crate::view::View;

/// Readers of `/events` at a time: a screen on the wall, and a few visitors.
pub(crate) const READERS: usize = 8;

/// State that all handlers share.
#[derive(Debug, Clone)]
pub struct State {
    pub(crate) id: Arc<str>,
    pub(crate) directory: Directory,
    pub(crate) trust: Arc<Trust>,
    pub(crate) health: Arc<Health>,
    pub(crate) executor: Arc<Executor<'static>>,
    pub(crate) gather: Arc<Gather>,
    pub(crate) readers: Arc<Bulkhead>,
    /// In the demo alone.
    pub(crate) demo: Option<Arc<DemoControl>>,
    /// Path of the file that `bramble pi` writes, where the Pi was started from the SD card.
    pub(crate) pi: Option<Arc<PathBuf>>,
}

impl State {
    /// State for the directory and the trust of `host`.
    pub fn new(host: &Host) -> Self {
        let gather = Gather::new(host.directory.clone(), host.outside(), Arc::clone(&host.executor));
        Self {
            id: Arc::clone(&host.id),
            directory: host.directory.clone(),
            trust: Arc::clone(&host.trust),
            health: Arc::clone(&host.health),
            executor: Arc::clone(&host.executor),
            gather: Arc::new(gather),
            readers: Bulkhead::new("/events", READERS),
            demo: None,
            pi: None,
        }
    }

    /// With the demo's state and buttons; its parent process serves at the URL `control`.
    #[must_use]
    pub fn with_demo(self, host: &Host, control: String) -> Self {
        Self { demo: Some(Arc::new(DemoControl::new(host.outside(), control))), ..self }
    }

    /// With a page of the Pi, told of in `file`.
    #[must_use]
    pub fn with_pi(self, file: PathBuf) -> Self {
        Self { pi: Some(Arc::new(file)), ..self }
    }

    /// All there is to see now. Takes as long as the slowest service, three seconds at most.
    pub(crate) async fn view(&self) -> View {
        let demo = async {
            match &self.demo {
                Some(control) => control.state().await,
                None => None,
            }
        };
        let (gathered, demo) = future::zip(self.gather.look(), demo).await;
        let view = View::new(&self.id, &self.directory, &self.trust, &gathered, Instant::now());
        let problems = self.pi.as_ref().map(|file| pi::read(file).map_or(1, |report| report.problems()));
        View { pi_problems: problems, demo, ..view }
    }
}

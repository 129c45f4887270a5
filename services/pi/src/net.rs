//! `bramble pi-net`: announces the Pi's name and asks for the time. Both read what any host on the network sends, so
//! this runs as a user without rights; `bramble pi`, which may do everything, reads lines from it and no packet.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bramble::Config;
use bramble::discovery::dns::Resolver;
use bramble::discovery::mdns::{HostNews, Mdns};
use bramble::serve::{self, ShutdownSignal};
use futures_lite::FutureExt as _;
use serde::{Deserialize, Serialize};
use smol::channel::{self, Sender};
use smol::{Executor, Timer};

use crate::settings::Pi;

mod clock;
mod ntp;

/// After this long mDNS is started again where the system gave no thread or socket.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Event of the network: a line of JSON each on standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// A time server told the time.
    Time {
        /// Time as this is said, in milliseconds since 1970.
        unix_ms: u64,
        /// How much the clock is behind.
        offset_ms: i64,
        /// Server that said it, as it was configured.
        server: String,
    },
    /// The Pi is found under a name.
    Name {
        /// Without `.local`; another one than was wanted if another machine has that.
        announced: String,
    },
}

/// Tasks of the program.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The wanted name. Empty: none is announced.
    pub hostname: String,
    /// Time servers, names or addresses. Empty: [`Pi::TIME_SERVERS`].
    pub ntp: Vec<String>,
    /// Network interfaces to announce the name on. Empty: the one of the default route.
    pub interfaces: Vec<String>,
    /// Whether to end when standard input closes.
    pub ends_with_stdin: bool,
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A task that cannot be done.
    #[error("--hostname {name}: this {why}")]
    Hostname {
        /// Host name that was given.
        name: String,
        /// Mistake in it.
        why: &'static str,
    },
    /// The system refused something.
    #[error(transparent)]
    System(#[from] serve::Error),
}

/// Does it until told to end.
///
/// # Errors
/// When the name is none, or the system gives no signals.
pub fn run(settings: Settings) -> Result<(), Error> {
    if let Err(why) = Pi::check_hostname(&settings.hostname) {
        return Err(Error::Hostname { name: settings.hostname, why });
    }
    let ends = ShutdownSignal::new(settings.ends_with_stdin)?;
    let executor = Arc::new(Executor::new());
    serve::block_on(1, &executor.clone(), work(settings, ends, executor));
    Ok(())
}

async fn work(settings: Settings, mut ends: ShutdownSignal, executor: Arc<Executor<'static>>) {
    let Settings { hostname, mut ntp, interfaces, .. } = settings;
    if ntp.is_empty() {
        ntp = Pi::TIME_SERVERS.map(String::from).into();
    }
    let (gone, all_gone) = channel::bounded::<()>(1);
    let (changed, network) = channel::bounded::<()>(1);
    let (tell, said) = (teller(gone.clone()), teller(gone));
    let clock = clock::Clock::new(ntp, Resolver::from_system(), clock::PORT);
    let _time = executor.spawn(clock.keep(Arc::clone(&executor), network, tell));
    let ended = async {
        let unread = async {
            let _ = all_gone.recv().await;
        };
        ends.next().or(unread).await;
    };
    keep_name(&hostname, interfaces, said, changed, ended).await;
}

/// Announces the name until `ended`, then says goodbye.
async fn keep_name(
    hostname: &str,
    interfaces: Vec<String>,
    tell: impl Fn(Event),
    changed: Sender<()>,
    ended: impl Future<Output = ()>,
) {
    if hostname.is_empty() {
        return ended.await;
    }
    let mut discovery = Config::default().discovery;
    discovery.interfaces = interfaces;
    let mut ended = std::pin::pin!(ended);
    let mdns = loop {
        match Mdns::start(&discovery, false) {
            Ok(mdns) => break mdns,
            Err(error) => log::error!("the name {hostname}.local cannot be announced: {error}; trying again"),
        }
        let pause = async {
            Timer::after(TRY_AGAIN_AFTER).await;
            false
        };
        let over = async {
            ended.as_mut().await;
            true
        };
        if over.or(pause).await {
            return;
        }
    };
    let mut host = mdns.host(hostname);
    let news = |news| match news {
        HostNews::Announced(announced) => {
            log::info!("this Pi is {announced}.local");
            tell(Event::Name { announced });
        }
        // Only that there was a change matters: one that waits is enough.
        HostNews::AddressChanged => drop(changed.try_send(())),
    };
    host.keep(news).or(ended).await;
    host.end().await;
}

/// Prints events; `gone` gets a message when no reader is left.
fn teller(gone: Sender<()>) -> impl Fn(Event) + Send + 'static {
    move |event| {
        if let Err(error) = print(&event) {
            log::error!("the reader of the events has gone: {error}");
            let _ = gone.try_send(()); // a full channel has said it
        }
    }
}

fn print(event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_string(event)?;
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests;

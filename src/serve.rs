//! Serves: listens, registers, answers for its health, and ends without a failed call.
//!
//! A [`Host`] is made first, the service builds its routes with it, and [`Host::serve`] does the rest.

mod event_stream;
mod guard;
mod health;
#[cfg_attr(not(feature = "mdns"), path = "serve/lan/absent.rs")]
mod lan;
mod plain;
mod request_log;
mod routes;
mod shutdown;
mod supervisor;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use event_listener::Event;
use futures_lite::FutureExt as _;
use smol::{Executor, Timer};

use crate::client::Client;
use crate::config::{self, Config, Section};
use crate::discovery::{self, Directory, ServiceFilter};
use crate::resolve::Resolver;
use crate::service::{Calls, Service};
use crate::telemetry::{Collect, Counter};
use crate::transport;
use crate::transport::client::HttpTransport;
use crate::trust::{self, ProcessIdentity, Trust};
use lan::{Lan, Registration};
use supervisor::Supervisor;

pub use crate::transport::server::time_left;
pub use event_stream::event_stream;
use health::Phase;
pub use health::{Health, NotReady};
pub use plain::serve_routes;
pub use shutdown::ShutdownSignal;

/// Time that a service goes on serving after it has said goodbye: the news must reach all callers. A caller that knows
/// it by a name or looks at `/readyz` hears no goodbye, and looks every second.
const SERVES_ON: Duration = Duration::from_millis(1500);

/// Signals so soon after the first one are the same order to end: `timeout` and shells send it to the process and to its
/// group.
const SAME_ORDER: Duration = Duration::from_millis(500);

/// Why a service cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An order that cannot be carried out; the sentence says what to change. Exit code 2.
    #[error("{0}")]
    Setup(String),
    /// The service could not listen.
    #[error("{0}")]
    Listen(std::io::Error),
    /// The system refused something else.
    #[error("{doing}: {cause}")]
    System {
        /// Action that failed.
        doing: &'static str,
        /// Error of the system.
        cause: std::io::Error,
    },
}

/// A process that serves or calls services: its settings, its id, the instances that it knows, and its connections.
///
/// [`Service::run`] makes one; a test or a program with a `main` of its own does it so:
///
/// ```no_run
/// use std::sync::Arc;
///
/// use bramble::serve::{Error, ShutdownSignal};
/// use bramble::{Config, Host, Service};
///
/// # fn main() -> Result<(), Error> {
/// let executor = Arc::new(smol::Executor::new());
/// let host = Host::new(Service::named("greeter"), Config::default(), Arc::clone(&executor))?;
/// let greeted = host.counter("greeter_greetings", "Greetings given.");
/// let mut app = tide::new();
/// app.at("/greeting").get(move |_| {
///     greeted.add(1);
///     async { Ok("Hello!") }
/// });
/// smol::block_on(executor.run(host.serve_until(app, ShutdownSignal::when(std::future::pending()))))
/// # }
/// ```
pub struct Host {
    /// The service that runs.
    pub service: Service,
    /// Settings of the service.
    pub config: Config,
    /// Where its tasks run.
    pub executor: Arc<Executor<'static>>,
    /// `SERVICE-<16 hex>`, new for each process.
    pub id: Arc<str>,
    /// Instances that the service knows of.
    pub directory: Directory,
    /// Whether it also ends when standard input closes: a child then never outlives its parent.
    pub ends_with_stdin: bool,
    /// Trust in other instances, with those that were turned away.
    pub trust: Arc<Trust>,
    /// Whether it starts, is ready or drains.
    pub health: Arc<Health>,
    wire: HttpTransport,
    resolver: Resolver,
    /// Made when it is first asked for.
    client: OnceLock<Client>,
    /// Where it listens, once it does.
    addr: OnceLock<SocketAddr>,
    /// Notified when it listens.
    listens: Event,
    /// Sources of numbers under `/metrics` and the like.
    collected: Mutex<Vec<Arc<dyn Collect>>>,
    /// Part in mDNS, or why there is none.
    lan: Result<Lan, String>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("id", &self.id).field("config", &self.config).finish_non_exhaustive()
    }
}

impl Host {
    /// Starts looking for others; serves nothing yet.
    ///
    /// # Errors
    /// When the configuration names what is not there.
    pub fn new(service: Service, config: Config, executor: Arc<Executor<'static>>) -> Result<Self, Error> {
        let now = Instant::now();
        let id = format!("{}-{:016x}", service.name(), fastrand::u64(..));
        let directory = Directory::new(logged_services(&service), now);
        directory.uses_mdns_port(config.discovery.port);
        let resolver = Resolver::from_system().with_background(&executor);
        let settings = transport::client::HttpTransportSettings {
            timeout: config.call.timeout,
            resolver: resolver.clone(),
            ..Default::default()
        };
        let wire = HttpTransport::new(settings).map_err(|error| Error::Setup(error.to_string()))?;
        let key = trust::key_of(&config.node).map_err(|error| Error::Setup(error.to_string()))?;
        let trust = Arc::new(Trust::new(key));
        executor.spawn(wire.clone().close_idle()).detach();
        discovery::fixed::fill(&directory, &config.discovery.fixed, now);
        discovery::dns::follow(&directory, &config.discovery.dns, &resolver, &executor);
        let lan = browse(&service, &config, &directory, &trust, &executor);
        if let Err(why) = &lan {
            directory.goes_without_mdns(why);
        }
        let health = Arc::default();
        let (id, ends_with_stdin) = (id.into(), false);
        let (client, collected) = (OnceLock::new(), Mutex::default());
        Ok(Self {
            service,
            config,
            executor,
            id,
            directory,
            ends_with_stdin,
            trust,
            health,
            wire,
            resolver,
            client,
            addr: OnceLock::new(),
            listens: Event::new(),
            collected,
            lan,
        })
    }

    /// The service's own settings.
    ///
    /// # Errors
    /// The service was made without them: [`Service::section`] says that it has them.
    pub fn settings<S: Section>(&self) -> Result<&S, Error> {
        self.config.known_section().ok_or_else(|| {
            let name = self.service.name();
            let heading = config::heading::<S>();
            Error::Setup(format!("{name} has no section [{heading}]: Service::section says that it has one"))
        })
    }

    /// The client for other services. There is one, whose circuits are shown under `/circuits` and `/metrics`.
    pub fn client(&self) -> Client {
        let new = || {
            let (config, wire, key) = (self.config.clone(), self.wire.clone(), self.trust.key().cloned());
            let client = Client::signing(config, self.directory.clone(), wire, key);
            if let Calls::These(services) = self.service.callees() {
                client.expect(services);
            }
            self.executor.spawn(client.clone().check_health(Arc::clone(&self.executor))).detach();
            self.collect(Arc::new(client.clone()));
            client
        };
        self.client.get_or_init(new).clone()
    }

    /// Where the service listens; resolves once it does. A test that serves at port 0 asks here.
    pub async fn listening(&self) -> SocketAddr {
        loop {
            let listens = self.listens.listen();
            match self.addr.get() {
                Some(addr) => return *addr,
                None => listens.await,
            }
        }
    }

    /// Has `/readyz` answer 503 with `reason` until the value is dropped: a cache that is being filled, a sensor that
    /// is not there yet.
    pub fn not_ready(&self, reason: &'static str) -> NotReady {
        NotReady::new(&self.health, reason)
    }

    /// Shows the numbers and circuits of `source` under `/metrics`, `/circuits` and `/hystrix.stream`, once the service
    /// serves.
    pub fn collect(&self, source: Arc<dyn Collect>) {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// A counter that is shown under `/metrics` with `_total` behind its name.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        let counter = Counter::new(name, help);
        self.collect(Arc::new(counter.clone()));
        counter
    }

    /// A client for one address of the outside world, on the connections of this process.
    pub fn outside(&self) -> surf::Client {
        self.wire.clone().into_surf()
    }

    /// A client for the outside world, on connections of its own. `connect_timeout` is for the connect, and once more
    /// for the TLS handshake: farther away both take longer than on the LAN. It trusts the authorities in `ca_file`
    /// alone, or those of the system.
    ///
    /// # Errors
    /// The file cannot be read, or holds no certificate.
    pub fn outside_with(&self, connect_timeout: Duration, ca_file: Option<&Path>) -> Result<surf::Client, Error> {
        let settings = transport::client::HttpTransportSettings {
            connect_timeout,
            ca_file: ca_file.map(Path::to_owned),
            timeout: self.config.call.timeout,
            resolver: self.resolver.clone(),
            ..Default::default()
        };
        let wire = HttpTransport::new(settings).map_err(|error| Error::Setup(error.to_string()))?;
        self.executor.spawn(wire.clone().close_idle()).detach();
        Ok(wire.into_surf())
    }

    /// Serves `app` until SIGTERM or SIGINT, with the routes every service has, and ends after what was in flight.
    /// Prints `listening on http://ADDR:PORT` on standard output once it can serve.
    ///
    /// # Errors
    /// As of [`serve_until`](Self::serve_until), or the system gives no signals.
    pub async fn serve<S>(&self, app: tide::Server<S>) -> Result<(), Error>
    where
        S: Clone + Send + Sync + 'static,
    {
        let shutdown = ShutdownSignal::new(self.ends_with_stdin)?;
        self.serve_until(app, shutdown).await
    }

    /// Serves `app` until `shutdown` says so, else as [`serve`](Self::serve); a test ends it by
    /// [`ShutdownSignal::when`].
    ///
    /// # Errors
    /// When it cannot listen, or `app` has a route at a path that every service has (`/healthz`, `/readyz`, `/metrics`,
    /// `/circuits`, `/hystrix.stream`, `/instances`).
    pub async fn serve_until<S>(&self, mut app: tide::Server<S>, shutdown: ShutdownSignal) -> Result<(), Error>
    where
        S: Clone + Send + Sync + 'static,
    {
        if let Some(path) = routes::taken(&app).await {
            let name = self.service.name();
            return Err(Error::Setup(format!(
                "{name} has a route of its own at {path}, where every service of this library answers for itself: choose \
                 another path"
            )));
        }
        if let Calls::These(_) = self.service.callees() {
            self.client(); // so that what it calls is shown before it is called
        }
        let listener = transport::server::listen(self.service.listen_addr(&self.config)).map_err(Error::Listen)?;
        let addr = listener.get_ref().local_addr().map_err(|cause| Error::System { doing: "listening", cause })?;
        let health = Arc::clone(&self.health);
        let stats = Arc::new(transport::server::Stats::default());
        if log::log_enabled!(log::Level::Debug) {
            app.with(request_log::RequestLog);
        }
        if let Some(key) = self.trust.key().filter(|_| !self.service.is_open()) {
            app.with(guard::Guard::new(key.clone()));
        }
        let collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.trust.know_own(ProcessIdentity {
            id: Arc::clone(&self.id),
            service: self.service.name(),
            port: addr.port(),
        });
        routes::add(&mut app, routes::RouteState::new(self, collected, Arc::clone(&health), Arc::clone(&stats)));

        let registration = self.lan.as_ref().ok().and_then(|lan| lan.register(self, addr));
        say_listening(addr);
        let _ = self.addr.set(addr); // a host serves once
        self.listens.notify(usize::MAX);
        health.set(Phase::Ready);
        let supervisor = Supervisor::of_process();
        supervisor.ready(addr);
        supervisor.feed(&self.executor);

        let serves_on = if self.service.is_alone() { Duration::ZERO } else { SERVES_ON };
        let within = serves_on + self.config.server.drain_timeout;
        let until_end = DrainPlan { health, registration, supervisor, serves_on, within }.after(shutdown);
        let options = transport::server::Options {
            limits: (&self.config.server).into(),
            executor: Arc::clone(&self.executor),
            stats,
            id: Some(Arc::clone(&self.id)),
            unlimited: &routes::UNLIMITED,
        };
        let drained = transport::server::serve(listener, app, options, until_end).await;
        if drained.cut > 0 {
            log::warn!("{} connections were cut: they had not ended within drain_timeout", drained.cut);
        }
        if let Ok(lan) = &self.lan {
            lan.end();
        }
        log::info!("{} has ended", self.id);
        Ok(())
    }
}

/// Runs `work` to its end on `threads` threads, this one included.
///
/// It becomes a task like any other: polled in place it would be polled each time any socket has news, and with it the
/// listener and the signals.
pub fn block_on<T: Send + 'static>(
    threads: usize,
    executor: &Arc<Executor<'static>>,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    for number in 1..threads {
        let executor = Arc::clone(executor);
        let run = move || smol::block_on(executor.run(std::future::pending::<()>()));
        if let Err(error) = std::thread::Builder::new().name(format!("worker-{number}")).spawn(run) {
            log::warn!("going on with {number} threads: {error}");
            break;
        }
    }
    let work = executor.spawn(work);
    smol::block_on(executor.run(work))
}

/// Filter of the instances whose coming and going the log of `service` tells of.
fn logged_services(service: &Service) -> ServiceFilter {
    match service.callees() {
        Calls::These(callees) => ServiceFilter::Of(callees),
        Calls::All => ServiceFilter::All,
        Calls::None => ServiceFilter::None,
    }
}

fn browse(
    service: &Service,
    config: &Config,
    directory: &Directory,
    trust: &Arc<Trust>,
    executor: &Executor<'static>,
) -> Result<Lan, String> {
    if service.is_alone() {
        return Err(format!("off: {} takes no part in the cluster", service.name()));
    }
    if !config.discovery.mdns {
        return Err("off: [discovery] mdns is false".into());
    }
    Lan::start(service, config, directory, trust, executor)
}

/// Plan of the time between the signal to end and the last request.
struct DrainPlan {
    health: Arc<Health>,
    registration: Option<Registration>,
    supervisor: Supervisor,
    serves_on: Duration,
    /// How long all of the end takes at most.
    within: Duration,
}

impl DrainPlan {
    /// Resolves when the last request has been let in. A second signal ends the time that it serves on, but not the
    /// goodbye.
    async fn after(mut self, mut shutdown: ShutdownSignal) {
        match &mut self.registration {
            Some(registration) => shutdown.next().or(registration.stay_signed()).await,
            None => shutdown.next().await,
        }
        let told = Instant::now();
        log::info!("ending: no new work, finishing what is there");
        self.health.set(Phase::Draining);
        self.supervisor.stopping(self.within);
        let served_on = Timer::after(self.serves_on);
        if let Some(mut registration) = self.registration {
            registration.drain();
            registration.end().await;
        }
        let told_again = async {
            shutdown.next().await;
            while told.elapsed() < SAME_ORDER {
                shutdown.next().await;
            }
        };
        let served_on = async {
            served_on.await;
        };
        served_on.or(told_again).await;
    }
}

/// The one line that scripts wait for.
fn say_listening(addr: SocketAddr) {
    let mut out = std::io::stdout().lock();
    // Perhaps the line has no reader; that is no reason not to serve.
    let _ = writeln!(out, "listening on http://{addr}").and_then(|()| out.flush());
}

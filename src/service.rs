//! Services: the name of a process, where it listens, and which requests it answers.

pub(crate) mod name;
mod run;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::{Config, ConfigError, Section, Sources};

pub use run::RunError;

/// A service, or a program that only calls services. A constant of the crate that is the service:
///
/// ```no_run
/// use bramble::Service;
///
/// const DESK: Service = Service::named("frontdesk").version(env!("CARGO_PKG_VERSION")).calls(&["greeter"]);
///
/// fn main() -> std::process::ExitCode {
///     DESK.run(|host| async move {
///         let mut app = tide::with_state(host.client());
///         app.at("/").get(|request: tide::Request<bramble::Client>| async move {
///             let answer = request.state().get("greeter", "/greeting").under(&request).send().await?;
///             Ok(String::from_utf8(answer.body)?)
///         });
///         Ok(app)
///     })
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Service {
    name: &'static str,
    version: &'static str,
    listen: SocketAddr,
    title: Option<&'static str>,
    calls: Calls,
    defaults: fn(&mut Config),
    section: fn(&mut Config),
    is_program: bool,
    is_open_to_all: bool,
    is_standalone: bool,
}

/// The services that a service calls; it logs when their instances come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    None,
    These(&'static [&'static str]),
    All,
}

impl Service {
    /// A service called `name`: 1 to 46 of a-z, 0-9 and `-`, not at an end. It is part of its instances' ids
    /// (`NAME-5f0c2a9be81d4477`, a label of the DNS) and a subtype of mDNS.
    ///
    /// # Panics
    /// The name is none; in a constant that is an error of the compiler.
    #[track_caller]
    pub const fn named(name: &'static str) -> Self {
        assert!(
            name::is_name(name),
            "the name of a service is 1 to 46 of a-z, 0-9 and -, and neither begins nor ends with -"
        );
        Self {
            name,
            version: env!("CARGO_PKG_VERSION"),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            title: None,
            calls: Calls::None,
            defaults: |_| {},
            section: |_| {},
            is_program: false,
            is_open_to_all: false,
            is_standalone: false,
        }
    }

    /// A program in a terminal: it calls services and serves nothing. It also finds services on loopback.
    #[track_caller]
    pub const fn program(name: &'static str) -> Self {
        Self { is_program: true, ..Self::named(name) }
    }

    /// The version that others see (`ver` of its registration). Without it: that of this library.
    pub const fn version(self, version: &'static str) -> Self {
        Self { version, ..self }
    }

    /// Where it listens unless `[server] listen` says otherwise. Without it: any free port of all addresses.
    pub const fn listen(self, listen: SocketAddr) -> Self {
        Self { listen, ..self }
    }

    /// Has a page for people at `/`, which is announced under this title as `_http._tcp` too. With a cluster key it
    /// needs [`open_to_all`](Self::open_to_all), since browsers have no key.
    pub const fn page(self, title: &'static str) -> Self {
        Self { title: Some(title), ..self }
    }

    /// Calls these services, which makes them known from the start, before the first call: the log says when their
    /// instances come and go (level info), each instance is probed every 30 s at least, so that a dead one is out
    /// before it is called, and `/circuits`, `/metrics` and `/hystrix.stream` show them with their instances. A service
    /// that is not among them can be called as well, and is shown from its first call on.
    pub const fn calls(self, services: &'static [&'static str]) -> Self {
        Self { calls: Calls::These(services), ..self }
    }

    /// Calls or shows every service: as [`calls`](Self::calls) with the name of each, but that `/circuits` and
    /// `/metrics` show a service from its first call on.
    pub const fn calls_all(self) -> Self {
        Self { calls: Calls::All, ..self }
    }

    /// Changes the settings that it runs with when nothing is set.
    pub const fn defaults(self, defaults: fn(&mut Config)) -> Self {
        Self { defaults, ..self }
    }

    /// Has settings of its own: see [`Section`]. [`Host::settings`](crate::Host::settings) has their values.
    pub const fn section<S: Section>(self) -> Self {
        let section = |config: &mut Config| {
            config.section_mut::<S>();
        };
        Self { section, ..self }
    }

    /// Answers requests of everybody. Without it, and with a cluster key, a request must be signed with that key, but
    /// for health, metrics and the like.
    pub const fn open_to_all(self) -> Self {
        Self { is_open_to_all: true, ..self }
    }

    /// Takes no part in the cluster: it is not announced, finds nothing by mDNS, and ends at once when told to.
    pub const fn standalone(self) -> Self {
        Self { is_standalone: true, ..self }
    }

    /// The name, as in `greeter-5f0c2a9be81d4477`.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The settings that it runs with when no source sets any.
    pub fn default_config(&self) -> Config {
        self.configure(Config::default())
    }

    /// The same for a program of several services, on top of what all of them share.
    pub fn configure(&self, mut config: Config) -> Config {
        (self.section)(&mut config);
        (self.defaults)(&mut config);
        config
    }

    /// The settings that it runs with, from all sources.
    ///
    /// # Errors
    /// All mistakes, at once.
    pub fn load(&self, sources: &Sources) -> Result<Config, ConfigError> {
        self.default_config().merge(sources)
    }

    /// Where it listens with `config`.
    pub fn listen_addr(&self, config: &Config) -> SocketAddr {
        config.server.listen.unwrap_or(self.listen)
    }

    pub(crate) fn version_str(&self) -> &'static str {
        self.version
    }

    pub(crate) fn title(&self) -> Option<&'static str> {
        self.title
    }

    pub(crate) fn callees(&self) -> Calls {
        self.calls
    }

    pub(crate) fn is_program(&self) -> bool {
        self.is_program
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open_to_all
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.is_standalone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_a_service_hold_until_a_source_says_otherwise() {
        const SIM: Service = Service::named("sim").defaults(|config| config.server.concurrency = 512);
        assert_eq!(SIM.load(&Sources::text("")).expect("right").server.concurrency, 512);
        assert_eq!(SIM.load(&Sources::text("[server]\nconcurrency = 7")).expect("right").server.concurrency, 7);
    }

    #[test]
    fn a_service_listens_where_the_settings_say_or_else_where_it_does_itself() {
        let own = SocketAddr::from(([127, 0, 0, 1], 4000));
        let service = Service::named("greeter").listen(own);
        let mut config = Config::default();
        assert_eq!(service.listen_addr(&config), own);
        let set = SocketAddr::from(([127, 0, 0, 1], 5000));
        config.server.listen = Some(set);
        assert_eq!(service.listen_addr(&config), set);
    }
}

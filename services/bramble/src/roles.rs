//! The commands that serve: settings, executor, host, and then the service's own `run`.

use std::io::Write as _;
use std::sync::Arc;

use bramble::config::Config;
use bramble::serve::{self, Host};
use smol::Executor;

use crate::args::{CheckConfig, Life, Pi, PiNet, Producer, Registry, Service, UpstreamSim};
use crate::{Failure, sections};

/// Service definition of a command in a terminal, which announces nothing.
pub(crate) const PROGRAM: bramble::Service = bramble::Service::program("command");

pub(crate) fn producer(options: Producer) -> Result<(), Failure> {
    let Producer { service, clock_unset } = options;
    let clock = bramble_producer::Clock::unset_while(clock_unset);
    let config = service.load(&bramble_producer::SERVICE)?;
    serve(bramble_producer::SERVICE, config, service.life, |host| bramble_producer::run(host, clock))
}

pub(crate) fn consumer(options: &Service) -> Result<(), Failure> {
    let config = options.load(&bramble_consumer::SERVICE)?;
    serve(bramble_consumer::service(&config), config, options.life, bramble_consumer::run)
}

pub(crate) fn registry(options: Registry) -> Result<(), Failure> {
    let Registry { service, demo_control, pi_state } = options;
    let extras = bramble_registry::Extras { demo_control, pi_state };
    let config = service.load(&bramble_registry::SERVICE)?;
    serve(bramble_registry::service(&config), config, service.life, |host| bramble_registry::run(host, extras))
}

pub(crate) fn upstream_sim(options: UpstreamSim) -> Result<(), Failure> {
    let config = options.load()?;
    let life = options.life;
    let settings = bramble_upstream_sim::Settings {
        keys: options.keys,
        limit_per_minute: options.limit_per_minute,
        allow_remote_faults: options.allow_remote_faults,
        ..Default::default()
    };
    serve(bramble_upstream_sim::SERVICE, config, life, |host| bramble_upstream_sim::run(host, settings))
}

pub(crate) fn check_config(options: &CheckConfig) -> Result<(), Failure> {
    let config = options.load()?;
    let printed = std::io::stdout().write_all(config.to_toml().as_bytes());
    printed.map_err(|error| Failure::Running(format!("standard output: {error}")))
}

pub(crate) fn pi(options: Pi) -> Result<(), Failure> {
    bramble_pi::run(options.trial, sections::all()).map_err(|error| Failure::Running(error.to_string()))
}

pub(crate) fn pi_net(options: PiNet) -> Result<(), Failure> {
    let settings = bramble_pi::net::Settings {
        hostname: options.hostname,
        ntp: options.ntp,
        interfaces: options.interface,
        ends_with_stdin: options.life.until_stdin_closes,
    };
    bramble_pi::net::run(settings).map_err(|error| match error {
        bramble_pi::net::Error::System(error) => error.into(),
        error => Failure::Usage(error.to_string()),
    })
}

/// Runs a service to its end.
fn serve<F>(service: bramble::Service, config: Config, life: Life, run: impl FnOnce(Host) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), serve::Error>> + Send + 'static,
{
    let executor = Arc::new(Executor::new());
    let threads = config.server.threads;
    let mut host = Host::new(service, config, Arc::clone(&executor))?;
    host.ends_with_stdin = life.until_stdin_closes;
    Ok(serve::block_on(threads, &executor, run(host))?)
}

/// Runs a command on an executor of its own.
pub(crate) fn on_executor<F, T>(work: impl FnOnce(Arc<Executor<'static>>) -> F) -> T
where
    F: Future<Output = T>,
{
    let executor = Arc::new(Executor::new());
    smol::block_on(executor.run(work(Arc::clone(&executor))))
}

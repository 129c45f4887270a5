//! The `main` of a service: arguments, log, settings, executor, signals and exit codes.

use std::ffi::OsString;
use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lexopt::ValueExt as _;
use log::LevelFilter;
use smol::Executor;

use super::Service;
use crate::config::Sources;
use crate::serve::{self, Host};

/// Why a service cannot be built: any error.
pub type RunError = Box<dyn std::error::Error + Send + Sync>;

/// Wrong usage or configuration.
const WRONG_USAGE: u8 = 2;

const OPTIONS: &str = "\
Options:
  --listen ADDR:PORT       Serve at this address and port; port 0 takes a free one
  --config FILE            Read this file instead of /etc/bramble/bramble.toml
  --set SECTION.KEY=VALUE  Set one key, as in --set call.timeout=2s; may be repeated
  --help                   Print this
  --version                Print the version

The variable BRAMBLE_LOG chooses what is logged, as in BRAMBLE_LOG=debug.
";

impl Service {
    /// Runs the service until SIGTERM or SIGINT: reads arguments and settings, logs to standard error, and serves what
    /// `build` makes, on one executor with `[server] threads` threads.
    ///
    /// The exit code is 0, 1 if it failed while running, or 2 for wrong usage or settings.
    ///
    /// ```no_run
    /// use bramble::Service;
    ///
    /// fn main() -> std::process::ExitCode {
    ///     Service::named("greeter").run(|_host| async {
    ///         let mut app = tide::new();
    ///         app.at("/greeting").get(|_| async { Ok("Hello!") });
    ///         Ok(app)
    ///     })
    /// }
    /// ```
    pub fn run<State, Build, Work>(self, build: Build) -> ExitCode
    where
        State: Clone + Send + Sync + 'static,
        Build: FnOnce(Arc<Host>) -> Work,
        Work: Future<Output = Result<tide::Server<State>, RunError>> + Send + 'static,
    {
        let name = self.name();
        let options = match Options::parse(std::env::args_os().skip(1)) {
            Ok(options) => options,
            Err(error) => return self.fail(WRONG_USAGE, &format!("{error}; --help lists the options")),
        };
        if options.help || options.version {
            let text = match options.help {
                true => format!("Usage: {name} [OPTIONS]\n\n{OPTIONS}"),
                false => format!("{name} {}\n", self.version_str()),
            };
            let printed = std::io::stdout().write_all(text.as_bytes());
            return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        crate::logging::start(LevelFilter::Info);
        match self.run_with(options, build) {
            Ok(()) => ExitCode::SUCCESS,
            Err((code, why)) => self.fail(code, &why.to_string()),
        }
    }

    fn run_with<State, Build, Work>(&self, options: Options, build: Build) -> Result<(), (u8, RunError)>
    where
        State: Clone + Send + Sync + 'static,
        Build: FnOnce(Arc<Host>) -> Work,
        Work: Future<Output = Result<tide::Server<State>, RunError>> + Send + 'static,
    {
        let mut sources = Sources::of_process(options.config);
        sources.flags = options.flags;
        let config = self.load(&sources).map_err(|error| (WRONG_USAGE, error.into()))?;
        let threads = config.server.threads;
        let executor = Arc::new(Executor::new());
        let host = Host::new(self.clone(), config, Arc::clone(&executor)).map_err(of_serving)?;
        let host = Arc::new(host);
        let built = build(Arc::clone(&host));
        let work = async move {
            let app = built.await.map_err(|error| (1, error))?;
            host.serve(app).await.map_err(of_serving)
        };
        serve::block_on(threads, &executor, work)
    }

    /// Says on standard error why it ends.
    fn fail(&self, code: u8, why: &str) -> ExitCode {
        let _ = writeln!(std::io::stderr(), "{}: {why}", self.name()); // the exit code says it too
        ExitCode::from(code)
    }
}

fn of_serving(error: serve::Error) -> (u8, RunError) {
    let code = if matches!(error, serve::Error::Setup(_)) { WRONG_USAGE } else { 1 };
    (code, error.into())
}

/// Arguments of the command line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    config: Option<PathBuf>,
    /// Keys as `SECTION.KEY`, and their values.
    flags: Vec<(String, String)>,
    help: bool,
    version: bool,
}

impl Options {
    fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, lexopt::Error> {
        use lexopt::Arg::{Long, Short};

        let mut options = Self::default();
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("config") => options.config = Some(parser.value()?.into()),
                Long("listen") => {
                    let value = parser.value()?;
                    let listen: SocketAddr = value.parse_with(|text| {
                        text.parse().map_err(|_| "write an address of this machine and a port, such as 0.0.0.0:8080")
                    })?;
                    options.flags.push(("server.listen".to_owned(), listen.to_string()));
                }
                Long("set") => {
                    let set = parser.value()?.string()?;
                    let pair = set.split_once('=');
                    let (key, value) = pair.ok_or_else(|| format!("--set {set}: write SECTION.KEY=VALUE"))?;
                    options.flags.push((key.trim().to_owned(), value.trim().to_owned()));
                }
                Short('h') | Long("help") => options.help = true,
                Short('V') | Long("version") => options.version = true,
                other => return Err(other.unexpected()),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Options, String> {
        Options::parse(arguments.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_become_settings_in_their_order() {
        let options = parse("--listen 127.0.0.1:0 --config a.toml --set call.timeout=2s --set=node.zone=shelf");
        let flag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let flags = vec![flag("server.listen", "127.0.0.1:0"), flag("call.timeout", "2s"), flag("node.zone", "shelf")];
        assert_eq!(options, Ok(Options { config: Some("a.toml".into()), flags, ..Options::default() }));
        assert_eq!(parse("--help").map(|options| options.help), Ok(true));
        assert_eq!(parse("-V").map(|options| options.version), Ok(true));
    }

    #[test]
    fn an_argument_that_is_not_understood_is_named() {
        for (arguments, named) in [
            ("--lisen 1", "--lisen"),
            ("--listen 8080", "0.0.0.0:8080"),
            ("--set call.timeout", "SECTION.KEY=VALUE"),
            ("--config", "--config"),
            ("serve", "serve"),
        ] {
            let error = parse(arguments).expect_err("it is wrong");
            assert!(error.contains(named), "{arguments}: {error}");
        }
    }
}

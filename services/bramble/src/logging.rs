//! One line an event, on standard error. `BRAMBLE_LOG` chooses: `debug`, `warn,bramble=debug`.

use std::io::Write as _;
use std::time::SystemTime;

use crate::Failure;

/// What is logged when nobody says otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Default {
    /// A service: what happens to it.
    Service,
    /// A command in a terminal: only what is wrong, its answer is on standard output.
    Command,
}

/// Starts logging.
pub(crate) fn start(default: Default) {
    let quiet = match default {
        Default::Service => "info",
        Default::Command => "warn",
    };
    let filter = std::env::var("BRAMBLE_LOG").unwrap_or_else(|_| quiet.into());
    let mut builder = env_logger::Builder::new();
    // What mdns-sd tells below a warning is its own business, unless it is asked for by name.
    builder.filter_module("mdns_sd", log::LevelFilter::Warn).parse_filters(&filter).format(|out, record| {
        let at = humantime::format_rfc3339_millis(SystemTime::now());
        let level = record.level().as_str().to_ascii_lowercase();
        writeln!(out, "{at} {level:<5} {}", record.args())
    });
    builder.init();
}

/// The last words of a command, for a person.
pub(crate) fn say_failed(failure: &Failure) {
    let (Failure::Usage(text) | Failure::Running(text)) = failure;
    // Nobody may be reading; the exit code says it too.
    let _ = writeln!(std::io::stderr(), "bramble: {text}");
}

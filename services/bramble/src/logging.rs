//! One line an event, on standard error. `BRAMBLE_LOG` chooses: `debug`, `warn,bramble=debug`.

use std::io::Write as _;
use std::time::SystemTime;

use crate::Failure;

/// What is logged when nobody says otherwise. What mdns-sd tells below a warning is its own business.
const DEFAULT: &str = "info,mdns_sd=warn";

/// Starts logging.
pub(crate) fn start() {
    let filter = std::env::var("BRAMBLE_LOG").unwrap_or_else(|_| DEFAULT.into());
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(&filter).format(|out, record| {
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

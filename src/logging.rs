//! The log: one line an event, on standard error. `BRAMBLE_LOG` chooses: `debug`, `warn,bramble=debug`.

use std::io::Write as _;
use std::time::SystemTime;

use log::LevelFilter;

/// Starts logging, at `level` unless `BRAMBLE_LOG` says otherwise. Once a process.
pub fn start(level: LevelFilter) {
    let asked = std::env::var("BRAMBLE_LOG").ok().filter(|asked| !asked.trim().is_empty());
    let wrong = asked.as_deref().and_then(wrong_directive).map(str::to_owned);
    let filter = asked.filter(|_| wrong.is_none()).unwrap_or_else(|| level.to_string());
    let mut builder = env_logger::Builder::new();
    // What mdns-sd tells below a warning is its own business, unless it is asked for by name.
    builder.filter_module("mdns_sd", LevelFilter::Warn).parse_filters(&filter).format(|out, record| {
        let at = humantime::format_rfc3339_millis(SystemTime::now());
        let level = record.level().as_str().to_ascii_lowercase();
        writeln!(out, "{at} {level:<5} {}", record.args())
    });
    builder.init();
    if let Some(wrong) = wrong {
        let level = level.as_str().to_ascii_lowercase();
        log::warn!(
            "BRAMBLE_LOG: {wrong:?} is no level: write off, error, warn, info, debug or trace, or TARGET=LEVEL as in \
             warn,bramble=debug; until then it is {level}"
        );
    }
}

/// The first part of a filter that is neither `LEVEL` nor `TARGET=LEVEL`. `env_logger` takes any other word for the
/// name of a crate, and then logs nothing else.
fn wrong_directive(filter: &str) -> Option<&str> {
    let directives = filter.split('/').next().unwrap_or_default(); // behind it stands a pattern for the text
    directives.split(',').map(str::trim).find(|directive| {
        let (target, level) = directive.rsplit_once('=').unwrap_or(("any", directive));
        target.trim().is_empty() || level.trim().parse::<log::LevelFilter>().is_err()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_levels_are_taken_for_levels() {
        for right in ["debug", "WARN", "off", "warn,bramble=debug", "debug, mdns_sd=info", "info/circuit of"] {
            assert_eq!(wrong_directive(right), None, "{right}");
        }
        for (filter, wrong) in [
            ("banana", "banana"),
            ("verbose,bramble=debug", "verbose"),
            ("warn,bramble=banana", "bramble=banana"),
            ("bramble", "bramble"),
            ("=debug", "=debug"),
        ] {
            assert_eq!(wrong_directive(filter), Some(wrong));
        }
    }
}

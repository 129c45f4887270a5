//! Search order: which names are asked for, and which servers, one after the other.

use std::time::{Duration, Instant};

use super::ask::{ServerAnswer, ServerFailure, ask};
use super::{Addresses, Error, ResolverConfig};

/// The least time a server gets, however little is left for all.
const LEAST_WAIT: Duration = Duration::from_millis(50);

/// The names that `name` may stand for, the likeliest first (resolv.conf(5), `search` and `ndots`).
fn candidates(config: &ResolverConfig, name: &str, is_absolute: bool) -> Vec<String> {
    if is_absolute {
        return vec![name.to_owned()];
    }
    let dots = name.bytes().filter(|&byte| byte == b'.').count();
    let mut names: Vec<String> = config.search.iter().map(|domain| format!("{name}.{domain}")).collect();
    let at = if dots >= config.ndots { 0 } else { names.len() };
    names.insert(at, name.to_owned());
    names
}

/// Asks for one candidate after the other until one has addresses.
pub(super) async fn search(
    config: &ResolverConfig,
    name: &str,
    is_absolute: bool,
    deadline: Instant,
) -> Result<Addresses, Error> {
    let mut worst = Error::NoSuchName(name.to_owned());
    for candidate in candidates(config, name, is_absolute) {
        match ask_all(config, &candidate, deadline).await {
            Ok(ServerAnswer::Addresses { addrs, ttl, is_whole }) => return Ok(Addresses { addrs, ttl, is_whole }),
            Ok(ServerAnswer::Empty) if worst.is_no_such_host() => worst = Error::NoAddress(candidate),
            Ok(ServerAnswer::Empty | ServerAnswer::NoSuchName) => (),
            // A domain's servers may be down while the name is in another one.
            Err(error @ Error::ServerFailed { .. }) => worst = error,
            Err(error) => return Err(error),
        }
    }
    Err(worst)
}

/// Asks one server after the other, and all of them again, until one knows.
async fn ask_all(config: &ResolverConfig, name: &str, deadline: Instant) -> Result<ServerAnswer, Error> {
    let mut last = Error::NoServer(name.to_owned());
    let tries = config.attempts as usize * config.servers.len();
    for at in 0..tries {
        let Some(&server) = config.servers.get(at % config.servers.len()) else { break };
        let now = Instant::now();
        let left = deadline.saturating_duration_since(now);
        let timed_out = || Error::TimedOut { server, name: name.to_owned() };
        if left.is_zero() {
            // What a server said tells more than that time is over.
            return Err(if matches!(last, Error::NoServer(_)) { timed_out() } else { last });
        }
        // A silent server must leave time for the others: the whole may be shorter than one server's timeout.
        let share = (left / (tries - at) as u32).max(LEAST_WAIT);
        let failed = |why| Error::ServerFailed { server, name: name.to_owned(), why };
        last = match ask(server, name, now + config.timeout.min(share).min(left)).await {
            Ok(known) => return Ok(known),
            Err(ServerFailure::BadName) => return Err(Error::BadName(name.to_owned())),
            Err(ServerFailure::Silent) => timed_out(),
            Err(ServerFailure::Failed(code)) => failed(code_name(code)),
            Err(ServerFailure::Io(error)) => failed(error.to_string()),
        };
        log::debug!("{last}");
    }
    Err(last)
}

fn code_name(code: u16) -> String {
    match code {
        1 => "FORMERR".into(),
        2 => "SERVFAIL".into(),
        4 => "NOTIMP".into(),
        5 => "REFUSED".into(),
        other => format!("code {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_searched_first_and_long_ones_as_they_are() {
        let config = ResolverConfig { search: vec!["lan".into(), "example.org".into()], ..ResolverConfig::new(vec![]) };
        assert_eq!(candidates(&config, "pi", false), ["pi.lan", "pi.example.org", "pi"]);
        assert_eq!(candidates(&config, "pi.lab", false), ["pi.lab", "pi.lab.lan", "pi.lab.example.org"]);
        assert_eq!(candidates(&config, "pi", true), ["pi"]);
    }
}

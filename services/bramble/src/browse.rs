//! `bramble browse`: lists the instances on the network, in the terminal.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble::discovery::{Directory, InstanceRecord, InstanceState, Status};
use bramble::serve::Host;
use bramble::timeout::timeout;

use crate::Failure;
use crate::args::Browse;
use crate::roles::{PROGRAM, on_executor};

/// Time without news after which a list is complete: an instance that has just answered another host's query stays
/// quiet for a second (RFC 6762, 6), and is asked again after that second (5.2).
const QUIET: Duration = Duration::from_millis(1300);
/// The longest a list is waited for.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) fn run(options: &Browse) -> Result<(), Failure> {
    let config = options.settings.load(&PROGRAM, Vec::new())?;
    on_executor(|executor| async move {
        let host = Host::new(PROGRAM, config, executor)?;
        settled(&host.directory).await;
        loop {
            let changed = host.directory.changed();
            let now = Instant::now();
            let problems = host.directory.aliases(now).into_iter().filter_map(|alias| alias.problem);
            let unproven = host.directory.unproven(now).into_iter();
            let unproven: Vec<_> = unproven.map(|seen| (host.directory.why_unproven(&seen.instance), seen)).collect();
            print(&host.directory.all(now), &unproven, problems, options.json)
                .map_err(|error| Failure::Running(format!("standard output: {error}")))?;
            if !options.watch {
                return Ok(());
            }
            changed.await;
        }
    })
}

/// Resolves when nothing new has come for a while.
async fn settled(directory: &Directory) {
    let quiet = async {
        loop {
            let is_quiet = timeout(QUIET, directory.changed()).await.is_none();
            if is_quiet && directory.version() > 1 {
                return;
            }
        }
    };
    let _ = timeout(PATIENCE, quiet).await; // it shows what there is by then
}

/// `unproven`: those that are announced and get no calls, each with the reason.
fn print(
    all: &[InstanceRecord],
    unproven: &[(String, InstanceRecord)],
    mut problems: impl Iterator<Item = Arc<str>>,
    json: bool,
) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        let all: Vec<&InstanceRecord> = all.iter().chain(unproven.iter().map(|(_, seen)| seen)).collect();
        return writeln!(out, "{}", serde_json::json!(all));
    }
    let said = match problems.next() {
        _ if !all.is_empty() || !unproven.is_empty() => table(all, unproven),
        Some(problem) => format!("No service was found: {problem}\n"),
        None => "No service was found. Is one running, and is mDNS (UDP 5353) allowed on this network?\n".into(),
    };
    out.write_all(said.as_bytes())?;
    out.flush()
}

/// A line for each instance, and below them why some get no calls.
fn table(all: &[InstanceRecord], unproven: &[(String, InstanceRecord)]) -> String {
    let rows: Vec<[String; 6]> = all.iter().chain(unproven.iter().map(|(_, seen)| seen)).map(row).collect();
    let head = ["SERVICE", "INSTANCE", "ADDRESS", "STATUS", "ZONE", "SEEN BY"].map(String::from);
    let mut widths = head.each_ref().map(String::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&head).chain(&rows) {
        let line: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    for (why, InstanceRecord { instance, .. }) in unproven {
        text += &format!("{} at {} gets no calls: it is announced, but {why}\n", instance.id, instance.addr);
    }
    text
}

fn row(seen: &InstanceRecord) -> [String; 6] {
    let one = &seen.instance;
    let status = match (seen.standing, one.status) {
        (InstanceState::Unproven, _) => "unproven",
        (_, Status::Up) => "up",
        (_, Status::Drain) => "ending",
    };
    let zone = if one.zone.is_empty() { "-" } else { &one.zone };
    [
        one.service.to_string(),
        one.id.to_string(),
        one.addr.to_string(),
        status.into(),
        zone.into(),
        one.source.as_str().into(),
    ]
}

#[cfg(test)]
mod tests {
    use bramble::discovery::{Change, Instance, ServiceFilter, Source};

    use super::*;

    #[test]
    fn an_announced_instance_that_does_not_answer_is_listed_with_why_it_gets_no_calls() {
        let now = Instant::now();
        let directory = Directory::new(ServiceFilter::None, now);
        let addr = ([192, 0, 2, 7], 9001).into();
        let instance = Instance::new("producer-a", "producer", addr, Source::Mdns);
        directory.apply(Source::Mdns, "a", Change::Announced(instance, vec![addr]), now);
        let unproven = directory.unproven(now).into_iter();
        let unproven: Vec<_> = unproven.map(|seen| (directory.why_unproven(&seen.instance), seen)).collect();
        let text = table(&directory.all(now), &unproven);
        assert!(text.contains("producer-a  192.0.2.7:9001  unproven"), "{text}");
        let why = "gets no calls: it is announced, but does not answer GET /healthz there with its id; does its firewall \
                   allow TCP port 9001?";
        assert!(text.contains(why), "{text}");
    }
}

//! `bramble browse`: who is there, in the terminal.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble::config::Role;
use bramble::discovery::{Directory, Seen, Status};
use bramble::serve::Host;
use futures_lite::FutureExt as _;
use smol::Timer;

use crate::Failure;
use crate::args::Browse;
use crate::roles::on_executor;

/// After this long without news, whoever wanted to answer has answered: who has just answered somebody else stays quiet
/// for a second (RFC 6762, 6), and is asked again after that second (5.2).
const QUIET: Duration = Duration::from_millis(1300);
/// The longest a list is waited for.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) fn run(options: &Browse) -> Result<(), Failure> {
    let config = options.settings.load(Role::Command, Vec::new())?;
    on_executor(|executor| async move {
        let host = Host::new(Role::Command, config, executor)?;
        settled(&host.directory).await;
        loop {
            let changed = host.directory.changed();
            let now = Instant::now();
            let problems = host.directory.aliases(now).into_iter().filter_map(|alias| alias.problem);
            print(&host.directory.all(now), problems, options.json)
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
            let changed = async {
                directory.changed().await;
                false
            };
            let pause = async {
                Timer::after(QUIET).await;
                true
            };
            if changed.or(pause).await && directory.version() > 1 {
                return;
            }
        }
    };
    let late = async {
        Timer::after(PATIENCE).await;
    };
    quiet.or(late).await;
}

fn print(all: &[Seen], mut problems: impl Iterator<Item = Arc<str>>, json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        return writeln!(out, "{}", serde_json::json!(all));
    }
    if let (true, Some(problem)) = (all.is_empty(), problems.next()) {
        return writeln!(out, "Nobody is there: {problem}");
    }
    if all.is_empty() {
        return writeln!(out, "Nobody is there. Is a service running, and is mDNS (UDP 5353) allowed on this network?");
    }
    let rows: Vec<[String; 6]> = all.iter().map(row).collect();
    let head = ["SERVICE", "INSTANCE", "ADDRESS", "STATUS", "ZONE", "SEEN BY"].map(String::from);
    let mut widths = head.each_ref().map(String::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in std::iter::once(&head).chain(&rows) {
        let line: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", line.join("  ").trim_end())?;
    }
    out.flush()
}

fn row(seen: &Seen) -> [String; 6] {
    let one = &seen.instance;
    let status = match one.status {
        Status::Up => "up",
        Status::Drain => "ending",
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

//! `bramble demo`: the whole of it on this machine, each role a child process on loopback, so that one can kill a
//! producer and watch.

mod child;
mod cluster;
mod control;

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_signal::{Signal, Signals};
use bramble::timeout::timeout;
use futures_lite::{FutureExt as _, StreamExt as _};

use crate::Failure;
use crate::args::Demo;
use crate::roles::on_executor;
use child::{Child, Spawner};
use cluster::DemoCluster;
use control::Control;

/// The stand-in's key: it opens nothing.
const KEY: &str = "demo";
/// Starting nine processes takes a Pi 2 about two seconds.
const READY_WITHIN: Duration = Duration::from_secs(20);

pub(crate) fn run(options: &Demo) -> Result<(), Failure> {
    for (name, port) in [("consumer", options.consumer_port), ("registry", options.registry_port)] {
        is_free(name, port)?;
    }
    let folder = Folder::new()?;
    on_executor(|executor| async move {
        let signals = Signals::new([Signal::Term, Signal::Int])
            .map_err(|error| Failure::Running(format!("asking for signals: {error}")))?;
        let control = Control::start(&executor)?;
        let mut cluster = DemoCluster::new(Spawner::new(executor, &options.cluster)?);
        let ended = play(options, &folder.0, &mut cluster, &control, signals).await;
        let mut children = cluster.clear();
        for child in &mut children {
            child.begin_end();
        }
        for child in &mut children {
            child.end().await;
        }
        ended
    })
}

/// Starts everything, tells what can be done, and does what is asked until the end.
async fn play(
    options: &Demo,
    folder: &Path,
    cluster: &mut DemoCluster,
    control: &Control,
    mut signals: Signals,
) -> Result<(), Failure> {
    let interrupted = async {
        signals.next().await;
        Ok::<bool, Failure>(false)
    };
    let started = async {
        let late = "the demo was not ready within 20 s; the lines above say what is in the way";
        let started = timeout(READY_WITHIN, start_all(options, folder, cluster, &control.url)).await;
        started.unwrap_or_else(|| Err(Failure::Running(late.into())))?;
        Ok::<bool, Failure>(true)
    };
    if !interrupted.or(started).await? {
        return Ok(());
    }
    tell(&cluster.children).map_err(|error| Failure::Running(format!("standard output: {error}")))?;
    let interrupted = async {
        signals.next().await;
    };
    serve(cluster, control).or(interrupted).await;
    Ok(())
}

/// Does what the buttons ask for, and says which children have ended.
async fn serve(cluster: &mut DemoCluster, control: &Control) {
    loop {
        let order = timeout(Duration::from_millis(500), control.orders.recv()).await;
        if let Some(Ok((action, reply))) = order {
            let came_of_it = cluster.act(action).await;
            let _ = reply.send(came_of_it).await; // the browser that pressed may be gone
        }
        for child in &mut cluster.children {
            child.has_ended(); // which it logs
        }
    }
}

async fn start_all(options: &Demo, folder: &Path, cluster: &mut DemoCluster, control: &str) -> Result<(), Failure> {
    let key_file = folder.join("api.key");
    std::fs::write(&key_file, KEY).map_err(|error| Failure::Running(format!("{}: {error}", key_file.display())))?;

    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).to_string();
    let mut stand_in = cluster.spawner.start("stand-in", &["upstream-sim", "--listen", &free, "--key", KEY], &[])?;
    let upstream = stand_in.ready().await;
    cluster.children.push(stand_in);

    cluster.variables.push(("BRAMBLE__PRODUCER__UPSTREAM", format!("http://{}", upstream?)));
    cluster.variables.push(("BRAMBLE__PRODUCER__API_KEY_FILE", key_file.display().to_string()));
    for number in 1..=options.producers {
        let producer = cluster.start_producer(number, &free)?;
        cluster.children.push(producer);
    }
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
    let consumer = cluster.spawner.start("consumer", &["consumer", "--listen", &at(options.consumer_port)], &[])?;
    cluster.children.push(consumer);
    let registry = ["registry", "--listen", &at(options.registry_port), "--demo-control", control];
    let registry = cluster.spawner.start("registry", &registry, &[])?;
    cluster.children.push(registry);
    for child in cluster.children.iter_mut().skip(1) {
        child.ready().await?;
    }
    Ok(())
}

/// Prints the addresses to open, and what to try.
fn tell(children: &[Child]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (bold, plain) = if out.is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let at = |name: &str| children.iter().find(|child| child.name == name).and_then(|child| child.addr);
    writeln!(out, "\n{bold}Bramble is running.{plain} All of it is on this machine; the weather is simulated,")?;
    writeln!(out, "for some 2,000 postal codes, such as 70569 and 10115 DE, 90210 US, SW1A 1AA GB.\n")?;
    for (name, what) in [("consumer", "the form"), ("registry", "all services"), ("stand-in", "the weather API")] {
        if let Some(addr) = at(name) {
            writeln!(out, "  {what:<16} {bold}http://{addr}/{plain}")?;
        }
    }
    let producers = children.iter().filter(|child| child.name.starts_with("producer"));
    for child in producers.clone() {
        if let Some(addr) = child.addr {
            writeln!(out, "  {:<16} http://{addr}/   (process {})", child.name, child.pid())?;
        }
    }
    writeln!(out, "\n{bold}Try{plain}")?;
    let mut tries = Vec::new();
    if let Some(addr) = at("consumer") {
        tries.push((format!("http://{addr}/?zip=70569&country=DE"), "in a browser: the weather in Büsnau"));
    }
    tries.push(("bramble weather 70569 DE".into(), "the same, from another terminal"));
    tries.push(("bramble browse".into(), "lists the instances"));
    if let Some(child) = producers.clone().next() {
        tries.push((format!("kill -9 {}", child.pid()), "a producer dies; ask again"));
        if let Some(addr) = at("registry") {
            tries.push((format!("http://{addr}/"), "watch, and press the buttons at its end"));
        }
    }
    if let Some(addr) = at("stand-in") {
        let faults = format!("http://{addr}/sim/faults");
        tries.push((format!("curl -d '{{\"error_rate\":1}}' {faults}"), "the weather API breaks"));
        tries.push((format!("curl -X DELETE {faults}"), "and is well again"));
    }
    let width = tries.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
    for (command, what) in tries {
        writeln!(out, "  {command:<width$}   {what}")?;
    }
    writeln!(out, "\nCtrl-C ends everything.\n")?;
    out.flush()
}

/// Says plainly that a port is taken, before anything is started.
fn is_free(name: &str, port: u16) -> Result<(), Failure> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let other = port.checked_add(1).unwrap_or(8080);
            Err(Failure::Running(format!("port {port} is taken; try --{name}-port {other}")))
        }
        Err(error) => Err(Failure::Running(format!("port {port}: {error}"))),
    }
}

/// A folder for the demo's key, gone when the demo is.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("bramble-demo-{}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err(Failure::Running(format!("{}: {error}", path.display()))),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            log::warn!("{} stays behind: {error}", self.0.display());
        }
    }
}

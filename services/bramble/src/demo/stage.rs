//! The children on the stage, and what can be done to them while they play.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bramble::transport::client::{Settings, Wire};
use rustix::process::{Pid, Signal, kill_process};
use smol::{Task, Timer};

use super::child::{Child, Spawner};
use super::control::{Deed, Fate};
use crate::Failure;

/// A slowed producer stands still this long, longer than `breaker.slow_call`, and then runs so long.
const STANDS_STILL: Duration = Duration::from_millis(700);
const RUNS: Duration = Duration::from_millis(70);
/// So often; about half a minute.
const TIMES: usize = 40;

/// All children, and how each producer was started.
pub(super) struct Stage {
    pub(super) spawner: Spawner,
    pub(super) children: Vec<Child>,
    /// What a producer needs to know of its surroundings.
    pub(super) variables: Vec<(&'static str, String)>,
    /// The producers that are slowed, by number.
    slowed: BTreeMap<u8, Task<()>>,
    outside: surf::Client,
}

impl Stage {
    pub(super) fn new(spawner: Spawner) -> Result<Self, Failure> {
        let wire = Wire::new(Settings::default()).map_err(|error| Failure::Running(error.to_string()))?;
        let (children, variables, slowed) = (Vec::new(), Vec::new(), BTreeMap::new());
        Ok(Self { spawner, children, variables, slowed, outside: wire.into_surf() })
    }

    /// Starts the producer of that number at `listen`.
    pub(super) fn start_producer(&self, number: u8, listen: &str) -> Result<Child, Failure> {
        self.spawner.start(&name(number), &["producer", "--listen", listen], &self.variables)
    }

    /// Does what a button asks for. Answers JSON, or what is in the way.
    pub(super) async fn act(&mut self, deed: Deed) -> Result<String, String> {
        match deed {
            Deed::List => return Ok(self.list()),
            Deed::Producer(number, fate) => self.fate(number, fate).await?,
            Deed::BreakWeather => self.weather(|client, url| client.post(url).body(r#"{"error_rate":1}"#)).await?,
            Deed::MendWeather => self.weather(|client, url| client.delete(url)).await?,
        }
        Ok("{}".into())
    }

    /// Everybody, at their full pace.
    pub(super) fn clear(self) -> Vec<Child> {
        drop(self.slowed);
        self.children
    }

    fn list(&self) -> String {
        let producers = self.children.iter().filter(|child| child.name.starts_with("producer"));
        let told = producers.map(|child| serde_json::json!({"name": child.name, "addr": child.addr}));
        serde_json::Value::from_iter(told).to_string()
    }

    async fn fate(&mut self, number: u8, fate: Fate) -> Result<(), String> {
        let name = name(number);
        let place = self.children.iter().position(|child| child.name == name);
        let place = place.ok_or_else(|| format!("there is no {name}"))?;
        self.slowed.remove(&number); // whatever comes now, it runs again at its full pace
        let child = self.children.get_mut(place).ok_or("gone")?;
        match fate {
            Fate::Stop => child.begin_end(),
            Fate::Kill => child.kill(),
            Fate::Slow if child.has_ended() => return Err(format!("{name} does not run")),
            Fate::Slow => {
                let slow = slow(child.pid());
                self.slowed.insert(number, self.spawner.executor().spawn(slow));
            }
            Fate::Restart => {
                child.begin_end();
                child.end().await;
                let addr = child.addr.map_or_else(|| "127.0.0.1:0".to_owned(), |addr: SocketAddr| addr.to_string());
                let mut anew = self.start_producer(number, &addr).map_err(Failure::into_sentence)?;
                let ready = anew.ready().await;
                if let Some(child) = self.children.get_mut(place) {
                    *child = anew;
                }
                ready.map_err(Failure::into_sentence)?;
            }
        }
        Ok(())
    }

    async fn weather(&self, ask: impl FnOnce(&surf::Client, String) -> surf::RequestBuilder) -> Result<(), String> {
        let stand_in = self.children.iter().find(|child| child.name == "stand-in").and_then(|child| child.addr);
        let url = format!("http://{}/sim/faults", stand_in.ok_or("the stand-in does not run")?);
        let request = ask(&self.outside, url).build();
        let answer = self.outside.send(request).await.map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("the stand-in says {}", answer.status())) }
    }
}

fn name(number: u8) -> String {
    format!("producer {number}")
}

/// Stops and continues a process again and again.
async fn slow(pid: u32) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    for _ in 0..TIMES {
        let Ok(still) = Still::hold(pid) else { return }; // it has ended
        Timer::after(STANDS_STILL).await;
        drop(still);
        Timer::after(RUNS).await;
    }
}

/// A process that stands still, until dropped.
struct Still(Pid);

impl Still {
    fn hold(pid: Pid) -> rustix::io::Result<Self> {
        kill_process(pid, Signal::STOP).map(|()| Self(pid))
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        // It may have ended while it stood still; then there is nothing to be continued.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

//! The child processes of the demo, and the actions on them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bramble_registry::demo::{ApiState, DemoProducer, DemoState, ProducerState};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use smol::{Task, Timer};

use super::child::{Child, Spawner};
use super::control::{ControlAction, ProducerAction};
use crate::Failure;

/// A slowed producer stands paused this long, longer than `breaker.slow_call`, and then runs so long.
const STANDS_STILL: Duration = Duration::from_millis(700);
const RUNS: Duration = Duration::from_millis(70);
/// So often; about half a minute.
const TIMES: usize = 40;

/// All children, and how each producer was started.
pub(super) struct DemoCluster {
    pub(super) spawner: Spawner,
    pub(super) children: Vec<Child>,
    /// Environment variables of each producer.
    pub(super) variables: Vec<(&'static str, String)>,
    /// The last action on each producer, by number.
    last_actions: BTreeMap<u8, ProducerAction>,
    /// The producers that are slowed, by number; a task ends with the slowness.
    slowed: BTreeMap<u8, Task<()>>,
    outside: surf::Client,
}

impl DemoCluster {
    pub(super) fn new(spawner: Spawner) -> Self {
        let (children, variables) = (Vec::new(), Vec::new());
        let (last_actions, slowed) = (BTreeMap::new(), BTreeMap::new());
        Self { spawner, children, variables, last_actions, slowed, outside: bramble::client::outside() }
    }

    /// Starts the producer of that number at `listen`.
    pub(super) fn start_producer(&self, number: u8, listen: &str) -> Result<Child, Failure> {
        self.spawner.start(&name(number), &["producer", "--listen", listen], &self.variables)
    }

    /// Does what a button asks for. Answers JSON, or what is in the way.
    pub(super) async fn act(&mut self, action: ControlAction) -> Result<String, String> {
        match action {
            ControlAction::State => {
                return serde_json::to_string(&self.state().await).map_err(|error| error.to_string());
            }
            ControlAction::Producer(number, action) => self.action(number, action).await?,
            ControlAction::BreakWeather => {
                self.faults(|client, url| client.post(url).body(r#"{"error_rate":1}"#)).await?;
            }
            ControlAction::MendWeather => {
                self.faults(|client, url| client.delete(url)).await?;
            }
        }
        Ok("{}".into())
    }

    /// All children, running at their full speed.
    pub(super) fn clear(self) -> Vec<Child> {
        drop(self.slowed);
        self.children
    }

    async fn state(&mut self) -> DemoState {
        let producers = self.children.iter_mut().filter(|child| child.name.starts_with("producer"));
        let told = (1..).zip(producers).map(|(number, child)| {
            let action = self.last_actions.get(&number).copied();
            let is_slow = self.slowed.get(&number).is_some_and(|task| !task.is_finished());
            let state = producer_state(child.has_ended(), is_slow, action);
            DemoProducer { name: child.name.clone(), addr: child.addr, state }
        });
        let producers = told.collect();
        let faults = self.faults(|client, url| client.get(url)).await;
        DemoState { producers, weather_api: faults.map_or(ApiState::Unknown, |faults| api_state(&faults)) }
    }

    async fn action(&mut self, number: u8, action: ProducerAction) -> Result<(), String> {
        let name = name(number);
        let place = self.children.iter().position(|child| child.name == name);
        let place = place.ok_or_else(|| format!("there is no {name}"))?;
        self.slowed.remove(&number); // whatever comes now, it runs again at its full pace
        let child = self.children.get_mut(place).ok_or("gone")?;
        match action {
            ProducerAction::Stop | ProducerAction::Kill if child.has_ended() => return Ok(()),
            ProducerAction::Stop => child.begin_end(),
            ProducerAction::Kill => {
                child.kill();
                child.end().await;
            }
            ProducerAction::Slow if child.has_ended() => return Err(format!("{name} does not run")),
            ProducerAction::Slow => {
                let slow = slow(child.pid());
                self.slowed.insert(number, self.spawner.executor().spawn(slow));
            }
            ProducerAction::Restart => {
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
        self.last_actions.insert(number, action);
        Ok(())
    }

    /// Asks the stand-in about its faults, or for other ones; it answers with those that hold now.
    async fn faults(&self, ask: impl FnOnce(&surf::Client, String) -> surf::RequestBuilder) -> Result<Value, String> {
        let stand_in = self.children.iter().find(|child| child.name == "stand-in").and_then(|child| child.addr);
        let url = format!("http://{}/sim/faults", stand_in.ok_or("the stand-in does not run")?);
        let request = ask(&self.outside, url).build();
        let mut answer = self.outside.send(request).await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("the stand-in says {}", answer.status()));
        }
        answer.body_json().await.map_err(|error| error.to_string())
    }
}

/// State of a producer after `action`, the last action on it.
fn producer_state(has_ended: bool, is_slow: bool, action: Option<ProducerAction>) -> ProducerState {
    match (has_ended, action) {
        (true, Some(ProducerAction::Stop)) => ProducerState::Stopped,
        (true, Some(ProducerAction::Kill)) => ProducerState::Killed,
        (true, _) => ProducerState::Ended,
        (false, Some(ProducerAction::Stop | ProducerAction::Kill)) => ProducerState::Stopping,
        (false, _) if is_slow => ProducerState::Slow,
        (false, Some(ProducerAction::Restart)) => ProducerState::Restarted,
        (false, Some(ProducerAction::Slow) | None) => ProducerState::Running,
    }
}

/// Whether `faults`, as the stand-in shows them, leave the weather API without answers.
fn api_state(faults: &Value) -> ApiState {
    let fails = faults["error_rate"].as_f64().is_some_and(|rate| rate > 0.0);
    if fails || faults["hang"] == true || faults["garbage"] == true { ApiState::Broken } else { ApiState::Working }
}

fn name(number: u8) -> String {
    format!("producer {number}")
}

/// Stops and continues a process again and again.
async fn slow(pid: u32) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    for _ in 0..TIMES {
        let Ok(paused) = PausedProcess::hold(pid) else { return }; // it has ended
        Timer::after(STANDS_STILL).await;
        drop(paused);
        Timer::after(RUNS).await;
    }
}

/// A process that stands paused, until dropped.
struct PausedProcess(Pid);

impl PausedProcess {
    fn hold(pid: Pid) -> rustix::io::Result<Self> {
        kill_process(pid, Signal::STOP).map(|()| Self(pid))
    }
}

impl Drop for PausedProcess {
    fn drop(&mut self) {
        // It may have ended while it stood paused; then there is nothing to be continued.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_that_was_slowed_runs_again_when_that_is_over_and_one_killed_from_outside_has_ended() {
        for (has_ended, is_slow, action, state) in [
            (false, false, None, ProducerState::Running),
            (false, true, Some(ProducerAction::Slow), ProducerState::Slow),
            (false, false, Some(ProducerAction::Slow), ProducerState::Running),
            (true, true, Some(ProducerAction::Slow), ProducerState::Ended),
            (true, false, None, ProducerState::Ended),
            (false, false, Some(ProducerAction::Stop), ProducerState::Stopping),
            (true, false, Some(ProducerAction::Stop), ProducerState::Stopped),
            (true, false, Some(ProducerAction::Kill), ProducerState::Killed),
            (false, false, Some(ProducerAction::Restart), ProducerState::Restarted),
            (true, false, Some(ProducerAction::Restart), ProducerState::Ended),
        ] {
            assert_eq!(producer_state(has_ended, is_slow, action), state, "{has_ended} {is_slow} {action:?}");
        }
    }

    #[test]
    fn the_weather_api_is_broken_by_whatever_takes_its_answers_away() {
        let none =
            serde_json::json!({"latency": "0s", "error_rate": 0.0, "status": 500, "hang": false, "garbage": false});
        assert_eq!(api_state(&none), ApiState::Working);
        for fault in [("error_rate", Value::from(0.3)), ("hang", true.into()), ("garbage", true.into())] {
            let mut faults = none.clone();
            faults[fault.0] = fault.1.clone();
            assert_eq!(api_state(&faults), ApiState::Broken, "{fault:?}");
        }
    }
}

//! The drivers that no service waits for. Loading them takes the time of the processors, of which a Pi that starts has
//! little, so they come when a person that waits for the Pi can have had an answer, or will get none.

use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::process::Command;

use crate::context::Context;
use crate::state::{Network, Role};

/// On the card; a folder that stands in for a Pi may have none.
const SCRIPT: &str = "/etc/init.d/late";
/// With services and an address, a Pi has found the others and been found within this time.
const CALM: Duration = Duration::from_secs(3);
/// Time after which drivers are loaded though a service does not answer: they may be needed to find out why.
const SERVE_WITHIN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);

/// Loads them, once.
pub(crate) async fn load(context: Rc<Context>) {
    context.plan.wait().await;
    let script = context.machine.path(SCRIPT);
    if script.exists() {
        until_calm(&context).await;
        let mut command = Command::new(script);
        match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().await {
            Ok(status) if status.success() => {}
            Ok(status) => log::error!("{SCRIPT}: {status}"),
            Err(error) => log::error!("{SCRIPT}: {error}"),
        }
    }
    let _ = context.drivers.set(()).await; // set only here
}

async fn until_calm(context: &Context) {
    let mut turn = Turn::new(Instant::now());
    while !turn.has_come(context.board.get(|state| is_up(&state.roles, &state.network)), Instant::now()) {
        Timer::after(LOOK).await;
    }
}

/// When it is the drivers' turn.
struct Turn {
    started: Instant,
    /// When something was last missing.
    busy: Instant,
}

impl Turn {
    fn new(now: Instant) -> Self {
        Self { started: now, busy: now }
    }

    fn has_come(&mut self, is_up: bool, now: Instant) -> bool {
        if !is_up {
            self.busy = now;
        }
        let since = |then| now.saturating_duration_since(then);
        since(self.busy) >= CALM || since(self.started) >= SERVE_WITHIN
    }
}

/// Whether there is an address, and each service answers or has ended.
fn is_up(roles: &[Role], network: &Network) -> bool {
    network.address.is_some() && roles.iter().all(|role| role.healthy || role.last_end.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_service_that_has_not_answered_yet_are_waited_for_and_one_that_has_ended_is_not() {
        let (healthy, starting) = (Role { healthy: true, ..Role::default() }, Role::default());
        let ended = Role { last_end: Some("it has no key of the weather API".into()), ..Role::default() };
        let network = Network { address: Some("192.0.2.7/24".into()), ..Network::default() };
        assert!(is_up(&[healthy.clone(), ended.clone()], &network) && is_up(&[], &network));
        assert!(!is_up(&[healthy.clone(), starting, ended], &network));
        assert!(!is_up(&[healthy], &Network::default()));
    }

    #[test]
    fn their_turn_comes_after_a_calm_moment_or_at_last() {
        let start = Instant::now();
        let at = |tenths: u64| start + Duration::from_millis(tenths * 100);
        let mut turn = Turn::new(start);
        assert!(!turn.has_come(false, at(50)));
        assert!(!turn.has_come(true, at(70)), "calm for less than three seconds");
        assert!(!turn.has_come(false, at(75)), "a service has ended");
        assert!(!turn.has_come(true, at(104)));
        assert!(turn.has_come(true, at(105)));
        let mut never = Turn::new(start);
        assert!(!never.has_come(false, at(299)));
        assert!(never.has_come(false, at(300)));
    }
}

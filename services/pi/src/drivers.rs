//! The drivers that no service waits for. Loading them takes the time of the processors, of which a Pi that starts has
//! little, so they come when the services answer, or cannot.

use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::process::Command;

use crate::context::Context;
use crate::state::Role;

/// On the card; a folder that stands in for a Pi may have none.
const SCRIPT: &str = "/etc/init.d/late";
/// A service that does not answer by then may be what the drivers are needed to find out about.
const SERVE_WITHIN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);

/// Loads them, once.
pub(crate) async fn load(context: Rc<Context>) {
    context.plan.get().await;
    let started = Instant::now();
    while !context.board.get(|state| have_settled(&state.roles)) && started.elapsed() < SERVE_WITHIN {
        Timer::after(LOOK).await;
    }
    let script = context.machine.path(SCRIPT);
    if script.exists() {
        let mut command = Command::new(script);
        match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().await {
            Ok(status) if status.success() => {}
            Ok(status) => log::error!("{SCRIPT}: {status}"),
            Err(error) => log::error!("{SCRIPT}: {error}"),
        }
    }
    context.drivers.set(());
}

/// Whether each service answers or has ended.
fn have_settled(roles: &[Role]) -> bool {
    roles.iter().all(|role| role.healthy || role.last_end.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_has_not_answered_yet_is_waited_for_and_one_that_has_ended_is_not() {
        let (healthy, starting) = (Role { healthy: true, ..Role::default() }, Role::default());
        let ended = Role { last_end: Some("it has no key of the weather API".into()), ..Role::default() };
        assert!(have_settled(&[healthy.clone(), ended.clone()]) && have_settled(&[]));
        assert!(!have_settled(&[healthy, starting, ended]));
    }
}

//! Writes the state of the Pi into a file, for the page of the registry, and prints on the screens what to open.

use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::Timer;

use crate::context::Context;
use crate::machine;
use crate::state::State;
use crate::{clock, facts};

/// Time until a change is seen on the page.
const LOOK: Duration = Duration::from_millis(500);
/// Interval of values that always change.
const WRITE: Duration = Duration::from_secs(2);
/// The kernel walks through all pages of a process for its share of the memory.
const MEASURE: Duration = Duration::from_secs(10);

/// Reports for ever.
pub(crate) async fn look_after(context: Rc<Context>) {
    let (mut written, mut measured) = (None::<Instant>, None::<Instant>);
    let (mut shown, mut next) = (String::new(), String::new());
    loop {
        let is_due = |last: Option<Instant>, every| last.is_none_or(|last| last.elapsed() >= every);
        if context.board.take_changed() || is_due(written, WRITE) {
            let measure = is_due(measured, MEASURE);
            look(&context, measure);
            if measure {
                measured = Some(Instant::now());
            }
            write(&context);
            written = Some(Instant::now());
            let banner = context.board.get(banner);
            if banner != shown && banner == next {
                context.board.console.say(&banner);
                shown.clone_from(&banner);
            }
            next = banner;
        }
        Timer::after(LOOK).await;
    }
}

fn look(context: &Context, measure: bool) {
    let machine = &context.machine;
    context.board.set(|state| {
        state.uptime_s = facts::uptime(machine);
        state.memory = facts::memory(machine);
        state.clock.now = clock::now().as_secs();
        if measure {
            state.temperature_c = facts::temperature(machine);
            state.throttling = facts::throttling(state.throttling, facts::is_underpowered(machine));
            for role in &mut state.roles {
                role.memory_kib = role.pid.and_then(|pid| facts::share(machine, pid));
            }
        }
    });
    context.board.take_changed();
}

/// Once more, at the end.
pub(crate) fn write(context: &Context) {
    let json = context.board.get(serde_json::to_vec);
    let written =
        json.map_err(Into::into).and_then(|json| machine::replace(&context.machine.path(crate::STATE), &json, 0o644));
    if let Err(error) = written {
        log::warn!("{}: {error}", crate::STATE);
    }
}

/// Addresses to open, once there is one. Empty: nothing yet.
fn banner(state: &State) -> String {
    let Some(address) = state.network.address.as_deref().and_then(|address| address.split('/').next()) else {
        return String::new();
    };
    let name = state.network.renamed.as_ref().unwrap_or(&state.hostname);
    let mut text = format!("\n  Bramble {} on {name}, {address}\n", state.image.version);
    let mut is_up = false;
    for role in &state.roles {
        let Some(port) = role.url.as_deref().and_then(|url| url.rsplit(':').next()) else { continue };
        let what = match role.name.as_str() {
            "consumer" => "the form",
            "registry" => "all services, and /pi",
            _ => "the weather, for others",
        };
        is_up = true;
        text += &format!("  {what:<24}http://{address}:{port}/\n");
    }
    if is_up { text } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Network, Role};

    #[test]
    fn a_screen_says_what_to_open_as_soon_as_there_is_something() {
        let mut state = State { hostname: "pi-1a2b3c".into(), ..State::default() };
        assert_eq!(banner(&state), "");
        state.network = Network { address: Some("192.0.2.7/24".into()), ..Network::default() };
        assert_eq!(banner(&state), "");
        state.roles =
            vec![Role { name: "consumer".into(), url: Some("http://0.0.0.0:8088".into()), ..Role::default() }];
        assert!(banner(&state).contains("the form                http://192.0.2.7:8088/"), "{}", banner(&state));
        state.network.renamed = Some("pi-1a2b3c-2".into());
        assert!(banner(&state).contains("on pi-1a2b3c-2, "));
    }
}

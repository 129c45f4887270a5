//! Starts `bramble pi-net`, which talks to the network about the name and the time of day, as a user without rights,
//! and weighs what it says.

use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::FutureExt as _;
use smol::Timer;

use crate::clock::{self, ClockDecision};
use crate::context::Context;
use crate::data;
use crate::lines::Lines;
use crate::net::Event;
use crate::network::lease::AddressConfig;
use crate::plan::Plan;
use crate::program::{Program, in_words};
use crate::respawn::Respawn;
use crate::settings::Pi;
use crate::state::TimeSource;

/// User and group of the helper on the card.
const USER: u32 = 904;
const MEMORY: u64 = 32 << 20;
const TOPIC: &str = "time";

/// Runs it for ever, anew when what it is to do is another thing. That the address is another one it sees by itself.
pub(crate) async fn look_after(context: Rc<Context>) {
    let plan = context.plan.wait().await;
    let mut respawn = Respawn::default();
    loop {
        let round = context.address.round();
        let Some(args) = args(&context, plan) else {
            context.address.changed_since(round).await;
            continue;
        };
        let started = Instant::now();
        let changed = async {
            let mut round = round;
            while self::args(&context, plan).as_ref() == Some(&args) {
                context.address.changed_since(round).await;
                round = context.address.round();
            }
            None
        };
        let ended = async { Some(run(&context, &args).await) };
        let Some(words) = ended.or(changed).await else { continue };
        let pause = respawn.ended(started.elapsed(), false);
        log::warn!("the helper for name and time has ended ({words}); it is started again in {} s", pause.as_secs());
        Timer::after(pause).await;
    }
}

/// Arguments of the helper, once there is an address to use.
fn args(context: &Context, plan: &Plan) -> Option<Vec<String>> {
    let wanted = context.address.now()?;
    let (hostname, card) = context.board.get(|state| (state.hostname.clone(), state.network.interface.clone()));
    let ntp = time_servers(&plan.pi, &wanted).join(",");
    // Not a second word on a network where the owner wants no mDNS.
    let hostname = if plan.has_mdns { hostname } else { String::new() };
    Some(
        [("--hostname", hostname), ("--ntp", ntp), ("--interface", card?)]
            .map(|(flag, value)| format!("{flag}={value}"))
            .into(),
    )
}

/// Runs the helper once; returns how it ended. Dropped, it is killed.
async fn run(context: &Rc<Context>, args: &[String]) -> String {
    let Ok(bramble) = std::env::current_exe() else { return "this program is gone".into() };
    let mut command = Command::new(bramble);
    command.env_clear().env("PATH", "/bin").env("RUST_LIB_BACKTRACE", "0").current_dir("/");
    command.arg("pi-net").arg("--until-stdin-closes").args(args);
    let program = Program { name: "net".into(), command, user: Some(USER), memory: Some(MEMORY) };
    let mut running = match program.start(context) {
        Ok(running) => running,
        Err(error) => return error.to_string(),
    };
    if let Some(out) = running.child.stdout.take() {
        let mut lines = Lines::of(out);
        while let Some(line) = lines.next().await {
            match serde_json::from_str(&line) {
                Ok(said) => hear(context, said),
                Err(error) => log::debug!("the helper for name and time says {line:?}: {error}"),
            }
        }
    }
    let status = running.child.status().await;
    let said = running.finish().await;
    format!("{} {said}", status.map_or_else(|error| error.to_string(), in_words))
}

/// The settings win, then what DHCP names, then everybody's.
fn time_servers(pi: &Pi, wanted: &AddressConfig) -> Vec<String> {
    if !pi.ntp.is_empty() {
        pi.ntp.clone()
    } else if !wanted.lease.ntp.is_empty() {
        wanted.lease.ntp.iter().map(ToString::to_string).collect()
    } else {
        Pi::TIME_SERVERS.map(String::from).into()
    }
}

fn hear(context: &Rc<Context>, said: Event) {
    match said {
        Event::Name { announced } => {
            let is_label = Pi::check_hostname(&announced).is_ok();
            context.board.set(|state| {
                state.network.renamed = Some(announced).filter(|name| is_label && *name != state.hostname);
            });
        }
        Event::Time { unix_ms, server, .. } => {
            let server = server.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
            set_time(context, Duration::from_millis(unix_ms), server);
        }
    }
}

fn set_time(context: &Rc<Context>, said: Duration, server: String) {
    let built = context.board.get(|state| state.image.built);
    match clock::judge(clock::now(), said, built) {
        ClockDecision::Refuse => {
            context.board.problem(
                TOPIC,
                format!(
                    "the time server {server} names a day before this image was built; set another one as [pi] ntp"
                ),
            );
            return;
        }
        ClockDecision::Set => clock::set(&context.machine, said),
        ClockDecision::Leave => {}
    }
    context.board.well(TOPIC);
    let is_first = context.board.get(|state| state.clock.source != TimeSource::Ntp);
    if is_first {
        log::info!("the time of day is known, from {server}");
        clock::trust(&context.machine, Some(&server));
        let context = Rc::clone(context);
        let kept = Rc::clone(&context);
        kept.executor.spawn(async move { save(&context).await }).detach();
    }
    context.board.set(|state| (state.clock.source, state.clock.server) = (TimeSource::Ntp, Some(server)));
}

/// Saves the time, where that is possible.
pub(crate) async fn save(context: &Rc<Context>) {
    if !data::keeps(*context.data.wait().await) {
        return;
    }
    let machine = context.machine.clone();
    if let Err(error) = smol::unblock(move || clock::save(&machine)).await {
        context
            .board
            .problem("data", format!("the time cannot be kept on the data partition: {error}; take another SD card"));
        context.board.set(|state| state.data = crate::state::Data::ReadOnly);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::lease::Lease;
    use crate::state::Origin;

    #[test]
    fn time_servers_of_the_settings_win_over_those_of_dhcp_and_these_over_everybodys() {
        let address = [192, 0, 2, 7].into();
        let lease = Lease { address, prefix: 24, gateway: None, dns: vec![], ntp: vec![] };
        let mut wanted = AddressConfig { lease, origin: Origin::Dhcp };
        let mut pi = Pi::default();
        assert_eq!(time_servers(&pi, &wanted), Pi::TIME_SERVERS);
        wanted.lease.ntp = vec![address];
        assert_eq!(time_servers(&pi, &wanted), ["192.0.2.7"]);
        pi.ntp = vec!["time.example".into()];
        assert_eq!(time_servers(&pi, &wanted), ["time.example"]);
    }
}

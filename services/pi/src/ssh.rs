//! SSH server for the keys on the card, and for no others. Without a key nothing listens.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Instant;

use futures_lite::FutureExt as _;
use smol::Timer;

use crate::context::Context;
use crate::data;
use crate::machine::{self, Machine};
use crate::program::{Program, in_words};
use crate::respawn::Respawn;

/// Where the key that the Pi shows of itself is kept, else where it lies until the plug is pulled.
const KEPT: &str = "/data/ssh";
const IN_RAM: &str = "/run/bramble/ssh";
const HOST_KEY: &str = "ed25519";
const TOPIC: &str = "ssh";

/// Runs the SSH server for ever, if there are keys.
pub(crate) async fn look_after(context: Rc<Context>) {
    let plan = context.plan.wait().await;
    if plan.ssh_keys.is_empty() {
        return;
    }
    let is_kept = data::keeps(*context.data.wait().await);
    let machine = context.machine.clone();
    let keys = plan.ssh_keys.join("\n") + "\n";
    let prepared = smol::unblock(move || prepare(&machine, is_kept, &keys)).await;
    let host_key = match prepared {
        Ok(host_key) => host_key,
        Err(error) => {
            context.board.problem(TOPIC, format!("no login by SSH: {error}"));
            return;
        }
    };
    let mut respawn = Respawn::default();
    loop {
        let started = Instant::now();
        let mut command = Command::new(context.machine.path("/usr/sbin/dropbear"));
        // In the foreground, log on stderr; no passwords, no forwarding.
        command.args(["-F", "-E", "-s", "-g", "-j", "-k", "-p", "22", "-r"]).arg(&host_key);
        command.env_clear().env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin");
        let program = Program { name: "ssh".into(), command, user: None, memory: None };
        let words = match program.start(&context) {
            Ok(mut running) => {
                context.board.set(|state| state.ssh = true);
                let ended = async { Some(running.child.status().await) };
                let told = async {
                    context.end.wait().await;
                    None
                };
                let ended = ended.or(told).await;
                let said = running.finish().await;
                let Some(ended) = ended else { return };
                let how = ended.map_or_else(|error| error.to_string(), in_words);
                if said.is_empty() { how } else { format!("{how}: {said}") }
            }
            Err(error) => error.to_string(),
        };
        context.board.set(|state| state.ssh = false);
        let pause = respawn.ended(started.elapsed(), false);
        log::warn!("the SSH server has ended ({words}); it is started again in {} s", pause.as_secs());
        Timer::after(pause).await;
    }
}

/// Writes the keys that may log in, and makes the Pi's own key if there is none. Returns that one's path.
fn prepare(machine: &Machine, is_kept: bool, keys: &str) -> io::Result<PathBuf> {
    let home = machine.path("/root");
    std::fs::create_dir_all(&home)?;
    data::private(&home)?;
    data::private(&home.join(".ssh"))?;
    machine::replace(&home.join(".ssh/authorized_keys"), keys.as_bytes(), 0o600)?;
    // A full or locked partition may still have the key.
    let has_kept = machine.path(KEPT).join(HOST_KEY).exists();
    let folder = machine.path(if is_kept || has_kept { KEPT } else { IN_RAM });
    if !has_kept {
        data::private(&folder)?;
    }
    let key = folder.join(HOST_KEY);
    if is_usable(machine, &key) {
        return Ok(key);
    }
    let _ = std::fs::remove_file(&key); // it may be half a one, or none
    let made = key_tool(machine)
        .args(["-t", "ed25519", "-f"])
        .arg(&key)
        .stdout(Stdio::null())
        .stdin(Stdio::null())
        .status()?;
    if !made.success() {
        return Err(io::Error::other(format!("no key of its own could be made ({made})")));
    }
    std::fs::File::open(&key)?.sync_all()?;
    std::fs::File::open(&folder)?.sync_all()?;
    Ok(key)
}

fn is_usable(machine: &Machine, key: &Path) -> bool {
    let mut read = key_tool(machine);
    read.arg("-y").arg("-f").arg(key).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    key.exists() && read.status().is_ok_and(|status| status.success())
}

fn key_tool(machine: &Machine) -> Command {
    Command::new(machine.path("/usr/bin/dropbearkey"))
}

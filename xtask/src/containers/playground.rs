//! A registry and a Swarm to try things on: on loopback, and gone without a trace afterwards.
//!
//! It outlives the command that made it, so its description stands in a file, and on the node as a label: the next run
//! after one that was killed finds it, and takes it away.

use std::fmt;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::docker::{self, LABEL, Swarm, docker, is_ours, lines};
use super::{deploy, http, swarm};
use crate::install;
use crate::run::{self, Workspace};

const SECRET: &str = "bramble-api-key";
/// Prefix of names that killed tests may have left behind.
const TESTS: &str = "bramble-test-";
/// Subnet other than the stack's own, which may be in use.
const SUBNET: &str = "10.89.77.0/24";
const STAND_IN: &str = "10.89.77.250";
const STAND_IN_PORT: u16 = 8090;
const PATIENCE: Duration = Duration::from_secs(20);

/// Registry and Swarm that `up` has made.
#[derive(Debug, Clone)]
pub(crate) struct Playground {
    /// HOST:PORT.
    pub(crate) registry: String,
    pid: u32,
    pub(crate) form_port: u16,
    page_port: u16,
    /// The key that the secret holds and the stand-in accepts.
    pub(crate) key: String,
    /// Whether the engine's bridge for overlay networks was there before.
    had_bridge: bool,
}

impl fmt::Display for Playground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "REGISTRY={}", self.registry)?;
        self.variables().iter().try_for_each(|(key, value)| write!(f, "\n{key}={value}"))
    }
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.root.join("target/containers/playground")
}

impl Playground {
    /// Makes it anew; what an earlier run left is taken away first.
    pub(crate) fn up(workspace: &Workspace) -> Result<Self, String> {
        install::packages(docker::NEEDS)?;
        if let Some(why) = docker::why_no_swarm_here() {
            return Err(why);
        }
        Self::down(workspace)?;
        Self::make(workspace).map_err(|why| match Self::down(workspace) {
            Ok(()) => why,
            Err(also) => format!("{why}\nIt could not be taken away again: {also}"),
        })
    }

    /// The one that is there.
    pub(crate) fn there(workspace: &Workspace) -> Result<Self, String> {
        Self::read(&folder(workspace)).ok_or_else(|| "there is none; `cargo xtask containers up` makes one".to_owned())
    }

    fn make(workspace: &Workspace) -> Result<Self, String> {
        let folder = folder(workspace);
        let told = |error: std::io::Error| format!("{}: {error}", folder.display());
        std::fs::create_dir_all(&folder).map_err(told)?;
        let bridges = lines(&["network", "ls", "--filter", "name=^docker_gwbridge$", "--quiet"])?;
        let mut made = Self {
            registry: format!("127.0.0.1:{}", free_port()?),
            pid: 0,
            form_port: free_port()?,
            page_port: free_port()?,
            key: random()?,
            had_bridge: !bridges.is_empty(),
        };
        made.start_registry(workspace, &folder)?;
        made.write(&folder)?;
        docker(&[
            "swarm",
            "init",
            "--advertise-addr",
            "127.0.0.1",
            "--listen-addr",
            "127.0.0.1:2377",
            "--data-path-addr",
            "127.0.0.1",
        ])?;
        let label = format!("{LABEL}=yes");
        let labels = ["--label-add", &label, "--label-add", "bramble.producer=yes", "--label-add", "bramble.front=yes"];
        let node = docker(&["node", "inspect", "self", "--format", "{{.ID}}"])?;
        docker(&[&["node", "update"], &labels[..], &[&node]].concat())?;
        made.secret(SECRET, &made.key)?;
        Ok(made)
    }

    fn start_registry(&mut self, workspace: &Workspace, folder: &Path) -> Result<(), String> {
        use std::os::unix::process::CommandExt as _;

        let told = |error: std::io::Error| format!("docker-registry: {error}");
        let log = std::fs::File::create(folder.join("registry.log")).map_err(told)?;
        let mut command = workspace.command("docker-registry");
        command.args(["serve", "etc/registry/loopback.yml"]);
        command.env("REGISTRY_HTTP_ADDR", &self.registry);
        command.env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", folder.join("registry"));
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(told)?).stderr(log);
        // A group of its own: Ctrl-C ends the waiting command, and `down` ends this.
        let child = command.process_group(0).spawn().map_err(told)?;
        self.pid = child.id();
        self.write(folder)?;
        let deadline = Instant::now() + PATIENCE;
        while !http::get(&self.registry, "/v2/").is_ok_and(|(status, _)| status == 200) {
            if Instant::now() > deadline {
                return Err(format!("docker-registry does not serve; see {}/registry.log", folder.display()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn write(&self, folder: &Path) -> Result<(), String> {
        let Self { registry, pid, form_port, page_port, key, had_bridge } = self;
        let state = json!({
            "registry": registry, "pid": pid, "form_port": form_port, "page_port": page_port, "key": key,
            "had_bridge": had_bridge,
        });
        std::fs::write(folder.join("state.json"), state.to_string()).map_err(|error| error.to_string())
    }

    fn read(folder: &Path) -> Option<Self> {
        let state: Value = serde_json::from_slice(&std::fs::read(folder.join("state.json")).ok()?).ok()?;
        let port = |key: &str| state[key].as_u64().and_then(|port| u16::try_from(port).ok());
        Some(Self {
            registry: state["registry"].as_str()?.to_owned(),
            pid: state["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())?,
            form_port: port("form_port")?,
            page_port: port("page_port")?,
            key: state["key"].as_str()?.to_owned(),
            had_bridge: state["had_bridge"].as_bool()?,
        })
    }

    /// Variables for the stack's file.
    pub(crate) fn variables(&self) -> [(&'static str, String); 5] {
        [
            ("BRAMBLE_SUBNET", SUBNET.to_owned()),
            ("BRAMBLE_UPSTREAM", format!("http://{STAND_IN}:{STAND_IN_PORT}")),
            ("BRAMBLE_FORM_PORT", self.form_port.to_string()),
            ("BRAMBLE_PAGE_PORT", self.page_port.to_string()),
            ("BRAMBLE_API_KEY_SECRET", SECRET.to_owned()),
        ]
    }

    /// Makes a secret; its content goes by standard input, where no list of processes shows it.
    pub(crate) fn secret(&self, name: &str, content: &str) -> Result<(), String> {
        use std::io::Write as _;

        let told = |error: std::io::Error| format!("docker secret create: {error}");
        let mut command = Command::new("docker");
        command.args(["secret", "create", name, "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().map_err(told)?;
        child.stdin.take().expect("piped").write_all(content.as_bytes()).map_err(told)?;
        if child.wait().map_err(told)?.success() { Ok(()) } else { Err(format!("the secret {name} could not be made")) }
    }

    /// Deploys the stack here, with the stand-in for the weather API.
    pub(crate) fn deploy(&self, workspace: &Workspace, image: &str) -> Result<(), String> {
        deploy::Deploy::parse(&[image])?.with(&self.variables()).run(workspace)?;
        self.stand_in(deploy::STACK, image)
    }

    /// Starts the stand-in for the weather API in the network of a stack. At an address of its own, since a key in the
    /// clear is sent to private addresses alone, and a name is none.
    pub(crate) fn stand_in(&self, stack: &str, image: &str) -> Result<(), String> {
        let (name, label) = (format!("{stack}-stand-in"), format!("{LABEL}=yes"));
        let network = format!("{stack}_bramble");
        let listen = format!("0.0.0.0:{STAND_IN_PORT}");
        let variable = format!("BRAMBLE__SERVER__LISTEN={listen}");
        let run = ["run", "--detach", "--name", &name, "--label", &label, "--network", &network, "--ip", STAND_IN];
        let bounds = ["--read-only", "--cap-drop", "ALL", "--memory", "64m", "--env", &variable];
        let serve = [image, "upstream-sim", "--listen", &listen, "--key", &self.key, "--allow-remote-faults"];
        docker(&[&run[..], &bounds, &serve].concat()).map(|_| ()).inspect_err(|_| {
            let _ = docker(&["rm", "--force", &name]);
        })
    }

    /// Takes everything away. Where there is nothing, there is nothing to do.
    pub(crate) fn down(workspace: &Workspace) -> Result<(), String> {
        let folder = folder(workspace);
        let made = Self::read(&folder);
        remove_containers(&format!("label={LABEL}=yes"))?;
        remove_containers(&format!("name=^{TESTS}"))?;
        if docker::swarm()? == Swarm::Manager && is_ours() || made.is_some() && is_fresh()? {
            for stack in lines(&["stack", "ls", "--format", "{{.Name}}"])? {
                swarm::remove(&stack)?;
            }
            docker(&["swarm", "leave", "--force"])?;
        }
        for network in lines(&["network", "ls", "--quiet", "--filter", &format!("name=^{TESTS}")])? {
            docker(&["network", "rm", &network])?;
        }
        if let Some(made) = made {
            made.end_registry();
            made.remove_images()?;
            if !made.had_bridge {
                // It stays if another network has come to use it.
                let _ = docker(&["network", "rm", "docker_gwbridge"]);
            }
        }
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", folder.display())),
            _ => Ok(()),
        }
    }

    fn end_registry(&self) {
        let command = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        // Another process may have got its number.
        if String::from_utf8_lossy(&command).contains("docker-registry") {
            let _ = run::output(Command::new("kill").arg(self.pid.to_string()));
        }
    }

    fn remove_images(&self) -> Result<(), String> {
        for image in lines(&["image", "ls", "--all", "--no-trunc", "--format", "{{.Repository}} {{.ID}}"])? {
            if let Some((_, id)) = image.split_once(' ').filter(|(name, _)| name.starts_with(&self.registry)) {
                // Two names of one image are two lines.
                let _ = docker(&["image", "rm", "--force", id]);
            }
        }
        Ok(())
    }
}

fn remove_containers(filter: &str) -> Result<(), String> {
    for container in lines(&["ps", "--all", "--quiet", "--filter", filter])? {
        docker(&["rm", "--force", &container])?;
    }
    Ok(())
}

/// Whether the Swarm is one that `up` had no time to mark: on loopback, with one node and without a service.
fn is_fresh() -> Result<bool, String> {
    if docker::swarm()? != Swarm::Manager {
        return Ok(false);
    }
    let addr = docker(&["info", "--format", "{{.Swarm.NodeAddr}}"])?;
    let nodes = lines(&["node", "ls", "--quiet"])?;
    Ok(addr == "127.0.0.1" && nodes.len() == 1 && lines(&["service", "ls", "--quiet"])?.is_empty())
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map(|addr| addr.port()).map_err(|error| error.to_string())
}

/// 32 random hexadecimal digits.
fn random() -> Result<String, String> {
    let mut bytes = [0; 16];
    let read =
        std::fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.map_err(|error| format!("/dev/urandom: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

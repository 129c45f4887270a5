//! The container engine, by its own command, with errors that say what to do.

use std::process::Command;

use crate::install::Package;
use crate::run;

/// Packages that images, registry and stack need besides the engine. The engine is not installed here: it is a service
/// of the machine.
pub(crate) const NEEDS: &[Package] = &[
    Package { program: "skopeo", package: "skopeo" },
    Package { program: "docker-registry", package: "docker-registry" },
    Package { program: "tar", package: "tar" },
    Package { program: "gzip", package: "gzip" },
    Package { program: "sha256sum", package: "coreutils" },
];

/// Label of the node and the containers of a playground.
pub(crate) const LABEL: &str = "bramble.playground";

/// `docker ARGUMENTS`: its stdout, without the last line's end.
pub(crate) fn docker(arguments: &[&str]) -> Result<String, String> {
    run::output(Command::new("docker").args(arguments)).map(|said| said.trim_end().to_owned())
}

/// Lines that the engine's command prints.
pub(crate) fn lines(arguments: &[&str]) -> Result<Vec<String>, String> {
    Ok(docker(arguments)?.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect())
}

/// Checks that the engine answers.
pub(crate) fn engine() -> Result<(), String> {
    docker(&["version", "--format", "{{.Server.Version}}"]).map(|_| ()).map_err(|why| {
        let last = why.lines().last().unwrap_or_default();
        format!("Docker's engine does not answer ({last}); start it (`systemctl start docker`; Debian's package is docker.io), or ask as root")
    })
}

/// Whether this node is in a Swarm, and may change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swarm {
    None,
    Worker,
    Manager,
}

pub(crate) fn swarm() -> Result<Swarm, String> {
    let said = docker(&["info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}"])?;
    Ok(match said.as_str() {
        "active true" => Swarm::Manager,
        said if said.starts_with("inactive") => Swarm::None,
        _ => Swarm::Worker,
    })
}

/// Why no Swarm of one's own can be tried on this machine; None if one can. A Swarm that an earlier try left is taken
/// away first, so it is no reason.
pub(crate) fn why_no_swarm_here() -> Option<String> {
    if let Err(why) = engine() {
        return Some(why);
    }
    match swarm() {
        Ok(Swarm::None) => None,
        Ok(Swarm::Manager) if is_ours() => None,
        Ok(_) => Some("this machine is in a Swarm already, which is not for trials".to_owned()),
        Err(why) => Some(why),
    }
}

/// Whether the Swarm that this node manages is that of a playground.
pub(crate) fn is_ours() -> bool {
    let label = format!("{{{{index .Spec.Labels \"{LABEL}\"}}}}");
    docker(&["node", "inspect", "self", "--format", &label]).is_ok_and(|said| said == "yes")
}

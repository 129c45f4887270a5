//! Images, the registry they lie in, and the stack that runs from it.
//!
//! Each command looks first at everything it needs and only then changes something, and takes back what it made if it
//! cannot finish: its user has nothing to clean up.

use crate::Failure;
use crate::run::Workspace;

mod build;
mod deploy;
mod docker;
mod http;
mod oci;
mod platform;
mod playground;
mod registry;
mod skopeo;
mod smoke;
mod swarm;

pub(crate) use build::{build, programs};
pub(crate) use docker::why_no_swarm_here;
pub(crate) use playground::Playground;
pub(crate) use registry::{Push, pull};
pub(crate) use skopeo::Reference;

pub(crate) const USAGE: &str = "\
cargo xtask containers COMMAND

  build                          the images of all platforms under one list, in target/containers/images
  push REGISTRY/NAME[:TAG]       into a registry; prints the name with its digest
  deploy IMAGE [OPTION]...       the stack of etc/stack/bramble.yml, or an update of it; waits until it runs
  smoke [URL] [ZIP COUNTRY]      one question through the form
  remove [STACK]                 the stack, and waits until it is gone
  up                             for a try: a registry and a Swarm on loopback, with a label and a secret
  stand-in STACK IMAGE           for a try: the stand-in for the weather API, in the stack's network
  down                           takes away all that `up` has made, and what runs on it

Of push:   --certs FOLDER        with ca.crt, if the system does not trust the registry's certificate
Of deploy: --stack NAME          bramble, if not said
           -c FILE               one more file on top, for example etc/stack/cluster-key.yml
           --within SECONDS      how long it may take to run, 120 if not said";

/// Asks the form at that address for the weather.
pub(crate) fn smoke(url: &str) -> Result<(), String> {
    smoke::Smoke::parse(&[url])?.run()
}

pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<(), Failure> {
    let usage = |why: String| Failure::Usage(format!("{why}\n\n{USAGE}"));
    match arguments {
        ["build"] => {
            let built = programs(workspace).and_then(|programs| build(workspace, None, &programs));
            built.map_err(Failure::Run)
        }
        ["push", rest @ ..] => {
            let push = Push::parse(rest).map_err(usage)?;
            push.run(workspace).map(|name| println!("{name}")).map_err(Failure::Run)
        }
        ["deploy", rest @ ..] => deploy::Deploy::parse(rest).map_err(usage)?.run(workspace).map_err(Failure::Run),
        ["remove"] => swarm::remove(deploy::STACK).map_err(Failure::Run),
        ["remove", stack] => swarm::remove(stack).map_err(Failure::Run),
        ["smoke", rest @ ..] => smoke::Smoke::parse(rest).map_err(usage)?.run().map_err(Failure::Run),
        ["up"] => Playground::up(workspace).map(|it| println!("{it}")).map_err(Failure::Run),
        ["stand-in", stack, image] => {
            let playground = Playground::there(workspace).map_err(Failure::Run)?;
            playground.stand_in(stack, image).map_err(Failure::Run)
        }
        ["down"] => Playground::down(workspace).map_err(Failure::Run),
        [] => Err(usage("No command was given.".to_owned())),
        [other, ..] => Err(usage(format!("\"containers {other}\" was not understood."))),
    }
}

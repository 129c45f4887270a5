//! A stack is deployed whole or not at all.
//!
//! `docker stack deploy` returns before anything runs, and leaves behind what does not. So everything it will need is
//! asked for first; then it is watched until it runs; a first deployment that does not is taken away again, an update
//! that does not is taken back. In an update the producers go first, for their new ones stand beside the old ones: a
//! bad image never gets as far as the form.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::docker::{self, Swarm, docker, lines};
use super::skopeo::{self, Reference};
use super::swarm::{LABELS, Node, POLL, ServiceStatus, remove, services, troubles};
use crate::run::{self, Workspace};

pub(crate) const STACK: &str = "bramble";
const FILE: &str = "etc/stack/bramble.yml";
/// How long a stack may take to run: three producers one after another, each watched for `monitor`.
const WITHIN: Duration = Duration::from_secs(180);

/// A secret of a stack's file: the variable that names it, its name else, and what to put in.
struct Secret {
    file: &'static str,
    variable: &'static str,
    name: &'static str,
    make: &'static str,
}

const SECRETS: &[Secret] = &[
    Secret {
        file: FILE,
        variable: "BRAMBLE_API_KEY_SECRET",
        name: "bramble-api-key",
        make: "printf %s YOUR_KEY | docker secret create",
    },
    Secret {
        file: "etc/stack/cluster-key.yml",
        variable: "BRAMBLE_CLUSTER_KEY_SECRET",
        name: "bramble-cluster-key",
        make: "openssl rand -hex 32 | docker secret create",
    },
];

/// `deploy IMAGE [--stack NAME] [-c FILE]... [--within SECONDS]`.
#[derive(Debug)]
pub(crate) struct Deploy {
    image: Reference,
    stack: String,
    files: Vec<PathBuf>,
    within: Duration,
    variables: Vec<(&'static str, String)>,
}

impl Deploy {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut image = None;
        let (mut stack, mut files, mut within) = (STACK.to_owned(), vec![PathBuf::from(FILE)], WITHIN);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{argument} wants a value"));
            match *argument {
                "--stack" => stack = (*value()?).to_owned(),
                "-c" => files.push(PathBuf::from(value()?)),
                "--within" => {
                    let seconds = value()?.parse().map_err(|_| "--within wants a number of seconds".to_owned())?;
                    within = Duration::from_secs(seconds);
                }
                name if image.is_none() && !name.starts_with('-') => image = Some(Reference::parse(name)?),
                other => return Err(format!("{other:?} was not understood")),
            }
        }
        let image = image.ok_or("deploy wants the name of an image")?;
        Ok(Self { image, stack, files, within, variables: Vec::new() })
    }

    /// With variables of the stack's file that the environment need not have.
    pub(crate) fn with(mut self, variables: &[(&'static str, String)]) -> Self {
        self.variables = variables.to_vec();
        self
    }

    pub(crate) fn run(&self, workspace: &Workspace) -> Result<(), String> {
        let image = self.ready(workspace)?;
        let before = services(&self.stack)?;
        let done =
            if before.is_empty() { self.first(workspace, &image) } else { self.update(workspace, &image, &before) };
        done.map(|()| println!("{} runs {image}", self.stack))
    }

    /// Checks everything that the deployment needs and lists all that is missing at once; nothing has been changed yet.
    /// Returns the image with its digest.
    fn ready(&self, workspace: &Workspace) -> Result<String, String> {
        docker::engine()?;
        match docker::swarm()? {
            Swarm::Manager => {}
            Swarm::None => {
                return Err("this machine is in no Swarm; `docker swarm init` makes one, and `docker swarm \
                                       join` enters another's"
                    .to_owned());
            }
            Swarm::Worker => return Err("this node is a worker of its Swarm; deploy from a manager".to_owned()),
        }
        let mut missing = Vec::new();
        let nodes = Node::all()?;
        for label in LABELS {
            if !nodes.iter().any(|node| node.has(label)) {
                missing.push(format!(
                    "no node has the label {label}=yes, so nothing can be placed; `docker node update --label-add \
                     {label}=yes NODE` sets it (`docker node ls` lists them)"
                ));
            }
        }
        missing.extend(
            self.files
                .iter()
                .filter(|file| !workspace.root.join(file).exists())
                .map(|file| format!("there is no file {}", file.display())),
        );
        missing.extend(self.missing_secrets()?);
        let digest = skopeo::manifest(&self.image, None).and_then(|manifest| {
            let platforms = skopeo::platforms(&manifest)?;
            missing.extend(nodes.iter().filter_map(|node| node.cannot_run(&platforms)));
            sha256(&manifest)
        });
        match digest {
            Ok(digest) if missing.is_empty() => Ok(self.image.at(&digest).to_string()),
            other => {
                missing.extend(other.err());
                Err(format!("nothing was deployed:\n- {}", missing.join("\n- ")))
            }
        }
    }

    fn missing_secrets(&self) -> Result<Vec<String>, String> {
        let there = lines(&["secret", "ls", "--format", "{{.Name}}"])?;
        let wanted = SECRETS.iter().filter(|secret| self.files.iter().any(|file| file.ends_with(secret.file)));
        Ok(wanted
            .map(|secret| (secret, self.variable(secret.variable).unwrap_or_else(|| secret.name.to_owned())))
            .filter(|(_, name)| !there.contains(name))
            .map(|(secret, name)| format!("there is no secret {name}; `{} {name} -` makes it", secret.make))
            .collect())
    }

    fn variable(&self, name: &str) -> Option<String> {
        let given = self.variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
        given.or_else(|| std::env::var(name).ok()).filter(|value| !value.is_empty())
    }

    fn stack_deploy(&self, workspace: &Workspace, image: &str) -> Result<(), String> {
        let mut command = workspace.command("docker");
        command.args(["stack", "deploy", "--with-registry-auth", "--prune"]);
        for file in &self.files {
            command.arg("--compose-file").arg(file);
        }
        let variables = self.variables.iter().map(|(key, value)| (key, value));
        run::output(command.arg(&self.stack).env("BRAMBLE_IMAGE", image).envs(variables)).map(|_| ())
    }

    fn first(&self, workspace: &Workspace, image: &str) -> Result<(), String> {
        let deadline = Instant::now() + self.within;
        let done = self.stack_deploy(workspace, image).and_then(|()| self.wait(image, deadline, |_| true));
        done.map_err(|why| match remove(&self.stack) {
            Ok(()) => format!("{why}\nThe stack was removed again."),
            Err(also) => format!("{why}\nIt could not be removed either: {also}"),
        })
    }

    fn update(&self, workspace: &Workspace, image: &str, before: &BTreeMap<String, String>) -> Result<(), String> {
        let deadline = Instant::now() + self.within;
        let producer = format!("{}_producer", self.stack);
        let ahead = if before.contains_key(&producer) {
            docker(&["service", "update", "--quiet", "--detach", "--with-registry-auth", "--image", image, &producer])
                .and_then(|_| self.wait(image, deadline, |name| name == producer))
        } else {
            Ok(())
        };
        let done = ahead
            .and_then(|()| self.stack_deploy(workspace, image))
            .and_then(|()| self.wait(image, Instant::now() + self.within, |_| true));
        done.map_err(|why| {
            let back = take_back(&self.stack, before).err().map(|also| format!(" but not all of it: {also}"));
            format!("{why}\nThe stack runs on as before{}", back.unwrap_or_else(|| ".".to_owned()))
        })
    }

    /// Until the services that are `meant` run `image` and go on doing so, or one was rolled back, or time is up.
    fn wait(&self, image: &str, deadline: Instant, meant: impl Fn(&str) -> bool) -> Result<(), String> {
        let mut held = 0;
        loop {
            let mut waiting = Vec::new();
            for (name, of) in services(&self.stack)?.into_iter().filter(|(name, _)| meant(name)) {
                let state = ServiceStatus::of(&name)?;
                if of != image || state.is_back() {
                    return Err(format!("{name} does not run with {image}:\n{}", troubles(&name)));
                }
                if !state.runs(image) {
                    waiting.push(name);
                }
            }
            // The orchestrator takes a moment until it begins: one good look is not enough.
            held = if waiting.is_empty() { held + 1 } else { 0 };
            if held == 3 {
                return Ok(());
            }
            if Instant::now() > deadline {
                let why: Vec<String> = waiting.iter().map(|name| format!("{name}:\n{}", troubles(name))).collect();
                return Err(format!("not running after {} s: {}", self.within.as_secs(), why.join("\n")));
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Gives every service its earlier image again, and waits until all run.
fn take_back(stack: &str, before: &BTreeMap<String, String>) -> Result<(), String> {
    let deadline = Instant::now() + WITHIN;
    let rolled = |name: &String| ServiceStatus::of(name).is_ok_and(|state| state.is_back());
    for (name, image) in services(stack)? {
        match before.get(&name) {
            Some(earlier) if *earlier != image && !rolled(&name) => {
                docker(&["service", "rollback", "--quiet", "--detach", &name])?;
            }
            Some(_) => {}
            None => {
                docker(&["service", "rm", &name])?;
            }
        }
    }
    loop {
        let now = services(stack)?;
        let is_done = |(name, image): (&String, &String)| {
            now.get(name) == Some(image)
                && ServiceStatus::of(name).is_ok_and(|state| state.runs(image) && state.update != "rollback_started")
        };
        if before.iter().all(is_done) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("`docker stack ps {stack}` shows what is missing"));
        }
        std::thread::sleep(POLL);
    }
}

fn sha256(text: &str) -> Result<String, String> {
    let told = |error: std::io::Error| format!("sha256sum: {error}");
    let mut command = Command::new("sha256sum");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(told)?;
    child.stdin.take().expect("piped").write_all(text.as_bytes()).map_err(told)?;
    let output = child.wait_with_output().map_err(told)?;
    let digest = String::from_utf8_lossy(&output.stdout);
    Ok(format!("sha256:{}", digest.split_whitespace().next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> String {
        std::fs::read_to_string(Workspace::find().root.join(name)).expect("a file of the checkout")
    }

    #[test]
    fn labels_and_secrets_are_those_of_the_stacks_files() {
        for label in LABELS {
            assert!(file(FILE).contains(&format!("node.labels.{label} == yes")), "{label}");
        }
        for secret in SECRETS {
            let text = file(secret.file);
            assert!(text.contains(&format!("name: ${{{}:-{}}}", secret.variable, secret.name)), "{}", secret.name);
        }
    }

    #[test]
    fn a_digest_is_that_of_the_bytes() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256("").as_deref(), Ok(empty));
    }
}

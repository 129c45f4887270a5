//! A stack is deployed whole or not at all.
//!
//! `docker stack deploy` returns before anything runs, and leaves behind what does not. So everything it will need is
//! asked for first; then it is watched until it runs; a first deployment that does not is taken away again, an update
//! that does not is taken back. In an update the producers go first, for their new ones stand beside the old ones: a bad
//! image never gets as far as the form.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::docker::{self, Swarm, docker, lines};
use super::skopeo::{self, Reference};
use crate::run::{self, Workspace};

pub(crate) const STACK: &str = "bramble";
const FILE: &str = "etc/stack/bramble.yml";
/// How long a stack may take to run: three producers one after another, each watched for `monitor`.
const WITHIN: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(500);
/// What the placement in the stack's file asks for.
const LABELS: [&str; 2] = ["bramble.producer", "bramble.front"];

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
    variables: Vec<(String, String)>,
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
    pub(crate) fn with(mut self, variables: &[(String, String)]) -> Self {
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

    /// Everything that is missing, at once; nothing has been changed yet. The image with its digest.
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
        let given = self.variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
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
                let state = Standing::of(&name)?;
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

/// A node, as far as it matters for what may run on it.
struct Node {
    name: String,
    labels: Value,
    architecture: String,
}

impl Node {
    fn all() -> Result<Vec<Self>, String> {
        let ids = lines(&["node", "ls", "--quiet"])?;
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let told = docker(&[&["node", "inspect"], ids.as_slice()].concat())?;
        let told: Value = serde_json::from_str(&told).map_err(|error| format!("docker node inspect: {error}"))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let node = |node: &Value| Self {
            name: text(&node["Description"]["Hostname"]),
            labels: node["Spec"]["Labels"].clone(),
            architecture: text(&node["Description"]["Platform"]["Architecture"]),
        };
        Ok(told.as_array().into_iter().flatten().map(node).collect())
    }

    fn has(&self, label: &str) -> bool {
        self.labels[label] == "yes"
    }

    /// Why this node, which may be chosen, has no image to run.
    fn cannot_run(&self, platforms: &[String]) -> Option<String> {
        let wanted = match self.architecture.as_str() {
            "x86_64" | "amd64" => "linux/amd64",
            "aarch64" | "arm64" => "linux/arm64",
            _ => "linux/arm/v7",
        };
        let is_chosen = LABELS.iter().any(|label| self.has(label));
        (is_chosen && !platforms.iter().any(|platform| platform == wanted)).then(|| {
            let Self { name, architecture, .. } = self;
            format!(
                "node {name} is {architecture}, and the image is for {} alone; take its labels away, or give it a \
                 system of 32 bits",
                platforms.join(", ")
            )
        })
    }
}

/// What a service is doing.
struct Standing {
    update: String,
    /// Image and state of each task that should run.
    tasks: Vec<(String, String)>,
    wanted: Option<usize>,
}

impl Standing {
    fn of(service: &str) -> Result<Self, String> {
        let update = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}";
        let tasks = ["service", "ps", "--no-trunc", "--filter", "desired-state=running", "--format"];
        let tasks = lines(&[&tasks[..], &["{{.Image}}|{{.CurrentState}}", service]].concat())?;
        let replicas = "{{if .Spec.Mode.Replicated}}{{.Spec.Mode.Replicated.Replicas}}{{end}}";
        Ok(Self {
            update: docker(&["service", "inspect", "--format", update, service])?,
            tasks: tasks.iter().filter_map(|task| task.split_once('|')).map(|(a, b)| (a.into(), b.into())).collect(),
            wanted: docker(&["service", "inspect", "--format", replicas, service])?.parse().ok(),
        })
    }

    fn runs(&self, image: &str) -> bool {
        let all_run = self.tasks.iter().all(|(of, state)| of == image && state.starts_with("Running"));
        let is_whole = self.wanted.map_or(!self.tasks.is_empty(), |wanted| self.tasks.len() == wanted);
        all_run && is_whole && !self.update.contains("updating")
    }

    fn is_back(&self) -> bool {
        self.update.starts_with("rollback") || self.update == "paused"
    }
}

/// The stack's services and their images.
fn services(stack: &str) -> Result<BTreeMap<String, String>, String> {
    let label = format!("label=com.docker.stack.namespace={stack}");
    let names = lines(&["service", "ls", "--filter", &label, "--format", "{{.Name}}"])?;
    let format = "{{.Spec.TaskTemplate.ContainerSpec.Image}}";
    names
        .into_iter()
        .map(|name| Ok((name.clone(), docker(&["service", "inspect", "--format", format, &name])?)))
        .collect()
}

/// What its tasks died of, and what they said last.
fn troubles(service: &str) -> String {
    let ps = ["service", "ps", "--no-trunc", "--format", "{{.Name}}: {{.CurrentState}} {{.Error}}", service];
    let mut told: Vec<String> = lines(&ps).unwrap_or_default().into_iter().take(4).collect();
    told.extend(run_merged(&["service", "logs", "--no-task-ids", "--raw", "--tail", "3", service]));
    told.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Lines of both outputs; none if it does not end soon.
fn run_merged(arguments: &[&str]) -> Vec<String> {
    let output = Command::new("timeout").args(["10", "docker"]).args(arguments).output();
    let output = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().map(str::to_owned).take(6).collect()
}

/// Gives every service its earlier image again, and waits until all run.
fn take_back(stack: &str, before: &BTreeMap<String, String>) -> Result<(), String> {
    let deadline = Instant::now() + WITHIN;
    let rolled = |name: &String| Standing::of(name).is_ok_and(|state| state.is_back());
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
                && Standing::of(name).is_ok_and(|state| state.runs(image) && state.update != "rollback_started")
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

/// Takes the stack away, and waits until nothing of it is left.
pub(crate) fn remove(stack: &str) -> Result<(), String> {
    docker(&["stack", "rm", stack])?;
    let label = format!("label=com.docker.stack.namespace={stack}");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let containers = lines(&["ps", "--all", "--quiet", "--filter", &label])?;
        let networks = lines(&["network", "ls", "--quiet", "--filter", &label])?;
        if containers.is_empty() && networks.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("of stack {stack} there are left: {} {}", containers.join(" "), networks.join(" ")));
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
    fn a_service_runs_when_as_many_tasks_as_wanted_run_the_image() {
        let task = |image: &str, state: &str| (image.to_owned(), state.to_owned());
        let standing = |tasks: &[(String, String)], update: &str| Standing {
            update: update.to_owned(),
            tasks: tasks.to_vec(),
            wanted: Some(2),
        };
        let (new, old) = (task("new", "Running 3 seconds ago"), task("old", "Running 2 minutes ago"));
        assert!(standing(&[new.clone(), new.clone()], "").runs("new"));
        assert!(!standing(&[new.clone(), old], "").runs("new"));
        assert!(!standing(std::slice::from_ref(&new), "").runs("new"));
        assert!(!standing(&[new.clone(), new.clone()], "updating").runs("new"));
        assert!(!standing(&[new.clone(), task("new", "Starting 1 second ago")], "completed").runs("new"));
        assert!(standing(&[], "rollback_completed").is_back());
    }

    #[test]
    fn a_node_without_a_variant_of_the_image_is_named_and_one_that_is_never_chosen_is_not() {
        let pi = |labels| Node { name: "pi-1".into(), labels, architecture: "armv7l".into() };
        let chosen = pi(serde_json::json!({ "bramble.producer": "yes" }));
        let amd64 = ["linux/amd64".to_owned()];
        assert!(chosen.cannot_run(&amd64).is_some_and(|why| why.contains("pi-1") && why.contains("armv7l")));
        assert_eq!(chosen.cannot_run(&["linux/arm/v7".to_owned()]), None);
        assert_eq!(pi(Value::Null).cannot_run(&amd64), None);
    }

    #[test]
    fn a_digest_is_that_of_the_bytes() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256("").as_deref(), Ok(empty));
    }
}

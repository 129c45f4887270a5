//! State of a Swarm's nodes, services and stacks, read from the engine.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::docker::{docker, lines};

/// How often it is looked whether something has come about.
pub(crate) const POLL: Duration = Duration::from_millis(500);
/// Labels that the placement in the stack's file asks for.
pub(crate) const LABELS: [&str; 2] = ["bramble.producer", "bramble.front"];

/// A node, as far as it matters for what may run on it.
pub(crate) struct Node {
    name: String,
    labels: Value,
    architecture: String,
}

impl Node {
    pub(crate) fn all() -> Result<Vec<Self>, String> {
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

    pub(crate) fn has(&self, label: &str) -> bool {
        self.labels[label] == "yes"
    }

    /// Why this node, which may be chosen, has no image to run.
    pub(crate) fn cannot_run(&self, platforms: &[String]) -> Option<String> {
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

/// State of a service: replicas and update.
pub(crate) struct ServiceStatus {
    pub(crate) update: String,
    /// Image and state of each task that should run.
    tasks: Vec<(String, String)>,
    wanted: Option<usize>,
}

impl ServiceStatus {
    pub(crate) fn of(service: &str) -> Result<Self, String> {
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

    pub(crate) fn runs(&self, image: &str) -> bool {
        let all_run = self.tasks.iter().all(|(of, state)| of == image && state.starts_with("Running"));
        let is_whole = self.wanted.map_or(!self.tasks.is_empty(), |wanted| self.tasks.len() == wanted);
        all_run && is_whole && !self.update.contains("updating")
    }

    pub(crate) fn is_back(&self) -> bool {
        self.update.starts_with("rollback") || self.update == "paused"
    }
}

/// The stack's services and their images.
pub(crate) fn services(stack: &str) -> Result<BTreeMap<String, String>, String> {
    let label = format!("label=com.docker.stack.namespace={stack}");
    let names = lines(&["service", "ls", "--filter", &label, "--format", "{{.Name}}"])?;
    let format = "{{.Spec.TaskTemplate.ContainerSpec.Image}}";
    names
        .into_iter()
        .map(|name| Ok((name.clone(), docker(&["service", "inspect", "--format", format, &name])?)))
        .collect()
}

/// Errors of the service's tasks, and their last log lines.
pub(crate) fn troubles(service: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_runs_when_as_many_tasks_as_wanted_run_the_image() {
        let task = |image: &str, state: &str| (image.to_owned(), state.to_owned());
        let standing = |tasks: &[(String, String)], update: &str| ServiceStatus {
            update: update.to_owned(),
            tasks: tasks.to_vec(),
            wanted: Some(2),
        };
        let (new, old) = (task("new", "Running 3 seconds ago"), task("old", "Running 2 minutes ago"));
        assert!(standing(&[new.clone(), new.clone()], "").runs("new"));
        assert!(!standing(&[new.clone(), old], "").runs("new"));
        assert!(!standing(std::slice::from_ref(&new), "").runs("new"));
        assert!(!standing(&[new.clone(), new.clone()], "updating").runs("new"));
        assert!(!standing(&[new, task("new", "Starting 1 second ago")], "completed").runs("new"));
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
}

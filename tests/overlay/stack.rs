//! The stack that all tests use: deployed by the first that wants it, as a person deploys it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::machine::{PATIENCE, containers, docker, json, lines, prepared, said_by, until};
use crate::user::{User, get};

/// Name of the stack, which is gone with the Swarm that the tier has made.
pub(crate) const STACK: &str = "bramble-test";
const PRODUCER: &str = "bramble-test_producer";

pub(crate) struct Stack {
    pub(crate) form: u16,
    pub(crate) page: u16,
}

impl Stack {
    /// Running, with so many producers, and answering.
    pub(crate) fn with_producers(wanted: usize) -> Self {
        let stack = Self { form: port("BRAMBLE_FORM_PORT"), page: port("BRAMBLE_PAGE_PORT") };
        if !lines(&["stack", "ls", "--format", "{{.Name}}"]).iter().any(|name| name == STACK) {
            deploy(&prepared("BRAMBLE_IMAGE"));
            let image = prepared("BRAMBLE_IMAGE");
            said_by(&mut containers(&["stand-in", STACK, &image]));
        }
        stack.scale(wanted);
        let began = Instant::now();
        until("so many producers run", || (running().len() == wanted).then_some(()));
        let known = || (stack.known().len() == wanted).then_some(());
        until("the form knows them", known);
        println!("{wanted} producers after {:.1?}", began.elapsed());
        stack
    }

    pub(crate) fn user(&self) -> User {
        User::of_form(self.form)
    }

    pub(crate) fn scale(&self, wanted: usize) {
        docker(&["service", "scale", "--detach", &format!("{PRODUCER}={wanted}")]);
    }

    /// Addresses of the producers that the form uses.
    pub(crate) fn known(&self) -> Vec<String> {
        let Ok((200, body)) = get(self.form, "/instances") else { return Vec::new() };
        let seen = json(&body);
        let all = seen["instances"].as_array().expect("a list").iter();
        all.filter(|one| one["service"] == "producer").map(|one| one["addr"].to_string()).collect()
    }
}

/// `cargo xtask containers deploy`, signed with the cluster's key: both files of etc/stack.
pub(crate) fn deploy(image: &str) {
    println!("{}", said_by(&mut deployment(STACK, image)));
}

pub(crate) fn deployment(stack: &str, image: &str) -> std::process::Command {
    containers(&["deploy", image, "--stack", stack, "-c", "etc/stack/cluster-key.yml", "--within", "180"])
}

/// Numbers of the producers' tasks that run: healthy, in Swarm's words.
pub(crate) fn running() -> Vec<String> {
    let tasks =
        ["service", "ps", "--filter", "desired-state=running", "--format", "{{.ID}} {{.CurrentState}}", PRODUCER];
    let tasks = lines(&tasks).into_iter().filter_map(|task| {
        let (id, state) = task.split_once(' ')?;
        state.starts_with("Running").then(|| id.to_owned())
    });
    tasks.collect()
}

/// Images of the stack's services.
pub(crate) fn images() -> Vec<String> {
    let label = format!("label=com.docker.stack.namespace={STACK}");
    let names = lines(&["service", "ls", "--filter", &label, "--format", "{{.Name}}"]);
    let format = "{{.Spec.TaskTemplate.ContainerSpec.Image}}";
    names.iter().map(|name| docker(&["service", "inspect", "--format", format, name])).collect()
}

fn port(variable: &str) -> u16 {
    prepared(variable).parse().expect("a port")
}

fn containers_of(service: &str) -> Vec<String> {
    let label = format!("label=com.docker.swarm.service.name={STACK}_{service}");
    lines(&["ps", "--quiet", "--no-trunc", "--filter", &label])
}

/// Names that the producers give in their answers, by container.
fn by_container() -> BTreeMap<String, String> {
    let name = |container: String| {
        let said = docker(&["exec", &container, "/bramble", "health"]);
        let name = said.split(' ').next().expect("a word").to_owned();
        (container, name)
    };
    containers_of("producer").into_iter().map(name).collect()
}

#[test]
fn the_form_answers_through_the_overlay() {
    let stack = Stack::with_producers(3);
    let form = format!("http://127.0.0.1:{}/", stack.form);
    let said = said_by(&mut containers(&["smoke", &form]));
    assert!(said.starts_with("Büsnau: ") && said.contains("by producer-"), "{said}");
    assert!(stack.known().iter().all(|addr| addr.contains("10.89.77.")), "{:?}", stack.known());
    let page = || Some(get(stack.page, "/").ok()?.1).filter(|page| page.matches("10.89.77.").count() >= 4);
    let page = until("the page shows three producers and a form", page);
    assert!(page.contains("producer") && page.contains("consumer"));
}

#[test]
fn no_service_may_write_or_has_a_privilege_or_the_key_of_another() {
    let _stack = Stack::with_producers(3);
    for (service, has_api_key) in [("producer", true), ("consumer", false), ("registry", false)] {
        let all = containers_of(service);
        assert!(!all.is_empty(), "{service}");
        for id in all {
            let about = &json(&docker(&["inspect", &id]))[0];
            assert_eq!(about["HostConfig"]["ReadonlyRootfs"], true, "{service}");
            assert_eq!(about["HostConfig"]["CapDrop"].to_string(), r#"["ALL"]"#, "{service}");
            assert_eq!(about["HostConfig"]["Memory"], 64 << 20, "{service}");
            assert_eq!(about["Config"]["User"], "65532:65532", "{service}");
            let status = std::fs::read_to_string(format!("/proc/{}/status", about["State"]["Pid"])).expect("it runs");
            assert!(status.contains("CapEff:\t0000000000000000"), "{service}: {status}");
            assert!(status.contains("Uid:\t65532\t65532"), "{service}: {status}");
            let key = format!("/proc/{}/root/run/secrets/api-key", about["State"]["Pid"]);
            let key = std::fs::read_to_string(key).ok();
            assert_eq!(key.is_some(), has_api_key, "{service}");
            let shown = docker(&["inspect", &id]) + &docker(&["logs", &id]);
            assert!(!shown.contains(&prepared("BRAMBLE_KEY")), "{service} shows the key");
        }
    }
}

#[test]
fn new_producers_have_questions_within_two_seconds_removed_ones_none_and_none_fails() {
    let stack = Stack::with_producers(1);
    let user = stack.user();
    let began = Instant::now();
    until("a producer answers", || (!user.answered_since(began).is_empty()).then_some(()));
    stack.scale(5);
    let mut up = Vec::new(); // when so many ran
    let five = Instant::now();
    while up.len() < 5 {
        let now = running().len();
        up.resize(now.max(up.len()), Instant::now());
        assert!(five.elapsed() < *PATIENCE, "{now} of 5 run");
        std::thread::sleep(Duration::from_millis(50));
    }
    for (count, at) in up.iter().enumerate().map(|(before, at)| (before + 1, *at)) {
        until("time has passed", || (at.elapsed() > Duration::from_secs(2)).then_some(()));
        let seen = user.answered_since(began).len();
        assert!(seen >= count, "{count} ran for 2 s, {seen} had questions");
    }
    let all = by_container();
    assert_eq!(all.len(), 5);
    stack.scale(2);
    let two = Instant::now();
    until("three are gone", || (containers_of("producer").len() == 2).then_some(()));
    let gone = Instant::now();
    until("the form knows it", || (stack.known().len() == 2).then_some(()));
    let knows = gone.elapsed();
    until("some questions more", || (gone.elapsed() > Duration::from_secs(3)).then_some(()));
    let left = containers_of("producer");
    let left: BTreeSet<String> = left.iter().map(|container| all[container].clone()).collect();
    let after = user.answered_since(gone);
    assert!(!after.is_empty() && after.is_subset(&left), "{after:?}, {left:?}");
    assert!(knows < Duration::from_secs(3), "the form knew it after {knows:?}");
    let asked = user.was_always_answered_since(began);
    println!("1 -> 5 -> 2: {asked} questions, none failed; {:.1?} to end three, known {knows:.1?} later", gone - two);
}

#[test]
fn the_death_of_a_producer_is_nobodys_trouble_and_swarm_starts_another() {
    let stack = Stack::with_producers(3);
    let user = stack.user();
    let began = Instant::now();
    until("all three answer", || (user.answered_since(began).len() == 3).then_some(()));
    let (before, victim) = (running(), containers_of("producer").remove(0));
    docker(&["kill", &victim]);
    let killed = Instant::now();
    until("another runs", || (running().len() == 3 && running() != before).then_some(()));
    let again = Instant::now();
    until("three answer", || (user.answered_since(again).len() == 3).then_some(()));
    let asked = user.was_always_answered_since(began);
    println!("killed: {asked} questions, none failed; another answered after {:.1?}", killed.elapsed());
}

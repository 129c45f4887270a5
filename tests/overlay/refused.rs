//! Refusals: an order that cannot work ends with a sentence, before anything has changed or with everything as it was.

use std::process::Command;

use crate::machine::{Made, containers, docker, free_port, lines, prepared, refusal_of, until};
use crate::user::get;

/// Checks that no part of a stack is there.
fn nothing_is_left_of(stack: &str) {
    let label = format!("label=com.docker.stack.namespace={stack}");
    for kind in ["service", "network"] {
        assert_eq!(lines(&[kind, "ls", "--quiet", "--filter", &label]), Vec::<String>::new(), "{kind}");
    }
    assert_eq!(lines(&["ps", "--all", "--quiet", "--filter", &label]), Vec::<String>::new());
}

fn deploy(stack: &str, image: &str) -> Command {
    containers(&["deploy", image, "--stack", stack, "--within", "25"])
}

#[test]
fn a_stack_without_its_secret_or_its_image_is_not_begun_and_all_that_is_missing_is_said_at_once() {
    let stack = "bramble-test-missing";
    let image = format!("{}/bramble:never-pushed", prepared("REGISTRY"));
    let why = refusal_of(deploy(stack, &image).env("BRAMBLE_API_KEY_SECRET", "bramble-test-none"));
    assert!(why.starts_with("nothing was deployed:"), "{why}");
    assert!(why.contains("`printf %s YOUR_KEY | docker secret create bramble-test-none -` makes it"), "{why}");
    assert!(why.contains("bramble:never-pushed; push it with `cargo xtask containers push"), "{why}");
    nothing_is_left_of(stack);
}

#[test]
fn a_registry_that_is_down_is_named_by_push_and_deploy() {
    let (stack, unused) = ("bramble-test-down", format!("127.0.0.1:{}", free_port()));
    let image = format!("{unused}/bramble:1");
    for why in [refusal_of(&mut deploy(stack, &image)), refusal_of(&mut containers(&["push", &image]))] {
        assert!(why.contains(&format!("no registry answers at {unused}; is docker-registry running there")), "{why}");
    }
    nothing_is_left_of(stack);
}

#[test]
fn a_stack_that_never_runs_is_removed_again() {
    let stack = "bramble-test-sick";
    let mut deploy = deploy(stack, &prepared("BRAMBLE_IMAGE_SICK"));
    deploy.env("BRAMBLE_SUBNET", "10.89.78.0/24");
    deploy.env("BRAMBLE_FORM_PORT", free_port().to_string()).env("BRAMBLE_PAGE_PORT", free_port().to_string());
    let why = refusal_of(&mut deploy);
    assert!(why.contains("not running after 25 s") && why.contains("The stack was removed again."), "{why}");
    nothing_is_left_of(stack);
}

#[test]
fn an_alias_that_never_resolves_is_said_in_the_log_and_on_the_form() {
    let name = "bramble-test-alone";
    let _made = Made::new(&[name], name);
    docker(&["network", "create", name]);
    let port = free_port();
    let publish = format!("127.0.0.1:{port}:8088");
    let alias = r#"BRAMBLE__DISCOVERY__DNS={ producer = "producer:8080" }"#;
    let run = ["run", "--detach", "--name", name, "--network", name, "--publish", &publish];
    let bounds = ["--read-only", "--cap-drop", "ALL", "--env", alias, "--env", "BRAMBLE__DISCOVERY__MDNS=false"];
    docker(&[&run[..], &bounds, &[&prepared("BRAMBLE_IMAGE"), "consumer"]].concat());
    // The first may wait for an instance to be found.
    let answer = || get(port, "/api/weather?zip=70569&country=DE").ok().filter(|(status, _)| *status == 503);
    let (_, body) = until("the form says that no producer answers", answer);
    assert!(body.contains("unavailable"), "{body}");
    let said = || {
        let output = Command::new("docker").args(["logs", name]).output().expect("docker is there");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        log.contains("producer:8080 has no address").then_some(log)
    };
    let log = until("the log says it", said);
    assert!(log.contains("does [discovery] dns name the alias of a service that runs"), "{log}");
}

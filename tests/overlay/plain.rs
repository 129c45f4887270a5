//! Without a Swarm: containers with an alias on a network, started by hand or by Compose.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

use crate::machine::{Made, command, containers, docker, free_port, json, lines, prepared, said_by, scratch, until};

/// The key as a file that the services' user alone may read.
fn key_file(name: &str) -> String {
    let file = scratch(name).join("api.key");
    std::fs::write(&file, prepared("BRAMBLE_KEY")).expect("writable");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400)).expect("our own");
    chown(&file, Some(65532), Some(65532)).expect("root may");
    file.display().to_string()
}

/// Command that takes away what Compose has made.
struct Down(Command);

impl Drop for Down {
    fn drop(&mut self) {
        let _ = self.0.output();
    }
}

fn health(container: &str) -> String {
    docker(&["inspect", "--format", "{{.State.Health.Status}}", container])
}

#[test]
fn plain_containers_with_an_alias_make_a_cluster() {
    let network = "bramble-test-plain";
    let names = ["stand-in", "producer-1", "producer-2", "form"].map(|name| format!("bramble-test-plain-{name}"));
    let _made = Made::new(&names.each_ref().map(String::as_str), network);
    docker(&["network", "create", "--subnet", "10.89.79.0/24", network]);
    let (image, key) = (prepared("BRAMBLE_IMAGE"), prepared("BRAMBLE_KEY"));
    let run = |name: &str, options: &[&str], words: &[&str]| {
        let common = ["run", "--detach", "--read-only", "--cap-drop", "ALL", "--memory", "64m", "--network", network];
        docker(&[&common[..], &["--name", name], options, &[&image], words].concat());
    };
    let stand_in = ["upstream-sim", "--listen", "0.0.0.0:8090", "--key", &key];
    run(&names[0], &["--ip", "10.89.79.250", "--env", "BRAMBLE__SERVER__LISTEN=0.0.0.0:8090"], &stand_in);
    let secret = format!("{}:/run/secrets/api-key:ro", key_file("plain"));
    for name in &names[1..3] {
        let alias =
            ["--network-alias", "producer", "--volume", &secret, "--env", "BRAMBLE__SERVER__LISTEN=0.0.0.0:8080"];
        let upstream = ["--env", "BRAMBLE__PRODUCER__UPSTREAM=http://10.89.79.250:8090"];
        let key = ["--env", "BRAMBLE__PRODUCER__API_KEY_FILE=/run/secrets/api-key"];
        run(name, &[&alias[..], &upstream, &key].concat(), &["producer"]);
    }
    let port = free_port();
    let publish = format!("127.0.0.1:{port}:8088");
    let alias = r#"BRAMBLE__DISCOVERY__DNS={ producer = "producer:8080" }"#;
    run(&names[3], &["--publish", &publish, "--env", alias], &["consumer"]);
    let said = said_by(&mut containers(&["smoke", &format!("http://127.0.0.1:{port}/")]));
    assert!(said.contains("by producer-"), "{said}");
    for name in &names {
        until("it is healthy", || (health(name) == "healthy").then_some(()));
    }
}

#[test]
fn compose_starts_a_cluster_on_one_machine() {
    const FILES: [&str; 6] =
        ["-p", "bramble-test-compose", "-f", "etc/stack/compose.yaml", "-f", "tests/overlay/compose.yaml"];
    let (form, page) = (free_port(), free_port());
    let key = key_file("compose");
    let compose = |words: &[&str]| -> Command {
        let mut compose = command("docker-compose", &[&FILES[..], words].concat());
        compose.env("BRAMBLE_API_KEY_FILE", &key).env("BRAMBLE_UPSTREAM", "http://10.89.80.250:8090");
        compose.env("BRAMBLE_FORM_AT", format!("127.0.0.1:{form}"));
        compose.env("BRAMBLE_PAGE_AT", format!("127.0.0.1:{page}"));
        compose
    };
    let _down = Down(compose(&["down", "--timeout", "1"]));
    said_by(&mut compose(&["up", "-d", "--scale", "producer=3"]));
    let said = said_by(&mut containers(&["smoke", &format!("http://127.0.0.1:{form}/")]));
    assert!(said.contains("by producer-"), "{said}");
    let all = lines(&["ps", "--quiet", "--filter", "label=com.docker.compose.project=bramble-test-compose"]);
    assert_eq!(all.len(), 6);
    for id in all {
        let about = &json(&docker(&["inspect", &id]))[0];
        assert_eq!(about["HostConfig"]["ReadonlyRootfs"], true);
        if about["Config"]["Labels"]["com.docker.compose.service"] != "stand-in" {
            assert_eq!(about["HostConfig"]["Memory"], 64 << 20);
            assert_eq!(about["HostConfig"]["CapDrop"].to_string(), r#"["ALL"]"#);
        }
        until("it is healthy", || (health(&id) == "healthy").then_some(()));
    }
}

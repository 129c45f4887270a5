//! The registry as `etc/registry/config.yml` sets it up: TLS, and a password for all clients.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::machine::{command, containers, free_port, json, prepared, refusal_of, root, said_by, scratch, until};

const PASSWORD: &str = "a-password-of-the-test";

/// A registry of the test's own. It ends when it is dropped.
struct Registry {
    process: Child,
    folder: PathBuf,
    /// HOST:PORT.
    name: String,
}

impl Registry {
    fn start() -> Self {
        let folder = scratch("registry");
        let name = format!("localhost:{}", free_port());
        let file = |name: &str| folder.join(name).display().to_string();
        let certificate = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
                           -addext subjectAltName=DNS:localhost";
        let words: Vec<&str> = certificate.split(' ').collect();
        said_by(&mut command(
            "openssl",
            &[&words[..], &["-keyout", &file("tls.key"), "-out", &file("tls.crt")]].concat(),
        ));
        // A folder of its own: skopeo takes a key that lies beside it for a client's.
        std::fs::create_dir(folder.join("trusted")).expect("an empty folder");
        std::fs::copy(folder.join("tls.crt"), folder.join("trusted/ca.crt")).expect("it was written");
        said_by(&mut command("htpasswd", &["-B", "-b", "-c", &file("htpasswd"), "bramble", PASSWORD]));
        let log = std::fs::File::create(folder.join("log")).expect("a new file");
        let mut registry = Command::new("docker-registry");
        registry.args(["serve", "etc/registry/config.yml"]).current_dir(root());
        registry.env("REGISTRY_HTTP_ADDR", name.replace("localhost", "127.0.0.1"));
        registry.env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", folder.join("storage"));
        registry.env("REGISTRY_HTTP_TLS_CERTIFICATE", file("tls.crt")).env("REGISTRY_HTTP_TLS_KEY", file("tls.key"));
        registry.env("REGISTRY_AUTH_HTPASSWD_PATH", file("htpasswd"));
        registry.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        let registry = Self { process: registry.spawn().expect("docker-registry is there"), folder, name };
        until("it serves", || (registry.status_for(PASSWORD) == "200").then_some(()));
        registry
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Status of a request with a password, by curl.
    fn status_for(&self, password: &str) -> String {
        let (user, url) = (format!("bramble:{password}"), format!("https://{}/v2/", self.name));
        let authority = self.file("trusted/ca.crt");
        let curl = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", &authority, "-u", &user, &url];
        let output = command("curl", &curl).output().expect("curl is there");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A file that knows the password, as `docker login` writes it.
    fn login(&self, password: &str) -> String {
        let file = self.file(&format!("{password}.json"));
        // base64 of NAME:PASSWORD, by the program of coreutils.
        let pair = said_by(Command::new("sh").args(["-c", &format!("printf 'bramble:{password}' | base64 -w 0")]));
        std::fs::write(&file, format!(r#"{{"auths":{{"{}":{{"auth":"{pair}"}}}}}}"#, self.name)).expect("writable");
        file
    }

    fn push(&self, password: &str) -> Command {
        let trusted = self.file("trusted");
        let mut push = containers(&["push", &format!("{}/bramble", self.name), "--certs", &trusted]);
        push.env("REGISTRY_AUTH_FILE", self.login(password));
        push
    }

    fn repositories(&self) -> String {
        let (user, url) = (format!("bramble:{PASSWORD}"), format!("https://{}/v2/_catalog", self.name));
        said_by(&mut command("curl", &["-s", "--cacert", &self.file("trusted/ca.crt"), "-u", &user, &url]))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_client_with_the_password_pushes_by_tls_and_one_without_is_told_where_it_is_asked_for() {
    let registry = Registry::start();
    assert_eq!(registry.status_for("a-guess"), "401");
    let why = refusal_of(&mut registry.push("a-guess"));
    let told =
        format!("the registry {0} refused the name or password; `docker login {0}` asks for them", registry.name);
    assert!(why.contains(&told) && !why.contains("a-guess"), "{why}");
    let mut unknown = containers(&["push", &format!("{}/bramble", registry.name), "--certs", "/nowhere"]);
    let why = refusal_of(unknown.env("REGISTRY_AUTH_FILE", registry.login(PASSWORD)));
    assert!(why.contains("is not trusted; put the authority"), "{why}");
    assert_eq!(json(&registry.repositories())["repositories"].to_string(), "[]");
    let said = said_by(&mut registry.push(PASSWORD));
    assert!(said.contains("linux/amd64, linux/arm/v7"), "{said}");
    assert_eq!(json(&registry.repositories())["repositories"].to_string(), r#"["bramble"]"#);
    let log = std::fs::read_to_string(registry.folder.join("log")).expect("it writes one");
    assert!(!log.contains(PASSWORD) && !log.contains(&prepared("BRAMBLE_KEY")));
}

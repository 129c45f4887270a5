//! Requests to a registry, with skopeo: it needs no engine, and keeps a list of platforms whole.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::run;

/// The name of an image in a registry: `pi-0:5000/bramble:0.2.0`, or with a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) registry: String,
    /// Without tag and digest.
    pub(crate) path: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<String>,
}

impl Reference {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} does not name a registry; write HOST:PORT/NAME:TAG, as pi-0:5000/bramble:0.2.0");
        let (registry, rest) = text.split_once('/').ok_or_else(wrong)?;
        if !(registry.contains([':', '.']) || registry == "localhost") || rest.is_empty() {
            return Err(wrong());
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (rest, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag.to_owned())),
            None => (rest, None),
        };
        Ok(Self { registry: registry.to_owned(), path: path.to_owned(), tag, digest })
    }

    /// With a tag, if it has none and no digest.
    pub(crate) fn or_tag(mut self, tag: &str) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(tag.to_owned());
        }
        self
    }

    /// As it is now, whatever becomes of its tag. Swarm and the engine take tag and digest together.
    pub(crate) fn at(&self, digest: &str) -> Self {
        Self { digest: Some(digest.to_owned()), ..self.clone() }
    }

    /// By its digest alone, if it has one.
    pub(crate) fn without_tag(&self) -> Self {
        let tag = self.tag.clone().filter(|_| self.digest.is_none());
        Self { tag, ..self.clone() }
    }

    /// URL in skopeo's notation, with either tag or digest.
    fn url(&self) -> String {
        let Self { registry, path, tag, digest } = self;
        match (digest, tag) {
            (Some(digest), _) => format!("docker://{registry}/{path}@{digest}"),
            (None, Some(tag)) => format!("docker://{registry}/{path}:{tag}"),
            (None, None) => format!("docker://{registry}/{path}"),
        }
    }

    /// The engine speaks plain HTTP with a registry on loopback, so that is accepted there, and nowhere else.
    fn is_on_loopback(&self) -> bool {
        let host = self.registry.rsplit_once(':').map_or(self.registry.as_str(), |(host, _)| host);
        host == "localhost" || host == "[::1]" || host.starts_with("127.")
    }

    /// Options about the registry for skopeo; `side` is "dest-" or "src-" where there are two.
    fn options(&self, side: &str, certs: Option<&Path>) -> Vec<String> {
        match certs {
            Some(folder) => vec![format!("--{side}cert-dir={}", folder.display())],
            None if self.is_on_loopback() => vec![format!("--{side}tls-verify=false")],
            None => Vec::new(),
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

/// Copies all platforms of the layout's image `version` to `to`.
pub(crate) fn push(layout: &Path, version: &str, to: &Reference, certs: Option<&Path>) -> Result<(), String> {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["copy", "--quiet", "--all"]).args(to.options("dest-", certs));
    skopeo.arg(format!("oci:{}:{version}", layout.display())).arg(to.url());
    run::output(&mut skopeo).map(|_| ()).map_err(|why| sentence(to, &why))
}

/// Manifest that the registry has under that name: bytes, since their digest counts.
pub(crate) fn manifest(of: &Reference, certs: Option<&Path>) -> Result<String, String> {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["inspect", "--raw"]).args(of.options("", certs)).arg(of.url());
    run::output(&mut skopeo).map_err(|why| sentence(of, &why))
}

/// The platforms under a name, as Swarm writes them: `linux/arm/v7`.
pub(crate) fn platforms(manifest: &str) -> Result<Vec<String>, String> {
    let list: Value = serde_json::from_str(manifest).map_err(|error| format!("the registry sent no list: {error}"))?;
    let all = list["manifests"].as_array().ok_or(
        "the image has no list of platforms; push it with `cargo xtask \
                                                   containers push`, which keeps the list",
    )?;
    let word = |one: &Value, key: &str| one["platform"][key].as_str().map(str::to_owned);
    let platform = |one: &Value| {
        let words = ["os", "architecture", "variant"].into_iter().filter_map(|key| word(one, key));
        words.collect::<Vec<_>>().join("/")
    };
    Ok(all.iter().map(platform).collect())
}

/// Error of skopeo, as what to do.
fn sentence(of: &Reference, said: &str) -> String {
    let Reference { registry, .. } = of;
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["connection refused", "no such host", "no route to host", "i/o timeout", "network is unreachable"]) {
        format!(
            "no registry answers at {registry}; is docker-registry running there (`systemctl status docker-registry`), \
             and is that its address?"
        )
    } else if has(&["unauthorized", "authentication required", "invalid username/password", "status code 401"]) {
        format!(
            "the registry {registry} refused the name or password; `docker login {registry}` asks for them, and \
             `htpasswd -B` changes them (etc/registry/README.md)"
        )
    } else if has(&["x509"]) {
        format!(
            "the certificate of {registry} is not trusted; put the authority that signed it at \
             /etc/docker/certs.d/{registry}/ca.crt, or name its folder with --certs"
        )
    } else if has(&["server gave HTTP response to HTTPS client"]) {
        format!(
            "{registry} speaks plain HTTP, which is accepted on loopback alone; give it a certificate (etc/registry)"
        )
    } else if has(&["manifest unknown", "name unknown"]) {
        format!("the registry has no {of}; push it with `cargo xtask containers push {registry}/NAME`")
    } else {
        format!("{of}: {}", said.lines().last().unwrap_or(said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_registry_and_may_have_tag_and_digest() {
        let name = "pi-0:5000/home/bramble:0.2.0@sha256:00";
        let parsed = Reference::parse(name).expect("a name");
        assert_eq!(parsed.to_string(), name);
        assert_eq!((parsed.registry.as_str(), parsed.path.as_str()), ("pi-0:5000", "home/bramble"));
        assert_eq!(parsed.url(), "docker://pi-0:5000/home/bramble@sha256:00");
        let bare = Reference::parse("127.0.0.1:5000/bramble").expect("a name").or_tag("1");
        assert_eq!(bare.to_string(), "127.0.0.1:5000/bramble:1");
        assert!(bare.is_on_loopback() && !parsed.is_on_loopback());
        for wrong in ["bramble", "bramble:1", "library/bramble", "pi-0:5000/"] {
            assert!(Reference::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_registry_refuses_is_said_with_what_to_do() {
        let of = Reference::parse("pi-0:5000/bramble:1").expect("a name");
        for (said, todo) in [
            ("dial tcp 127.0.0.1:1: connect: connection refused", "systemctl status"),
            ("unauthorized: authentication required", "docker login pi-0:5000"),
            ("x509: certificate signed by unknown authority", "certs.d/pi-0:5000/ca.crt"),
            ("http: server gave HTTP response to HTTPS client", "etc/registry"),
            ("manifest unknown: manifest unknown", "containers push"),
        ] {
            let sentence = sentence(&of, said);
            assert!(sentence.contains(todo), "{said}: {sentence}");
        }
    }

    #[test]
    fn platforms_are_read_out_of_a_list_and_a_lone_image_is_none() {
        let list = r#"{"manifests":[{"platform":{"os":"linux","architecture":"arm","variant":"v7"}}]}"#;
        assert_eq!(platforms(list), Ok(vec!["linux/arm/v7".to_owned()]));
        assert!(platforms(r#"{"config":{}}"#).is_err_and(|why| why.contains("containers push")));
    }
}

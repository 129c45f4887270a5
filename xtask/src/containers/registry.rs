//! Into a registry, all platforms at once, and known from then on by its digest: a tag can be moved, a digest cannot.

use std::path::PathBuf;
use std::process::Command;

use super::skopeo::{self, Reference};
use super::{build, docker};
use crate::install;
use crate::run::{self, Workspace};

/// `push REGISTRY/NAME[:TAG] [--certs FOLDER]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Push {
    to: Reference,
    certs: Option<PathBuf>,
}

impl Push {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, String> {
        let (name, certs) = match arguments {
            [name] => (name, None),
            [name, "--certs", folder] | ["--certs", folder, name] => (name, Some(PathBuf::from(folder))),
            _ => return Err("push takes one name, and --certs FOLDER".to_owned()),
        };
        let to = Reference::parse(name)?;
        if to.digest.is_some() {
            return Err(format!("{name}: a digest is what comes out of a push; name a tag"));
        }
        Ok(Self { to, certs })
    }

    pub(crate) fn to(name: &str) -> Result<Self, String> {
        Self::parse(&[name])
    }

    /// The name with its digest, once the registry has given back what it was given.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<Reference, String> {
        install::packages(docker::NEEDS)?;
        let layout = build::layout(workspace);
        let (version, digest) = built(&layout)?;
        let certs = self.certs.as_deref();
        let to = self.to.or_tag(&version);
        skopeo::push(&layout, &version, &to, certs)?;
        // Asked for by digest, the registry either has these very bytes or nothing.
        let pushed = to.at(&digest);
        let manifest = skopeo::manifest(&pushed, certs)?;
        let platforms = skopeo::platforms(&manifest)?;
        println!("{}: {}", pushed.registry, platforms.join(", "));
        Ok(pushed)
    }
}

/// Has the engine pull the image by its digest, whose bytes it checks.
pub(crate) fn pull(image: &Reference) -> Result<(), String> {
    let name = image.without_tag().to_string();
    docker::docker(&["pull", "--quiet", &name]).map(|pulled| println!("pulled {pulled}"))
}

/// Version and digest of what was built last.
fn built(layout: &std::path::Path) -> Result<(String, String), String> {
    let none = || "there are no images yet; `cargo xtask containers build` makes them".to_owned();
    let index = std::fs::read(layout.join("index.json")).map_err(|_| none())?;
    let index: serde_json::Value = serde_json::from_slice(&index).map_err(|_| none())?;
    let top = &index["manifests"][0];
    let version = top["annotations"]["org.opencontainers.image.ref.name"].as_str().ok_or_else(none)?;
    let digest = top["digest"].as_str().ok_or_else(none)?;
    let blob = layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
    let found = run::output(Command::new("sha256sum").arg(&blob))?;
    if !found.starts_with(digest.trim_start_matches("sha256:")) {
        return Err(format!("{}: changed since it was built; build again", blob.display()));
    }
    Ok((version.to_owned(), digest.to_owned()))
}

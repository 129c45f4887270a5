//! The images of all platforms, by the engine's own builder and `etc/container/Dockerfile`.
//!
//! The classic builder, which is all that Debian's engine has, knows one platform, its own: `COPY` for another one
//! fails. An image from nothing is the same on all of them but for the program and two words of its configuration, so
//! each is built as if it were the engine's own, and the words are set when it is written down.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::docker;
use super::oci::{Image, Layout};
use super::platform::{PLATFORMS, Platform};
use crate::run::{self, Workspace};
use crate::{image, install, release};

/// Debian's `ca-certificates` makes it.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where the images lie: an OCI layout, which `skopeo copy --all oci:FOLDER:VERSION ...` reads.
pub(crate) fn layout(workspace: &Workspace) -> PathBuf {
    workspace.root.join("target/containers/images")
}

/// Values of the labels.
struct Stamp {
    source: String,
    version: String,
    revision: String,
    /// Seconds since 1970, of the commit: the same checkout gives the same images.
    time: u32,
}

impl Stamp {
    fn of(workspace: &Workspace, version: Option<&str>) -> Result<Self, String> {
        let metadata = run::output(&mut workspace.cargo(["metadata", "--no-deps", "--format-version=1", "--offline"]))?;
        let metadata: serde_json::Value = serde_json::from_str(&metadata).map_err(|error| error.to_string())?;
        let all = metadata["packages"].as_array().into_iter().flatten();
        let cli = all.into_iter().find(|package| package["name"] == "bramble-cli").ok_or("no package bramble-cli")?;
        let git = |arguments: &[&str]| run::output(workspace.command("git").args(arguments));
        let revision = git(&["rev-parse", "HEAD"]).unwrap_or_else(|_| "unknown".to_owned());
        let is_clean = git(&["status", "--porcelain", "--untracked-files=no"]).is_ok_and(|said| said.is_empty());
        Ok(Self {
            source: cli["repository"].as_str().unwrap_or("unknown").to_owned(),
            version: version.or(cli["version"].as_str()).unwrap_or("0").to_owned(),
            revision: format!("{}{}", revision.trim(), if is_clean { "" } else { "-changed" }),
            time: release::time(workspace)?,
        })
    }
}

/// The program of each platform, static: one that is named, or compiled now.
pub(crate) fn programs(workspace: &Workspace) -> Result<Vec<PathBuf>, String> {
    PLATFORMS.iter().map(|platform| program(workspace, platform)).collect()
}

/// Builds the images around `programs`, one for each platform, and says how large they are. They are called `version`,
/// or as the workspace.
pub(crate) fn build(workspace: &Workspace, version: Option<&str>, programs: &[PathBuf]) -> Result<(), String> {
    install::packages(docker::NEEDS)?;
    docker::engine()?;
    let stamp = Stamp::of(workspace, version)?;
    let programs: Vec<(&Platform, PathBuf)> = PLATFORMS.iter().zip(programs.iter().cloned()).collect();
    for (platform, program) in &programs {
        let bytes = std::fs::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
        check_program(&bytes, platform).map_err(|why| format!("{}: {why}", program.display()))?;
    }
    let context = workspace.root.join("target/containers/context");
    stage(&context, &programs, stamp.time)?;
    let work = workspace.root.join("target/containers/work");
    let mut layout = Layout::new(&layout(workspace), stamp.time)?;
    let built = at_once(&programs, |platform| classic(workspace, platform, &context, &stamp, &work));
    if built.iter().any(|(_, saved)| saved.is_err()) {
        // What broke in the middle has no name yet, but the first label.
        let _ =
            docker::docker(&["image", "prune", "--force", "--filter", "label=org.opencontainers.image.title=bramble"]);
    }
    for (platform, saved) in built {
        layout.add(platform, &saved?)?;
    }
    let images = layout.finish(&stamp.version)?;
    std::fs::remove_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;
    println!("bramble:{} in {}", stamp.version, self::layout(workspace).display());
    for (platform, image) in PLATFORMS.iter().zip(&images) {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        println!(
            "  {:13} {:.1} MB to pull, {:.1} MB unpacked  {}",
            platform.name,
            megabytes(image.compressed),
            megabytes(image.unpacked),
            image.digest
        );
    }
    Ok(())
}

/// Does `work` for all platforms at the same time: the classic builder mostly waits.
fn at_once<'a, T: Send>(
    programs: &[(&'a Platform, PathBuf)],
    work: impl Fn(&Platform) -> T + Sync,
) -> Vec<(&'a Platform, T)> {
    std::thread::scope(|scope| {
        let work = &work;
        let begun: Vec<_> =
            programs.iter().map(|(platform, _)| (*platform, scope.spawn(move || work(platform)))).collect();
        begun.into_iter().map(|(platform, one)| (platform, one.join().expect("it does not panic"))).collect()
    })
}

fn program(workspace: &Workspace, platform: &Platform) -> Result<PathBuf, String> {
    match std::env::var_os(platform.variable) {
        Some(path) => Ok(PathBuf::from(path)),
        None => image::program(workspace, platform.target),
    }
}

/// Checks that the program runs where there is nothing else: the right machine, and no loader that it asks for.
fn check_program(bytes: &[u8], platform: &Platform) -> Result<(), String> {
    const LOADERS: [&[u8]; 2] = [b"/ld-linux", b"/ld-musl"];
    if bytes.get(..4) != Some(b"\x7fELF") || bytes.get(18) != Some(&platform.machine) {
        return Err(format!("not a program for {}", platform.name));
    }
    // The name of the loader stands in the first page, right behind the headers.
    let head = bytes.get(..4096.min(bytes.len())).unwrap_or_default();
    if LOADERS.iter().any(|loader| head.windows(loader.len()).any(|part| part == *loader)) {
        return Err("linked dynamically, and an image from scratch has no loader; `cargo xtask compile` links \
                    statically"
            .to_owned());
    }
    Ok(())
}

/// Lays out what the Dockerfile copies, with the time of the commit on everything.
fn stage(context: &Path, programs: &[(&Platform, PathBuf)], time: u32) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", context.display());
    if context.exists() {
        std::fs::remove_dir_all(context).map_err(told)?;
    }
    for (platform, program) in programs {
        let root = context.join(platform.name);
        let certificates = root.join(CERTIFICATES.trim_start_matches('/'));
        std::fs::create_dir_all(certificates.parent().expect("a path with folders")).map_err(told)?;
        std::fs::copy(program, root.join("bramble")).map_err(told)?;
        std::fs::copy(CERTIFICATES, &certificates).map_err(|error| {
            format!("{CERTIFICATES}: {error}; on Debian, `sudo apt-get install ca-certificates` brings it")
        })?;
        run::output(Command::new("chmod").arg("0555").arg(root.join("bramble")))?;
        run::output(Command::new("chmod").arg("0444").arg(&certificates))?;
    }
    let touch = ["-exec", "touch", "--no-dereference", "--date", &format!("@{time}"), "{}", "+"];
    run::output(Command::new("find").arg(context).args(touch)).map(|_| ())
}

/// Builds one platform's image with the classic builder, and saves it. The engine keeps nothing of it.
fn classic(
    workspace: &Workspace,
    platform: &Platform,
    context: &Path,
    stamp: &Stamp,
    work: &Path,
) -> Result<Image, String> {
    let name = format!("bramble-build:{}-{}", platform.target.name(), std::process::id());
    let mut docker = workspace.command("docker");
    docker.args(["build", "--quiet", "--force-rm", "--tag", &name, "--file", "etc/container/Dockerfile"]);
    for (key, value) in [
        ("TARGETPLATFORM", platform.name),
        ("SOURCE", &stamp.source),
        ("VERSION", &stamp.version),
        ("REVISION", &stamp.revision),
    ] {
        docker.args(["--build-arg", &format!("{key}={value}")]);
    }
    // BuildKit would know the platform, but is not there on every engine; so nothing depends on which one it is.
    let built = run::output(docker.arg(context).env("DOCKER_BUILDKIT", "0"));
    let folder = work.join(platform.target.name());
    let saved = built.and_then(|_| save(&name, &folder));
    let removed = docker::docker(&["image", "rm", "--force", &name]);
    let saved = saved?;
    removed?;
    Ok(saved)
}

fn save(name: &str, folder: &Path) -> Result<Image, String> {
    let told = |error: std::io::Error| format!("{}: {error}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(told)?;
    }
    std::fs::create_dir_all(folder).map_err(told)?;
    let archive = folder.join("saved.tar");
    run::output(Command::new("docker").args(["save", "--output"]).arg(&archive).arg(name))?;
    run::output(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(folder))?;
    Image::read(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program_for(machine: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..4].copy_from_slice(b"\x7fELF");
        bytes[18] = machine;
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn a_program_of_another_machine_or_one_that_needs_a_loader_is_not_put_into_an_image() {
        let [amd64, arm] = PLATFORMS else { panic!("two platforms") };
        assert_eq!(check_program(&program_for(62, b""), amd64), Ok(()));
        assert_eq!(check_program(&program_for(40, b""), arm), Ok(()));
        assert!(check_program(&program_for(62, b""), arm).is_err_and(|why| why.contains("linux/arm/v7")));
        let dynamic = program_for(40, b"/lib/ld-linux-armhf.so.3\0");
        assert!(check_program(&dynamic, arm).is_err_and(|why| why.contains("statically")));
        assert!(check_program(b"#!/bin/sh", amd64).is_err());
    }
}

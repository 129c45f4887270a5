//! Images as files: an OCI layout with one list over all platforms. The same programs give the same bytes, so that the
//! digest of an image says what is in it and not when it was made.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::platform::Platform;
use crate::run;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Labels that are annotations as well, for readers of the list alone.
const ANNOTATIONS: [&str; 3] = ["source", "version", "revision"];

/// Image archive as `docker save` writes it.
pub(crate) struct Image {
    config: Value,
    layers: Vec<PathBuf>,
}

impl Image {
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        let manifest = read_json(&folder.join("manifest.json"))?;
        let config = manifest[0]["Config"].as_str().ok_or("docker save wrote no configuration")?;
        let layers = manifest[0]["Layers"].as_array().ok_or("docker save wrote no layers")?;
        let layers = layers.iter().filter_map(Value::as_str).map(|layer| folder.join(layer)).collect();
        Ok(Self { config: read_json(&folder.join(config))?, layers })
    }
}

/// Digest and size of one platform's image.
pub(crate) struct PlatformImage {
    pub(crate) digest: String,
    /// Bytes that a node pulls.
    pub(crate) compressed: u64,
    /// Bytes on its disk.
    pub(crate) unpacked: u64,
    descriptor: Value,
    annotations: Value,
}

/// A layout that is being written. It takes the place of an older one at the end.
pub(crate) struct Layout {
    folder: PathBuf,
    fresh: PathBuf,
    created: String,
    written: Vec<PlatformImage>,
}

impl Layout {
    pub(crate) fn new(folder: &Path, time: u32) -> Result<Self, String> {
        let fresh = folder.with_extension("new");
        remove(&fresh)?;
        let blobs = fresh.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).map_err(|error| format!("{}: {error}", blobs.display()))?;
        let stamp = ["--utc", "--date", &format!("@{time}"), "+%Y-%m-%dT%H:%M:%SZ"];
        let created = run::output(Command::new("date").args(stamp))?.trim().to_owned();
        Ok(Self { folder: folder.to_owned(), fresh, created, written: Vec::new() })
    }

    /// Writes the image down for a platform.
    pub(crate) fn add(&mut self, platform: &Platform, image: &Image) -> Result<(), String> {
        let mut layers = Vec::new();
        let mut unpacked = 0;
        for layer in &image.layers {
            unpacked += size(layer)?;
            // -n: neither its name nor the time.
            run::output(Command::new("gzip").args(["-9", "-n", "--keep", "--force"]).arg(layer))?;
            layers.push(self.keep(&layer.with_extension("tar.gz"), LAYER)?);
        }
        let config = configuration(&image.config, platform, &self.created);
        let annotations: serde_json::Map<String, Value> = ANNOTATIONS
            .iter()
            .map(|name| format!("org.opencontainers.image.{name}"))
            .map(|name| (name.clone(), config["config"]["Labels"][&name].clone()))
            .collect();
        let annotations = Value::Object(annotations);
        let config = self.keep_json(&config, CONFIG)?;
        let compressed = layers.iter().chain([&config]).filter_map(|blob| blob["size"].as_u64()).sum();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, "annotations": annotations,
        });
        let mut descriptor = self.keep_json(&manifest, MANIFEST)?;
        descriptor["platform"] = json!({ "os": "linux", "architecture": platform.architecture });
        if let Some(variant) = platform.variant {
            descriptor["platform"]["variant"] = json!(variant);
        }
        let digest = descriptor["digest"].as_str().unwrap_or_default().to_owned();
        self.written.push(PlatformImage { digest, compressed, unpacked, descriptor, annotations });
        Ok(())
    }

    /// Puts all of them under one list, called `version`.
    pub(crate) fn finish(self, version: &str) -> Result<Vec<PlatformImage>, String> {
        let manifests: Vec<&Value> = self.written.iter().map(|image| &image.descriptor).collect();
        let annotations = self.written.first().map(|image| &image.annotations);
        let list =
            json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": annotations });
        let mut top = self.keep_json(&list, INDEX)?;
        top["annotations"] = json!({ "org.opencontainers.image.ref.name": version });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [top] });
        write(&self.fresh.join("index.json"), &index)?;
        write(&self.fresh.join("oci-layout"), &json!({ "imageLayoutVersion": "1.0.0" }))?;
        remove(&self.folder)?;
        std::fs::rename(&self.fresh, &self.folder).map_err(|error| format!("{}: {error}", self.folder.display()))?;
        Ok(self.written)
    }

    fn keep_json(&self, value: &Value, media_type: &str) -> Result<Value, String> {
        let file = self.fresh.join("blob");
        write(&file, value)?;
        self.keep(&file, media_type)
    }

    /// Moves a file to where its digest says. Its descriptor.
    fn keep(&self, file: &Path, media_type: &str) -> Result<Value, String> {
        let digest = run::output(Command::new("sha256sum").arg(file))?;
        let digest = digest.split_whitespace().next().ok_or("sha256sum said nothing")?.trim_start_matches('\\');
        let size = size(file)?;
        let blob = self.fresh.join("blobs/sha256").join(digest);
        std::fs::rename(file, &blob).map_err(|error| format!("{}: {error}", blob.display()))?;
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size }))
    }
}

/// The configuration as it is shipped: for this platform, without the traces of the machine that built it.
fn configuration(built: &Value, platform: &Platform, created: &str) -> Value {
    let mut config = built["config"].clone();
    for trace in ["Hostname", "Domainname", "Image", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin"]
    {
        config.as_object_mut().map(|config| config.remove(trace));
    }
    let mut history = built["history"].clone();
    for step in history.as_array_mut().into_iter().flatten() {
        step["created"] = json!(created);
    }
    let mut whole = json!({
        "architecture": platform.architecture, "os": "linux", "created": created,
        "config": config, "history": history, "rootfs": built["rootfs"],
    });
    if let Some(variant) = platform.variant {
        whole["variant"] = json!(variant);
    }
    whole
}

fn size(file: &Path) -> Result<u64, String> {
    std::fs::metadata(file).map(|about| about.len()).map_err(|error| format!("{}: {error}", file.display()))
}

fn read_json(file: &Path) -> Result<Value, String> {
    let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()))
}

fn write(file: &Path, value: &Value) -> Result<(), String> {
    std::fs::write(file, value.to_string()).map_err(|error| format!("{}: {error}", file.display()))
}

fn remove(folder: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", folder.display())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::platform::PLATFORMS;
    use super::*;

    #[test]
    fn the_shipped_configuration_names_its_platform_and_not_the_machine_that_built_it() {
        let built = json!({
            "architecture": "amd64", "container": "f00", "docker_version": "20.10.24", "os": "linux",
            "container_config": { "Hostname": "f00" },
            "config": { "Hostname": "f00", "User": "65532:65532", "Entrypoint": ["/bramble"] },
            "history": [{ "created": "2026-11-22T02:17:23Z", "created_by": "COPY" }],
            "rootfs": { "type": "layers", "diff_ids": ["sha256:00"] },
        });
        let arm = configuration(&built, &PLATFORMS[1], "2026-01-01T00:00:00Z");
        assert_eq!((&arm["architecture"], &arm["variant"]), (&json!("arm"), &json!("v7")));
        assert_eq!(arm["config"], json!({ "User": "65532:65532", "Entrypoint": ["/bramble"] }));
        assert_eq!(arm["history"], json!([{ "created": "2026-01-01T00:00:00Z", "created_by": "COPY" }]));
        assert!(!arm.to_string().contains("f00"));
        assert!(configuration(&built, &PLATFORMS[0], "").get("variant").is_none());
    }
}

//! The images, read back from the registry.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::machine::{command, containers, docker, json, prepared, said_by, scratch};

/// A node pulls no more than this.
const LARGEST: u64 = 6_000_000;

/// Manifests and blobs that the registry gives for the name with its digest, by digest.
struct ReadBack {
    blobs: BTreeMap<String, Vec<u8>>,
    list: Value,
}

/// Files in the image of one platform.
struct Image<'a> {
    back: &'a ReadBack,
    platform: String,
    manifest: Value,
    config: Value,
}

fn read_back() -> &'static ReadBack {
    static BACK: OnceLock<ReadBack> = OnceLock::new();
    BACK.get_or_init(|| {
        let folder = scratch("read-back");
        let name = without_tag(&prepared("BRAMBLE_IMAGE"));
        let (from, to) = (format!("docker://{name}"), format!("dir:{}", folder.display()));
        said_by(&mut command("skopeo", &["copy", "--quiet", "--all", "--src-tls-verify=false", &from, &to]));
        let mut blobs = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).expect("it was written").flatten() {
            let name = entry.file_name().to_string_lossy().trim_end_matches(".manifest.json").to_owned();
            blobs.insert(name, std::fs::read(entry.path()).expect("a file"));
        }
        let list = json(&String::from_utf8_lossy(&blobs["manifest.json"]));
        ReadBack { blobs, list }
    })
}

/// skopeo takes either tag or digest.
fn without_tag(name: &str) -> String {
    let (tagged, digest) = name.split_once('@').expect("it has a digest");
    format!("{}@{digest}", tagged.rsplit_once(':').expect("it has a tag").0)
}

impl ReadBack {
    fn blob(&self, descriptor: &Value) -> &[u8] {
        let digest = descriptor["digest"].as_str().expect("a digest").trim_start_matches("sha256:");
        let blob = self.blobs.get(digest).unwrap_or_else(|| panic!("no {digest}"));
        assert_eq!(sha256(blob), digest);
        blob
    }

    fn parsed(&self, descriptor: &Value) -> Value {
        json(&String::from_utf8_lossy(self.blob(descriptor)))
    }

    fn images(&self) -> Vec<Image<'_>> {
        let all = self.list["manifests"].as_array().expect("a list").iter();
        let image = |descriptor: &Value| {
            let manifest = self.parsed(descriptor);
            let config = self.parsed(&manifest["config"]);
            Image { back: self, platform: platform(&descriptor["platform"]), manifest, config }
        };
        all.map(image).collect()
    }
}

impl Image<'_> {
    fn layers(&self) -> Vec<&[u8]> {
        let all = self.manifest["layers"].as_array().expect("a list").iter();
        all.map(|layer| self.back.blob(layer)).collect()
    }

    /// Unpacks the file system of the image into a folder.
    fn unpacked(&self) -> PathBuf {
        let folder = scratch(&format!("root-{}", self.platform.replace('/', "-")));
        let archive = folder.with_extension("tar.gz");
        for layer in self.layers() {
            std::fs::write(&archive, layer).expect("writable");
            let (archive, folder) = (archive.display().to_string(), folder.display().to_string());
            said_by(&mut command("tar", &["-xzf", &archive, "-C", &folder]));
        }
        folder
    }
}

fn platform(of: &Value) -> String {
    let words = ["os", "architecture", "variant"].into_iter().filter_map(|key| of[key].as_str());
    words.collect::<Vec<_>>().join("/")
}

fn sha256(bytes: &[u8]) -> String {
    let file = scratch("sum").join("bytes");
    std::fs::write(&file, bytes).expect("writable");
    let said = said_by(Command::new("sha256sum").arg(&file));
    said.split(' ').next().expect("a sum").to_owned()
}

#[test]
fn one_list_names_both_platforms_and_each_image_is_for_the_platform_it_is_listed_under() {
    let back = read_back();
    let name = prepared("BRAMBLE_IMAGE");
    assert_eq!(Some(sha256(&back.blobs["manifest.json"]).as_str()), name.rsplit(':').next());
    let platforms: Vec<String> = back.images().iter().map(|image| image.platform.clone()).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm/v7"]);
    for image in back.images() {
        assert_eq!(platform(&image.config), image.platform);
        let config = &image.config["config"];
        assert_eq!(
            (&config["User"], config["Entrypoint"].to_string()),
            (&Value::from("65532:65532"), r#"["/bramble"]"#.into())
        );
        assert_eq!(config["Healthcheck"]["Test"].to_string(), r#"["CMD","/bramble","health"]"#);
        for label in ["source", "version", "revision"] {
            let said = config["Labels"][format!("org.opencontainers.image.{label}")].as_str();
            assert!(said.is_some_and(|said| !said.is_empty()), "{}: {label}", image.platform);
        }
        let layers = image.manifest["layers"].as_array().expect("a list").iter();
        let pulled: u64 = layers.filter_map(|layer| layer["size"].as_u64()).sum();
        assert!(pulled <= LARGEST, "{}: {pulled} bytes", image.platform);
    }
}

#[test]
fn an_image_holds_the_program_the_certificates_and_no_secret() {
    let back = read_back();
    for image in back.images() {
        let root = image.unpacked();
        let find = ["-mindepth", "1", "-not", "-type", "d", "-printf", "%P %m\n"];
        let mut files: Vec<String> =
            said_by(Command::new("find").arg(&root).args(find)).lines().map(str::to_owned).collect();
        files.sort();
        assert_eq!(files, ["bramble 555", "etc/ssl/certs/ca-certificates.crt 444"], "{}", image.platform);
        let certificates = std::fs::read(root.join("etc/ssl/certs/ca-certificates.crt")).expect("it is there");
        let program = std::fs::read(root.join("bramble")).expect("it is there");
        let told = [image.config.to_string(), image.manifest.to_string()].concat();
        for secret in [prepared("BRAMBLE_KEY").as_str(), "PRIVATE KEY-----\nM"] {
            for place in [program.as_slice(), &certificates, told.as_bytes()] {
                let has = place.windows(secret.len()).any(|part| part == secret.as_bytes());
                assert!(!has, "{}: a secret is in it", image.platform);
            }
        }
        let history = image.config["history"].to_string().to_lowercase();
        assert!(!["api_key", "appid", "password", "token"].iter().any(|word| history.contains(word)), "{history}");
        let home = crate::machine::root().display().to_string();
        assert!(!told.contains(&home), "the folder it was built in");
    }
}

#[test]
fn the_program_for_a_pi_runs_on_an_emulated_one() {
    let back = read_back();
    let arm = back.images().pop().expect("two images");
    let version = arm.config["config"]["Labels"]["org.opencontainers.image.version"].as_str().map(str::to_owned);
    let program = arm.unpacked().join("bramble").display().to_string();
    let said = said_by(&mut command("qemu-arm-static", &["-cpu", "cortex-a7", &program, "--version"]));
    assert_eq!(said.split(' ').collect::<Vec<_>>(), ["bramble", version.as_deref().expect("a version")]);
    let checked = said_by(&mut command("qemu-arm-static", &["-cpu", "cortex-a7", &program, "check-config"]));
    assert!(checked.contains("0.0.0.0:8088"), "{checked}");
}

#[test]
fn an_image_pulled_by_digest_runs_without_a_file_system_to_write_to_or_any_capability() {
    let name = without_tag(&prepared("BRAMBLE_IMAGE"));
    docker(&["pull", "--quiet", &name]);
    let said = docker(&["run", "--rm", "--read-only", "--cap-drop", "ALL", "--network", "none", &name, "--version"]);
    assert!(said.starts_with("bramble "), "{said}");
}

#[test]
fn the_same_checkout_gives_the_same_images() {
    let said = said_by(&mut containers(&["build"]));
    for image in read_back().list["manifests"].as_array().expect("a list") {
        let digest = image["digest"].as_str().expect("a digest");
        assert!(said.contains(digest), "{digest} is not in {said}");
    }
}

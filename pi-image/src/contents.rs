//! Authors and licences of everything on the card: a card is handed on, and its licences with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::card::FatFile;
use crate::compile::{Target, Versions};
use crate::packages::{Lock, Package};
use crate::root::{read, sorted};
use crate::{Error, run};

/// The folder on the card.
pub(crate) const FOLDER: &str = "licences";
/// The list in it.
pub(crate) const LIST: &str = "licences/CONTENTS.txt";

/// A package of Debian or a crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) from: From,
    /// In short: an SPDX expression of a crate; the names in Debian's own words of a package.
    pub(crate) licence: String,
}

/// Where a part is from, and how one knows that it is the right one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum From {
    /// Debian, as the lock names it; and its copyright file.
    Debian(Package, String),
    /// crates.io, or the workspace itself, which has no sum.
    Crate(Option<String>),
    /// The compilers of this machine, whose libraries are linked in.
    Compiler,
}

/// The packages of the card, whose files lie in `unpacked`, or in `kernel`.
pub(crate) fn debian(lock: &Lock, unpacked: &Path, kernel: &Path) -> Result<Vec<Part>, Error> {
    let parts = lock.packages().filter(|package| !package.is_of_compiler()).map(|package| {
        let folder = if package.name.starts_with("linux-image-") { kernel } else { unpacked };
        let path = folder.join("usr/share/doc").join(&package.name).join("copyright");
        let text = String::from_utf8_lossy(&read(&path)?).into_owned();
        let (name, version) = (package.name.clone(), package.version.clone());
        Ok(Part { licence: in_short(&text), name, version, from: From::Debian(package.clone(), text) })
    });
    parts.collect()
}

/// The names of the licences in a machine-readable copyright file.
fn in_short(copyright: &str) -> String {
    let names: BTreeSet<&str> = copyright
        .lines()
        .filter_map(|line| line.strip_prefix("License:"))
        .map(str::trim)
        .filter(|name| !name.is_empty() && name.len() < 40)
        .collect();
    if names.is_empty() { "see its text".to_owned() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
}

/// Crates that are linked into `bramble`, without those that only compiled it.
pub(crate) fn crates(workspace: &Path, target: Target) -> Result<Vec<Part>, Error> {
    let mut cargo = run::command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).args([
        "tree",
        "--locked",
        "--package",
        "bramble-cli",
        "--edges",
        "normal,no-proc-macro",
    ]);
    cargo.args(["--target", target.triple(), "--prefix", "none", "--format", "{p}\t{l}\t"]);
    let tree = run::text(&mut cargo)?;
    let lock = String::from_utf8_lossy(&read(&workspace.join("Cargo.lock"))?).into_owned();
    let sums = sums(&lock);
    let parts: BTreeSet<Part> = tree.lines().filter_map(|line| linked(line, &sums)).collect();
    Ok(parts.into_iter().collect())
}

/// Libraries that the compilers bring along.
pub(crate) fn libraries(compiler: &Versions) -> Vec<Part> {
    let part = |name: &str, version: &str, licence: &str| Part {
        from: From::Compiler,
        name: name.to_owned(),
        version: version.to_owned(),
        licence: licence.to_owned(),
    };
    vec![
        part("rust-std", &compiler.rust, "MIT OR Apache-2.0"),
        part("glibc-static", &compiler.libc, "LGPL-2.1-or-later"),
        part("libgcc-static", &compiler.gcc, "GPL-3.0-or-later WITH GCC-exception-3.1"),
    ]
}

/// From `NAME vVERSION (PATH)<tab>LICENCE<tab>`.
fn linked(line: &str, sums: &BTreeMap<(String, String), String>) -> Option<Part> {
    let mut fields = line.split('\t');
    let mut words = fields.next()?.split(' ');
    let (name, version) = (words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned());
    // Before SPDX, crates separated choices by a slash.
    let licence = fields.next()?.replace('/', " OR ");
    let sum = sums.get(&(name.clone(), version.clone())).cloned();
    Some(Part { from: From::Crate(sum), name, version, licence })
}

/// Checksums in Cargo.lock by name and version of the crate.
fn sums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        line.and_then(|value| value.strip_suffix('"')).map(str::to_owned)
    };
    let blocks = lock.split("[[package]]");
    let sum = |block: &str| Some(((value(block, "name")?, value(block, "version")?), value(block, "checksum")?));
    blocks.filter_map(sum).collect()
}

/// The folder `licences` of the card.
pub(crate) fn licences(parts: &[Part], unpacked: &Path, workspace: &Path) -> Result<Vec<FatFile>, Error> {
    let mut files = vec![text_file(LIST, listed(parts))];
    for part in parts {
        if let From::Debian(package, text) = &part.from {
            files.push(text_file(&format!("{FOLDER}/{}.txt", package.name), text.clone()));
        }
    }
    // Debian's files refer to these.
    let common = sorted(&unpacked.join("usr/share/common-licenses"))?;
    for path in common.into_iter().filter(|path| !path.is_symlink()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = String::from_utf8_lossy(&read(&path)?).into_owned();
        files.push(text_file(&format!("{FOLDER}/common-{name}.txt"), text));
    }
    files.push(text_file(&format!("{FOLDER}/rust-crates.txt"), crate_texts(parts, workspace)?));
    Ok(files)
}

fn text_file(path: &str, text: String) -> FatFile {
    FatFile { path: path.to_owned(), bytes: text.into_bytes() }
}

fn listed(parts: &[Part]) -> String {
    let mut text = String::from(
        "What is on this card: from, name, version, licence. The other files here are the licences' texts.\n\n",
    );
    for Part { from, name, version, licence } in parts {
        let from = match from {
            From::Debian(..) => "debian",
            From::Crate(_) => "crate",
            From::Compiler => "compiler",
        };
        text.push_str(&format!("{from}\t{name}\t{version}\t{licence}\n"));
    }
    text
}

/// The licence files that the crates bring, each text once.
fn crate_texts(parts: &[Part], workspace: &Path) -> Result<String, Error> {
    let mut cargo = run::command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let metadata = run::output(cargo.current_dir(workspace).args(["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&metadata).map_err(|why| Error::Other(format!("cargo metadata: {why}")))?;
    let wanted: BTreeSet<(&str, &str)> = parts
        .iter()
        .filter(|part| matches!(part.from, From::Crate(_)))
        .map(|part| (part.name.as_str(), part.version.as_str()))
        .collect();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let field = |name: &str| package[name].as_str().unwrap_or_default();
        let Some(folder) = Path::new(field("manifest_path")).parent() else { continue };
        if !wanted.contains(&(field("name"), field("version"))) {
            continue;
        }
        for path in sorted(folder)?.into_iter().filter(|path| path.is_file() && is_licence(path)) {
            let text = String::from_utf8_lossy(&read(&path)?).trim().replace("\r\n", "\n");
            texts.entry(text).or_default().insert(format!("{} {}", field("name"), field("version")));
        }
    }
    let mut all = String::from("Licences of the Rust crates linked into bramble.\n");
    for (text, names) in texts {
        let names: Vec<String> = names.into_iter().collect();
        all.push_str(&format!("\n{}\n{}\n\n{text}\n", "=".repeat(72), names.join(", ")));
    }
    Ok(all)
}

fn is_licence(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
    ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"].iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_cargo_tree_becomes_a_part_with_the_sum_of_cargo_lock() {
        let sums = sums("version = 4\n\n[[package]]\nname = \"flume\"\nversion = \"0.12.0\"\nchecksum = \"5e1f\"\n");
        let part = linked("flume v0.12.0\tApache-2.0/MIT\t (*)", &sums).expect("a part");
        assert_eq!(part.licence, "Apache-2.0 OR MIT");
        assert_eq!(part.from, From::Crate(Some("5e1f".to_owned())));
        let own = linked("bramble v0.2.0 (/somewhere)\tMIT OR Apache-2.0\t", &sums).expect("a part");
        assert_eq!((own.version.as_str(), own.from), ("0.2.0", From::Crate(None)));
        assert_eq!(linked("", &sums), None);
    }

    #[test]
    fn debians_licences_are_named_once_each() {
        assert_eq!(in_short("License: GPL-2\n text\nLicense: BSD\nLicense: GPL-2\nLicense:\n"), "BSD, GPL-2");
        assert_eq!(in_short("Copyright by the authors"), "see its text");
    }

    #[test]
    fn only_what_is_linked_is_listed() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
        let crates = crates(workspace, Target::Armv7).expect("cargo tree");
        let has = |name: &str| crates.iter().any(|part| part.name == name);
        assert!(has("bramble-cli") && has("ring") && has("hyper"));
        // A build script's, a macro's, a test's and our own builder.
        assert!(!has("cc") && !has("serde_derive") && !has("proptest") && !has("xtask"));
        let without = crates.iter().filter(|part| part.from == From::Crate(None) && !part.name.starts_with("bramble"));
        assert_eq!(without.count(), 0, "each foreign crate has a sum");
        assert!(crates.iter().all(|part| !part.licence.is_empty()), "each crate has a licence");
    }
}

//! The `rust-version` that dependencies declare. A Pi's distribution has an older compiler than a developer. The lints
//! see only our own code; a dependency that was updated past our `rust-version` is seen here. Nothing is built with
//! that compiler: a crate that declares less than it needs is not found.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::run::{self, Workspace};

/// No crate of a release needs a newer compiler than the workspace declares.
pub(crate) fn check(workspace: &Workspace) -> Result<Option<String>, String> {
    let mut metadata = workspace.cargo(["metadata", "--locked", "--format-version=1"]);
    metadata.args(["--filter-platform=aarch64-unknown-linux-gnu", "--filter-platform=x86_64-unknown-linux-gnu"]);
    let metadata = run::output(&mut metadata)?;
    let metadata = serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata is no JSON: {error}"))?;
    let (checked, newer) = newer_than_declared(&metadata)?;
    if newer.is_empty() {
        println!("{checked} crates declare no newer Rust than the workspace does.");
        return Ok(None);
    }
    Err(format!("too new for the declared rust-version:\n  {}", newer.join("\n  ")))
}

/// How many crates were looked at, and those that need more than the lowest `rust-version` of the workspace.
fn newer_than_declared(metadata: &Value) -> Result<(usize, Vec<String>), String> {
    let packages: BTreeMap<&str, &Value> =
        list(metadata, "packages").filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let members: Vec<&str> = list(metadata, "workspace_members").filter_map(Value::as_str).collect();
    let declared = |id: &&str| packages.get(id).and_then(|package| version(package["rust_version"].as_str()?));
    let declared = members.iter().map(declared).collect::<Option<Vec<_>>>();
    let declared = declared.and_then(|all| all.into_iter().min()).ok_or("a package declares no rust-version")?;

    let shipped = reachable(metadata, members);
    let newer = shipped.iter().filter_map(|id| {
        let package = packages.get(id)?;
        let needed = needed(package);
        let name = format!("{} {}", package["name"].as_str()?, package["version"].as_str()?);
        (needed > declared).then(|| format!("{name} needs Rust {}.{}", needed.0, needed.1))
    });
    Ok((shipped.len(), newer.collect()))
}

/// Rust version that a package declares, or that its edition needs.
fn needed(package: &Value) -> (u32, u32) {
    let edition = match package["edition"].as_str() {
        Some("2024") => (1, 85),
        Some("2021") => (1, 56),
        Some("2018") => (1, 31),
        _ => (1, 0),
    };
    package["rust_version"].as_str().and_then(version).map_or(edition, |declared| declared.max(edition))
}

/// Packages that the members need to be built, without those that only their tests need.
fn reachable<'a>(metadata: &'a Value, members: Vec<&'a str>) -> BTreeSet<&'a str> {
    let nodes: BTreeMap<&str, &Value> =
        list(&metadata["resolve"], "nodes").filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let mut seen = BTreeSet::new();
    let mut waiting = members;
    while let Some(id) = waiting.pop() {
        let Some(node) = nodes.get(id).filter(|_| seen.insert(id)) else { continue };
        let for_release = |dep: &&Value| list(dep, "dep_kinds").any(|kind| kind["kind"].as_str() != Some("dev"));
        waiting.extend(list(node, "deps").filter(for_release).filter_map(|dep| dep["pkg"].as_str()));
    }
    seen
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// Major and minor of `1.85` or `1.85.0`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(id: &str, rust_version: Option<&str>, edition: &str) -> Value {
        json!({ "id": id, "name": id, "version": "1.0.0", "rust_version": rust_version, "edition": edition })
    }

    fn node(id: &str, deps: &[(&str, Option<&str>)]) -> Value {
        let deps: Vec<_> =
            deps.iter().map(|(id, kind)| json!({ "pkg": id, "dep_kinds": [{ "kind": kind }] })).collect();
        json!({ "id": id, "deps": deps })
    }

    #[test]
    fn a_dependency_of_a_release_that_is_too_new_is_found_and_one_of_the_tests_is_not() {
        let metadata = json!({
            "workspace_members": ["ours"],
            "packages": [
                package("ours", Some("1.80"), "2021"),
                package("old", Some("1.80.0"), "2018"),
                package("deep", Some("1.81"), "2021"),
                package("silent", None, "2024"),
                package("for-tests", Some("1.90"), "2024"),
            ],
            "resolve": { "nodes": [
                node("ours", &[("old", None), ("silent", Some("build")), ("for-tests", Some("dev"))]),
                node("old", &[("deep", None)]),
                node("deep", &[]),
                node("silent", &[]),
                node("for-tests", &[]),
            ] },
        });
        let (checked, newer) = newer_than_declared(&metadata).expect("ours declares one");
        assert_eq!(checked, 4);
        assert_eq!(newer, ["deep 1.0.0 needs Rust 1.81", "silent 1.0.0 needs Rust 1.85"]);
    }

    #[test]
    fn a_member_without_a_rust_version_is_a_mistake() {
        let metadata = json!({ "workspace_members": ["ours"], "packages": [package("ours", None, "2021")] });
        assert!(newer_than_declared(&metadata).is_err());
    }
}

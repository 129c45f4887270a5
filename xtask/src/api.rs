//! The public API of the library, an item a line, in `tests/api.txt`: a change of it is seen in review.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use public_api::Builder;
use serde_json::Value;

use crate::run::Workspace;

const LISTING: &str = "tests/api.txt";

/// The version of rustdoc's JSON that the crate `public-api` of Cargo.lock reads: that of Rust 1.93 to 1.95. Both
/// change together.
const FORMAT: u64 = 57;

/// Fails if the API is not as [`LISTING`] has it, with the differences. A toolchain whose JSON has another format
/// checks nothing, and that is returned.
pub(crate) fn check(workspace: &Workspace) -> Result<Option<String>, String> {
    let Some(listing) = listing(workspace)? else {
        return Ok(Some(format!("{LISTING} was not compared: rustdoc writes another format of JSON than {FORMAT}")));
    };
    let path = workspace.root.join(LISTING);
    let known = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let differences = differences(&known, &listing);
    if differences.is_empty() {
        return Ok(None);
    }
    let differences = differences.join("\n  ");
    Err(format!("the public API has changed; `cargo xtask api --write` takes it in:\n  {differences}"))
}

/// Writes [`LISTING`] anew.
pub(crate) fn write(workspace: &Workspace) -> Result<(), String> {
    let listing = listing(workspace)?.ok_or_else(|| format!("this needs a rustdoc that writes format {FORMAT}"))?;
    let path = workspace.root.join(LISTING);
    fs::write(&path, listing).map_err(|error| format!("{}: {error}", path.display()))
}

/// The API with default features, without what the compiler implements by itself. None: the JSON is of another format.
fn listing(workspace: &Workspace) -> Result<Option<String>, String> {
    let json = rustdoc_json(workspace)?;
    let unreadable = |error: &dyn std::fmt::Display| format!("{}: {error}", json.display());
    let text = fs::read_to_string(&json).map_err(|error| unreadable(&error))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
    if value["format_version"].as_u64() != Some(FORMAT) {
        return Ok(None);
    }
    let api = Builder::from_rustdoc_json(&json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .map_err(|error| unreadable(&error))?;
    Ok(Some(api.items().map(|item| format!("{item}\n")).collect()))
}

/// Has rustdoc describe the library; the file.
fn rustdoc_json(workspace: &Workspace) -> Result<PathBuf, String> {
    let mut cargo = workspace.cargo(["doc", "--locked", "--quiet", "--package", "bramble", "--lib", "--no-deps"]);
    workspace.finish(cargo.env("RUSTDOC", workspace.root.join("xtask/rustdoc-json")))?;
    Ok(workspace.target().join("doc/bramble.json"))
}

/// The lines that only one of the two has: `-` is gone, `+` is new.
fn differences(known: &str, listing: &str) -> Vec<String> {
    let [known, listing] = [known, listing].map(|text| text.lines().collect::<BTreeSet<_>>());
    let gone = known.difference(&listing).map(|line| format!("- {line}"));
    gone.chain(listing.difference(&known).map(|line| format!("+ {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::differences;

    #[test]
    fn what_is_gone_and_what_is_new_is_listed() {
        let known = "pub fn a::b()\npub fn a::c()\n";
        assert_eq!(differences(known, known), [""; 0]);
        assert_eq!(differences(known, "pub fn a::b()\npub fn a::d()\n"), ["- pub fn a::c()", "+ pub fn a::d()"]);
    }
}

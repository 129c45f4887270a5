//! Checks of the documents: links lead somewhere, commands exist, and versions are current.

use std::fs;
use std::path::{Path, PathBuf};

use crate::USAGE;
use crate::run::{self, Workspace};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Beginnings of the names of files and images that are released, before the version.
const RELEASED: [&str; 3] = ["bramble-pi2-", "bramble_", "/bramble:"];
/// So that a reader sees the whole of it; the guides in docs/ have the rest.
const README_LINES_MAX: usize = 200;

struct Document {
    path: PathBuf,
    text: String,
}

/// All documents under version control.
fn documents() -> Vec<Document> {
    let workspace = Workspace::find();
    let listed =
        run::output(workspace.command("git").args(["ls-files", "--cached", "--others", "--exclude-standard", "*.md"]));
    let paths: Vec<PathBuf> = listed.expect("a checkout").lines().map(|path| workspace.root.join(path)).collect();
    let read = |path: PathBuf| fs::read_to_string(&path).ok().map(|text| Document { path, text });
    paths.into_iter().filter_map(read).collect()
}

impl Document {
    /// Lines outside of blocks of code.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut is_code = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence
        })
    }

    /// Targets of links and pictures: what stands between `](` and `)`.
    fn links(&self) -> impl Iterator<Item = &str> {
        self.prose().flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next())
    }

    /// Anchors of the headings, as web pages of repositories make them.
    fn anchors(&self) -> impl Iterator<Item = String> {
        self.prose().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#').trim()))
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Why `link` of `document` leads nowhere.
fn broken(document: &Document, link: &str) -> Option<String> {
    if link.contains("://") {
        return None;
    }
    let (file, wanted) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let folder = document.path.parent().unwrap_or(Path::new("."));
    let path = folder.join(file);
    if !path.exists() {
        return Some(format!("{}: there is no {file}", document.name()));
    }
    let wanted = wanted?;
    let text = if file.is_empty() { document.text.clone() } else { fs::read_to_string(&path).unwrap_or_default() };
    let is_there = Document { path, text }.anchors().any(|anchor| anchor == wanted);
    (!is_there).then(|| format!("{}: {file} has no heading #{wanted}", document.name()))
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let documents = documents();
    let links: Vec<_> = documents.iter().flat_map(|one| one.links().map(move |link| (one, link))).collect();
    assert!(links.len() > 40, "links are found: {}", links.len());
    let broken: Vec<String> = links.iter().filter_map(|(one, link)| broken(one, link)).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_link_to_a_missing_file_or_heading_is_found() {
    let path = Workspace::find().root.join("README.md");
    let document = Document { path, text: "# One, two & 3\n\n[a](#one-two--3) [b](#four) [c](nowhere.md)".into() };
    let links: Vec<&str> = document.links().collect();
    assert_eq!(links, ["#one-two--3", "#four", "nowhere.md"]);
    assert_eq!(links.iter().map(|link| broken(&document, link).is_some()).collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn every_guide_is_linked_in_the_readme_and_its_code_is_tested() {
    let workspace = Workspace::find();
    let read = |path: &str| fs::read_to_string(workspace.root.join(path)).expect("it is there");
    let (readme, library) = (read("README.md"), read("src/lib.rs"));
    assert!(readme.lines().count() <= README_LINES_MAX, "README.md has {} lines", readme.lines().count());
    let guides = fs::read_dir(workspace.root.join("docs")).expect("the guides");
    for guide in guides.map(|guide| guide.expect("a file").file_name().to_string_lossy().into_owned()) {
        assert!(readme.contains(&format!("](docs/{guide})")), "README.md does not link docs/{guide}");
        assert!(library.contains(&format!("\"../docs/{guide}\"")), "src/lib.rs does not test docs/{guide}");
    }
}

#[test]
fn commands_of_xtask_that_documents_name_exist() {
    for document in documents() {
        for rest in document.text.split("cargo xtask ").skip(1) {
            let name: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
            let is_there =
                name.is_empty() || USAGE.lines().any(|line| line.trim_start().split(' ').next() == Some(&name));
            assert!(is_there, "{}: cargo xtask {name}", document.name());
        }
    }
}

#[test]
fn documents_name_the_version_that_is_released_next() {
    for document in documents().iter().filter(|document| !document.path.ends_with("CHANGELOG.md")) {
        for name in RELEASED {
            for rest in document.text.split(name).skip(1).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            {
                let line = rest.lines().next().unwrap_or_default();
                let is_older = line.starts_with("0.0."); // an example of an image to delete
                assert!(line.starts_with(VERSION) || is_older, "{}: {name}{line}", document.name());
            }
        }
    }
    let readme = fs::read_to_string(Workspace::find().root.join("README.md")).expect("it is there");
    let compiler = concat!(" ", env!("CARGO_PKG_RUST_VERSION"), " or newer");
    assert!(readme.contains(compiler), "README.md does not say that it needs Rust{compiler}");
    let changelog = fs::read_to_string(Workspace::find().root.join("CHANGELOG.md")).expect("it is there");
    assert!(changelog.contains(&format!("\n## [{VERSION}] - ")), "CHANGELOG.md has no section for {VERSION}");
}

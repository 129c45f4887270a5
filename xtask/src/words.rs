//! Plain words in Rust sources: names that are nouns of the field and stand once, documentation that says what an item
//! is.

use std::collections::BTreeMap;

use crate::run::{self, Workspace};

/// Folders and files that are not cleaned yet. The aim is that none is left.
const NOT_YET: &[&str] = &[];

/// Holds the words themselves.
const THIS_FILE: &str = "xtask/src/words.rs";

/// Names that no type has, nor, in lower case, a module: participles, pronouns and metaphors.
const TYPES: &str = "Asked Boarding Built Callee Chosen Deaf Deed Does Done Doubt Driven Ear Ends Farewell Fate Followed \
    Found Gathered Got Heard Inferred Inquiry Instead Judged Keeper Kept Kind Kisses Known Later Listens Located Looks \
    Manner Missed Mouth Noted OrAfter Once One Opened Other Out Over Own RollCall Said Says Seat Seats Seen Shown Sky Slot \
    Stage Standing Still Story Told Understood Useless Verdict WaitsFor Want Wanted Watched What Whom Wire Wish Word \
    Written Wrong Yard";

/// Names that no function or constant has.
const OTHERS: &str = "call_the_roll furnish is_fair keep_tidy kiss kisses knock lesson unsay verdict whatever_comes \
    why_nobody wish BREATH GLANCE KISSES";

/// Words that no documentation begins with.
const PRONOUNS: &str = "anybody anyone anything everybody everyone everything he her his it its nobody nothing one others \
    our she somebody someone something that their these they this those we what which who whoever whom whose you your";

/// Words for people, which a process or a program is not.
const PEOPLE: &str = "anybody nobody somebody who whoever whom whomever";

/// Fails with file and line of each name or sentence that is not plain, and for a folder of [`NOT_YET`] that is clean.
pub(crate) fn check(workspace: &Workspace) -> Result<Option<String>, String> {
    let tracked = run::output(workspace.command("git").args(["ls-files", "*.rs"]))?;
    let (mut found, mut names) = (Vec::new(), Names::default());
    let mut clean: Vec<&str> = NOT_YET.to_vec();
    for path in tracked.lines().filter(|path| *path != THIS_FILE) {
        let text = std::fs::read_to_string(workspace.root.join(path)).map_err(|why| format!("{path}: {why}"))?;
        let here = look_through(&text);
        if let Some(folder) = NOT_YET.iter().find(|folder| path.starts_with(**folder)) {
            clean.retain(|other| here.is_empty() || other != folder);
            continue;
        }
        names.add(path, &text);
        found.extend(here.into_iter().map(|(line, what)| format!("{path}:{line}: {what}")));
    }
    found.extend(names.repeated());
    found.extend(clean.iter().map(|folder| format!("{THIS_FILE}: {folder} is clean: take it out of NOT_YET")));
    if found.is_empty() {
        return Ok(None);
    }
    Err(format!("{} names or sentences are not plain:\n{}", found.len(), found.join("\n")))
}

/// Lines of a file, counted from 1, and what is not plain there.
fn look_through(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut documentation_before = false;
    for (line, text) in (1..).zip(text.lines()) {
        let documentation = documentation(text);
        if let Some(first) = documentation.filter(|_| !documentation_before).and_then(first_word)
            && contains(PRONOUNS, &first.to_ascii_lowercase())
        {
            found.push((line, format!("documentation begins with {first:?}: say what the item is or does")));
        }
        documentation_before = documentation.is_some();
        if let Some((keyword, name)) = item(text)
            && is_forbidden(keyword, name)
        {
            found.push((line, format!("{keyword} {name}: a noun of the field is needed")));
        }
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
        if let Some(word) = words.find(|word| contains(PEOPLE, &word.to_ascii_lowercase())) {
            found.push((line, format!("{word:?} is for people: name the client, caller, user or process")));
        }
    }
    found
}

/// The text of a line of documentation.
fn documentation(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let text = line.strip_prefix("//!").or_else(|| line.strip_prefix("///"))?;
    (!text.starts_with('/')).then_some(text)
}

fn first_word(text: &str) -> Option<&str> {
    text.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next().filter(|word| !word.is_empty())
}

/// The keyword and the name of the item that a line declares.
fn item(line: &str) -> Option<(&str, &str)> {
    let mut rest = line.trim_start();
    if let Some(after) = rest.strip_prefix("pub") {
        let after = after.trim_start();
        rest = after.strip_prefix('(').and_then(|inside| inside.split_once(')')).map_or(after, |(_, rest)| rest);
    }
    let mut words = rest.split_whitespace().skip_while(|word| matches!(*word, "async" | "unsafe" | "default"));
    let mut keyword = words.next()?;
    let mut name = words.next()?;
    if keyword == "const" && name == "fn" {
        (keyword, name) = (name, words.next()?);
    }
    let known = ["struct", "enum", "trait", "type", "fn", "const", "static", "mod"];
    let keyword = known.into_iter().find(|known| *known == keyword)?;
    let name = name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
    (!name.is_empty()).then_some((keyword, name))
}

fn is_type(keyword: &str) -> bool {
    matches!(keyword, "struct" | "enum" | "trait" | "type")
}

fn is_forbidden(keyword: &str, name: &str) -> bool {
    match keyword {
        "mod" => TYPES.split_whitespace().any(|word| word.to_ascii_lowercase() == name),
        keyword if is_type(keyword) => contains(TYPES, name),
        _ => contains(OTHERS, name),
    }
}

fn contains(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|listed| listed == word)
}

/// Where each public type of a crate is declared.
#[derive(Default)]
struct Names(BTreeMap<(String, String), Vec<String>>);

impl Names {
    /// Only a folder `src` holds a library: its name without that is the crate.
    fn add(&mut self, path: &str, text: &str) {
        let Some((krate, _)) = path.strip_prefix("src/").map(|rest| ("", rest)).or_else(|| path.split_once("/src/"))
        else {
            return;
        };
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| text.trim_start().starts_with("pub ")) {
            if let Some((_, name)) = item(text).filter(|(keyword, name)| is_type(keyword) && *name != "Error") {
                self.0.entry((krate.to_owned(), name.to_owned())).or_default().push(format!("{path}:{line}"));
            }
        }
    }

    fn repeated(&self) -> impl Iterator<Item = String> {
        let twice = self.0.iter().filter(|(_, places)| places.len() > 1);
        twice.map(|((_, name), places)| format!("{}: the public type {name} stands also there", places.join(" and ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_found(text: &str) -> Vec<usize> {
        look_through(text).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn documentation_begins_with_no_pronoun() {
        assert_eq!(lines_found("/// What it does.\nfn act() {}\n"), [1]);
        assert_eq!(lines_found("//! It's here.\n"), [1]);
        assert_eq!(lines_found("    /// Which, and why.\n    field: u8,\n"), [1]);
        assert_eq!(lines_found("/// Acts.\n/// It takes a second.\nfn act() {}\n"), [0; 0]);
        assert_eq!(lines_found("/// Oneshot, or [`It`].\nfn act() {}\n// It is a comment.\n"), [0; 0]);
    }

    #[test]
    fn names_are_nouns_of_the_field() {
        assert_eq!(lines_found("pub(crate) struct Told<'a> {\nmod told;\nenum Verdict {\n"), [1, 2, 3]);
        assert_eq!(
            lines_found("pub async fn furnish() {}\nconst fn unsay() {}\npub const BREATH: u8 = 1;\n"),
            [1, 2, 3]
        );
        assert_eq!(lines_found("struct Toldness;\nfn told() {}\nlet told = Told;\nuse a::Told;\n"), [0; 0]);
    }

    #[test]
    fn a_process_is_no_person() {
        assert_eq!(
            lines_found("// for whoever asks\nlet text = \"Nobody answers\";\nfn nobody_asks() {}\n"),
            [1, 2, 3]
        );
        assert_eq!(lines_found("// the caller whose whole turn it is\n"), [0; 0]);
    }

    #[test]
    fn a_public_type_stands_once_in_a_crate() {
        let mut names = Names::default();
        names.add("src/a.rs", "pub struct State;\npub enum Error {}\nstruct Inner;\npub(crate) struct Near;\n");
        names.add("src/b/c.rs", "pub enum Error {}\nstruct Inner;\npub(crate) struct Near;\n\npub trait State<T> {}\n");
        names.add("services/look/src/lib.rs", "pub struct State;\n");
        names.add("tests/a.rs", "pub struct State;\n");
        let repeated: Vec<String> = names.repeated().collect();
        assert_eq!(repeated, ["src/a.rs:1 and src/b/c.rs:5: the public type State stands also there"]);
    }
}

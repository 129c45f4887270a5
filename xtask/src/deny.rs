//! cargo-deny reads `deny.toml`: licences, banned crates and features, sources, advisories.

use crate::install;
use crate::run::{self, Workspace};

const VERSION: &str = "0.20.2";

/// Checks licences, sources and bans, without a network.
pub(crate) fn check(workspace: &Workspace) -> Result<Option<String>, String> {
    let program = install::crates_io(workspace, "cargo-deny", VERSION)?;
    run::finish(workspace.command(program).args(["check", "bans", "licenses", "sources"]))?;
    Ok(None)
}

/// Fails on an advisory that `deny.toml` does not accept. Without a network there is no database to look into; a build
/// must not depend on a server of others, so this is said and no failure.
pub(crate) fn advisories(workspace: &Workspace) -> Result<Option<String>, String> {
    let program = install::crates_io(workspace, "cargo-deny", VERSION)?;
    match run::output(workspace.command(program).args(["check", "advisories"])) {
        Ok(_) => Ok(None),
        Err(why) if why.contains("failed to fetch advisory database") => {
            let note = "advisories: the database of RustSec cannot be fetched from here";
            println!("{note}");
            Ok(Some(note.to_owned()))
        }
        Err(why) => Err(why),
    }
}

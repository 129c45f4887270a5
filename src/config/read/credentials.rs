//! KeyIndex that systemd hands to a service for itself alone (systemd.exec(5), `LoadCredential=`): files in a folder
//! whose name is new each time, so no configuration can name them.

use std::path::{Path, PathBuf};

use crate::config::section::ServiceSections;

/// Where the folder stands.
pub(super) const VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// The key of the cluster. Services name more in their sections.
const CLUSTER: (&str, &str) = ("cluster.key", "node.cluster_key_file");

/// Each key that has a credential in `folder`, with its file. A blank one is what systemd gives in place of a missing
/// one, and counts as none.
pub(super) fn found(folder: &Path, sections: &ServiceSections) -> Vec<(String, PathBuf)> {
    let (name, key) = CLUSTER;
    let named = sections.credentials().chain([(name, key.to_owned())]);
    let files = named.map(|(name, key)| (key, folder.join(name)));
    files.filter(|(_, file)| super::file::read_text(file).is_ok_and(|text| !text.trim().is_empty())).collect()
}

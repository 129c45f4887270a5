//! Keys that systemd hands to a service for itself alone (systemd.exec(5), `LoadCredential=`): files in a folder whose
//! name is new each time, so no configuration can name them.

use std::path::{Path, PathBuf};

/// Where the folder stands.
pub(super) const VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// The name of a credential, and the key that it is for.
const NAMES: [(&str, &str); 2] = [("api.key", "producer.api_key_file"), ("cluster.key", "node.cluster_key_file")];

/// Each key that has a credential in `folder`, with its file. A blank one is what systemd gives in place of a missing
/// one, and counts as none.
pub(super) fn found(folder: &Path) -> Vec<(&'static str, PathBuf)> {
    let named = NAMES.iter().map(|(name, key)| (*key, folder.join(name)));
    named.filter(|(_, file)| super::read_text(file).is_ok_and(|text| !text.trim().is_empty())).collect()
}

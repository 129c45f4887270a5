//! Options of a card, checked before minutes are spent on building: a card with a wrong key is found out only at the
//! Pi.

use std::path::{Path, PathBuf};

use crate::card::FatFile;
use crate::packages::Packages;
use crate::root::read;
use crate::{Error, run};

/// Options of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The checkout.
    pub workspace: PathBuf,
    /// The folder of the image; `dist` in the checkout, if none.
    pub out: Option<PathBuf>,
    /// The card's bramble.toml; `etc/bramble.toml`, if none.
    pub config: Option<PathBuf>,
    /// Public keys that may log in.
    pub ssh_key: Option<PathBuf>,
    /// The key of the weather API.
    pub api_key: Option<PathBuf>,
    /// The cluster's key.
    pub cluster_key: Option<PathBuf>,
    /// From where.
    pub packages: Packages,
}

impl Options {
    /// The image as it is shipped, of the checkout `workspace`.
    pub fn new(workspace: impl Into<PathBuf>) -> Self {
        Self { workspace: workspace.into(), ..Self::default() }
    }

    pub(crate) fn out_folder(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| self.workspace.join("dist"))
    }

    /// Reads and checks the user's files for the card.
    pub(crate) fn files(&self) -> Result<Personal, Error> {
        let default = self.workspace.join("etc/bramble.toml");
        let config = self.config.as_ref().unwrap_or(&default);
        let mut personal = Personal { files: vec![fat_file("bramble.toml", read(config)?)], secrets: Vec::new() };
        if self.config.is_some() {
            self.approve(config)?;
        }
        if let Some(path) = &self.ssh_key {
            personal.files.push(fat_file("authorized_keys", public_keys(path)?.into_bytes()));
        }
        for (path, name, what) in [
            (&self.api_key, "api-key", "the key of the weather API"),
            (&self.cluster_key, "cluster-key", "the cluster's key"),
        ] {
            if let Some(path) = path {
                personal.files.push(fat_file(name, secret(path)?.into_bytes()));
                personal.secrets.push(what);
            }
        }
        Ok(personal)
    }

    /// Lets `bramble check-config` of this checkout say what it thinks of the file.
    fn approve(&self, config: &Path) -> Result<(), Error> {
        let config = std::path::absolute(config).map_err(Error::file(config))?;
        let mut cargo = run::command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.workspace).args([
            "run",
            "--quiet",
            "--locked",
            "--package",
            "bramble-cli",
            "--",
            "check-config",
        ]);
        match run::text(cargo.arg(&config)) {
            Err(Error::Program { said, .. }) => {
                Err(Error::Other(format!("{} is not taken onto a card:\n{said}", config.display())))
            }
            other => other.map(|_| ()),
        }
    }
}

/// Files of one user that are baked in.
#[derive(Debug)]
pub(crate) struct Personal {
    pub(crate) files: Vec<FatFile>,
    /// Names of those among the files that are secret.
    pub(crate) secrets: Vec<&'static str>,
}

fn fat_file(path: &str, bytes: Vec<u8>) -> FatFile {
    FatFile { path: path.to_owned(), bytes }
}

/// The text of a file that holds a secret. The secret itself is in no message.
fn secret(path: &Path) -> Result<String, Error> {
    const MOST: usize = 4096; // what the program itself reads of such a file
    let refused = |why: &str| Err(Error::Other(format!("{} {why}", path.display())));
    let Ok(text) = String::from_utf8(read(path)?) else { return refused("is no text, so it is no key") };
    match text.trim() {
        "" => refused("is empty; write the key into it"),
        text if text.len() > MOST => refused("is too long for a key"),
        text => Ok(format!("{text}\n")),
    }
}

/// The lines of a file of public keys.
fn public_keys(path: &Path) -> Result<String, Error> {
    let refused = |why: String| Err(Error::Other(format!("{} {why}", path.display())));
    let Ok(text) = String::from_utf8(read(path)?) else {
        return refused("is no text, so it is no public key".to_owned());
    };
    if text.contains("PRIVATE KEY-----") {
        return refused("is a private key, which must stay where it is; the card needs the public one, usually the same name with .pub".to_owned());
    }
    let lines = || (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    if let Some((number, _)) = lines().find(|(_, line)| !is_public_key(line)) {
        return refused(format!(
            "has no public key in line {number}; one begins with ssh-ed25519, ssh-rsa or ecdsa-sha2-nistp256"
        ));
    }
    match lines().next() {
        Some(_) => Ok(lines().map(|(_, line)| format!("{}\n", line.trim())).collect()),
        None => refused("has no key".to_owned()),
    }
}

/// Options may stand before the kind of key. The key itself begins with its kind's length and name, in base64.
fn is_public_key(line: &str) -> bool {
    const KINDS: &[&str] =
        &["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp", "sk-ssh-ed25519@", "sk-ecdsa-sha2-nistp256@"];
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_kind = |word: &str| KINDS.iter().any(|kind| word.starts_with(kind));
    words.windows(2).any(|pair| is_kind(pair[0]) && pair[1].starts_with("AAAA") && pair[1].len() > 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB5bJmMzXqzYhqFqj0r4l2k5w1u3v8m2s9b7e6d5c4b3 user@host";

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("bramble-options-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn file(&self, text: &str) -> PathBuf {
            let path = self.0.join("file");
            std::fs::write(&path, text).expect("written");
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn options() -> Options {
        Options::new(Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace"))
    }

    #[test]
    fn without_options_the_card_has_the_documented_configuration_and_no_secret() {
        let personal = options().files().expect("files");
        assert_eq!(personal.files.len(), 1);
        assert!(personal.secrets.is_empty() && personal.files[0].path == "bramble.toml");
    }

    #[test]
    fn keys_are_put_onto_the_card_by_name_and_secrets_are_told() {
        let folder = Folder::new("keys");
        let mut options = options();
        options.ssh_key = Some(folder.file(&format!("# mine\n{KEY}\n")));
        let personal = options.files().expect("files");
        assert_eq!(personal.files[1].path, "authorized_keys");
        assert_eq!(personal.files[1].bytes, format!("{KEY}\n").into_bytes());
        assert!(personal.secrets.is_empty(), "a public key is no secret");
        options.ssh_key = None;
        options.api_key = Some(folder.file("0123456789abcdef\n\n"));
        let personal = options.files().expect("files");
        assert_eq!((personal.files[1].path.as_str(), personal.secrets.len()), ("api-key", 1));
        assert_eq!(personal.files[1].bytes, b"0123456789abcdef\n");
    }

    #[test]
    fn a_wrong_path_or_an_empty_key_is_told_by_its_path() {
        let folder = Folder::new("wrong");
        let mut options = options();
        options.api_key = Some(folder.file(" \n"));
        assert!(options.files().expect_err("empty").to_string().ends_with("file is empty; write the key into it"));
        options.api_key = Some("/no/such/file".into());
        assert!(options.files().expect_err("none").to_string().starts_with("/no/such/file: No such file"));
    }

    #[test]
    fn what_is_no_public_key_is_refused_and_never_shown() {
        let folder = Folder::new("public");
        let why = |text: &str| public_keys(&folder.file(text)).expect_err("no key").to_string();
        assert!(why("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n").contains("is a private key"));
        assert!(why("").ends_with("has no key"));
        let said = why(&format!("{KEY}\nhunter2\n"));
        assert!(said.contains("line 2") && !said.contains("hunter2"), "{said}");
        assert!(why("ssh-ed25519 short").contains("line 1"));
        assert!(public_keys(&folder.file(&format!("command=\"ls\" {KEY}"))).is_ok());
    }
}

//! The secret of a cluster: every process that knows it belongs to it. Two may be in force at a time, so that the
//! secret can be changed node by node while all go on talking to all.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::{digest, hmac};
use subtle::ConstantTimeEq as _;

/// Longest file that is read; two keys with their names take about 150 bytes.
const MAX_FILE: u64 = 4 << 10;
/// A shorter secret could be found by trying: everybody on the network can record what it signs.
const LEAST_SECRET: usize = 16;
/// Longest name of a key; it stands in every TXT record.
const MAX_ID: usize = 16;
/// Bits beyond 128 would cost room in each TXT record and protect from nothing that exists (RFC 2104, section 5).
const TAG: usize = 16;

/// The key or the two keys of a cluster. The first one signs, each one is accepted. Cheap to clone. `Debug` shows the
/// names of the keys, never a secret.
#[derive(Clone)]
pub struct ClusterKey {
    /// The keys, one or two, with different names.
    keys: Arc<[Key]>,
}

struct Key {
    id: Box<str>,
    hmac: hmac::Key,
}

/// Why there is no key. None of these carries any of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the cluster's key from {path} ([node] cluster_key_file): {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        cause: std::io::Error,
    },
    /// The file is no text of at most 4 KiB.
    #[error(
        "{0} ([node] cluster_key_file) is no text of at most 4 KiB; write one key a line, for example what `openssl rand \
         -hex 32` prints"
    )]
    NotText(PathBuf),
    /// There is no key in it.
    #[error(
        "{0} ([node] cluster_key_file) has no key; write one there, for example what `openssl rand -hex 32` prints"
    )]
    Empty(PathBuf),
    /// There are more than two.
    #[error(
        "{0} ([node] cluster_key_file) has more than two keys; write the one that signs first, and one that is accepted \
         besides until every node has the new one"
    )]
    TooMany(PathBuf),
    /// The text before the colon is no name.
    #[error(
        "line {line} of {path} ([node] cluster_key_file): before the colon stands the key's name, 1 to 16 of a-z, 0-9 \
         and -; write NAME:SECRET, or a secret without a colon"
    )]
    BadId {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The secret is too short.
    #[error(
        "line {line} of {path} ([node] cluster_key_file): the secret has fewer than 16 bytes, so it could be guessed; \
         take what `openssl rand -hex 32` prints"
    )]
    Short {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// Both keys have the same name, so it could not be told which one signed.
    #[error(
        "{0} ([node] cluster_key_file) has two keys of the same name, or the same secret twice; name them NAME:SECRET"
    )]
    SameId(PathBuf),
}

/// Why a signature is none of the cluster's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// The signature names a key that is not here.
    UnknownKey,
    /// The signature was made with another secret, or of something else.
    Wrong,
}

/// 128 bits of an HMAC-SHA-256. `Display` writes 32 hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tag([u8; TAG]);

impl ClusterKey {
    /// Reads one or two keys, one a line, as `NAME:SECRET` or the secret alone; its name is then the first four
    /// hexadecimal digits of its SHA-256. Blank lines and those that begin with `#` are left out.
    ///
    /// # Errors
    /// The file cannot be read, or what stands in it is no one or two keys.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
            .map_err(|cause| KeyError::Unreadable { path: path.into(), cause })?;
        Self::from_bytes(&bytes, path)
    }

    /// As [`ClusterKey::from_file`], where the file has been read already. `path` is its name in a sentence.
    ///
    /// # Errors
    /// What it has is no one or two keys.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, KeyError> {
        let is_plain = |text: &&str| !text.chars().any(|c| c.is_control() && !c.is_ascii_whitespace());
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() as u64 <= MAX_FILE).filter(is_plain);
        Self::from_text(text.ok_or_else(|| KeyError::NotText(path.into()))?, path)
    }

    fn from_text(text: &str, path: &Path) -> Result<Self, KeyError> {
        let lines = text.lines().map(str::trim).zip(1..);
        let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(|(line, number)| Key::from_line(line, number, path)).collect::<Result<Arc<[Key]>, _>>()?;
        match &*keys {
            [] => Err(KeyError::Empty(path.into())),
            [_] => Ok(Self { keys }),
            [one, other] if one.id == other.id => Err(KeyError::SameId(path.into())),
            [_, _] => Ok(Self { keys }),
            _ => Err(KeyError::TooMany(path.into())),
        }
    }

    /// Signs `parts` with the first key; says its name as well.
    pub(crate) fn sign(&self, parts: &[&[u8]]) -> (&str, Tag) {
        let key = self.keys.first().expect("there is at least one key");
        (&key.id, key.tag(parts))
    }

    /// Whether the key called `id` made `tag` of `parts`. Takes the same time wherever they differ.
    pub(crate) fn verify(&self, id: &str, tag: Tag, parts: &[&[u8]]) -> Result<(), Mismatch> {
        let key = self.keys.iter().find(|key| *key.id == *id).ok_or(Mismatch::UnknownKey)?;
        let is_same = key.tag(parts).0.ct_eq(&tag.0);
        if bool::from(is_same) { Ok(()) } else { Err(Mismatch::Wrong) }
    }

    /// A key from the text of a file that tests would write.
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self::from_text(text, Path::new("cluster.key")).expect("a key")
    }
}

impl Key {
    fn from_line(line: &str, number: usize, path: &Path) -> Result<Self, KeyError> {
        let (id, secret) = match line.split_once(':') {
            Some((id, secret)) if is_id(id.trim_end()) => (id.trim_end().into(), secret.trim_start()),
            Some(_) => return Err(KeyError::BadId { path: path.into(), line: number }),
            None => (derived_id(line), line),
        };
        if secret.len() < LEAST_SECRET {
            return Err(KeyError::Short { path: path.into(), line: number });
        }
        Ok(Self { id, hmac: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()) })
    }

    /// Each part goes in behind its length, so that no two lists of parts look the same.
    fn tag(&self, parts: &[&[u8]]) -> Tag {
        let mut context = hmac::Context::with_key(&self.hmac);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Tag::of(context)
    }
}

fn is_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(plain)
}

fn derived_id(secret: &str) -> Box<str> {
    let hash = digest::digest(&digest::SHA256, secret.as_bytes());
    hash.as_ref().iter().take(2).map(|byte| format!("{byte:02x}")).collect()
}

impl Tag {
    /// The first half of the whole tag (RFC 2104, section 5).
    fn of(context: hmac::Context) -> Self {
        let whole = context.sign();
        Self(*whole.as_ref().first_chunk().expect("a SHA-256 has 32 bytes"))
    }

    /// Reads what `Display` writes, and nothing else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits: &[u8; 2 * TAG] = text.as_bytes().try_into().ok()?;
        let mut tag = [0; TAG];
        for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let value = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return None,
                };
                *byte = *byte << 4 | value;
            }
        }
        Some(Self(tag))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.keys.iter().map(|key| (&key.id, "***"));
        f.write_str("ClusterKey ")?;
        f.debug_map().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "an old secret of the cluster";
    const NEW: &str = "a new secret of the cluster";

    /// HMAC-SHA-256 of RFC 4231, cut to 128 bits as its test case 5 is.
    #[test]
    fn a_tag_is_the_beginning_of_the_hmac_that_rfc_4231_gives() {
        let cases: [(&[u8], &[u8], &str); 5] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b"),
            (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c7"),
            (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a7"),
            (&[0x0c; 20], b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f",
            ),
        ];
        for (key, data, tag) in cases {
            let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
            context.update(data);
            assert_eq!(Tag::of(context).to_string(), tag);
        }
    }

    #[test]
    fn a_tag_is_read_as_it_is_written_and_nothing_else_is_a_tag() {
        let (_, tag) = ClusterKey::of(OLD).sign(&[b"x"]);
        let text = tag.to_string();
        assert_eq!(Tag::parse(&text).expect("just written").0, tag.0);
        let upper = text.to_uppercase();
        let cut = &text[..31];
        for wrong in ["", "0", cut, &format!("{text}0"), &upper.replace(char::is_numeric, "A"), &format!("{cut}é")] {
            assert!(Tag::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn where_one_part_ends_and_the_next_begins_is_signed_too() {
        let key = ClusterKey::of(OLD);
        let (id, tag) = key.sign(&[b"ab", b"c"]);
        assert_eq!(key.verify(id, tag, &[b"ab", b"c"]), Ok(()));
        for parts in [&[&b"a"[..], b"bc"][..], &[b"abc"], &[b"ab", b"c", b""], &[b"ab"]] {
            assert_eq!(key.verify(id, tag, parts), Err(Mismatch::Wrong));
        }
    }

    #[test]
    fn during_a_change_the_first_key_signs_and_both_are_accepted() {
        let (before, during, after) =
            (ClusterKey::of(OLD), ClusterKey::of(&format!("{NEW}\n{OLD}")), ClusterKey::of(NEW));
        let parts: &[&[u8]] = &[b"x"];
        let ((old, by_old), (new, by_new)) = (before.sign(parts), during.sign(parts));
        assert_eq!(during.verify(old, by_old, parts), Ok(()));
        assert_eq!(during.verify(new, by_new, parts), Ok(()));
        assert_eq!(after.verify(new, by_new, parts), Ok(()));
        assert_eq!(after.verify(old, by_old, parts), Err(Mismatch::UnknownKey));
        assert_eq!(after.verify(new, by_old, parts), Err(Mismatch::Wrong), "a name is no key");
    }

    #[test]
    fn a_key_has_the_name_it_is_given_or_one_that_follows_from_it() {
        let key = ClusterKey::of(&format!("# since spring\n\n spring-26 : {NEW}\r\n{OLD}\n"));
        let hash: String = digest::digest(&digest::SHA256, OLD.as_bytes()).as_ref()[..2]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(key.keys.iter().map(|key| &*key.id).collect::<Vec<_>>(), ["spring-26", &hash]);
        let alone = ClusterKey::of(NEW).sign(&[]).1.to_string();
        assert_eq!(key.sign(&[]).1.to_string(), alone, "the name and the blanks around it are no part of the secret");
    }

    #[test]
    fn each_mistake_in_a_key_file_is_said_without_any_of_the_key() {
        let three = format!("{OLD}\n{NEW}\na third secret of the cluster");
        for (text, says) in [
            ("", "has no key"),
            ("# only a comment\n\n", "has no key"),
            ("secret", "line 1"),
            ("\nkid:15-byte-secret1", "16 bytes"),
            ("fifteen bytes s", "16 bytes"),
            (&three, "more than two"),
            (&format!("{OLD}\n{OLD}"), "same name"),
            (&format!("a:{OLD}\na:{NEW}"), "same name"),
            (&format!("Name:{OLD}"), "before the colon"),
            (&format!(":{OLD}"), "before the colon"),
            (&format!("a-name-of-17-byte:{OLD}"), "before the colon"),
        ] {
            let error = ClusterKey::from_text(text, Path::new("/etc/bramble/cluster.key")).expect_err(text);
            let said = error.to_string();
            assert!(said.contains(says) && said.contains("/etc/bramble/cluster.key"), "{text:?}: {said}");
            assert!(!format!("{said} {error:?}").contains("secret of"), "{said}");
        }
    }

    #[test]
    fn a_file_that_is_missing_or_no_text_is_named() {
        let error = ClusterKey::from_file(Path::new("/nowhere/cluster.key")).expect_err("no such file");
        assert!(matches!(&error, KeyError::Unreadable { .. }) && error.to_string().contains("/nowhere/cluster.key"));
        let path = std::env::temp_dir().join(format!("bramble-cluster-key-{}", std::process::id()));
        for bytes in [&[0xff; 32][..], &[0; 32], &[b'a'; 5000]] {
            std::fs::write(&path, bytes).expect("a temporary file");
            let error = ClusterKey::from_file(&path).expect_err("no text");
            assert!(matches!(&error, KeyError::NotText(named) if *named == path), "{error:?}");
        }
        std::fs::write(&path, OLD).expect("a temporary file");
        assert!(ClusterKey::from_file(&path).is_ok());
        std::fs::remove_file(path).expect("own file");
    }

    #[test]
    fn no_secret_is_ever_shown() {
        let key = ClusterKey::of(&format!("spring:{NEW}\n{OLD}"));
        let shown = format!("{key:?} {key:#?}");
        assert!(shown.contains("spring") && shown.contains("***"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }
}

//! Public keys of SSH.

/// The types of keys that dropbear takes; DSA is none any more.
const SSH_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Reads a line of an `authorized_keys` without options: type, key, and perhaps a comment.
///
/// # Errors
/// How a sentence goes on after the text.
pub(super) fn parse(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text.contains("PRIVATE KEY") || text.starts_with("PuTTY-User-Key-File") {
        return Err(
            "is a private key, which must never leave its owner: delete it from this file, and since the card \
             was readable to others, make a new pair; what belongs here is the file that ends in .pub",
        );
    }
    if text.contains(char::is_control) || text.len() > 8192 {
        return Err("is more than one line; write each key in quotes of its own");
    }
    let mut words = text.split_ascii_whitespace();
    let (kind, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !SSH_TYPES.contains(&kind) {
        return Err(r#"is not a public key of SSH; write for example "ssh-ed25519 AAAA... you@home""#);
    }
    // The key begins with its type once more (RFC 4253, 6.6), so that one cut short or of another type is noticed.
    let blob = base64(key).ok_or("is a public key with a letter too many, too few or wrong; copy the line again")?;
    let rest = blob.strip_prefix(&[0, 0, 0]).and_then(|rest| rest.split_first());
    match rest {
        Some((length, rest)) if usize::from(*length) == kind.len() && rest.starts_with(kind.as_bytes()) => {}
        _ => return Err("is a public key of another type than it says; copy the line again"),
    }
    if !is_whole(&blob) {
        return Err("is a public key that is cut short; copy the line again");
    }
    Ok(text.to_owned())
}

/// Whether a key is a row of texts, each behind its length in four bytes (RFC 4251, 5), to its last byte.
fn is_whole(mut blob: &[u8]) -> bool {
    let mut fields = 0;
    while let Some((length, rest)) = blob.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some(rest) = rest.get(length..) else { return false };
        (blob, fields) = (rest, fields + 1);
    }
    blob.is_empty() && fields >= 2
}

/// Base64 (RFC 4648, 4) with its padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() % 4 != 0 || text.len() - digits.len() > 2 {
        return None;
    }
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len() / 4 * 3), 0_u32, 0_u32);
    for digit in digits.bytes() {
        let six = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    Some(bytes)
}

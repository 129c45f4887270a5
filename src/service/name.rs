//! Names of services.

/// The most characters of a name: with `-` and the 16 digits of an id it is a label of the DNS, which has 63 (RFC 1035,
/// 2.3.4).
const NAME_MAX: usize = 63 - 17;

/// Whether `name` can be the name of a service: 1 to 46 of a-z, 0-9 and `-`, not at an end.
pub(crate) const fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > NAME_MAX || bytes[0] == b'-' || bytes[bytes.len() - 1] == b'-' {
        return false;
    }
    let mut at = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'-') {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_label_that_has_room_for_an_id() {
        for name in ["greeter", "a", "7", "front-desk-2", &"a".repeat(46)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "a-", "Greeter", "front_desk", "a.b", "grüße", &"a".repeat(47)] {
            assert!(!is_name(name), "{name}");
        }
    }
}

//! Kinds of network interfaces. A cable into an engine's bridge and a macvlan on the LAN look the same by name, address
//! and in /sys; only the kernel's link messages (rtnetlink(7)) tell them apart.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

// Of linux/netlink.h, linux/rtnetlink.h and linux/if_link.h.
const NETLINK_ROUTE: Option<Protocol> = None; // it is 0, which rustix writes so
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const REQUEST_DUMP: u16 = 0x001 | 0x300;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
/// The two highest bits say how an attribute is written.
const TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;
const LINK_HEADER: usize = 16;

/// The kernel answers at once; this is for one that does not know the question.
const PATIENCE: Duration = Duration::from_millis(500);
/// Bytes that the kernel sends at a time at most.
const MAX_PART: usize = 32 << 10;
/// Parts read; a machine with a thousand interfaces sends fewer.
const MAX_PARTS: usize = 256;

/// `veth`, `macvlan`, `bridge`... by name, of those interfaces that are not a machine's own.
pub(super) fn kinds() -> io::Result<BTreeMap<String, String>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, NETLINK_ROUTE)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    sendto(&socket, &question(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut kinds = BTreeMap::new();
    let mut part = vec![0; MAX_PART];
    for _ in 0..MAX_PARTS {
        let (length, _) = recv(&socket, &mut part[..], RecvFlags::empty())?;
        if length == 0 || read(&part[..length.min(MAX_PART)], &mut kinds) {
            break;
        }
    }
    Ok(kinds)
}

/// A wish for all links: `nlmsghdr`, and an `ifinfomsg` of zeros.
fn question() -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + LINK_HEADER);
    message.extend(((HEADER + LINK_HEADER) as u32).to_ne_bytes());
    message.extend(RTM_GETLINK.to_ne_bytes());
    message.extend(REQUEST_DUMP.to_ne_bytes());
    message.resize(HEADER + LINK_HEADER, 0);
    message
}

/// Reads the messages of one part. True if it was the last.
fn read(mut part: &[u8], kinds: &mut BTreeMap<String, String>) -> bool {
    while let Some((header, rest)) = part.split_at_checked(HEADER) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(body) = length.checked_sub(HEADER).and_then(|length| rest.get(..length)) else { return true };
        match u16::from_ne_bytes([header[4], header[5]]) {
            NLMSG_DONE | NLMSG_ERROR => return true,
            RTM_NEWLINK => {
                let attributes = body.get(LINK_HEADER..).unwrap_or_default();
                let kind = attribute(attributes, IFLA_LINKINFO).and_then(|info| attribute(info, IFLA_INFO_KIND));
                if let (Some(name), Some(kind)) = (attribute(attributes, IFLA_IFNAME), kind) {
                    kinds.insert(text(name), text(kind));
                }
            }
            _ => {}
        }
        part = rest.get(padded(body.len())..).unwrap_or_default();
    }
    false
}

/// The content of the first attribute of this type.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (header, rest) = attributes.split_at_checked(4)?;
        let content = rest.get(..usize::from(u16::from_ne_bytes([header[0], header[1]])).checked_sub(4)?)?;
        if u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK == wanted {
            return Some(content);
        }
        attributes = rest.get(padded(content.len())..)?;
    }
}

/// Rounds up to a multiple of four, where every attribute begins.
fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute_of(kind: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = ((content.len() + 4) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(content);
        bytes.resize(padded(bytes.len()), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(body);
        bytes
    }

    fn link(name: &str, kind: Option<&str>) -> Vec<u8> {
        let mut body = vec![0; LINK_HEADER];
        body.extend(attribute_of(IFLA_IFNAME, format!("{name}\0").as_bytes()));
        if let Some(kind) = kind {
            let nested = [attribute_of(7, b"other"), attribute_of(IFLA_INFO_KIND, kind.as_bytes())].concat();
            body.extend(attribute_of(IFLA_LINKINFO | 0x8000, &nested));
        }
        message(RTM_NEWLINK, &body)
    }

    #[test]
    fn the_kind_is_found_among_the_attributes() {
        let part = [link("lo", None), link("eth0", Some("veth\0")), link("eth1", Some("macvlan"))].concat();
        let mut kinds = BTreeMap::new();
        assert!(!read(&part, &mut kinds));
        assert!(read(&message(NLMSG_DONE, &[0; 4]), &mut kinds));
        let pairs: Vec<(&str, &str)> = kinds.iter().map(|(name, kind)| (&**name, &**kind)).collect();
        assert_eq!(pairs, [("eth0", "veth"), ("eth1", "macvlan")]);
    }

    #[test]
    fn this_kernel_answers_and_lo_is_nothing_special() {
        assert!(!kinds().expect("rtnetlink").contains_key("lo"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_go_on_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            read(&bytes, &mut BTreeMap::new());
        }

        #[test]
        fn no_damage_makes_it_panic(at in 0usize..100, value: u8) {
            let mut part = [link("eth0", Some("veth")), link("eth1", Some("veth"))].concat();
            if let Some(byte) = part.get_mut(at) {
                *byte = value;
            }
            read(&part, &mut BTreeMap::new());
        }
    }
}

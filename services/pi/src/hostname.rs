//! The host name of the Pi: the configured one, or one derived from the board's serial number or the network card.

use std::io;

use crate::settings::Pi;

use crate::context::Context;
use crate::machine;

/// Gives the Pi its name. Where that is the network card's, it is another one when the card has come.
pub(crate) fn set(context: &Context, pi: &Pi) {
    let machine = &context.machine;
    let mac = machine.names("/sys/class/net").into_iter().filter(|name| name != "lo");
    let mac = mac.filter_map(|name| machine.text(&format!("/sys/class/net/{name}/address"))).next();
    let serial = context.board.get(|state| state.serial.clone());
    let own = || derived(serial.as_deref(), mac.as_deref());
    let name = if pi.hostname.is_empty() { own() } else { pi.hostname.clone() };
    if context.board.get(|state| state.hostname == name) {
        return;
    }
    if !machine.is_trial {
        let set = rustix::system::sethostname(name.as_bytes()).map_err(io::Error::from);
        let hosts = format!("127.0.0.1 localhost {name}\n");
        let set = set.and_then(|()| machine::replace(&machine.path("/etc/hosts"), hosts.as_bytes(), 0o644));
        if let Err(error) = set {
            context.board.problem("host name", format!("the name {name} cannot be set: {error}"));
        }
    }
    context.board.set(|state| state.hostname = name);
}

/// Host name of a Pi without one in its settings: the end of its serial number, or of a hardware address.
fn derived(serial: Option<&str>, mac: Option<&str>) -> String {
    let digits = |text: &str| text.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_ascii_lowercase();
    let known = [serial, mac].into_iter().flatten().map(digits).find(|digits| digits.len() >= 6);
    known.map_or_else(|| "pi".into(), |digits| format!("pi-{}", &digits[digits.len() - 6..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pi_without_a_name_is_called_after_its_serial_number_else_after_its_network_card() {
        let (serial, mac) = (Some("00000000a1B2c3D4"), Some("b8:27:eb:0f:1a:2b"));
        assert_eq!(derived(serial, mac), "pi-b2c3d4");
        assert_eq!(derived(None, mac), "pi-0f1a2b");
        assert_eq!(derived(Some("12"), None), "pi");
    }
}

//! A role that is killed is started again; one that hangs takes the Pi with it, and all begins anew.

#[test]
fn probe_user() {
    use crate::*;
    let _room = room::Room::enter();
    let up = room::Upstream::start(room::GATEWAY);
    println!("{}", up.url);
    let card = card::Card::with(&[("bramble.toml", "x"), ("api-key", "y")]);
    let fat = card.bytes(1);
    let mut pi = pi::Pi::boot(&card, &pi::Wiring { writable: true, ..Default::default() });
    println!("served after {:?}", pi.started.elapsed());
    assert!(pi.is_on());
    println!("{}", pi.says("data mounted"));
    pi.cut();
    assert!(card.bytes(1) == fat);
    assert_eq!(card.data_faults(), None);
    card.fill_data();
    assert_eq!(card.data_faults(), None);
}

#[test]
fn probe_tap() {
    use crate::*;
    let room = room::Room::enter();
    let card = card::Card::with(&[("bramble.toml", "x"), ("api-key", "y")]);
    let pi = pi::Pi::start(&card, &pi::Wiring { cable: Some((1, room.cable(1))), ..Default::default() });
    room.plug("pi1", false);
    println!("{}", pi.says("carrier"));
    let _dhcp = room.dhcp();
    std::thread::sleep(std::time::Duration::from_secs(6));
    room.plug("pi1", true);
    let addr = std::net::SocketAddr::from(([10, 77, 0, 11], 8088));
    web::until(addr, "/api/weather", pi::BOOT, |s, _| s == 200);
    println!("served after {:?}", pi.started.elapsed());
    println!("{}", pi.serial.text());
}

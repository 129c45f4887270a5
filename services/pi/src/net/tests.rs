//! A time server of our own on loopback, good and bad.

use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::Instant;

use smol::channel::Receiver;

use super::clock::Clock;
use super::ntp::tests::answer;
use super::*;

/// Answers of the server to the question, packet by packet.
type Reply = fn(&[u8]) -> Vec<Vec<u8>>;

const THEN: Duration = Duration::from_secs(1_900_000_000);

fn good(question: &[u8]) -> Vec<u8> {
    answer(question, THEN).to_vec()
}

fn wrong_mark(question: &[u8]) -> Vec<u8> {
    let mut packet = answer(question, Duration::from_secs(2_000_000_000)).to_vec();
    packet[24] ^= 1;
    packet
}

fn kiss_code(question: &[u8], code: &[u8]) -> Vec<u8> {
    let mut packet = good(question);
    packet[1] = 0;
    packet[12..16].copy_from_slice(code);
    packet
}

/// Answers as `reply` says on a port of its own, and counts questions.
fn serve(reply: Reply) -> (u16, Receiver<()>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = socket.local_addr().expect("bound").port();
    let (asked, count) = channel::unbounded();
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let _ = asked.send_blocking(()); // before the answer, since its reader counts; not every test does
            for packet in reply(&packet[..length]) {
                socket.send_to(&packet, from).expect("loopback");
            }
        }
    });
    (port, count)
}

/// The first event of a Pi that asks `names` at `port`, within a time, and how long it took.
fn first(names: &[&str], port: u16, within: Duration) -> Option<(Event, Duration)> {
    let executor = Arc::new(Executor::new());
    let (said, heard) = channel::unbounded();
    let (_changed, network) = channel::bounded(1);
    let resolver = Resolver::with_servers(Vec::new(), "127.0.0.1 time.example\n127.0.0.1 other.example\n");
    let clock = Clock::new(names.iter().map(|name| (*name).to_owned()).collect(), resolver, port);
    let began = Instant::now();
    let keep = clock.keep(Arc::clone(&executor), network, move |event| {
        said.try_send(event).expect("it is heard");
    });
    let _task = executor.spawn(keep);
    let late = async {
        Timer::after(within).await;
        None
    };
    let event = smol::block_on(executor.run(async { heard.recv().await.ok() }.or(late)))?;
    Some((event, began.elapsed()))
}

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_good_server_is_believed_at_once() {
    let (port, _) = serve(|question| vec![good(question)]);
    let (event, took) = first(&["time.example"], port, PATIENCE).expect("it answers");
    let Event::Time { unix_ms, offset_ms, server } = event else { panic!("{event:?} is no time") };
    let time = u64::try_from(THEN.as_millis()).expect("it fits");
    assert!((time..time + 5_000).contains(&unix_ms), "{unix_ms}");
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let behind = i128::from(unix_ms) - i128::try_from(clock).expect("it fits");
    assert!((behind - i128::from(offset_ms)).abs() < 5_000, "{offset_ms} instead of {behind}");
    assert_eq!(server, "time.example");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn forged_and_senseless_packets_before_the_answer_are_passed_over() {
    let (port, _) = serve(|question| {
        let noise = vec![vec![], vec![0; 48], vec![255; 500], question.to_vec(), kiss_code(&[9; 48], b"DENY")];
        noise.into_iter().chain([wrong_mark(question), good(question)]).collect()
    });
    let (event, _) = first(&["127.0.0.1"], port, PATIENCE).expect("it answers");
    assert!(matches!(event, Event::Time { unix_ms, .. } if unix_ms / 1000 < 1_900_000_100), "{event:?}");
}

#[test]
fn a_server_that_is_silent_or_talks_nonsense_is_asked_again_after_a_pause_and_nothing_is_said() {
    for reply in [(|_| Vec::new()) as Reply, |_| vec![vec![7; 48]], |question| vec![wrong_mark(question)]] {
        let (port, asked) = serve(reply);
        assert_eq!(first(&["127.0.0.1"], port, Duration::from_millis(9500)), None);
        assert_eq!(asked.len(), 2, "at the start, and 4 s after it was not answered for 4 s");
    }
}

#[test]
fn a_server_that_does_not_want_to_be_asked_is_not_asked_again() {
    for reply in
        [(|question| vec![kiss_code(question, b"DENY")]) as Reply, |question| vec![kiss_code(question, b"RATE")]]
    {
        let (port, asked) = serve(reply);
        assert_eq!(first(&["127.0.0.1"], port, Duration::from_secs(6)), None);
        assert_eq!(asked.len(), 1);
    }
}

#[test]
fn two_names_of_one_server_make_one_question() {
    let (port, asked) = serve(|question| vec![good(question)]);
    assert!(first(&["time.example", "other.example", "nowhere.example"], port, PATIENCE).is_some());
    assert_eq!(asked.len(), 1);
}

#[test]
fn events_are_lines_that_a_program_can_read() {
    let time = Event::Time { unix_ms: 1_900_000_000_000, offset_ms: -5, server: "a".into() };
    let name = Event::Name { announced: "pi-2".into() };
    let shown = [&time, &name].map(|event| serde_json::to_string(event).expect("plain data"));
    assert_eq!(
        shown,
        [
            r#"{"event":"time","unix_ms":1900000000000,"offset_ms":-5,"server":"a"}"#,
            r#"{"event":"name","announced":"pi-2"}"#
        ]
    );
    assert_eq!(serde_json::from_str::<Event>(&shown[0]).expect("the same"), time);
}

#[test]
fn a_name_that_is_none_is_refused() {
    let settings = Settings { hostname: "my.pi".into(), ..Settings::default() };
    let said = run(settings).expect_err("it has a dot").to_string();
    assert!(said.starts_with("--hostname my.pi: this is not a name for a Pi"), "{said}");
}

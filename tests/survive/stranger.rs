//! Another server at an address where a producer is expected.

use std::net::SocketAddr;
use std::thread::sleep;

use crate::cluster::{Cluster, ms};
use crate::people::{Crowd, PersonRequest, Score, Target};
use crate::support::fake_producer::{Behaviour, FakeProducer};
use crate::support::round_robin::RoundRobin;

/// Answers of servers that are no producers.
const STRANGERS: [(&str, &str); 5] = [
    ("404", "HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\ncontent-length: 9\r\n\r\nnot found"),
    ("301", "HTTP/1.1 301 Moved Permanently\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"),
    ("403", "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\nforbidden"),
    ("200 HTML", "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 15\r\n\r\n<html>hi</html>"),
    (
        "200 of another place",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 282\r\n\r\n\
         {\"zip\":\"99999\",\"country\":\"DE\",\"city\":\"Elsewhere\",\"description\":\"mist\",\"icon\":\"50d\",\
         \"temperature_c\":3.37,\"feels_like_c\":0.9,\"humidity_pct\":81,\"pressure_hpa\":1019,\"wind_mps\":null,\
         \"observed_at\":null,\"fetched_at\":null,\"age_s\":12,\"source\":\"live\",\"message\":\"OK\",\
         \"served_by\":\"producer-0000000000000009\"}",
    ),
];

#[test]
fn a_stranger_at_one_of_two_or_three_addresses_costs_few_questions_and_is_never_believed() {
    let cluster = Cluster::new("stranger");
    let producers = [(); 2].map(|()| cluster.producer("127.0.0.1:0", &["discovery.mdns=false"]));
    let producers = producers.each_ref().map(|one| one.addr);
    for (name, says) in STRANGERS {
        let stranger = FakeProducer::start(Behaviour::Say(says));
        for count in [2, 3] {
            let addrs: Vec<SocketAddr> = std::iter::once(stranger.addr).chain(producers).take(count).collect();
            let form = cluster.consumer_of(&addrs);
            let crowds = [Target::Form(form.addr), Target::Producers(RoundRobin::new(&addrs))];
            let crowds = crowds.map(|target| Crowd::come(target, 100));
            sleep(ms(1000));
            let [asked, plain] = crowds.map(Crowd::end);
            let (score, of_plain) = (Score::of(&asked), Score::of(&plain));
            println!(
                "stranger ({name}) at 1 of {count}, form: {score}\nstranger ({name}) at 1 of {count}, round robin: {of_plain}"
            );
            assert!(score.asked >= 95, "that was no load: {score}");
            assert!(score.asked - score.good <= 4, "{name} at 1 of {count}: {score}");
            assert!(score.good_percent() >= of_plain.good_percent() - 1.0, "{name}: {score}; baseline {of_plain}");
            assert!(!asked.iter().any(PersonRequest::is_of_another_place), "{name} at 1 of {count}");
            assert!(stranger.calls() > 0, "it was asked");
        }
    }
}

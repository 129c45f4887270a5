//! Constants that the harness and the programs it measures share.

/// Answer of every server: a weather report of 300 bytes.
pub const ANSWER: &str = concat!(
    r#"{"zip":"70569","country":"DE","city":"Stuttgart","description":"scattered clouds","icon":"03d","#,
    r#""temperature_c":3.37,"feels_like_c":0.9,"humidity_pct":81,"pressure_hpa":1019,"wind_mps":2.1,"#,
    r#""observed_at":"2026-11-21T14:04:43Z","fetched_at":"2026-11-21T14:05:01Z","age_s":12,"source":"live","id":"p-17"}"#,
);

const _: () = assert!(ANSWER.len() == 300, "the measured answer has 300 bytes");

/// Path that every server is asked for.
pub const QUESTION: &str = "/weather?zip=70569&country=DE";

/// Line of a server on standard output, followed by its address, once it serves.
pub const LISTENING: &str = "listening on http://";

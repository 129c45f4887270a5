//! Questions to a time server and judgement of its answers: SNTP version 4 (RFC 4330, RFC 5905 section 14), with a
//! random number in place of the own time, which is private and could be guessed (draft-ietf-ntp-data-minimization).

use std::time::Duration;

/// Of a packet without extensions.
pub(super) const LENGTH: usize = 48;

/// From 1900, where NTP counts from, to 1970.
const TO_UNIX: u64 = 2_208_988_800;

/// No answer lies before this program: 2024-01-01.
const EARLIEST: Duration = Duration::from_secs(1_704_067_200);

/// A server further than this from its own source of time has none (MAXDIST of RFC 5905 allows 16 s).
const FURTHEST: u64 = 16 << 16;

/// The time at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// Since 1970, when it sent.
    sent: Duration,
    /// How long it held the question.
    held: Duration,
}

impl Answer {
    /// The time, since 1970, as the answer arrived `trip` after the question left.
    pub(super) fn at_arrival(&self, trip: Duration) -> Duration {
        self.sent + trip.saturating_sub(self.held) / 2
    }
}

/// Why an answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Not an answer to the question: another host's, or forged. The real one may still come.
    #[error("it sent something else than an answer")]
    Stray,
    /// The server does not know the time.
    #[error("it does not know the time itself")]
    Unsynchronised,
    /// The values are impossible.
    #[error("its time cannot be right")]
    Absurd,
    /// The server wants to be asked less often.
    #[error("it wants to be asked less often")]
    Rate,
    /// The server does not want to be asked at all.
    #[error("it does not want to be asked from here")]
    Deny,
}

/// The question, with `nonce` as its mark.
pub(super) fn question(nonce: u64) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    packet[0] = 4 << 3 | 3; // version 4, client
    packet[40..].copy_from_slice(&nonce.to_be_bytes());
    packet
}

/// Judges `packet` as the answer to the question marked by `nonce`.
pub(super) fn judge(packet: &[u8], nonce: u64) -> Result<Answer, Refused> {
    let head: &[u8; LENGTH] = packet.first_chunk().ok_or(Refused::Stray)?;
    let (leap, version, mode, stratum) = (head[0] >> 6, head[0] >> 3 & 7, head[0] & 7, head[1]);
    if mode != 4 || !matches!(version, 3 | 4) || number(head, 24) != nonce {
        return Err(Refused::Stray);
    }
    match (stratum, &head[12..16]) {
        (0, b"RATE") => return Err(Refused::Rate),
        (0, b"DENY" | b"RSTR") => return Err(Refused::Deny),
        (1..=15, _) if leap != 3 => {}
        _ => return Err(Refused::Unsynchronised),
    }
    let short = |at: usize| u64::from(u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
    if short(4) / 2 + short(8) >= FURTHEST {
        return Err(Refused::Unsynchronised);
    }
    let (received, sent) = (number(head, 32), number(head, 40));
    if received == 0 || sent == 0 {
        return Err(Refused::Absurd);
    }
    let (received, sent) = (since_1970(received), since_1970(sent));
    match sent.checked_sub(received) {
        Some(held) if sent >= EARLIEST => Ok(Answer { sent, held }),
        _ => Err(Refused::Absurd),
    }
}

fn number(packet: &[u8; LENGTH], at: usize) -> u64 {
    packet[at..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// A stamp of NTP. Its seconds turned over in 2036: without their highest bit they count from there (RFC 4330, 3).
fn since_1970(stamp: u64) -> Duration {
    let (seconds, fraction) = (stamp >> 32, stamp & 0xffff_ffff);
    let era = if seconds >> 31 == 1 { 0 } else { 1 << 32 };
    let nanos = u32::try_from((fraction * 1_000_000_000) >> 32).unwrap_or(0);
    Duration::new((seconds + era).saturating_sub(TO_UNIX), nanos)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A good answer of a server that has the time `unix`.
    pub(in crate::net) fn answer(question: &[u8], unix: Duration) -> [u8; LENGTH] {
        let fraction = u64::from(unix.subsec_nanos()) * (1 << 32) / 1_000_000_000;
        let stamp = ((unix.as_secs() + TO_UNIX) << 32) | fraction;
        let mut packet = [0; LENGTH];
        packet[0] = 4 << 3 | 4;
        packet[1] = 2;
        packet[24..32].copy_from_slice(&question[40..48]);
        packet[32..40].copy_from_slice(&stamp.to_be_bytes());
        packet[40..48].copy_from_slice(&stamp.to_be_bytes());
        packet
    }

    const NOW: Duration = Duration::new(1_800_000_000, 250_000_000);

    fn good() -> [u8; LENGTH] {
        answer(&question(7), NOW)
    }

    #[test]
    fn a_question_tells_nothing_but_its_mark() {
        let packet = question(0x0102_0304_0506_0708);
        assert_eq!(packet[0], 0x23);
        assert!(packet[1..40].iter().all(|byte| *byte == 0));
        assert_eq!(packet[40..], [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn the_time_at_arrival_is_the_servers_and_half_of_the_way() {
        let mut packet = good();
        let received = number(&packet, 32) - (1 << 31); // half a second before it sent
        packet[32..40].copy_from_slice(&received.to_be_bytes());
        let answer = judge(&packet, 7).expect("a good one");
        let late = answer.at_arrival(Duration::from_millis(700)) - NOW;
        assert!((99..=101).contains(&late.as_millis()), "{late:?}");
        assert_eq!(answer.at_arrival(Duration::ZERO).as_secs(), NOW.as_secs());
    }

    #[test]
    fn in_2036_the_seconds_turn_over_and_time_goes_on() {
        assert_eq!(since_1970(0xffff_ffff << 32).as_secs() + 1, since_1970(0).as_secs());
        assert_eq!(since_1970(0).as_secs(), 2_085_978_496);
        assert_eq!(since_1970(1 << 63).as_secs(), 0, "1968 is before 1970");
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_stray() {
        for (at, byte) in [(0, 4 << 3 | 3), (0, 4 << 3 | 5), (0, 1 << 3 | 4), (24, 1), (31, 8)] {
            let mut packet = good();
            packet[at] = byte;
            assert_eq!(judge(&packet, 7), Err(Refused::Stray), "byte {at} is {byte}");
        }
        assert_eq!(judge(&good()[..47], 7), Err(Refused::Stray));
        assert_eq!(judge(&[], 7), Err(Refused::Stray));
        assert!(judge(&[&good()[..], &[0; 20]].concat(), 7).is_ok(), "a signature may follow");
    }

    #[test]
    fn a_server_that_does_not_know_the_time_is_not_believed() {
        for (at, byte) in [(0, 3 << 6 | 4 << 3 | 4), (1, 0), (1, 16), (1, 255), (5, 40), (9, 16)] {
            let mut packet = good();
            packet[at] = byte;
            assert_eq!(judge(&packet, 7), Err(Refused::Unsynchronised), "byte {at} is {byte}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_is_not_believed() {
        let mut backwards = good();
        backwards[40..48].copy_from_slice(&(number(&good(), 32) - 1_000_000).to_be_bytes());
        let mut nothing = good();
        nothing[40..48].fill(0);
        let early = answer(&question(7), Duration::from_secs(1_600_000_000));
        for packet in [backwards, nothing, early] {
            assert_eq!(judge(&packet, 7), Err(Refused::Absurd));
        }
    }

    #[test]
    fn a_kiss_of_death_is_understood_if_it_answers_the_question() {
        for (code, refused) in [
            (b"RATE", Refused::Rate),
            (b"DENY", Refused::Deny),
            (b"RSTR", Refused::Deny),
            (b"INIT", Refused::Unsynchronised),
        ] {
            let mut packet = good();
            packet[1] = 0;
            packet[12..16].copy_from_slice(code);
            assert_eq!(judge(&packet, 7), Err(refused));
            assert_eq!(judge(&packet, 8), Err(Refused::Stray), "any host could say so");
        }
    }
}

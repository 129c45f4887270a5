//! The trace a request belongs to (W3C Trace Context).

/// The header that names the trace a request belongs to (W3C Trace Context).
pub const TRACE: &str = "traceparent";

/// Whether this is a W3C `traceparent`: it goes into headers and logs, so nothing else may pass.
pub(crate) fn is_trace(text: &str) -> bool {
    text.len() == 55 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trace_is_passed_on_as_one() {
        assert!(is_trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for forged in ["", "00-4bf9", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nx: y"] {
            assert!(!is_trace(forged), "{forged:?}");
        }
    }
}

//! The `timezone` of a body, without a time zone database in the program: the standard time of small countries, the
//! sun's for large ones. Summer time is left out.

/// Seconds east of UTC, of a country (ISO 3166, capitals) at this longitude.
pub fn offset_s(country: &str, lon: f64) -> i32 {
    let half_hours = match country {
        "GB" | "IE" | "IS" | "PT" => 0,
        "AT" | "BE" | "CH" | "CZ" | "DE" | "DK" | "DZ" | "ES" | "FR" | "HU" | "IT" | "NL" | "NO" | "PL" | "SE"
        | "SI" => 2,
        "FI" | "GR" | "MD" | "ZA" => 4,
        "IN" | "LK" => 11,
        "SG" => 16,
        "JP" => 18,
        "NZ" => 24,
        "AR" => -6,
        "EC" => -10,
        _ => (lon / 15.0).round() as i32 * 2,
    };
    half_hours * 1_800
}

#[cfg(test)]
mod tests {
    use super::offset_s;

    #[test]
    fn offsets_agree_with_captured_answers_outside_summer_time() {
        for (country, lon, offset) in [
            ("DE", 13.41, 3_600),
            ("JP", 139.69, 32_400),
            ("US", -86.88, -21_600),
            ("US", -123.262, -28_800),
            ("AR", -58.24, -10_800),
            ("IN", 77.6, 19_800),
        ] {
            assert_eq!(offset_s(country, lon), offset, "{country}");
        }
    }
}

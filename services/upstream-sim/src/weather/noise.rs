//! Chance that can be asked twice: the same place and time always draw the same number, near ones a near number.
//!
//! Value noise: hashed numbers on a lattice, smoothly interpolated (K. Perlin's fade curve over lattice values).

/// Name of an independent field of noise.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    Front = 1,
    Pressure,
    Cloud,
    Moisture,
    Rain,
    Wind,
    Bearing,
    Local,
    Height,
}

/// Cells of this many degrees: neighbours within some 100 km share their weather.
const CELL_DEG: f64 = 6.0;
const CELLS_ROUND: i64 = 60; // 360 / CELL_DEG, so that the field closes at the date line
/// A front passes in about this many days.
const CELL_DAYS: f64 = 2.5;

/// Between -1 and 1, smooth in position (degrees) and time (days).
pub(super) fn smooth(field: Field, lat: f64, lon: f64, days: f64) -> f64 {
    let (x, y, t) = (lat / CELL_DEG, lon / CELL_DEG, days / CELL_DAYS);
    // The second octave makes hours differ; interpolation pulls towards the middle, the factor pushes back out.
    let coarse = interpolate(field as u64, x, y, t, CELLS_ROUND);
    let fine = interpolate(field as u64 + 100, x * 2.0, y * 2.0, t * 4.0, CELLS_ROUND * 2);
    (1.3 * coarse + 0.4 * fine).clamp(-1.0, 1.0)
}

/// Between 0 and 1, differs from place to place without pattern.
pub(super) fn hashed(field: Field, lat: f64, lon: f64) -> f64 {
    (lattice(field as u64 + 200, (lat * 1e4) as i64, (lon * 1e4) as i64, 0) + 1.0) / 2.0
}

fn interpolate(seed: u64, x: f64, y: f64, t: f64, round: i64) -> f64 {
    let (x0, y0, t0) = (x.floor(), y.floor(), t.floor());
    let (fx, fy, ft) = (fade(x - x0), fade(y - y0), fade(t - t0));
    let at = |dx: i64, dy: i64, dt: i64| {
        lattice(seed, x0 as i64 + dx, (y0 as i64 + dy).rem_euclid(round), (t0 as i64).wrapping_add(dt))
    };
    let along_t = |dx, dy| lerp(at(dx, dy, 0), at(dx, dy, 1), ft);
    let along_y = |dx| lerp(along_t(dx, 0), along_t(dx, 1), fy);
    lerp(along_y(0), along_y(1), fx)
}

fn lerp(a: f64, b: f64, at: f64) -> f64 {
    a + (b - a) * at
}

fn fade(x: f64) -> f64 {
    x * x * (3.0 - 2.0 * x)
}

/// Between -1 and 1.
fn lattice(seed: u64, x: i64, y: i64, t: i64) -> f64 {
    let bits = [x, y, t].into_iter().fold(mix(seed), |hash, part| mix(hash ^ part as u64));
    (bits >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// A step of SplitMix64 (G. Steele, D. Lea, C. Flood, 2014).
fn mix(bits: u64) -> u64 {
    let z = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_points_draw_near_numbers_and_far_ones_do_not() {
        let (mut near, mut far) = (0.0_f64, 0.0_f64);
        for step in 0..500 {
            let (lat, lon, days) = (f64::from(step % 140) - 70.0, f64::from(step * 7 % 360) - 180.0, f64::from(step));
            let here = smooth(Field::Front, lat, lon, days);
            assert!((-1.0..=1.0).contains(&here));
            near = near.max((here - smooth(Field::Front, lat + 0.05, lon, days)).abs());
            far = far.max((here - smooth(Field::Front, lat + 30.0, lon, days)).abs());
        }
        assert!(near < 0.1 && far > 0.7, "{near} {far}");
    }

    #[test]
    fn the_field_closes_at_the_date_line() {
        let gap = smooth(Field::Wind, 10.0, 179.9999, 5.0) - smooth(Field::Wind, 10.0, -179.9999, 5.0);
        assert!(gap.abs() < 0.001, "{gap}");
    }
}

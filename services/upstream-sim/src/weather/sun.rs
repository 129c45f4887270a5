//! When the sun rises and sets, for the icon's `d` or `n` and for `sys`.
//!
//! The sunrise equation with the equation of the centre and the equation of time, and the constants of L. Strous,
//! "Position of the Sun" (aa.quae.nl); good to about two minutes below the polar circles.

const DAY_S: f64 = 86_400.0;
/// Noon of 1 January 2000 UTC, the epoch of the elements below, in Unix seconds.
const J2000_S: f64 = 946_728_000.0;
/// The sun's centre stands this far below the horizon when its edge seems to touch it: refraction and radius.
const HORIZON_DEG: f64 = -0.833;
const TILT_DEG: f64 = 23.4393;

/// The sun over a place during one solar day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sun {
    /// Rises and sets, Unix seconds.
    Rises {
        /// Unix seconds.
        sunrise: i64,
        /// Unix seconds, after `sunrise`.
        sunset: i64,
    },
    /// Stays above the horizon.
    PolarDay,
    /// Stays below it.
    PolarNight,
}

impl Sun {
    /// Of the solar day (midnight to midnight by the sun) that `at`, Unix seconds, belongs to.
    pub fn over(lat: f64, lon: f64, at: i64) -> Self {
        let east_s = lon / 360.0 * DAY_S;
        let day = ((at as f64 + east_s) / DAY_S).floor();
        let mean_noon = day * DAY_S + DAY_S / 2.0 - east_s;
        let days = (mean_noon - J2000_S) / DAY_S;

        let anomaly = (357.5291 + 0.985_600_28 * days).to_radians();
        let centre = 1.9148 * anomaly.sin() + 0.02 * (2.0 * anomaly).sin() + 0.0003 * (3.0 * anomaly).sin();
        let longitude = (anomaly.to_degrees() + centre + 180.0 + 102.9372).to_radians();
        let noon = mean_noon + DAY_S * (0.0053 * anomaly.sin() - 0.0069 * (2.0 * longitude).sin());

        let declination = (longitude.sin() * TILT_DEG.to_radians().sin()).asin();
        let phi = lat.to_radians();
        let cosine = (HORIZON_DEG.to_radians().sin() - phi.sin() * declination.sin()) / (phi.cos() * declination.cos());
        if cosine >= 1.0 {
            Self::PolarNight
        } else if cosine <= -1.0 {
            Self::PolarDay
        } else {
            let half = cosine.acos() / std::f64::consts::TAU * DAY_S;
            Self::Rises { sunrise: (noon - half) as i64, sunset: (noon + half) as i64 }
        }
    }

    /// Whether the sun is up at this Unix second of the day.
    pub fn is_up(self, at: i64) -> bool {
        match self {
            Self::Rises { sunrise, sunset } => (sunrise..sunset).contains(&at),
            Self::PolarDay => true,
            Self::PolarNight => false,
        }
    }

    /// Sunrise and sunset as the weather API writes them: both 0 where there is none.
    pub fn as_sent(self) -> (i64, i64) {
        match self {
            Self::Rises { sunrise, sunset } => (sunrise, sunset),
            Self::PolarDay | Self::PolarNight => (0, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sun_rises_when_captured_answers_say() {
        // lat, lon, dt, sunrise, sunset of captured bodies.
        for (lat, lon, at, sunrise, sunset) in [
            (52.52, 13.41, 1_573_317_480, 1_573_280_193, 1_573_313_029),
            (35.6895, 139.6917, 1_727_074_026, 1_727_036_989, 1_727_080_649),
            (50.4501, 30.5241, 1_612_202_015, 1_612_157_572, 1_612_191_000),
            (60.0, -60.0, 1_696_015_048, 1_695_981_601, 1_696_023_642),
            (-25.13, -58.24, 1_579_785_089, 1_579_771_335, 1_579_819_606),
            (0.0, 0.0, 1_768_396_543, 1_768_370_712, 1_768_414_340),
        ] {
            let Sun::Rises { sunrise: rise, sunset: set } = Sun::over(lat, lon, at) else {
                panic!("no sunrise at {lat},{lon}")
            };
            assert!((rise - sunrise).abs() < 180 && (set - sunset).abs() < 180, "{lat},{lon}: {rise} {set}");
            assert_eq!(Sun::over(lat, lon, at).is_up(at), sunrise <= at && at < sunset);
        }
    }

    #[test]
    fn beyond_the_polar_circle_the_sun_stays_up_in_june_and_down_in_december() {
        let (june, december) = (1_750_500_000, 1_734_780_000); // 21 June 2025, 21 December 2024
        assert_eq!(Sun::over(75.0, 20.0, june), Sun::PolarDay);
        assert_eq!(Sun::over(75.0, 20.0, december), Sun::PolarNight);
        assert_eq!(Sun::over(-75.0, 20.0, june), Sun::PolarNight);
        assert_eq!(Sun::PolarDay.as_sent(), (0, 0));
        assert!(Sun::PolarDay.is_up(june) && !Sun::PolarNight.is_up(june));
    }
}

//! Quantities as people write them in scenario files: `"400 kW"`, `"5s"`, `"12 %"`, `"14:00"`.
//!
//! A bare number is refused where a unit is needed, with words that say which units there are.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::config::quantity;
use crate::units::Watts;

/// The longest time in a scenario: a leap year.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Reads a power.
pub fn power(text: &str) -> Option<Watts> {
    Watts::new(quantity::parse(text, &quantity::POWER).ok()?).ok()
}

/// Reads a duration; not negative, at most a year.
pub fn duration(text: &str) -> Option<Duration> {
    quantity::parse_time(text).ok().filter(|time| *time <= LONGEST)
}

/// Reads a percentage as a fraction.
pub fn fraction(text: &str) -> Option<f64> {
    quantity::parse(text, &quantity::SHARE).ok()
}

/// A power, or a share of one that stands elsewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    /// In watts.
    Power(Watts),
    /// As a fraction.
    Share(f64),
}

/// Reads a power or a percentage.
pub fn size(text: &str) -> Option<Size> {
    power(text).map(Size::Power).or_else(|| fraction(text).map(Size::Share))
}

/// Reads a frequency in hertz, 1 to 1,000.
pub fn frequency(text: &str) -> Option<f64> {
    quantity::parse(text, &quantity::FREQUENCY).ok().filter(|hertz| (1.0..=1e3).contains(hertz))
}

/// Reads how often something repeats itself, in hertz, 0.01 to 20.
pub fn rhythm(text: &str) -> Option<f64> {
    quantity::parse(text, &quantity::FREQUENCY).ok().filter(|hertz| (0.01..=20.0).contains(hertz))
}

/// Reads a voltage in volts, 0 to a million.
pub fn voltage(text: &str) -> Option<f64> {
    quantity::parse(text, &quantity::VOLTAGE).ok().filter(|volts| (0.0..=1e6).contains(volts))
}

/// Reads a time of day as the time since midnight.
pub fn time_of_day(text: &str) -> Option<Duration> {
    let mut parts = text.split(':');
    let mut part = |limit: u64, optional: bool| -> Option<u64> {
        match parts.next() {
            None => optional.then_some(0),
            Some(digits) if digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|number| *number < limit)
            }
            Some(_) => None,
        }
    };
    let (hours, minutes, seconds) = (part(24, false)?, part(60, false)?, part(60, true)?);
    match parts.next() {
        None => Some(Duration::from_secs(hours * 3600 + minutes * 60 + seconds)),
        Some(_) => None,
    }
}

macro_rules! written {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $parse:path, $expecting:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(pub $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Reader;
                impl Visitor<'_> for Reader {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $parse(text)
                            .map($name)
                            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
                    }
                }
                deserializer.deserialize_str(Reader)
            }
        }
    };
}

written! {
    /// A power in TOML.
    Power, Watts, power, "a power with its unit in quotes, like \"400 kW\" (W, kW, MW, GW)"
}
written! {
    /// A duration in TOML.
    Time, Duration, duration, "a duration with its unit in quotes, like \"5s\" (ms, s, min, h)"
}
written! {
    /// A fraction in TOML.
    Share, f64, fraction, "a percentage in quotes, like \"12 %\""
}
written! {
    /// A power or a fraction in TOML.
    Level, Size, size, "a power or a percentage in quotes, like \"1.9 kW\" or \"55 %\""
}
written! {
    /// A frequency in TOML.
    Frequency, f64, frequency, "a frequency with its unit in quotes, like \"49.5 Hz\""
}
written! {
    /// How often something repeats itself, in TOML.
    Rhythm, f64, rhythm, "how often, with its unit in quotes, like \"0.5 Hz\" (0.01 to 20 Hz)"
}
written! {
    /// A voltage in TOML.
    Voltage, f64, voltage, "a voltage with its unit in quotes, like \"207 V\""
}
written! {
    /// A time of day in TOML.
    TimeOfDay, Duration, time_of_day, "a time of day in quotes, like \"14:00\" or \"14:00:30\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_quantities_in_many_ways() {
        assert_eq!(power("400 kW"), Some(Watts::whole(400_000)));
        assert_eq!(power("1.2MW"), Some(Watts::whole(1_200_000)));
        assert_eq!(power("-50 kW"), Some(Watts::whole(-50_000)));
        assert_eq!(duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("1.5 min"), Some(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert!((fraction("12.5 %").unwrap() - 0.125).abs() < 1e-12);
        assert_eq!(time_of_day("14:05"), Some(Duration::from_secs(50_700)));
        assert_eq!(time_of_day("14:05:10"), Some(Duration::from_secs(50_710)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["400", "kW", "400 kWh", "400 KW", "1e400 kW", "--4 kW", "inf kW", "NaN W"] {
            assert_eq!(power(text), None, "{text}");
        }
        for text in ["5", "-5s", "5 m", "99999h", ""] {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in ["12", "12 percent"] {
            assert_eq!(fraction(text), None, "{text}");
        }
        for text in ["24:00", "14", "14:60", "1:00", "14:00:00:00", "-1:00", "14:00:61"] {
            assert_eq!(time_of_day(text), None, "{text}");
        }
    }
}

//! Quantities with their unit in the type.
//!
//! Power is in watts and import and consumption are positive, everywhere. Every quantity is finite: the
//! constructors refuse NaN and infinity, and arithmetic saturates at the largest finite value, so neither can
//! enter the control law by any way.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number that is NaN or infinite was offered as a quantity.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{0} is not a finite number")]
pub struct NotFinite(pub f64);

/// Brings the result of arithmetic on finite numbers back into the finite range. The one way to NaN
/// (`0 × ∞`, `∞ − ∞`) needs an infinite operand, which no quantity can hold, so NaN is mapped to zero only to
/// keep the function total.
fn saturate(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(f64::MIN, f64::MAX) }
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, PartialOrd, Default)]
        pub struct $name(f64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0.0);

            /// Takes a number in the base unit.
            ///
            /// # Errors
            /// [`NotFinite`] for NaN and infinity.
            pub fn new(value: f64) -> Result<Self, NotFinite> {
                if value.is_finite() { Ok(Self(value)) } else { Err(NotFinite(value)) }
            }

            /// Takes a number that arithmetic on finite numbers gave; saturates instead of failing.
            pub fn saturating(value: f64) -> Self {
                Self(saturate(value))
            }

            /// Takes a whole number in the base unit; for constants.
            pub const fn whole(value: i32) -> Self {
                Self(value as f64)
            }

            /// The number in the base unit.
            pub const fn get(self) -> f64 {
                self.0
            }

            /// The smaller of two.
            pub fn min(self, other: Self) -> Self {
                Self(self.0.min(other.0))
            }

            /// The larger of two.
            pub fn max(self, other: Self) -> Self {
                Self(self.0.max(other.0))
            }

            /// Not below zero.
            pub fn at_least_zero(self) -> Self {
                self.max(Self::ZERO)
            }

            /// Within a range. An inverted range gives its lower end.
            pub fn clamp(self, low: Self, high: Self) -> Self {
                self.min(high).max(low)
            }

            /// Without its sign.
            pub fn abs(self) -> Self {
                Self(self.0.abs())
            }

            /// Multiplied by a plain number; a factor that is not finite counts as zero.
            pub fn scaled(self, factor: f64) -> Self {
                if factor.is_finite() { Self(saturate(self.0 * factor)) } else { Self::ZERO }
            }

            /// How many times `other` fits, `None` when `other` is zero.
            pub fn ratio(self, other: Self) -> Option<f64> {
                let quotient = self.0 / other.0;
                quotient.is_finite().then_some(quotient)
            }

            /// Total order (the values are finite, so none is left out).
            pub fn total_cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.0.total_cmp(&other.0)
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(saturate(self.0 + other.0))
            }
        }

        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(saturate(self.0 - other.0))
            }
        }

        impl Neg for $name {
            type Output = Self;
            fn neg(self) -> Self {
                Self(-self.0)
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                *self = *self - other;
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
                values.fold(Self::ZERO, |total, value| total + value)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_f64(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::new(f64::deserialize(from)?).map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

quantity! {
    /// Power in watts. Import and consumption are positive, export and generation negative.
    Watts
}
quantity! {
    /// Rate of change of power, in watts per second.
    WattsPerSecond
}
quantity! {
    /// Energy in joules.
    Joules
}
quantity! {
    /// Hashes per second.
    Hashrate
}

impl Watts {
    /// From kilowatts; for constants and tests.
    pub fn kilowatts(value: f64) -> Self {
        Self::saturating(value * 1e3)
    }

    /// The energy of this power over a time.
    pub fn over(self, time: Duration) -> Joules {
        Joules::saturating(self.0 * time.as_secs_f64())
    }
}

impl WattsPerSecond {
    /// The change of power over a time.
    pub fn over(self, time: Duration) -> Watts {
        Watts::saturating(self.0 * time.as_secs_f64())
    }
}

impl Joules {
    /// In kilowatt-hours, as people and invoices count.
    pub fn kilowatt_hours(self) -> f64 {
        self.0 / 3.6e6
    }
}

impl Hashrate {
    /// From terahashes per second, as vendors write it.
    pub fn terahashes(value: f64) -> Self {
        Self::saturating(value * 1e12)
    }

    /// In terahashes per second.
    pub fn as_terahashes(self) -> f64 {
        self.0 / 1e12
    }
}

/// Writes a number with the prefix that leaves one to three digits before the point.
fn engineering(f: &mut fmt::Formatter<'_>, value: f64, unit: &str) -> fmt::Result {
    // What would be rounded to a thousand has the next prefix.
    let (divisor, prefix) = match value.abs() {
        size if size < 999.5 => (1.0, ""),
        size if size < 999.95e3 => (1e3, "k"),
        size if size < 999.95e6 => (1e6, "M"),
        size if size < 999.95e9 => (1e9, "G"),
        size if size < 999.95e12 => (1e12, "T"),
        size if size < 999.95e15 => (1e15, "P"),
        _ => (1e18, "E"),
    };
    let scaled = value / divisor;
    // A hundredth of a watt is noise; a hundredth of a megawatt is not.
    let digits = match (divisor > 1.0, scaled.abs()) {
        (false, _) => 0,
        (true, size) if size < 9.995 => 2,
        (true, _) => 1,
    };
    // No device has so much: it is a number from outside that is told as wrong, or no bound at all.
    let text = if scaled.abs() >= 1e4 {
        format!("{value:.1e} {unit}")
    } else {
        format!("{scaled:.digits$} {prefix}{unit}")
    };
    // Rounding may leave a lone minus sign in front of a zero.
    f.pad(if text.starts_with("-0 ") { text.trim_start_matches('-') } else { &text })
}

impl fmt::Display for Watts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        engineering(f, self.0, "W")
    }
}

impl fmt::Display for WattsPerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        engineering(f, self.0, "W/s")
    }
}

impl fmt::Display for Joules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        engineering(f, self.0 / 3600.0, "Wh")
    }
}

impl fmt::Display for Hashrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        engineering(f, self.0, "H/s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_nothing_draws_is_no_line_of_digits() {
        assert_eq!(Watts::saturating(f64::MAX).to_string(), "1.8e308 W");
        assert_eq!(Watts::saturating(-1e30).to_string(), "-1.0e30 W");
        assert_eq!(Watts::saturating(5e21).to_string(), "5000.0 EW");
    }

    #[test]
    fn a_number_that_is_not_finite_is_refused() {
        assert!(Watts::new(f64::NAN).is_err());
        assert!(Watts::new(f64::INFINITY).is_err());
        assert!(Watts::new(-0.5).is_ok());
    }

    #[test]
    fn arithmetic_saturates_and_stays_finite() {
        let huge = Watts::saturating(f64::MAX);
        assert!((huge + huge).get().is_finite());
        assert!((-huge - huge).get().is_finite());
        assert!(huge.scaled(f64::NAN).get().is_finite());
        assert!(huge.scaled(1e10).get().is_finite());
    }

    #[test]
    fn people_read_the_prefix_they_expect() {
        assert_eq!(Watts::whole(0).to_string(), "0 W");
        assert_eq!(Watts::saturating(-0.2).to_string(), "0 W");
        assert_eq!(Watts::whole(13).to_string(), "13 W");
        assert_eq!(Watts::whole(-3_280).to_string(), "-3.28 kW");
        assert_eq!(Watts::whole(412_345).to_string(), "412.3 kW");
        assert_eq!(Watts::whole(50_000_000).to_string(), "50.0 MW");
        assert_eq!(Hashrate::terahashes(171.0).to_string(), "171.0 TH/s");
        assert_eq!(Joules::saturating(3.6e6).to_string(), "1.00 kWh");
        assert_eq!(Joules::saturating(3.5996e6).to_string(), "1.00 kWh");
        assert_eq!(Watts::saturating(-999.7).to_string(), "-1.00 kW");
        assert_eq!(Watts::whole(999_960).to_string(), "1.00 MW");
        assert_eq!(Watts::whole(999_940).to_string(), "999.9 kW");
        assert_eq!(Watts::whole(9_996).to_string(), "10.0 kW");
    }
}

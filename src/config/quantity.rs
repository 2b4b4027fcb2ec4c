//! Quantities as people write them: `"2.5 MW"`, `"400 kW"`, `"5s"`, `"250ms"`, `"171 TH/s"`, `"20 kW/s"`.
//!
//! A number, an optional space, a unit. The unit is never guessed: a number without one is refused, and so is a
//! unit in the wrong case, because `m` and `M` are nine orders of magnitude apart. NaN and infinity cannot be written.

use std::time::Duration;

/// Longest text that is looked at.
const LONGEST: usize = 64;

/// A unit: its name, and the factor to the base unit as a fraction of two whole numbers, so that `"7 %"` is the
/// number nearest to 0.07 and not one beside it.
pub type Unit = (&'static str, f64, f64);

/// What is measured, with its units.
#[derive(Debug, PartialEq)]
pub struct Kind {
    /// In words, with its article.
    pub what: &'static str,
    /// Units by rising size.
    pub units: &'static [Unit],
    /// The units to show when one is missing: those that people mean, the smallest first. At least one.
    pub usual: &'static [&'static str],
}

/// Power; base unit watt.
pub const POWER: Kind = Kind {
    what: "a power",
    units: &[("W", 1.0, 1.0), ("kW", 1e3, 1.0), ("MW", 1e6, 1.0), ("GW", 1e9, 1.0)],
    usual: &["W", "kW"],
};

/// Change of power; base unit watt per second.
pub const POWER_RATE: Kind = Kind {
    what: "a change of power",
    units: &[
        ("W/s", 1.0, 1.0),
        ("kW/s", 1e3, 1.0),
        ("MW/s", 1e6, 1.0),
        ("W/min", 1.0, 60.0),
        ("kW/min", 1e3, 60.0),
        ("MW/min", 1e6, 60.0),
    ],
    usual: &["W/s", "kW/s"],
};

/// Time; base unit second.
pub const TIME: Kind = Kind {
    what: "a time",
    units: &[("ms", 1.0, 1e3), ("s", 1.0, 1.0), ("min", 60.0, 1.0), ("h", 3600.0, 1.0), ("d", 86_400.0, 1.0)],
    usual: &["s", "min"],
};

/// Hashrate; base unit hash per second.
pub const HASHRATE: Kind = Kind {
    what: "a hashrate",
    units: &[
        ("H/s", 1.0, 1.0),
        ("kH/s", 1e3, 1.0),
        ("MH/s", 1e6, 1.0),
        ("GH/s", 1e9, 1.0),
        ("TH/s", 1e12, 1.0),
        ("PH/s", 1e15, 1.0),
        ("EH/s", 1e18, 1.0),
    ],
    usual: &["TH/s"],
};

/// Efficiency; base unit joule per hash.
pub const EFFICIENCY: Kind =
    Kind { what: "an efficiency", units: &[("J/TH", 1.0, 1e12), ("J/GH", 1.0, 1e9)], usual: &["J/TH"] };

/// Voltage, in volts.
pub const VOLTAGE: Kind =
    Kind { what: "a voltage", units: &[("mV", 1.0, 1e3), ("V", 1.0, 1.0), ("kV", 1e3, 1.0)], usual: &["V"] };

/// Frequency; base unit hertz.
pub const FREQUENCY: Kind =
    Kind { what: "a frequency", units: &[("mHz", 1.0, 1e3), ("Hz", 1.0, 1.0)], usual: &["Hz"] };

/// What a price is for: with the factor to the base, which is one kilowatt-hour.
pub const PER_ENERGY: &[Unit] = &[("kWh", 1.0, 1.0), ("MWh", 1.0, 1e3)];

/// The same of hashing; the base is one terahash per second over a day.
pub const PER_HASHING: &[Unit] = &[
    ("TH/day", 1.0, 1.0),
    ("PH/day", 1.0, 1e3),
    ("TH/s/day", 1.0, 1.0),
    ("PH/s/day", 1.0, 1e3),
    ("TH/d", 1.0, 1.0),
    ("PH/d", 1.0, 1e3),
];

/// Reads the unit of a price, like `EUR/MWh`: the currency, and the factor that turns a number in this unit into one per
/// base. `None` for what is no such unit.
pub fn price_unit<'t>(text: &'t str, per: &[Unit]) -> Option<(&'t str, f64)> {
    let (currency, what) = text.trim().split_once('/')?;
    let named = (2..=5).contains(&currency.len()) && currency.bytes().all(|byte| byte.is_ascii_alphabetic());
    let (times, over) = unit_of(what, per).filter(|_| named)?;
    Some((currency, times / over))
}

fn unit_of(what: &str, per: &[Unit]) -> Option<(f64, f64)> {
    per.iter().find(|(name, ..)| *name == what).map(|(_, times, over)| (*times, *over))
}

/// Reads a price, like `0.06 USD/kWh`: the number per base, and the currency. `None` for what is none.
pub fn price<'t>(text: &'t str, per: &[Unit]) -> Option<(f64, &'t str)> {
    let text = text.trim();
    if text.len() > LONGEST {
        return None;
    }
    let split = number_length(text);
    let number: f64 = text.get(..split)?.parse().ok()?;
    let unit = text.get(split..)?;
    let (currency, _) = price_unit(unit, per)?;
    // As in `parse`: one rounding, not two.
    let (times, over) = unit_of(unit.trim().split_once('/')?.1, per)?;
    let price = number * times / over;
    price.is_finite().then_some((price, currency))
}

/// Share; base unit one.
pub const SHARE: Kind = Kind { what: "a share", units: &[("%", 1.0, 100.0)], usual: &["%"] };

/// Why a text is not a quantity. Says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Nothing, or no digits.
    #[error("is not {what}; write a number and a unit, like {example}")]
    NoNumber {
        /// What was expected.
        what: &'static str,
        /// How to write it.
        example: String,
    },
    /// A number alone.
    #[error("has no unit; write it like {example}")]
    NoUnit {
        /// How to write it.
        example: String,
    },
    /// A unit that this kind does not have.
    #[error("has `{unit}`, which is no unit of {what}; {advice}")]
    WrongUnit {
        /// As written, cut to a sane length.
        unit: String,
        /// What was expected.
        what: &'static str,
        /// The nearest unit, or all.
        advice: String,
    },
    /// Digits that make no number.
    #[error("has a number that cannot be read; write it like {example}")]
    BadNumber {
        /// How to write it.
        example: String,
    },
    /// A decimal comma.
    #[error("has a comma; write a decimal point, like {example}")]
    Comma {
        /// How to write it.
        example: String,
    },
    /// Larger than any number can be.
    #[error("is too large")]
    TooLarge,
}

/// Reads a quantity into its base unit. The result is finite.
///
/// # Errors
/// [`QuantityError`], which completes a sentence that begins with the key.
pub fn parse(text: &str, kind: &Kind) -> Result<f64, QuantityError> {
    let text = text.trim();
    let example = || with_the_usual(example_number(kind), kind);
    if text.len() > LONGEST {
        return Err(QuantityError::NoNumber { what: kind.what, example: example() });
    }
    let split = number_length(text);
    let (number, unit) = (text.get(..split).unwrap_or(""), text.get(split..).unwrap_or("").trim());
    if !number.contains(|c: char| c.is_ascii_digit()) {
        return Err(QuantityError::NoNumber { what: kind.what, example: example() });
    }
    if unit.starts_with(',') || number.contains(',') {
        return Err(QuantityError::Comma { example: with_a_point(number, unit, kind) });
    }
    if unit.is_empty() {
        return Err(QuantityError::NoUnit { example: with_the_usual(number, kind) });
    }
    let value: f64 = number.parse().map_err(|_| QuantityError::BadNumber { example: example() })?;
    let (_, times, per) =
        kind.units.iter().find(|(name, ..)| *name == unit).ok_or_else(|| wrong_unit(unit, kind))?;
    let base = value * times / per;
    if base.is_finite() { Ok(base) } else { Err(QuantityError::TooLarge) }
}

/// Reads a time. Rounded to a nanosecond.
///
/// # Errors
/// [`QuantityError`]; also for a negative time, as [`QuantityError::NoNumber`] does not apply there.
pub fn parse_time(text: &str) -> Result<Duration, QuantityError> {
    let seconds = parse(text, &TIME)?;
    if seconds < 0.0 {
        return Err(QuantityError::BadNumber { example: String::from("\"5 s\", without a sign") });
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| QuantityError::TooLarge)
}

/// How many bytes at the start are sign, digits, points, underscores and an exponent.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let mut end = usize::from(matches!(at(0), b'+' | b'-'));
    while at(end).is_ascii_digit() || at(end) == b'.' || (at(end) == b',' && at(end + 1).is_ascii_digit()) {
        end += 1;
    }
    let signed = usize::from(matches!(at(end + 1), b'+' | b'-'));
    if matches!(at(end), b'e' | b'E') && at(end + 1 + signed).is_ascii_digit() {
        end += 1 + signed;
        while at(end).is_ascii_digit() {
            end += 1;
        }
    }
    end
}

/// The same quantity with a decimal point, in its own unit. Where the comma may part thousands, another number.
fn with_a_point(number: &str, unit: &str, kind: &Kind) -> String {
    let unit = unit.trim_start_matches(',').trim();
    let number = match number.split_once(',') {
        Some((whole, part)) if part.len() != 3 && !whole.contains('.') && !part.contains(['.', ',']) => {
            format!("{whole}.{part}")
        }
        _ => String::from("2.5"),
    };
    let Some(meant) = cased(unit, kind) else { return with_the_usual(&number, kind) };
    match number.parse::<f64>().ok().filter(|_| is_milli(unit, meant)) {
        // To nine digits: the factor is not exact in binary.
        Some(value) => {
            let milli = (value * 1e6).round() / 1e9;
            format!("\"{number} {meant}\" or \"{milli} {}\"", meant.trim_start_matches('M'))
        }
        None => format!("\"{number} {meant}\""),
    }
}

/// A number with each of the units that may be meant where none is written. Nobody knows which, and between two of them lies a
/// factor of a thousand; of zero they are all the same.
pub fn with_the_usual(number: &str, kind: &Kind) -> String {
    // A share may be written as a part of one.
    let part = number.parse::<f64>().ok().filter(|part| kind.usual == ["%"] && *part > 0.0 && *part <= 1.0);
    if let Some(part) = part {
        return format!("\"{} %\" or \"{number} %\"", (part * 1e8).round() / 1e6);
    }
    let zero = number.parse::<f64>().is_ok_and(|number| number == 0.0);
    let shown = kind.usual.iter().take(if zero { 1 } else { kind.usual.len() });
    shown.map(|unit| format!("\"{number} {unit}\"")).collect::<Vec<_>>().join(" or ")
}

/// The unit that is meant by one that may be written in the wrong case; `None` for none, or for two.
fn cased(unit: &str, kind: &Kind) -> Option<&'static str> {
    let names = || kind.units.iter().map(|(name, ..)| *name);
    names().find(|name| *name == unit).or_else(|| {
        let mut same = names().filter(|name| name.eq_ignore_ascii_case(unit));
        same.next().filter(|_| same.next().is_none())
    })
}

/// Whether a unit means a thousandth as it is written, and a million as it is known here.
fn is_milli(unit: &str, meant: &str) -> bool {
    unit.starts_with('m') && meant.starts_with('M')
}

fn example_number(kind: &Kind) -> &'static str {
    match kind.usual.first() {
        Some(&"s" | &"%") => "5",
        Some(&"J/TH") => "17.5",
        Some(&"TH/s") => "171",
        _ => "400",
    }
}

fn wrong_unit(unit: &str, kind: &Kind) -> QuantityError {
    let all = || {
        let names: Vec<String> = kind.units.iter().map(|(name, ..)| format!("`{name}`")).collect();
        format!("there are {}", names.join(", "))
    };
    let advice = match cased(unit, kind) {
        Some(name) if is_milli(unit, name) => {
            format!("did you mean `{name}`, or a thousandth of `{}`?", name.trim_start_matches('M'))
        }
        Some(name) => format!("did you mean `{name}`?"),
        _ => match unit {
            "m" | "minute" | "minutes" if *kind == TIME => String::from("write `min` for minutes"),
            "sec" | "secs" | "second" | "seconds" if *kind == TIME => String::from("write `s` for seconds"),
            _ => all(),
        },
    };
    QuantityError::WrongUnit {
        unit: unit.chars().take(16).collect(),
        what: kind.what.trim_start_matches("a "),
        advice,
    }
}

/// Writes a number in the base unit so that [`parse`] reads the same number again: exactly, where the
/// kind has its base unit among its units.
pub fn write(base: f64, kind: &Kind) -> String {
    let is_base = |(_, times, per): &&Unit| times.to_bits() == per.to_bits();
    match kind.units.iter().find(is_base) {
        Some((name, ..)) => format!("{base} {name}"),
        None => {
            let (name, times, per) = kind.units.first().copied().unwrap_or(("", 1.0, 1.0));
            format!("{} {name}", base / times * per)
        }
    }
}

/// Writes a time as people do: the largest unit that leaves no fraction, at the least milliseconds.
pub fn write_time(time: Duration) -> String {
    let millis = time.as_millis();
    match millis {
        0 => String::from("0s"),
        _ if millis.is_multiple_of(86_400_000) => format!("{}d", millis / 86_400_000),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}min", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ if millis > 1_000 => format!("{}s", time.as_secs_f64()),
        _ => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [&Kind; 8] =
        [&POWER, &POWER_RATE, &TIME, &HASHRATE, &EFFICIENCY, &SHARE, &VOLTAGE, &FREQUENCY];

    fn power(text: &str) -> Result<f64, QuantityError> {
        parse(text, &POWER)
    }

    #[test]
    fn quantities_are_read_as_people_write_them() {
        assert_eq!(power("2.5 MW"), Ok(2_500_000.0));
        assert_eq!(power("400kW"), Ok(400_000.0));
        assert_eq!(power("-6 kW"), Ok(-6_000.0));
        assert_eq!(power("+13 W"), Ok(13.0));
        assert_eq!(power("1e3 W"), Ok(1_000.0));
        assert_eq!(power(" 0 W "), Ok(0.0));
        assert_eq!(parse("171 TH/s", &HASHRATE), Ok(171e12));
        assert_eq!(parse("20 kW/s", &POWER_RATE), Ok(20e3));
        assert_eq!(parse("60 kW/min", &POWER_RATE), Ok(1e3));
        assert_eq!(parse("5 %", &SHARE), Ok(0.05));
        assert_eq!(parse_time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_time("10min"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_time("1.5 h"), Ok(Duration::from_secs(5_400)));
    }

    #[test]
    fn prices_name_their_currency_and_what_they_are_for() {
        assert_eq!(price("0.06 USD/kWh", PER_ENERGY), Some((0.06, "USD")));
        assert_eq!(price("-12.5 EUR/MWh", PER_ENERGY), Some((-0.0125, "EUR")));
        assert_eq!(price("50 USD/PH/day", PER_HASHING), Some((0.05, "USD")));
        assert_eq!(price("0.05EUR/TH/s/day", PER_HASHING), Some((0.05, "EUR")));
        for text in
            ["", "0.06", "0.06 USD", "USD/kWh", "0.06 USD/GWh", "NaN USD/kWh", "0.06 $/kWh", "1 E1/kWh"]
        {
            assert_eq!(price(text, PER_ENERGY), None, "{text}");
        }
        assert_eq!(price("0.06 USD/kWh", PER_HASHING), None);
    }

    #[test]
    fn a_number_without_unit_is_refused_and_shown_with_one() {
        let error = parse("400", &POWER).unwrap_err();
        assert_eq!(error.to_string(), "has no unit; write it like \"400 W\" or \"400 kW\"");
        let share = |text| parse(text, &SHARE).unwrap_err().to_string();
        assert_eq!(share("0.55"), "has no unit; write it like \"55 %\" or \"0.55 %\"");
        assert_eq!(share("55"), "has no unit; write it like \"55 %\"");
        // Of zero there is nothing to choose.
        assert_eq!(parse("0", &POWER).unwrap_err().to_string(), "has no unit; write it like \"0 W\"");
        assert_eq!(
            parse("5", &TIME).unwrap_err().to_string(),
            "has no unit; write it like \"5 s\" or \"5 min\""
        );
    }

    #[test]
    fn a_unit_in_the_wrong_case_is_refused() {
        let error = parse("2.5 mw", &POWER).unwrap_err().to_string();
        assert!(error.ends_with("did you mean `MW`, or a thousandth of `W`?"), "{error}");
        let error = parse("2.5 KW", &POWER).unwrap_err().to_string();
        assert!(error.ends_with("did you mean `kW`?"), "{error}");
        let error = parse("5 m", &TIME).unwrap_err().to_string();
        assert!(error.contains("`min`"), "{error}");
        assert!(parse("5 kWh", &POWER).is_err());
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", " ", "W", "NaN W", "inf W", "-inf W", "1.2.3 W", "--4 W", "1_000 W", "0x10 W", "."] {
            assert!(parse(text, &POWER).is_err(), "{text}");
        }
        assert_eq!(parse("1e999 W", &POWER), Err(QuantityError::TooLarge));
        for (text, instead) in [
            ("2,5 kW", "\"2.5 kW\""),
            ("0,75MW", "\"0.75 MW\""),
            ("1,000 kW", "\"2.5 kW\""),
            ("7,5", "\"7.5 W\" or \"7.5 kW\""),
            // The unit that was written stays, in its right case: beside it everything is wrong by a thousand.
            ("3,5 KW", "\"3.5 kW\""),
            ("3,5 kw", "\"3.5 kW\""),
            ("3,5 Kw", "\"3.5 kW\""),
            ("3,5 mw", "\"3.5 MW\" or \"0.0035 W\""),
            ("3,5 horses", "\"3.5 W\" or \"3.5 kW\""),
        ] {
            let error = power(text).unwrap_err().to_string();
            assert!(error.ends_with(&format!("a decimal point, like {instead}")), "{error}");
        }
        assert!(parse_time("-5s").is_err());
        assert_eq!(parse_time("1e300 s"), Err(QuantityError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_never_panics(text in ".{0,80}") {
            for kind in KINDS {
                if let Ok(value) = parse(&text, kind) {
                    prop_assert!(value.is_finite());
                }
            }
            let _ = parse_time(&text);
        }

        #[test]
        fn text_that_is_nearly_a_quantity_never_panics(
            number in "[-+]?[0-9.,eE+_-]{0,20}", gap in "[ \u{a0}]{0,3}", unit in "[kMGTWs/minHhJ%µ]{0,6}",
        ) {
            for kind in KINDS {
                if let Ok(value) = parse(&format!("{number}{gap}{unit}"), kind) {
                    prop_assert!(value.is_finite());
                }
            }
        }

        #[test]
        fn what_is_written_is_read_again(value in -1e15..1e15_f64) {
            prop_assert_eq!(parse(&write(value, &POWER), &POWER), Ok(value));
            prop_assert_eq!(parse(&write(value, &HASHRATE), &HASHRATE), Ok(value));
        }

        #[test]
        fn every_unit_scales_by_its_factor(value in 0..1_000_000_u32, kind in 0..KINDS.len(), unit in 0..8_usize) {
            let kind = KINDS[kind];
            let (name, times, per) = kind.units[unit % kind.units.len()];
            prop_assert_eq!(parse(&format!("{value} {name}"), kind), Ok(f64::from(value) * times / per));
        }

        #[test]
        fn a_written_time_is_read_again(millis in 0..10_000_000_000_u64) {
            let time = Duration::from_millis(millis);
            let read = parse_time(&write_time(time)).unwrap();
            prop_assert!(read.abs_diff(time) < Duration::from_micros(1), "{time:?} {read:?}");
        }
    }
}

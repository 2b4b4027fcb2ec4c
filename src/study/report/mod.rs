//! What an assessment says, in characters and as a page.

mod html;
mod text;

pub use html::page;
pub use text::{ranking, report};

/// A power with its prefix: `1.409 MW`.
pub fn power(watts: f64) -> String {
    quantity(watts, "W")
}

/// An energy with its prefix: `12.35 GWh`.
pub fn energy(watt_hours: f64) -> String {
    quantity(watt_hours, "Wh")
}

fn quantity(value: f64, unit: &str) -> String {
    if value.is_nan() {
        return String::from("not known");
    }
    let size = value.abs();
    // Half a unit of the last digit below the next prefix is the next prefix.
    let (scaled, prefix) = match size {
        _ if size < 999.5 => (value, ""),
        _ if size < 999.5e3 => (value / 1e3, "k"),
        _ if size < 999.5e6 => (value / 1e6, "M"),
        _ => (value / 1e9, "G"),
    };
    let digits = match scaled.abs() {
        size if size < 9.9995 && !prefix.is_empty() => 3,
        size if size < 99.995 => 2,
        _ => 1,
    };
    if scaled.abs() < 1e-9 { format!("0 {unit}") } else { format!("{scaled:.digits$} {prefix}{unit}") }
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    if share.is_nan() { String::from("not known") } else { format!("{:.1} %", share * 100.0) }
}

/// A small share in percent, to a hundredth.
fn fine_percent(share: f64) -> String {
    if share.is_nan() { String::from("not known") } else { format!("{:.2} %", share * 100.0) }
}

/// An amount of dollars: `1,234,567`.
fn dollars(amount: f64) -> String {
    let digits = format!("{:.0}", amount.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if amount <= -0.5 { format!("−{text}") } else { text }
}

/// The sentence at the top: how many megawatts, and why.
fn verdict(site: &super::assess::Assessment) -> Vec<String> {
    let carried = |percent: u8| {
        site.carried
            .iter()
            .find(|carried| carried.percent_of_time == percent)
            .map_or(f64::NAN, |carried| carried.watts)
    };
    let mut all = vec![format!(
        "On average {} are to spare. {} of it are there in 50 % of the hours, {} in 90 %, {} in 99 %.",
        power(site.mean_watts),
        power(carried(50)),
        power(carried(90)),
        power(carried(99))
    )];
    if let Some(drought) = site.droughts.get(1).filter(|drought| drought.window_hours > 0.0) {
        all.push(format!(
            "The longest time with less than a quarter of that average was {}{:.0} h ({:.1} days), from {}{}.",
            if drought.window_open { "at least " } else { "" },
            drought.window_hours,
            drought.window_hours / 24.0,
            drought.window_from,
            if drought.window_unknown_hours > 0.0 {
                format!("; {:.1} h of it are not known", drought.window_unknown_hours)
            } else {
                String::new()
            }
        ));
    }
    let sizing = &site.sizing;
    if let Some(why) = &sizing.best_withheld {
        all.push(format!("Which fleet pays best is not said: {why}."));
    }
    // The middle of the hash prices and the middle of the power prices, which are told in that order.
    let powers = sizing
        .best
        .chunk_by(|a, b| a.hash_price.total_cmp(&b.hash_price).is_eq())
        .next()
        .map_or(1, <[_]>::len);
    let middle = sizing.best.len() / powers / 2 * powers + powers / 2;
    if let Some(best) = sizing.best.get(middle) {
        let conditions = format!(
            "If a PH/s earns {:.0} $ a day, a MWh of surplus costs {:.0} $, machines take {:.1} J/TH and a kW of fleet costs {:.0} $ a \
             year (all of this is told, not known)",
            best.hash_price, best.power_price, sizing.joules_per_terahash, sizing.cost_per_kilowatt_year
        );
        all.push(if best.fleet_watts > 0.0 {
            format!(
                "{conditions}, a fleet of {} pays best of the sizes looked at: {} $ a year.",
                power(best.fleet_watts),
                dollars(best.earns_per_year)
            )
        } else {
            format!("{conditions}, no fleet pays.")
        });
    }
    all
}

/// What is to be known of the figures of a hall.
fn hall_words(hall: &super::assess::Hall) -> String {
    format!(
        "If all servers were of one class and always had work, interval by interval. Where less than half of its power is there, \
         `interruptible` is paused, at a quarter of it, and `throttle` is held up from the grid; `guaranteed` always has all of it. The \
         longest time with less than half was {:.1} h. Powers are means.",
        hall.longest_too_little_hours
    )
}

/// What stands beside a drought's length that may have been longer.
const fn at_least(open: bool) -> &'static str {
    if open { "≥ " } else { "" }
}

/// What that means.
const OPEN: &str =
    "≥: it begins or ends where the recording does, or at a part that is not known, and may have been longer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_the_prefix_that_people_use() {
        let told: Vec<String> = [0.0, 12.0, 999.7, 1_409_366.0, 999_600.0, -2_500.0].map(power).to_vec();
        assert_eq!(told, ["0 W", "12.00 W", "1.000 kW", "1.409 MW", "1.000 MW", "-2.500 kW"]);
        assert_eq!(energy(12_352_430_358.0), "12.35 GWh");
        assert_eq!(power(f64::NAN), "not known");
        assert_eq!([dollars(1_234_567.0), dollars(12.0), dollars(-1_000.0)], ["1,234,567", "12", "−1,000"]);
    }
}

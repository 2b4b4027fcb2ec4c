//! Several sites side by side: which is the most regular, and why.

use serde::Serialize;

use super::Assessment;

/// A site among others.
#[derive(Clone, Debug, Serialize)]
pub struct Ranked {
    /// The trace.
    pub name: String,
    /// 1 is the most regular.
    pub rank: usize,
    /// The sum of its ranks in each respect; lower is better.
    pub points: usize,
    /// Where it stands in each respect.
    pub reasons: Vec<String>,
}

type Respect = (&'static str, fn(&Assessment) -> f64, bool);

/// In what respects, what they are called, and whether more is better. All are shares or times, so that size does not count.
const RESPECTS: [Respect; 5] = [
    ("power that 90 % of the hours exceed, of its mean", |site| firm(site), true),
    ("hours without any", |site| site.share_without, false),
    ("longest window below a quarter of its mean, in hours", |site| window(site), false),
    ("change from day to day, of a mean day", |site| site.day_to_day, false),
    ("time at full power of a fleet of its mean", |site| full(site), true),
];

fn firm(site: &Assessment) -> f64 {
    site.carried
        .iter()
        .find(|carried| carried.percent_of_time == 90)
        .map_or(f64::NAN, |carried| carried.watts / site.mean_watts)
}

fn window(site: &Assessment) -> f64 {
    site.droughts.get(1).map_or(f64::NAN, |drought| drought.window_hours)
}

fn full(site: &Assessment) -> f64 {
    let near = |size: &&super::sizing::Size| (size.fleet.watts / site.mean_watts - 1.0).abs();
    let sizes = site.sizing.sizes.iter();
    sizes.min_by(|a, b| near(a).total_cmp(&near(b))).map_or(f64::NAN, |size| size.full_power_share)
}

/// Puts sites in order, the most regular first: in each respect they get the points of their place, and fewer points are better.
pub fn rank(sites: &[Assessment]) -> Vec<Ranked> {
    let mut all: Vec<Ranked> = sites
        .iter()
        .map(|site| Ranked { name: site.name.clone(), rank: 0, points: 0, reasons: Vec::new() })
        .collect();
    for (what, of, more) in RESPECTS {
        let values: Vec<f64> = sites.iter().map(of).collect();
        for (ranked, value) in all.iter_mut().zip(&values) {
            // What is not known is the worst.
            let better = values.iter().filter(|other| {
                if value.is_nan() {
                    !other.is_nan()
                } else if more {
                    *other > value
                } else {
                    *other < value
                }
            });
            let place = better.count() + 1;
            ranked.points += place;
            let told = if value.is_finite() { format!("{value:.3}") } else { "not known".into() };
            ranked.reasons.push(format!("{place}. in {what}: {told}"));
        }
    }
    all.sort_by(|a, b| a.points.cmp(&b.points).then_with(|| a.name.cmp(&b.name)));
    let points: Vec<usize> = all.iter().map(|ranked| ranked.points).collect();
    for ranked in &mut all {
        ranked.rank = points.iter().filter(|points| **points < ranked.points).count() + 1;
    }
    all
}

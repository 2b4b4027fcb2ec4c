//! How well a profile fits what a unit answered. Pure.
//!
//! One register says little: most addresses hold *some* number in most devices. What says something is several points
//! that agree with physics and with each other: a frequency near 50 or 60 Hz, voltages of a grid, phases that add up.

use std::collections::BTreeMap;

use crate::meter::decode::Absent;
use crate::meter::profile::{Certainty, Measure, Profile};
use crate::units::Watts;

/// Powers beyond this are no meter's, in watts.
const MOST_POWER: f64 = 50e6;
/// Energies beyond this are no meter's, in watt-hours.
const MOST_ENERGY: f64 = 1e12;
/// A number smaller than this and not zero is an integer, or two halves of something, read as a float.
const CRUMB: f64 = 1e-6;
/// Frequencies of grids, in hertz.
const FREQUENCY: std::ops::RangeInclusive<f64> = 45.0..=65.0;
/// Voltages between line and neutral or line and line, in volts.
const VOLTAGE: std::ops::RangeInclusive<f64> = 80.0..=500.0;
/// Voltages of grids above those: medium voltage, as a meter shows it that knows its transformers.
const MEDIUM_VOLTAGE: std::ops::RangeInclusive<f64> = 500.0..=72_500.0;
/// The phases of one grid differ by less than this share.
const ALIKE: f64 = 0.2;
/// A profile fits when so many things agree that have nothing to do with each other: voltages alone are met everywhere.
const WITNESSES: u32 = 2;
/// Phases that differ from the total by less than this share of what flows add up.
const PHASES: f64 = 0.03;
/// And by less than so many watts.
const PHASES_WATTS: f64 = 30.0;
/// From this score on a profile fits.
const FITS: f64 = 6.0;

/// What became of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    /// A number, in the unit of the measure.
    Value(f64),
    /// Read, but without a value.
    Absent(Absent),
    /// The unit refused its registers, or did not answer.
    Refused,
}

/// How sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Something in it contradicts physics or another point.
    No,
    /// It can be read, and nothing speaks against it.
    Possible,
    /// Several points agree.
    Fits,
}

/// The judgement.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fit {
    /// The profile's name.
    pub(super) profile: String,
    /// Maker and model.
    pub(super) description: String,
    /// How sure.
    pub(super) class: Class,
    /// For comparing profiles of one class: more is better.
    pub(super) score: f64,
    /// How many points gave a value.
    pub(super) present: usize,
    /// How many points the profile has.
    pub(super) points: usize,
    /// What speaks for it, in few words each.
    pub(super) evidence: Vec<String>,
    /// What speaks against it.
    pub(super) against: Vec<String>,
    /// Whether the profile needs a full scale that only the site knows.
    pub(super) needs_scale: bool,
    certainty: Certainty,
}

/// Collects evidence.
struct Weighing {
    score: f64,
    evidence: Vec<String>,
    against: Vec<String>,
    /// Something that cannot be.
    impossible: bool,
    /// How many things agree that have nothing to do with each other: the frequency, the voltages, the phases.
    witnesses: u32,
}

impl Weighing {
    fn good(&mut self, score: f64, words: impl Into<String>) {
        self.score += score;
        self.evidence.push(words.into());
    }

    fn bad(&mut self, words: impl Into<String>) {
        self.impossible = true;
        self.against.push(words.into());
    }
}

/// Judges a profile by its points. `marked` says whether the unit carries the mark of this profile's maker: `None` where
/// the maker has no mark. `needs_scale` says that power and voltages are in parts of an unknown full scale.
pub(super) fn fit(
    profile: &Profile,
    states: &BTreeMap<Measure, State>,
    marked: Option<bool>,
    needs_scale: bool,
) -> Fit {
    let value = |measure| match states.get(&measure) {
        Some(State::Value(value)) => Some(*value),
        _ => None,
    };
    let mut weighing =
        Weighing { score: 0.0, evidence: Vec::new(), against: Vec::new(), impossible: false, witnesses: 0 };
    match marked {
        Some(true) => {
            weighing.good(FITS, "carries the maker's mark");
            weighing.witnesses += WITNESSES;
        }
        Some(false) => weighing.bad("the maker's mark is missing"),
        None => {}
    }
    match value(Measure::Power) {
        Some(power) if power.abs() > MOST_POWER || crumb(power) => {
            weighing.bad(format!("a power of {power:.3e} W"))
        }
        Some(_) if needs_scale => weighing.good(0.5, "power within its raw range"),
        Some(power) => {
            weighing.good(if power == 0.0 { 0.2 } else { 1.0 }, Watts::saturating(power).to_string())
        }
        None => weighing.bad("no power"),
    }
    match value(Measure::Frequency) {
        Some(hertz) if FREQUENCY.contains(&hertz) => {
            weighing.good(4.0, format!("{hertz:.2} Hz"));
            weighing.witnesses += 1;
        }
        Some(hertz) => weighing.bad(format!("a frequency of {hertz:.3e} Hz")),
        None => {}
    }
    voltages(
        &mut weighing,
        [Measure::VoltageL1, Measure::VoltageL2, Measure::VoltageL3].map(value),
        needs_scale,
    );
    if !needs_scale {
        let phases = [Measure::PowerL1, Measure::PowerL2, Measure::PowerL3].map(value);
        add_up(&mut weighing, value(Measure::Power), &phases);
    }
    for measure in [Measure::EnergyImport, Measure::EnergyExport] {
        if let Some(energy) = value(measure) {
            if !(-1.0..=MOST_ENERGY).contains(&energy) || crumb(energy) {
                weighing.score -= 3.0;
                weighing.against.push(format!("{} of {energy:.3e} Wh", measure.name().replace('_', " ")));
            } else if energy > 0.0 {
                weighing.score += 1.0;
            }
        }
    }
    if let Some(charge) = value(Measure::StateOfCharge) {
        if (0.0..=100.0).contains(&charge) {
            weighing.good(0.5, format!("{charge:.0} % charged"));
        } else {
            weighing.bad(format!("a state of charge of {charge:.0} %"));
        }
    }
    let numbers: Vec<f64> = states
        .values()
        .filter_map(|state| if let State::Value(value) = state { Some(*value) } else { None })
        .collect();
    if numbers.len() > 1 && numbers.iter().all(|number| *number == 0.0) {
        weighing.bad("nothing but zeros");
    }
    let class = match () {
        () if weighing.impossible => Class::No,
        () if weighing.score >= FITS && weighing.witnesses >= WITNESSES && !needs_scale => Class::Fits,
        () => Class::Possible,
    };
    Fit {
        profile: profile.name.clone(),
        description: profile.description.clone(),
        class,
        score: weighing.score,
        present: numbers.len(),
        points: profile.points().filter(|(_, point)| !point.terms.is_empty()).count(),
        evidence: weighing.evidence,
        against: weighing.against,
        needs_scale,
        certainty: profile.certainty,
    }
}

/// Too small to be measured, and not zero.
fn crumb(number: f64) -> bool {
    number != 0.0 && number.abs() < CRUMB
}

fn voltages(weighing: &mut Weighing, volts: [Option<f64>; 3], needs_scale: bool) {
    let mut seen = Vec::new();
    let most = volts.iter().copied().flatten().fold(0.0, f64::max);
    let is_medium = |volts: f64| MEDIUM_VOLTAGE.contains(&volts) && most - volts <= ALIKE * most;
    let medium = !needs_scale && volts.iter().copied().flatten().all(is_medium);
    for (phase, volts) in volts.into_iter().enumerate() {
        let Some(volts) = volts else { continue };
        // In parts of the full scale: half of it is usual.
        let usual = if needs_scale { (0.1..=0.98).contains(&volts) } else { VOLTAGE.contains(&volts) };
        if usual || medium {
            weighing.score += match (needs_scale, phase) {
                (true, _) => 0.3,
                // Many a register of something else holds such a number.
                (false, _) if medium => 1.0,
                (false, 0) => 3.0,
                (false, _) => 1.5,
            };
            seen.push(if needs_scale { format!("{:.0} %", 100.0 * volts) } else { format!("{volts:.0} V") });
        } else if phase == 0 || volts.abs() > 1.0 || crumb(volts) {
            let unit = if needs_scale { "of full scale" } else { "V" };
            weighing.bad(format!("a voltage of {volts:.3e} {unit}"));
        }
    }
    if !seen.is_empty() {
        weighing.evidence.push(seen.join("/"));
        weighing.witnesses += 1;
    }
}

fn add_up(weighing: &mut Weighing, total: Option<f64>, phases: &[Option<f64>; 3]) {
    let present: Vec<f64> = phases.iter().copied().flatten().collect();
    let (Some(total), true) = (total, present.len() == 3) else { return };
    let sum: f64 = present.iter().sum();
    let flowing: f64 = present.iter().map(|power| power.abs()).sum();
    if present.iter().any(|power| power.abs() > MOST_POWER || crumb(*power)) {
        weighing.bad("a power of a phase that cannot be");
    } else if (sum - total).abs() > PHASES * flowing.max(total.abs()) && (sum - total).abs() > PHASES_WATTS {
        weighing.score -= 4.0;
        weighing.against.push(format!(
            "the phases add up to {}, not to {}",
            Watts::saturating(sum),
            Watts::saturating(total)
        ));
    } else if flowing > PHASES_WATTS {
        weighing.good(4.0, "the phases add up");
        weighing.witnesses += 1;
    }
}

/// The best first. Of profiles that say the same of the same registers, the better known one.
pub(super) fn rank(fits: &mut [Fit]) {
    let known = |certainty: Certainty| match certainty {
        Certainty::High => 3,
        Certainty::Medium => 2,
        Certainty::Low => 1,
        Certainty::Unknown => 0,
    };
    fits.sort_by(|one, other| {
        other
            .class
            .cmp(&one.class)
            .then(other.score.total_cmp(&one.score))
            .then(known(other.certainty).cmp(&known(one.certainty)))
            .then(one.profile.cmp(&other.profile))
    });
}

#[cfg(test)]
mod tests {
    use crate::config::builtin;

    use super::*;

    fn states(values: &[(Measure, f64)]) -> BTreeMap<Measure, State> {
        values.iter().map(|(measure, value)| (*measure, State::Value(*value))).collect()
    }

    const GOOD: [(Measure, f64); 10] = [
        (Measure::Power, 9_000.0),
        (Measure::PowerL1, 3_000.0),
        (Measure::PowerL2, 3_000.0),
        (Measure::PowerL3, 3_000.0),
        (Measure::VoltageL1, 230.0),
        (Measure::VoltageL2, 231.0),
        (Measure::VoltageL3, 229.0),
        (Measure::Frequency, 50.01),
        (Measure::EnergyImport, 1e6),
        (Measure::EnergyExport, 0.0),
    ];

    fn judged(profile: &str, values: &[(Measure, f64)]) -> Fit {
        fit(&builtin::profile(profile).unwrap(), &states(values), None, false)
    }

    fn without(measure: Measure, value: f64) -> Vec<(Measure, f64)> {
        GOOD.iter().map(|known| if known.0 == measure { (measure, value) } else { *known }).collect()
    }

    #[test]
    fn points_that_agree_make_a_fit() {
        let fit = judged("eastron-sdm630", &GOOD);
        assert_eq!((fit.class, fit.present, fit.points), (Class::Fits, 10, 10), "{fit:?}");
        assert_eq!(fit.evidence, ["9.00 kW", "50.01 Hz", "230 V/231 V/229 V", "the phases add up"]);
    }

    #[test]
    fn what_contradicts_physics_is_no_fit() {
        for (measure, value) in [
            (Measure::Frequency, 0.0),
            (Measure::Frequency, 500.0),
            (Measure::VoltageL1, 0.0),
            (Measure::VoltageL2, 2_300.0),
            (Measure::Power, 1e9),
            (Measure::Power, 1e-39),
        ] {
            let fit = judged("eastron-sdm630", &without(measure, value));
            assert_eq!(fit.class, Class::No, "{measure:?} = {value}: {fit:?}");
        }
    }

    #[test]
    fn a_single_phase_on_a_meter_of_three_still_fits() {
        let mut values = without(Measure::VoltageL2, 0.0);
        values.retain(|(measure, _)| *measure != Measure::VoltageL3);
        assert_eq!(judged("eastron-sdm630", &values).class, Class::Fits);
    }

    #[test]
    fn phases_that_do_not_add_up_cost_more_than_they_bring() {
        let good = judged("eastron-sdm630", &GOOD);
        let bad = judged("eastron-sdm630", &without(Measure::PowerL1, 30_000.0));
        assert!(bad.score < good.score - 7.0, "{bad:?}");
        assert!(bad.against[0].contains("36.0 kW"), "{bad:?}");
    }

    #[test]
    fn power_alone_is_only_possible_and_zeros_are_nothing() {
        assert_eq!(judged("eastron-sdm630", &[(Measure::Power, 500.0)]).class, Class::Possible);
        assert_eq!(judged("victron-gx", &[(Measure::Power, 0.0), (Measure::PowerL1, 0.0)]).class, Class::No);
        assert_eq!(judged("eastron-sdm630", &[]).class, Class::No);
    }

    #[test]
    fn voltages_alone_never_fit_and_medium_voltage_speaks_for_a_meter() {
        let volts = |volts: f64| {
            [Measure::VoltageL1, Measure::VoltageL2, Measure::VoltageL3].map(|measure| (measure, volts))
        };
        let bare = [&[(Measure::Power, 9_000.0)][..], &volts(230.0)].concat();
        assert_eq!(judged("eastron-sdm630", &bare).class, Class::Possible);
        let energies = [(Measure::EnergyImport, 5e6), (Measure::EnergyExport, 1e6)];
        assert_eq!(judged("eastron-sdm630", &[&bare, &energies[..]].concat()).class, Class::Possible);
        let mut medium: Vec<_> =
            GOOD.iter().copied().filter(|(measure, _)| !measure.name().starts_with("voltage")).collect();
        medium.extend(volts(11_600.0));
        let fit = judged("eastron-sdm630", &medium);
        assert_eq!(fit.class, Class::Fits, "{fit:?}");
        assert!(fit.evidence.join(" ").contains("11600 V"), "{fit:?}");
    }

    #[test]
    fn a_mark_decides_where_the_maker_has_one() {
        let profile = builtin::profile("socomec-countis").unwrap();
        let values = states(&GOOD);
        assert_eq!(fit(&profile, &values, Some(false), false).class, Class::No);
        let marked = fit(&profile, &states(&[(Measure::Power, 10.0)]), Some(true), false);
        assert_eq!(marked.class, Class::Fits);
    }

    #[test]
    fn an_unknown_full_scale_is_possible_at_best() {
        let profile = builtin::profile("satec-pm180").unwrap();
        let parts = states(&[(Measure::Power, 0.02), (Measure::VoltageL1, 0.28)]);
        assert_eq!(fit(&profile, &parts, None, true).class, Class::Possible);
        let zeros = states(&[(Measure::Power, -1.0), (Measure::VoltageL1, 0.0)]);
        assert_eq!(fit(&profile, &zeros, None, true).class, Class::No);
    }

    #[test]
    fn the_profile_with_more_that_agrees_comes_first() {
        let single: Vec<_> = GOOD
            .iter()
            .copied()
            .filter(|(measure, _)| {
                !matches!(
                    measure,
                    Measure::PowerL1
                        | Measure::PowerL2
                        | Measure::PowerL3
                        | Measure::VoltageL2
                        | Measure::VoltageL3
                )
            })
            .collect();
        let mut fits = vec![
            judged("eastron-sdm120", &single),
            judged("victron-gx", &[(Measure::Power, 5.0)]),
            judged("eastron-sdm630", &GOOD),
        ];
        rank(&mut fits);
        let names: Vec<&str> = fits.iter().map(|fit| fit.profile.as_str()).collect();
        assert_eq!(names, ["eastron-sdm630", "eastron-sdm120", "victron-gx"]);
    }
}

//! What a measured step says about a meter. Pure.

use crate::units::Watts;

use super::trial::Estimate;

/// So far the reading may be from what the miners say: miners measure themselves to some percent only.
const TOLERANCE: f64 = 0.15;
/// What is known less exactly than to this part of the step allows no verdict.
const BLURRED: f64 = 0.20;
/// Miners that moved by less than this part of what they were told did not follow.
const FOLLOWED: f64 = 0.3;
/// A plateau takes so many new values.
const NEW_VALUES: f64 = 2.5;
/// A factor this near to a known one is taken for it.
const NEAR: f64 = 0.07;

/// Where the true step is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The miners' own readings.
    Readings,
    /// What they were told: they do not say what they draw.
    Commands,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outcome {
    /// By how much the meter's reading fell.
    pub(super) meter: Estimate,
    /// By how much the miners fell.
    pub(super) miners: Estimate,
    /// Where that is known from.
    pub(super) source: Source,
    /// By how much they were told to fall.
    pub(super) told: Watts,
    /// Whether the configuration turns the meter's sign.
    pub(super) inverted: bool,
    /// How long after the plateaus began the meter showed the step, in seconds, and what it was then, where that is clearer.
    pub(super) late: Option<(f64, Estimate)>,
    /// How often the meter had a new value, and how long the shortest plateau lasted, in seconds.
    pub(super) renewal: Option<(f64, f64)>,
}

/// What is the matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Right direction, right amount.
    Pass,
    /// The reading moves the other way.
    WrongDirection,
    /// The reading moves by another amount, and perhaps the other way, too.
    WrongScale,
    /// The reading does not care.
    NoMovement,
    /// The reading follows, but after the plateaus.
    Late,
    /// A plateau has fewer new values than it takes.
    Slow,
    /// Too much else moves.
    TooNoisy,
    /// The miners did not follow, so nothing was tested.
    MinersStayed,
}

impl Finding {
    /// As shown, in capitals.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::WrongDirection => "WRONG DIRECTION",
            Self::WrongScale => "WRONG SCALE",
            Self::NoMovement => "NO MOVEMENT",
            Self::Late => "TOO LATE",
            Self::Slow => "TOO SLOW",
            Self::TooNoisy => "TOO NOISY",
            Self::MinersStayed => "NOT TESTED",
        }
    }
}

/// The verdict.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    /// What is the matter.
    pub(super) finding: Finding,
    /// In words, and what to do.
    pub(super) words: Vec<String>,
}

/// Judges. `meter` is the meter's name, for the advice.
pub(super) fn judge(outcome: &Outcome, meter: &str) -> Verdict {
    let Outcome { meter: read, miners, source, told, inverted, late, renewal } = *outcome;
    let verdict = |finding, words: Vec<String>| Verdict { finding, words };
    let watts = Watts::saturating;
    if source == Source::Readings && miners.mean < FOLLOWED * told.get() {
        return verdict(
            Finding::MinersStayed,
            vec![
                format!(
                    "the miners were told to draw {told} less, and by their own readings drew {} less: they did not follow, \
                     so nothing is known of the meter",
                    watts(miners.mean)
                ),
                String::from(
                    "look at the miners' own pages: is power control allowed, is another controller at work?",
                ),
            ],
        );
    }
    let size = miners.mean.max(f64::MIN_POSITIVE);
    let factor = read.mean / size;
    let within = (read.within + factor.abs() * miners.within) / size;
    let confidence = format!(
        "the reading {} by {} of what the miners fell by ({} to {} with 95 % confidence)",
        if factor < 0.0 { "rose" } else { "fell" },
        figure(factor.abs()),
        figure((factor.abs() - within).max(0.0)),
        figure(factor.abs() + within)
    );
    let right = factor > 0.0 && (factor - 1.0).abs() <= TOLERANCE.max(within);
    let blurred = read.within > BLURRED * size.max(read.mean.abs());
    if let Some((renewal, plateau)) = renewal.filter(|(renewal, plateau)| renewal * NEW_VALUES > *plateau)
        && (blurred || !right)
    {
        return verdict(
            Finding::Slow,
            vec![
                format!(
                    "the meter had a new value every {renewal:.0} s only, and a plateau lasted {plateau:.0} s: the step is lost \
                     between two values, which says nothing of direction and scale"
                ),
                format!(
                    "let it be watched for longer, so that this is known before the test (--watch {:.0}s): the plateaus are then \
                     made as long as they must be",
                    (renewal * 4.0).ceil()
                ),
                format!(
                    "and for the daemon: stale_after = \"{:.0}s\" or more in [meters.{meter}]; look in the meter's menu whether \
                     it can be quicker",
                    (renewal * 3.0).ceil()
                ),
            ],
        );
    }
    if let Some((by, then)) = late.filter(|_| blurred || !right) {
        return verdict(
            Finding::Late,
            vec![
                format!(
                    "the reading follows, but {by:.0} s after the miners were taken for settled; by then it {} by {}",
                    if then.mean < 0.0 { "had risen" } else { "had fallen" },
                    watts(then.mean.abs())
                ),
                format!(
                    "write lag = \"{by:.0}s\" into [meters.{meter}] and verify once more: the plateaus are then made to wait for \
                     it. A gateway or a cloud in between is the usual reason; a meter that is read itself is quicker"
                ),
            ],
        );
    }
    if blurred {
        let needed = watts(read.within / (0.75 * BLURRED));
        return verdict(
            Finding::TooNoisy,
            vec![
                format!(
                    "other power moves too much: the step of {} is known to ± {} only",
                    watts(size),
                    watts(read.within)
                ),
                format!(
                    "use a larger step (--step \"{:.0} kW\" or more) or more rounds (--rounds 6), or a calmer hour",
                    (needed.get() / 1e3).ceil()
                ),
            ],
        );
    }
    // A tiny movement counts when it is beyond doubt: meters that show watts as kilowatts move by a thousandth.
    let sure = if factor.abs() > 0.02 { read.within } else { 2.0 * read.within };
    if read.mean.abs() <= sure {
        return verdict(
            Finding::NoMovement,
            vec![
                format!(
                    "the miners fell by {}, and the reading did not follow (it moved by {}, known to ± {})",
                    watts(size),
                    watts(read.mean),
                    watts(read.within)
                ),
                String::from(
                    "the meter sits on another circuit than the configuration says, or another meter answers under this \
                     unit id",
                ),
                String::from(
                    "or its current transformers are not connected: shorting links of the terminals still in, or clamps open",
                ),
            ],
        );
    }
    let tolerance = TOLERANCE.max(within);
    if factor > 0.0 && (factor - 1.0).abs() <= tolerance {
        return verdict(Finding::Pass, vec![format!("right direction and right amount: {confidence}")]);
    }
    let mut words = Vec::new();
    let wrong_way = factor < 0.0;
    if wrong_way {
        words.push(format!("wrong direction: {confidence}"));
        words.push(if inverted {
            format!("remove `invert = true` from [meters.{meter}]")
        } else {
            format!(
                "write `invert = true` into [meters.{meter}]; or turn all current transformers (K/P1 towards the grid), or \
                 swap the two wires of each"
            )
        });
    }
    if (factor.abs() - 1.0).abs() > tolerance {
        if !wrong_way {
            words.push(format!("right direction, wrong amount: {confidence}"));
        }
        words.extend(guess(factor.abs(), NEAR.max(within / factor.abs()).min(0.15)));
        return verdict(Finding::WrongScale, words);
    }
    verdict(Finding::WrongDirection, words)
}

/// A factor with as many digits as it needs to be told from zero.
fn figure(factor: f64) -> String {
    if factor < 0.1 { format!("{factor:.4}") } else { format!("{factor:.2}") }
}

/// Ratios of current transformers that are met: primary amperes and secondary amperes.
const TRANSFORMERS: [(u32, u32); 20] = [
    (50, 5),
    (60, 5),
    (75, 5),
    (80, 5),
    (100, 5),
    (125, 5),
    (150, 5),
    (200, 5),
    (250, 5),
    (300, 5),
    (400, 5),
    (500, 5),
    (600, 5),
    (750, 5),
    (800, 5),
    (1_000, 5),
    (1_250, 5),
    (1_500, 5),
    (2_000, 5),
    (2_500, 5),
];

/// What a factor looks like. `factor` is above zero, `near` how exactly it is known.
fn guess(factor: f64, near: f64) -> Vec<String> {
    let is = |known: f64| (factor / known - 1.0).abs() <= near;
    let mut words = Vec::new();
    for (known, text) in [
        (
            1.0 / 3.0,
            "a third: one phase is measured and taken for all, or one of three current transformers is turned (two \
                     phases right, one backwards, leave a third)",
        ),
        (
            2.0 / 3.0,
            "two thirds: one of three current transformers is missing, open, or its voltage tap is dead",
        ),
        (
            0.5,
            "half: a current transformer of twice the ratio that the meter is set to, or two primary turns in the setting",
        ),
        (2.0, "double: two turns through the current transformer, or half of its ratio set in the meter"),
        (3.0, "three times: one phase that is multiplied by three, or three that are each the total"),
        (
            3.0_f64.sqrt(),
            "1.73 times: voltages between phases are taken for those to neutral; check the wiring mode in the \
                          meter's menu",
        ),
        (
            1.0 / 3.0_f64.sqrt(),
            "1/1.73: voltages to neutral are taken for those between phases; check the wiring mode in the \
                                meter's menu",
        ),
        (10.0, "ten times: the profile's scale is wrong by ten (tenths of a watt taken for watts)"),
        (0.1, "a tenth: the profile's scale is wrong by ten (watts taken for tenths of a watt)"),
        (100.0, "a hundred times: the profile's scale is wrong by a hundred"),
        (0.01, "a hundredth: the profile's scale is wrong by a hundred"),
        (1_000.0, "a thousand times: watts are taken for kilowatts; check the profile's scale"),
        (0.001, "a thousandth: kilowatts are taken for watts; check the profile's scale"),
    ] {
        if is(known) {
            words.push(String::from(text));
        }
    }
    let ratio = |(primary, secondary): &(u32, u32)| f64::from(*primary) / f64::from(*secondary);
    if let Some((primary, secondary)) = nearest(factor.recip(), near, ratio) {
        words.push(format!(
            "it reads 1/{:.0}: the ratio of the current transformers ({primary}/{secondary} A?) is not set in the meter, which \
             then shows their secondary side",
            factor.recip()
        ));
    }
    if let Some((primary, secondary)) = nearest(factor, near, ratio) {
        words.push(format!(
            "it reads {factor:.0} times too much: the ratio of the current transformers ({primary}/{secondary} A?) is counted \
             twice, in the meter and in the profile's scale"
        ));
    }
    if words.is_empty() {
        words.push(if (0.7..1.4).contains(&factor) {
            String::from(
                "not far off: compare the meter with a clamp meter, and the miners' own readings with it; if the miners are \
                 wrong, nothing is wrong with the meter",
            )
        } else {
            format!(
                "a factor of {factor:.3}: check the ratio of the current transformers in the meter's menu, and the scale and \
                 word order of the profile"
            )
        });
    }
    words
}

fn nearest(factor: f64, near: f64, ratio: impl Fn(&(u32, u32)) -> f64) -> Option<(u32, u32)> {
    let off = |known: &(u32, u32)| (factor / ratio(known) - 1.0).abs();
    TRANSFORMERS
        .into_iter()
        .filter(|known| off(known) <= near)
        .min_by(|one, other| off(one).total_cmp(&off(other)))
}

/// The meter's lag, for the configuration: how much later half of the step came to the meter than to the miners' own
/// readings. In tenths of a second, not below zero.
pub(super) fn lag(meter_half: f64, miners_half: f64) -> f64 {
    ((meter_half - miners_half).max(0.0) * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(meter: f64, within: f64) -> Outcome {
        Outcome {
            meter: Estimate { mean: meter, within },
            miners: Estimate { mean: 20_000.0, within: 200.0 },
            source: Source::Readings,
            told: Watts::whole(20_000),
            inverted: false,
            late: None,
            renewal: Some((1.0, 8.0)),
        }
    }

    fn judged(meter: f64, within: f64) -> (Finding, String) {
        let verdict = judge(&outcome(meter, within), "pcc");
        (verdict.finding, verdict.words.join("\n"))
    }

    #[test]
    fn the_right_step_passes_with_its_confidence() {
        let (finding, words) = judged(19_400.0, 600.0);
        assert_eq!(finding, Finding::Pass);
        assert!(words.contains("0.97") && words.contains("0.93 to 1.01"), "{words}");
        assert_eq!(judged(22_500.0, 100.0).0, Finding::Pass, "miners measure themselves to some percent");
        assert_eq!(judged(16_000.0, 100.0).0, Finding::WrongScale);
    }

    #[test]
    fn the_wrong_direction_names_the_key_to_set_or_to_remove() {
        let (finding, words) = judged(-20_300.0, 500.0);
        assert_eq!(finding, Finding::WrongDirection);
        assert!(words.contains("write `invert = true` into [meters.pcc]"), "{words}");
        let turned = judge(&Outcome { inverted: true, ..outcome(-20_300.0, 500.0) }, "pcc");
        assert!(turned.words.join("\n").contains("remove `invert = true`"), "{turned:?}");
    }

    #[test]
    fn a_missing_transformer_ratio_is_recognised() {
        let (finding, words) = judged(250.0, 8.0);
        assert_eq!(finding, Finding::WrongScale);
        assert!(words.contains("reads 1/80") && words.contains("400/5 A?"), "{words}");
        let (finding, words) = judged(-250.0, 8.0);
        assert_eq!(finding, Finding::WrongScale);
        assert!(words.contains("invert") && words.contains("1/80"), "both are wrong: {words}");
    }

    #[test]
    fn known_factors_are_told() {
        for (factor, word) in [
            (1.0 / 3.0, "a third"),
            (0.66, "two thirds"),
            (1_000.0, "watts are taken for kilowatts"),
            (0.001, "a thousandth"),
            (1.0 / 40.0, "200/5"),
            (80.0, "counted twice"),
            (1.73, "wiring mode"),
            (1.3, "clamp meter"),
            (5.3, "a factor of 5.300"),
        ] {
            let step = factor * 20_000.0;
            let (finding, words) = judged(step, 0.002 * step);
            assert_eq!(finding, Finding::WrongScale, "{factor}: {words}");
            assert!(words.contains(word), "{factor}: {words}");
        }
    }

    #[test]
    fn no_movement_and_noise_are_told_apart() {
        let (finding, words) = judged(100.0, 900.0);
        assert_eq!(finding, Finding::NoMovement);
        assert!(words.contains("another circuit") && words.contains("shorting links"), "{words}");
        let (finding, words) = judged(15_000.0, 12_000.0);
        assert_eq!(finding, Finding::TooNoisy);
        assert!(words.contains("--step \"80 kW\""), "{words}");
    }

    #[test]
    fn a_late_and_a_slow_meter_are_no_noise_and_no_wrong_scale() {
        let then = Estimate { mean: 19_500.0, within: 300.0 };
        for (seen, within) in [(10_000.0, 500.0), (9_000.0, 9_000.0), (-12_000.0, 2_000.0), (100.0, 900.0)] {
            let late = Outcome { late: Some((17.0, then)), ..outcome(seen, within) };
            let Verdict { finding, words } = judge(&late, "pcc");
            assert_eq!(finding, Finding::Late, "{words:?}");
            assert!(words.join(" ").contains("lag = \"17s\" into [meters.pcc]"), "{words:?}");
            let slow = Outcome { renewal: Some((60.0, 40.0)), ..late };
            let Verdict { finding, words } = judge(&slow, "pcc");
            assert_eq!(finding, Finding::Slow, "{words:?}");
            assert!(words.join(" ").contains("--watch 240s"), "{words:?}");
        }
        let right =
            Outcome { late: Some((17.0, then)), renewal: Some((60.0, 40.0)), ..outcome(19_000.0, 500.0) };
        assert_eq!(judge(&right, "pcc").finding, Finding::Pass, "what is right is right");
        assert_eq!(judge(&outcome(15_000.0, 12_000.0), "pcc").finding, Finding::TooNoisy);
    }

    #[test]
    fn miners_that_stay_where_they_are_test_nothing() {
        let stayed = Outcome { miners: Estimate { mean: 300.0, within: 100.0 }, ..outcome(200.0, 100.0) };
        assert_eq!(judge(&stayed, "pcc").finding, Finding::MinersStayed);
        // Miners that say nothing are believed to have followed.
        let told = Outcome { source: Source::Commands, ..outcome(19_000.0, 500.0) };
        assert_eq!(judge(&told, "pcc").finding, Finding::Pass);
    }

    #[test]
    fn the_lag_is_what_the_meter_is_later_than_the_miners() {
        assert_eq!(lag(3.44, 2.1).to_bits(), 1.3_f64.to_bits());
        assert_eq!(lag(1.0, 2.1).to_bits(), 0.0_f64.to_bits());
    }
}

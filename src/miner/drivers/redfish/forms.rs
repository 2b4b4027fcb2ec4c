//! The three forms in which a BMC has a power limit, and what a resource of each says. Everything is in watts here.
//!
//! | Form | Resource | Document |
//! |---|---|---|
//! | newest | `EnvironmentMetrics.PowerLimitWatts` of a chassis or processor | DMTF schema `EnvironmentMetrics` 1.1 and later |
//! | controls | a `Control` of `ControlType` `Power` | DMTF schema `Control` 1.0 and later |
//! | old | `Power.PowerControl[].PowerLimit` | DMTF schema `Power` 1.0 to 1.7 (deprecated since 2020.4) |
//!
//! Each was seen in DMTF's mock-up `public-rackmount1` (Redfish-Mockup-Server); limits of processors are how NVIDIA's HGX boards have
//! it (NVIDIA, "Domain Power Service", Redfish API). A limit below `AllowableMin` beside a mode `Disabled` is on record for
//! bmcweb (ibm-openbmc/bmcweb, pull request 260).

use serde_json::{Value, json};

use crate::miner::reply::fields;

/// The largest power that is believed of a server, in watts.
pub(super) const MOST_WATTS: f64 = fields::MOST_WATTS;
/// Where a BMC does not say how low it goes: below half, a server is slowed out of proportion, and it pays to pause its work.
const UNSTATED_FLOOR: f64 = 0.5;
/// How far a limit that reads back may lie from what was asked for, in its own unit: BMCs count in whole ones.
const CLOSE: f64 = 0.5;

/// How a limit is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `PATCH …/EnvironmentMetrics {"PowerLimitWatts": {"SetPoint": n}}`.
    Environment,
    /// `PATCH …/Controls/{id} {"SetPoint": n}`.
    Control,
    /// `PATCH …/Power {"PowerControl": [{"PowerLimit": {"LimitInWatts": n}}]}`.
    Power,
}

impl Form {
    /// What errors call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Environment => "PowerLimitWatts",
            Self::Control => "the power control",
            Self::Power => "PowerLimit",
        }
    }

    /// The whole body of the write: a limit and nothing else. The mode of a control is the operator's, and so is what happens
    /// when an old limit cannot be held (`LimitException`, which may be a power-off).
    pub(super) fn body(self, set_point: i64) -> Value {
        match self {
            Self::Environment => json!({ "PowerLimitWatts": { "SetPoint": set_point } }),
            Self::Control => json!({ "SetPoint": set_point }),
            Self::Power => json!({ "PowerControl": [{ "PowerLimit": { "LimitInWatts": set_point } }] }),
        }
    }
}

/// What one limit says of itself, in watts. What is not told is not known, and no number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Limit {
    /// The limit that stands. None where it is outside of what it says that it allows: then it is not known what holds.
    pub(super) set: Option<f64>,
    /// The lowest that may be set.
    pub(super) low: Option<f64>,
    /// The highest that may be set.
    pub(super) high: Option<f64>,
    /// Whatever is set is ignored.
    pub(super) disabled: bool,
    /// A limit that is exceeded shuts the server down (`LimitException` of the old form).
    pub(super) kills: bool,
    /// What is drawn behind it.
    pub(super) power: Option<f64>,
    /// Watts of one unit of its set point.
    pub(super) unit: f64,
}

impl Limit {
    /// Reads it; `None` where the resource has no power limit of this form. `rated` is the power at 100 %.
    pub(super) fn read(form: Form, body: &Value, rated: f64) -> Option<Self> {
        let limit = match form {
            Form::Environment => {
                let limit = body.get("PowerLimitWatts").filter(|limit| limit.is_object())?;
                Self { power: watts(body.pointer("/PowerWatts/Reading")), ..Self::control(limit, 1.0) }
            }
            Form::Control => {
                if fields::text(body, "ControlType") != Some("Power") {
                    return None;
                }
                let unit = match fields::text(body, "SetPointUnits") {
                    Some("%") => rated / 100.0,
                    // UCUM, as the schema demands it; the units of a control that says none are not guessed.
                    Some("W") => 1.0,
                    _ => return None,
                };
                let off = matches!(
                    body.pointer("/Status/State").and_then(Value::as_str),
                    Some("Disabled" | "Absent" | "UnavailableOffline")
                );
                let limit = Self::control(body, unit);
                let power = if unit < 1.0 + 1e-9 && unit > 1.0 - 1e-9 {
                    watts(body.pointer("/Sensor/Reading"))
                } else {
                    // A sensor in percent is no draw.
                    None
                };
                Self { disabled: limit.disabled || off, power, ..limit }
            }
            Form::Power => {
                let control = body.pointer("/PowerControl/0")?;
                let limit = control.get("PowerLimit").filter(|limit| limit.is_object())?;
                let exception = fields::text(limit, "LimitException");
                Self {
                    // `null`: no limit stands.
                    set: watts(limit.get("LimitInWatts")).filter(|set| *set > 0.0),
                    // It states no range; more than it can take it cannot be allowed.
                    low: None,
                    high: watts(control.get("PowerCapacityWatts")).filter(|high| *high > 0.0),
                    disabled: false,
                    kills: exception == Some("HardPowerOff"),
                    power: watts(control.get("PowerConsumedWatts")),
                    unit: 1.0,
                }
            }
        };
        Some(limit)
    }

    /// `SetPoint`, `AllowableMin`, `AllowableMax` and `ControlMode`, which the excerpt in `EnvironmentMetrics` shares with `Control`.
    fn control(body: &Value, unit: f64) -> Self {
        let number =
            |key: &str| watts(body.get(key)).map(|value| value * unit).filter(|value| *value <= MOST_WATTS);
        let (low, high) = (number("AllowableMin"), number("AllowableMax").filter(|high| *high > 0.0));
        let (low, high) = match (low, high) {
            (Some(low), Some(high)) if low > high => (None, None),
            bounds => bounds,
        };
        let within = |set: &f64| {
            *set > 0.0
                && low.is_none_or(|low| *set >= low - unit)
                && high.is_none_or(|high| *set <= high + unit)
        };
        Self {
            set: number("SetPoint").filter(within),
            low: low.filter(|low| *low > 0.0),
            high,
            disabled: fields::text(body, "ControlMode") == Some("Disabled"),
            kills: false,
            power: None,
            unit,
        }
    }

    /// The range within which it is set, stated or assumed. `rated` is what is behind all limits together at the most.
    pub(super) fn bounds(&self, rated: f64) -> (f64, f64) {
        let high = self.high.unwrap_or(rated).max(1.0);
        let low = self.low.unwrap_or(high * UNSTATED_FLOOR).min(high);
        (low, high)
    }

    /// The set point for a power, in its own unit, rounded down but not below the lowest.
    pub(super) fn set_point(&self, watts: f64, rated: f64) -> Option<i64> {
        let (low, high) = self.bounds(rated);
        // Lets what is exactly a unit survive the rounding of binary fractions.
        let units = |watts: f64| watts / self.unit + 1e-6;
        let lowest = (low / self.unit - 1e-6).ceil();
        let wanted = units(watts.clamp(low, high)).floor().max(lowest).max(1.0);
        format!("{wanted:.0}").parse().ok()
    }

    /// Whether a set point stands.
    pub(super) fn stands_at(&self, set_point: i64) -> bool {
        let asked = format!("{set_point}").parse::<f64>().unwrap_or(f64::NAN) * self.unit;
        self.set.is_some_and(|set| (set - asked).abs() <= CLOSE * self.unit)
    }
}

/// A power that can be one.
pub(super) fn watts(value: Option<&Value>) -> Option<f64> {
    let number = fields::as_number(value?);
    number.filter(|watts| (0.0..=MOST_WATTS).contains(watts))
}

/// Shares a power among several limits: each goes to the same part of its range.
pub(super) fn split(limits: &[Limit], watts: f64, rated: f64) -> Vec<f64> {
    let each = rated / f64::from(u16::try_from(limits.len().max(1)).unwrap_or(u16::MAX));
    let bounds: Vec<(f64, f64)> = limits.iter().map(|limit| limit.bounds(each)).collect();
    let low: f64 = bounds.iter().map(|(low, _)| low).sum();
    let span: f64 = bounds.iter().map(|(low, high)| high - low).sum();
    let part = if span > 0.0 { ((watts - low) / span).clamp(0.0, 1.0) } else { 0.0 };
    bounds.iter().map(|(low, high)| low + part * (high - low)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::miner::wire::plain_http::testing::any_json;
    use proptest::prelude::*;

    fn environment(set: f64, mode: &str) -> Limit {
        let body = json!({ "PowerWatts": { "Reading": 374 }, "PowerLimitWatts": {
            "SetPoint": set, "AllowableMin": 150, "AllowableMax": 1000, "ControlMode": mode } });
        Limit::read(Form::Environment, &body, 1_000.0).unwrap()
    }

    #[test]
    fn a_limit_outside_of_what_is_allowed_is_none_that_stands() {
        assert_eq!(environment(500.0, "Automatic").set, Some(500.0));
        for odd in [0.0, 90.0, 2_000.0] {
            assert_eq!(environment(odd, "Automatic").set, None, "{odd}");
        }
        assert!(environment(500.0, "Disabled").disabled && !environment(500.0, "Manual").disabled);
    }

    #[test]
    fn percent_are_of_the_rated_power_and_rounded_down() {
        let body = json!({ "ControlType": "Power", "SetPointUnits": "%", "SetPoint": 80, "AllowableMin": 40,
            "AllowableMax": 100, "ControlMode": "Automatic", "Sensor": { "Reading": 63 } });
        let limit = Limit::read(Form::Control, &body, 3_000.0).unwrap();
        assert_eq!(
            (limit.set, limit.bounds(3_000.0), limit.power),
            (Some(2_400.0), (1_200.0, 3_000.0), None)
        );
        assert_eq!(limit.set_point(2_399.0, 3_000.0), Some(79));
        assert_eq!((limit.set_point(0.0, 3_000.0), limit.set_point(9e9, 3_000.0)), (Some(40), Some(100)));
        assert!(limit.stands_at(80) && !limit.stands_at(79));
        for other in
            [json!({ "ControlType": "Frequency", "SetPointUnits": "Hz" }), json!({ "ControlType": "Power" })]
        {
            assert_eq!(Limit::read(Form::Control, &other, 3_000.0), None);
        }
    }

    #[test]
    fn the_old_form_has_no_lowest_and_none_below_half_is_made_up() {
        let body = json!({ "PowerControl": [{ "PowerConsumedWatts": 344, "PowerCapacityWatts": 800,
            "PowerLimit": { "LimitInWatts": null, "LimitException": "HardPowerOff" } }] });
        let limit = Limit::read(Form::Power, &body, 1_000.0).unwrap();
        assert_eq!((limit.set, limit.power, limit.low, limit.kills), (None, Some(344.0), None, true));
        assert_eq!(limit.bounds(1_000.0), (400.0, 800.0));
    }

    proptest! {
        #[test]
        fn what_is_shared_is_never_more_than_was_asked_for(
            ranges in prop::collection::vec((50.0..300.0_f64, 0.0..500.0_f64), 1..9), part in 0.0..1.2_f64
        ) {
            let limits: Vec<Limit> = ranges
                .iter()
                .map(|(low, span)| Limit { low: Some(*low), high: Some(low + span), unit: 1.0, ..Limit::default() })
                .collect();
            let low: f64 = ranges.iter().map(|(low, _)| low).sum();
            let high: f64 = ranges.iter().map(|(low, span)| low + span).sum();
            let asked = low + part * (high - low);
            let shares = split(&limits, asked, 8_000.0);
            let sum: f64 = shares.iter().sum();
            prop_assert!(sum <= asked + 1e-6 && sum <= high + 1e-6 && sum >= low - 1e-6);
        }

        #[test]
        fn any_resource_is_read_without_a_panic(
            reply in any_json(&["PowerLimitWatts", "SetPoint", "AllowableMin", "AllowableMax", "ControlMode", "ControlType",
                "Power", "SetPointUnits", "W", "%", "PowerControl", "PowerLimit", "LimitInWatts", "PowerWatts", "Reading"])
        ) {
            for form in [Form::Environment, Form::Control, Form::Power] {
                if let Some(limit) = Limit::read(form, &reply, 3_000.0) {
                    let (low, high) = limit.bounds(3_000.0);
                    prop_assert!(low <= high && high <= MOST_WATTS);
                    prop_assert!(limit.set.is_none_or(|set| set > 0.0));
                    prop_assert!(limit.set_point(2_000.0, 3_000.0).is_some_and(|point| point > 0));
                }
            }
        }
    }
}

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
/// The most entries of `PowerControl` that are believed; servers have a handful.
const MOST_ENTRIES: usize = 64;

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
    ///
    /// In the old form the limit is an entry of an array. The others are written as `{}`, which leaves them as they are: an array that
    /// is shorter than the one that stands takes the rest away (DSP0266, "PATCH (update)", array properties).
    pub(super) fn body(self, set_point: i32, (entry, entries): (usize, usize)) -> Value {
        match self {
            Self::Environment => json!({ "PowerLimitWatts": { "SetPoint": set_point } }),
            Self::Control => json!({ "SetPoint": set_point }),
            Self::Power => {
                let limit = json!({ "PowerLimit": { "LimitInWatts": set_point } });
                let at = |place: usize| if place == entry { limit.clone() } else { json!({}) };
                json!({ "PowerControl": (0..entries.max(entry + 1)).map(at).collect::<Vec<_>>() })
            }
        }
    }
}

/// What one limit says of itself, in watts. What is not told is not known, and no number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Said {
    /// The limit that stands. None where it is outside of what it says that it allows: then it is not known what holds.
    pub(super) set: Option<f64>,
    /// The lowest that may be set.
    pub(super) low: Option<f64>,
    /// The highest that may be set.
    pub(super) high: Option<f64>,
    /// Whatever is set is ignored.
    pub(super) disabled: bool,
    /// A limit that is exceeded may shut the server down (`LimitException` of the old form).
    pub(super) kills: bool,
    /// Its numbers are no watts: the most that may be set is next to nothing beside what is behind it.
    pub(super) odd: bool,
    /// What is drawn behind it.
    pub(super) power: Option<f64>,
    /// Watts of one unit of its set point; more than nothing.
    pub(super) unit: f64,
    /// Which entry of `PowerControl` it is, and of how many; (0, 1) in the other forms.
    pub(super) entry: (usize, usize),
}

impl Default for Said {
    fn default() -> Self {
        Self {
            set: None,
            low: None,
            high: None,
            disabled: false,
            kills: false,
            odd: false,
            power: None,
            unit: 1.0,
            entry: (0, 1),
        }
    }
}

impl Said {
    /// Reads it; `None` where the resource has no power limit of this form that could be set. `hundred` is the power at 100 % in
    /// watts; without it a limit in percent is none.
    pub(super) fn read(form: Form, body: &Value, hundred: Option<f64>) -> Option<Self> {
        match form {
            Form::Environment => {
                // One that only states a range has no set point to be written.
                let limit = body.get("PowerLimitWatts").filter(|limit| limit.get("SetPoint").is_some())?;
                Some(Self { power: watts(body.pointer("/PowerWatts/Reading")), ..Self::control(limit, 1.0) })
            }
            Form::Control => {
                if fields::text(body, "ControlType") != Some("Power") {
                    return None;
                }
                // A sensor in percent is no draw.
                let (unit, power) = match fields::text(body, "SetPointUnits") {
                    Some("%") => (hundred? / 100.0, None),
                    // UCUM, as the schema demands it; the units of a control that says none are not guessed.
                    Some("W") => (1.0, watts(body.pointer("/Sensor/Reading"))),
                    _ => return None,
                };
                let off = matches!(
                    body.pointer("/Status/State").and_then(Value::as_str),
                    Some("Disabled" | "Absent" | "UnavailableOffline")
                );
                let limit = Self::control(body, unit);
                Some(Self { disabled: limit.disabled || off, power, ..limit })
            }
            Form::Power => {
                let (entry, entries, control) = control_of_whole(body)?;
                let limit = control.get("PowerLimit").filter(|limit| limit.is_object())?;
                // `HardPowerOff` shuts it down, and what `Oem` and a vendor's own words do (openUBMC has `Reset`) is not known.
                let harmless = match limit.get("LimitException") {
                    None | Some(Value::Null) => true,
                    Some(exception) => matches!(exception.as_str(), Some("NoAction" | "LogEventOnly")),
                };
                Some(Self {
                    // `null`: no limit stands.
                    set: watts(limit.get("LimitInWatts")).filter(|set| *set > 0.0),
                    // It states no range; more than it can take it cannot be allowed.
                    high: watts(control.get("PowerCapacityWatts")).filter(|high| *high > 0.0),
                    kills: !harmless,
                    power: watts(control.get("PowerConsumedWatts")),
                    entry: (entry, entries),
                    ..Self::default()
                })
            }
        }
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
            unit,
            ..Self::default()
        }
    }

    /// Whether a limit may be set here and would hold.
    pub(super) const fn is_usable(&self) -> bool {
        !self.disabled && !self.kills && !self.odd
    }

    /// Why not, in words that say what to do.
    pub(super) const fn refuses(&self) -> Option<&'static str> {
        if self.kills {
            Some(
                "its LimitException may be HardPowerOff or a restart: a limit that cannot be held would shut it down; set LogEventOnly",
            )
        } else if self.disabled {
            Some("its ControlMode is Disabled: a power limit would be ignored; set Automatic in the BMC")
        } else if self.odd {
            Some(
                "the most that it allows is next to nothing beside what the server draws, so it counts in another unit than watts: see to its firmware",
            )
        } else {
            None
        }
    }
}

/// Whether a control with this `PhysicalContext` caps a whole chassis, and not a part of it. One that says nothing does.
pub(super) fn is_of_whole(control: &Value) -> bool {
    match control.get("PhysicalContext") {
        None | Some(Value::Null) => true,
        Some(context) => matches!(context.as_str(), Some("Chassis" | "SystemBoard" | "PowerSubsystem")),
    }
}

/// The entry of `PowerControl` that is about the whole chassis: its place, how many there are, and what it says. The first that
/// has a limit; else the first.
fn control_of_whole(body: &Value) -> Option<(usize, usize, &Value)> {
    let entries = body.get("PowerControl").and_then(Value::as_array)?;
    let count = entries.len();
    let mut whole = entries.iter().enumerate().take(MOST_ENTRIES).filter(|(_, entry)| is_of_whole(entry));
    let first = whole.next()?;
    let has_limit = |entry: &Value| entry.get("PowerLimit").is_some_and(Value::is_object);
    let (place, entry) =
        if has_limit(first.1) { first } else { whole.find(|(_, entry)| has_limit(entry)).unwrap_or(first) };
    (count <= MOST_ENTRIES).then_some((place, count, entry))
}

/// The draw that the old form tells of the whole chassis, in watts.
pub(super) fn old_draw(body: &Value) -> Option<f64> {
    watts(control_of_whole(body)?.2.get("PowerConsumedWatts"))
}

/// A power that can be one.
pub(super) fn watts(value: Option<&Value>) -> Option<f64> {
    let number = fields::as_number(value?);
    number.filter(|watts| (0.0..=MOST_WATTS).contains(watts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::miner::wire::plain_http::testing::any_json;
    use proptest::prelude::*;

    fn environment(set: f64, mode: &str) -> Said {
        let body = json!({ "PowerWatts": { "Reading": 374 }, "PowerLimitWatts": {
            "SetPoint": set, "AllowableMin": 150, "AllowableMax": 1000, "ControlMode": mode } });
        Said::read(Form::Environment, &body, None).unwrap()
    }

    fn old(control: &Value) -> Option<Said> {
        Said::read(Form::Power, &json!({ "PowerControl": control }), None)
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
    fn one_without_a_set_point_is_no_limit_and_one_that_is_null_is_one_that_does_not_stand() {
        let read = |limit: Value| Said::read(Form::Environment, &json!({ "PowerLimitWatts": limit }), None);
        assert_eq!(read(json!({ "AllowableMax": 1200 })), None);
        let null = read(json!({ "AllowableMax": 1200, "SetPoint": null })).unwrap();
        assert_eq!((null.set, null.high, null.is_usable()), (None, Some(1_200.0), true));
    }

    #[test]
    fn percent_are_of_a_power_that_was_told() {
        let body = json!({ "ControlType": "Power", "SetPointUnits": "%", "SetPoint": 80, "AllowableMin": 40,
            "AllowableMax": 100, "ControlMode": "Automatic", "Sensor": { "Reading": 63 } });
        let said = Said::read(Form::Control, &body, Some(3_000.0)).unwrap();
        assert_eq!((said.set, said.low, said.high), (Some(2_400.0), Some(1_200.0), Some(3_000.0)));
        assert_eq!((said.power, said.unit), (None, 30.0));
        assert_eq!(Said::read(Form::Control, &body, None), None);
        for other in
            [json!({ "ControlType": "Frequency", "SetPointUnits": "Hz" }), json!({ "ControlType": "Power" })]
        {
            assert_eq!(Said::read(Form::Control, &other, Some(3_000.0)), None);
        }
    }

    #[test]
    fn only_an_exception_that_is_known_to_do_nothing_is_taken() {
        for (exception, kills) in [
            (json!(null), false),
            (json!("NoAction"), false),
            (json!("LogEventOnly"), false),
            (json!("HardPowerOff"), true),
            (json!("Oem"), true),
            (json!("Reset"), true),
            (json!(3), true),
        ] {
            let said = old(&json!([{ "PowerLimit": { "LimitInWatts": null, "LimitException": exception } }]));
            assert_eq!(said.unwrap().kills, kills, "{exception}");
        }
        assert!(!old(&json!([{ "PowerLimit": { "LimitInWatts": 500 } }])).unwrap().kills);
    }

    #[test]
    fn the_entry_of_the_whole_is_written_and_the_others_are_left_as_they_are() {
        let said = old(&json!([
            { "PhysicalContext": "CPU", "PowerConsumedWatts": 80, "PowerLimit": { "LimitInWatts": 90 } },
            { "PhysicalContext": "Chassis", "PowerConsumedWatts": 344, "PowerLimit": { "LimitInWatts": 500 } },
            { "PhysicalContext": "GPU" },
        ]))
        .unwrap();
        assert_eq!((said.set, said.power, said.entry), (Some(500.0), Some(344.0), (1, 3)));
        assert_eq!(
            Form::Power.body(400, said.entry),
            json!({ "PowerControl": [{}, { "PowerLimit": { "LimitInWatts": 400 } }, {}] })
        );
        assert_eq!(old(&json!([])), None);
    }

    proptest! {
        #[test]
        fn any_resource_is_read_without_a_panic(
            reply in any_json(&["PowerLimitWatts", "SetPoint", "AllowableMin", "AllowableMax", "ControlMode", "ControlType",
                "Power", "SetPointUnits", "W", "%", "PowerControl", "PowerLimit", "LimitInWatts", "PowerWatts", "Reading"])
        ) {
            for form in [Form::Environment, Form::Control, Form::Power] {
                if let Some(said) = Said::read(form, &reply, Some(3_000.0)) {
                    prop_assert!(said.set.is_none_or(|set| set > 0.0 && set <= MOST_WATTS));
                    prop_assert!(said.low.unwrap_or(0.0) <= said.high.unwrap_or(MOST_WATTS));
                    prop_assert!(said.unit > 0.0 && said.entry.0 < said.entry.1);
                }
            }
        }
    }
}

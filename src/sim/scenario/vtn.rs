//! What a scripted top node of OpenADR does: `[[vtn]]`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use super::quantity::Time;
use super::read::Source;
use super::{Named, ScenarioError};
use crate::sim::vtn::Fault;

/// Something that a simulated top node does, in real time since the start.
#[derive(Debug, Clone, PartialEq)]
pub struct VtnEvent {
    /// The source of the configuration whose top node it is.
    pub source: Named,
    /// When it begins.
    pub at: Duration,
    /// How long it lasts; `None` for ever.
    pub lasting: Option<Duration>,
    /// What it does.
    pub action: VtnAction,
}

/// What a simulated top node does.
#[derive(Debug, Clone, PartialEq)]
pub enum VtnAction {
    /// It is there, with nothing to say.
    Serve,
    /// It shows an event; at its end it takes it back.
    Event(Value),
    /// Something is wrong with it.
    Fault(Fault),
}

/// The faults that take no parameter.
const FAULTS: [(&str, Fault); 11] = [
    ("hang", Fault::Hang),
    ("unauthorised", Fault::Unauthorised),
    ("forbids", Fault::Forbids),
    ("no-token", Fault::NoToken),
    ("server-error", Fault::ServerError),
    ("half-answer", Fault::HalfAnswer),
    ("cut-json", Fault::CutJson),
    ("html", Fault::Html),
    ("no-list", Fault::NoList),
    ("endless", Fault::Endless),
    ("no-reports", Fault::NoReports),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawVtn {
    source: Spanned<String>,
    at: Option<Time>,
    r#for: Option<Time>,
    event: Option<Spanned<String>>,
    bad_event: Option<String>,
    fault: Option<Spanned<String>>,
    ahead: Option<Time>,
    behind: Option<Time>,
}

pub(super) fn read(source: &Source<'_>, raw: &RawVtn) -> Result<VtnEvent, ScenarioError> {
    let skew = |by: Time, ahead| VtnAction::Fault(Fault::Skew { by: by.0, ahead });
    let action = match (&raw.event, &raw.bad_event, &raw.fault, raw.ahead, raw.behind) {
        (None, None, None, None, None) => VtnAction::Serve,
        (Some(text), None, None, None, None) => {
            let event: Value = serde_json::from_str(text.get_ref())
                .map_err(|error| source.error(text.span(), format!("is no JSON: {error}")))?;
            if !event.is_object() {
                return Err(source.error(text.span(), "an event is a JSON object"));
            }
            VtnAction::Event(event)
        }
        (None, Some(text), None, None, None) => VtnAction::Fault(Fault::BadEvent(text.clone())),
        (None, None, Some(name), None, None) => {
            let fault = FAULTS.into_iter().find(|(known, _)| known == name.get_ref());
            let known = || FAULTS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            let (_, fault) = fault.ok_or_else(|| {
                source.error(
                    name.span(),
                    format!("top nodes have no fault `{}`; they have {}", name.get_ref(), known()),
                )
            })?;
            VtnAction::Fault(fault)
        }
        (None, None, None, Some(by), None) => skew(by, true),
        (None, None, None, None, Some(by)) => skew(by, false),
        _ => {
            return Err(source.error(
                raw.source.span(),
                "a top node does one thing at a time: `event`, `bad_event`, `fault`, `ahead` or `behind`",
            ));
        }
    };
    Ok(VtnEvent {
        source: source.named(&raw.source),
        at: raw.at.map_or(Duration::ZERO, |time| time.0),
        lasting: raw.r#for.map(|time| time.0),
        action,
    })
}

//! The top nodes of a scenario: one for each source that it names, at the address where the configuration looks for it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Fault, Options, Vtn};
use crate::clock::Clock;
use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::signal::Kind;
use crate::signal::openadr::settings::{Account, Programme, Settings};
use crate::sim::Scenario;
use crate::sim::scenario::{VtnAction, VtnEvent};
use crate::sim::site::{SimError, loopback};

/// Something to do at a time.
struct Step {
    at: Duration,
    act: Act,
}

enum Act {
    Show(Value),
    TakeBack(String),
    Begin(Fault),
    End(Fault),
}

/// Starts the top nodes that a scenario speaks of. They end with the token.
///
/// # Errors
/// A source that the site does not have, an address that is not plain HTTP on loopback or cannot be opened.
pub(in crate::sim) async fn serve(
    config: &Config,
    scenario: &Scenario,
    clock: Clock,
    cancel: &CancellationToken,
) -> Result<(), SimError> {
    let mut names: Vec<&str> = scenario.vtn.iter().map(|event| event.source.text.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let events: Vec<&VtnEvent> = scenario.vtn.iter().filter(|event| event.source.text == name).collect();
        let settings = config.signals.iter().find_map(|spec| match &spec.kind {
            Kind::OpenAdr(settings) if spec.settings.name == name => Some(settings),
            _ => None,
        });
        let Some(settings) = settings else {
            let place = events.first().map_or_else(Default::default, |event| event.source.place);
            let words = format!("the site has no source `{name}` of the kind openadr");
            return Err(scenario.error(place, words).into());
        };
        let vtn = start(name, settings, clock).await?;
        let steps = steps(&events, settings);
        let cancel = cancel.clone();
        tokio::spawn(async move { cancel.run_until_cancelled_owned(play(vtn, steps)).await });
    }
    Ok(())
}

async fn start(name: &str, settings: &Settings, clock: Clock) -> Result<Vtn, SimError> {
    let what = format!("the top node of `{name}`");
    let host = settings.url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let endpoint = Endpoint { host, port: settings.url.port_or_known_default().unwrap_or_default() };
    let address: Option<SocketAddr> = loopback(&endpoint).filter(|_| settings.url.scheme() == "http");
    let Some(address) = address else { return Err(SimError::NotLoopback { what, endpoint }) };
    let client = match &settings.account {
        Account::Client { id, secret, .. } => Some((id.clone(), secret.expose().to_owned())),
        Account::Nobody | Account::Bearer(_) => None,
    };
    let root = settings.url.path().trim_end_matches('/').to_owned();
    let options = Options { client, root, ..Options::default() };
    let vtn = Vtn::start(address, options, clock).await;
    let vtn = vtn.map_err(|source| SimError::Bind { what, endpoint, source })?;
    vtn.put_programme(match &settings.programme {
        Programme::Any => json!({ "id": "scenario", "programName": "scenario" }),
        Programme::Name(name) => json!({ "id": "scenario", "programName": name }),
        Programme::Id(id) => json!({ "id": id, "programName": "scenario" }),
    });
    Ok(vtn)
}

fn steps(events: &[&VtnEvent], settings: &Settings) -> Vec<Step> {
    let programme = match &settings.programme {
        Programme::Id(id) => id.as_str(),
        Programme::Any | Programme::Name(_) => "scenario",
    };
    let mut steps = Vec::new();
    for (event, number) in events.iter().zip(1_usize..) {
        let ends = event.lasting.map(|lasting| event.at.saturating_add(lasting));
        let (begin, end) = match &event.action {
            VtnAction::Serve => continue,
            VtnAction::Event(shown) => {
                let mut shown = shown.clone();
                let id = shown.get("id").and_then(Value::as_str).map(str::to_owned);
                let id = id.unwrap_or_else(|| format!("scenario-{number}"));
                if let Some(fields) = shown.as_object_mut() {
                    fields.insert("id".into(), json!(id));
                    fields.entry("programID").or_insert(json!(programme));
                }
                (Act::Show(shown), Act::TakeBack(id))
            }
            VtnAction::Fault(fault) => (Act::Begin(fault.clone()), Act::End(fault.clone())),
        };
        steps.push(Step { at: event.at, act: begin });
        steps.extend(ends.map(|at| Step { at, act: end }));
    }
    steps.sort_by_key(|step| step.at);
    steps
}

async fn play(vtn: Vtn, steps: Vec<Step>) {
    let begun = vtn.shared.clock.now();
    let mut faults: Vec<Fault> = Vec::new();
    for Step { at, act } in steps {
        tokio::time::sleep_until(vtn.shared.clock.instant(begun + at)).await;
        match act {
            Act::Show(event) => {
                vtn.put_event(event);
            }
            Act::TakeBack(id) => {
                vtn.delete_event(&id);
            }
            Act::Begin(fault) => faults.push(fault),
            Act::End(fault) => {
                if let Some(at) = faults.iter().position(|known| *known == fault) {
                    faults.remove(at);
                }
            }
        }
        vtn.set_faults(faults.iter().cloned());
    }
    // Nothing more is scripted; it serves on until it is cancelled.
    std::future::pending::<()>().await;
}

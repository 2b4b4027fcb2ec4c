//! First contact: which of the three forms a BMC has, where its limits are, and where its draw is read.
//!
//! A BMC answers in some 0.3 s, and a board with eight GPUs has scores of resources. What was read before a search was cut short is
//! kept, so that the next one goes on where that one stopped.
//!
//! Links: DMTF schemas `ServiceRoot` (`Chassis`, `Systems`), `Chassis` (`EnvironmentMetrics`, `Controls`, `Power`), `ComputerSystem`
//! (`Processors`), `Processor` (`EnvironmentMetrics`); a sensor behind `DataSourceUri` is one of schema `Sensor`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::forms::{Form, Limit, watts};
use super::path::Path;
use super::wire::Bmc;
use crate::miner::DriverError;
use crate::miner::reply::fields;

/// The most chassis that are looked at; boards with eight GPUs and their switches have some fifty.
const MOST_CHASSIS: usize = 64;
/// The most systems, processors of a system, and controls of a chassis.
const MOST_SYSTEMS: usize = 8;
const MOST_PROCESSORS: usize = 32;
const MOST_CONTROLS: usize = 32;

/// Where a draw is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meter {
    pub(super) path: Path,
    /// Where in the resource (RFC 6901).
    pub(super) pointer: &'static str,
}

/// What a BMC has.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) form: Form,
    /// The resources with the limits; several where each processor has its own.
    pub(super) limits: Vec<Path>,
    /// The draw of the whole server.
    pub(super) meter: Option<Meter>,
    /// Who it is.
    pub(super) chassis: Option<Path>,
}

/// A limit that was seen.
struct Seen {
    path: Path,
    limit: Limit,
    chassis: Option<Path>,
}

impl Seen {
    const fn is_usable(&self) -> bool {
        !self.limit.disabled && !self.limit.kills
    }
}

/// What was read so far.
#[derive(Default)]
pub(super) struct Search(BTreeMap<String, Option<Value>>);

impl Search {
    /// Looks for everything. Only reads.
    pub(super) async fn run(&mut self, bmc: &mut Bmc, rated: f64) -> Result<Found, DriverError> {
        let name = "the service root";
        let Some(root) = self.look(bmc, name, &Path::root()).await? else {
            return Err(bmc.place().malformed(name, "there is no Redfish service"));
        };
        let all = Path::of_link(root.get("Chassis").unwrap_or(&Value::Null));
        let all = all.unwrap_or_else(|| Path::known("/redfish/v1/Chassis"));
        let mut chassis = Vec::new();
        for path in self.members(bmc, &all, MOST_CHASSIS).await? {
            if let Some(body) = self.look(bmc, "a chassis", &path).await? {
                chassis.push((path, body));
            }
        }
        let mut meters = Vec::new();
        let mut limits = self.environments(bmc, &chassis, rated, &mut meters).await?;
        let mut form = Form::Environment;
        let mut spare = None;
        if !limits.iter().any(Seen::is_usable) {
            spare = best(limits).map(|seen| (form, seen));
            limits = self.processors(bmc, &root, rated).await?;
        }
        if !limits.iter().any(Seen::is_usable) {
            form = Form::Control;
            limits = self.controls(bmc, &chassis, rated, &mut meters).await?;
        }
        // The old form is looked at for its reading, too.
        if !limits.iter().any(Seen::is_usable) || meters.is_empty() {
            let old = self.old(bmc, &chassis, rated, &mut meters).await?;
            if !limits.iter().any(Seen::is_usable) {
                spare = spare.or_else(|| best(limits).map(|seen| (form, seen)));
                form = Form::Power;
                limits = old;
            }
        }
        if !limits.iter().any(Seen::is_usable) {
            // What is there and ignored is better than nothing: it tells what is to be switched on.
            (form, limits) = spare.map_or((form, limits), |(form, seen)| (form, vec![seen]));
        }
        let whole = limits.iter().any(|seen| seen.chassis.is_some());
        let limits: Vec<Seen> = match form {
            // One limit for the whole server, or one for each of its parts.
            Form::Environment if !whole => limits,
            Form::Control if limits.iter().all(|seen| seen.chassis.is_none()) => limits,
            _ => best(limits).into_iter().collect(),
        };
        let own = limits.first().and_then(|seen| seen.chassis.clone());
        self.0.clear();
        // The largest is the draw of the whole.
        let meter = meters.into_iter().max_by(|(_, one), (_, other)| one.total_cmp(other));
        Ok(Found {
            form,
            limits: limits.into_iter().map(|seen| seen.path).collect(),
            meter: meter.map(|(meter, _)| meter),
            chassis: own.or_else(|| chassis.into_iter().next().map(|(path, _)| path)),
        })
    }

    /// A resource, from what is known or from the BMC.
    async fn look(
        &mut self,
        bmc: &mut Bmc,
        name: &'static str,
        path: &Path,
    ) -> Result<Option<Value>, DriverError> {
        if let Some(known) = self.0.get(path.text()) {
            return Ok(known.clone());
        }
        let body = bmc.get(name, path).await?.map(|resource| resource.body);
        self.0.insert(path.text().to_owned(), body.clone());
        Ok(body)
    }

    /// The members of a collection.
    async fn members(&mut self, bmc: &mut Bmc, path: &Path, most: usize) -> Result<Vec<Path>, DriverError> {
        let collection = self.look(bmc, "a collection", path).await?.unwrap_or_default();
        let members = collection.get("Members").and_then(Value::as_array);
        Ok(members.into_iter().flatten().filter_map(Path::of_link).take(most).collect())
    }

    /// `EnvironmentMetrics` of each chassis.
    async fn environments(
        &mut self,
        bmc: &mut Bmc,
        chassis: &[(Path, Value)],
        rated: f64,
        meters: &mut Vec<(Meter, f64)>,
    ) -> Result<Vec<Seen>, DriverError> {
        let mut found = Vec::new();
        for (own, body) in chassis {
            let Some(path) = body.get("EnvironmentMetrics").and_then(Path::of_link) else { continue };
            let Some(body) = self.look(bmc, "EnvironmentMetrics", &path).await? else { continue };
            if let Some(reading) = watts(body.pointer("/PowerWatts/Reading")) {
                meters.push((Meter { path: path.clone(), pointer: "/PowerWatts/Reading" }, reading));
            } else if let Some(sensor) = body.pointer("/PowerWatts/DataSourceUri").and_then(Value::as_str) {
                self.sensor(bmc, sensor, meters).await?;
            }
            if let Some(limit) = Limit::read(Form::Environment, &body, rated) {
                found.push(Seen { path, limit, chassis: Some(own.clone()) });
            }
        }
        Ok(found)
    }

    /// A sensor that is named in place of its reading.
    async fn sensor(
        &mut self,
        bmc: &mut Bmc,
        uri: &str,
        meters: &mut Vec<(Meter, f64)>,
    ) -> Result<(), DriverError> {
        let Some(path) = Path::of_text(uri) else { return Ok(()) };
        let body = self.look(bmc, "a sensor", &path).await?.unwrap_or_default();
        if fields::text(&body, "ReadingUnits").is_none_or(|units| units == "W")
            && let Some(reading) = watts(body.get("Reading"))
        {
            meters.push((Meter { path, pointer: "/Reading" }, reading));
        }
        Ok(())
    }

    /// `EnvironmentMetrics` of each processor; of the graphics processors alone, where those have limits.
    async fn processors(
        &mut self,
        bmc: &mut Bmc,
        root: &Value,
        rated: f64,
    ) -> Result<Vec<Seen>, DriverError> {
        let (mut accelerators, mut others) = (Vec::new(), Vec::new());
        let Some(systems) = root.get("Systems").and_then(Path::of_link) else { return Ok(others) };
        for system in self.members(bmc, &systems, MOST_SYSTEMS).await? {
            let system = self.look(bmc, "a system", &system).await?.unwrap_or_default();
            let Some(processors) = system.get("Processors").and_then(Path::of_link) else { continue };
            for processor in self.members(bmc, &processors, MOST_PROCESSORS).await? {
                let body = self.look(bmc, "a processor", &processor).await?.unwrap_or_default();
                let Some(path) = body.get("EnvironmentMetrics").and_then(Path::of_link) else { continue };
                let Some(metrics) = self.look(bmc, "EnvironmentMetrics", &path).await? else { continue };
                let Some(limit) = Limit::read(Form::Environment, &metrics, rated) else { continue };
                let seen = Seen { path, limit, chassis: None };
                match fields::text(&body, "ProcessorType") {
                    Some("GPU" | "Accelerator") => accelerators.push(seen),
                    _ => others.push(seen),
                }
            }
        }
        Ok(if accelerators.is_empty() { others } else { accelerators })
    }

    /// The power controls of each chassis: one of the whole, or those of its parts.
    async fn controls(
        &mut self,
        bmc: &mut Bmc,
        chassis: &[(Path, Value)],
        rated: f64,
        meters: &mut Vec<(Meter, f64)>,
    ) -> Result<Vec<Seen>, DriverError> {
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        for (own, body) in chassis {
            let Some(controls) = body.get("Controls").and_then(Path::of_link) else { continue };
            for path in self.members(bmc, &controls, MOST_CONTROLS).await? {
                let Some(body) = self.look(bmc, "a control", &path).await? else { continue };
                let Some(limit) = Limit::read(Form::Control, &body, rated) else { continue };
                let of_whole = matches!(
                    fields::text(&body, "PhysicalContext"),
                    None | Some("Chassis" | "SystemBoard" | "PowerSupply" | "PowerSubsystem")
                );
                if of_whole {
                    if let Some(reading) = limit.power {
                        meters.push((Meter { path: path.clone(), pointer: "/Sensor/Reading" }, reading));
                    }
                    whole.push(Seen { path, limit, chassis: Some(own.clone()) });
                } else {
                    parts.push(Seen { path, limit, chassis: None });
                }
            }
        }
        Ok(if whole.iter().any(Seen::is_usable) || parts.is_empty() { whole } else { parts })
    }

    /// `Power` of each chassis.
    async fn old(
        &mut self,
        bmc: &mut Bmc,
        chassis: &[(Path, Value)],
        rated: f64,
        meters: &mut Vec<(Meter, f64)>,
    ) -> Result<Vec<Seen>, DriverError> {
        let mut found = Vec::new();
        for (own, body) in chassis {
            let Some(path) = body.get("Power").and_then(Path::of_link) else { continue };
            let Some(body) = self.look(bmc, "Power", &path).await? else { continue };
            let pointer = "/PowerControl/0/PowerConsumedWatts";
            if let Some(reading) = watts(body.pointer(pointer)) {
                meters.push((Meter { path: path.clone(), pointer }, reading));
            }
            if let Some(limit) = Limit::read(Form::Power, &body, rated) {
                found.push(Seen { path, limit, chassis: Some(own.clone()) });
            }
        }
        Ok(found)
    }
}

/// The limit that covers most: a usable one first, then by what it allows.
fn best(limits: Vec<Seen>) -> Option<Seen> {
    let size = |seen: &Seen| (seen.is_usable(), seen.limit.high.unwrap_or(0.0));
    let mut best: Option<Seen> = None;
    for seen in limits {
        let larger = best.as_ref().is_none_or(|best| {
            let ((usable, high), (known, highest)) = (size(&seen), size(best));
            if usable == known { high > highest } else { usable }
        });
        if larger {
            best = Some(seen);
        }
    }
    best
}

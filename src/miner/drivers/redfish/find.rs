//! First contact: which of the three forms a BMC has, where its limits are, and where its draw is read.
//!
//! Taken is the first of these that can be set: a limit of the whole server (newest form, then a control), limits of its parts
//! (newest form of modules, then of graphics processors, then controls), the old form, and limits of the other processors last, for
//! those leave the most uncapped. A chassis is the whole where no other one contains it (`Links.ContainedBy`).
//!
//! Links: DMTF schemas `ServiceRoot` (`Chassis`, `Systems`), `Chassis` (`EnvironmentMetrics`, `Controls`, `Power`, `Links`),
//! `ComputerSystem` (`Processors`), `Processor` (`EnvironmentMetrics`); a sensor behind `DataSourceUri` is one of schema `Sensor`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::forms::{Form, Said, is_of_whole, old_draw, watts};
use super::path::Path;
use super::plan::Limit;
use super::tree::Tree;
use super::wire::Bmc;
use crate::miner::DriverError;
use crate::miner::reply::fields;

/// What a server draws at its most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rated {
    /// In watts, more than nothing.
    pub(super) watts: f64,
    /// Whether somebody said so.
    pub(super) is_told: bool,
}

/// In which way a resource tells a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draw {
    /// `EnvironmentMetrics.PowerWatts`.
    Environment,
    /// The sensor of a control.
    Control,
    /// `PowerControl[].PowerConsumedWatts`.
    Old,
    /// A sensor.
    Sensor,
}

impl Draw {
    /// The draw, in watts.
    pub(super) fn read(self, body: &Value) -> Option<f64> {
        match self {
            Self::Environment => watts(body.pointer("/PowerWatts/Reading")),
            Self::Control => watts(body.pointer("/Sensor/Reading")),
            Self::Old => old_draw(body),
            Self::Sensor => watts(body.get("Reading")),
        }
    }
}

/// Where the draw of the whole server is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meter {
    pub(super) path: Path,
    pub(super) draw: Draw,
}

/// What a BMC has.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// One limit of the whole server, or several of its parts.
    pub(super) limits: Vec<Limit>,
    /// Whether it is one of the whole.
    pub(super) whole: bool,
    /// The draw of the whole server.
    pub(super) meter: Option<Meter>,
    /// Who it is.
    pub(super) chassis: Option<Path>,
    /// There is a limit in percent, and nobody said of what.
    pub(super) needs_rated: bool,
}

/// A chassis.
struct Chassis {
    path: Path,
    body: Value,
    /// The one that contains it, among those that are listed.
    within: Option<usize>,
}

/// A limit that was seen.
struct Seen {
    limit: Limit,
    /// Of which chassis it is; none for what is a part of one.
    chassis: Option<usize>,
}

/// A draw that was seen: of which chassis, where, and in watts.
type Draws = Vec<(usize, Meter, f64)>;

/// A search, which goes on where it was cut short.
#[derive(Default)]
pub(super) struct Search(Tree);

impl Search {
    /// Looks for everything, with so many reads at the most.
    ///
    /// # Errors
    /// Any [`DriverError`], and [`DriverError::Malformed`] where there is no Redfish service, more than can be searched, or more than
    /// `most` is to be read.
    pub(super) async fn run(
        &mut self,
        bmc: &mut Bmc,
        rated: Rated,
        most: usize,
    ) -> Result<Found, DriverError> {
        self.0.go_on(most);
        let found = self.all(bmc, rated).await?;
        self.0.clear();
        Ok(found)
    }

    /// Whether the last search stopped for a pause only.
    pub(super) const fn is_under_way(&self) -> bool {
        self.0.is_under_way()
    }

    async fn all(&mut self, bmc: &mut Bmc, rated: Rated) -> Result<Found, DriverError> {
        let name = "the service root";
        let Some(root) = self.0.look(bmc, name, &Path::root()).await? else {
            return Err(bmc.place().malformed(name, "there is no Redfish service"));
        };
        let chassis = self.chassis(bmc, &root).await?;
        let (roots, parts): (Vec<usize>, Vec<usize>) =
            (0..chassis.len()).partition(|place| chassis.get(*place).is_some_and(|it| it.within.is_none()));
        let mut draws = Draws::new();
        let mut chosen = Chosen::new(&chassis);
        let mut needs_rated = false;
        chosen.offer(self.environments(bmc, &chassis, &roots, &mut draws).await?);
        if !chosen.settled || draws.is_empty() {
            let controls = self.controls(bmc, &chassis, &roots, rated, &mut draws).await?;
            needs_rated = controls.needs_rated;
            chosen.offer(controls.whole);
            if !chosen.settled {
                // Of modules and processors no draw is that of the whole.
                let mut none = Draws::new();
                chosen.offer(self.environments(bmc, &chassis, &parts, &mut none).await?);
                let (accelerators, others) =
                    if chosen.settled { Default::default() } else { self.processors(bmc, &root).await? };
                chosen.offer(accelerators);
                if !chosen.settled {
                    let mut further = self.controls(bmc, &chassis, &parts, rated, &mut none).await?;
                    chosen.offer(further.whole);
                    further.parts.extend(controls.parts);
                    chosen.offer(further.parts);
                }
                if !chosen.settled {
                    chosen.offer(self.old(bmc, &chassis, &roots, &mut draws).await?);
                }
                if !chosen.settled {
                    chosen.offer(self.old(bmc, &chassis, &parts, &mut none).await?);
                }
                chosen.offer(others);
            }
            // The old form is looked at for its reading, too.
            if draws.is_empty() {
                self.old(bmc, &chassis, &roots, &mut draws).await?;
            }
        }
        let Chosen { seen, .. } = chosen;
        let own = seen.first().and_then(|seen| seen.chassis).filter(|own| roots.contains(own));
        let (limits, whole) = limits(seen, &roots, rated);
        // That of the chassis with the limit of the whole; else the largest.
        let of_whole = own.filter(|_| whole);
        let mut meters = draws;
        meters.sort_by(|(one, _, draw), (other, _, larger)| {
            (Some(*other) == of_whole).cmp(&(Some(*one) == of_whole)).then(larger.total_cmp(draw))
        });
        let who = own.or_else(|| roots.first().copied()).and_then(|place| chassis.get(place));
        Ok(Found {
            needs_rated: needs_rated && limits.is_empty(),
            limits,
            whole,
            meter: meters.into_iter().next().map(|(_, meter, _)| meter),
            chassis: who.map(|chassis| chassis.path.clone()),
        })
    }

    /// All chassis, and which contains which.
    async fn chassis(&mut self, bmc: &mut Bmc, root: &Value) -> Result<Vec<Chassis>, DriverError> {
        let all = root.get("Chassis").and_then(Path::of_link);
        let all = all.unwrap_or_else(|| Path::known("/redfish/v1/Chassis"));
        let mut chassis = Vec::new();
        for path in self.0.members(bmc, &all).await? {
            if let Some(body) = self.0.look(bmc, "a chassis", &path).await? {
                chassis.push(Chassis { path, body, within: None });
            }
        }
        let plain = |path: &Path| path.text().trim_end_matches('/').to_owned();
        let paths: Vec<String> = chassis.iter().map(|chassis| plain(&chassis.path)).collect();
        for (place, chassis) in chassis.iter_mut().enumerate() {
            let container = chassis.body.pointer("/Links/ContainedBy").and_then(Path::of_link);
            let container = container.map(|container| plain(&container));
            // One that is not listed is of another BMC.
            chassis.within = paths.iter().position(|path| Some(path) == container.as_ref());
            chassis.within = chassis.within.filter(|within| *within != place);
        }
        Ok(chassis)
    }

    /// `EnvironmentMetrics` of some chassis.
    async fn environments(
        &mut self,
        bmc: &mut Bmc,
        chassis: &[Chassis],
        places: &[usize],
        draws: &mut Draws,
    ) -> Result<Vec<Seen>, DriverError> {
        let mut found = Vec::new();
        for (place, own) in places.iter().filter_map(|place| Some((*place, chassis.get(*place)?))) {
            let Some(path) = own.body.get("EnvironmentMetrics").and_then(Path::of_link) else { continue };
            let Some(body) = self.0.look(bmc, "EnvironmentMetrics", &path).await? else { continue };
            if let Some(draw) = Draw::Environment.read(&body) {
                draws.push((place, Meter { path: path.clone(), draw: Draw::Environment }, draw));
            } else if let Some(uri) = body.pointer("/PowerWatts/DataSourceUri").and_then(Value::as_str) {
                draws.extend(self.sensor(bmc, uri).await?.map(|(meter, draw)| (place, meter, draw)));
            }
            if let Some(said) = Said::read(Form::Environment, &body, None) {
                found.push(Seen {
                    limit: Limit::new(path, Form::Environment, None, said),
                    chassis: Some(place),
                });
            }
        }
        Ok(found)
    }

    /// A sensor that is named in place of its reading.
    async fn sensor(&mut self, bmc: &mut Bmc, uri: &str) -> Result<Option<(Meter, f64)>, DriverError> {
        let Some(path) = Path::of_text(uri) else { return Ok(None) };
        let body = self.0.look(bmc, "a sensor", &path).await?.unwrap_or_default();
        let is_power = fields::text(&body, "ReadingUnits").is_none_or(|units| units == "W");
        let draw = Draw::Sensor.read(&body).filter(|_| is_power);
        Ok(draw.map(|draw| (Meter { path, draw: Draw::Sensor }, draw)))
    }

    /// `EnvironmentMetrics` of each processor: of accelerators, and of the others.
    async fn processors(
        &mut self,
        bmc: &mut Bmc,
        root: &Value,
    ) -> Result<(Vec<Seen>, Vec<Seen>), DriverError> {
        let (mut accelerators, mut others) = (Vec::new(), Vec::new());
        let Some(systems) = root.get("Systems").and_then(Path::of_link) else {
            return Ok((accelerators, others));
        };
        for system in self.0.members(bmc, &systems).await? {
            let system = self.0.look(bmc, "a system", &system).await?.unwrap_or_default();
            let Some(processors) = system.get("Processors").and_then(Path::of_link) else { continue };
            for processor in self.0.members(bmc, &processors).await? {
                let body = self.0.look(bmc, "a processor", &processor).await?.unwrap_or_default();
                let Some(path) = body.get("EnvironmentMetrics").and_then(Path::of_link) else { continue };
                let Some(metrics) = self.0.look(bmc, "EnvironmentMetrics", &path).await? else { continue };
                let Some(said) = Said::read(Form::Environment, &metrics, None) else { continue };
                let seen = Seen { limit: Limit::new(path, Form::Environment, None, said), chassis: None };
                match fields::text(&body, "ProcessorType") {
                    Some("GPU" | "Accelerator") => accelerators.push(seen),
                    _ => others.push(seen),
                }
            }
        }
        Ok((accelerators, others))
    }

    /// The power controls of some chassis.
    async fn controls(
        &mut self,
        bmc: &mut Bmc,
        chassis: &[Chassis],
        places: &[usize],
        rated: Rated,
        draws: &mut Draws,
    ) -> Result<Controls, DriverError> {
        let mut found = Controls::default();
        for (place, own) in places.iter().filter_map(|place| Some((*place, chassis.get(*place)?))) {
            let Some(controls) = own.body.get("Controls").and_then(Path::of_link) else { continue };
            let mut whole: Option<Seen> = None;
            for path in self.0.members(bmc, &controls).await? {
                let Some(body) = self.0.look(bmc, "a control", &path).await? else { continue };
                let of_whole = is_of_whole(&body);
                let is_percent = fields::text(&body, "SetPointUnits") == Some("%");
                // What a percent of a part is, nobody says; and of the whole it is one of what was told.
                let is_known = of_whole && own.within.is_none() && rated.is_told;
                let hundred = Some(rated.watts).filter(|_| is_percent && is_known);
                found.needs_rated |= is_percent && of_whole && own.within.is_none() && !rated.is_told;
                let Some(said) = Said::read(Form::Control, &body, hundred) else { continue };
                if let Some(draw) = said.power.filter(|_| of_whole) {
                    draws.push((place, Meter { path: path.clone(), draw: Draw::Control }, draw));
                }
                let limit = Limit::new(path, Form::Control, hundred, said);
                let seen = Seen { limit, chassis: of_whole.then_some(place) };
                if !of_whole {
                    found.parts.push(seen);
                } else if whole.as_ref().is_none_or(|known| size(&seen) > size(known)) {
                    // Of several controls of one chassis the one that covers most.
                    whole = Some(seen);
                }
            }
            found.whole.extend(whole);
        }
        Ok(found)
    }

    /// `Power` of some chassis.
    async fn old(
        &mut self,
        bmc: &mut Bmc,
        chassis: &[Chassis],
        places: &[usize],
        draws: &mut Draws,
    ) -> Result<Vec<Seen>, DriverError> {
        let mut found = Vec::new();
        for (place, own) in places.iter().filter_map(|place| Some((*place, chassis.get(*place)?))) {
            let Some(path) = own.body.get("Power").and_then(Path::of_link) else { continue };
            let Some(body) = self.0.look(bmc, "Power", &path).await? else { continue };
            if let Some(draw) = Draw::Old.read(&body) {
                draws.push((place, Meter { path: path.clone(), draw: Draw::Old }, draw));
            }
            if let Some(said) = Said::read(Form::Power, &body, None) {
                found.push(Seen { limit: Limit::new(path, Form::Power, None, said), chassis: Some(place) });
            }
        }
        Ok(found)
    }
}

/// Power controls that were seen.
#[derive(Default)]
struct Controls {
    /// One of each chassis.
    whole: Vec<Seen>,
    /// Those of what is in it.
    parts: Vec<Seen>,
    /// One is in percent, and nobody said of what.
    needs_rated: bool,
}

/// How much a limit covers: one that can be set before all others, then by what it allows.
fn size(seen: &Seen) -> (bool, f64) {
    (seen.limit.said.is_usable(), seen.limit.said.high.unwrap_or(0.0))
}

/// The limits that are taken, as they are offered: the first group with one that can be set.
struct Chosen<'a> {
    chassis: &'a [Chassis],
    seen: Vec<Seen>,
    settled: bool,
}

impl<'a> Chosen<'a> {
    const fn new(chassis: &'a [Chassis]) -> Self {
        Self { chassis, seen: Vec::new(), settled: false }
    }

    /// What is there and ignored is better than nothing: it tells what is to be switched on.
    fn offer(&mut self, seen: Vec<Seen>) {
        let seen = topmost(seen, self.chassis);
        let usable = seen.iter().any(|seen| seen.limit.said.is_usable());
        if !self.settled && (usable || self.seen.is_empty()) {
            self.seen = seen;
            self.settled = usable;
        }
    }
}

/// Those that are not within the chassis of another one that can be set: that one covers them.
fn topmost(seen: Vec<Seen>, chassis: &[Chassis]) -> Vec<Seen> {
    let usable = seen.iter().filter(|seen| seen.limit.said.is_usable());
    let covering: BTreeSet<usize> = usable.filter_map(|seen| seen.chassis).collect();
    let is_covered = |own: usize| {
        let above = |place: &usize| chassis.get(*place).and_then(|chassis| chassis.within);
        // As long as the way up may be, so that a circle ends, too.
        std::iter::successors(above(&own), above).take(chassis.len()).any(|place| covering.contains(&place))
    };
    seen.into_iter().filter(|seen| !seen.chassis.is_some_and(is_covered)).collect()
}

/// The limits, each with what is behind it, and whether it is one of the whole server.
fn limits(seen: Vec<Seen>, roots: &[usize], rated: Rated) -> (Vec<Limit>, bool) {
    let is_root = |seen: &Seen| seen.chassis.is_some_and(|own| roots.contains(&own));
    let whole = seen.len() == 1 && seen.first().is_some_and(is_root);
    // A percent of one of several is none of the server.
    let kept = seen.into_iter().filter(|seen| whole || seen.limit.hundred.is_none());
    let mut limits: Vec<Limit> = kept.map(|seen| seen.limit).collect();
    let count = f64::from(u16::try_from(limits.len().max(1)).unwrap_or(u16::MAX));
    for limit in &mut limits {
        limit.base = rated.watts / count;
        limit.doubt();
    }
    (limits, whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATED: Rated = Rated { watts: 8_000.0, is_told: true };

    /// A root, a module in it, and a graphics processor in that.
    fn nested() -> Vec<Chassis> {
        let chassis =
            |within| Chassis { path: Path::known("/redfish/v1/Chassis/1"), body: Value::Null, within };
        vec![chassis(None), chassis(Some(0)), chassis(Some(1)), chassis(Some(0))]
    }

    fn seen(chassis: Option<usize>, disabled: bool) -> Seen {
        let path = Path::known("/redfish/v1/Chassis/1/EnvironmentMetrics");
        let said = Said { disabled, ..Said::default() };
        Seen { limit: Limit::new(path, Form::Environment, None, said), chassis }
    }

    fn places(seen: &[Seen]) -> Vec<Option<usize>> {
        seen.iter().map(|seen| seen.chassis).collect()
    }

    #[test]
    fn a_limit_within_another_one_is_covered_by_it_and_siblings_are_summed() {
        let all = || [0, 1, 2, 3].map(|place| seen(Some(place), false)).into_iter().collect::<Vec<_>>();
        assert_eq!(places(&topmost(all(), &nested())), [Some(0)]);
        let parts = || all().into_iter().skip(1).collect::<Vec<_>>();
        assert_eq!(places(&topmost(parts(), &nested())), [Some(1), Some(3)]);
        // One that cannot be set covers nothing.
        let mut ignored = parts();
        ignored[0] = seen(Some(1), true);
        assert_eq!(places(&topmost(ignored, &nested())), [Some(1), Some(2), Some(3)]);
        let (several, whole) = limits(topmost(parts(), &nested()), &[0], RATED);
        assert!(!whole && several.len() == 2);
        assert!(several.iter().all(|limit| (limit.base - 4_000.0).abs() < 1e-9));
    }

    #[test]
    fn only_a_limit_of_a_chassis_that_nothing_contains_is_one_of_the_whole() {
        for (place, whole) in [(Some(0), true), (Some(1), false), (None, false)] {
            assert_eq!(limits(vec![seen(place, false)], &[0], RATED).1, whole, "{place:?}");
        }
    }

    #[test]
    fn chassis_that_contain_each_other_end_the_way_up() {
        let mut circle = nested();
        circle[0].within = Some(1);
        assert_eq!(topmost(vec![seen(Some(0), false), seen(Some(1), false)], &circle).len(), 0);
    }
}

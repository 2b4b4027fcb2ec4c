//! A state that was kept and is given back: what in it and its site must fit together, so that the control law can go on.

use std::sync::Arc;

use crate::control::site::{Cap, CircuitId, Combination, MeterId, Site};
use crate::control::state::State;

/// What was given back cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(&'static str);

impl Site {
    /// Whether it is consistent as [`super::site`] demands. Only a site that does not come from a configuration need be
    /// asked.
    ///
    /// # Errors
    /// What is not.
    pub fn check(&self) -> Result<(), Unfit> {
        let circuit = |id: CircuitId| id.0 < self.circuits.len();
        let meter = |id: MeterId| id.0 < self.meters.len();
        let of_all = |sound: bool, what| if sound { Ok(()) } else { Err(Unfit(what)) };
        let tree = self.circuits.iter().enumerate().all(|(at, it)| match it.parent {
            None => at == 0,
            Some(parent) => parent.0 < at,
        });
        of_all(tree && !self.circuits.is_empty(), "its circuits are no tree")?;
        let circuits = self.circuits.iter().all(|it| {
            it.meter.is_none_or(meter)
                && it.interlock.is_none_or(|interlock| meter(interlock.meter))
                && it.emergency_stop.is_none_or(|stop| meter(stop.meter))
        });
        of_all(circuits, "a circuit names a meter that is not there")?;
        let parts = |parts: &Combination| parts.parts().all(|part| meter(part.meter));
        let combined = self.meters.iter().all(|it| it.combined.as_ref().is_none_or(parts));
        of_all(combined, "a meter names a part that is not there")?;
        let limits = self.limits.iter().all(|it| {
            let read = !matches!(it.cap, Cap::Reading { meter: from, .. } if !meter(from));
            circuit(it.circuit) && read && it.condition.is_none_or(|condition| meter(condition.meter))
        });
        of_all(limits, "a limit names what is not there")?;
        let miners = self.miners.iter().all(|it| circuit(it.circuit) && !it.points.is_empty());
        of_all(miners, "a miner has no circuit or no point")?;
        let points = |it: &[crate::control::site::OperatingPoint]| it.is_sorted_by(|a, b| a.power < b.power);
        of_all(self.miners.iter().all(|it| points(&it.points)), "the points of a miner do not rise")
    }
}

fn or_fresh<T>(list: &mut Vec<T>, fresh: Vec<T>) {
    if list.is_empty() {
        *list = fresh;
    }
}

impl State {
    /// Gives a state that was kept what is not kept with it: its site.
    ///
    /// # Errors
    /// It is not the state of this site, or the site is not consistent.
    pub fn restore(mut self, site: Arc<Site>) -> Result<Self, Unfit> {
        site.check()?;
        let fresh = Self::new(site.clone());
        // What was kept before there was such a list.
        or_fresh(&mut self.memories, fresh.memories);
        or_fresh(&mut self.ramps, fresh.ramps);
        or_fresh(&mut self.trips, fresh.trips);
        or_fresh(&mut self.stops, fresh.stops);
        or_fresh(&mut self.taken, fresh.taken);
        or_fresh(&mut self.nameplates, fresh.nameplates);
        or_fresh(&mut self.maxima, fresh.maxima);
        or_fresh(&mut self.acting, fresh.acting);
        let circuits = [
            self.memories.len(),
            self.ramps.len(),
            self.trips.len(),
            self.stops.len(),
            self.nameplates.len(),
            self.maxima.len(),
            self.taken.len(),
        ];
        let fits = self.tracks.len() == site.miners.len()
            && circuits.iter().all(|length| *length == site.circuits.len())
            && self.acting.len() == site.limits.len()
            && self.combiner.fits(&site);
        if !fits {
            return Err(Unfit("the state belongs to another site"));
        }
        self.tree = fresh.tree;
        self.site = site;
        Ok(self)
    }
}

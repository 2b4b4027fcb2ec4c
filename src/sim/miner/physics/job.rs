//! What the work of a server asks for, what of it is done, and what a cap takes away.
//!
//! A server draws what its work asks for, and no more than its cap: a cap above that changes nothing. Work goes by the draw, along
//! the operating points of the member and straight down to nothing below them.

use std::time::Duration;

use crate::clock::Moment;
use crate::control::site::Miner;
use crate::sim::scenario::Demand;
use crate::units::{Hashrate, Watts};

/// A server says the mean of so long …
const SAYS_OVER: Duration = Duration::from_secs(1);
/// … of so many moments.
const SAMPLES: u32 = 20;
/// Work that moves slowly is looked at this often.
const LOOK: Duration = Duration::from_millis(500);

/// Work of a server, in seconds of its work at full power.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// What was done.
    pub done: f64,
    /// What would have been done without any cap.
    pub asked: f64,
}

impl Work {
    /// The part that was done; `None` where nothing was asked for.
    pub fn share(self) -> Option<f64> {
        (self.asked > 0.0).then(|| self.done / self.asked)
    }

    /// What came after an earlier count.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { done: self.done - before.done, asked: self.asked - before.asked }
    }
}

/// The jobs of one server, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Jobs {
    /// What is asked for from when on, by rising time.
    jobs: Vec<(Duration, Demand)>,
    /// Where it stands in a swing, 0 to 1.
    phase: f64,
    /// Its highest power, in watts.
    full: f64,
    /// Its work at full power.
    best: f64,
    /// Powers in watts, and the part of its work that is done there, by rising power.
    curve: Vec<(f64, f64)>,
    work: Work,
    /// What was done and asked for in each second when it was looked at last.
    last: Option<(Moment, Work)>,
}

impl Jobs {
    pub(super) fn new(spec: &Miner, jobs: Vec<(Duration, Demand)>, phase: f64) -> Self {
        let best = spec.points.last().map_or(0.0, |point| point.hashrate.get());
        let part = |hashrate: Hashrate| if best > 0.0 { hashrate.get() / best } else { 0.0 };
        Self {
            jobs,
            phase,
            full: spec.maximum().get(),
            best,
            curve: spec.points.iter().map(|point| (point.power.get(), part(point.hashrate))).collect(),
            work: Work::default(),
            last: None,
        }
    }

    /// The job at a moment.
    fn job(&self, at: Moment) -> Option<&Demand> {
        let time = at.since_start();
        self.jobs.iter().rev().find(|(from, _)| *from <= time).map(|(_, demand)| demand)
    }

    /// What its work asks for, in watts.
    fn demand(&self, at: Moment) -> f64 {
        self.job(at).map_or(0.0, |demand| self.full * demand.share(at.since_start(), self.phase))
    }

    /// The part of its work at full power that is done at a draw.
    fn throughput(&self, watts: f64) -> f64 {
        let mut below = (0.0_f64, 0.0_f64);
        for here in &self.curve {
            if watts <= here.0 {
                let span = here.0 - below.0;
                let along = if span > 0.0 { ((watts - below.0) / span).clamp(0.0, 1.0) } else { 1.0 };
                return below.1 + (here.1 - below.1) * along;
            }
            below = *here;
        }
        below.1
    }

    /// The work that is done in each second at a draw, as a part of that at full power. Who idles does none.
    fn work_at(&self, watts: f64, at: Moment) -> f64 {
        match self.job(at) {
            None | Some(Demand::Idle { .. }) => 0.0,
            Some(_) => self.throughput(watts),
        }
    }

    /// The same as a hashrate.
    pub(super) fn rate(&self, watts: f64, at: Moment) -> Hashrate {
        Hashrate::saturating(self.best * self.work_at(watts, at))
    }

    /// What is drawn where a cap leaves this much, and the work since the last look is counted.
    pub(super) fn draws(&mut self, most: f64, at: Moment) -> f64 {
        let asked = self.demand(at);
        let drawn = most.min(asked);
        let rate = Work { done: self.work_at(drawn, at), asked: self.work_at(asked, at) };
        match self.last {
            Some((before, _)) if at <= before => return drawn,
            Some((before, then)) => {
                let half = 0.5 * at.since(before).as_secs_f64();
                self.work.done += half * (then.done + rate.done);
                self.work.asked += half * (then.asked + rate.asked);
            }
            None => {}
        }
        self.last = Some((at, rate));
        drawn
    }

    /// What the server says that it draws where a cap leaves this much.
    pub(super) fn says(&self, most: f64, at: Moment) -> f64 {
        let Some(demand) = self.job(at) else { return 0.0 };
        if !demand.swings() {
            return most.min(self.demand(at));
        }
        let step = SAYS_OVER / SAMPLES;
        let sum: f64 = (0..SAMPLES).map(|number| most.min(self.demand(at.earlier(step * number)))).sum();
        sum / f64::from(SAMPLES)
    }

    /// Up to when its draw stands still as far as its work goes.
    pub(super) fn still(&self, at: Moment) -> Moment {
        if self.job(at).is_some_and(Demand::swings) { at } else { at + LOOK }
    }

    pub(super) const fn work(&self) -> Work {
        self.work
    }

    /// Whether a cap keeps nothing from it, whatever it works on.
    pub(super) fn fits(&self, cap: f64) -> bool {
        cap >= self.full * 0.999
    }
}

impl super::Physics {
    /// Gives it jobs: from now on it draws no more than they ask for.
    pub fn take_jobs(&mut self, spec: &Miner, jobs: Vec<(Duration, Demand)>) {
        let phase = self.noise.unit(super::channel::JOB, 0);
        self.jobs = (!jobs.is_empty()).then(|| Jobs::new(spec, jobs, phase));
    }

    /// The work that it was asked for and has done, up to when its draw was last looked at; `None` without jobs.
    pub fn work(&self) -> Option<Work> {
        self.jobs.as_ref().map(Jobs::work)
    }

    /// What a cap leaves to its work at present: all, where the highest is in force.
    pub(super) fn left_to_work(&self, draw: f64) -> f64 {
        let arrived = (self.course().0 - self.draw).abs() <= 1e-6;
        let open = self.jobs.as_ref().is_some_and(|jobs| jobs.fits(self.nominal(self.setting)));
        if open && arrived && self.is_powered() { self.body.nameplate } else { draw }
    }

    /// True draw with a job, and its work is counted; `None` without one.
    pub(super) fn at_work(&mut self) -> Option<Watts> {
        self.jobs.as_ref()?;
        let most = self.left_to_work(self.with_drift(self.draw)).min(self.body.nameplate);
        let at = self.at;
        self.jobs.as_mut().map(|jobs| Watts::saturating(jobs.draws(most, at)))
    }

    /// What it says of a filtered draw: with a job no more than that has asked for of late.
    pub(super) fn says_of(&self, draw: f64) -> f64 {
        self.jobs.as_ref().map_or(draw, |jobs| jobs.says(self.left_to_work(draw), self.at))
    }
}

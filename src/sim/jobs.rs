//! The jobs of a site's servers, and how much of their work was done under the caps that they had.
//!
//! A server that the scenario gives no job draws what it is allowed to, like a miner. *Throughput* is what was done as a part of
//! what would have been done without any cap: of each class the mean over its servers, of all of them weighted by nameplate.

use std::fmt;
use std::time::Duration;

pub use super::miner::Work;
use super::scenario::{Demand, Scenario, ScenarioError};
use super::script::miners;
use crate::control::site::{LoadClass, Site};
use crate::units::Watts;

/// The jobs of every member of the site, each from when on, by rising time; none for whom the scenario gives none.
///
/// # Errors
/// Servers that the site does not have, and members that are none.
pub fn of(site: &Site, scenario: &Scenario) -> Result<Vec<Vec<(Duration, Demand)>>, ScenarioError> {
    let mut all: Vec<Vec<(Duration, Demand)>> = vec![Vec::new(); site.miners.len()];
    for job in &scenario.jobs {
        for position in miners(site, scenario, &job.choice)? {
            if let Some(miner) = site.miners.get(position).filter(|member| member.class == LoadClass::Miner) {
                let words = format!("`{}` is a miner; only servers have jobs", miner.name);
                return Err(scenario.error(job.choice.name.place, words));
            }
            if let Some(jobs) = all.get_mut(position) {
                jobs.retain(|(at, _)| *at != job.at);
                jobs.push((job.at, job.demand.clone()));
            }
        }
    }
    for jobs in &mut all {
        jobs.sort_by_key(|(at, _)| *at);
        if jobs.first().is_some_and(|(at, _)| !at.is_zero()) {
            jobs.insert(0, (Duration::ZERO, Demand::NONE));
        }
    }
    Ok(all)
}

/// What was done of the work that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Throughput {
    /// Of each class that has jobs, the mean over its servers, as a fraction; who gives power up last stands first.
    pub classes: Vec<(LoadClass, f64)>,
    /// Of all servers with jobs, weighted by nameplate, as a fraction.
    pub hall: f64,
}

impl Throughput {
    /// Of the work of every member, in the order of the site; `None` where nobody was asked for any.
    pub fn of(site: &Site, work: &[Option<Work>]) -> Option<Self> {
        let shares = || {
            let members = site.miners.iter().zip(work);
            members.filter_map(|(member, work)| Some((member, (*work)?.share()?)))
        };
        let nameplate: Watts = shares().map(|(member, _)| member.nameplate).sum();
        let done: Watts = shares().map(|(member, share)| member.nameplate.scaled(share)).sum();
        let classes = LoadClass::ALL.into_iter().rev().filter_map(|class| {
            let (sum, count) = shares()
                .filter(|(member, _)| member.class == class)
                .fold((0.0_f64, 0.0_f64), |(sum, count), (_, share)| (sum + share, count + 1.0));
            (count > 0.0).then(|| (class, sum / count))
        });
        Some(Self { hall: done.ratio(nameplate)?, classes: classes.collect() })
    }

    /// That of a class, if it has jobs.
    pub fn class(&self, class: LoadClass) -> Option<f64> {
        self.classes.iter().find(|(known, _)| *known == class).map(|(_, share)| *share)
    }
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (class, share) in &self.classes {
            write!(f, "{} {:.1} % · ", class.name(), 100.0 * share)?;
        }
        write!(f, "all {:.1} %", 100.0 * self.hall)
    }
}

//! The simulated miners of a site: each served at its address, and a load of the plant.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::jobs;
use super::miner::{FaultKind, FaultParams, Initial, SimMiner, Work, serve as serve_miner};
use super::scenario::{InitialMiners, MinerFault, Scenario, ScenarioError};
use super::script::deviations;
use super::site::{Load, SimError, loopback};
use crate::clock::{Clock, Moment};
use crate::config::Config;
use crate::control::site::{LoadClass, Miner};
use crate::units::{Hashrate, Watts};

/// Which parameters a scenario may give a fault of a miner.
const PARAMETERS: [&str; 4] = ["delay", "off_for", "factor", "boot"];

/// Starts every miner of the configuration, in the order of the site. They end with the token.
///
/// # Errors
/// An address that is not loopback or cannot be opened.
pub(super) async fn serve(
    config: &Config,
    scenario: &Scenario,
    clock: Clock,
    cancel: &CancellationToken,
) -> Result<Vec<Arc<dyn Load>>, SimError> {
    let miners = build(config, scenario, &[])?;
    let mut loads: Vec<Arc<dyn Load>> = Vec::with_capacity(config.miners.len());
    for (miner, connection) in miners.into_iter().zip(&config.miners) {
        let (what, endpoint) = (format!("the miner `{}`", connection.name), connection.endpoint.clone());
        if loopback(&endpoint).is_none() {
            return Err(SimError::NotLoopback { what, endpoint });
        }
        let miner = Arc::new(miner);
        serve_miner(miner.clone(), connection, clock, cancel.clone())
            .await
            .map_err(|source| SimError::Bind { what, endpoint, source })?;
        loads.push(miner);
    }
    Ok(loads)
}

/// How the miner at a position begins: as it is told, otherwise as the scenario says. A server is found at work and without a cap.
pub(super) fn begins(scenario: &Scenario, told: &[Initial], position: usize, spec: &Miner) -> Initial {
    told.get(position).copied().unwrap_or(match scenario.miners {
        _ if spec.class != LoadClass::Miner => Initial::Hashing { fraction: 1.0 },
        InitialMiners::Hashing { fraction } => Initial::Hashing { fraction },
        InitialMiners::Asleep => Initial::Asleep,
    })
}

/// Every miner of the configuration as the scenario has it, in the order of the site, not served yet. `initial` says how they
/// begin; those that it does not name begin as the scenario says.
///
/// # Errors
/// Miners that the scenario names and the site does not have.
pub(super) fn build(
    config: &Config,
    scenario: &Scenario,
    initial: &[Initial],
) -> Result<Vec<SimMiner>, ScenarioError> {
    let differing = deviations(&config.site, scenario)?;
    let jobs = jobs::of(&config.site, scenario)?;
    let miners =
        config.site.miners.iter().zip(&config.miners).zip(&config.models).zip(differing).zip(0_u64..);
    Ok(miners
        .zip(jobs)
        .enumerate()
        .map(|(position, (((((spec, connection), model), differs), number), jobs))| {
            let initial = begins(scenario, initial, position, spec);
            SimMiner::differing(spec, connection, scenario.seed.wrapping_add(number), initial, &differs)
                .of_model(model.as_deref())
                .with_jobs(spec, jobs)
        })
        .collect())
}

/// The fault that a scenario means.
///
/// # Errors
/// Words for people: which faults and parameters there are.
pub(super) fn parsed(fault: &MinerFault) -> Result<super::miner::Fault, String> {
    fault.only(&PARAMETERS)?;
    let parameters = FaultParams {
        delay: fault.duration("delay")?,
        off_for: fault.duration("off_for")?,
        factor: fault.number("factor")?,
        boot: fault.duration("boot")?,
    };
    super::miner::Fault::parse(&fault.kind, &parameters).map_err(|error| error.to_string())
}

impl Load for SimMiner {
    fn power(&self, now: Moment) -> Watts {
        Self::power(self, now)
    }

    fn hashrate(&self, now: Moment) -> Hashrate {
        Self::hashrate(self, now)
    }

    fn work(&self) -> Option<Work> {
        Self::work(self)
    }

    fn accepts(&self, fault: &MinerFault) -> Result<(), String> {
        parsed(fault).map(|_| ())
    }

    fn inject(&self, fault: &MinerFault, now: Moment) {
        // What cannot be parsed was refused before the start.
        if let Ok(fault) = parsed(fault) {
            Self::inject(self, fault, now);
        }
    }

    fn clear(&self, fault: &MinerFault, now: Moment) {
        if let Ok(kind) = FaultKind::from_name(&fault.kind) {
            Self::clear(self, kind, now);
        }
    }
}

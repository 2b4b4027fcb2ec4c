//! What each miner was told last, when and why, and what was learned of it: for whoever asks why it stands where it stands.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::why::{Here, Speaker};
use crate::clock::Moment;
use crate::control::decision::{Cause, Decision};
use crate::control::learned::Learned;
use crate::control::site::{CircuitId, MinerId, Site};
use crate::control::snapshot::{Snapshot, Target};

/// The latest command to a miner.
#[derive(Clone, Debug, PartialEq)]
pub struct Telling {
    /// When.
    pub at: Moment,
    /// What it was told.
    pub target: Target,
    /// Why.
    pub cause: Cause,
    /// What left it the least then, in words.
    pub binding: Arc<str>,
}

/// What is known of each miner besides a cycle, by its position.
#[derive(Clone, Debug, Default)]
struct Each {
    told: Option<Telling>,
    learned: Option<Learned>,
}

/// The same of all.
#[derive(Debug, Default)]
pub(super) struct Tellings(Mutex<Vec<Each>>);

impl Tellings {
    fn each(&self) -> MutexGuard<'_, Vec<Each>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a cycle's commands. Most cycles have few or none.
    pub(super) fn note(&self, site: &Site, snapshot: &Snapshot, decision: &Decision) {
        if decision.commands.is_empty() {
            return;
        }
        let here = Here::now();
        let speaker = Speaker::of(site, snapshot, decision, None, &here);
        let mut words: HashMap<CircuitId, Arc<str>> = HashMap::new();
        let mut each = self.each();
        each.resize_with(site.miners.len(), Each::default);
        for command in &decision.commands {
            let Some(circuit) = site.miners.get(command.miner.0).map(|miner| miner.circuit) else { continue };
            // What binds the fleet may be a limit on another part of the site.
            let everybody = site.feeds(decision.binding.circuit, circuit);
            let binding = words.entry(circuit).or_insert_with(|| {
                let told = if everybody { speaker.binding() } else { speaker.cap(circuit) };
                told.words.into()
            });
            if let Some(one) = each.get_mut(command.miner.0) {
                let Cause::Reapply = command.cause else {
                    let binding = Arc::clone(binding);
                    let (at, target, cause) = (decision.at, command.target, command.cause);
                    one.told = Some(Telling { at, target, cause, binding });
                    continue;
                };
                // What is only said again keeps its reason, where the same was said.
                let again = one.told.as_ref().is_some_and(|told| told.target == command.target);
                if !again {
                    let binding = Arc::clone(binding);
                    one.told = Some(Telling {
                        at: decision.at,
                        target: command.target,
                        cause: Cause::Reapply,
                        binding,
                    });
                }
            }
        }
    }

    /// Takes in what was learned; what is not there is not known.
    pub(super) fn learn(&self, site: &Site, learned: Vec<(MinerId, Learned)>) {
        let mut each = self.each();
        each.resize_with(site.miners.len(), Each::default);
        for (miner, learned) in learned {
            if let Some(one) = each.get_mut(miner.0) {
                one.learned = Some(learned);
            }
        }
    }

    /// Follows miners that have another position now, by their names.
    pub(super) fn moved(&self, from: &Site, to: &Site) {
        let mut each = self.each();
        let names = from.miners.iter().map(|miner| miner.name.as_str());
        let mut before: HashMap<&str, Each> = names.zip(std::mem::take(&mut *each)).collect();
        *each =
            to.miners.iter().map(|miner| before.remove(miner.name.as_str()).unwrap_or_default()).collect();
    }

    /// What a miner was told last, and what was learned of it.
    pub(super) fn of(&self, miner: MinerId) -> (Option<Telling>, Option<Learned>) {
        self.each().get(miner.0).map(|each| (each.told.clone(), each.learned)).unwrap_or_default()
    }
}

//! A record without names: what somebody else may see. Addresses, accounts and passwords are in no record to begin with.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::control::signal::book::Why;
use crate::control::site::Site;
use crate::control::snapshot::{Activity, MinerInput, Outcome, Rejection, Snapshot};

/// Gives each name a number, the same one in every segment.
#[derive(Clone, Debug, Default)]
pub struct Anonymous {
    names: BTreeMap<(&'static str, String), String>,
}

impl Anonymous {
    fn hide(&mut self, kind: &'static str, name: &mut String) {
        let next = self.names.keys().filter(|(known, _)| *known == kind).count() + 1;
        let number = self.names.entry((kind, std::mem::take(name)));
        name.clone_from(number.or_insert_with(|| format!("{kind}-{next}")));
    }

    /// Takes the names out of a site.
    pub fn hide_site(&mut self, site: &mut Site) {
        site.name = String::from("site");
        site.circuits.iter_mut().for_each(|circuit| self.hide("circuit", &mut circuit.name));
        site.meters.iter_mut().for_each(|meter| self.hide("meter", &mut meter.name));
        site.limits.iter_mut().for_each(|limit| self.hide("limit", &mut limit.name));
        site.sources.iter_mut().for_each(|source| self.hide("source", &mut source.name));
        site.miners.iter_mut().for_each(|miner| self.hide("miner", &mut miner.name));
    }

    fn hide_text(&mut self, text: &mut Arc<str>) {
        let mut hidden = text.to_string();
        self.hide("text", &mut hidden);
        *text = hidden.into();
    }

    fn hide_input(&mut self, input: &mut MinerInput) {
        if let Some(status) = &mut input.status
            && let Activity::Fault(text) = &mut status.value.activity
        {
            self.hide_text(text);
        }
        if let Some(delivery) = &mut input.delivery
            && let Outcome::Rejected(Rejection::Other(text)) = &mut delivery.outcome
        {
            self.hide_text(text);
        }
    }

    /// Takes the texts of devices and the names of orders out of a snapshot.
    pub fn hide_texts(&mut self, snapshot: &mut Snapshot) {
        for order in &mut snapshot.orders {
            match &mut order.active.why {
                Why::Order(name) | Why::Returning(name) | Why::Kept(name) => self.hide_text(name),
                Why::FailSafe | Why::Released => {}
            }
        }
        let inputs = snapshot.miners.iter_mut().chain(&mut snapshot.breakers);
        inputs.for_each(|input| self.hide_input(input));
    }
}

//! How a power becomes orders: what the processors that can be set may have, written, and believed when it reads back.

use super::share::{Wish, orders, share};
use super::wire::{Failures, Request, Told};
use super::{Gpu, Zeusd, found, words};
use crate::control::snapshot::Rejection;
use crate::miner::{DriverError, Urgency};

/// How far a limit that reads back may lie from what was asked for, in milliwatts: the driver counts in steps of its own.
const CLOSE: u32 = 500;
/// What was done where the rest of an order fails.
const BEGUN: &str = "some limits were set";

impl Zeusd {
    /// Sets the limits for a power of the whole server, in watts. Says whether any of them moved.
    ///
    /// # Errors
    /// A refusal where every limit is what it was; anything else leaves it open what the server draws.
    pub(super) async fn set(&mut self, power: f64, urgency: Urgency) -> Result<bool, DriverError> {
        let name = Request::SetLimit.path();
        // Anybody who reaches a daemon without tokens can set its limits: it is read, and not commanded without one.
        if !self.daemon.has_token() {
            return Err(self.daemon.place().rejected(name, Rejection::Credentials));
        }
        // What could not be set before may have been mended.
        if self.known.gpus.is_empty() || self.known.refuses.is_some() {
            self.ask().await?;
        }
        if let Some(why) = &self.known.refuses {
            return Err(self.daemon.place().rejected(name, Rejection::Other(why.as_str().into())));
        }
        let wishes = self.wishes(power, urgency);
        if wishes.is_empty() {
            let why = self
                .known
                .fault
                .as_deref()
                .unwrap_or("none of its GPUs says between which limits it can be set");
            return Err(self.daemon.place().rejected(name, Rejection::Other(why.into())));
        }
        let result = self.carry_out(&wishes, urgency).await;
        if result.is_err() {
            self.found = None;
        }
        result.map(|()| wishes.iter().any(|wish| wish.stands != Some(wish.wanted)))
    }

    /// The lowest power of the whole server that can be asked for, in watts.
    pub(super) fn lowest(&self) -> f64 {
        let low = |gpu: &Gpu| gpu.range.map_or(0.0, |(low, _)| f64::from(low) / 1e3);
        self.known.gpus.iter().map(low).sum::<f64>() + self.settings.base.get()
    }

    /// What each processor that can be set is to have. The others keep what they have: their limit, as far as it is known. A shed
    /// raises none above what was read last, and sends that all the same: it may have changed since.
    fn wishes(&self, power: f64, urgency: Urgency) -> Vec<Wish> {
        let known = &self.known.gpus;
        let stuck = known
            .iter()
            .filter(|gpu| gpu.lost || gpu.range.is_none())
            .map(|gpu| gpu.limit.unwrap_or_default());
        let held: f64 = stuck.map(f64::from).sum();
        let room = (power - self.settings.base.get()) * 1e3 - held;
        // Below what every processor has as its lowest all are the same, and above what all have, too.
        let room: u64 = format!("{:.0}", room.clamp(0.0, 1e12).floor()).parse().unwrap_or_default();
        let able: Vec<(&Gpu, (u32, u32))> =
            known.iter().filter(|gpu| !gpu.lost).filter_map(|gpu| Some((gpu, gpu.range?))).collect();
        let ranges: Vec<(u32, u32)> = able.iter().map(|(_, range)| *range).collect();
        let shares = share(&ranges, room);
        let wish = |((gpu, (low, _)), share): (&(&Gpu, (u32, u32)), u32)| {
            let most = gpu.limit.filter(|_| urgency == Urgency::Shed).map_or(share, |limit| limit.max(*low));
            Wish { id: gpu.id, stands: gpu.limit, wanted: share.min(most) }
        };
        able.iter().zip(shares).map(wish).collect()
    }

    /// Writes the limits, and reads them back. A shed is fulfilled by anything lower, too.
    async fn carry_out(&mut self, wishes: &[Wish], urgency: Urgency) -> Result<(), DriverError> {
        let name = Request::SetLimit.path();
        let mut failures = Failures::new();
        let mut begun = false;
        for (limit, ids) in orders(wishes) {
            match self.daemon.set(limit, &ids).await {
                Ok(Told::All(_)) => begun = true,
                Ok(Told::Failed(more)) => {
                    begun |= ids.iter().any(|id| !more.contains_key(id));
                    failures.extend(more);
                }
                Err(error) if begun => return Err(self.daemon.place().halfway(BEGUN, error)),
                Err(error) => return Err(error),
            }
        }
        let ids: Vec<u16> = self.known.gpus.iter().map(|gpu| gpu.id).collect();
        let (limits, unread) = match self.of_each(Request::Limits, &ids).await {
            Ok(read) => read,
            Err(error) if begun => return Err(self.daemon.place().halfway(BEGUN, error)),
            Err(error) => return Err(error),
        };
        for gpu in self.known.gpus.iter_mut().filter(|gpu| !gpu.lost) {
            gpu.limit = found::limit(&limits, gpu.id);
        }
        for wish in wishes {
            let why = match (found::limit(&limits, wish.id), unread.get(&wish.id)) {
                (Some(limit), _) if urgency == Urgency::Shed && limit < wish.wanted => continue,
                (Some(limit), _) if limit.abs_diff(wish.wanted) <= CLOSE => continue,
                (Some(limit), _) => format!("its limit is still {} W", limit / 1_000),
                (None, Some(why)) => why.clone(),
                (None, None) => "its limit does not read back".to_owned(),
            };
            failures.entry(wish.id).or_insert(why);
        }
        // One that was refused and reads back as it was asked for is no yes either.
        let failed = wishes.iter().filter(|wish| failures.contains_key(&wish.id)).count();
        let able = self.known.gpus.iter().filter(|gpu| !gpu.lost).count();
        let all = wishes.len() == able && self.known.whole;
        let why = match words(&failures) {
            Some(why) => why,
            None if all => return Ok(()),
            // The others keep what they have.
            None => self.known.fault.clone().unwrap_or_else(|| "not all of its GPUs can be set".to_owned()),
        };
        // What reads back as it was before was refused by all, or taken by none that said yes.
        let stays = |wish: &Wish| wish.stands.is_some() && found::limit(&limits, wish.id) == wish.stands;
        if !begun || (failed == wishes.len() && wishes.iter().all(stays)) {
            return Err(self.daemon.place().rejected(name, Rejection::Other(why.into())));
        }
        let text = format!("{} of {} limits stand; {why}", wishes.len() - failed, self.known.gpus.len());
        Err(self.daemon.place().malformed(name, text))
    }
}

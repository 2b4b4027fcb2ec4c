//! How a power becomes limits: shared, written one after the other, and believed when they read back.

use std::time::Duration;

use super::find::Found;
use super::forms::{Limit, split};
use super::wire::Written;
use super::{Known, Redfish};
use crate::control::snapshot::Rejection;
use crate::miner::{DriverError, Urgency};

/// Between two orders to a BMC.
const SPACING: Duration = Duration::from_secs(5);
/// Before a limit that does not read back yet is read again, and how often.
const READ_AGAIN: Duration = Duration::from_secs(1);
const READ_BACKS: u32 = 3;

impl Redfish {
    /// Waits until another order may be written.
    async fn take_turn(&self, urgency: Urgency) {
        let Some((at, was)) = self.written else { return };
        if urgency == Urgency::Shed && was == Urgency::Normal {
            return;
        }
        tokio::time::sleep(SPACING.saturating_sub(self.clock.now() - at)).await;
    }

    /// Writes one limit in the version that was read, once more after it was read anew.
    async fn write(&mut self, found: &Found, place: usize, set_point: i64) -> Result<(), DriverError> {
        let name = found.form.name();
        let body = found.form.body(set_point);
        let (Some(path), Some(known)) = (found.limits.get(place), self.known.get(place)) else {
            return Ok(());
        };
        let etag = known.etag.clone();
        if self.bmc.patch(name, found.form, path, &body, etag.as_ref()).await? != Written::Changed {
            return Ok(());
        }
        self.look(found, place).await?;
        let etag = self.known.get(place).and_then(|known| known.etag.clone());
        match self.bmc.patch(name, found.form, path, &body, etag.as_ref()).await? {
            Written::Done | Written::Accepted => Ok(()),
            // Somebody else writes there all the time.
            Written::Changed => Err(self.bmc.place().rejected(name, Rejection::Busy)),
        }
    }

    /// Reads one limit anew.
    async fn look(&mut self, found: &Found, place: usize) -> Result<Option<Limit>, DriverError> {
        let name = found.form.name();
        let Some(path) = found.limits.get(place) else { return Ok(None) };
        let Some(resource) = self.bmc.get(name, path).await? else { return Err(self.gone(name)) };
        let limit = Limit::read(found.form, &resource.body, self.rated);
        if let (Some(limit), Some(known)) = (limit, self.known.get_mut(place)) {
            *known = Known { limit, etag: resource.etag };
        }
        Ok(limit)
    }

    /// Believes a write when it reads back.
    async fn confirm(&mut self, found: &Found, place: usize, set_point: i64) -> Result<(), DriverError> {
        let name = found.form.name();
        let mut last = None;
        for attempt in 0..READ_BACKS {
            if attempt > 0 {
                tokio::time::sleep(READ_AGAIN).await;
            }
            last = self.look(found, place).await?;
            if last.is_some_and(|limit| limit.disabled || limit.stands_at(set_point)) {
                break;
            }
        }
        let Some(limit) = last else {
            return Err(self.bmc.place().malformed(name, "the limit that was set does not read back"));
        };
        let why = match (limit.disabled, limit.stands_at(set_point), limit.set) {
            (false, true, _) => return Ok(()),
            (true, ..) => "it said yes, and its ControlMode is Disabled: the limit is ignored".to_owned(),
            (false, false, Some(set)) => format!("it said yes, and its limit is still {set:.0} W"),
            (false, false, None) => "it said yes, and no limit stands that it allows itself".to_owned(),
        };
        Err(self.bmc.place().other(name, &why, &[]))
    }

    /// Sets the limits for a power of the whole server.
    pub(super) async fn set(&mut self, power: f64, urgency: Urgency) -> Result<(), DriverError> {
        if self.known.is_empty() {
            self.ask().await?;
        }
        let found = self.found().await?;
        let limits = self.limits();
        let name = found.form.name();
        if let Some(why) = self.refuses(&limits) {
            return Err(self.bmc.place().other(name, why, &[]));
        }
        if self.known.len() > 1 {
            self.taken = self.highest_rest().or(self.taken);
        }
        let shares = match limits.as_slice() {
            [_] => vec![power],
            several => split(several, power - self.beside(), self.rated),
        };
        let out_of_range = || self.bmc.place().rejected(name, Rejection::OutOfRange);
        let mut orders = Vec::new();
        for (place, (limit, share)) in limits.iter().zip(&shares).enumerate() {
            let set_point = limit.set_point(*share, self.rated).ok_or_else(out_of_range)?;
            // What stands already is not written again: a write may wear its flash.
            if !limit.stands_at(set_point) {
                orders.push((place, set_point));
            }
        }
        if orders.is_empty() {
            return Ok(());
        }
        self.take_turn(urgency).await;
        self.written = Some((self.clock.now(), urgency));
        let mut done = 0_usize;
        for (place, set_point) in &orders {
            match self.write(&found, *place, *set_point).await {
                Ok(()) => done += 1,
                // Some have taken it and some have not: what it draws now is not known.
                Err(error) if done > 0 => {
                    let text = format!("{done} of {} limits were set, and then: {error}", orders.len());
                    return Err(self.bmc.place().malformed(name, text));
                }
                Err(error) => return Err(error),
            }
        }
        for (place, set_point) in orders {
            self.confirm(&found, place, set_point).await?;
        }
        Ok(())
    }

    /// The lowest power of the whole server that can be asked for.
    pub(super) fn lowest(&self) -> f64 {
        let each = self.rated / f64::from(u16::try_from(self.known.len().max(1)).unwrap_or(u16::MAX));
        self.known.iter().map(|known| known.limit.bounds(each).0).sum::<f64>() + self.beside()
    }
}

//! One order: read what stands, plan (`plan`), write, read back, and say what came of it.
//!
//! A shed needs nothing but the connection: where a limit cannot be read, it is written as it was known last. What came of an order
//! is said so that nobody counts on what is not known: it stands; it was refused and nothing changed; or it is not known.

use std::time::Duration;

use reqwest::header::HeaderValue;

use super::Redfish;
use super::plan::{Limit, Plan, plan};
use super::wire::{Haste, Written};
use crate::control::snapshot::Rejection;
use crate::miner::{DriverError, Urgency};

/// Between what was written last and the next order that has time.
const SPACING: Duration = Duration::from_secs(5);
/// Before a limit that does not read back yet is read again, and how often.
const READ_AGAIN: Duration = Duration::from_secs(1);
const READ_BACKS: u32 = 3;

/// A write that the BMC took.
#[derive(Clone, Copy, Debug)]
struct Sent {
    place: usize,
    set_point: i32,
    /// What stood before, in watts.
    before: Option<f64>,
    how: Written,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
enum End {
    /// It reads back.
    Stands,
    /// It was taken, and nothing changed.
    Unchanged(String),
    /// It is not known what stands, or what will.
    Unknown(String),
}

impl Redfish {
    /// Sets the limits for a power of the whole server, in watts, and gives what they come to.
    ///
    /// # Errors
    /// [`DriverError::Rejected`] where nothing was changed; any other where that is not known.
    pub(super) async fn set(&mut self, power: f64, urgency: Urgency) -> Result<Plan, DriverError> {
        let haste = match urgency {
            Urgency::Shed => Haste::Shed,
            Urgency::Normal => {
                let since = self.written.map_or(SPACING, |at| self.clock.now() - at);
                tokio::time::sleep(SPACING.saturating_sub(since)).await;
                Haste::Order
            }
        };
        let name = self.name();
        self.bmc.begin(name, haste).await?;
        self.find().await?;
        if !self.look_at_all(urgency).await? {
            self.renew().await?;
            if !self.look_at_all(urgency).await? {
                return Err(self.gone());
            }
        }
        if let Some(why) = self.refuses() {
            return Err(self.bmc.place().other(self.name(), why, &[]));
        }
        self.take_rest().await;
        let plan = plan(&self.found.limits, power, self.beside(), urgency);
        if !plan.writes.is_empty() {
            self.carry_out(&plan, urgency).await?;
        }
        Ok(plan)
    }

    /// Reads what stands. Says whether there is anything at all; one of several that is gone counts as one that cannot be set.
    async fn look_at_all(&mut self, urgency: Urgency) -> Result<bool, DriverError> {
        self.found.limits.iter_mut().for_each(|limit| limit.fresh = false);
        let mut gone = 0_usize;
        for place in 0..self.found.limits.len() {
            match self.look(place).await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    gone += 1;
                    if let Some(limit) = self.found.limits.get_mut(place) {
                        limit.said.disabled = true;
                    }
                    // What is there is looked for anew as soon as there is time.
                    self.searched = None;
                }
                Err(error) if urgency == Urgency::Normal || is_in_vain(&error) => return Err(error),
                // It is slow: no further question costs a shed that much.
                Err(DriverError::Timeout { .. }) => break,
                Err(_) => {}
            }
        }
        Ok(gone == 0 || gone < self.found.limits.len())
    }

    /// Writes what was planned, and says what came of it.
    async fn carry_out(&mut self, plan: &Plan, urgency: Urgency) -> Result<(), DriverError> {
        let (mut sent, mut failed) = (Vec::new(), Vec::new());
        for (place, set_point) in plan.writes.iter().copied() {
            let before = self.found.limits.get(place).and_then(Limit::stands);
            self.written = Some(self.clock.now());
            match self.write(place, set_point, urgency).await {
                Ok(how) => sent.push(Sent { place, set_point, before, how }),
                Err(error) => {
                    // What one limit refuses is no reason for a shed to spare the others.
                    let over = urgency == Urgency::Normal || is_of_all(&error);
                    failed.push(error);
                    if over {
                        break;
                    }
                }
            }
        }
        let read = if sent.is_empty() { Ok(()) } else { self.read_back(&sent, urgency).await };
        let ends: Vec<End> = sent.iter().map(|one| self.end(one, urgency, read.as_ref().err())).collect();
        match verdict(&ends, failed, plan.writes.len()) {
            Verdict::Applied => Ok(()),
            Verdict::Failed(error) => Err(error),
            Verdict::Refused(words) => Err(self.bmc.place().other(self.name(), &words, &[])),
            Verdict::Unknown(words) => Err(self.bmc.place().malformed(self.name(), words)),
        }
    }

    /// Writes one limit in the version that was read. Where that is another one by now, it is read anew.
    ///
    /// Some BMCs reckon their ETags over the readings in the resource, too (bmcweb: over the whole answer), so that each is out of date as
    /// soon as it was read. Where the limit is what it was, and for a shed in any case, the next write is for any version (`*`), and the
    /// last one without a version, for those that do not know `*`.
    async fn write(
        &mut self,
        place: usize,
        set_point: i32,
        urgency: Urgency,
    ) -> Result<Written, DriverError> {
        let Some(limit) = self.found.limits.get_mut(place) else { return Err(self.gone()) };
        let (form, path, before) = (limit.form, limit.path.clone(), limit.stands());
        let (body, version) = (form.body(set_point, limit.said.entry), limit.etag.take());
        limit.fresh = false;
        let first = self.bmc.patch(form, &path, &body, version.as_ref()).await?;
        if first != Written::Changed {
            return Ok(first);
        }
        match self.look(place).await {
            Err(error) if urgency == Urgency::Normal || is_in_vain(&error) => return Err(error),
            Ok(None) => return Err(self.gone()),
            _ => {}
        }
        let Some(limit) = self.found.limits.get_mut(place) else { return Err(self.gone()) };
        if urgency == Urgency::Shed && limit.fulfils(set_point, urgency) {
            // Somebody else has lowered it meanwhile.
            return Ok(Written::Done);
        }
        let overrule = urgency == Urgency::Shed || limit.still(before);
        let own = limit.etag.take();
        limit.fresh = false;
        let version = if overrule { Some(HeaderValue::from_static("*")) } else { own };
        let busy = |driver: &Self| Err(driver.bmc.place().rejected(form.name(), Rejection::Busy));
        match self.bmc.patch(form, &path, &body, version.as_ref()).await {
            Ok(Written::Changed) if overrule => {}
            // Somebody else writes there all the time.
            Ok(Written::Changed) => return busy(self),
            Err(DriverError::Rejected {
                reason: Rejection::Other(_) | Rejection::WrongState | Rejection::Unsupported,
                ..
            }) if overrule => {}
            other => return other,
        }
        match self.bmc.patch(form, &path, &body, None).await? {
            Written::Changed => busy(self),
            how => Ok(how),
        }
    }

    /// Reads what was written until it stands, a few times.
    async fn read_back(&mut self, sent: &[Sent], urgency: Urgency) -> Result<(), DriverError> {
        for attempt in 0..READ_BACKS {
            if attempt > 0 {
                tokio::time::sleep(READ_AGAIN).await;
            }
            let mut waiting = false;
            for one in sent {
                if self.holds(one, urgency) {
                    continue;
                }
                if self.look(one.place).await?.is_none() {
                    return Err(self.gone());
                }
                waiting |= !self.holds(one, urgency);
            }
            if !waiting {
                break;
            }
        }
        Ok(())
    }

    fn holds(&self, one: &Sent, urgency: Urgency) -> bool {
        let limit = self.found.limits.get(one.place);
        limit.is_some_and(|limit| !limit.said.disabled && limit.fulfils(one.set_point, urgency))
    }

    /// What came of one write, with what went wrong while it was read back.
    fn end(&mut self, one: &Sent, urgency: Urgency, wrong: Option<&DriverError>) -> End {
        let holds = self.holds(one, urgency);
        let Some(limit) = self.found.limits.get_mut(one.place) else {
            return End::Unknown("what was set is gone".to_owned());
        };
        let stands = limit.stands();
        if holds {
            limit.made = stands.map(|set| (one.set_point, set));
            return End::Stands;
        }
        match (wrong, stands) {
            (Some(error), None) => End::Unknown(format!("it said yes, and then: {error}")),
            _ if limit.said.disabled => {
                End::Unknown("it said yes, and its ControlMode is Disabled: the limit is ignored".to_owned())
            }
            (_, Some(set)) if one.how == Written::Done && limit.still(one.before) => {
                End::Unchanged(format!("it said yes, and its limit is still {set:.0} W"))
            }
            (_, Some(set)) => End::Unknown(format!("it said yes, and its limit is {set:.0} W by now")),
            (_, None) => End::Unknown("it said yes, and no limit stands that it allows itself".to_owned()),
        }
    }
}

/// What an order comes to.
#[derive(Debug)]
enum Verdict {
    /// All stands.
    Applied,
    /// Nothing was taken, and this is why.
    Failed(DriverError),
    /// It was taken and nothing changed.
    Refused(String),
    /// Some was taken, or it is not known.
    Unknown(String),
}

/// What an order of so many writes comes to: those that were taken have ended like this, and those have failed.
fn verdict(ends: &[End], mut failed: Vec<DriverError>, all: usize) -> Verdict {
    let unsure = failed.iter().position(|error| !matches!(error, DriverError::Rejected { .. }));
    if ends.is_empty() && !failed.is_empty() {
        return Verdict::Failed(failed.swap_remove(unsure.unwrap_or(0)));
    }
    let set = ends.iter().filter(|end| **end == End::Stands).count();
    if set == ends.len() && failed.is_empty() {
        return Verdict::Applied;
    }
    let unchanged = ends.iter().filter(|end| matches!(end, End::Unchanged(_))).count();
    let told = ends.iter().find_map(|end| match end {
        End::Unchanged(words) | End::Unknown(words) => Some(words.clone()),
        End::Stands => None,
    });
    let words = told.or_else(|| failed.first().map(ToString::to_string)).unwrap_or_default();
    if unchanged == ends.len() && unsure.is_none() {
        return Verdict::Refused(words);
    }
    Verdict::Unknown(if all > 1 {
        format!("{set} of {all} limits were set, and then: {words}")
    } else {
        words
    })
}

/// Whether nothing else that is sent to a BMC could come to more.
const fn is_in_vain(error: &DriverError) -> bool {
    matches!(
        error,
        DriverError::Unreachable { .. } | DriverError::Rejected { reason: Rejection::Credentials, .. }
    )
}

/// Whether the other limits of a BMC would fail like this, too.
const fn is_of_all(error: &DriverError) -> bool {
    is_in_vain(error)
        || matches!(
            error,
            DriverError::Timeout { .. } | DriverError::Rejected { reason: Rejection::Busy, .. }
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::miner::Endpoint;

    fn refused(reason: Rejection) -> DriverError {
        let endpoint = Endpoint { host: "h".into(), port: 443 };
        DriverError::Rejected { endpoint, exchange: "PowerLimitWatts", reason }
    }

    fn late() -> DriverError {
        let endpoint = Endpoint { host: "h".into(), port: 443 };
        DriverError::Timeout { endpoint, exchange: "PowerLimitWatts", limit: Duration::from_secs(1) }
    }

    #[test]
    fn only_what_changed_nothing_is_a_refusal() {
        let unchanged = || End::Unchanged("still".to_owned());
        let unknown = || End::Unknown("pending".to_owned());
        assert!(matches!(verdict(&[End::Stands, End::Stands], vec![], 2), Verdict::Applied));
        assert!(matches!(verdict(&[unchanged(), unchanged()], vec![], 2), Verdict::Refused(_)));
        let one = verdict(&[unchanged()], vec![refused(Rejection::OutOfRange)], 2);
        assert!(matches!(one, Verdict::Refused(_)));
        for (ends, failed) in [
            (vec![unknown()], vec![]),
            (vec![End::Stands, unchanged()], vec![]),
            (vec![End::Stands], vec![refused(Rejection::Busy)]),
            (vec![unchanged()], vec![late()]),
        ] {
            let verdict = verdict(&ends, failed, 2);
            assert!(matches!(verdict, Verdict::Unknown(_)), "{verdict:?}");
        }
        let told = verdict(&[End::Stands], vec![refused(Rejection::OutOfRange)], 2);
        assert!(matches!(told, Verdict::Unknown(words) if words.starts_with("1 of 2 limits were set")));
        // Nothing was taken: the failure of which nobody knows how far it came counts most.
        let failed = verdict(&[], vec![refused(Rejection::OutOfRange), late()], 2);
        assert!(matches!(failed, Verdict::Failed(DriverError::Timeout { .. })));
    }
}

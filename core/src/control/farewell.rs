//! Which miners may be given their highest power when the daemon ends, and which paused servers go on: `on_exit = "restore"`.
//!
//! Following the surplus ends with the daemon, and that is what `restore` is for. Everything else that caps a circuit stays in
//! force though nobody watches it any more: a rating, an order, a guard that has tripped, an interlock, and the fail-safe of
//! what is lost. Where the highest power of all miners of a circuit does not fit below it, its miners stay as they are.

use crate::control::State;
use crate::control::decision::{Decision, LimitValue, Mode, Source};
use crate::control::response::Track;
use crate::control::site::{LimitClass, LoadClass, Miner, Site};
use crate::control::snapshot::Target;
use crate::control::step::scales;

/// Below a watt nothing counts.
const SLACK: f64 = 1.0;

/// For each of the site's miners whether its limits leave it its highest power, as far as is known what it draws there. Nobody
/// who is worked on is raised.
///
/// `decision` is the latest of this state.
pub fn room(state: &State, decision: &Decision) -> Vec<bool> {
    let site = state.site();
    if decision.would_be == Mode::StartUp {
        // What draws how much is not known yet.
        return vec![false; site.miners.len()];
    }
    let each = site.miners.iter().zip(&state.tracks);
    let draws = each.clone().map(|(miner, track)| track.settled(miner, Some(Target::Power(miner.maximum()))));
    let fits = fits(state, decision, draws);
    each.zip(fits).map(|((_, track), fits)| track.hold.is_none() && fits).collect()
}

/// What is done with a miner at the end, where the highest power is wanted for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It stays as it is.
    AsItIs,
    /// It goes on at its lowest power: a server whose work was paused, so that it does not stay so for ever.
    Lowest,
    /// It is given its highest power.
    Highest,
}

/// What each of the site's miners is left at: at its highest power where its limits leave room for that ([`room`]); else a server that
/// was paused goes on at its lowest, where there is room for that beside what the others draw.
///
/// `decision` is the latest of this state.
pub fn leave(state: &State, decision: &Decision) -> Vec<Leave> {
    let site = state.site();
    let room = room(state, decision);
    let each = || site.miners.iter().zip(&state.tracks).zip(&room);
    if decision.would_be == Mode::StartUp {
        return vec![Leave::AsItIs; room.len()];
    }
    let is_paused = |miner: &Miner, track: &Track| {
        miner.class != LoadClass::Miner && miner.sleeps && track.setpoint == Some(Target::Sleep)
    };
    let draws = each().map(|((miner, track), highest)| {
        let target = if *highest {
            Target::Power(miner.maximum())
        } else if is_paused(miner, track) && track.hold.is_none() {
            Target::Power(miner.minimum())
        } else {
            return track.counted;
        };
        track.settled(miner, Some(target)).max(track.draw)
    });
    let fits = fits(state, decision, draws);
    let left = each().zip(fits).map(|(((miner, track), highest), fits)| {
        if *highest {
            Leave::Highest
        } else if fits && is_paused(miner, track) && track.hold.is_none() {
            Leave::Lowest
        } else {
            Leave::AsItIs
        }
    });
    left.collect()
}

/// For each of the site's miners whether its circuit and all above it stay within what outlives the daemon, if the miners draw so much,
/// in watts as they report them.
fn fits(state: &State, decision: &Decision, draws: impl Iterator<Item = f64>) -> Vec<bool> {
    let site = state.site();
    let (tree, scales) = (&state.tree, scales(site, state));
    let mut most = vec![0.0; site.circuits.len()];
    for (miner, draw) in site.miners.iter().zip(draws) {
        let scale = scales.get(miner.circuit.0).copied().unwrap_or(1.0);
        tree.add(&mut most, miner.circuit, draw * scale);
    }
    let left = |index: usize| {
        let limits =
            decision.circuits.get(index).map(|circuit| circuit.limits.as_slice()).unwrap_or_default();
        let staying = limits.iter().filter(|limit| limit.acts && stays(site, limit));
        staying.map(|limit| limit.headroom.get()).fold(f64::INFINITY, f64::min)
    };
    let fits: Vec<bool> = most.iter().enumerate().map(|(index, most)| *most <= left(index) + SLACK).collect();
    let all_fit = |circuit: usize| {
        let path = tree.path(circuit);
        !path.is_empty() && path.iter().all(|above| fits.get(*above) == Some(&true))
    };
    site.miners.iter().map(|miner| all_fit(miner.circuit.0)).collect()
}

/// Whether a limit outlives the daemon.
fn stays(site: &Site, limit: &LimitValue) -> bool {
    match limit.source {
        Source::Limit(id) => site.limits.get(id.0).is_none_or(|limit| limit.class != LimitClass::Surplus),
        Source::Order(_)
        | Source::LostSource(_)
        | Source::Interlock(_)
        | Source::Stop(_)
        | Source::LostMeter(_) => true,
        Source::Fleet => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::signal::{Active, Basis, Urgency, Why};
    use crate::control::site::{CircuitId, OrderSource, Scope, SourceId};
    use crate::control::snapshot::{
        Activity, Contact, Measured, MeterInput, MeterStatus, MinerInput, MinerStatus, OrderCap, Reading,
        Snapshot,
    };
    use crate::control::step;
    use crate::control::testing::{limit, site};
    use crate::moment::Moment;
    use crate::units::Watts;

    /// Four miners of 3.4 kW in two containers, the odd ones in the south.
    fn home() -> Site {
        Site { sources: vec![OrderSource { name: "utility".into(), class: LimitClass::Grid }], ..site(2) }
    }

    fn cap(circuit: usize, watts: i32, why: Why) -> OrderCap {
        let active = Active {
            circuit: CircuitId(circuit),
            scope: Scope::Miners,
            cap: Watts::whole(watts),
            why,
            basis: Basis::Instant,
            urgency: Urgency::Normal,
        };
        OrderCap { source: SourceId(0), active }
    }

    /// Which miners may be raised after a minute of this.
    fn rising(site: Site, orders: &[OrderCap], meter_is_there: bool, seconds: u64) -> Vec<bool> {
        after(site, orders, meter_is_there, seconds, super::room)
    }

    /// What is said after a minute of this.
    fn after<T>(
        site: Site,
        orders: &[OrderCap],
        meter_is_there: bool,
        seconds: u64,
        says: fn(&State, &Decision) -> Vec<T>,
    ) -> Vec<T> {
        let mut state = State::new(std::sync::Arc::new(site.clone()));
        let mut room = Vec::new();
        for second in 0..=seconds {
            let now = Moment::after_start(Duration::from_secs(second));
            let meter = if meter_is_there {
                // The sky is grey: nothing is left over.
                let value = Watts::whole(5_000 + i32::try_from(second % 2).unwrap());
                MeterInput::new(MeterStatus::Ok, Some(Reading { value, at: now }))
            } else {
                MeterInput::new(MeterStatus::Unreachable, None)
            };
            let miners = site.miners.iter().map(|miner| said(miner, now)).collect();
            let orders = orders.to_vec();
            let decision = step(&mut state, &Snapshot { orders, ..Snapshot::new(now, vec![meter], miners) });
            room = says(&state, &decision);
        }
        room
    }

    /// A miner is not heard; a server sleeps, by its own word.
    fn said(miner: &Miner, now: Moment) -> MinerInput {
        if miner.class == LoadClass::Miner {
            return MinerInput::PENDING;
        }
        let (power, activity) = (Measured::Value(miner.sleep), Activity::Asleep);
        let value = MinerStatus { power, activity, ..MinerStatus::default() };
        let status = Some(Reading { value, at: now });
        MinerInput { contact: Contact::Reachable, status, delivery: None }
    }

    #[test]
    fn a_paused_server_goes_on_at_its_lowest_where_that_fits_and_else_stays() {
        let mut site = home();
        for miner in &mut site.miners {
            miner.class = LoadClass::Interruptible;
        }
        let left = |watts| {
            let orders = [cap(0, watts, Why::Order("peak".into()))];
            after(site.clone(), &orders, true, 60, super::leave)
        };
        // Each draws 1.4 kW at its lowest, and 3.4 kW at its highest.
        for (cap, how) in [(50_000, Leave::Highest), (7_000, Leave::Lowest), (5_500, Leave::AsItIs)] {
            assert_eq!(left(cap), [how; 4], "{cap} W");
        }
    }

    #[test]
    fn without_the_daemon_the_surplus_does_not_count() {
        assert_eq!(rising(home(), &[], true, 60), [true; 4]);
    }

    #[test]
    fn while_nothing_is_known_nobody_is_raised() {
        assert_eq!(rising(home(), &[], true, 3), [false; 4]);
        let unmetered = rising(home(), &[], false, 60);
        assert_eq!(unmetered, [false; 4], "the fail-safe of the lost meter");
    }

    #[test]
    fn a_cap_in_force_and_a_fail_safe_keep_those_below_them_as_they_are() {
        for why in [Why::Order("peak".into()), Why::Kept("peak".into()), Why::FailSafe] {
            assert_eq!(rising(home(), &[cap(0, 0, why.clone())], true, 60), [false; 4], "{why:?}");
            assert_eq!(rising(home(), &[cap(2, 3_000, why)], true, 60), [true, false, true, false]);
        }
        let generous = [cap(0, 50_000, Why::Order("wide".into()))];
        assert_eq!(rising(home(), &generous, true, 60), [true; 4]);
    }

    #[test]
    fn a_rating_is_not_exceeded_when_everything_rises_at_once() {
        let rated = |watts| {
            let mut site = home();
            site.limits.push(limit("cable", 1, Scope::Miners, LimitClass::Safety, watts));
            rising(site, &[], true, 60)
        };
        assert_eq!(rated(6_800), [true; 4]);
        assert_eq!(rated(6_700), [false, true, false, true]);
    }
}

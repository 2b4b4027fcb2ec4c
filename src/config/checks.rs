//! What can only be seen when the whole site is known: limits that contradict it, or that do nothing.

use std::collections::BTreeMap;

use super::circuits::{Circuits, Limits};
use super::combined;
use super::diagnostic::{Report, Span};
use super::meters::Meters;
use super::miners::Miners;
use crate::control::measure::Measure;
use crate::control::site::{
    Actuator, Cap, Circuit, CircuitId, Combination, Limit, LimitClass, MeterId, Miner, OperatingPoint, Scope,
};
use crate::units::Watts;

/// An emergency stop is to be read at least this often …
const MOST_STOP_PERIOD: std::time::Duration = std::time::Duration::from_secs(1);
/// … and to count as lost after no longer than this.
const MOST_STOP_STALE: std::time::Duration = std::time::Duration::from_secs(5);

/// The parts of a site with their places. The tree is sound.
pub(super) struct Whole<'c, 'a> {
    pub(super) circuits: &'c Circuits<'a>,
    pub(super) limits: &'c Limits,
    pub(super) meters: &'c Meters,
    pub(super) miners: &'c Miners,
    pub(super) report: &'c Report<'a>,
    /// Miners are written of in the file, right or wrong.
    pub(super) peopled: bool,
}

/// Sums over everything that hangs below each circuit, itself included.
pub(super) struct Below {
    pub(super) nameplate: Vec<Watts>,
    miners: Vec<usize>,
    /// Load other than miners, where it is a constant of the configuration: no meter below measures it.
    /// `None` where a meter does.
    pub(super) other_load: Vec<Option<Watts>>,
}

/// Checks everything; notes what it finds. Returns what hangs below each circuit.
pub(super) fn check(whole: &Whole<'_, '_>) -> Below {
    let below = below(whole);
    readings(whole);
    charges(whole);
    unused_meters(whole);
    powerless_meters(whole);
    slow_stops(whole);
    dedicated_subtrees(whole);
    if !whole.peopled {
        // Whoever has the meters first has nothing yet that a limit could hold.
        return below;
    }
    let bounds: Vec<Option<Watts>> =
        whole.limits.limits.iter().map(|limit| bound(whole, &below, limit)).collect();
    let hopeless = leaves_nothing(whole, &bounds);
    idle(whole, &below, &bounds);
    looser_twins(whole);
    minimums(whole, &bounds, &hopeless);
    starts(whole, &bounds, &hopeless);
    // A limit that could not be read was meant to hold something.
    if whole.limits.complete {
        unlimited(whole);
    }
    below
}

fn circuit<'w>(whole: &'w Whole<'_, '_>, id: CircuitId) -> Option<&'w Circuit> {
    whole.circuits.circuits.get(id.0)
}

fn span_of(whole: &Whole<'_, '_>, limit: usize) -> Span {
    whole.limits.spans.get(limit).copied().unwrap_or_default()
}

/// A circuit and all above it, up to the root.
pub(super) fn upwards<'w>(
    whole: &'w Whole<'_, '_>,
    from: CircuitId,
) -> impl Iterator<Item = (CircuitId, &'w Circuit)> {
    std::iter::successors(circuit(whole, from).map(|circuit| (from, circuit)), |(_, below)| {
        let parent = below.parent?;
        circuit(whole, parent).map(|circuit| (parent, circuit))
    })
}

fn below(whole: &Whole<'_, '_>) -> Below {
    let count = whole.circuits.circuits.len();
    let mut below = Below {
        nameplate: vec![Watts::ZERO; count],
        miners: vec![0; count],
        other_load: whole.circuits.circuits.iter().map(|circuit| Some(circuit.other_load)).collect(),
    };
    for miner in &whole.miners.miners {
        if let (Some(sum), Some(count)) =
            (below.nameplate.get_mut(miner.circuit.0), below.miners.get_mut(miner.circuit.0))
        {
            *sum += miner.nameplate;
            *count += 1;
        }
    }
    // Parents come first, so from the end every circuit is complete before it is added to its parent.
    for (at, child) in whole.circuits.circuits.iter().enumerate().rev() {
        let Some(CircuitId(parent)) = child.parent else {
            continue;
        };
        let nameplate = below.nameplate.get(at).copied().unwrap_or_default();
        let miners = below.miners.get(at).copied().unwrap_or_default();
        let other = match child.meter {
            // A meter may find generation where nobody wrote of it.
            Some(_) if !child.dedicated => None,
            Some(_) => Some(Watts::ZERO),
            None => below.other_load.get(at).copied().flatten(),
        };
        if let Some(sum) = below.nameplate.get_mut(parent) {
            *sum += nameplate;
        }
        if let Some(sum) = below.miners.get_mut(parent) {
            *sum += miners;
        }
        if let Some(sum) = below.other_load.get_mut(parent) {
            *sum = sum.zip(other).map(|(sum, other)| sum + other);
        }
    }
    below
}

/// What a limit leaves to the miners of its circuit at all times, where that follows from the configuration alone.
fn bound(whole: &Whole<'_, '_>, below: &Below, limit: &Limit) -> Option<Watts> {
    let (Cap::Constant(cap), None) = (limit.cap, limit.condition) else {
        return None;
    };
    let on = circuit(whole, limit.circuit)?;
    let free = cap - on.margin;
    match (limit.scope, on.meter) {
        (Scope::Miners, _) => Some(free),
        (Scope::Import, Some(_)) if on.dedicated => Some(free),
        (Scope::Import, Some(_)) => None,
        (Scope::Import, None) => {
            let other = below.other_load.get(limit.circuit.0).copied().flatten()?;
            Some(free - other)
        }
    }
}

/// A reading that is the cap of a limit must not be the power of a circuit.
fn readings(whole: &Whole<'_, '_>) {
    for (limit, span) in whole.limits.limits.iter().zip(&whole.limits.readings) {
        let (Cap::Reading { meter, .. }, Some(span)) = (limit.cap, span) else {
            continue;
        };
        let measured =
            whole.circuits.circuits.iter().find(|circuit| {
                circuit.meter.is_some_and(|own| own == meter || stands_for(whole, meter, own))
            });
        if let Some(measured) = measured {
            whole.report.error(
                *span,
                format!(
                    "limit `{}` takes the power of circuit `{}` for its cap: the more the circuit draws, the more it may",
                    limit.name, measured.name
                ),
                "to follow the surplus write import = \"0 W\"; a reading is for a device whose value is itself a cap, \
                 such as an energy manager's register of free power",
            );
        }
    }
}

/// Whether a combined meter is another one by another name: one of its redundant parts, however far down.
fn stands_for(whole: &Whole<'_, '_>, combined: MeterId, other: MeterId) -> bool {
    let mut open = vec![combined];
    let mut steps = 0;
    while let Some(at) = open.pop() {
        // Cycles have been noted already, and must not hold this up.
        steps += 1;
        if steps > whole.meters.meters.len() * 4 {
            return false;
        }
        if let Some(Combination::Redundant(redundant)) =
            whole.meters.meters.get(at.0).and_then(|meter| meter.combined.as_ref())
        {
            if redundant.parts.iter().any(|part| part.meter == other && part.measure == Measure::Power) {
                return true;
            }
            open.extend(redundant.parts.iter().map(|part| part.meter));
        }
    }
    false
}

/// The meter of a condition must tell a state of charge, or the limit would act for ever.
fn charges(whole: &Whole<'_, '_>) {
    for (limit, span) in whole.limits.limits.iter().zip(&whole.limits.conditions) {
        let (Some(condition), Some(span)) = (limit.condition, span) else {
            continue;
        };
        let Some(meter) = whole.meters.meters.get(condition.meter.0) else {
            continue;
        };
        let tells = match &meter.combined {
            None => combined::tells(whole.meters, condition.meter, Measure::StateOfCharge),
            Some(Combination::Sum(_)) => false,
            Some(Combination::Redundant(redundant)) => redundant
                .parts
                .iter()
                .any(|part| combined::tells(whole.meters, part.meter, Measure::StateOfCharge)),
        };
        if !tells {
            whole.report.error(
                *span,
                format!(
                    "meter `{}` does not tell its state of charge: limit `{}` would act for ever",
                    meter.name, limit.name
                ),
                "name the meter of the battery, with a profile or registers that have a `state_of_charge`",
            );
        }
    }
}

fn unused_meters(whole: &Whole<'_, '_>) {
    for ((at, meter), span) in whole.meters.meters.iter().enumerate().zip(&whole.meters.spans) {
        let id = MeterId(at);
        let on_circuit = whole.circuits.circuits.iter().any(|circuit| circuit.meter == Some(id));
        let in_limit = whole.limits.limits.iter().any(|limit| {
            matches!(limit.cap, Cap::Reading { meter, .. } if meter == id)
                || limit.condition.is_some_and(|condition| condition.meter == id)
        });
        let part = whole
            .meters
            .meters
            .iter()
            .filter_map(|meter| meter.combined.as_ref())
            .any(|combined| combined.parts().any(|part| part.meter == id));
        let interlock = |circuit: &Circuit| {
            circuit.interlock.is_some_and(|lock| lock.meter == id)
                || circuit.emergency_stop.is_some_and(|stop| stop.meter == id)
        };
        let locks = whole.circuits.circuits.iter().any(interlock);
        if !on_circuit && !in_limit && !part && !locks {
            whole.report.warn(
                *span,
                format!("meter `{}` is read, but nothing uses it", meter.name),
                "name it as the `meter` of a circuit, the `reading` of a limit or a part of a combined meter, or leave it out",
            );
        }
    }
}

/// Where a circuit is dedicated to miners, all below it is too.
fn dedicated_subtrees(whole: &Whole<'_, '_>) {
    for ((at, circuit), span) in whole.circuits.circuits.iter().enumerate().zip(&whole.circuits.spans) {
        if circuit.other_load <= Watts::ZERO {
            continue;
        }
        let above = upwards(whole, CircuitId(at)).skip(1).find(|(_, above)| above.dedicated);
        if let Some((_, above)) = above {
            whole.report.error(
                *span,
                format!(
                    "circuit `{}` has an `other_load`, but hangs below `{}`, which is `dedicated` to miners",
                    circuit.name, above.name
                ),
                "one of the two is not so",
            );
        }
    }
}

/// Notes limits under which nothing could ever run; tells which.
fn leaves_nothing(whole: &Whole<'_, '_>, bounds: &[Option<Watts>]) -> Vec<bool> {
    let mut hopeless = vec![false; bounds.len()];
    for ((at, limit), bound) in whole.limits.limits.iter().enumerate().zip(bounds) {
        let (Some(bound), Some(on)) = (bound, circuit(whole, limit.circuit)) else {
            continue;
        };
        if *bound > Watts::ZERO {
            continue;
        }
        if let Some(mark) = hopeless.get_mut(at) {
            *mark = true;
        }
        let (message, help) = match (limit.scope, on.meter) {
            (Scope::Import, None) => (
                format!(
                    "limit `{}` leaves nothing to the miners of `{}`: the circuit has no meter, so its margin and other \
                     load are always taken off",
                    limit.name, on.name
                ),
                "give the circuit a meter: only a meter shows what is left over",
            ),
            (Scope::Import, Some(_))
                if limit.class == LimitClass::Surplus || limit.cap == Cap::Constant(Watts::ZERO) =>
            {
                (
                    format!(
                        "limit `{}` leaves nothing to the miners of `{}`: the circuit is `dedicated`, so all that flows into it is \
                     taken for their draw, and never for a surplus",
                        limit.name, on.name
                    ),
                    "take `dedicated` out: a meter at the connection point sees other load and generation too",
                )
            }
            _ => (
                format!(
                    "limit `{}` leaves nothing to the miners of `{}`, less its margin of {}",
                    limit.name, on.name, on.margin
                ),
                "raise the limit or lower the margin; to switch miners off leave them out, or stop them by hand",
            ),
        };
        whole.report.error(span_of(whole, at), message, help);
    }
    hopeless
}

/// Notes limits that no miner can reach. A rating above what is installed is good engineering, and a slip of the
/// unit looks the same: hence a word, not a refusal.
fn idle(whole: &Whole<'_, '_>, below: &Below, bounds: &[Option<Watts>]) {
    for ((at, limit), bound) in whole.limits.limits.iter().enumerate().zip(bounds) {
        let Some(on) = circuit(whole, limit.circuit) else {
            continue;
        };
        let nameplate = below.nameplate.get(limit.circuit.0).copied().unwrap_or_default();
        if below.miners.get(limit.circuit.0).copied().unwrap_or_default() == 0 {
            whole.report.warn(
                span_of(whole, at),
                format!(
                    "limit `{}` holds nothing: no miner hangs on circuit `{}` or below",
                    limit.name, on.name
                ),
                "check `circuit` here and in the groups",
            );
        } else if let Some(bound) = bound.filter(|bound| *bound >= nameplate) {
            whole.report.warn(
                span_of(whole, at),
                format!(
                    "limit `{}` can never bind: it leaves {bound} to miners that draw {nameplate} at the most",
                    limit.name
                ),
                "check the value and its unit; if it is right, nothing is wrong",
            );
        }
    }
}

/// Notes constant limits that a tighter one of the same kind on the same circuit makes pointless.
fn looser_twins(whole: &Whole<'_, '_>) {
    let mut tightest: BTreeMap<(usize, bool, &str), (usize, Watts)> = BTreeMap::new();
    for (at, limit) in whole.limits.limits.iter().enumerate() {
        let (Cap::Constant(cap), None) = (limit.cap, limit.condition) else { continue };
        let key = (limit.circuit.0, limit.scope == Scope::Import, limit.class.name());
        let Some((other, other_cap)) = tightest.get(&key).copied() else {
            tightest.insert(key, (at, cap));
            continue;
        };
        let (loose, tight) = if cap < other_cap { (other, at) } else { (at, other) };
        if cap < other_cap {
            tightest.insert(key, (at, cap));
        }
        if let (Some(loose_limit), Some(tight_limit)) =
            (whole.limits.limits.get(loose), whole.limits.limits.get(tight))
        {
            whole.report.warn(
                span_of(whole, loose),
                format!(
                    "limit `{}` can never bind: `{}` in line {} is at least as tight, on the same circuit and of the same \
                     class",
                    loose_limit.name,
                    tight_limit.name,
                    whole.report.line(span_of(whole, tight))
                ),
                "keep the tighter one",
            );
        }
    }
}

/// Notes miners that a constant limit above them never lets run. Once for each group and limit.
fn minimums(whole: &Whole<'_, '_>, bounds: &[Option<Watts>], hopeless: &[bool]) {
    let mut by_circuit: BTreeMap<usize, Vec<(usize, Watts)>> = BTreeMap::new();
    for ((at, limit), bound) in whole.limits.limits.iter().enumerate().zip(bounds) {
        if let (Some(bound), false) = (bound, hopeless.get(at).copied().unwrap_or(false)) {
            by_circuit.entry(limit.circuit.0).or_default().push((at, *bound));
        }
    }
    // Members of a group are alike: the first stands for all.
    let mut origin_seen = vec![false; whole.miners.origins.len()];
    for (miner, origin) in whole.miners.miners.iter().zip(&whole.miners.origin) {
        let Some(seen) = origin_seen.get_mut(*origin) else {
            continue;
        };
        if std::mem::replace(seen, true) {
            continue;
        }
        let Some(from) = whole.miners.origins.get(*origin) else {
            continue;
        };
        for (id, on) in upwards(whole, miner.circuit) {
            for (at, bound) in by_circuit.get(&id.0).into_iter().flatten() {
                let Some(limit) = whole.limits.limits.get(*at).filter(|_| miner.minimum() > *bound) else {
                    continue;
                };
                whole.report.error(
                    from.span,
                    format!(
                        "{} can never run: it draws at least {}, and limit `{}` (line {}) leaves {bound} on circuit `{}`",
                        from.title,
                        miner.minimum(),
                        limit.name,
                        whole.report.line(span_of(whole, *at)),
                        on.name
                    ),
                    "check the limit, the circuit's `margin` and the miners' `minimum`",
                );
            }
        }
    }
}

/// What a miner needs to start: it is woken to where it runs best, draws more than that while it tunes, and some kinds
/// start at their highest power whatever they are told.
fn start_draw(miner: &Miner) -> Watts {
    let worth = |point: &OperatingPoint| point.hashrate.get() / (point.power - miner.sleep).get().max(1.0);
    let best = match miner.actuator {
        Actuator::OnOff | Actuator::Fixed => None,
        Actuator::Continuous { .. } | Actuator::Steps => {
            miner.points.iter().max_by(|one, other| worth(one).total_cmp(&worth(other)))
        }
    };
    let full = miner.response.starts_at_full;
    let level = best.filter(|_| !full).map_or_else(|| miner.maximum(), |point| point.power);
    level.scaled(1.0 + miner.response.start_overshoot)
}

/// Notes limits under which a miner that has stopped can never start again, though it could run: once for each limit.
fn starts(whole: &Whole<'_, '_>, bounds: &[Option<Watts>], hopeless: &[bool]) {
    let count = whole.circuits.circuits.len();
    // The least that any miner at or below each circuit needs beyond its sleep, the least it runs at, and all asleep.
    let mut least: Vec<Option<(Watts, Watts)>> = vec![None; count];
    let mut rests = vec![Rest::default(); count];
    for miner in &whole.miners.miners {
        let wakes = miner.actuator != Actuator::Fixed && miner.sleeps;
        let needs = start_draw(miner) - miner.sleep;
        for (id, _) in upwards(whole, miner.circuit) {
            if let Some(rest) = rests.get_mut(id.0) {
                rest.agreed += miner.least();
                rest.bare += if miner.sleeps { miner.sleep } else { miner.minimum() };
                rest.stay += usize::from(!miner.sleeps);
            }
            if let Some(least) = least.get_mut(id.0).filter(|_| wakes) {
                let lowest = miner.minimum();
                *least =
                    Some(least.map_or((needs, lowest), |(known, low)| (known.min(needs), low.min(lowest))));
            }
        }
    }
    for ((at, limit), bound) in whole.limits.limits.iter().enumerate().zip(bounds) {
        let at_circuit = limit.circuit.0;
        let rest = rests.get(at_circuit).copied().unwrap_or_default();
        if let Some(bound) = bound
            && rests_above(whole, at, limit, *bound, rest)
        {
            continue;
        }
        let (Some(bound), false) = (bound, hopeless.get(at).copied().unwrap_or(false)) else { continue };
        let Some((needs, lowest)) = least.get(at_circuit).copied().flatten() else { continue };
        let needs = needs + rest.agreed;
        // What cannot even run has been refused.
        let (true, Some(on)) = (needs > *bound && lowest <= *bound, circuit(whole, limit.circuit)) else {
            continue;
        };
        whole.report.warn(
            span_of(whole, at),
            format!(
                "no miner of circuit `{}` can ever start under limit `{}`: it needs {needs}, {bound} are allowed",
                on.name, limit.name
            ),
            "a miner draws more while it starts than where it settles, and the others draw their sleep: raise the limit, \
             or leave these miners out",
        );
    }
}

/// What is drawn at or below a circuit by members that are as low as they go.
#[derive(Clone, Copy, Default)]
struct Rest {
    /// With what was agreed with tenants.
    agreed: Watts,
    /// Without.
    bare: Watts,
    /// How many of them do not sleep.
    stay: usize,
}

/// Whether what servers cannot be kept from drawing is more than a limit leaves, which is noted: below that nobody can be put.
fn rests_above(whole: &Whole<'_, '_>, at: usize, limit: &Limit, bound: Watts, of: Rest) -> bool {
    let safety = limit.class == LimitClass::Safety;
    // What protects people or wires stands before a contract.
    let (rest, stay) = (if safety { of.bare } else { of.agreed }, of.stay);
    let Some(on) = circuit(whole, limit.circuit).filter(|_| stay > 0 && rest > bound) else { return false };
    let words = format!(
        "limit `{}` leaves {bound} on circuit `{}`, and no less than {rest} is drawn there: {stay} servers go no lower than their `minimum` or \
         `contract`",
        limit.name, on.name
    );
    let help = "raise the limit, agree on less with the tenants, give some of them a `pause` hook, or leave servers out";
    if safety {
        whole.report.error(span_of(whole, at), words, help);
    } else {
        whole.report.warn(span_of(whole, at), words, help);
    }
    true
}

/// Notes miners that nothing holds back.
fn unlimited(whole: &Whole<'_, '_>) {
    // What acts now and then holds nobody back the rest of the time.
    let limited = |id: CircuitId| {
        whole.limits.limits.iter().any(|limit| limit.circuit == id && limit.condition.is_none())
    };
    let Some(root) = whole.circuits.circuits.first() else {
        return;
    };
    if root.meter.is_some() && !limited(CircuitId(0)) {
        whole.report.error(
            whole.circuits.spans.first().copied().unwrap_or_default(),
            format!("the root circuit `{}` has a meter, but no limit: nothing would hold the fleet back", root.name),
            format!(
                "to follow the surplus write [limits.follow-surplus] with circuit = \"{}\" and import = \"0 W\"",
                root.name
            ),
        );
        return;
    }
    let mut reported = vec![false; whole.miners.origins.len()];
    for (miner, origin) in whole.miners.miners.iter().zip(&whole.miners.origin) {
        let Some(seen) = reported.get_mut(*origin) else {
            continue;
        };
        if std::mem::replace(seen, true) || upwards(whole, miner.circuit).any(|(id, _)| limited(id)) {
            continue;
        }
        if let Some(from) = whole.miners.origins.get(*origin) {
            whole.report.error(
                from.span,
                format!("no limit acts on {}: nothing would hold its miners back", from.title),
                "write a limit for its circuit or one above it: [limits.NAME]",
            );
        }
    }
}

/// Refuses a meter without power where the power counts: at the head of a circuit and as the cap of a limit.
fn powerless_meters(whole: &Whole<'_, '_>) {
    let rows = whole.meters.meters.iter().zip(&whole.meters.connections).zip(&whole.meters.spans);
    for (at, ((meter, connection), span)) in rows.enumerate() {
        let id = Some(MeterId(at));
        let sound = connection.profile.points().next().is_some();
        if connection.profile.tells_power() || !sound {
            continue;
        }
        let on = whole.circuits.circuits.iter().find(|circuit| circuit.meter == id);
        let caps = |limit: &&Limit| matches!(limit.cap, Cap::Reading { meter, .. } if Some(meter) == id);
        let of = whole.limits.limits.iter().find(caps);
        let place = match (on, of) {
            (Some(circuit), _) => format!("the meter of circuit `{}`", circuit.name),
            (None, Some(limit)) => format!("the cap of limit `{}`", limit.name),
            (None, None) => {
                let all = &whole.circuits.circuits;
                let lock = |circuit: &&Circuit| circuit.interlock.is_some_and(|it| Some(it.meter) == id);
                let stop = |circuit: &&Circuit| circuit.emergency_stop.is_some_and(|it| Some(it.meter) == id);
                match (all.iter().find(lock), all.iter().find(stop)) {
                    (Some(circuit), _) => {
                        format!("what the interlock of circuit `{}` looks at", circuit.name)
                    }
                    (_, Some(circuit)) => format!("the emergency stop of circuit `{}`", circuit.name),
                    (None, None) => continue,
                }
            }
        };
        whole.report.error(
            *span,
            format!("meter `{}` is {place}, but does not tell its power", meter.name),
            "describe the register of its power in `power`, or take another profile",
        );
    }
}

/// An emergency stop that is heard of late, or whose meter does not read a contact, is worth a look.
fn slow_stops(whole: &Whole<'_, '_>) {
    for circuit in &whole.circuits.circuits {
        let Some(stop) = circuit.emergency_stop else { continue };
        let (meters, id) = (whole.meters, stop.meter.0);
        let (Some(meter), Some(span)) = (meters.meters.get(id), meters.spans.get(id)) else { continue };
        let what = format!("the emergency stop of circuit `{}`", circuit.name);
        if meter.period > MOST_STOP_PERIOD || meter.stale_after > MOST_STOP_STALE {
            whole.report.warn(
                *span,
                format!("{what} is read late"),
                "write period = \"250ms\" and stale_after = \"2s\" for the meter that reads its contact",
            );
        }
        let bits = meters.connections.get(id).is_some_and(|connection| {
            let terms = &connection.profile.power.terms;
            !terms.is_empty() && terms.iter().all(|term| term.function.is_bits())
        });
        if !bits && meter.combined.is_none() {
            whole.report.warn(
                *span,
                format!("{what} is no coil or discrete input: 1 W and more is taken for closed"),
                "read the contact with power = { function = \"discrete\", address = 0 }",
            );
        }
    }
}

//! Quantities that are out of proportion to what hangs at the site: a slip of the unit, or a key that does nothing.
//!
//! Only what can never have been meant is a mistake. What may be right is a warning.

use std::time::Duration;

use super::checks::{Below, Whole, upwards};
use super::diagnostic::Span;
use super::quantity::write_time;
use crate::control::site::{Cap, CircuitId, Scope, Settings};
use crate::units::Watts;

/// A power of this many times what all miners draw at the most has nothing to do with them any more.
const FAR: f64 = 1_000.0;
/// No power up to this is out of proportion, however small the fleet: a house may have it beside a single small miner.
const HOUSEHOLD: Watts = Watts::whole(100_000);
/// What is allowed to miners beyond so many times all of them was not meant, nor what is kept free or imported beyond the second:
/// that stands beside other loads, of which nobody has told.
const BEYOND: (f64, f64) = (10.0, 100.0);
/// A meter that is believed for longer after it was lost protects nobody.
const LONG_BELIEVED: Duration = Duration::from_secs(600);
/// Who sleeps for longer at a time does not follow a surplus.
const LONG_ASLEEP: Duration = Duration::from_secs(3_600);
/// A fleet that takes longer from nothing to all does not follow a surplus.
const LONG_RAISED: Duration = Duration::from_secs(86_400);

/// A cap that holds while somebody or something is not heard.
pub(super) struct LostCap {
    /// Where it stands.
    pub(super) span: Span,
    /// What it is, in words that begin a sentence.
    pub(super) title: String,
    pub(super) circuit: CircuitId,
    pub(super) scope: Scope,
    pub(super) cap: Watts,
}

/// Notes what is out of proportion. `hanging` is the most that can flow at the site; nothing is noted of a site without
/// miners, where nothing has a size yet.
pub(super) fn check(
    whole: &Whole<'_, '_>,
    below: &Below,
    settings: &Settings,
    hanging: Watts,
    lost_caps: &[LostCap],
) {
    let fleet = below.nameplate.first().copied().unwrap_or_default();
    if fleet <= Watts::ZERO {
        return;
    }
    let mut told = margins(whole, below, hanging);
    told.extend(fail_safes(whole, below));
    told.extend(lost(whole, below, hanging, lost_caps));
    told.extend(deadband(whole, settings, fleet));
    for (key, span, value) in whole.report.quantities() {
        let far = fleet.scaled(FAR).max(HOUSEHOLD);
        if value.abs() > far.get() && !told.contains(&span) {
            whole.report.warn(
                span,
                format!(
                    "`{key}` is more than {FAR} times what all miners draw at the most, which is {fleet}"
                ),
                "check the value and its unit; if it is right, nothing is wrong",
            );
        }
    }
    times(whole, settings, fleet);
    unmeasured(whole, below);
}

fn margins(whole: &Whole<'_, '_>, below: &Below, hanging: Watts) -> Vec<Span> {
    let rows = whole.circuits.circuits.iter().zip(&whole.circuits.keys).zip(&below.nameplate);
    let mut told = Vec::new();
    for ((circuit, keys), nameplate) in rows {
        let Some(span) = keys.margin.filter(|_| *nameplate > Watts::ZERO && circuit.margin >= *nameplate)
        else {
            continue;
        };
        let help = "`margin` is what stays free for the other loads while it is not yet known how they move; check its unit";
        let message = format!(
            "`margin` keeps {} free on circuit `{}`, whose miners draw {nameplate} at the most",
            circuit.margin, circuit.name
        );
        told.push(span);
        if circuit.margin > hanging.scaled(BEYOND.1).max(HOUSEHOLD) {
            whole.report.error(span, message, help);
        } else if circuit.margin > hanging {
            whole.report.warn(span, message, help);
        }
    }
    told
}

/// What is allowed without the meter must be less than what the miners would take with it, or losing it changes nothing.
fn fail_safes(whole: &Whole<'_, '_>, below: &Below) -> Vec<Span> {
    let rows = whole.circuits.circuits.iter().zip(&whole.circuits.keys).zip(&below.nameplate);
    let mut told = Vec::new();
    for ((circuit, keys), nameplate) in rows {
        let Some(span) = keys.fail_safe.filter(|_| circuit.fail_safe >= *nameplate) else { continue };
        if *nameplate <= Watts::ZERO {
            continue;
        }
        told.push(span);
        tell_lost(
            whole,
            span,
            &format!("the `fail_safe` of circuit `{}`", circuit.name),
            circuit.fail_safe,
            (*nameplate, Scope::Miners),
        );
    }
    told
}

fn lost(whole: &Whole<'_, '_>, below: &Below, hanging: Watts, caps: &[LostCap]) -> Vec<Span> {
    let mut told = Vec::new();
    for cap in caps {
        let there = match cap.scope {
            Scope::Miners => below.nameplate.get(cap.circuit.0).copied().unwrap_or_default(),
            Scope::Import => hanging,
        };
        if cap.cap >= there && there > Watts::ZERO {
            told.push(cap.span);
            tell_lost(whole, cap.span, &cap.title, cap.cap, (there, cap.scope));
        }
    }
    told
}

fn tell_lost(whole: &Whole<'_, '_>, span: Span, title: &str, allowed: Watts, (there, scope): (Watts, Scope)) {
    let message =
        format!("{title} is {allowed}, and {there} at the most hang there: the loss would change nothing");
    let help = "write what may be drawn while nobody knows what else is; \"0 W\" lets the miners sleep";
    let beyond = match scope {
        Scope::Miners => BEYOND.0,
        Scope::Import => BEYOND.1,
    };
    if allowed > there.scaled(beyond).max(HOUSEHOLD) {
        whole.report.error(span, message, help);
    } else {
        whole.report.warn(span, message, help);
    }
}

fn deadband(whole: &Whole<'_, '_>, settings: &Settings, fleet: Watts) -> Option<Span> {
    let deadband = settings.deadband.filter(|deadband| *deadband >= fleet)?;
    let span = whole.report.quantity_span("deadband")?;
    whole.report.error(
        span,
        format!("the `deadband` of {deadband} is as much as all miners draw ({fleet}): no miner would ever be moved"),
        "leave it out, or write a small part of that, such as \"100 W\"",
    );
    Some(span)
}

fn times(whole: &Whole<'_, '_>, settings: &Settings, fleet: Watts) {
    for (index, circuit) in whole.circuits.circuits.iter().enumerate() {
        let Some(id) = circuit.meter else { continue };
        let (Some(meter), Some(span)) = (whole.meters.meters.get(id.0), whole.meters.spans.get(id.0)) else {
            continue;
        };
        if meter.fail_safe_after > LONG_BELIEVED {
            whole.report.warn(
                *span,
                format!(
                    "a value of meter `{}` of circuit `{}` is not given up before {}: so long the miners go on without it",
                    meter.name,
                    circuit.name,
                    write_time(meter.fail_safe_after)
                ),
                "shorten `period`, `stale_after` or `fail_safe_after`: a lost meter should be noticed in seconds",
            );
        } else if index == 0 && settings.period > meter.stale_after {
            whole.report.warn(
                *span,
                format!(
                    "it is decided every {}, and a value of meter `{}` is stale after {}: there is never a fresh one",
                    write_time(settings.period),
                    meter.name,
                    write_time(meter.stale_after)
                ),
                "shorten `period` in [control], or lengthen `stale_after`",
            );
        }
    }
    let told = |key: &'static str, words: String, help: &str| {
        if let Some(span) = whole.report.quantity_span(key) {
            whole.report.warn(span, words, help);
        }
    };
    if settings.min_sleep > LONG_ASLEEP {
        let words = format!(
            "whoever sleeps does so for {} at least, whatever the surplus is then",
            write_time(settings.min_sleep)
        );
        told("min_sleep", words, "a minute or a few keep miners from being switched to and fro");
    }
    let rise = fleet.get() / settings.raise_rate.get().max(f64::MIN_POSITIVE);
    if rise > LONG_RAISED.as_secs_f64() {
        let words = format!("the miners need {:.0} h from nothing to all", rise / 3_600.0);
        told("raise_rate", words, "check the unit: the usual is from nothing to all in 50 s");
    }
}

/// A circuit without a meter has no surplus of its own: only generation that a meter below it shows can be followed.
fn unmeasured(whole: &Whole<'_, '_>, below: &Below) {
    for (index, limit) in whole.limits.limits.iter().enumerate() {
        let Some(circuit) = whole.circuits.circuits.get(limit.circuit.0) else { continue };
        let (Cap::Constant(cap), Scope::Import, None) = (limit.cap, limit.scope, circuit.meter) else {
            continue;
        };
        // Where no meter is below either, what is left is known, and has been looked at.
        let measured = below.other_load.get(limit.circuit.0).copied().flatten().is_none();
        let dedicated = upwards(whole, limit.circuit).any(|(_, above)| above.dedicated);
        if cap <= Watts::ZERO && measured && !dedicated {
            whole.report.warn(
                whole.limits.spans.get(index).copied().unwrap_or_default(),
                format!(
                    "circuit `{}` has no meter: limit `{}` lets a miner run only while a meter below it shows more \
                     generation than everything else draws",
                    circuit.name, limit.name
                ),
                "to follow the surplus name the meter at the point of common coupling as its `meter`",
            );
        }
    }
}

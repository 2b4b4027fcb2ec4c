//! The keys of a source of kind `guard`.

use std::time::Duration;

use super::{Context, amount};
use crate::config::diagnostic::At;
use crate::config::quantity::{self, Kind};
use crate::config::reader::{Table, quantity_of};
use crate::control::signal::guard_law::{Curve, Law};
use crate::control::signal::{Ask, SourceSettings};
use crate::control::site::MeterId;
use crate::signal::guard::{Settings, Watched};

/// More points than a curve of a grid code has.
const MOST_POINTS: usize = 16;

/// Reads the keys of this kind of source.
pub(super) fn read(
    table: &Table<'_>,
    context: &Context<'_, '_>,
    settings: &SourceSettings,
) -> Option<Settings> {
    let report = table.report();
    let watched = table
        .choice("measure", &[("frequency", Watched::Frequency), ("voltage", Watched::Voltage)])
        .map_or(Watched::Frequency, |at| at.value);
    let meter = meter(table, context, watched);
    let samples = table.integer("samples", 1, 100).and_then(|at| usize::try_from(at.value).ok()).unwrap_or(3);
    let longest = Duration::from_secs(86_400);
    let return_after = table
        .time("return_after", Duration::ZERO, longest)
        .map_or(Duration::from_secs(60), |at: At<Duration>| at.value);
    // A fail-safe of its own takes the place of the guard's caps while the value is not known.
    let unknown = table.choice("when_unknown", &[("act", true), ("nothing", false)]);
    let unknown_acts = unknown.map_or(settings.fail_safe.is_none(), |at| at.value);
    let (curve, cap) = match (table.has("below"), table.has("droop")) {
        (true, false) => threshold(table, watched)?,
        (false, true) => (droop(table, watched)?, Ask::ShareOfNameplate(0.0)),
        (both, _) => {
            report.error(
                table.span(),
                format!(
                    "{} has {} `below` and `droop`",
                    table.title(),
                    if both { "both" } else { "neither" }
                ),
                "write below = \"49.7 Hz\", back_above = \"49.9 Hz\" and cap = \"0 W\", or a curve: \
                 droop = [{ at = \"49.8 Hz\", cap = \"100 %\" }, { at = \"49.2 Hz\", cap = \"0 %\" }]",
            );
            return None;
        }
    };
    Some(Settings {
        meter: MeterId(meter?),
        watched,
        law: Law {
            curve,
            samples,
            return_after,
            return_spread: settings.return_spread,
            lost_after: settings.lost_after,
            unknown_acts,
        },
        cap,
    })
}

/// The meter, which must be a device that tells the value.
fn meter(table: &Table<'_>, context: &Context<'_, '_>, watched: Watched) -> Option<usize> {
    let report = table.report();
    let name = table.text("meter");
    let name = table.require("meter", name, "name the meter that tells the value: meter = \"…\"")?;
    let meter = context.meters.find(report, name)?;
    let Some(connection) = context.connections.get(meter) else {
        report.error(
            name.span,
            format!("meter `{}` is put together from others and tells its power alone", name.value),
            "name one of the devices that it is put together from",
        );
        return None;
    };
    let profile = &connection.profile;
    let tells = watched.measures().iter().any(|measure| profile.point(*measure).is_some());
    if !tells && profile.sunspec.is_none() {
        let keys: Vec<&str> = watched.measures().iter().map(|measure| measure.name()).collect();
        report.error(
            name.span,
            format!(
                "meter `{}` does not tell it: its profile `{}` has no {}",
                name.value,
                profile.name,
                keys.join(" or ")
            ),
            "add the register to the profile, or name another meter",
        );
        return None;
    }
    Some(meter)
}

const fn kind(watched: Watched) -> &'static Kind {
    match watched {
        Watched::Frequency => &quantity::FREQUENCY,
        Watched::Voltage => &quantity::VOLTAGE,
    }
}

/// What a value can be: frequencies of public grids and their traction relatives, voltages up to those of transmission.
const fn range(watched: Watched) -> (f64, f64) {
    match watched {
        Watched::Frequency => (10.0, 100.0),
        Watched::Voltage => (1.0, 1e6),
    }
}

fn value(table: &Table<'_>, key: &'static str, watched: Watched) -> Option<At<f64>> {
    let (low, high) = range(watched);
    table.read(key, |value| quantity_of(value, kind(watched), low, high))
}

fn threshold(table: &Table<'_>, watched: Watched) -> Option<(Curve, Ask)> {
    let below = value(table, "below", watched);
    let back = value(table, "back_above", watched);
    let back = table.require(
        "back_above",
        back,
        "write from which value on power may return; the way between the two keeps the miners from being switched to and fro",
    );
    let cap = amount::ask(table, "cap");
    let cap = table.require(
        "cap",
        cap,
        "write what holds below it, like cap = \"0 W\" or cap = \"30 %\" of the nameplate",
    );
    let (below, back, cap) = (below?.value, back?, cap?);
    if back.value < below {
        table.report().error(
            back.span,
            "`back_above` is below `below`",
            "power cannot return while the value still asks for less",
        );
        return None;
    }
    let Some(ask) = cap.value else {
        table.report().error(cap.span, "a guard without a cap guards nothing", "write a power or a share");
        return None;
    };
    Some((Curve::Threshold { below, back: back.value }, ask))
}

fn droop(table: &Table<'_>, watched: Watched) -> Option<Curve> {
    let report = table.report();
    let hysteresis = table
        .read("hysteresis", |value| quantity_of(value, kind(watched), 0.0, range(watched).1))
        .map_or(0.0, |at| at.value);
    let tables = table.tables("droop");
    let span = table.key_span("droop");
    let count = tables.len();
    let read: Vec<Option<(f64, f64)>> = tables
        .into_iter()
        .take(MOST_POINTS)
        .map(|inner| {
            let at = value(&inner, "at", watched);
            let at = inner.require("at", at, "write at which value the cap holds, like at = \"49.8 Hz\"");
            let cap = inner.share("cap", 1.0);
            let cap = inner.require("cap", cap, "write the share of the nameplate, like cap = \"100 %\"");
            inner.finish();
            Some((at?.value, cap?.value))
        })
        .collect();
    let points: Vec<(f64, f64)> = read.into_iter().collect::<Option<_>>()?;
    let falling = points.windows(2).all(|pair| match pair {
        [(above, high), (below, low)] => above > below && high >= low,
        _ => true,
    });
    if count < 2 || count > MOST_POINTS || !falling {
        report.error(
            span,
            "the curve of `droop` does not fall",
            format!("write 2 to {MOST_POINTS} points by falling value, each with a cap that is not higher than the one before"),
        );
        return None;
    }
    Some(Curve::Droop { points, hysteresis })
}

//! The part of the summary that tells who may cap the site, and what protects its circuits.

use std::fmt::Write;

use super::Config;
use super::quantity::write_time;
use crate::control::signal::{Feed, Release};
use crate::control::site::Scope;
use crate::signal::{Kind, Spec};

/// Interlocks and breakers; nothing where there are none.
pub(super) fn protection(out: &mut String, config: &Config) -> std::fmt::Result {
    let site = &config.site;
    let protected = |circuit: &&crate::control::site::Circuit| {
        circuit.interlock.is_some() || circuit.emergency_stop.is_some() || circuit.breaker.is_some()
    };
    if !site.circuits.iter().any(|circuit| protected(&circuit)) && config.heartbeats.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nProtection")?;
    for (circuit, output) in site.circuits.iter().zip(&config.breakers) {
        if let Some(lock) = circuit.interlock {
            let meter = site.meters.get(lock.meter.0).map_or("?", |meter| meter.name.as_str());
            writeln!(
                out,
                "    {}: its miners run only while {meter} shows at least {}",
                circuit.name, lock.at_least
            )?;
        }
        if let Some(stop) = circuit.emergency_stop {
            let meter = site.meters.get(stop.meter.0).map_or("?", |meter| meter.name.as_str());
            writeln!(
                out,
                "    {}: stopped while {meter} does not show a closed contact, and until somebody releases it",
                circuit.name
            )?;
        }
        if let (Some(breaker), Some(output)) = (circuit.breaker, output) {
            let device = output.device.as_ref().map_or("?", |device| device.name.as_str());
            writeln!(
                out,
                "    {}: opened by {device} at {} when its miners exceed a limit for {} and do not obey; never closed",
                circuit.name,
                output.endpoint,
                write_time(breaker.after)
            )?;
        }
    }
    heartbeats(out, config)
}

/// Signs of life for PLCs.
fn heartbeats(out: &mut String, config: &Config) -> std::fmt::Result {
    for heartbeat in &config.heartbeats {
        writeln!(
            out,
            "    {}: {} is given a sign of life every {} while control cycles run",
            heartbeat.name,
            heartbeat.endpoint,
            write_time(heartbeat.period)
        )?;
    }
    Ok(())
}

/// The sources of orders besides the operator; nothing where there are none.
pub(super) fn orders(out: &mut String, config: &Config) -> std::fmt::Result {
    let mut others = config.signals.iter().filter(|spec| spec.kind != Kind::Operator).peekable();
    if others.peek().is_none() {
        return Ok(());
    }
    writeln!(out, "\nWho may cap the site, besides the operator")?;
    for spec in others {
        writeln!(out, "    {}", source(config, spec))?;
    }
    match &config.store.path {
        Some(path) => writeln!(out, "    Orders are kept in {}", path.display()),
        None => writeln!(
            out,
            "    Orders are kept in STATE_DIRECTORY, where systemd sets it; else a restart forgets them"
        ),
    }
}

fn source(config: &Config, spec: &Spec) -> String {
    let settings = &spec.settings;
    let circuit = config.site.circuits.get(spec.place.circuit.0).map_or("?", |circuit| circuit.name.as_str());
    let what = match spec.place.scope {
        Scope::Import => format!("what flows into {circuit}"),
        Scope::Miners => format!("the miners of {circuit}"),
    };
    let lost = match (settings.feed, settings.fail_safe) {
        (Feed::Calendar, _) => String::from("need not be heard"),
        (_, None) => format!("not heard for {}: what it said stays", write_time(settings.lost_after)),
        (_, Some(fail_safe)) => {
            let release = match settings.release {
                Release::FreshSignal => String::new(),
                Release::AfterHold(cap) => format!(", then {cap}"),
            };
            format!("not heard for {}: {}{release}", write_time(settings.lost_after), fail_safe.cap)
        }
    };
    format!("{} ({}, {}): caps {what}; {lost}", settings.name, spec.kind.name(), settings.class.name())
}

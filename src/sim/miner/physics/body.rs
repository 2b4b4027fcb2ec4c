//! The truth about one miner: how its firmware behaves, and its model bent by its seed.

use std::time::Duration;

use crate::control::site::{Miner, OperatingPoint};
use crate::miner::DriverKind;
use crate::sim::scenario::Deviation;
use crate::sim::scenario::quantity::Size;

use super::super::make;
use super::super::noise::Noise;
use super::REFRESH;

/// How the firmware behaves where vendors differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Habits {
    /// A setting in percent survives a reboot.
    pub keeps_percent: bool,
    /// Sleep survives a reboot.
    pub keeps_sleep: bool,
    /// Sleep ends the mining software, so that its uptime starts again with the next start.
    pub sleep_ends_software: bool,
    /// A setting given before tuning has ended waits until then (Whatsminer API 3, `set.miner.power_percent`).
    pub waits_for_tuning: bool,
    /// A setting below the least stable power restarts mining (Whatsminer API 2, `set_power_pct`); otherwise the
    /// least stable power is used.
    pub restarts_below_minimum: bool,
    /// Time constant of the filter in front of the reported power, in seconds.
    pub report_lag: f64,
    /// How far the settled draw of a miner may lie from its setting, as a fraction.
    pub settled_error: f64,
    /// How much more a warm miner draws, as a fraction.
    pub thermal_drift: f64,
}

impl Habits {
    /// Of firmware of which nothing else is known: what it was told it keeps.
    pub const STEADY: Self = Habits {
        keeps_percent: true,
        keeps_sleep: true,
        sleep_ends_software: false,
        waits_for_tuning: false,
        restarts_below_minimum: false,
        report_lag: 1.5,
        settled_error: 0.012,
        thermal_drift: 0.003,
    };

    /// What is known, or assumed with care, of a vendor's firmware.
    pub const fn of(driver: DriverKind) -> Self {
        make(driver).habits
    }
}

/// Places in the noise of a miner.
pub(super) mod channel {
    pub(in super::super) const DEAD_DOWN: u64 = 1;
    pub(in super::super) const DEAD_UP: u64 = 2;
    pub(in super::super) const RAMP_DOWN: u64 = 3;
    pub(in super::super) const RAMP_UP: u64 = 4;
    pub(in super::super) const START: u64 = 5;
    pub(in super::super) const OVERSHOOT: u64 = 6;
    pub(in super::super) const HOLD: u64 = 7;
    pub(in super::super) const ERROR: u64 = 8;
    pub(in super::super) const WANDER: u64 = 9;
    pub(in super::super) const REFRESH: u64 = 10;
    pub(in super::super) const READING: u64 = 11;
    pub(in super::super) const APPROXIMATE: u64 = 12;
    pub(in super::super) const UPTIME: u64 = 13;
    pub(in super::super) const JOB: u64 = 14;
}

/// The truth about one miner: its model, bent by its seed.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) dead_down: Duration,
    pub(super) dead_up: Duration,
    pub(super) ramp_down: f64,
    pub(super) ramp_up: f64,
    pub(super) start_time: Duration,
    pub(super) overshoot: f64,
    pub(super) hold: Duration,
    pub(super) error: f64,
    pub(super) wander_period: f64,
    pub(super) wander_phase: f64,
    pub(super) refresh_phase: Duration,
    pub(super) sleep: f64,
    pub(super) minimum: f64,
    /// Settings below this restart mining where the firmware has it so: not above what the model calls the least, or a
    /// controller that keeps to the model would restart a miner whose floor lies higher.
    pub(super) restart_below: f64,
    /// What it tells of every power, as a factor.
    pub(super) says: f64,
    pub(super) nameplate: f64,
    pub(super) curve: Vec<OperatingPoint>,
}

impl Body {
    pub(super) fn new(spec: &Miner, habits: &Habits, noise: Noise, differs: &Deviation) -> Self {
        let near = |channel, spread: f64| noise.between(channel, 0, 1.0 - spread, 1.0 + spread);
        let response = &spec.response;
        // A watt a second at least: a ramp of nothing would never end.
        let pace = differs.pace.max(1e-3);
        let rate = |value: f64, channel| (value * pace * near(channel, 0.12)).max(1.0);
        let nameplate = spec.nameplate.max(spec.maximum()).get();
        let model = spec.minimum().at_least_zero().get();
        let minimum = match differs.floor {
            None => model,
            Some(Size::Power(power)) => power.get(),
            Some(Size::Share(share)) => spec.maximum().get() * share,
        };
        let minimum = minimum.min(nameplate);
        Self {
            dead_down: response.dead_time_down.mul_f64(near(channel::DEAD_DOWN, 0.15) / pace),
            dead_up: response.dead_time_up.mul_f64(near(channel::DEAD_UP, 0.15) / pace),
            ramp_down: rate(response.ramp_down.get(), channel::RAMP_DOWN),
            ramp_up: rate(response.ramp_up.get(), channel::RAMP_UP),
            start_time: response.start_time.mul_f64(near(channel::START, 0.15) * differs.start_time.max(0.0)),
            overshoot: response.start_overshoot.clamp(0.0, 1.0)
                * noise.between(channel::OVERSHOOT, 0, 0.4, 1.0),
            hold: Duration::from_secs_f64(noise.between(channel::HOLD, 0, 10.0, 20.0)),
            error: noise.between(channel::ERROR, 0, -habits.settled_error, habits.settled_error),
            wander_period: noise.between(channel::WANDER, 0, 600.0, 1_500.0),
            wander_phase: noise.between(channel::WANDER, 1, 0.0, std::f64::consts::TAU),
            refresh_phase: REFRESH.mul_f64(noise.unit(channel::REFRESH, 0)),
            sleep: differs.sleep.unwrap_or(spec.sleep).at_least_zero().get(),
            minimum,
            restart_below: model.min(minimum),
            says: differs.readings,
            nameplate,
            curve: spec.points.clone(),
        }
    }

    /// Hashrate at a settled draw, on straight lines between the operating points.
    pub(super) fn hashrate(&self, power: f64) -> f64 {
        let mut below = (self.sleep, 0.0);
        for point in &self.curve {
            let here = (point.power.get(), point.hashrate.get());
            if power <= here.0 {
                let span = here.0 - below.0;
                let share = if span > 0.0 { ((power - below.0) / span).clamp(0.0, 1.0) } else { 1.0 };
                return below.1 + (here.1 - below.1) * share;
            }
            below = here;
        }
        below.1
    }
}

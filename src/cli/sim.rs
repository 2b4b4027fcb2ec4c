//! `ballast sim`: only the simulated site, so that another process can control it.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::clock::Clock;
use crate::config;
use crate::control::site::Site;
use crate::sim::jobs::Throughput;
use crate::sim::{Scenario, Simulation, Truth};
use crate::units::Watts;

/// What `ballast sim` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The configuration whose meters and miners are simulated, each at its address; loopback addresses only
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// A scenario file or a built-in scenario: cloudy-hour, clear-day, night, step-down, square-load, surplus-register,
    /// meter-silent, meter-faults, meter-late, meter-noisy, meter-glitch, meter-frozen, miner-unreachable,
    /// miner-ignores, miner-reboots, miners-differ, miners-hang, outage or ai-event
    #[arg(short, long, default_value = "cloudy-hour")]
    pub scenario: String,
    /// How much faster than real time the sun and the other load go
    #[arg(long, default_value_t = 1.0, value_name = "N")]
    pub speed: f64,
    /// End after this time, such as 90s or 5min
    #[arg(long = "for", value_name = "TIME", value_parser = super::time)]
    pub duration: Option<Duration>,
    /// Time between two lines
    #[arg(long, value_name = "TIME", value_parser = super::time, default_value = "5s")]
    pub every: Duration,
}

/// Runs until a signal or the time given ends it.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<(), Failure> {
    super::log("warn");
    let config = config::load(&args.config).map_err(Failure::Config)?;
    let scenario = Scenario::find(&args.scenario)?;
    let clock = Clock::start();
    let simulation =
        Simulation::start(&config, &scenario, args.speed, clock, CancellationToken::new()).await?;
    let _ = super::print(&format!(
        "{}: {} and {} of {} are served, scenario {}\n",
        config.site.name,
        counted(config.meters.len(), "meter"),
        counted(config.miners.len(), "miner"),
        args.config.display(),
        args.scenario,
    ));
    let mut end = Ending::new(args.duration)?;
    let mut lines = tokio::time::interval(args.every.max(Duration::from_millis(100)));
    loop {
        tokio::select! {
            () = end.wait() => break,
            // Who has gone away does not need the site any more.
            _ = lines.tick() => if super::print(&format!("{}\n", line(&simulation.truth()))).is_err() { break },
        }
    }
    let truth = simulation.truth();
    let _ = super::print(&format!("{}{}\n", account(&truth), work(&config.site, &truth)));
    simulation.shutdown().await;
    Ok(())
}

/// `1 meter`, `2 meters`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The true state of the site in one line.
fn line(truth: &Truth) -> String {
    let exchange = if truth.pcc < Watts::ZERO {
        format!("export {}", truth.pcc.abs())
    } else {
        format!("import {}", truth.pcc)
    };
    format!(
        "generation {} · other load {} · surplus {} · fleet {} · {exchange} · {}",
        truth.pv, truth.other, truth.surplus, truth.fleet, truth.hashrate
    )
}

/// The energies since counting began, as the simulated connection point saw them.
pub(super) fn account(truth: &Truth) -> String {
    let totals = &truth.totals;
    let share = |part: f64| match totals.surplus.get() {
        surplus if surplus > 0.0 => format!("{:.2} %", 100.0 * part / surplus),
        _ => "no surplus".into(),
    };
    let hashes = totals.hashes / totals.time.as_secs_f64().max(1.0);
    let mut text = format!(
        "counted for {:.0} s at the simulated connection point\n  surplus available   {}\n  captured by fleet   {} \
         ({} of it)\n  imported            {} ({} of it), at most {}\n  exported            {}\n  hashrate, mean      {}\n",
        totals.time.as_secs_f64(),
        totals.surplus,
        totals.captured,
        share(totals.captured.get()),
        totals.imported,
        share(totals.imported.get()),
        totals.peak_import,
        totals.exported,
        crate::units::Hashrate::saturating(hashes),
    );
    if totals.usable_surplus < totals.surplus {
        let usable = totals.usable_captured_share().unwrap_or(0.0);
        text.push_str(&format!(
            "  usable surplus      {} (the fleet at full power cannot take more); {:.2} % of it captured\n",
            totals.usable_surplus,
            100.0 * usable
        ));
    }
    text
}

/// What servers have done of their work since the simulation began, in a line; nothing where none has a job.
pub(super) fn work(site: &Site, truth: &Truth) -> String {
    Throughput::of(site, &truth.work).map_or_else(String::new, |throughput| {
        format!("  work of servers     {throughput} (of what they would have done without any cap)\n")
    })
}

/// The end of a program that a person watches: its time, Ctrl-C or a signal.
pub(super) struct Ending {
    deadline: Option<tokio::time::Instant>,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Ending {
    /// Counts the time from now.
    ///
    /// # Errors
    /// Signals cannot be received.
    pub(super) fn new(duration: Option<Duration>) -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|source| Failure::System { what: "cannot receive signals", source });
        let clock = Clock::start();
        Ok(Self {
            deadline: duration.map(|duration| clock.instant(clock.now() + duration)),
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Resolves when it is time to end.
    pub(super) async fn wait(&mut self) {
        let deadline = self.deadline;
        let timer = async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

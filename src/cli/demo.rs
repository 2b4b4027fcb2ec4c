//! `ballast demo`: a simulated site on loopback with the real daemon in front of it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Failure;
use super::sim::{Ending, account};
use crate::clock::Clock;
use crate::config::{self, Config, DEMO_NETWORK, DemoFleet};
use crate::control::site::LoadClass;
use crate::daemon::{Daemon, DaemonError};
use crate::metrics::describe;
use crate::sim::{Scenario, SimError, Simulation};
use crate::web::WebError;

/// How many networks are tried when another demo has taken the first one.
const NETWORKS: u8 = 8;
/// The figures of the summary count from here on: by then the fleet has been taken over.
const WARM_UP: Duration = Duration::from_secs(60);

/// What `ballast demo` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// End by itself after this time, such as 90s or 5min, with a summary
    #[arg(long = "for", value_name = "TIME", value_parser = super::time)]
    pub duration: Option<Duration>,
    /// How much faster than real time the sun and the other load go; the protocols and the control law never do
    #[arg(long, default_value_t = 1.0, value_name = "N")]
    pub speed: f64,
    /// Which miners
    #[arg(long, value_enum, default_value_t)]
    pub fleet: DemoFleet,
    /// A scenario file or a built-in scenario: cloudy-hour, clear-day, night, step-down, square-load, surplus-register,
    /// meter-silent, meter-faults, meter-late, meter-noisy, meter-glitch, meter-frozen, miner-unreachable,
    /// miner-ignores, miner-reboots, miners-differ, miners-hang, outage or ai-event. Without it cloudy-hour, and ai-event with
    /// --fleet ai
    #[arg(short, long)]
    pub scenario: Option<String>,
    /// Where metrics and status are served; without it 127.0.0.1:9842, or a free port when that is taken
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Time between two lines
    #[arg(long, value_name = "TIME", value_parser = super::time, default_value = "3s")]
    pub every: Duration,
    /// Decide and show everything, but send no command
    #[arg(long)]
    pub observe: bool,
}

impl Args {
    /// The scenario that was asked for, or that of the fleet.
    fn scenario(&self) -> &str {
        self.scenario.as_deref().unwrap_or_else(|| self.fleet.scenario())
    }
}

/// Runs until a signal or the time given ends it.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<(), Failure> {
    super::log("warn");
    let scenario = Scenario::find(args.scenario())?;
    let clock = Clock::start();
    let (mut config, simulation) = simulate(args, &scenario, clock).await?;
    if args.observe {
        let mut site = (*config.site).clone();
        site.settings.observe = true;
        config.site = site.into();
    }
    let daemon = control(args, config.clone(), clock).await?;
    let _ = super::print(&introduction(args, &config, &daemon));

    let mut end = Ending::new(args.duration)?;
    let mut frames = daemon.frames();
    let mut lines = tokio::time::interval(args.every.max(Duration::from_millis(100)));
    // A short demo counts from its first third on, so that it has something to show.
    let warm_up = args.duration.map_or(WARM_UP, |duration| WARM_UP.min(duration / 3));
    let counting = tokio::time::sleep(warm_up);
    tokio::pin!(counting);
    let mut counts = false;
    loop {
        tokio::select! {
            () = end.wait() => break,
            () = &mut counting, if !counts => {
                simulation.restart_counting();
                counts = true;
            }
            _ = lines.tick() => {
                if let Some(frame) = frames.borrow_and_update().as_ref() {
                    let at = frame.decision.at.since_start().as_secs();
                    let words = describe(&frame.site, &frame.decision);
                    if super::print(&format!("{:3}:{:02}  {words}\n", at / 60, at % 60)).is_err() {
                        break;
                    }
                }
            }
        }
    }
    let truth = simulation.truth();
    let work = super::sim::work(&config.site, &truth);
    let _ = super::print(&format!("\n{}{work}\n{}", account(&truth), summary(&daemon)));
    daemon.stop().await;
    simulation.shutdown().await;
    Ok(())
}

/// Starts the site on the first network that no other demo uses.
async fn simulate(args: &Args, scenario: &Scenario, clock: Clock) -> Result<(Config, Simulation), Failure> {
    let mut network = DEMO_NETWORK;
    loop {
        let config = config::demo_fleet(args.fleet, network).map_err(Failure::Config)?;
        let started = Simulation::start(&config, scenario, args.speed, clock, CancellationToken::new()).await;
        match started {
            Err(SimError::Bind { source, .. })
                if source.kind() == std::io::ErrorKind::AddrInUse && network < DEMO_NETWORK + NETWORKS =>
            {
                network += 1;
            }
            Err(error) => return Err(error.into()),
            Ok(simulation) => return Ok((config, simulation)),
        }
    }
}

/// Starts the daemon; without a wish for an address, a taken one is replaced by a free one.
async fn control(args: &Args, mut config: Config, clock: Clock) -> Result<Daemon, Failure> {
    if let Some(listen) = args.listen {
        config.web.listen = listen;
        return Ok(Daemon::start(config, clock).await?);
    }
    match Daemon::start(config.clone(), clock).await {
        Err(DaemonError::Web(WebError::Bind { .. })) => {
            config.web.listen.set_port(0);
            Ok(Daemon::start(config, clock).await?)
        }
        started => Ok(started?),
    }
}

fn introduction(args: &Args, config: &Config, daemon: &Daemon) -> String {
    let (site, address) = (&config.site, daemon.address());
    let fleet: crate::units::Watts = site.miners.iter().map(|miner| miner.maximum()).sum();
    let servers = site.miners.iter().filter(|miner| miner.class != LoadClass::Miner).count();
    let members = match servers {
        0 => format!("{} simulated miners", site.miners.len()),
        _ => format!("{} simulated miners and {servers} servers", site.miners.len().saturating_sub(servers)),
    };
    let ends = match args.duration {
        Some(duration) => format!("Ends by itself after {} s, or with Ctrl-C.", duration.as_secs()),
        None => String::from("Ctrl-C ends it."),
    };
    format!(
        "{}: {members} of {fleet} together behind {} Modbus meters, scenario {}{}\n\
         The daemon in front of them is the real one. Metrics: http://{address}/metrics  Status: http://{address}/\n\
         By hand: ballast limit set night --cap \"150 kW\" --circuit fleet --miners --demo --url http://{address}\n\
         {ends}\n\n",
        site.name,
        site.meters.len(),
        args.scenario(),
        if args.observe { ", observing only" } else { "" },
    )
}

/// What the daemon itself says of its work.
fn summary(daemon: &Daemon) -> String {
    let Some(frame) = daemon.exporter().frame() else { return String::new() };
    let energy = frame.decision.energy;
    format!(
        "the daemon's own meters, since it started\n  surplus {} · captured {} · imported by miners {} · left to the grid although the \
         fleet could have used it {}\n  commands that miners accepted: {}\n",
        energy.surplus,
        energy.captured,
        energy.imported,
        energy.curtailed,
        daemon.exporter().accepted_commands()
    )
}

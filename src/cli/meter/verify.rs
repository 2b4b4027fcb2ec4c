//! `ballast meter verify`: moves a known load and looks whether the meter sees it.

mod plan;
mod stand;
mod trial;
mod verdict;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::neighbour::{self, Holder};
use super::screen::{Progress, counted, spell};
use crate::cli::Failure;
use crate::config::{self, Config};
use crate::control::site::{CircuitId, MeterId};
use crate::daemon::single::Alone;
use crate::units::Watts;
use plan::{Step, Unmovable};
use stand::{Baseline, Left, Stand};
use trial::{Estimate, Phase};
use verdict::{Finding, Outcome, Source};

/// What `ballast meter verify` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "The daemon must be stopped: two masters must never command. Miners that hash and say what they are \
                        set to are lowered and raised again, never above what they did before and never to sleep; at the \
                        end, at Ctrl-C and after an error each is put back to its setpoint. Only the death of this process \
                        (SIGKILL, power cut) leaves them lowered.\n\nExit code: 0 passed, 1 not passed, 78 for a wrong \
                        configuration."
)]
pub(super) struct Args {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = crate::cli::CONFIG)]
    config: PathBuf,
    /// Which meter
    #[arg(value_name = "METER")]
    meter: String,
    /// How much to lower: a power, or a share of what the movable miners draw
    #[arg(long, value_name = "STEP", value_parser = plan::parse, default_value = "20 %")]
    step: Step,
    /// How many times down and up; more rounds find a small step among other load
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20), default_value_t = 3)]
    rounds: u32,
    /// How long to watch the reading before anything is moved
    #[arg(long, value_name = "TIME", value_parser = crate::cli::time, default_value = "20s")]
    watch: Duration,
    /// How long to wait for slow miners after each command, at the most
    #[arg(long, value_name = "TIME", value_parser = crate::cli::time, default_value = "2min")]
    patience: Duration,
    /// Do not ask before power is moved
    #[arg(short, long)]
    yes: bool,
}

/// What ends a command that has to clean up after itself: Ctrl-C, an order to end, a terminal that goes away.
struct Ends([Signal; 3]);

impl Ends {
    fn listen() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|source| Failure::System { what: "cannot receive signals", source });
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    async fn wait(&mut self) {
        let Self([interrupt, terminate, hangup]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

fn say(text: &str) {
    // Whoever reads may have gone; what was begun is brought to its end all the same.
    let _ = crate::cli::print(text);
}

/// Tests a meter.
///
/// # Errors
/// The configuration cannot be used, or has no such meter, or the meter is not that of a circuit with miners.
pub(super) async fn run(args: &Args) -> Result<u8, Failure> {
    crate::cli::log("error");
    let config = config::load(&args.config).map_err(Failure::Config)?;
    let (meter, circuit) = subject(&config, &args.meter)?;
    // Held until the end: no daemon can start in between.
    let held = neighbour::holder(config.web.listen).await;
    if let Some(refusal) = refusal(&held, &config) {
        crate::cli::complain(format_args!("ballast: {refusal}"));
        return Ok(1);
    }
    // A daemon may serve its pages elsewhere, or keep its orders in the same place.
    let alone = Alone::hold(&args.config, config.store.path.as_deref(), None).await;
    let mut alone = alone.map_err(Failure::NotAlone)?;
    alone.command(&config).await.map_err(Failure::NotAlone)?;
    if !args.yes && !std::io::stdin().is_terminal() {
        crate::cli::complain(format_args!(
            "ballast: this moves power, and there is no terminal to ask at; say --yes if that is meant"
        ));
        return Ok(1);
    }
    let mut ends = Ends::listen()?;
    let Some(mut stand) = Stand::start(&config, meter, circuit)? else {
        return Err(Failure::Site(format!(
            "{}: the link of meter `{}` is missing",
            config.path.display(),
            args.meter
        )));
    };
    if stand.miners() == 0 {
        let name = config.site.circuits.get(circuit.0).map_or("?", |circuit| circuit.name.as_str());
        return Err(Failure::Site(format!(
            "no miner hangs on circuit `{name}` or below, so there is nothing to move under meter `{}`",
            args.meter
        )));
    }
    let mut progress = Progress::new();
    let prepared = tokio::select! {
        prepared = prepare(&mut stand, args, &config, circuit, &mut progress) => prepared,
        () = ends.wait() => Err(String::from("ended before anything was moved")),
    };
    progress.clear();
    let code = match prepared {
        Err(words) => {
            crate::cli::complain(format_args!("ballast: {words}"));
            1
        }
        Ok(baseline) => test(&mut stand, args, &baseline, &mut ends, &mut progress).await,
    };
    stand.stop().await;
    drop(held);
    Ok(code)
}

/// Why the test must not begin.
fn refusal(held: &Holder, config: &Config) -> Option<String> {
    let listen = config.web.listen;
    match held {
        Holder::Nobody(_) => None,
        Holder::Daemon(mode) => Some(format!(
            "a daemon runs with this configuration (http://{listen}/, {mode}), and two masters must never command. Stop it \
             for the time of the test: systemctl stop ballast. By its `on_exit` it may put the miners to sleep; wake them \
             then, or set on_exit = \"hold\" before"
        )),
        Holder::Other => Some(format!(
            "something else has {listen}, where the daemon of this configuration serves its pages: another test, or another \
             program. Two masters must never command, so end it, or give `listen` another port"
        )),
        Holder::Unusable(error) => Some(format!(
            "{listen}, where the daemon of this configuration serves its pages, cannot be used ({error}), so that it is not \
             certain that none runs; check `listen` in the configuration"
        )),
    }
}

/// The meter and its circuit.
fn subject(config: &Config, name: &str) -> Result<(usize, CircuitId), Failure> {
    let site = &config.site;
    let known: Vec<&str> = site.meters.iter().map(|meter| meter.name.as_str()).collect();
    let Some(meter) = known.iter().position(|meter| *meter == name) else {
        return Err(super::no_such_meter(name, &config.path, &known));
    };
    let circuit = site.circuits.iter().position(|circuit| circuit.meter == Some(MeterId(meter)));
    circuit.map(|circuit| (meter, CircuitId(circuit))).ok_or_else(|| {
        Failure::Site(format!(
            "meter `{name}` is not the `meter` of a circuit in {}, so no load of ours can move it; compare it with the \
             device's own display instead",
            config.path.display()
        ))
    })
}

/// Watches, chooses, and asks. The words of an error are for a person.
async fn prepare(
    stand: &mut Stand,
    args: &Args,
    config: &Config,
    circuit: CircuitId,
    progress: &mut Progress,
) -> Result<Baseline, String> {
    let name = config.site.circuits.get(circuit.0).map_or("?", |circuit| circuit.name.as_str());
    say(&format!(
        "Meter {} at the head of circuit {name}, with {} on it and below. Nothing is moved before you say so.\n",
        args.meter,
        counted(stand.miners(), "miner")
    ));
    stand.wake(progress).await.map_err(|status| {
        format!(
            "meter `{0}` gives no reading ({1}); see what is wrong with: ballast meter read --config {2} {0}",
            args.meter,
            status.name(),
            config.path.display()
        )
    })?;
    let baseline = stand
        .watch(args.watch.min(Duration::from_secs(3_600)), progress)
        .await
        .ok_or_else(|| format!("meter `{}` stopped answering while it was watched", args.meter))?;
    progress.clear();
    say(&format!(
        "Over {} it read {} on average, with a standard deviation of {}; it has a new value about every {}.\n",
        spell(args.watch),
        flow(baseline.mean),
        baseline.noise,
        spell(baseline.refresh),
    ));
    let (candidates, unmovable) = stand.candidates();
    let others: Vec<String> =
        unmovable.iter().map(|(why, count)| format!("{count} {}", why.words())).collect();
    let left_alone =
        if others.is_empty() { String::new() } else { format!(" Left alone: {}.", others.join(", ")) };
    if candidates.is_empty() {
        let hint = if unmovable.contains_key(&Unmovable::NotHashing) {
            " A daemon that is stopped may put its miners to sleep (`on_exit`): set on_exit = \"hold\", start it, let it wake \
             them, and stop it again"
        } else {
            ""
        };
        return Err(format!("no miner can be moved.{left_alone}{hint}"));
    }
    let drawn: Watts = candidates.iter().map(|candidate| candidate.draw).sum();
    let wish = match args.step {
        Step::Power(power) => power,
        Step::Share(share) => drawn.scaled(share),
    };
    stand.moves = plan::choose(&candidates, wish);
    let step = plan::total(&stand.moves);
    if stand.moves.is_empty() || step <= Watts::ZERO {
        return Err(format!(
            "no miner can be lowered by as little as {wish}; use a larger step.{left_alone}"
        ));
    }
    let room: Watts = candidates.iter().map(plan::Candidate::room).sum();
    say(&format!(
        "{} can be moved; they draw {drawn} and can be lowered by {room} without sleeping.{left_alone}\n\n",
        counted(candidates.len(), "miner"),
    ));
    say(&format!(
        "The test lowers {} by {step} together{}, {} down and up again, and takes about {}.\n",
        counted(stand.moves.len(), "miner"),
        if step < wish.scaled(0.9) {
            format!(" (all there is; {wish} were asked for)")
        } else {
            String::new()
        },
        if args.rounds == 1 { String::from("once") } else { format!("{} times", args.rounds) },
        spell(stand.duration(args.rounds)),
    ));
    if baseline.noise.get() > 0.5 * step.get() {
        say(&format!(
            "The reading swings by {} by itself: the step may drown in it. A step of {} or more, or --rounds 6, is surer.\n",
            baseline.noise,
            baseline.noise.scaled(3.0)
        ));
    }
    if config.site.settings.observe {
        say("mode = \"observe\" holds for the daemon. This test moves miners when you say yes.\n");
    }
    if !args.yes && !consent().await {
        return Err(String::from("nothing was moved"));
    }
    Ok(baseline)
}

/// Asks. Only a clear yes counts.
async fn consent() -> bool {
    say("Go on? Type yes: ");
    let (answer, answered) = oneshot::channel();
    // A thread of its own, and not one of the runtime's: those are waited for at the end, and this may wait for ever.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        let _ = answer.send(read.is_ok() && matches!(line.trim().to_lowercase().as_str(), "y" | "yes"));
    });
    answered.await.unwrap_or(false)
}

/// Moves, measures, puts back, judges. Gives the exit code.
async fn test(
    stand: &mut Stand,
    args: &Args,
    baseline: &Baseline,
    ends: &mut Ends,
    progress: &mut Progress,
) -> u8 {
    let begun = crate::clock::Clock::start();
    let phases = tokio::select! {
        phases = stand.trial(args.rounds, baseline.noise, args.patience, progress) => Some(phases),
        () = ends.wait() => None,
    };
    progress.clear();
    let took = begun.now().since_start();
    if phases.is_none() {
        say("\nEnded. Putting the miners back; a second Ctrl-C leaves them as they are.\n");
    }
    let left = tokio::select! {
        left = stand.restore(progress) => left,
        () = ends.wait() => stand.left(),
    };
    progress.clear();
    let passed = phases.is_some_and(|phases| {
        let (text, passed) = report(stand, &phases, baseline, args, took);
        say(&text);
        passed
    });
    say(&farewell(&left, stand.touched()));
    u8::from(!passed || !left.is_empty())
}

/// What has become of the miners.
fn farewell(left: &[Left], touched: usize) -> String {
    if touched == 0 {
        return String::from("No miner was moved.\n");
    }
    if left.is_empty() {
        return format!(
            "{} told and confirmed: back at what they were set to before.\n",
            counted(touched, "miner")
        );
    }
    let mut text = format!(
        "NOT BACK: {} of {}. Set them by hand, or start the daemon, which takes them over:\n",
        left.len(),
        counted(touched, "miner")
    );
    for Left { name, back, why } in left {
        text.push_str(&format!("  {name}: {back} ({why})\n"));
    }
    text
}

/// `import 12.3 kW`.
fn flow(power: Watts) -> String {
    if power < Watts::ZERO { format!("export {}", power.abs()) } else { format!("import {power}") }
}

/// The figures and the verdict.
fn report(
    stand: &Stand,
    phases: &[Phase],
    baseline: &Baseline,
    args: &Args,
    took: Duration,
) -> (String, bool) {
    let told = plan::total(&stand.moves);
    let source = if stand.reported { Source::Readings } else { Source::Commands };
    let miners = match source {
        Source::Readings => trial::fall(&stand.draws, phases),
        Source::Commands => Some(Estimate { mean: told.get(), within: 0.0 }),
    };
    let (Some(meter), Some(miners)) = (trial::fall(&stand.readings, phases), miners) else {
        return (
            format!(
                "\n{}: {}\n  the meter did not answer through the whole test; see: ballast meter read\n",
                args.meter,
                Finding::TooNoisy.title()
            ),
            false,
        );
    };
    let meter_times = trial::times(&stand.readings, phases);
    let miner_times = if stand.reported { trial::times(&stand.draws, phases) } else { None };
    let watts = |estimate: Estimate| {
        format!("{} ± {}", Watts::saturating(estimate.mean), Watts::saturating(estimate.within))
    };
    let time = |times: Option<(f64, f64)>, pick: fn((f64, f64)) -> f64| {
        times.map_or_else(|| String::from("–"), |times| format!("{:.1} s", pick(times)))
    };
    let by_miners = match source {
        Source::Readings => watts(miners),
        Source::Commands => format!("{told} (told; they do not say)"),
    };
    let mut text = format!(
        "\n{}: {} lowered by {told}, {} in {}\n",
        args.meter,
        counted(stand.moves.len(), "miner"),
        if args.rounds == 1 { String::from("once") } else { format!("{} times", args.rounds) },
        spell(Duration::from_secs(took.as_secs()))
    );
    let rows = [
        ("", String::from("the miners say"), String::from("the meter says")),
        ("fell by", by_miners, watts(meter)),
        ("half of it after", time(miner_times, |times| times.0), time(meter_times, |times| times.0)),
        ("90 % of it after", time(miner_times, |times| times.1), time(meter_times, |times| times.1)),
    ];
    let width = rows.iter().map(|(_, miners, _)| miners.chars().count()).max().unwrap_or(0);
    for (label, miners, meter) in rows {
        text.push_str(&format!("  {label:<18}{miners:<width$}  {meter}\n"));
    }
    text.push_str(
        "  (± with 95 % confidence; times count from the command, so the miners' own response is in them)\n",
    );
    let shortest = phases.iter().map(|phase| phase.ended - phase.settled).fold(f64::INFINITY, f64::min);
    let outcome = Outcome {
        meter,
        miners,
        source,
        told,
        inverted: stand.inverted,
        late: trial::late(&stand.readings, phases),
        renewal: trial::renewal(&stand.readings).map(|renewal| (renewal, shortest)),
    };
    let verdict = verdict::judge(&outcome, &args.meter);
    text.push_str(&format!("\n{}\n", verdict.finding.title()));
    for words in &verdict.words {
        text.push_str(&format!("  {words}\n"));
    }
    if verdict.finding == Finding::Pass {
        text.push_str(&suggestion(args, meter_times, miner_times, baseline));
    }
    text.push('\n');
    (text, verdict.finding == Finding::Pass)
}

/// What to write into the configuration.
fn suggestion(
    args: &Args,
    meter: Option<(f64, f64)>,
    miners: Option<(f64, f64)>,
    baseline: &Baseline,
) -> String {
    let refresh = baseline.refresh.as_secs_f64();
    match (meter, miners) {
        (Some((meter, _)), Some((miners, _))) if meter > miners => format!(
            "  for [meters.{}]: lag = \"{:.1}s\"   # half of the step came so much later than to the miners' own readings\n",
            args.meter,
            verdict::lag(meter, miners)
        ),
        (Some(_), Some(_)) => format!(
            "  `lag` cannot be told from this: the miners' own readings came later than the meter's, so it is short. Half of \
             the time between two new values is a fair start: lag = \"{:.1}s\"\n",
            refresh / 2.0
        ),
        (Some((meter, _)), None) => format!(
            "  `lag` is at most {meter:.1} s: what the miners themselves took is in it, and they do not say how much\n"
        ),
        _ => String::from(
            "  other power moves too much to tell the `lag`: take it from the manual, or use a larger step\n",
        ),
    }
}

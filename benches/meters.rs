//! What reading meters costs: 50 meters on 10 gateways, each read once a second.
//!
//! `cargo bench --bench meters -- [--seconds N] [--gateways N] [--meters N]`. The gateways are the simulator's, in a
//! process of their own, and each answers as slowly as a line of 9600 baud would; only this process, with the links and
//! a task that takes every reading, is measured. Then the decoding alone.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ballast::clock::{Clock, Moment};
use ballast::config::{self, Options, Secrets, builtin};
use ballast::meter::line::Line;
use ballast::meter::plan::Plan;
use ballast::meter::{Meters, decode, spawn};
use ballast::sim::meter::bus::Bus;
use ballast::sim::meter::encode;
use ballast::sim::meter::server::{Framing, serve};
use ballast::sim::scenario::{Bend, Keeps};
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What all meters are.
const PROFILE: &str = "eastron-sdm630";
/// Time between two reads of a meter.
const PERIOD: Duration = Duration::from_secs(1);
/// The silence between two requests; the configuration's default.
const GAP: Duration = Duration::from_millis(30);
/// Connections are made, and the first readings come, before anything is measured.
const WARM_UP: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (mut seconds, mut gateways, mut meters, mut serve) = (20_u64, 10_u64, 50_u64, false);
    while let Some(argument) = arguments.next() {
        let mut number = |usual| arguments.next().and_then(|value| value.parse().ok()).unwrap_or(usual);
        match argument.as_str() {
            "--seconds" => seconds = number(seconds),
            "--gateways" => gateways = number(gateways).max(1),
            "--meters" => meters = number(meters),
            "--serve" => serve = true,
            _ => {}
        }
    }
    let on_each = meters.div_ceil(gateways);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if serve {
        return runtime.block_on(serve_gateways(gateways, on_each));
    }
    let (_gateways, ports) = start_gateways(gateways, meters)?;
    runtime.block_on(read(&ports, usize::try_from(on_each)?, Duration::from_secs(seconds)))?;
    decoding();
    Ok(())
}

/// Processor time of this process since it began.
fn busy() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// How long a line of 9600 baud and a quick meter take for an answer.
fn answer_time() -> Duration {
    Line::default().exchange(2)
}

struct Gateways(Child);

impl Drop for Gateways {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts this program again, as the gateways.
fn start_gateways(gateways: u64, meters: u64) -> Result<(Gateways, Vec<u16>), Box<dyn std::error::Error>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--serve", "--gateways", &gateways.to_string(), "--meters", &meters.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("no output")?;
    let child = Gateways(child);
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let ports: Result<Vec<u16>, _> = line.split_whitespace().map(str::parse).collect();
    Ok((child, ports?))
}

/// Serves until the other process is gone.
async fn serve_gateways(gateways: u64, on_each: u64) -> Result<(), Box<dyn std::error::Error>> {
    let profile = builtin::profile(PROFILE).ok_or("no such profile")?;
    let mut ports = String::new();
    for _ in 0..gateways {
        let mut bus = Bus::new();
        for unit in 1..=u8::try_from(on_each)? {
            let meter = usize::from(unit);
            bus.add(meter, unit, profile.points().flat_map(|(_, point)| encode::registers(point)));
            bus.write(meter, unit, &encode::value(&profile.power, f64::from(unit) * 1_000.0));
            bus.behave(meter, vec![(Bend::Slow(answer_time()), 1)]);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        write!(ports, "{} ", address.port())?;
        let most = (1, Keeps::First);
        tokio::spawn(serve(Arc::new(bus), listener, address, Framing::Tcp, most, CancellationToken::new()));
    }
    println!("{ports}");
    tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await??;
    Ok(())
}

/// A site with these gateways.
fn site(ports: &[u16], on_each: usize) -> Result<config::Config, Box<dyn std::error::Error>> {
    let mut text = String::from(
        "[site]\nname = \"Bench\"\nmode = \"observe\"\n[circuits.pcc]\nmeter = \"m-0-1\"\n\
         [limits.follow-surplus]\ncircuit = \"pcc\"\nimport = \"0 W\"\n\
         [miners.one]\ndriver = \"whatsminer-v3\"\ncircuit = \"pcc\"\nmodel = \"m60s\"\naddress = \"127.0.0.1\"\n",
    );
    for (link, port) in ports.iter().enumerate() {
        writeln!(text, "[links.g-{link}]\ntcp = \"127.0.0.1:{port}\"\ngap = \"{} ms\"", GAP.as_millis())?;
        for unit in 1..=on_each {
            writeln!(
                text,
                "[meters.m-{link}-{unit}]\nlink = \"g-{link}\"\nunit = {unit}\nprofile = \"{PROFILE}\"\nperiod = \"{} s\"",
                PERIOD.as_secs()
            )?;
        }
    }
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    Ok(config::parse(&text, Path::new("bench.toml"), &options).map_err(|errors| errors.to_string())?)
}

async fn read(ports: &[u16], on_each: usize, time: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let config = site(ports, on_each)?;
    let clock = Clock::start();
    let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
    let names: Vec<&str> = config.site.meters.iter().map(|meter| meter.name.as_str()).collect();
    let meters = spawn(&config.links, &config.meters, &names, clock, &cancel, &tracker);
    let (stamps, counters) = take_all(meters);
    tokio::time::sleep(WARM_UP).await;
    let (started, before) = (clock.now(), busy());
    tokio::time::sleep(time).await;
    let (spent, wall) = (busy().saturating_sub(before), clock.now() - started);
    cancel.cancel();

    let stamps = stamps.lock().unwrap_or_else(PoisonError::into_inner);
    let mut gaps: Vec<Duration> = Vec::new();
    for times in stamps.iter() {
        let measured: Vec<Moment> = times.iter().copied().filter(|at| *at >= started).collect();
        gaps.extend(measured.windows(2).filter_map(|pair| Some(*pair.get(1)? - *pair.first()?)));
    }
    gaps.sort_unstable();
    let at = |percent: usize| {
        let place = (gaps.len() * percent).div_ceil(100).max(1) - 1;
        gaps.get(place).copied().unwrap_or_default().as_secs_f64()
    };
    let bus = u32::try_from(on_each)? * (GAP + answer_time());
    let failed: u64 = counters
        .iter()
        .flat_map(|meter| meter.reads())
        .filter(|(name, _)| *name != "ok")
        .map(|(_, n)| n)
        .sum();
    let share = 100.0 * spent.as_secs_f64() / wall.as_secs_f64();
    println!(
        "{} meters on {} gateways, once a second, for {:.0} s",
        names.len(),
        ports.len(),
        wall.as_secs_f64()
    );
    println!(
        "  processor time                 {:.2} % of one core ({:.1} µs for each reading)",
        share,
        spent.as_secs_f64() * 1e6 / count(gaps.len())
    );
    println!("  readings                       {} good, {failed} others since the start", gaps.len());
    println!("  between two readings, s        p50 {:.3}  p99 {:.3}  max {:.3}", at(50), at(99), at(100));
    let bound = (PERIOD + bus).as_secs_f64();
    let holds = if at(100) <= bound { "holds" } else { "is broken" };
    println!("  period plus bus time, s        {bound:.3}: {holds}");
    Ok(())
}

type Stamps = Arc<Mutex<Vec<Vec<Moment>>>>;

/// Takes every reading of every meter, as the daemon does, and keeps its stamp.
fn take_all(meters: Meters) -> (Stamps, Vec<Arc<ballast::meter::counters::MeterCounters>>) {
    let stamps: Stamps = Arc::new(Mutex::new(vec![Vec::new(); meters.inputs.len()]));
    for (index, mut input) in meters.inputs.into_iter().enumerate() {
        let stamps = Arc::clone(&stamps);
        tokio::spawn(async move {
            while input.changed().await.is_ok() {
                let Some(reading) = input.borrow_and_update().power else { continue };
                let mut stamps = stamps.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(times) = stamps.get_mut(index).filter(|times| times.last() != Some(&reading.at)) {
                    times.push(reading.at);
                }
            }
        });
    }
    (stamps, meters.counters)
}

fn count(number: usize) -> f64 {
    u32::try_from(number.max(1)).map_or(f64::MAX, f64::from)
}

/// From the words of the answers to the values of all points.
fn decoding() {
    const ROUNDS: u32 = 100_000;
    let Some(profile) = builtin::profile(PROFILE) else { return };
    let mut plan = Plan::new(profile.points().map(|(_, point)| point));
    let words = [0x4480_u16; 125];
    let before = busy();
    for _ in 0..ROUNDS {
        let mut position = 0;
        while let Some(span) = plan.span(position) {
            plan.store(position, black_box(words.get(..usize::from(span.count)).unwrap_or_default()));
            position += 1;
        }
        for (_, point) in profile.points() {
            black_box(decode::point(point, |register| plan.words(register)));
        }
    }
    let each = (busy().saturating_sub(before)).as_secs_f64() * 1e9
        / f64::from(ROUNDS)
        / count(profile.points().count());
    println!("decoding of {PROFILE}             {each:.0} ns for each point");
}

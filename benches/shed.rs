//! How long a shed takes, and what a large fleet costs while nothing happens.
//!
//! `cargo bench --bench shed -- [--miners N]… [--driver NAME]… [--rounds N] [--steady SECONDS]`. The miners are in
//! processes of their own, on a loopback address each, and answer after 20 ms. This side is the program's own sessions
//! and drivers. Time to shed: from a decision with a sleep for every miner, handed to the fleet, to the last miner's
//! answer, while all are polled every 10 s; beside it the floor, which says the same bytes over the same connections, all at
//! once, with nothing around them. Steady state: the whole daemon, in a process of its own.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ballast::clock::Clock;
use ballast::config::{self, Config, Options};
use ballast::control::decision::{Cause, Command as Order};
use ballast::control::site::MinerId;
use ballast::control::snapshot::{Contact, MinerInput, Outcome, Target};
use ballast::daemon::Daemon;
use ballast::daemon::fleet::Fleet;
use ballast::metrics::CommandStats;
use ballast::miner::{Connection, Credentials, DriverKind, Endpoint, Urgency};
use ballast::secret::Secret;
use ballast::units::Watts;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[path = "support/shed/mod.rs"]
mod support;

use support::floor::{self, Script};
use support::miners::{self, Record};

type Outcomes<T> = Result<T, Box<dyn std::error::Error>>;

/// The password of the miners.
const PASSWORD: &str = "bench";
/// Miners in each process of the far side: two files for each, and a process may have some thousand.
const IN_A_PROCESS: usize = 2_500;
/// Between two rounds: the miners have been read back by then.
const PAUSE: Duration = Duration::from_secs(8);

struct Arguments {
    miners: Vec<usize>,
    drivers: Vec<DriverKind>,
    rounds: u64,
    steady: u64,
    /// In a child: the first miner to serve, and how many.
    serve: Option<(usize, usize)>,
    /// In a child: measure the steady state.
    idle: bool,
}

fn arguments() -> Arguments {
    let mut found = Arguments {
        miners: Vec::new(),
        drivers: Vec::new(),
        rounds: 5,
        steady: 40,
        serve: None,
        idle: false,
    };
    let mut rest = std::env::args().skip(1);
    while let Some(argument) = rest.next() {
        let mut next = || rest.next().unwrap_or_default();
        match argument.as_str() {
            "--miners" => found.miners.extend(next().parse::<usize>()),
            "--driver" => found.drivers.extend(DriverKind::from_name(&next())),
            "--rounds" => found.rounds = next().parse().unwrap_or(found.rounds),
            "--steady" => found.steady = next().parse().unwrap_or(found.steady),
            "--serve" => found.serve = next().parse().ok().zip(next().parse().ok()),
            "--idle" => found.idle = true,
            _ => {}
        }
    }
    if found.miners.is_empty() {
        found.miners = vec![1_000, 10_000];
    }
    if found.drivers.is_empty() {
        found.drivers = miners::KINDS.to_vec();
    }
    found
}

fn main() -> Outcomes<()> {
    let arguments = arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (Some(first), Some(most)) = (arguments.drivers.first(), arguments.miners.iter().max()) else {
        return Err("no drivers or no miners".into());
    };
    if let Some((from, count)) = arguments.serve {
        return runtime.block_on(serve(*first, from, count));
    }
    if arguments.idle {
        return runtime.block_on(steady(*first, *most, Duration::from_secs(arguments.steady)));
    }
    println!(
        "{:<16}{:>8}{:>28}{:>28}{:>8}",
        "driver", "miners", "shed, ms (min median max)", "floor, ms", "ratio"
    );
    for kind in &arguments.drivers {
        for count in &arguments.miners {
            let _far = start_miners(*kind, *count)?;
            runtime.block_on(shed(*kind, *count, arguments.rounds))?;
        }
    }
    if arguments.steady > 0 {
        let _far = start_miners(*first, *most)?;
        let status = itself(*first)?
            .args(["--idle", "--miners", &most.to_string(), "--steady", &arguments.steady.to_string()])
            .status()?;
        if !status.success() {
            return Err("the steady state could not be measured".into());
        }
    }
    Ok(())
}

fn itself(kind: DriverKind) -> Outcomes<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--driver", kind.name()]);
    Ok(command)
}

struct Far(Child);

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts this program again, as the miners, as often as it takes.
fn start_miners(kind: DriverKind, count: usize) -> Outcomes<Vec<Far>> {
    let mut far = Vec::new();
    for from in (0..count).step_by(IN_A_PROCESS) {
        let some = IN_A_PROCESS.min(count - from);
        let mut child = itself(kind)?
            .args(["--serve", &from.to_string(), &some.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        far.push(Far(child));
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() != "ready" {
            return Err("the miners could not be started".into());
        }
    }
    Ok(far)
}

/// Serves until the other process is gone.
async fn serve(kind: DriverKind, from: usize, count: usize) -> Outcomes<()> {
    for number in from..from + count {
        tokio::spawn(miners::serve(miners::listen(miners::address(number))?, kind, None));
    }
    println!("ready");
    tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await??;
    Ok(())
}

/// A site with so many miners, polled every 10 s, and room for all of them.
fn site(kind: DriverKind, count: usize) -> Outcomes<Config> {
    let mut text = format!(
        "[site]\nname = \"Bench\"\nmode = \"control\"\n[web]\nlisten = \"127.0.0.1:0\"\n[circuits.pcc]\n\
         [limits.all]\ncircuit = \"pcc\"\nminers = \"1 GW\"\n[groups.m]\ndriver = \"{}\"\nmodel = \"{}\"\ncircuit = \"pcc\"\n\
         poll_period = \"10 s\"\ncredentials = {{ password_file = \"p\" }}\naddresses = [",
        kind.name(),
        miners::model(kind)
    );
    for number in 0..count {
        write!(text, "\"{}\",", miners::address(number))?;
    }
    text.push_str("]\n");
    let options = Options { files: &[("p", PASSWORD)], ..Options::default() };
    Ok(config::parse(&text, Path::new("bench.toml"), &options).map_err(|errors| errors.to_string())?)
}

/// What the driver says to one miner to put it to sleep, once it has read it.
async fn script(kind: DriverKind) -> Outcomes<Script> {
    let listener = miners::listen("127.0.0.1:0".parse()?)?;
    let address = listener.local_addr()?;
    let record = Arc::new(Record::default());
    tokio::spawn(miners::serve(listener, kind, Some(Arc::clone(&record))));
    let connection = Connection {
        name: Arc::from("m1"),
        driver: kind,
        endpoint: Endpoint { host: address.ip().to_string(), port: address.port() },
        credentials: Some(Credentials { username: None, password: Secret::new(PASSWORD.to_owned()) }),
        timeout: Duration::from_secs(5),
        rated: Watts::whole(3_400),
        device: None,
        certificate: None,
        gpus: None,
        pause: None,
        rated_is_told: true,
    };
    let mut driver = ballast::miner::driver(&connection, &ballast::miner::http_client()?);
    driver.read().await?;
    let before = record.take();
    driver.apply(Target::Sleep, Urgency::Shed).await?;
    Ok(Script::new(&before, record.take()))
}

/// Commands that ended, in whatever way.
fn ended(stats: &dyn CommandStats) -> u64 {
    stats.commands().iter().map(|row| row.count).sum()
}

async fn shed(kind: DriverKind, count: usize, rounds: u64) -> Outcomes<()> {
    let addresses: Vec<_> = (0..count).map(miners::address).collect();
    let words = script(kind).await?.describe();
    let mut floor = floor::rounds(script(kind).await?, &addresses, rounds, Duration::from_secs(2)).await;
    let fleet_times = fleet(kind, count, rounds).await?;
    floor.extend(floor::rounds(script(kind).await?, &addresses, rounds, Duration::from_secs(2)).await);
    let (shed, floor) = (Summary::of(fleet_times), Summary::of(floor));
    println!(
        "{:<16}{count:>8}{:>28}{:>28}{:>8.2}   {words}",
        kind.name(),
        shed.to_string(),
        floor.to_string(),
        shed.median / floor.median
    );
    Ok(())
}

/// The program's own side.
async fn fleet(kind: DriverKind, count: usize, rounds: u64) -> Outcomes<Vec<Duration>> {
    let config = site(kind, count)?;
    let clock = Clock::start();
    let fleet = Fleet::start(&config, clock)?;
    let stats = fleet.stats();
    let reachable = || fleet.inputs().iter().filter(|input| input.contact == Contact::Reachable).count();
    while reachable() < count {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if clock.now().since_start() > Duration::from_secs(60) {
            return Err(format!("{} of {count} miners answer", reachable()).into());
        }
    }
    let mut times = Vec::new();
    let mut sequence = 0;
    for _ in 0..rounds {
        tokio::time::sleep(PAUSE).await;
        let mut commands = Vec::with_capacity(count);
        for miner in 0..count {
            sequence += 1;
            commands.push(Order {
                miner: MinerId(miner),
                target: Target::Sleep,
                sequence,
                cause: Cause::Shed,
            });
        }
        let goal = ended(&*stats) + u64::try_from(count)?;
        let begun = clock.now();
        fleet.send(&commands);
        while ended(&*stats) < goal {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if clock.now() - begun > Duration::from_secs(60) {
                return Err(format!("{} commands did not end", goal - ended(&*stats)).into());
            }
        }
        times.push(clock.now() - begun);
    }
    for row in stats.commands().iter().filter(|row| row.result != "accepted" && row.count > 0) {
        println!("  {} commands of {} rounds ended as {}", row.count, rounds, row.result);
    }
    let latest =
        |input: &MinerInput| input.delivery.as_ref().is_some_and(|it| it.outcome != Outcome::InFlight);
    if !fleet.inputs().iter().all(latest) {
        return Err("not every miner has ended its latest command".into());
    }
    Ok(times)
}

/// Times in milliseconds.
struct Summary {
    least: f64,
    median: f64,
    most: f64,
}

impl Summary {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |place: usize| times.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
        Self { least: at(0), median: at(times.len() / 2), most: at(times.len().saturating_sub(1)) }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0}  {:.0}  {:.0}", self.least, self.median, self.most)
    }
}

/// Processor time of this process since it began.
fn busy() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A line of proc(5) `status`, in MB.
fn memory(key: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1_024.0 / 1e6)
}

/// The whole daemon, with nothing to do but look.
async fn steady(kind: DriverKind, count: usize, time: Duration) -> Outcomes<()> {
    let config = site(kind, count)?;
    let clock = Clock::start();
    let daemon = Daemon::start(config, clock).await?;
    tokio::time::sleep(Duration::from_secs(25)).await;
    let (before, begun) = (busy(), clock.now());
    tokio::time::sleep(time).await;
    let share = 100.0 * (busy() - before).as_secs_f64() / (clock.now() - begun).as_secs_f64();
    let resident = memory("VmRSS:").unwrap_or(f64::NAN);
    let files = std::fs::read_dir("/proc/self/fd")?.count();
    let mut scrapes = Vec::new();
    let mut size = 0;
    let mut up = 0;
    for _ in 0..10 {
        let begun = clock.now();
        let mut stream = tokio::net::TcpStream::connect(daemon.address()).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        scrapes.push(clock.now() - begun);
        size = text.len();
        up =
            text.lines().filter(|line| line.starts_with("ballast_miner_up{") && line.ends_with(" 1")).count();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    println!(
        "steady state, {count} miners ({}), polled every 10 s, for {:.0} s",
        kind.name(),
        time.as_secs_f64()
    );
    println!("  miners that answer             {up}");
    println!("  processor time                 {share:.1} % of one core");
    println!(
        "  resident                       {resident:.0} MB ({:.0} MB at the most, after ten scrapes)",
        memory("VmHWM:").unwrap_or(f64::NAN)
    );
    println!("  open files                     {files}");
    println!("  /metrics, ms (min median max)  {} for {size} bytes", Summary::of(scrapes));
    daemon.stop().await;
    Ok(())
}

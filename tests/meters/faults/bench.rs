//! A simulated site with meters on one link, and the real link that reads them.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ballast::clock::{Clock, Moment};
use ballast::config::{self, Config, Options, Secrets};
use ballast::control::snapshot::{MeterInput, MeterStatus};
use ballast::meter::profile::Plausible;
use ballast::meter::{Meters, spawn};
use ballast::sim::scenario::MinerFault;
use ballast::sim::{Load, Scenario, Simulation};
use ballast::units::{Hashrate, Watts};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How the meters are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    OverTcp,
    Pty,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Tcp, Self::OverTcp, Self::Pty];
}

/// A meter of the link: name, unit, address of its register (a float in the input table), what it shows in watts.
pub type Spec = (&'static str, u8, u16, i32);

/// The request timeout of the links.
pub const TIMEOUT: Duration = Duration::from_millis(60);

/// Longest wait for anything: enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

struct Nothing;

impl Load for Nothing {
    fn power(&self, _: Moment) -> Watts {
        Watts::ZERO
    }
    fn hashrate(&self, _: Moment) -> Hashrate {
        Hashrate::ZERO
    }
    fn accepts(&self, _: &MinerFault) -> Result<(), String> {
        Ok(())
    }
    fn inject(&self, _: &MinerFault, _: Moment) {}
    fn clear(&self, _: &MinerFault, _: Moment) {}
}

/// A simulation that runs.
pub struct Site {
    pub config: Config,
    /// Of a TCP link.
    pub port: u16,
    _simulation: Simulation,
}

impl Site {
    pub async fn start(kind: Kind, meters: &[Spec], events: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ballast-faults-{}-{number}", std::process::id()));
        let transport = match kind {
            Kind::Tcp => format!("tcp = \"127.0.0.1:{port}\""),
            Kind::OverTcp => format!("rtu_over_tcp = \"127.0.0.1:{port}\"\nbaud = 115200"),
            Kind::Pty => format!("rtu = \"{}\"\nbaud = 115200", path.display()),
        };
        let mut text = format!(
            "[site]\nname = \"Test\"\nmode = \"observe\"\n[circuits.pcc]\nmeter = \"{}\"\n\
             [limits.follow-surplus]\ncircuit = \"pcc\"\nimport = \"0 W\"\n\
             [links.bus]\n{transport}\ntimeout = \"60ms\"\ngap = \"1ms\"\n\
             [miners.one]\ndriver = \"whatsminer-v3\"\ncircuit = \"pcc\"\nmodel = \"m60s\"\naddress = \"127.0.0.1\"\n",
            meters[0].0,
        );
        let mut script = format!(
            "description = \"test\"\n[metering]\nrefresh = \"50ms\"\nlag = \"0s\"\nnoise = \"0 W\"\n{events}\n"
        );
        for (name, unit, address, value) in meters {
            text += &format!(
                "[profiles.p-{name}]\npower = {{ function = \"input\", address = {address}, format = \"f32\", \
                 unavailable = [0x7FC00000] }}\n\
                 [meters.{name}]\nlink = \"bus\"\nunit = {unit}\nprofile = \"p-{name}\"\nperiod = \"50ms\"\n"
            );
            script += &format!("[readings.{name}]\nvalue = \"{value} W\"\n");
        }
        let config = parse(&text);
        let scenario = Scenario::parse("test-scenario.toml", &script).unwrap_or_else(|e| panic!("{e}"));
        let cancel = CancellationToken::new();
        let loads: Vec<Arc<dyn Load>> = vec![Arc::new(Nothing)];
        let simulation =
            Simulation::start_with(&config, &scenario, loads, 1.0, Clock::start(), cancel).await.unwrap();
        Self { config, port, _simulation: simulation }
    }

    /// Reads the meters, each as often as the link allows. A value that is not the meter's own, to the watt, counts as
    /// implausible; so none can slip by unseen.
    pub fn read(mut self, meters: &[Spec], change: impl FnOnce(&mut Config)) -> Reader {
        for (connection, (_, _, _, value)) in self.config.meters.iter_mut().zip(meters) {
            connection.period = Duration::from_millis(10);
            connection.plausible =
                Some(Plausible { low: Watts::whole(value - 1), high: Watts::whole(value + 1) });
        }
        change(&mut self.config);
        let names: Vec<&str> = meters.iter().map(|spec| spec.0).collect();
        let cancel = CancellationToken::new();
        let tracker = TaskTracker::new();
        let clock = Clock::start();
        let meters = spawn(&self.config.links, &self.config.meters, &names, clock, &cancel, &tracker);
        Reader { _site: self, meters, clock, cancel }
    }
}

fn parse(text: &str) -> Config {
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    let config = config::parse(text, Path::new("test.toml"), &options);
    config.unwrap_or_else(|errors| panic!("{errors}"))
}

/// The meters that are read.
pub struct Reader {
    _site: Site,
    pub meters: Meters,
    pub clock: Clock,
    cancel: CancellationToken,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Reader {
    /// Starts a site and reads it.
    pub async fn start(kind: Kind, meters: &[Spec], events: &str) -> Self {
        Site::start(kind, meters, events).await.read(meters, |_| ())
    }

    pub fn reads(&self, meter: usize, result: &str) -> u64 {
        self.meters.counters[meter].reads_of(result)
    }

    pub fn now(&self, meter: usize) -> MeterInput {
        *self.meters.inputs[meter].borrow()
    }

    /// How often the link was opened.
    pub fn connections(&self) -> u64 {
        self.meters.links[0].connections()
    }

    /// The next state that is published.
    pub async fn next(&mut self, meter: usize) -> MeterInput {
        let input = &mut self.meters.inputs[meter];
        timeout(PATIENCE, input.changed()).await.expect("in time").unwrap();
        *input.borrow_and_update()
    }

    pub async fn until(&mut self, meter: usize, status: MeterStatus) -> MeterInput {
        self.until_it(meter, &format!("{status:?}"), |input| input.status == status).await
    }

    pub async fn until_it(
        &mut self,
        meter: usize,
        what: &str,
        mut is: impl FnMut(&MeterInput) -> bool,
    ) -> MeterInput {
        let wait = self.meters.inputs[meter].wait_for(|input| is(input));
        match timeout(PATIENCE, wait).await {
            Ok(found) => *found.unwrap(),
            Err(_) => panic!("never {what}; {:?}", self.meters.counters[meter].reads()),
        }
    }
}

/// An event that lasts from a moment on.
pub fn fault(at: &str, lasting: &str, meter: &str, words: &str) -> String {
    format!("[[event]]\nat = \"{at}\"\nfor = \"{lasting}\"\nmeter = {{ name = \"{meter}\", {words} }}\n")
}

/// Does several things at once, and fails as the first that fails.
pub async fn all<F: Future<Output = ()> + Send + 'static>(tasks: impl IntoIterator<Item = F>) {
    let mut set: JoinSet<()> = tasks.into_iter().collect();
    while let Some(ended) = set.join_next().await {
        if let Err(error) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// The value of the latest good reading in watts.
pub fn watts(input: &MeterInput) -> Option<f64> {
    input.power.map(|reading| reading.value.get())
}

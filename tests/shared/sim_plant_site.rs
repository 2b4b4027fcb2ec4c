//! A small site for tests of the simulated plant: root → hall, two miners, meters as asked for.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use ballast::clock::{Clock, Moment};
use ballast::config::{Config, ExitPolicy, Web};
use ballast::control::site::{
    Actuator, AnswerWithin, Cap, ChangeCost, Circuit, CircuitId, Limit, LimitClass, LoadClass, Meter,
    MeterId, Miner, OperatingPoint, Response, Scope, Settings, Site,
};
use ballast::endpoint::Endpoint;
use ballast::meter::profile::{Format, Function, Point, Profile, Register, WordOrder};
use ballast::meter::{Connection, Link, LinkId, Transport};
use ballast::sim::scenario::MinerFault;
use ballast::sim::{Load, Scenario, SimError, Simulation};
use ballast::units::{Hashrate, Watts, WattsPerSecond};
use tokio_util::sync::CancellationToken;

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A register at address 10 of the input table.
pub fn register(format: Format, word_order: WordOrder, scale: f64) -> Register {
    Register { function: Function::Input, address: 10, format, word_order, scale, ..Register::default() }
}

/// A meter of the site: name, unit, registers, inverted.
pub type MeterSpec = (&'static str, u8, Vec<Register>, bool);

/// A site with one meter link at a port, on which all the meters hang. The meter `pcc` belongs to the root, `hall`
/// to the hall, and `plc` is the cap of a surplus limit. Two miners of 5 kW in the hall.
pub fn config(port: u16, meters: &[MeterSpec]) -> Config {
    let position = |name: &str| meters.iter().position(|spec| spec.0 == name).map(MeterId);
    let circuit = |name: &str, parent| Circuit {
        name: name.into(),
        parent,
        meter: position(name),
        dedicated: false,
        margin: Watts::ZERO,
        other_load: Watts::ZERO,
        interlock: None,
        emergency_stop: None,
        breaker: None,
        fail_safe: Watts::ZERO,
    };
    let limits = position("plc").map(|meter| Limit {
        name: "manager".into(),
        circuit: CircuitId(0),
        scope: Scope::Miners,
        class: LimitClass::Surplus,
        cap: Cap::Reading { meter, fail_safe: Watts::ZERO },
        condition: None,
    });
    let site = Site {
        sources: Vec::new(),
        name: "test".into(),
        circuits: vec![circuit("pcc", None), circuit("hall", Some(CircuitId(0)))],
        meters: meters.iter().map(|spec| meter(spec.0)).collect(),
        limits: limits.into_iter().collect(),
        miners: ["m1", "m2"].map(miner).into(),
        settings: settings(),
    };
    Config {
        signals: Vec::new(),
        breakers: Vec::new(),
        store: ballast::store::Settings::default(),
        record: ballast::record::Settings::default(),
        alarms: Default::default(),
        proof: Default::default(),
        standby: None,
        mqtt: None,
        heartbeats: Vec::new(),
        hash: [0; 32],
        clock: None,
        path: "test.toml".into(),
        site: Arc::new(site),
        links: vec![Link {
            name: "bus".into(),
            transport: Transport::Tcp(Endpoint { host: "127.0.0.1".into(), port }),
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            connect_delay: Duration::ZERO,
            numbered: true,
            gap: Duration::ZERO,
        }],
        meters: meters.iter().map(connection).collect(),
        miners: vec![],
        identities: vec![],
        tenants: Vec::new(),
        models: vec![],
        web: Web {
            listen: "127.0.0.1:0".parse().unwrap(),
            socket: None,
            hosts: vec![],
            tokens: vec![],
            tokens_file: None,
        },
        exit: ExitPolicy::Hold,
        warnings: Vec::new(),
    }
}

fn meter(name: &str) -> Meter {
    Meter {
        name: name.into(),
        period: Duration::from_millis(500),
        lag: Duration::ZERO,
        learn_lag: true,
        stale_after: Duration::from_secs(3),
        fail_safe_after: Duration::from_secs(10),
        combined: None,
    }
}

fn connection(spec: &MeterSpec) -> Connection {
    Connection {
        link: LinkId(0),
        unit: spec.1,
        profile: Profile { name: "test".into(), power: Point::of(spec.2.clone()), ..Profile::default() },
        invert: spec.3,
        plausible: None,
        frozen_after: None,
        stale_after: Duration::from_secs(5),
        period: Duration::from_millis(500),
    }
}

fn miner(name: &str) -> Miner {
    let seconds = Duration::from_secs;
    Miner {
        name: name.into(),
        driver: "test",
        circuit: CircuitId(1),
        points: vec![OperatingPoint { power: Watts::whole(5_000), hashrate: Hashrate::terahashes(200.0) }],
        class: LoadClass::Miner,
        contract: None,
        sleeps: true,
        notice: Duration::ZERO,
        answer_within: AnswerWithin::NONE,
        restarts: false,
        sleep: Watts::whole(20),
        nameplate: Watts::whole(5_000),
        actuator: Actuator::OnOff,
        response: Response {
            dead_time_down: seconds(1),
            dead_time_up: seconds(1),
            ramp_down: WattsPerSecond::whole(1_000),
            ramp_up: WattsPerSecond::whole(1_000),
            start_time: seconds(1),
            starts_at_full: false,
            start_overshoot: 0.0,
            caps: false,
        },
        cost: ChangeCost { adjust: seconds(1), sleep: seconds(1), min_interval: seconds(1) },
        poll_period: seconds(1),
        silent_after: seconds(5),
    }
}

fn settings() -> Settings {
    let seconds = Duration::from_secs;
    Settings {
        observe: false,
        period: seconds(1),
        raise_rate: WattsPerSecond::whole(1_000),
        import_share: 0.000_4,
        deadband: Some(Watts::ZERO),
        min_sleep: seconds(1),
        start_timeout: seconds(1),
        horizon: seconds(1),
        rebalance_period: seconds(1),
        straggler_grace: seconds(1),
    }
}

/// A load that draws 4 kW always and remembers what befell it.
#[derive(Default)]
pub struct Steady {
    pub log: Mutex<Vec<String>>,
}

impl Load for Steady {
    fn power(&self, _: Moment) -> Watts {
        Watts::whole(4_000)
    }

    fn hashrate(&self, _: Moment) -> Hashrate {
        Hashrate::terahashes(160.0)
    }

    fn accepts(&self, fault: &MinerFault) -> Result<(), String> {
        match fault.kind.as_str() {
            "slow" => fault.only(&["delay"]),
            kind => Err(format!("miners have no fault `{kind}`")),
        }
    }

    fn inject(&self, fault: &MinerFault, _: Moment) {
        self.log.lock().unwrap().push(format!("+{}", fault.kind));
    }

    fn clear(&self, fault: &MinerFault, _: Moment) {
        self.log.lock().unwrap().push(format!("-{}", fault.kind));
    }
}

/// 150 kW generated, 200 kW drawn by others and 8 kW by miners: 58 kW of import. Meters are quick and exact.
pub const CALM: &str = r#"
description = "calm"
[generation]
steady = "150 kW"
[load]
base = "200 kW"
[metering]
refresh = "50ms"
lag = "0s"
noise = "0 W"
"#;

/// Starts [`CALM`] and what is added to it.
pub async fn start(config: &Config, more: &str) -> Result<(Simulation, [Arc<Steady>; 2]), SimError> {
    let scenario = Scenario::parse("test.toml", &format!("{CALM}{more}")).unwrap();
    start_scenario(config, &scenario, 1.0).await
}

/// Starts a scenario.
pub async fn start_scenario(
    config: &Config,
    scenario: &Scenario,
    speed: f64,
) -> Result<(Simulation, [Arc<Steady>; 2]), SimError> {
    let miners = [Arc::new(Steady::default()), Arc::new(Steady::default())];
    let loads = miners.iter().map(|load| load.clone() as Arc<dyn Load>).collect();
    let cancel = CancellationToken::new();
    let simulation = Simulation::start_with(config, scenario, loads, speed, Clock::start(), cancel).await?;
    Ok((simulation, miners))
}

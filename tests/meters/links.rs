//! The three kinds of links: in the configuration, and from the simulated plant to the meters that read it.

use crate::sim_plant_site;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ballast::clock::Clock;
use ballast::config::{self, Options, Secrets};
use ballast::control::snapshot::MeterStatus;
use ballast::endpoint::Endpoint;
use ballast::meter::line::{Line, Parity};
use ballast::meter::profile::{Format, WordOrder};
use ballast::meter::{Transport, spawn};
use sim_plant_site::{config, free_port, register, start};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A site whose links are given, with a meter on the link `bus`.
fn parse(links: &str) -> Result<config::Config, String> {
    let text = format!(
        r#"
[site]
name = "Test"
mode = "observe"
[circuits.pcc]
meter = "pcc"
[limits.follow-surplus]
circuit = "pcc"
import = "0 W"
[meters.pcc]
link = "bus"
unit = 1
profile = "eastron-sdm630"
[miners.one]
driver = "whatsminer-v3"
circuit = "pcc"
model = "m60s"
address = "10.0.0.1"
credentials = {{ password_file = "not-looked-for" }}
{links}
"#
    );
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    config::parse(&text, Path::new("test.toml"), &options).map_err(|errors| errors.to_string())
}

fn transport(link: &str) -> Transport {
    parse(&format!("[links.bus]\n{link}")).unwrap().links[0].transport.clone()
}

#[test]
fn a_link_is_of_one_of_three_kinds() {
    let endpoint = Endpoint { host: "10.0.0.5".into(), port: 4001 };
    assert_eq!(transport("tcp = \"10.0.0.5:4001\""), Transport::Tcp(endpoint.clone()));
    let usual = Line { baud: 9600, parity: Parity::None, stop_bits: 1 };
    let over_tcp = transport("rtu_over_tcp = \"10.0.0.5:4001\"");
    assert_eq!(over_tcp, Transport::RtuOverTcp(endpoint.clone(), usual));
    let fast = Line { baud: 115_200, ..usual };
    let over_tcp = transport("rtu_over_tcp = \"10.0.0.5:4001\"\nbaud = 115200");
    assert_eq!(over_tcp, Transport::RtuOverTcp(endpoint, fast));
    assert_eq!(transport("rtu = \"/dev/ttyUSB0\""), Transport::Rtu("/dev/ttyUSB0".into(), usual));
    let line = Line { baud: 19_200, parity: Parity::Even, stop_bits: 2 };
    let port = "rtu = \"/dev/ttyS1\"\nbaud = 19200\nparity = \"even\"\nstop_bits = 2";
    assert_eq!(transport(port), Transport::Rtu("/dev/ttyS1".into(), line));
}

#[test]
fn what_is_no_link_is_refused_with_words() {
    for (link, words) in [
        ("timeout = \"1s\"", "has no `tcp`, `rtu_over_tcp` or `rtu`"),
        ("tcp = \"a:1\"\nrtu = \"/dev/ttyUSB0\"", "has both `tcp` and `rtu`"),
        ("rtu = \"COM3\"", "is no path of a device"),
        ("rtu = \"/dev/\"", "is no path of a device"),
        ("rtu_over_tcp = \"10.0.0.5\"", "has no port"),
        ("rtu = \"/dev/ttyUSB0\"\nbaud = 100", "`baud` is 100"),
        ("rtu = \"/dev/ttyUSB0\"\nparity = \"mark\"", "`parity` cannot be \"mark\""),
        ("rtu = \"/dev/ttyUSB0\"\nstop_bits = 3", "`stop_bits` is 3"),
        ("tcp = \"a:1\"\nbaud = 9600", "`baud` belongs to a serial port"),
        ("rtu_over_tcp = \"a:1\"\nparity = \"even\"", "`parity` belongs to a serial port"),
    ] {
        let errors = parse(&format!("[links.bus]\n{link}")).unwrap_err();
        assert!(errors.contains(words), "{link}:\n{errors}");
    }
}

#[test]
fn two_links_never_share_a_gateway_or_a_port() {
    for (one, other) in [
        ("tcp = \"gw:502\"", "rtu_over_tcp = \"GW:502\""),
        ("rtu_over_tcp = \"gw:502\"", "rtu_over_tcp = \"gw:502\""),
        ("rtu = \"/dev/ttyUSB0\"", "rtu = \"/dev/./ttyUSB0\""),
        ("rtu = \"/dev/ttyUSB0\"", "rtu = \"//dev/ttyUSB0\"\nbaud = 19200"),
    ] {
        let errors = parse(&format!("[links.bus]\n{one}\n[links.again]\n{other}")).unwrap_err();
        assert!(errors.contains("link `bus` already goes to"), "{one}, {other}:\n{errors}");
    }
    let two = "[links.bus]\nrtu = \"/dev/ttyUSB0\"\n[links.other]\nrtu = \"/dev/ttyUSB1\"";
    assert_eq!(parse(two).unwrap().links.len(), 2);
}

#[test]
fn a_timeout_that_no_answer_can_meet_is_warned_of() {
    let warnings = |link: &str| -> Vec<String> {
        let config = parse(&format!("[links.bus]\n{link}")).unwrap();
        config.warnings.iter().map(ToString::to_string).collect()
    };
    let slow = warnings("rtu = \"/dev/ttyUSB0\"\nbaud = 600\ntimeout = \"200ms\"");
    assert!(slow.len() == 1 && slow[0].contains("is over before an answer can be"), "{slow:?}");
    assert_eq!(warnings("rtu = \"/dev/ttyUSB0\"\ntimeout = \"200ms\""), Vec::<String>::new());
    let gateway = warnings("rtu_over_tcp = \"gw:502\"\nbaud = 300\ntimeout = \"500ms\"");
    assert_eq!(gateway.len(), 1, "{gateway:?}");
    assert_eq!(warnings("tcp = \"gw:502\"\ntimeout = \"50ms\""), Vec::<String>::new());
}

/// A path of a simulated line.
fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("ballast-links-{}-{name}", std::process::id()))
}

fn serial(name: &str) -> Transport {
    Transport::Rtu(path(name).to_str().unwrap().into(), Line { baud: 115_200, ..Line::default() })
}

/// Reads the simulated meter and waits for a status.
async fn until(transport: Transport, script: &str, waits: &[(MeterStatus, Option<f64>)]) {
    let meter = ("pcc", 1, vec![register(Format::F32, WordOrder::HighFirst, 1.0)], false);
    let mut config = config(free_port(), &[meter]);
    config.links[0].transport = transport;
    config.links[0].timeout = Duration::from_millis(150);
    config.meters[0].period = Duration::from_millis(50);
    let (simulation, _) = start(&config, script).await.unwrap();
    let cancel = CancellationToken::new();
    let tracker = TaskTracker::new();
    let mut meters = spawn(&config.links, &config.meters, &["pcc"], Clock::start(), &cancel, &tracker);
    for (status, value) in waits {
        let reached = meters.inputs[0].wait_for(|input| input.status == *status);
        let input = tokio::time::timeout(Duration::from_secs(60), reached).await;
        let input = *input.unwrap_or_else(|_| panic!("never {status:?}")).unwrap();
        let seen = input.power.map(|reading| reading.value.get());
        if let Some(value) = value {
            assert!((seen.unwrap() - value).abs() < 0.1, "{seen:?}");
        }
    }
    cancel.cancel();
    simulation.shutdown().await;
}

fn over_tcp() -> Transport {
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: free_port() };
    Transport::RtuOverTcp(endpoint, Line::default())
}

const CALM_PCC: Option<f64> = Some(58_000.0);

#[tokio::test]
async fn the_simulated_plant_is_read_over_every_kind_of_link() {
    let waits = [(MeterStatus::Ok, CALM_PCC)];
    until(over_tcp(), "", &waits).await;
    until(serial("calm"), "", &waits).await;
    assert!(path("calm").symlink_metadata().is_err(), "the line is gone with the simulation");
}

#[tokio::test]
async fn faults_of_scenarios_show_on_every_kind_of_link() {
    for (fault, status) in [
        ("fault = \"silent\"", MeterStatus::Unreachable),
        ("fault = \"refuse\"", MeterStatus::Unreachable),
        ("fault = \"slow\", delay = \"250ms\"", MeterStatus::Unreachable),
        ("fault = \"short\"", MeterStatus::Malformed),
        ("fault = \"crossed\"", MeterStatus::Malformed),
        ("fault = \"exception\", code = 6", MeterStatus::Exception(6)),
    ] {
        let script =
            format!("[[event]]\nat = \"500ms\"\nfor = \"700ms\"\nmeter = {{ name = \"*\", {fault} }}\n");
        let waits = [(MeterStatus::Ok, CALM_PCC), (status, CALM_PCC), (MeterStatus::Ok, CALM_PCC)];
        tokio::join!(until(over_tcp(), &script, &waits), until(serial("faulty"), &script, &waits));
    }
}

#[tokio::test]
async fn a_simulated_line_never_takes_the_place_of_anything() {
    let meter = || ("pcc", 1, vec![register(Format::F32, WordOrder::HighFirst, 1.0)], false);
    let taken = path("taken");
    std::fs::write(&taken, "mine").unwrap();
    for place in ["/dev/ttyUSB77", taken.to_str().unwrap(), "/nowhere/at/all"] {
        let mut config = config(free_port(), &[meter()]);
        config.links[0].transport = Transport::Rtu(place.into(), Line::default());
        let error = start(&config, "").await.err().unwrap().to_string();
        assert!(error.contains(place) && error.contains("name a path in a folder of your own"), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "mine");
    std::fs::remove_file(&taken).unwrap();
}

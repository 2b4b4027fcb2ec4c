//! What scenario files may say, and how mistakes are told.

use super::super::quantity::Size;
use super::super::{Bend, METER_FAULTS, MeterFault, Part};
use super::*;

fn refused(text: &str) -> String {
    Scenario::parse("t.toml", text).unwrap_err().to_string()
}

const HEAD: &str = "description = \"test\"\n";

#[test]
fn a_bare_number_is_refused_at_its_place() {
    let error = refused("description = \"x\"\n[sun]\npeak = 5\nstart = \"14:00\"\n");
    assert!(error.starts_with("t.toml:3:8: "), "{error}");
    assert!(error.contains("a power with its unit"), "{error}");
}

#[test]
fn an_unknown_unit_is_refused_at_its_place() {
    let error = refused("description = \"x\"\n[[event]]\nat = \"5 parsec\"\nload = { by = \"1 kW\" }\n");
    assert!(error.starts_with("t.toml:3:6: "), "{error}");
    assert!(error.contains("ms, s, min, h"), "{error}");
}

#[test]
fn an_unknown_key_is_refused_at_its_place() {
    let error = refused("description = \"x\"\n[load]\nbase = \"1 kW\"\nbass = \"1 kW\"\n");
    assert!(error.starts_with("t.toml:4:1: "), "{error}");
    assert!(error.contains("bass"), "{error}");
    let error =
        refused("description = \"x\"\n[[event]]\nat = \"5s\"\nload = { by = \"1 kW\", ovr = \"1s\" }\n");
    assert!(error.starts_with("t.toml:4:23: "), "{error}");
}

#[test]
fn broken_toml_is_refused_at_its_place() {
    let error = refused("description = \"x\"\n[sun\n");
    assert!(error.starts_with("t.toml:2:"), "{error}");
}

#[test]
fn an_event_is_exactly_one_thing() {
    let error = refused("description = \"x\"\n[[event]]\nat = \"5s\"\n");
    assert!(error.starts_with("t.toml:3:6: "), "{error}");
    let two =
        "description = \"x\"\n[[event]]\nat = \"5s\"\nload = { by = \"1 kW\" }\nsun = { times = 0.5 }\n";
    assert!(refused(two).contains("exactly one"));
}

fn meter_fault(words: &str) -> Result<MeterFault, String> {
    let text = format!("{HEAD}[[event]]\nat = \"1s\"\nmeter = {{ name = \"m\", {words} }}\n");
    let scenario = Scenario::parse("t.toml", &text).map_err(|error| error.to_string())?;
    match &scenario.faults[0].fault {
        Fault::Meter { fault, .. } => Ok(*fault),
        other => panic!("{other:?}"),
    }
}

#[test]
fn faults_check_their_parameters_at_their_places() {
    for (fault, at, words) in [
        ("fault = \"melted\"", "\"melted\"", "there are silent, mute, refuse"),
        ("fault = \"offset\"", "\"offset\"", "takes `by`"),
        ("fault = \"exception\"", "\"exception\"", "takes `code`"),
        ("fault = \"slow\"", "\"slow\"", "takes `delay`"),
        ("fault = \"late\", every = 3", "\"late\"", "takes `delay`"),
        ("fault = \"factor\"", "\"factor\"", "takes `factor`"),
        ("fault = \"clients\"", "\"clients\"", "takes `most`"),
        ("fault = \"refresh\"", "\"refresh\"", "takes `period`"),
        ("fault = \"lag\"", "\"lag\"", "takes `time`"),
        ("fault = \"frozen\", by = \"1 W\"", "\"1 W\"", "takes no parameters, so `by`"),
        ("fault = \"silent\", by = \"1 W\"", "\"1 W\"", "takes only `every`"),
        ("fault = \"slow\", delay = \"1s\", code = 3", "3", "takes only `delay` and `every`"),
        ("fault = \"exception\", code = 0", "0", "between 1 and 255"),
        ("fault = \"exception\", code = 256", "256", "256"),
        ("fault = \"slow\", delay = \"61s\"", "\"61s\"", "between 1ms and 60s"),
        ("fault = \"late\", delay = \"0s\"", "\"0s\"", "between 1ms and 60s"),
        ("fault = \"short\", every = 0", "0", "between 1 and 1000"),
        ("fault = \"short\", every = 1001", "1001", "between 1 and 1000"),
        ("fault = \"factor\", factor = inf", "inf", "must lie between"),
        ("fault = \"factor\", factor = nan", "nan", "must lie between"),
        ("fault = \"clients\", most = 0", "0", "1 to 64"),
        ("fault = \"clients\", most = 1, keeps = \"none\"", "\"none\"", "`\"first\"` clients or the"),
        ("fault = \"refresh\", period = \"1ms\"", "\"1ms\"", "between 50ms"),
        ("fault = \"lag\", time = \"2h\"", "\"2h\"", "3600s"),
        ("fault = \"delay\", time = \"11min\"", "\"11min\"", "600s"),
        ("fault = \"noise\"", "\"noise\"", "takes `by`, a power, or `share`"),
        ("fault = \"noise\", share = \"101 %\"", "\"101 %\"", "0 % to 100 %"),
        ("fault = \"glitch\"", "\"glitch\"", "takes `to`"),
        ("fault = \"no-voltage\", to = \"1 W\"", "\"1 W\"", "takes no parameters, so `to`"),
        ("fault = \"slow\", delay = 5", "5", "a duration with its unit"),
        ("fault = \"short\", evry = 3", "evry", "evry"),
    ] {
        let error = meter_fault(fault).unwrap_err();
        let column = format!("meter = {{ name = \"m\", {fault} }}").find(&format!(" {at}")).unwrap() + 2;
        assert!(error.starts_with(&format!("t.toml:4:{column}: ")), "{fault}: {error}");
        assert!(error.contains(words), "{fault}: {error}");
    }
}

#[test]
fn every_fault_is_read_as_written() {
    let answers = |bend, every| MeterFault::Answers { bend, every };
    let ms = Duration::from_millis;
    let all = [
        ("fault = \"silent\"", answers(Bend::Silent, 1)),
        ("fault = \"mute\"", MeterFault::Mute),
        ("fault = \"refuse\"", MeterFault::Refuse),
        ("fault = \"clients\", most = 1", MeterFault::Clients { most: 1, keeps: Keeps::First }),
        ("fault = \"reset\", every = 4", answers(Bend::Reset, 4)),
        ("fault = \"slow\", delay = \"2s\"", answers(Bend::Slow(ms(2_000)), 1)),
        ("fault = \"late\", delay = \"700ms\", every = 3", answers(Bend::Late(ms(700)), 3)),
        ("fault = \"exception\", code = 11", answers(Bend::Exception(11), 1)),
        ("fault = \"short\"", answers(Bend::Short, 1)),
        ("fault = \"cut-off\"", answers(Bend::CutOff, 1)),
        ("fault = \"wrong-count\"", answers(Bend::Count, 1)),
        ("fault = \"wrong-function\"", answers(Bend::Function, 1)),
        ("fault = \"wrong-unit\"", answers(Bend::Unit, 1)),
        ("fault = \"crossed\"", answers(Bend::Crossed, 1)),
        ("fault = \"wrong-crc\"", answers(Bend::Crc, 1)),
        ("fault = \"twice\"", answers(Bend::Twice, 1)),
        ("fault = \"frozen\"", MeterFault::Frozen),
        ("fault = \"unavailable\"", MeterFault::Unavailable),
        ("fault = \"offset\", by = \"-5 kW\"", MeterFault::Offset(Watts::whole(-5_000))),
        ("fault = \"factor\", factor = -1.0", MeterFault::Factor(-1.0)),
        ("fault = \"refresh\", period = \"30s\"", MeterFault::Refresh(ms(30_000))),
        ("fault = \"lag\", time = \"5s\"", MeterFault::Lag(ms(5_000))),
        ("fault = \"delay\", time = \"4s\"", MeterFault::Delay(ms(4_000))),
        (
            "fault = \"noise\", by = \"200 W\", share = \"1 %\"",
            MeterFault::Noise(Noise { absolute: Watts::whole(200), share: 0.01 }),
        ),
        ("fault = \"glitch\", to = \"2147483647 W\"", MeterFault::Glitch(Watts::whole(i32::MAX))),
        ("fault = \"no-voltage\"", MeterFault::NoVoltage),
    ];
    for ((name, ..), (words, fault)) in METER_FAULTS.iter().zip(all) {
        assert!(words.contains(&format!("\"{name}\"")), "{name} is not tested");
        assert_eq!(meter_fault(words), Ok(fault), "{words}");
    }
    let last = meter_fault("fault = \"clients\", most = 2, keeps = \"last\"");
    assert_eq!(last, Ok(MeterFault::Clients { most: 2, keeps: Keeps::Last }));
}

#[test]
fn too_many_clouds_for_their_edges_are_refused() {
    let error = refused(&format!(
        "{HEAD}[sun]\npeak = \"1 MW\"\nstart = \"12:00\"\npatches_per_hour = 200\npatch_edge = \"8s\"\n"
    ));
    assert!(error.starts_with("t.toml:5:20: "), "{error}");
    assert!(error.contains("112"), "{error}");
}

#[test]
fn readings_say_where_their_value_comes_from() {
    assert!(refused(&format!("{HEAD}[readings.plc]\n")).starts_with("t.toml:2:11: "));
    assert!(refused(&format!("{HEAD}[readings.plc]\nfollows = \"moon\"\n")).contains("surplus"));
    let unordered = "[readings.plc]\nvalue = \"1 kW\"\nsteps = [{ at = \"9s\", to = \"1 W\" }, { at = \"8s\", to = \"1 W\" }]";
    assert!(refused(&format!("{HEAD}{unordered}\n")).contains("order"));
}

#[test]
fn other_ranges_are_kept() {
    for text in [
        "[metering]\nrefresh = \"10ms\"\n",
        "[metering]\nconnections = 0\n",
        "[metering]\nkeeps = \"all\"\n",
        "[miners]\nstart = \"tired\"\n",
        "[miners]\nstart = \"asleep\"\nat = \"50 %\"\n",
        "[miners]\nstart = \"hashing\"\nat = \"150 %\"\n",
        "[sun]\npeak = \"-1 MW\"\nstart = \"12:00\"\n",
        "[sun]\npeak = \"1 MW\"\nstart = \"12:00\"\nflutter = \"40 %\"\n",
        "[load]\nbase = \"1 kW\"\nswing_period = \"0s\"\n",
        "[[event]]\nat = \"1s\"\nminer = { name = \"*\", fault = \"x\", count = 0 }\n",
        "[[event]]\nat = \"1s\"\nsun = { times = -1.0 }\n",
        "[[event]]\nat = \"1s\"\nsun = {}\n",
        "[[event]]\nat = \"1s\"\noutage = {}\n",
        "[[event]]\nat = \"1s\"\nfor = \"1s\"\noutage = { boot = \"25h\" }\n",
        "[[event]]\nat = \"1s\"\nminer = { name = \"*\", fault = \"x\", share = \"0 %\" }\n",
        "[[event]]\nat = \"1s\"\nminer = { name = \"*\", fault = \"x\", share = \"101 %\" }\n",
        "[[event]]\nat = \"1s\"\nminer = { name = \"*\", fault = \"x\", share = \"5 %\", count = 1 }\n",
        "[metering]\ndelay = \"11min\"\n",
        "[metering]\nnoise_share = \"101 %\"\n",
        "[[load.square]]\nname = \"x\"\npower = \"1 kW\"\n",
        "[load]\nbase = \"1 kW\"\n[[load.square]]\nname = \"x\"\npower = \"1 kW\"\nhalf_period = \"0s\"\n",
        "[[differ]]\nfloor = \"101 %\"\n",
        "[[differ]]\nfloor = \"-1 W\"\n",
        "[[differ]]\nsleep = \"-1 W\"\n",
        "[[differ]]\nreadings = 11.0\n",
        "[[differ]]\npace = 0.0\n",
        "[[differ]]\nstart_time = 21.0\n",
        "[[differ]]\ncount = 0\n",
    ] {
        let error = refused(&format!("{HEAD}{text}"));
        assert!(error.starts_with("t.toml:") && !error.starts_with("t.toml:1:"), "{error}");
    }
}

#[test]
fn a_full_scenario_is_read_as_written() {
    let text = r#"
description = "all"
seed = 9
[sun]
peak = "1 MW"
start = "15:00"
flutter = "2 %"
patches_per_hour = 30
patch_depth = "20 %"
patch_edge = "6s"
circuit = "roof"
[generation]
steady = "50 kW"
[load]
base = "300 kW"
[[load.machine]]
name = "compressor"
power = "40 kW"
on = "60s"
off = "90s"
[auxiliary]
container = "3 kW"
[[load.square]]
name = "press"
power = "20 kW"
half_period = "30s"
from = "5s"
circuit = "hall"
[miners]
start = "asleep"
[[differ]]
floor = "1.9 kW"
readings = 0.8
[[differ]]
name = "m*"
share = "50 %"
floor = "55 %"
sleep = "60 W"
readings = 1.2
pace = 0.5
start_time = 2.0
[metering]
refresh = "1s"
delay = "3s"
noise_share = "0.5 %"
connections = 1
keeps = "last"
[meters.pcc]
lag = "2s"
[readings.plc]
value = "300 kW"
steps = [{ at = "60s", to = "100 kW" }]
[[event]]
at = "60s"
for = "30s"
surplus = { to = "-20 kW", over = "5s" }
[[event]]
at = "50s"
load = { by = "5 kW", circuit = "hall" }
[[event]]
at = "90s"
for = "30s"
outage = { boot = "20s" }
[[event]]
at = "1min"
miner = { name = "m*", circuit = "c", count = 2, fault = "slow", with = { delay = "3s" } }
"#;
    let s = Scenario::parse("all.toml", text).unwrap();
    assert_eq!(s.seed, 9);
    assert_eq!(s.sun.peak, Watts::whole(1_000_000));
    assert_eq!(s.sun.circuit.as_ref().unwrap().place, Place { line: 11, column: 11 });
    assert_eq!(s.metering.refresh, Duration::from_secs(1));
    assert_eq!(s.metering("pcc").refresh, Duration::from_secs(1));
    assert_eq!(s.metering("pcc").lag, Duration::from_secs(2));
    assert_eq!(s.metering("x").lag, Duration::from_millis(300));
    assert_eq!((s.connections, s.keeps), (1, Keeps::Last));
    assert_eq!(s.miners, InitialMiners::Asleep);
    assert_eq!(s.metering.delay, Duration::from_secs(3));
    assert_eq!(s.metering("pcc").noise, Noise { absolute: Watts::whole(50), share: 0.005 });
    assert_eq!(s.longest_delay(), Duration::from_secs(3));
    let square = &s.load.squares[0];
    let on: Vec<u32> =
        (0..100).filter(|t| square.at(Duration::from_secs(u64::from(*t))) > Watts::ZERO).collect();
    assert_eq!(on, (5..35).chain(65..95).collect::<Vec<_>>());
    assert_eq!(s.differ[0].floor, Some(Size::Power(Watts::whole(1_900))));
    assert_eq!((s.differ[1].choice.part, s.differ[1].floor), (Part::Share(0.5), Some(Size::Share(0.55))));
    let mut deviation = super::super::Deviation::NONE;
    s.differ.iter().for_each(|differ| deviation.bend(differ));
    assert_eq!((deviation.readings, deviation.pace, deviation.start_time), (1.2, 0.5, 2.0));
    assert_eq!(s.plant_events.len(), 2);
    assert_eq!(s.plant_events[1].circuit.as_ref().unwrap().text, "hall");
    assert_eq!(s.faults[0].fault, Fault::Outage { boot: Duration::from_secs(20) });
    let plc = &s.readings[0];
    assert_eq!(plc.value(Duration::from_secs(59), Watts::ZERO), Watts::whole(300_000));
    assert_eq!(plc.value(Duration::from_secs(60), Watts::ZERO), Watts::whole(100_000));
    let Fault::Miner { choice, fault } = &s.faults[1].fault else { panic!("a fault of miners") };
    assert_eq!(choice.part, Part::Count(2));
    assert_eq!(fault.duration("delay"), Ok(Some(Duration::from_secs(3))));
    assert_eq!(fault.duration("other"), Ok(None));
    assert!(fault.power("delay").is_err());
}

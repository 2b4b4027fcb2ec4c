//! Alarms: each kind is raised once and is over once, from what a cycle leaves behind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ballast::alarm::book::{Book, Change, What};
use ballast::alarm::kind::{Kind, Severity};
use ballast::alarm::look::{Quiet, View, look, settled};
use ballast::clock::Moment;
use ballast::control::decision::{BreakerState, Held, LimitValue, MinerState, Mode, Source, Waiting};
use ballast::control::frame::Frame;
use ballast::control::lead::Lead;
use ballast::control::signal::SourceState;
use ballast::control::site::{
    Cap, CircuitId, EmergencyStop, Limit, LimitClass, LimitId, MeterId, MinerId, OpensBreaker, OrderSource,
    Scope, Site, SourceId,
};
use ballast::control::snapshot::{HeldMiner, Hold, MeterStatus, Snapshot, Target};
use ballast::control::stop::StopState;
use ballast::record;
use ballast::signal::link::{Exceeded, Link};
use ballast::signal::status::{SourceStatus, Status};
use ballast::standby;
use ballast::units::Watts;

use crate::metrics_sample::{self, SECOND};

/// What is around a cycle.
struct World {
    site: Site,
    snapshot: Snapshot,
    decision: ballast::control::decision::Decision,
    status: Status,
    record: record::Health,
    stops_unsaved: bool,
    strangers: u64,
    heartbeats: Vec<(Arc<str>, ballast::heartbeat::Health)>,
    pair: Option<standby::Health>,
}

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(1_000 + seconds))
}

fn source(state: SourceState) -> SourceStatus {
    SourceStatus {
        name: "utility".into(),
        state: Some(state),
        age: Some(Duration::from_secs(72)),
        trouble: Vec::new(),
        lifted: None,
        caps: Vec::new(),
        met_after: None,
        shortfall: None,
        deviation: None,
        orders: Vec::new(),
        link: None,
    }
}

/// A site of 60 miners on which all is well.
fn well(second: u64) -> World {
    let mut site = metrics_sample::site(60);
    site.sources = vec![OrderSource { name: "utility".into(), class: LimitClass::Grid }];
    let now = at(second);
    let (mut snapshot, mut decision) =
        (metrics_sample::snapshot(&site, now), metrics_sample::decision(&site, now));
    snapshot.meters[1] = snapshot.meters[0];
    for (input, outcome) in snapshot.miners.iter_mut().zip(&mut decision.miners) {
        input.contact = ballast::control::snapshot::Contact::Reachable;
        outcome.state = MinerState::Hashing;
    }
    decision.fleet.left_for = Duration::ZERO;
    decision.circuits[1].miners = Watts::kilowatts(204.0);
    World {
        site,
        snapshot,
        decision,
        status: Status {
            sources: vec![source(SourceState::Controlled)],
            store_errors: Some(0),
            store_failing: false,
            clock_synchronised: true,
        },
        record: record::Health::default(),
        strangers: 0,
        heartbeats: Vec::new(),
        stops_unsaved: false,
        pair: None,
    }
}

fn view(world: World, now: Moment, quiet: &Quiet) -> (Vec<ballast::alarm::book::Found>, bool) {
    let World { site, snapshot, decision, status, record, stops_unsaved, strangers, pair, heartbeats } =
        world;
    let frame = Frame { site: Arc::new(site), snapshot: Arc::new(snapshot), decision: Arc::new(decision) };
    let view = View {
        frame: &frame,
        signals: Some(&status),
        record: Some(record),
        stops_unsaved,
        muting: &[],
        heartbeats: &heartbeats,
        strangers,
        pair: pair.as_ref(),
        now,
    };
    (look(&view, quiet), settled(&frame))
}

/// Half an hour, a look each second, `bad` from 10 s to 1,000 s.
fn episode(quiet: &Quiet, bad: impl Fn(&mut World)) -> Vec<(u64, Change)> {
    let mut book = Book::default();
    let mut all = Vec::new();
    for second in 0..1_800 {
        let mut world = well(second);
        if (10..1_000).contains(&second) {
            bad(&mut world);
        }
        let (found, settled) = view(world, at(second), quiet);
        let wall = 1_790_000_000_000 + i64::try_from(second).unwrap() * 1_000;
        all.extend(book.look(found, settled, at(second), wall).into_iter().map(|change| (second, change)));
    }
    all
}

fn states(world: &mut World, count: usize, state: MinerState) {
    world.decision.miners.iter_mut().take(count).for_each(|miner| miner.state = state);
}

/// A cap that holds on the container, by an order or as a limit.
fn cap(world: &mut World, source: Source, cap: f64) {
    world.decision.circuits[1].limits.push(LimitValue {
        source,
        cap: Some(Watts::kilowatts(cap)),
        headroom: Watts::ZERO,
        acts: true,
    });
}

type Bad = fn(&mut World);

/// Each kind: what it is about, how it comes, how much it matters, a part of its words.
const KINDS: &[(Kind, &str, Bad, Severity, &str)] = &[
    (
        Kind::MeterLost,
        "pcc",
        |world| world.snapshot.meters[0].status = MeterStatus::Unreachable,
        Severity::Critical,
        "pcc does not answer",
    ),
    (
        Kind::MeterLost,
        "pv",
        |world| world.snapshot.meters[2].status = MeterStatus::Exception(11),
        Severity::Warning,
        "pv answers with Modbus exception 11",
    ),
    (
        Kind::MeterImplausible,
        "pcc",
        |world| world.snapshot.meters[0].status = MeterStatus::Implausible,
        Severity::Critical,
        "a value that cannot be",
    ),
    (
        Kind::SignalLost,
        "utility",
        |world| world.status.sources = vec![source(SourceState::Failsafe)],
        Severity::Critical,
        "utility is silent for 72 s",
    ),
    (
        Kind::SignalDegraded,
        "utility",
        |world| {
            let trouble = vec!["its clock is 90 s off".into()];
            world.status.sources = vec![SourceStatus { trouble, ..source(SourceState::Degraded) }];
        },
        Severity::Warning,
        "utility: its clock is 90 s off",
    ),
    (
        Kind::OverLimit,
        "pcc",
        |world| world.decision.circuits[0].power = Some(Watts::kilowatts(412.0)),
        Severity::Critical,
        "pcc takes 412.0 kW, and main-breaker allows 400.0 kW",
    ),
    (
        Kind::OverLimit,
        "container",
        |world| {
            world.site.limits.push(Limit {
                name: "board".into(),
                circuit: CircuitId(1),
                scope: Scope::Miners,
                class: LimitClass::Contract,
                cap: Cap::Constant(Watts::kilowatts(150.0)),
                condition: None,
            });
            cap(world, Source::Limit(LimitId(3)), 150.0);
        },
        Severity::Warning,
        "the miners of container take 204.0 kW, and board allows 150.0 kW",
    ),
    (
        Kind::Shortfall,
        "container",
        |world| world.decision.circuits[1].shortfall = Watts::kilowatts(12.0),
        Severity::Warning,
        "up to 12.0 kW more than they may",
    ),
    (
        Kind::ContractBroken,
        "container",
        |world| {
            for at in 0..5 {
                world.site.miners[at].contract = Some(Watts::whole(3_000));
                let target = if at == 0 { Target::Sleep } else { Target::Power(Watts::whole(2_500)) };
                world.decision.miners[at].setpoint = Some(target);
            }
            // They have what was agreed.
            world.decision.miners[4].setpoint = Some(Target::Power(Watts::whole(3_000)));
        },
        Severity::Critical,
        "servers of container are held below their contract by container-feeder: rack-000-00 has 20 W of 3.00 kW, \
         rack-000-01 has 2.50 kW of 3.00 kW, rack-000-02 has 2.50 kW of 3.00 kW and 1 more",
    ),
    (
        Kind::Breach,
        "utility",
        |world| {
            let exceeded =
                Exceeded { cap: Watts::kilowatts(150.0), measured: Watts::kilowatts(204.0), critical: true };
            let link = Link {
                watched: vec![("pcc".into(), None), ("container".into(), Some(exceeded))],
                ..Link::default()
            };
            world.status.sources = vec![SourceStatus { link: Some(link), ..source(SourceState::Limited) }];
        },
        Severity::Critical,
        "more is drawn than utility allows, which has been reported to it: container draws 204.0 kW of 150.0 kW",
    ),
    (
        Kind::MinerStraggler,
        "rack-000-00",
        |world| states(world, 1, MinerState::Straggler),
        Severity::Warning,
        "rack-000-00 does not follow: draws 3.41 kW where it was told 3.40 kW",
    ),
    (
        Kind::MinerFault,
        "rack-000-00",
        |world| states(world, 1, MinerState::Fault),
        Severity::Warning,
        "reports a fault of its own",
    ),
    (
        Kind::MinerSilent,
        "rack-000-00",
        |world| states(world, 1, MinerState::Unreachable),
        Severity::Warning,
        "does not answer; it counts at 3.60 kW",
    ),
    (
        Kind::ManyMiners,
        "container",
        |world| {
            states(world, 12, MinerState::Straggler);
            states(world, 9, MinerState::Unanswered);
        },
        Severity::Warning,
        "12 of 60 miners of container are in trouble: 3 do not follow, 9 do not answer",
    ),
    (
        Kind::ManyMiners,
        "container",
        |world| states(world, 30, MinerState::Fault),
        Severity::Critical,
        "30 of 60 miners",
    ),
    (
        Kind::SurplusUnused,
        "pcc",
        |world| {
            world.decision.fleet.left_for = Duration::from_secs(300);
            states(world, 3, MinerState::Asleep);
        },
        Severity::Warning,
        "leaves 5.70 kW of the surplus unused for 5 min: 3 asleep",
    ),
    (
        Kind::Clock,
        "clock",
        |world| {
            world.status.clock_synchronised = false;
            // One cause, one alarm: each source says the same.
            let trouble = vec![ballast::signal::status::CLOCK_IN_DOUBT.into()];
            world.status.sources = vec![SourceStatus { trouble, ..source(SourceState::Degraded) }];
        },
        Severity::Warning,
        "not synchronised",
    ),
    (
        Kind::Disk,
        "database",
        |world| world.status.store_failing = true,
        Severity::Warning,
        "cannot be written",
    ),
    (Kind::Disk, "record", |world| world.record.failing = true, Severity::Warning, "cannot be written"),
    (
        Kind::Disk,
        "emergency-stops",
        |world| world.stops_unsaved = true,
        Severity::Critical,
        "which emergency stops are latched cannot be written",
    ),
    (
        Kind::Interlock,
        "container",
        |world| {
            world.decision.circuits[1].limits.push(LimitValue {
                source: Source::Interlock(CircuitId(1)),
                cap: Some(Watts::ZERO),
                headroom: Watts::ZERO,
                acts: true,
            });
        },
        Severity::Notice,
        "does not permit",
    ),
    (
        Kind::EmergencyStop,
        "container",
        |world| {
            let stop = EmergencyStop { meter: MeterId(1), opens_breaker: OpensBreaker::Always };
            world.site.circuits[1].emergency_stop = Some(stop);
            world.decision.circuits[1].limits.push(LimitValue {
                source: Source::Stop(CircuitId(1)),
                cap: Some(Watts::ZERO),
                headroom: Watts::ZERO,
                acts: true,
            });
            world.decision.circuits[1].emergency_stop = Some(StopState::Open);
        },
        Severity::Critical,
        "is open: its miners are stopped",
    ),
    (
        Kind::Breaker,
        "container",
        |world| world.decision.circuits[1].breaker = Some(BreakerState::Open),
        Severity::Critical,
        "is open",
    ),
    (
        Kind::Breaker,
        "container",
        |world| world.decision.circuits[1].breaker = Some(BreakerState::Unknown),
        Severity::Warning,
        "does not answer",
    ),
    (
        Kind::Heartbeat,
        "plc",
        |world| {
            let error = Some("cannot connect to 192.0.2.1:502".into());
            let health = ballast::heartbeat::Health { error, ..Default::default() };
            world.heartbeats.push(("plc".into(), health));
        },
        Severity::Warning,
        "is not written: cannot connect",
    ),
    (
        Kind::Heartbeat,
        "plc",
        |world| {
            let withheld = Some(ballast::heartbeat::Withheld::Lost(0.6));
            let health = ballast::heartbeat::Health { withheld, ..Default::default() };
            world.heartbeats.push(("plc".into(), health));
        },
        Severity::Critical,
        "60 % of the nameplates",
    ),
    (Kind::Stranger, "programs", |world| world.strangers = 3, Severity::Critical, "other programs"),
    (
        Kind::StandBy,
        "pair",
        |world| world.pair = Some(standby::Health { trouble: Some("it is silent".into()), ..LEADS }),
        Severity::Warning,
        "it is silent",
    ),
];

/// One of two machines, which leads.
const LEADS: standby::Health =
    standby::Health { holds: true, peer_up: true, peer_leads: false, trouble: None };

#[test]
fn whoever_stands_by_calls_nobody_for_what_the_other_one_sees_too() {
    let follows = standby::Health { holds: false, peer_leads: true, ..LEADS };
    for (health, loud) in [(LEADS, true), (follows, false)] {
        let mut world = well(0);
        // The site's, which both see, and this machine's own.
        states(&mut world, 1, MinerState::Fault);
        world.strangers = 3;
        world.pair = Some(health);
        let (found, _) = view(world, at(0), &Quiet::new());
        assert_eq!(found.iter().map(|found| !found.quiet).collect::<Vec<_>>(), [loud, true]);
    }
}

#[test]
fn it_is_critical_that_nobody_knows_which_of_two_machines_leads() {
    let both = standby::Health { peer_leads: true, ..LEADS };
    let neither = standby::Health { holds: false, ..LEADS };
    for (health, words) in [(both, "both machines"), (LEADS, "somebody else"), (neither, "neither machine")] {
        let mut world = well(0);
        world.decision.lead = Lead::Lowers;
        world.pair = Some(health);
        let (found, _) = view(world, at(0), &Quiet::new());
        assert_eq!((found.len(), found[0].severity, found[0].quiet), (1, Severity::Critical, false));
        assert!(found[0].words.starts_with(words), "{}", found[0].words);
    }
}

#[test]
fn where_all_is_well_there_is_no_alarm() {
    assert_eq!(episode(&Quiet::new(), |_| {}), []);
}

#[test]
fn each_kind_is_raised_once_and_over_once() {
    for (kind, subject, bad, severity, words) in KINDS {
        let changes = episode(&Quiet::new(), bad);
        let [(raised, first), (cleared, second)] = changes.as_slice() else {
            panic!("{} of {subject}: {changes:#?}", kind.name());
        };
        let case = format!("{} of {subject}: {}", kind.name(), first.alarm.words);
        assert_eq!((first.what, second.what), (What::Raised, What::Cleared), "{case}");
        assert_eq!((first.alarm.kind, &*first.alarm.subject), (*kind, *subject), "{case}");
        assert_eq!(first.alarm.severity, *severity, "{case}");
        assert!(first.alarm.words.contains(words), "{case}");
        assert_eq!(*raised, 10 + kind.after().as_secs(), "{case}");
        assert_eq!(*cleared, 1_000 + kind.calm().as_secs(), "{case}");
    }
    let all: BTreeSet<_> = KINDS.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(all.len(), Kind::ALL.len(), "each kind has a case");
}

#[test]
fn what_is_in_a_quiet_circuit_calls_nobody() {
    for (kind, subject, bad, ..) in KINDS {
        // The container hangs below the connection point.
        let quiet: Quiet = [
            "pcc",
            "utility",
            "pv",
            "plc",
            "database",
            "record",
            "emergency-stops",
            "clock",
            "programs",
            "pair",
        ]
        .into_iter()
        .map(Arc::from)
        .collect();
        let changes = episode(&quiet, bad);
        assert!(changes.iter().all(|(_, change)| change.alarm.quiet), "{} of {subject}", kind.name());
        assert_eq!(changes.len(), 2, "it is kept all the same");
    }
}

#[test]
fn a_contract_is_not_broken_by_whoever_works_on_the_server_nor_before_it_was_told_anything() {
    let mut world = well(0);
    world.site.miners[0].contract = Some(Watts::whole(3_000));
    world.decision.miners[0].setpoint = Some(Target::Sleep);
    world.snapshot.holds = vec![HeldMiner { miner: MinerId(0), hold: Hold::Asleep }];
    world.site.miners[1].contract = Some(Watts::whole(3_000));
    world.decision.miners[1].setpoint = None;
    let (found, _) = view(world, at(0), &Quiet::new());
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn what_all_miners_draw_asleep_is_no_shortfall() {
    // A fail-safe value of 0 W, and miners that draw 100 W each asleep.
    let lowest = |world: &mut World| {
        for miner in &mut world.site.miners {
            miner.sleep = Watts::whole(100);
        }
        for miner in &mut world.decision.miners {
            miner.state = MinerState::Asleep;
            (miner.setpoint, miner.settled) = (Some(Target::Sleep), Watts::whole(100));
        }
        for circuit in &mut world.decision.circuits {
            (circuit.budget, circuit.miners) = (Watts::ZERO, Watts::kilowatts(6.0));
            (circuit.shortfall, circuit.asleep) = (Watts::kilowatts(6.0), Watts::kilowatts(6.0));
        }
    };
    assert_eq!(episode(&Quiet::new(), lowest), []);
    let changes = episode(&Quiet::new(), |world| {
        lowest(world);
        world.decision.circuits[1].shortfall = Watts::kilowatts(9.4);
    });
    let kinds: Vec<Kind> = changes.iter().map(|(_, change)| change.alarm.kind).collect();
    assert_eq!(kinds, [Kind::Shortfall; 2], "one that hashes on is another matter");
    // Whoever was told to sleep and draws on is set to what they draw, and that is not what they draw asleep.
    let changes = episode(&Quiet::new(), |world| {
        lowest(world);
        world.decision.miners.iter_mut().for_each(|miner| miner.settled = Watts::kilowatts(3.0));
        let circuit = &mut world.decision.circuits[1];
        (circuit.miners, circuit.shortfall) = (Watts::kilowatts(180.0), Watts::kilowatts(180.0));
    });
    let kinds: Vec<Kind> = changes.iter().map(|(_, change)| change.alarm.kind).collect();
    assert_eq!(kinds, [Kind::Shortfall; 2], "told to sleep is not asleep");
}

#[test]
fn an_import_above_the_surplus_is_money_and_no_alarm() {
    let changes = episode(&Quiet::new(), |world| {
        world.decision.circuits[0].power = Some(Watts::kilowatts(60.0));
    });
    assert_eq!(changes, []);
}

#[test]
fn surplus_that_is_left_is_told_with_the_reason() {
    let mut world = well(0);
    world.decision.fleet.left = Watts::whole(12_300);
    world.decision.fleet.left_for = Duration::from_secs(181);
    states(&mut world, 7, MinerState::Fault);
    states(&mut world, 6, MinerState::Straggler);
    states(&mut world, 4, MinerState::Asleep);
    let (needs, there) = (Watts::whole(3_310), Watts::whole(2_460));
    world.decision.waiting = Some(Waiting { miner: MinerId(1), needs, there, held: Held::Short });
    let (found, _) = view(world, at(0), &Quiet::new());
    let left = found.iter().find(|found| found.kind == Kind::SurplusUnused).unwrap();
    assert_eq!(
        left.words,
        "leaves 12.3 kW of the surplus unused for 3 min: 4 asleep, the next waits for 3.31 kW, 2.46 kW are there; 2 stragglers; \
         1 with a fault"
    );
    let mut world = well(0);
    world.decision.fleet.left_for = Duration::from_secs(40);
    let (found, _) = view(world, at(0), &Quiet::new());
    assert!(found[0].words.contains("unused for 40 s: "), "{}", found[0].words);
}

#[test]
fn what_is_left_under_another_limit_or_by_an_observer_is_no_fault() {
    for mode in [Mode::Limited, Mode::FailSafe, Mode::Observe] {
        let changes = episode(&Quiet::new(), |world| {
            (world.decision.mode, world.decision.would_be) = (mode, mode);
            world.decision.fleet.left = Watts::whole(12_300);
            world.decision.fleet.left_for = Duration::from_secs(400);
        });
        assert_eq!(changes, [], "{mode:?}");
    }
}

#[test]
fn a_cap_is_not_exceeded_by_what_meters_are_off() {
    let changes = episode(&Quiet::new(), |world| {
        world.decision.circuits[0].power = Some(Watts::kilowatts(407.0));
        cap(world, Source::Order(SourceId(0)), 203.0);
        world.decision.circuits[1].power = Some(Watts::kilowatts(204.0));
    });
    assert_eq!(changes, []);
}

#[test]
fn before_the_start_is_over_nothing_is_over() {
    let mut book = Book::default();
    for second in 0..30 {
        let mut world = well(second);
        world.snapshot.meters[0].status = MeterStatus::Unreachable;
        let (found, settled) = view(world, at(second), &Quiet::new());
        book.look(found, settled, at(second), 0);
    }
    let kept: Vec<_> = book.raised().into_iter().cloned().collect();
    assert_eq!(kept.len(), 1);
    let mut book = Book::new(kept, 1);
    for second in 0..600 {
        let mut world = well(second);
        world.decision.would_be = Mode::StartUp;
        world.decision.mode = Mode::StartUp;
        let (found, settled) = view(world, at(second), &Quiet::new());
        assert_eq!(book.look(found, settled, at(second), 0), []);
    }
    assert_eq!(SECOND, Duration::from_secs(1));
}

#[test]
fn a_window_mutes_what_it_names_in_its_circuits_and_nothing_else() {
    use ballast::alarm::window::Muting;
    let mut world = well(0);
    states(&mut world, 2, MinerState::Fault);
    world.snapshot.meters[2].status = MeterStatus::Unreachable;
    let World { site, snapshot, decision, status, record, strangers, heartbeats, pair: _, stops_unsaved } =
        world;
    let frame = Frame { site: Arc::new(site), snapshot: Arc::new(snapshot), decision: Arc::new(decision) };
    let muted = |kinds: &[Kind], circuits: &[&str]| {
        let circuits = circuits.iter().map(|name| Arc::from(*name)).collect();
        let muting = [Muting { kinds: kinds.iter().copied().collect(), circuits }];
        let (signals, record) = (Some(&status), Some(record));
        let view = View {
            muting: &muting,
            heartbeats: &heartbeats,
            frame: &frame,
            signals,
            record,
            stops_unsaved,
            strangers,
            pair: None,
            now: at(0),
        };
        let found = look(&view, &Quiet::new());
        assert_eq!(found.len(), 3, "{found:?}");
        found.into_iter().filter(|found| found.muted).map(|found| found.kind).collect::<Vec<_>>()
    };
    let fault = Kind::MinerFault;
    assert_eq!(muted(&[fault], &[]), [fault, fault]);
    assert_eq!(muted(&[fault], &["pcc"]), [fault, fault], "the container hangs below it");
    assert_eq!(muted(&[fault], &["elsewhere"]), []);
    assert_eq!(muted(&[Kind::MeterLost], &[]), [Kind::MeterLost]);
    assert_eq!(muted(&[Kind::MeterLost], &["container"]), [], "it stands at the head of no circuit");
}

#[test]
fn windows_are_read_open_when_they_are_and_never_mute_safety_unasked() {
    use ballast::config::{Options, Secrets, parse};
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once("[site]\n").unwrap();
    let read = |windows: &str| {
        let text = format!("{head}[site]\ntime_zone = \"Europe/Vienna\"\n{rest}\n{windows}");
        let options = Options { secrets: Secrets::Skip, ..Options::default() };
        parse(&text, &path, &options).map(|config| config.alarms.windows).map_err(|errors| errors.to_string())
    };
    let weekly = "[[alarms.windows]]\nfrom = \"22:00\"\nto = \"06:00\"\ndays = [\"sat\", \"sun\"]\n";
    let windows = read(weekly).unwrap();
    let wall = |stamp: &str| stamp.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    // Vienna is one hour ahead in winter. 2026-11-28 is a Saturday.
    assert!(!windows[0].is_open(wall("2026-11-28T20:59:59Z")));
    assert!(windows[0].is_open(wall("2026-11-28T21:00:00Z")));
    assert!(windows[0].is_open(wall("2026-11-30T04:59:59Z")), "the night after Sunday");
    assert!(!windows[0].is_open(wall("2026-11-30T05:00:00Z")));
    assert!(!windows[0].is_open(wall("2026-11-30T22:00:00Z")), "Monday");
    let muted = &windows[0].mutes.kinds;
    assert!(muted.contains(&Kind::MinerFault) && muted.iter().all(|kind| !kind.is_of_safety()));
    let once = "[[alarms.windows]]\nbegins = \"2026-12-01T08:00\"\nends = \"2026-12-01T16:00\"\n";
    let windows = read(&format!("{once}kinds = [\"meter-lost\"]\nalso_safety = true\n")).unwrap();
    assert!(
        windows[0].is_open(wall("2026-12-01T07:00:00Z")) && !windows[0].is_open(wall("2026-12-01T15:00:00Z"))
    );
    for (windows, says) in [
        (format!("{once}kinds = [\"breaker\"]\n"), "somebody should be called"),
        (format!("{once}kinds = [\"braker\"]\n"), "no kind of alarm"),
        (format!("{once}circuits = [\"nowhere\"]\n"), "no circuit is called so"),
        (format!("{once}from = \"08:00\"\n"), "keep one of the two"),
        ("[[alarms.windows]]\nbegins = \"2026-12-01T08:00\"\n".into(), "has no `ends`"),
        (once.replace("16:00", "07:00"), "ends before it begins"),
    ] {
        let errors = read(&windows).unwrap_err();
        assert!(errors.contains(says), "{windows}: {errors}");
    }
}

//! What binds and why, in words: situation by situation.

use crate::metrics_sample;

use std::sync::Arc;
use std::time::Duration;

use ballast::clock::Moment;
use ballast::control::decision::{
    Binding, Cause, Decision, Held, LimitValue, MeterDecision, MinerState, Source, Waiting,
};
use ballast::control::frame::Frame;
use ballast::control::signal::{Active, Basis, Doubt, Urgency, Wall, Why};
use ballast::control::site::{
    Cap, CircuitId, Interlock, LimitClass, LimitId, MeterId, MinerId, OrderSource, Scope, Site, SourceId,
};
use ballast::control::snapshot::{Hold, OrderCap, Snapshot, Target};
use ballast::control::stop::StopState;
use ballast::maintenance::{Kind, Work};
use ballast::metrics::{Here, Known, Speaker, Telling, explain};
use ballast::signal::status::{CapStatus, Late, SourceStatus, Status};
use ballast::units::Watts;
use metrics_sample::SECOND;

/// A quarter to six in the evening on the first of July, in Karachi.
fn here() -> Here {
    Here { now: wall("2026-07-01T12:45:00Z"), zone: jiff::tz::TimeZone::get("Asia/Karachi").unwrap() }
}

fn wall(text: &str) -> Wall {
    Wall::unix_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

/// What is said of the sample, changed as wanted.
fn said(change: impl FnOnce(&mut Site, &mut Snapshot, &mut Decision), until: Option<Wall>) -> String {
    said_late(change, until, None)
}

/// The same while the clock is in doubt.
fn said_late(
    change: impl FnOnce(&mut Site, &mut Snapshot, &mut Decision),
    until: Option<Wall>,
    late: Option<Late>,
) -> String {
    let mut site = metrics_sample::site(2);
    site.sources = ["openadr", "operator"]
        .map(|name| OrderSource { name: name.into(), class: LimitClass::Grid })
        .to_vec();
    let now = Moment::START;
    let (mut snapshot, mut decision) =
        (metrics_sample::snapshot(&site, now), metrics_sample::decision(&site, now));
    change(&mut site, &mut snapshot, &mut decision);
    let caps = snapshot.orders.iter().filter_map(|cap| match &cap.active.why {
        Why::Order(id) => Some(CapStatus {
            circuit: site.circuits[cap.active.circuit.0].name.as_str().into(),
            scope: cap.active.scope,
            cap: cap.active.cap,
            why: "order",
            order: Some(id.clone()),
            until,
            late,
        }),
        _ => None,
    });
    let source = snapshot.orders.first().map_or(0, |cap| cap.source.0);
    let status = Status {
        sources: vec![SourceStatus {
            name: site.sources[source].name.as_str().into(),
            state: None,
            age: None,
            trouble: Vec::new(),
            lifted: None,
            caps: caps.collect(),
            met_after: None,
            shortfall: None,
            deviation: None,
            orders: Vec::new(),
            link: None,
        }],
        store_errors: None,
        store_failing: false,
        clock_synchronised: true,
    };
    let frame = Frame { site: Arc::new(site), snapshot: Arc::new(snapshot), decision: Arc::new(decision) };
    let here = here();
    let told = Speaker::new(&frame, Some(&status), &here).binding();
    assert_eq!(told.until, until.filter(|_| told.words.contains("until")));
    told.words
}

/// The same with a cap of a source that binds.
fn ordered(source: usize, circuit: usize, scope: Scope, why: Why, until: Option<Wall>) -> String {
    said(binds(source, circuit, scope, why), until)
}

/// A cap of a source that binds.
fn binds(
    source: usize,
    circuit: usize,
    scope: Scope,
    why: Why,
) -> impl FnOnce(&mut Site, &mut Snapshot, &mut Decision) {
    move |_, snapshot, decision| {
        let lost = matches!(why, Why::FailSafe | Why::Released);
        let by = if lost { Source::LostSource(SourceId(source)) } else { Source::Order(SourceId(source)) };
        let active = Active {
            circuit: CircuitId(circuit),
            scope,
            cap: Watts::kilowatts(412.0),
            why,
            basis: Basis::Instant,
            urgency: Urgency::Normal,
        };
        decision.circuits[circuit].limits.push(LimitValue {
            source: by,
            cap: Some(active.cap),
            headroom: Watts::kilowatts(400.0),
            acts: true,
        });
        snapshot.orders.push(OrderCap { source: SourceId(source), active });
        decision.binding =
            Binding { circuit: CircuitId(circuit), source: by, budget: Watts::kilowatts(400.0) };
    }
}

#[test]
fn a_clock_in_doubt_is_told_with_the_end_of_an_order() {
    let late = |seconds, doubt| Late::of(Duration::from_secs(seconds), doubt);
    let order = || binds(0, 0, Scope::Import, Why::Order("17".into()));
    let until = Some(wall("2026-07-01T13:30:00Z"));
    assert_eq!(
        said_late(order(), until, late(300, Doubt::Unknown)),
        "held at 412 kW by the order 17 of openadr until 18:30, and up to 5 min longer because the clock is not synchronised"
    );
    assert_eq!(
        said_late(order(), until, late(45, Doubt::Off(Duration::from_secs(45)))),
        "held at 412 kW by the order 17 of openadr until 18:30, and up to 1 min longer because the clocks do not agree"
    );
    let words = "held at 412 kW by the order 17 of openadr until it is taken back";
    assert_eq!(said_late(order(), None, late(300, Doubt::Unknown)), words);
    assert_eq!(late(0, Doubt::None), None);
}

fn bound(circuit: usize, source: Source) -> impl FnOnce(&mut Site, &mut Snapshot, &mut Decision) {
    move |_, _, decision| {
        decision.binding = Binding { circuit: CircuitId(circuit), source, budget: Watts::kilowatts(1.0) };
    }
}

#[test]
fn an_order_is_told_with_who_gave_it_and_until_when() {
    let order = |id: &str| Why::Order(id.into());
    let (evening, tomorrow) = (wall("2026-07-01T13:30:00Z"), wall("2026-07-02T01:00:00Z"));
    for (source, circuit, scope, why, until, words) in [
        (
            0,
            0,
            Scope::Import,
            order("17"),
            Some(evening),
            "held at 412 kW by the order 17 of openadr until 18:30",
        ),
        (
            0,
            0,
            Scope::Import,
            order("17"),
            Some(tomorrow),
            "held at 412 kW by the order 17 of openadr until 2026-07-02 06:00",
        ),
        (
            1,
            1,
            Scope::Import,
            order("too hot"),
            None,
            "container is held at 412 kW by the operator's order \"too hot\" until it is taken back",
        ),
        (
            0,
            1,
            Scope::Miners,
            order("a"),
            Some(evening),
            "the miners of container are held at 412 kW by the order a of openadr until 18:30",
        ),
        (
            0,
            0,
            Scope::Miners,
            Why::Returning("a".into()),
            None,
            "the miners are held at 412 kW for a moment after the order a of openadr, which is over",
        ),
        (
            0,
            0,
            Scope::Import,
            Why::Kept("a".into()),
            None,
            "held at 412 kW by the order a of openadr: openadr is not heard, and what it ordered last stays",
        ),
        (
            0,
            0,
            Scope::Import,
            Why::FailSafe,
            None,
            "openadr is not heard: its fail-safe value of 412 kW holds",
        ),
        (
            0,
            1,
            Scope::Import,
            Why::Released,
            None,
            "openadr is still not heard: the 412 kW at container that are configured for that hold",
        ),
    ] {
        assert_eq!(ordered(source, circuit, scope, why, until), words);
    }
    let waits = ordered(1, 0, Scope::Miners, order("start-up-after-outage"), None);
    assert_eq!(waits, "held back after a power outage, so that not all sites start at once");
}

#[test]
fn limits_of_the_site_are_told_by_what_they_are() {
    assert_eq!(said(|_, _, _| {}, None), "follows the surplus: 312.4 kW");
    // One of the two sleeps: it could take more.
    assert_eq!(said(bound(0, Source::Fleet), None), "no limit holds the fleet back");
    let words = said(
        |site, snapshot, decision| {
            decision.miners[1].state = MinerState::Hashing;
            bound(0, Source::Fleet)(site, snapshot, decision);
        },
        None,
    );
    assert_eq!(words, "the fleet takes all it can: nothing binds");
    let feeder = Source::Limit(LimitId(2));
    assert_eq!(said(bound(1, feeder), None), "rating of container, 350 kW (container-feeder)");
    for (class, words) in [
        (LimitClass::Grid, "limit of the grid for container, 350 kW (container-feeder)"),
        (LimitClass::Contract, "limit of the contract for container, 350 kW (container-feeder)"),
        (LimitClass::Economic, "limit of the operator for container, 350 kW (container-feeder)"),
    ] {
        let told = said(
            |site, snapshot, decision| {
                site.limits[2].class = class;
                bound(1, feeder)(site, snapshot, decision);
            },
            None,
        );
        assert_eq!(told, words);
    }
    let told = said(
        |site, snapshot, decision| {
            site.limits[2].name = "container".into();
            site.limits[2].cap = Cap::Reading { meter: MeterId(2), fail_safe: Watts::ZERO };
            bound(1, feeder)(site, snapshot, decision);
        },
        None,
    );
    assert_eq!(told, "container is held at 350 kW by what pv tells");
    let told = said(bound(1, Source::Interlock(CircuitId(1))), None);
    assert_eq!(told, "the interlock of container does not hold, or nobody knows: its miners sleep");
}

#[test]
fn an_interlock_is_told_with_what_its_meter_reads() {
    let locked = |meter: usize| {
        said(
            |site, snapshot, decision| {
                let at_least = Watts::whole(500);
                site.circuits[1].interlock = Some(Interlock { meter: MeterId(meter), at_least });
                bound(1, Source::Interlock(CircuitId(1)))(site, snapshot, decision);
            },
            None,
        )
    };
    assert_eq!(
        locked(2),
        "the interlock of container does not hold (pv reads -312.4 kW, 500 W are needed): its miners sleep"
    );
    assert_eq!(
        locked(1),
        "nobody knows whether the interlock of container holds (dead has no fresh value, 500 W are needed): its miners \
         sleep"
    );
}

#[test]
fn an_emergency_stop_is_told_by_how_it_stands() {
    for (state, words) in [
        (StopState::Open, "the emergency stop of container is open: its miners sleep"),
        (
            StopState::Unknown,
            "the contact of the emergency stop of container cannot be read: its miners sleep",
        ),
        (
            StopState::Latched,
            "the emergency stop of container is closed again, and not released: its miners sleep",
        ),
    ] {
        let told = said(
            |site, snapshot, decision| {
                decision.circuits[1].emergency_stop = Some(state);
                bound(1, Source::Stop(CircuitId(1)))(site, snapshot, decision);
            },
            None,
        );
        assert_eq!(told, words);
    }
}

#[test]
fn a_lost_meter_is_told_with_the_value_that_holds_instead() {
    let lost = |part: f64| {
        move |site: &mut Site, snapshot: &mut Snapshot, decision: &mut Decision| {
            site.circuits[0].fail_safe = Watts::kilowatts(20.0);
            decision.meters = snapshot
                .meters
                .iter()
                .map(|input| MeterDecision {
                    input: *input,
                    lost: part,
                    lag: Duration::ZERO,
                    learned_lag: Some(SECOND),
                    in_use: None,
                    disagreement: None,
                    asked: None,
                })
                .collect();
            decision.circuits[0].limits.push(LimitValue {
                source: Source::LostMeter(MeterId(0)),
                cap: None,
                headroom: Watts::kilowatts(60.0),
                acts: true,
            });
            bound(0, Source::LostMeter(MeterId(0)))(site, snapshot, decision);
        }
    };
    assert_eq!(said(lost(1.0), None), "the meter pcc is lost: its fail-safe value of 20 kW holds");
    assert_eq!(
        said(lost(0.5), None),
        "the meter pcc is silent: what may be drawn falls to its fail-safe value of 20 kW, 60 kW now"
    );
    // A meter whose reading is a limit has the fail-safe value of that limit.
    let reading = |site: &mut Site, snapshot: &mut Snapshot, decision: &mut Decision| {
        site.limits[2].cap = Cap::Reading { meter: MeterId(2), fail_safe: Watts::kilowatts(5.0) };
        bound(1, Source::LostMeter(MeterId(2)))(site, snapshot, decision);
    };
    let words = "the meter pv is lost: its fail-safe value of 5 kW at container holds";
    assert_eq!(said(reading, None), words);
}

#[test]
fn what_holds_the_fleet_back_is_not_told_as_the_reason_to_raise_a_miner() {
    let (site, now) = (metrics_sample::site(2), Moment::START);
    let (snapshot, decision) = (metrics_sample::snapshot(&site, now), metrics_sample::decision(&site, now));
    let frame = Frame { site: Arc::new(site), snapshot: Arc::new(snapshot), decision: Arc::new(decision) };
    for (binding, words) in [
        ("follows the surplus: 312.4 kW", "because there was more for it: follows the surplus: 312.4 kW."),
        ("held at 150 kW", "because there was more for it, up to what bound then: held at 150 kW."),
    ] {
        let target = Target::Power(Watts::whole(3_400));
        let told = Telling { at: now, target, cause: Cause::Raise, binding: binding.into() };
        let known = Known { told: Some(&told), learned: None, signals: None, work: None };
        let sentences = explain(&frame, MinerId(0), known, now, &here());
        assert!(sentences.iter().any(|one| one.ends_with(words)), "{sentences:?}");
    }
}

/// What is said of a miner of the sample, changed as wanted.
fn explained(id: usize, change: impl FnOnce(&mut Decision)) -> String {
    let (site, now) = (metrics_sample::site(2), Moment::START);
    let (snapshot, mut decision) =
        (metrics_sample::snapshot(&site, now), metrics_sample::decision(&site, now));
    change(&mut decision);
    let frame = Frame { site: Arc::new(site), snapshot: Arc::new(snapshot), decision: Arc::new(decision) };
    let known = Known { told: None, learned: None, signals: None, work: None };
    explain(&frame, MinerId(id), known, now, &here()).join("\n")
}

#[test]
fn a_rating_is_not_named_where_a_circuit_above_leaves_less_than_it() {
    // The site leaves 306.1 kW, of which others take 200 kW.
    let hall = |headroom: f64| {
        move |decision: &mut Decision| {
            let hall = &mut decision.circuits[1];
            (hall.headroom, hall.budget) = (Watts::kilowatts(headroom), Watts::kilowatts(headroom));
            (hall.setpoint, hall.miners) = (Watts::kilowatts(105.0), Watts::kilowatts(104.0));
        }
    };
    let told = explained(0, hall(250.0));
    let words = "Its circuit container is fed by pcc: follows the surplus: 312.4 kW. All miners there together may draw 306.1 kW.";
    assert!(told.contains(words), "{told}");
    let told = explained(0, hall(105.0));
    let words = "Its circuit container: rating of container, 350 kW (container-feeder). All miners there together may draw 105 kW.";
    assert!(told.contains(words), "{told}");
}

#[test]
fn who_is_put_to_sleep_is_not_said_to_wait_for_power() {
    let waits = |budget: f64, binding: Source| {
        explained(1, |decision| {
            let (needs, there) = (Watts::whole(3_310), Watts::kilowatts(budget));
            decision.waiting = Some(Waiting { miner: MinerId(1), needs, there, held: Held::Short });
            for circuit in &mut decision.circuits {
                (circuit.budget, circuit.headroom, circuit.binding) = (there, there, binding);
            }
        })
        .contains("waits for")
    };
    assert!(!waits(0.0, Source::Order(SourceId(0))), "a pause");
    assert!(waits(0.0, Source::Limit(LimitId(0))), "the night");
    assert!(waits(2.0, Source::Order(SourceId(0))));
}

#[test]
fn an_emergency_stop_is_told_beside_the_work_on_a_miner() {
    let told = |state: StopState, hold: Hold| {
        let (site, now) = (metrics_sample::site(2), Moment::START);
        let (snapshot, mut decision) =
            (metrics_sample::snapshot(&site, now), metrics_sample::decision(&site, now));
        decision.circuits[0].emergency_stop = Some(state);
        let frame =
            Frame { site: Arc::new(site), snapshot: Arc::new(snapshot), decision: Arc::new(decision) };
        let work = Work {
            kind: Kind::Miner,
            name: "rack-000-00".into(),
            hold,
            by: "Aisha".into(),
            note: "fan 2".into(),
            begun: 0,
            until: None,
        };
        let known = Known { told: None, learned: None, signals: None, work: Some(&work) };
        explain(&frame, MinerId(0), known, now, &here())
    };
    let latched = told(StopState::Latched, Hold::HandsOff);
    assert_eq!(
        latched[0],
        "The emergency stop of pcc is closed again, and not released: it has to sleep until somebody releases it."
    );
    let left_alone = "In maintenance by Aisha (fan 2): nothing but the sleep of the emergency stop is told to it until that \
                      is ended.";
    assert_eq!(latched[1], left_alone);
    let open = told(StopState::Open, Hold::Asleep);
    assert!(open[0].starts_with("The emergency stop of pcc is open: it has to sleep until"), "{open:?}");
    assert_eq!(open[1], "In maintenance by Aisha (fan 2): it is kept asleep until that is ended.");
    let unread = told(StopState::Unread, Hold::HandsOff);
    assert!(unread[0].ends_with("has not been read yet: nobody is woken before."), "{unread:?}");
    assert_eq!(unread[1], "In maintenance by Aisha (fan 2): nothing is told to it until that is ended.");
    let ready = told(StopState::Ready, Hold::HandsOff);
    assert!(ready[0].starts_with("In maintenance by Aisha"), "{ready:?}");
}

//! The session of one miner, with a scripted driver and paused time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ballast::clock::{Clock, Moment};
use ballast::control::snapshot::{
    Contact, Delivery, Measured, MinerInput, MinerStatus, Outcome, Rejection, Target,
};
use ballast::discover::Identity;
use ballast::miner::session::tally::{Ended, SessionMetrics};
use ballast::miner::session::{Gate, Order, Session, SessionSpec, Shared, spawn};
use ballast::miner::{Driver, DriverError, DriverKind, Endpoint, Urgency};
use ballast::units::Watts;
use tokio_util::sync::CancellationToken;

/// What the driver does on a call: after this time, this result.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ok(u64),
    Timeout(u64),
    Rejected(u64),
    Malformed,
    Never,
}

/// What happened at the driver, with the millisecond at which it began.
#[derive(Clone, Debug, PartialEq)]
enum Event {
    Read(u64),
    /// A read that was dropped before it ended.
    ReadDropped(u64),
    Apply(u64, i32),
    ApplyDone(u64),
    Proof,
    KeepAlive,
    Close,
}

struct Script {
    reads: VecDeque<Step>,
    /// What reads do once the list has ended.
    then: Step,
    commands: VecDeque<Step>,
    /// What proofs of the account do.
    proofs: VecDeque<Step>,
    /// What looking after the connection does.
    looks_after: Step,
    events: Vec<Event>,
    in_flight: u32,
}

#[derive(Clone)]
struct Scripted {
    script: Arc<Mutex<Script>>,
    clock: Clock,
}

fn endpoint() -> Endpoint {
    Endpoint { host: "192.0.2.1".to_owned(), port: 4028 }
}

fn milliseconds(moment: Moment) -> u64 {
    u64::try_from(moment.since_start().as_millis()).unwrap()
}

/// Watches that no two exchanges overlap and that a dropped one is seen.
struct Guard {
    driver: Scripted,
    begun: u64,
    read: bool,
    ended: bool,
}

impl Guard {
    fn new(driver: &Scripted, read: bool) -> Self {
        let mut script = driver.script.lock().unwrap();
        script.in_flight += 1;
        assert_eq!(script.in_flight, 1, "exchanges never overlap");
        drop(script);
        Self { driver: driver.clone(), begun: milliseconds(driver.clock.now()), read, ended: false }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut script = self.driver.script.lock().unwrap();
        script.in_flight -= 1;
        if self.read && !self.ended {
            script.events.push(Event::ReadDropped(self.begun));
        }
    }
}

impl Scripted {
    async fn play(&self, step: Step) -> Result<(), DriverError> {
        let wait = |milliseconds| tokio::time::sleep(Duration::from_millis(milliseconds));
        match step {
            Step::Ok(time) => {
                wait(time).await;
                Ok(())
            }
            Step::Timeout(time) => {
                wait(time).await;
                Err(DriverError::Timeout {
                    endpoint: endpoint(),
                    exchange: "summary",
                    limit: Duration::from_millis(time),
                })
            }
            Step::Rejected(time) => {
                wait(time).await;
                Err(DriverError::Rejected {
                    endpoint: endpoint(),
                    exchange: "power_off",
                    reason: Rejection::WriteDisabled,
                })
            }
            Step::Malformed => Err(DriverError::Malformed {
                endpoint: endpoint(),
                exchange: "summary",
                reason: "it is not JSON".to_owned(),
            }),
            Step::Never => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Driver for Scripted {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let mut guard = Guard::new(self, true);
        let step = {
            let mut script = self.script.lock().unwrap();
            script.events.push(Event::Read(guard.begun));
            let then = script.then;
            script.reads.pop_front().unwrap_or(then)
        };
        let result = self.play(step).await;
        guard.ended = true;
        result.map(|()| MinerStatus { power: Measured::Value(Watts::whole(3_000)), ..MinerStatus::default() })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        let guard = Guard::new(self, false);
        let watts = match target {
            Target::Sleep => 0,
            Target::Power(power) => format!("{:.0}", power.get()).parse().unwrap(),
        };
        let step = {
            let mut script = self.script.lock().unwrap();
            script.events.push(Event::Apply(guard.begun, watts));
            script.commands.pop_front().unwrap_or(Step::Ok(20))
        };
        let result = self.play(step).await;
        let now = milliseconds(self.clock.now());
        self.script.lock().unwrap().events.push(Event::ApplyDone(now));
        result
    }

    async fn prove_account(&mut self) -> Result<bool, DriverError> {
        let step = self.script.lock().unwrap().proofs.pop_front();
        let Some(step) = step else { return Ok(false) };
        self.script.lock().unwrap().events.push(Event::Proof);
        self.play(step).await.map(|()| true)
    }

    async fn keep_alive(&mut self) {
        let step = {
            let mut script = self.script.lock().unwrap();
            script.events.push(Event::KeepAlive);
            script.looks_after
        };
        let _ = self.play(step).await;
    }

    async fn close(&mut self) {
        self.script.lock().unwrap().events.push(Event::Close);
    }
}

struct Bench {
    driver: Scripted,
    session: Session,
    metrics: Arc<SessionMetrics>,
    cancel: CancellationToken,
    clock: Clock,
    shared: Shared,
    sequence: u64,
}

impl Bench {
    fn new(period: Duration, then: Step, reads: &[Step], commands: &[Step]) -> Self {
        Self::sharing(period, then, reads, commands, Shared::new(Gate::new(10)))
    }

    fn sharing(period: Duration, then: Step, reads: &[Step], commands: &[Step], shared: Shared) -> Self {
        let clock = Clock::start();
        let driver = Scripted {
            script: Arc::new(Mutex::new(Script {
                reads: reads.iter().copied().collect(),
                then,
                commands: commands.iter().copied().collect(),
                proofs: VecDeque::new(),
                looks_after: Step::Ok(0),
                events: Vec::new(),
                in_flight: 0,
            })),
            clock,
        };
        Self::speaking(driver, period, shared)
    }

    /// A session that speaks with this device.
    fn speaking(driver: Scripted, period: Duration, shared: Shared) -> Self {
        let clock = driver.clock;
        let cancel = CancellationToken::new();
        let spec = SessionSpec {
            name: Arc::from("container-1/m17"),
            kind: DriverKind::WhatsminerV2,
            endpoint: endpoint(),
            poll_period: period,
            silent_after: Duration::from_secs(15),
            timeout: Duration::from_secs(2),
            model: None,
            identity: Identity::default(),
        };
        let session = spawn(Box::new(driver.clone()), spec, clock, shared.clone(), cancel.clone());
        Self { driver, session, metrics: Arc::clone(&shared.metrics), cancel, clock, shared, sequence: 0 }
    }

    /// Ends the session as a reload does, and puts another one in its place.
    fn replace(self) -> Self {
        self.cancel.cancel();
        self.shared.leaving.add(self.session.task);
        Self::speaking(self.driver, 5 * SECOND, self.shared)
    }

    fn order(&mut self, watts: i32, urgency: Urgency) -> u64 {
        self.sequence += 1;
        let target = if watts == 0 { Target::Sleep } else { Target::Power(Watts::whole(watts)) };
        let sequence = self.sequence;
        self.session.order.send_replace(Some(Order { target, sequence, urgency }));
        sequence
    }

    async fn pass(&self, milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    fn events(&self) -> Vec<Event> {
        self.driver.script.lock().unwrap().events.clone()
    }

    fn applied(&self) -> Vec<i32> {
        self.events()
            .into_iter()
            .filter_map(|event| match event {
                Event::Apply(_, watts) => Some(watts),
                _ => None,
            })
            .collect()
    }

    fn reads(&self) -> Vec<u64> {
        self.events()
            .into_iter()
            .filter_map(|event| match event {
                Event::Read(at) => Some(at),
                _ => None,
            })
            .collect()
    }

    fn report(&self) -> MinerInput {
        self.session.report.borrow().clone()
    }

    fn delivery(&self) -> Delivery {
        self.report().delivery.unwrap()
    }

    fn commands(&self, ended: Ended) -> u64 {
        self.metrics.driver(DriverKind::WhatsminerV2).commands.get(ended)
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_first_poll_comes_within_a_second_and_reports() {
    let bench = Bench::new(5 * SECOND, Step::Ok(10), &[], &[]);
    assert_eq!(bench.report(), MinerInput::PENDING);
    bench.pass(1_100).await;
    let report = bench.report();
    assert_eq!(report.contact, Contact::Reachable);
    assert_eq!(report.status.unwrap().value.power, Measured::Value(Watts::whole(3_000)));
    assert_eq!(report.delivery, None);
}

#[tokio::test(start_paused = true)]
async fn polls_keep_their_period() {
    let bench = Bench::new(5 * SECOND, Step::Ok(10), &[], &[]);
    bench.pass(101_000).await;
    let reads = bench.reads();
    assert!((19..=22).contains(&reads.len()), "{reads:?}");
    for pair in reads.windows(2).skip(1) {
        let [earlier, later] = pair else { continue };
        assert!((4_900..5_100).contains(&(later - earlier)), "{reads:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fleet_is_polled_evenly_over_the_period() {
    let clock = Clock::start();
    let shared = Shared::new(Gate::new(1_000));
    let mut drivers = Vec::new();
    let mut sessions = Vec::new();
    for number in 0..200 {
        let driver = Scripted {
            script: Arc::new(Mutex::new(Script {
                reads: VecDeque::new(),
                then: Step::Ok(1),
                commands: VecDeque::new(),
                proofs: VecDeque::new(),
                looks_after: Step::Ok(0),
                events: Vec::new(),
                in_flight: 0,
            })),
            clock,
        };
        let spec = SessionSpec {
            name: Arc::from(format!("m{number}")),
            kind: DriverKind::BraiinsOs,
            endpoint: endpoint(),
            poll_period: 10 * SECOND,
            silent_after: 30 * SECOND,
            timeout: 2 * SECOND,
            model: None,
            identity: Identity::default(),
        };
        sessions.push(spawn(Box::new(driver.clone()), spec, clock, shared.clone(), CancellationToken::new()));
        drivers.push(driver);
    }
    tokio::time::sleep(Duration::from_secs(40)).await;
    let mut per_second = [0_u32; 10];
    for driver in &drivers {
        for event in &driver.script.lock().unwrap().events {
            if let Event::Read(at) = event
                && (20_000..30_000).contains(at)
            {
                *per_second.get_mut(usize::try_from(at / 1_000 - 20).unwrap()).unwrap() += 1;
            }
        }
    }
    assert_eq!(per_second.iter().sum::<u32>(), 200, "{per_second:?}");
    assert!(per_second.iter().all(|count| (8..40).contains(count)), "{per_second:?}");
}

#[tokio::test(start_paused = true)]
async fn an_account_is_proven_after_the_first_reading_and_a_shed_does_not_wait_for_it() {
    for (proofs, asked) in [
        (&[Step::Ok(10), Step::Ok(10)][..], 1),
        (&[Step::Rejected(10), Step::Rejected(10)], 1),
        // What could not be asked is asked again, and not for ever.
        (&[Step::Timeout(10); 9], 3),
    ] {
        let bench = Bench::new(5 * SECOND, Step::Ok(10), &[], &[]);
        bench.driver.script.lock().unwrap().proofs = proofs.iter().copied().collect();
        bench.pass(60_000).await;
        let events = bench.events();
        assert!(matches!(events.first(), Some(Event::Read(_))), "{events:?}");
        assert_eq!(events.iter().filter(|event| **event == Event::Proof).count(), asked);
        assert_eq!(bench.report().contact, Contact::Reachable);
    }
    let mut bench = Bench::new(5 * SECOND, Step::Ok(10), &[], &[]);
    bench.driver.script.lock().unwrap().proofs = [Step::Never].into();
    bench.pass(6_000).await;
    assert!(bench.events().contains(&Event::Proof));
    bench.order(0, Urgency::Shed);
    bench.pass(50).await;
    assert_eq!(bench.applied(), [0]);
}

#[tokio::test(start_paused = true)]
async fn an_order_is_reported_in_flight_and_then_accepted() {
    let mut bench = Bench::new(5 * SECOND, Step::Ok(10), &[], &[Step::Ok(300)]);
    bench.pass(1_500).await;
    let sequence = bench.order(2_000, Urgency::Normal);
    bench.pass(100).await;
    let delivery = bench.delivery();
    assert_eq!(delivery.sequence, sequence);
    assert_eq!(delivery.target, Target::Power(Watts::whole(2_000)));
    assert_eq!(delivery.outcome, Outcome::InFlight);
    assert_eq!(delivery.at, Moment::millis(1_500));
    bench.pass(300).await;
    assert_eq!(bench.delivery().outcome, Outcome::Accepted);
    assert_eq!(bench.delivery().at, Moment::millis(1_800));
    assert_eq!(bench.commands(Ended::Ok), 1);
    let durations = bench.metrics.driver(DriverKind::WhatsminerV2).command_seconds.read();
    assert_eq!(durations.count, 1);
    assert!((durations.seconds - 0.3).abs() < 0.01);
}

#[tokio::test(start_paused = true)]
async fn refused_and_lost_commands_are_told_apart_and_not_repeated() {
    for (step, outcome) in [
        (Step::Rejected(20), Outcome::Rejected(Rejection::WriteDisabled)),
        (Step::Timeout(400), Outcome::Unknown),
        (Step::Malformed, Outcome::Unknown),
    ] {
        let mut bench = Bench::new(5 * SECOND, Step::Ok(10), &[], &[step]);
        bench.pass(1_500).await;
        bench.order(0, Urgency::Shed);
        bench.pass(20_000).await;
        assert_eq!(bench.delivery().outcome, outcome);
        assert_eq!(bench.applied(), [0]);
        assert_eq!(bench.report().contact, Contact::Reachable);
    }
}

#[tokio::test(start_paused = true)]
async fn the_miner_is_read_back_soon_after_a_command() {
    let mut bench = Bench::new(30 * SECOND, Step::Ok(10), &[], &[Step::Ok(100)]);
    bench.pass(2_000).await;
    let before = bench.reads().len();
    bench.order(1_000, Urgency::Normal);
    bench.pass(6_000).await;
    let reads = bench.reads();
    assert_eq!(reads.get(before..).unwrap(), [3_100, 4_100, 6_100]);
}

#[tokio::test(start_paused = true)]
async fn only_the_latest_of_several_orders_is_sent() {
    let mut bench = Bench::new(5 * SECOND, Step::Ok(500), &[], &[]);
    // Arrive while a poll is in flight, one after the other.
    while bench.driver.script.lock().unwrap().in_flight == 0 {
        bench.pass(5).await;
    }
    bench.order(3_000, Urgency::Normal);
    bench.pass(50).await;
    bench.order(2_500, Urgency::Normal);
    bench.pass(50).await;
    let last = bench.order(2_000, Urgency::Normal);
    bench.pass(600).await;
    assert_eq!(bench.applied(), [2_000]);
    assert_eq!(bench.delivery().sequence, last);
}

#[tokio::test(start_paused = true)]
async fn a_shed_ends_a_poll_in_flight_and_another_order_waits_for_it() {
    let mut bench = Bench::new(5 * SECOND, Step::Ok(1_000), &[], &[]);
    while bench.driver.script.lock().unwrap().in_flight == 0 {
        bench.pass(5).await;
    }
    let begun = milliseconds(bench.clock.now());
    bench.pass(100).await;
    bench.order(2_500, Urgency::Normal);
    bench.pass(100).await;
    assert_eq!(bench.applied(), [] as [i32; 0]);
    // Now it hurries.
    bench.order(0, Urgency::Shed);
    bench.pass(50).await;
    assert_eq!(bench.applied(), [0]);
    let events = bench.events();
    assert!(
        matches!(events.as_slice(), [Event::Read(_), Event::ReadDropped(_), Event::Apply(at, 0), ..]
        if *at < begun + 250),
        "{events:?}"
    );
    let polls = &bench.metrics.driver(DriverKind::WhatsminerV2).polls;
    assert_eq!(polls.get(Ended::Cancelled), 1);
}

#[tokio::test(start_paused = true)]
async fn an_order_during_a_command_goes_right_after_it() {
    let mut bench = Bench::new(5 * SECOND, Step::Ok(10), &[], &[Step::Ok(700), Step::Ok(20)]);
    bench.pass(1_500).await;
    bench.order(3_000, Urgency::Normal);
    bench.pass(100).await;
    bench.order(1_000, Urgency::Normal);
    bench.pass(50).await;
    bench.order(2_000, Urgency::Normal);
    bench.pass(700).await;
    let events: Vec<_> = bench
        .events()
        .into_iter()
        .filter(|event| matches!(event, Event::Apply(..) | Event::ApplyDone(_)))
        .collect();
    assert_eq!(
        events,
        [
            Event::Apply(1_500, 3_000),
            Event::ApplyDone(2_200),
            Event::Apply(2_200, 2_000),
            Event::ApplyDone(2_220)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_shed_ends_a_command_that_has_time_and_that_counts_as_unanswered() {
    let mut bench = Bench::new(600 * SECOND, Step::Ok(10), &[], &[Step::Never, Step::Ok(20)]);
    bench.pass(1_500).await;
    let mut report = bench.session.report.clone();
    bench.order(3_000, Urgency::Normal);
    bench.pass(100).await;
    assert_eq!(bench.delivery().outcome, Outcome::InFlight);
    report.mark_unchanged();
    let shed = bench.order(1_000, Urgency::Shed);
    bench.pass(20).await;
    assert_eq!(bench.commands(Ended::Cancelled), 1);
    bench.pass(20).await;
    assert_eq!(bench.delivery(), Delivery { sequence: shed, outcome: Outcome::Accepted, ..bench.delivery() });
    let begun: Vec<_> =
        bench.events().into_iter().filter(|event| matches!(event, Event::Apply(..))).collect();
    assert_eq!(begun, [Event::Apply(1_500, 3_000), Event::Apply(1_600, 1_000)], "at once");
    // What became of the first is seen in what the miner says.
    let reads = bench.reads().len();
    bench.pass(1_100).await;
    assert_eq!(bench.reads().len(), reads + 1, "it is read back");
}

#[tokio::test(start_paused = true)]
async fn a_shed_waits_for_another_one_for_a_second_and_only_where_it_asks_for_less() {
    let mut bench = Bench::new(
        600 * SECOND,
        Step::Ok(10),
        &[],
        &[Step::Never, Step::Never, Step::Ok(20), Step::Ok(1_800)],
    );
    bench.pass(1_500).await;
    bench.order(3_000, Urgency::Shed);
    bench.pass(100).await;
    bench.order(2_000, Urgency::Shed);
    bench.pass(500).await;
    // A newer one does not wait anew.
    bench.order(1_000, Urgency::Shed);
    bench.pass(510).await;
    assert_eq!(bench.applied(), [3_000, 1_000]);
    // The one that hangs now is given twice as long.
    bench.order(0, Urgency::Shed);
    bench.pass(1_990).await;
    assert_eq!(bench.applied(), [3_000, 1_000]);
    bench.pass(20).await;
    assert_eq!(bench.applied(), [3_000, 1_000, 0]);
    assert_eq!(bench.commands(Ended::Cancelled), 2);
    bench.pass(100).await;
    // One that leaves it more power waits for the answer.
    bench.order(1_500, Urgency::Shed);
    bench.pass(10).await;
    bench.order(2_500, Urgency::Shed);
    bench.pass(1_750).await;
    assert_eq!(bench.applied().last(), Some(&1_500));
    bench.pass(100).await;
    assert_eq!(bench.applied().last(), Some(&2_500));
    assert_eq!(bench.commands(Ended::Cancelled), 2);
}

#[tokio::test(start_paused = true)]
async fn a_miner_that_is_slower_than_its_sheds_follows_all_the_same() {
    let mut bench = Bench::new(600 * SECOND, Step::Ok(10), &[], &[Step::Ok(3_000); 20]);
    bench.pass(1_500).await;
    for step in 0..20 {
        bench.order(3_400 - 100 * step, Urgency::Shed);
        bench.pass(1_000).await;
    }
    assert!(bench.commands(Ended::Ok) >= 3, "{:?}", bench.events());
    bench.pass(10_000).await;
    assert_eq!(bench.applied().last(), Some(&1_500));
    assert_eq!(bench.delivery().outcome, Outcome::Accepted);
}

#[tokio::test(start_paused = true)]
async fn a_shed_does_not_wait_while_the_connection_is_looked_after() {
    let mut bench = Bench::new(600 * SECOND, Step::Ok(10), &[], &[]);
    bench.driver.script.lock().unwrap().looks_after = Step::Never;
    while !bench.events().contains(&Event::KeepAlive) {
        bench.pass(10).await;
    }
    bench.order(0, Urgency::Shed);
    bench.pass(10).await;
    assert_eq!(bench.applied(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_session_begins_when_the_one_before_has_ended_and_a_shed_goes_with_it() {
    for hangs in [Step::Never, Step::Ok(20)] {
        let mut bench = Bench::new(5 * SECOND, hangs, &[Step::Ok(10)], &[hangs, Step::Ok(20)]);
        bench.pass(1_500).await;
        bench.order(1_500, Urgency::Shed);
        bench.pass(5).await;
        let open = bench.session.open_shed().unwrap();
        // Two reloads, one right after the other.
        let next = bench.replace().replace();
        next.session.order.send_replace(Some(open));
        // That never two exchanges overlap, the driver watches.
        next.pass(1_010).await;
        let events = next.events();
        let closed = events.iter().position(|event| *event == Event::Close);
        let last = events.iter().rposition(|event| matches!(event, Event::Apply(_, 1_500)));
        assert!(closed.is_some() && closed < last, "{events:?}");
        next.pass(100).await;
        assert_eq!(next.delivery().outcome, Outcome::Accepted);
        assert_eq!(next.session.open_shed(), None, "its end is known");
    }
}

#[tokio::test(start_paused = true)]
async fn commands_do_not_wait_for_the_gate_but_polls_do() {
    let shared = Shared::new(Gate::new(1));
    // One miner hangs in its poll and holds the only place.
    let hanging = Bench::sharing(5 * SECOND, Step::Never, &[], &[], shared.clone());
    while hanging.driver.script.lock().unwrap().in_flight == 0 {
        hanging.pass(1).await;
    }
    let mut bench = Bench::sharing(5 * SECOND, Step::Ok(10), &[], &[], shared);
    bench.pass(2_000).await;
    assert_eq!(bench.reads(), [] as [u64; 0]);
    bench.order(0, Urgency::Normal);
    bench.pass(50).await;
    assert_eq!(bench.applied(), [0]);
    hanging.cancel.cancel();
    bench.pass(2_000).await;
    assert!(!bench.reads().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_silent_miner_becomes_unreachable_and_comes_back() {
    let mut steps = vec![Step::Ok(10), Step::Ok(10)];
    steps.extend([Step::Timeout(2_000); 5]);
    let bench = Bench::new(5 * SECOND, Step::Ok(10), &steps, &[]);
    bench.pass(10_000).await;
    assert_eq!(bench.report().contact, Contact::Reachable);
    let last_good = bench.report().status.unwrap().at;
    // Failing, but not for long enough yet.
    let silent = milliseconds(last_good) + 15_000;
    bench.pass(silent - 10_000 - 100).await;
    assert_eq!(bench.report().contact, Contact::Reachable);
    bench.pass(200).await;
    let Contact::Unreachable { since } = bench.report().contact else {
        panic!("expected to be unreachable");
    };
    assert!(since > last_good && since < last_good + 8 * SECOND, "{since:?}");
    assert_eq!(bench.report().status.unwrap().at, last_good, "the old reading stays");
    bench.pass(120_000).await;
    assert_eq!(bench.report().contact, Contact::Reachable);
}

#[tokio::test(start_paused = true)]
async fn a_miner_that_never_answers_goes_from_pending_to_unreachable() {
    let bench = Bench::new(5 * SECOND, Step::Timeout(2_000), &[], &[]);
    bench.pass(14_500).await;
    assert_eq!(bench.report().contact, Contact::Pending);
    bench.pass(1_000).await;
    assert!(matches!(bench.report().contact, Contact::Unreachable { .. }));
    assert_eq!(bench.report().status, None);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_never_returns_does_not_hold_the_session() {
    let mut bench = Bench::new(5 * SECOND, Step::Never, &[], &[Step::Never]);
    bench.pass(60_000).await;
    assert!(matches!(bench.report().contact, Contact::Unreachable { .. }));
    assert!(bench.reads().len() >= 2);
    bench.order(0, Urgency::Shed);
    bench.pass(60_000).await;
    assert_eq!(bench.delivery().outcome, Outcome::Unknown);
}

#[tokio::test(start_paused = true)]
async fn failing_polls_back_off_but_not_beyond_the_bound() {
    let bench = Bench::new(5 * SECOND, Step::Malformed, &[], &[]);
    bench.pass(300_000).await;
    let reads = bench.reads();
    let pauses: Vec<_> = reads.windows(2).filter_map(|pair| Some(pair.last()? - pair.first()?)).collect();
    assert!(pauses.iter().all(|pause| (3_700..=20_000).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().skip(3).all(|pause| *pause >= 15_000), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_miner_still_gets_its_orders() {
    let mut bench = Bench::new(5 * SECOND, Step::Timeout(2_000), &[], &[Step::Ok(20)]);
    bench.pass(40_000).await;
    assert!(matches!(bench.report().contact, Contact::Unreachable { .. }));
    bench.order(0, Urgency::Shed);
    bench.pass(100).await;
    assert_eq!(bench.delivery().outcome, Outcome::Accepted);
    assert_eq!(bench.report().contact, Contact::Reachable);
}

#[tokio::test(start_paused = true)]
async fn a_refused_command_alone_does_not_make_a_miner_reachable() {
    let mut bench = Bench::new(5 * SECOND, Step::Timeout(2_000), &[], &[Step::Rejected(20)]);
    bench.pass(40_000).await;
    bench.order(0, Urgency::Shed);
    bench.pass(100).await;
    assert!(matches!(bench.report().contact, Contact::Unreachable { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_looks_after_its_connection() {
    let bench = Bench::new(600 * SECOND, Step::Ok(10), &[], &[]);
    bench.pass(250_000).await;
    let kept = bench.events().iter().filter(|event| **event == Event::KeepAlive).count();
    assert!((3..=5).contains(&kept), "{kept}");
}

#[tokio::test(start_paused = true)]
async fn cancelling_closes_the_driver_within_a_bound() {
    for (reads, commands) in
        [(Step::Ok(10), Step::Ok(20)), (Step::Never, Step::Ok(20)), (Step::Ok(10), Step::Never)]
    {
        let mut bench = Bench::new(5 * SECOND, reads, &[], &[commands]);
        bench.pass(1_500).await;
        bench.order(1_000, Urgency::Normal);
        bench.pass(30).await;
        bench.cancel.cancel();
        let clock = Clock::start();
        tokio::time::timeout(Duration::from_secs(10), &mut bench.session.task).await.unwrap().unwrap();
        assert!(clock.now().since_start() <= Duration::from_millis(3_100));
        assert_eq!(bench.events().last(), Some(&Event::Close));
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_comes_with_the_cancellation_is_not_begun() {
    let mut bench = Bench::new(5 * SECOND, Step::Ok(10), &[], &[]);
    bench.pass(1_500).await;
    bench.cancel.cancel();
    bench.order(1_000, Urgency::Normal);
    bench.pass(100).await;
    assert_eq!(bench.applied(), [] as [i32; 0]);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_order_channel_ends_the_session() {
    let bench = Bench::new(5 * SECOND, Step::Ok(10), &[], &[]);
    bench.pass(1_500).await;
    let Session { order, task, .. } = bench.session;
    drop(order);
    tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
}

//! An address that changed hands: the session of one miner, with a scripted driver and paused time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ballast::clock::Clock;
use ballast::control::snapshot::{
    Activity, Contact, Measured, MinerInput, MinerStatus, Outcome, Rejection, Target,
};
use ballast::discover::Identity;
use ballast::miner::session::tally::{Ended, SessionMetrics};
use ballast::miner::session::{Gate, Order, Session, SessionSpec, Shared, spawn};
use ballast::miner::{Driver, DriverError, DriverKind, Endpoint, Urgency};
use ballast::units::Watts;
use tokio_util::sync::CancellationToken;

const OURS: &str = "02:ee:da:00:00:01";
const THEIRS: &str = "02:ee:da:00:00:02";

/// Who is at the address, and what happened to it.
#[derive(Debug)]
struct There {
    /// `None`: connections are refused.
    mac: Option<&'static str>,
    /// Reads and commands work, and this question does not.
    mute: bool,
    /// It takes the question who it is and never answers.
    hangs: bool,
    /// It answers the question and says nothing that counts.
    anonymous: bool,
    /// The command in hand is carried out, and its answer lost.
    loses_answers: bool,
    started: Duration,
    reads: u32,
    questions: u32,
    applied: Vec<Target>,
}

#[derive(Clone)]
struct Scripted {
    there: Arc<Mutex<There>>,
    clock: Clock,
}

fn endpoint() -> Endpoint {
    Endpoint { host: "192.0.2.1".to_owned(), port: 4028 }
}

fn timeout() -> DriverError {
    DriverError::Timeout { endpoint: endpoint(), exchange: "summary", limit: Duration::from_secs(1) }
}

impl Scripted {
    fn reach(&self) -> Result<std::sync::MutexGuard<'_, There>, DriverError> {
        let there = self.there.lock().unwrap();
        if there.mac.is_none() {
            return Err(DriverError::Unreachable { endpoint: endpoint(), reason: "refused".to_owned() });
        }
        Ok(there)
    }
}

#[async_trait]
impl Driver for Scripted {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut there = self.reach()?;
        there.reads += 1;
        let uptime = self.clock.now().since_start().saturating_sub(there.started);
        Ok(MinerStatus {
            power: Measured::Value(Watts::whole(3_000)),
            activity: Activity::Hashing,
            uptime: Some(Duration::from_secs(100) + uptime),
            ..MinerStatus::default()
        })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut there = self.reach()?;
        there.applied.push(target);
        if there.loses_answers { Err(timeout()) } else { Ok(()) }
    }

    async fn identify(&mut self) -> Result<Option<Identity>, DriverError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if self.reach()?.hangs {
            return std::future::pending().await;
        }
        let mut there = self.reach()?;
        there.questions += 1;
        if there.mute {
            return Err(timeout());
        }
        let mac = there.mac.filter(|_| !there.anonymous).and_then(|mac| mac.parse().ok());
        Ok(mac.map(|mac| Identity { mac: Some(mac), ..Identity::default() }))
    }

    async fn close(&mut self) {}
}

struct Bench {
    driver: Scripted,
    session: Session,
    metrics: Arc<SessionMetrics>,
    clock: Clock,
    sequence: u64,
}

impl Bench {
    fn new(known: &str, mac: Option<&'static str>) -> Self {
        let clock = Clock::start();
        let there = There {
            mac,
            mute: false,
            hangs: false,
            anonymous: false,
            loses_answers: false,
            started: Duration::ZERO,
            reads: 0,
            questions: 0,
            applied: Vec::new(),
        };
        let driver = Scripted { there: Arc::new(Mutex::new(there)), clock };
        let shared = Shared::new(Gate::new(10));
        let metrics = Arc::clone(&shared.metrics);
        let spec = SessionSpec {
            name: Arc::from("m1"),
            kind: DriverKind::Luxos,
            endpoint: endpoint(),
            poll_period: Duration::from_secs(5),
            silent_after: Duration::from_secs(30),
            timeout: Duration::from_secs(2),
            model: None,
            identity: Identity { mac: known.parse().ok(), ..Identity::default() },
        };
        let session = spawn(Box::new(driver.clone()), spec, clock, shared, CancellationToken::new());
        Self { driver, session, metrics, clock, sequence: 0 }
    }

    fn order(&mut self, target: Target) {
        self.sequence += 1;
        let order = Order { target, sequence: self.sequence, urgency: Urgency::Shed };
        self.session.order.send_replace(Some(order));
    }

    async fn pass(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    fn change(&self, change: impl FnOnce(&mut There)) {
        change(&mut self.driver.there.lock().unwrap());
    }

    /// Another miner is there, started just now.
    fn replace(&self, mac: &'static str) {
        let now = self.clock.now().since_start();
        self.change(|there| {
            there.mac = Some(mac);
            there.started = now + Duration::from_secs(60);
        });
    }

    fn applied(&self) -> usize {
        self.driver.there.lock().unwrap().applied.len()
    }

    fn questions(&self) -> u32 {
        self.driver.there.lock().unwrap().questions
    }

    fn reads(&self) -> u32 {
        self.driver.there.lock().unwrap().reads
    }

    fn report(&self) -> MinerInput {
        self.session.report.borrow().clone()
    }

    fn outcome(&self) -> Option<Outcome> {
        self.report().delivery.map(|delivery| delivery.outcome)
    }

    fn fault(&self) -> Option<String> {
        match self.report().status?.value.activity {
            Activity::Fault(text) => Some(text.to_string()),
            _ => None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_it_is_is_asked_once_and_not_with_each_poll() {
    let mut bench = Bench::new(OURS, Some(OURS));
    bench.pass(600.0).await;
    assert_eq!(bench.questions(), 1);
    assert!(bench.reads() >= 115, "{}", bench.reads());
    for _ in 0..5 {
        bench.order(Target::Sleep);
        bench.pass(10.0).await;
    }
    assert_eq!((bench.questions(), bench.applied()), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn a_miner_without_a_known_identity_is_never_asked() {
    let mut bench = Bench::new("", Some(OURS));
    bench.pass(20.0).await;
    bench.order(Target::Sleep);
    bench.pass(1.0).await;
    assert_eq!((bench.questions(), bench.applied()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_command_before_the_first_poll_asks_who_is_there_first() {
    for (there, applied) in [(OURS, 1), (THEIRS, 0)] {
        let mut bench = Bench::new(OURS, Some(there));
        bench.order(Target::Sleep);
        bench.pass(0.1).await;
        assert_eq!(bench.applied(), applied, "{there}");
        assert_eq!(bench.questions(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn another_miner_is_never_commanded_and_counts_as_unreachable() {
    let mut bench = Bench::new(OURS, Some(THEIRS));
    bench.pass(3.0).await;
    for target in [Target::Sleep, Target::Power(Watts::whole(1_500)), Target::Power(Watts::whole(3_000))] {
        bench.order(target);
        bench.pass(60.0).await;
        assert_eq!(bench.outcome(), Some(Outcome::Rejected(Rejection::AnotherMiner)));
    }
    assert_eq!(bench.applied(), 0);
    let report = bench.report();
    assert!(matches!(report.contact, Contact::Unreachable { .. }), "{report:?}");
    assert_eq!(report.status.unwrap().value.power, Measured::Unavailable, "its power is not this miner's");
    let fault = bench.fault().unwrap();
    assert!(fault.contains("another miner") && fault.contains("02:EE:DA:00:00:02"), "{fault}");
    let commands = &bench.metrics.driver(DriverKind::Luxos).commands;
    assert_eq!(commands.get(Ended::RejectedAnotherMiner), 3);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_changes_hands_is_noticed_and_so_is_the_return() {
    let mut bench = Bench::new(OURS, Some(OURS));
    bench.pass(60.0).await;
    bench.order(Target::Power(Watts::whole(2_000)));
    bench.pass(30.0).await;
    assert_eq!(bench.applied(), 1);
    // The lease ran out while the miner was off, and another one got the address.
    bench.change(|there| there.mac = None);
    bench.pass(20.0).await;
    bench.replace(THEIRS);
    bench.pass(60.0).await;
    assert!(bench.fault().is_some());
    bench.order(Target::Sleep);
    bench.pass(1.0).await;
    assert_eq!(bench.applied(), 1);
    bench.replace(OURS);
    bench.pass(60.0).await;
    assert_eq!(bench.report().contact, Contact::Reachable);
    assert_eq!(bench.fault(), None);
    bench.order(Target::Sleep);
    bench.pass(1.0).await;
    assert_eq!(bench.applied(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_miner_that_restarted_between_two_polls_is_asked_again() {
    let mut bench = Bench::new(OURS, Some(OURS));
    bench.pass(60.0).await;
    bench.replace(THEIRS);
    bench.pass(10.0).await;
    assert!(bench.questions() >= 2);
    assert!(bench.fault().is_some());
    bench.order(Target::Sleep);
    bench.pass(1.0).await;
    assert_eq!(bench.applied(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_a_reason_to_ask_before_the_next_command() {
    let mut bench = Bench::new(OURS, Some(OURS));
    bench.pass(60.0).await;
    bench.change(|there| there.mac = None);
    bench.pass(10.0).await;
    bench.replace(THEIRS);
    bench.order(Target::Sleep);
    bench.pass(0.1).await;
    assert_eq!(bench.applied(), 0);
    assert_eq!(bench.outcome(), Some(Outcome::Rejected(Rejection::AnotherMiner)));
}

#[tokio::test(start_paused = true)]
async fn a_miner_that_has_told_before_is_not_commanded_while_it_does_not_answer_who_it_is() {
    let mut bench = Bench::new(OURS, Some(OURS));
    bench.pass(20.0).await;
    bench.change(|there| there.mac = None);
    bench.pass(20.0).await;
    bench.change(|there| (there.mac, there.mute) = (Some(OURS), true));
    bench.pass(60.0).await;
    assert_eq!(bench.report().contact, Contact::Reachable, "its readings count");
    bench.order(Target::Sleep);
    bench.pass(1.0).await;
    assert_eq!((bench.applied(), bench.outcome()), (0, Some(Outcome::Unknown)));
    bench.change(|there| there.mute = false);
    bench.order(Target::Sleep);
    bench.pass(1.0).await;
    assert_eq!(bench.applied(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_miner_that_never_tells_who_it_is_is_taken_at_its_address() {
    for mute in [true, false] {
        let mut bench = Bench::new(OURS, Some(OURS));
        bench.change(|there| (there.mute, there.anonymous) = (mute, true));
        bench.pass(30.0).await;
        bench.order(Target::Sleep);
        bench.pass(1.0).await;
        assert_eq!(bench.applied(), 1);
        assert_eq!(bench.report().contact, Contact::Reachable);
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_answer_was_lost_is_read_back_and_not_repeated() {
    let mut bench = Bench::new(OURS, Some(OURS));
    bench.pass(60.0).await;
    bench.change(|there| there.loses_answers = true);
    let before = bench.reads();
    bench.order(Target::Power(Watts::whole(2_000)));
    bench.pass(1.5).await;
    assert_eq!(bench.outcome(), Some(Outcome::Unknown));
    assert!(bench.reads() > before, "read back within the second");
    bench.pass(60.0).await;
    assert_eq!(bench.applied(), 1);
    assert_eq!(bench.questions(), 1, "a lost answer alone is no other miner");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_hangs_holds_a_shed_for_one_exchange() {
    let mut bench = Bench::new(OURS, Some(OURS));
    bench.change(|there| there.hangs = true);
    let begun = bench.clock.now();
    bench.order(Target::Sleep);
    let mut report = bench.session.report.clone();
    let known = |input: &MinerInput| {
        input.delivery.as_ref().is_some_and(|delivery| delivery.outcome != Outcome::InFlight)
    };
    let delivery = report.wait_for(known).await.unwrap().delivery.clone().unwrap();
    assert_eq!(delivery.outcome, Outcome::Unknown);
    assert_eq!(delivery.at - begun, Duration::from_secs(2), "the time limit of one exchange");
    assert_eq!(bench.applied(), 0);
    // The next one finds it well.
    bench.change(|there| there.hangs = false);
    bench.order(Target::Sleep);
    bench.pass(0.1).await;
    assert_eq!(bench.applied(), 1);
}

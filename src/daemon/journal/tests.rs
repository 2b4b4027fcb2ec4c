//! What the journal tells, and how often.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use super::Journal;
use crate::clock::Moment;
use crate::config::testing;
use crate::control::decision::{Decision, Held, MinerState, Mode, Waiting};
use crate::control::site::{EmergencyStop, MeterId, MinerId, OpensBreaker, Site};
use crate::control::snapshot::{MeterInput, MeterStatus, Reading, Snapshot};
use crate::control::{State, step};
use crate::units::Watts;

/// Where the lines of a test go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A journal, a site of 32 miners, and a cycle in which everything is well.
struct Desk {
    journal: Journal,
    site: Arc<Site>,
    snapshot: Snapshot,
    decision: Decision,
}

impl Desk {
    fn new() -> Self {
        let site = Arc::new(testing::site(32));
        let power = Some(Reading { value: Watts::whole(-40_000), at: Moment::START });
        let meters = vec![MeterInput::new(MeterStatus::Ok, power)];
        let snapshot = Snapshot::new(Moment::START, meters, Vec::new());
        let mut decision = step(&mut State::new(site.clone()), &snapshot);
        (decision.mode, decision.would_be) = (Mode::Following, Mode::Following);
        for miner in &mut decision.miners {
            miner.state = MinerState::Hashing;
        }
        let mut desk = Self { journal: Journal::default(), site, snapshot, decision };
        desk.after(0, |_| {});
        desk
    }

    /// What is told of the cycle so many seconds later in which this has changed.
    fn after(&mut self, seconds: u64, change: impl FnOnce(&mut Decision)) -> Vec<String> {
        self.decision.at = self.decision.at + Duration::from_secs(seconds);
        change(&mut self.decision);
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_writer(lines.clone())
            .with_ansi(false)
            .with_target(false)
            .without_time()
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            self.journal.write(&self.site, &self.snapshot, &self.decision);
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| line.trim().to_owned()).collect()
    }
}

fn set(decision: &mut Decision, miners: std::ops::Range<usize>, state: MinerState) {
    decision.miners[miners].iter_mut().for_each(|miner| miner.state = state);
}

#[test]
fn a_miner_that_does_not_answer_is_named_once_and_once_when_it_does() {
    let mut desk = Desk::new();
    let told = desk.after(1, |decision| set(decision, 3..4, MinerState::Unanswered));
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].starts_with("WARN was told something and has not answered"), "{told:#?}");
    assert!(told[0].ends_with("miner=\"m3\""), "{told:#?}");
    assert!(desk.after(1, |_| {}).is_empty());
    // Silent for good is no answer.
    assert!(desk.after(1, |decision| set(decision, 3..4, MinerState::Unreachable)).is_empty());
    assert!(desk.after(1, |decision| set(decision, 3..4, MinerState::Unanswered)).is_empty());
    let told = desk.after(1, |decision| set(decision, 3..4, MinerState::Hashing));
    assert_eq!(told, ["INFO has answered: hashing miner=\"m3\""]);
    assert!(desk.after(1, |_| {}).is_empty());
}

#[test]
fn ten_of_many_that_do_not_answer_are_named_and_the_rest_counted() {
    let mut desk = Desk::new();
    let told = desk.after(100, |decision| set(decision, 0..30, MinerState::Unanswered));
    assert_eq!(told.len(), 11, "{told:#?}");
    assert_eq!(told[10], "WARN 20 more miners were told something and have not answered");
    let told = desk.after(1, |decision| set(decision, 0..30, MinerState::Hashing));
    assert_eq!(told.len(), 11, "{told:#?}");
    assert_eq!(told[10], "INFO 20 more miners have answered");
    // A network that loses every other answer does not fill the log.
    for _ in 0..10 {
        assert!(desk.after(1, |decision| set(decision, 0..5, MinerState::Unanswered)).is_empty());
        assert!(desk.after(1, |decision| set(decision, 0..5, MinerState::Hashing)).is_empty());
    }
    let told = desk.after(60, |_| {});
    assert_eq!(
        told,
        [
            "WARN 50 more miners were told something and have not answered",
            "INFO 50 more miners have answered"
        ]
    );
}

#[test]
fn a_miner_that_waits_for_longer_than_a_minute_is_told_once() {
    let mut desk = Desk::new();
    let waiting = Waiting {
        miner: MinerId(7),
        needs: Watts::whole(3_310),
        there: Watts::whole(2_460),
        held: Held::Short,
    };
    assert!(desk.after(1, |decision| decision.waiting = Some(waiting)).is_empty());
    assert!(desk.after(59, |_| {}).is_empty());
    let told = desk.after(1, |_| {});
    assert_eq!(told, ["INFO waits for 3.31 kW, 2.46 kW are there miner=\"m7\""]);
    assert!(desk.after(300, |_| {}).is_empty());
    // A moment in which none waits is no end of it.
    assert!(desk.after(1, |decision| decision.waiting = None).is_empty());
    desk.after(1, |decision| decision.waiting = Some(waiting));
    assert!(desk.after(61, |_| {}).is_empty());
    desk.after(1, |decision| decision.waiting = None);
    desk.after(61, |_| {});
    desk.after(1, |decision| decision.waiting = Some(waiting));
    assert_eq!(desk.after(61, |_| {}).len(), 1);
}

#[test]
fn a_meter_that_is_not_believed_says_which_way() {
    let mut desk = Desk::new();
    let told = desk.after(1, |decision| decision.meters[0].input.status = MeterStatus::Turned);
    assert_eq!(
        told,
        [
            "WARN moves the wrong way when the miners move: check its current transformers or `invert`; it counts as lost \
          meter=\"pcc\""
        ]
    );
    assert!(desk.after(1, |_| {}).is_empty());
    let told = desk.after(1, |decision| decision.meters[0].input.status = MeterStatus::Frozen);
    assert_eq!(
        told,
        ["WARN does not show what the miners do: its value stands still; it counts as lost meter=\"pcc\""]
    );
    let told = desk.after(1, |decision| decision.meters[0].input.status = MeterStatus::Ok);
    assert_eq!(told, ["INFO shows what the miners do again meter=\"pcc\""]);
    // A value that was found frozen where it is read is told there.
    desk.snapshot.meters[0].status = MeterStatus::Frozen;
    assert!(desk.after(1, |decision| decision.meters[0].input.status = MeterStatus::Frozen).is_empty());
}

#[test]
fn a_meter_that_is_asked_is_told_once() {
    let mut desk = Desk::new();
    let told = desk.after(1, |decision| decision.meters[0].asked = Some(Duration::from_secs(21)));
    assert_eq!(
        told,
        [
            "INFO has shown the same value for 21 s: the miners are put a little lower to see whether it lives \
          meter=\"pcc\""
        ]
    );
    assert!(desk.after(1, |decision| decision.meters[0].asked = Some(Duration::from_secs(22))).is_empty());
    assert!(desk.after(9, |decision| decision.meters[0].asked = None).is_empty());
}

#[test]
fn the_contact_of_a_stop_is_no_meter_that_may_be_stale_for_longer() {
    let slow = |decision: &mut Decision| decision.meters[0].input.refresh = Some(Duration::from_secs(40));
    let told = Desk::new().after(1, slow);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].starts_with("WARN has a new value every 40.0 s only"), "{told:#?}");
    let mut desk = Desk::new();
    let mut site = Site::clone(&desk.site);
    site.circuits[0].emergency_stop =
        Some(EmergencyStop { meter: MeterId(0), opens_breaker: OpensBreaker::Never });
    desk.site = Arc::new(site);
    assert_eq!(desk.after(1, slow), Vec::<String>::new(), "it has a new value when somebody switches it");
}

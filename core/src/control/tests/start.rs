//! The first cycles, while answers are still coming in.

use crate::control::decision::Mode;
use crate::control::snapshot::{
    Activity, Contact, Measured, MeterInput, MeterStatus, MinerInput, MinerStatus, Reading, Snapshot, Target,
};
use crate::control::testing::site;
use crate::control::{State, step};
use crate::moment::Moment;
use crate::units::{Hashrate, Watts};

#[test]
fn a_meter_that_answers_before_the_miners_puts_none_to_sleep() {
    let site = site(2);
    let miners = site.miners.len();
    let mut state = State::new(site.into());
    // 3 kW are imported while four miners draw 2.8 kW each: 8.2 kW are to spare.
    let read = Reading { value: Watts::whole(3_000), at: Moment::millis(0) };
    let meters = vec![MeterInput::new(MeterStatus::Ok, Some(read))];
    for at in [0, 250, 500] {
        let now = Moment::millis(at);
        let decision =
            step(&mut state, &Snapshot::new(now, meters.clone(), vec![MinerInput::PENDING; miners]));
        assert_eq!((decision.mode, decision.commands.len()), (Mode::StartUp, 0));
    }
    // All answer at once, and the meter has nothing new.
    let now = Moment::millis(750);
    let status = MinerStatus {
        power: Measured::Value(Watts::whole(2_800)),
        hashrate: Measured::Value(Hashrate::terahashes(150.0)),
        activity: Activity::Hashing,
        target: Measured::Value(Target::Power(Watts::whole(2_800))),
        range: None,
        points: None,
        uptime: None,
    };
    let miner = MinerInput {
        contact: Contact::Reachable,
        status: Some(Reading { value: status, at: now }),
        delivery: None,
    };
    let decision = step(&mut state, &Snapshot::new(now, meters, vec![miner; miners]));
    // A kilowatt of it is the margin.
    assert_eq!(decision.fleet.surplus, Watts::whole(8_200));
    assert_eq!(decision.fleet.budget, Watts::whole(7_200));
    let asleep = decision.miners.iter().filter(|miner| miner.setpoint == Some(Target::Sleep)).count();
    assert_eq!(asleep, 0, "there is enough for all at their lowest");
}

//! Everything that a meter tells: points beside power, meters without power, single bits, samples and their stamps.

use std::time::Duration;

use super::device::{Act, Asked, Device, PERIOD, meter, register, watts};
use crate::stalls::Stalls;
use ballast::clock::Moment;
use ballast::control::measure::Measure;
use ballast::control::snapshot::{MeterInput, MeterStatus};
use ballast::meter::Connection;
use ballast::meter::profile::{Format, Function, Point, Register};
use tokio::time::sleep;

const POWER: u16 = 10;
const FREQUENCY: u16 = 20;
const VOLTAGE: u16 = 21;
const PHASE: u16 = 30;
const IMPORT: u16 = 40;
const EXPORT: u16 = 41;

/// A meter that tells its power and five other things.
fn rich(unit: u8) -> Connection {
    let mut meter = meter(unit, &[POWER]);
    for (measure, address) in [
        (Measure::Frequency, FREQUENCY),
        (Measure::VoltageL1, VOLTAGE),
        (Measure::PowerL1, PHASE),
        (Measure::EnergyImport, IMPORT),
        (Measure::EnergyExport, EXPORT),
    ] {
        meter.profile.others.insert(measure, Point::of(vec![register(address)]));
    }
    meter
}

async fn device(unit: u8) -> Device {
    let device = Device::start().await;
    for (address, value) in
        [(POWER, 700), (FREQUENCY, 50), (VOLTAGE, 230), (PHASE, 300), (IMPORT, 9_000), (EXPORT, 80)]
    {
        device.set(unit, address, value);
    }
    device
}

fn other(input: &MeterInput, measure: Measure) -> Option<f64> {
    input.others.get(measure).map(|reading| reading.value)
}

fn times(asked: &[Asked], unit: u8, address: u16) -> Vec<Moment> {
    asked
        .iter()
        .filter(|asked| (asked.unit, asked.address) == (unit, address))
        .map(|asked| asked.at)
        .collect()
}

fn longest_gap(times: &[Moment]) -> Duration {
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
}

#[tokio::test]
async fn every_point_of_the_profile_comes_with_its_own_stamp() {
    let device = device(1).await;
    let mut reader = device.read(vec![rich(1)]);
    let input = reader.until_it(0, |input| input.others.iter().count() == 5).await;
    assert_eq!((input.status, watts(&input)), (MeterStatus::Ok, Some(700.0)));
    for (measure, value) in [
        (Measure::Frequency, 50.0),
        (Measure::VoltageL1, 230.0),
        (Measure::PowerL1, 300.0),
        (Measure::EnergyImport, 9_000.0),
        (Measure::EnergyExport, 80.0),
    ] {
        assert_eq!(other(&input, measure), Some(value), "{measure:?}");
    }
    let at = |input: &MeterInput, measure| input.others.get(measure).unwrap().at;
    let first = at(&input, Measure::Frequency);
    let later = reader.until_it(0, |input| at(input, Measure::Frequency) > first).await;
    assert_eq!(at(&later, Measure::EnergyImport), at(&input, Measure::EnergyImport), "once in five seconds");
    let reads: u64 = reader.meters.counters[0].reads().iter().map(|(_, count)| count).sum();
    assert_eq!(reads, reader.reads(0, "ok"), "only reads of power are counted");
}

#[tokio::test]
async fn what_is_told_beside_power_never_delays_the_power_of_any_meter() {
    let device = device(1).await;
    device.set(2, POWER, 800);
    for address in [FREQUENCY, VOLTAGE, PHASE, IMPORT, EXPORT] {
        device.set(2, address, 1);
    }
    // Each answer takes a third of the period.
    device.script(|_, right| Act::Late(Duration::from_millis(35), right));
    let mut fast = meter(2, &[POWER]);
    fast.period = Duration::from_millis(150);
    let mut slow = rich(1);
    slow.period = Duration::from_millis(300);
    let stalls = Stalls::watch();
    let reader = device.read(vec![slow, fast]);
    sleep(Duration::from_millis(3_000)).await;
    let asked = device.asked();
    let gap = longest_gap(&times(&asked, 2, POWER));
    assert!(
        gap < Duration::from_millis(150 + 35 + 30) + stalls.most(),
        "{gap:?}: more than the other meter's power may cost"
    );
    for address in [FREQUENCY, PHASE] {
        let count = times(&asked, 1, address).len();
        assert!((2..=4).contains(&count), "{count} reads of {address} in 3 s, once a second");
    }
    assert_eq!(reader.now(0).others.iter().count(), 5);
}

#[tokio::test]
async fn on_a_link_without_pauses_one_request_a_second_goes_out_for_the_rest() {
    let device = device(1).await;
    device.script(|_, right| Act::Late(Duration::from_millis(15), right));
    let mut busy = rich(1);
    busy.period = Duration::from_millis(20);
    let stalls = Stalls::watch();
    let mut reader = device.read(vec![busy]);
    let input = reader.until_it(0, |input| input.others.iter().count() == 2).await;
    assert!(other(&input, Measure::Frequency).is_some(), "the longest overdue comes first");
    sleep(Duration::from_millis(300)).await;
    let asked = device.asked();
    let rest: Vec<_> = asked.iter().filter(|asked| asked.address != POWER).collect();
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert!(rest[0].at > Moment::millis(2_900), "only when it had waited for long");
    let gap = longest_gap(&times(&asked, 1, POWER));
    assert!(
        gap < Duration::from_millis(120) + stalls.most(),
        "{gap:?}: one exchange, and not the whole rest"
    );
}

#[tokio::test]
async fn a_refused_point_is_remembered_until_the_link_is_opened_anew() {
    let device = Device::start().await;
    for (address, value) in [(POWER, 700), (VOLTAGE, 230), (IMPORT, 9_000)] {
        device.set(1, address, value);
    }
    let mut reader = device.read(vec![rich(1)]);
    reader.until_it(0, |input| input.others.iter().count() == 2).await;
    sleep(Duration::from_millis(2_200)).await;
    let input = reader.now(0);
    assert_eq!((input.status, watts(&input)), (MeterStatus::Ok, Some(700.0)));
    assert_eq!((other(&input, Measure::VoltageL1), other(&input, Measure::Frequency)), (Some(230.0), None));
    let asked = device.asked();
    assert_eq!(times(&asked, 1, FREQUENCY).len(), 2, "together with its neighbour, alone, and no more");
    assert_eq!((times(&asked, 1, PHASE).len(), times(&asked, 1, EXPORT).len()), (1, 1));
    assert!(times(&asked, 1, VOLTAGE).len() >= 2, "its neighbour is read on");
    assert_eq!(reader.reads(0, "exception"), 0);
    // The device learns it while it is restarted.
    device.set(1, FREQUENCY, 50);
    let last = asked.len();
    device.script(move |asked, right| if asked.number == last + 1 { Act::Reset } else { Act::Send(right) });
    let input = reader.until_it(0, |input| input.others.get(Measure::Frequency).is_some()).await;
    assert_eq!(other(&input, Measure::Frequency), Some(50.0));
}

#[tokio::test]
async fn a_point_that_is_never_answered_costs_a_timeout_now_and_then_and_not_the_power() {
    let device = device(1).await;
    device.script(|asked, right| if asked.address == PHASE { Act::Silence } else { Act::Send(right) });
    let mut reader = device.read(vec![rich(1)]);
    reader.until_it(0, |input| input.others.iter().count() == 4).await;
    sleep(Duration::from_millis(1_500)).await;
    let input = reader.now(0);
    assert_eq!((input.status, watts(&input)), (MeterStatus::Ok, Some(700.0)));
    assert_eq!(
        reader.reads(0, "ok"),
        reader.meters.counters[0].reads().iter().map(|(_, count)| count).sum::<u64>()
    );
    assert_eq!(times(&device.asked(), 1, PHASE).len(), 1, "not again for ten seconds");
    assert_eq!(other(&input, Measure::PowerL1), None);
}

#[tokio::test]
async fn an_absent_point_leaves_the_others_alone() {
    let device = device(1).await;
    device.set(1, FREQUENCY, 0xFFFF);
    let mut reader = device.read(vec![rich(1)]);
    reader.until_it(0, |input| input.others.iter().count() == 4).await;
    let input = reader.now(0);
    assert_eq!((input.status, other(&input, Measure::Frequency)), (MeterStatus::Ok, None));
    device.set(1, FREQUENCY, 51);
    let good = reader.until_it(0, |input| input.others.get(Measure::Frequency).is_some()).await;
    device.set(1, FREQUENCY, 0xFFFF);
    sleep(Duration::from_millis(1_200)).await;
    assert_eq!(reader.now(0).others.get(Measure::Frequency), good.others.get(Measure::Frequency), "it ages");
}

#[tokio::test]
async fn a_meter_without_power_follows_the_points_that_it_has() {
    let device = device(1).await;
    let mut battery = rich(1);
    battery.profile.power = Point::default();
    battery.profile.others.insert(Measure::StateOfCharge, Point::of(vec![register(99)]));
    let mut reader = device.read(vec![battery]);
    let input = reader.until(0, MeterStatus::Ok).await;
    assert_eq!((input.power, other(&input, Measure::Frequency)), (None, Some(50.0)));
    assert_eq!(other(&input, Measure::StateOfCharge), None, "refused");
    let first = input.others.get(Measure::Frequency).unwrap().at;
    let stalls = Stalls::watch();
    let next = reader.until_it(0, |input| input.others.get(Measure::Frequency).unwrap().at > first).await;
    let between = next.others.get(Measure::Frequency).unwrap().at - first;
    assert!(between < PERIOD * 4 + stalls.most(), "{between:?}: at the meter's period");
    assert_eq!(times(&device.asked(), 1, 99).len(), 1);
    device.script(|asked, _| Act::Send(asked.exception(2)));
    reader.until(0, MeterStatus::Exception(2)).await;
    device.script(|asked, right| if asked.unit == 1 { Act::Silence } else { Act::Send(right) });
    let lost = reader.until(0, MeterStatus::Unreachable).await;
    assert_eq!(other(&lost, Measure::Frequency), Some(50.0), "old, and still known");
}

#[tokio::test]
async fn a_value_that_the_device_has_not_renewed_is_no_new_sample() {
    let device = device(1).await;
    device.script(|asked, _| {
        let steps = u16::try_from(asked.at.since_start().as_millis() / 400).unwrap();
        Act::Send(asked.words(&[steps.min(5)]))
    });
    let mut reader = device.read(vec![meter(1, &[POWER])]);
    let mut samples: Vec<(f64, Moment)> = Vec::new();
    while reader.clock.now() < Moment::millis(3_600) {
        let input = reader.next(0).await;
        assert_eq!(input.status, MeterStatus::Ok);
        let reading = input.power.unwrap();
        if samples.last().is_none_or(|(_, at)| *at != reading.at) {
            samples.push((reading.value.get(), reading.at));
        }
    }
    // From 2 s on the value stands still; by then the device is known.
    let late: Vec<Moment> =
        samples.iter().map(|(_, at)| *at).filter(|at| *at > Moment::millis(1_150)).collect();
    assert!((4..=8).contains(&late.len()), "{late:?}");
    for pair in late.windows(2) {
        assert!(pair[1] - pair[0] > Duration::from_millis(250), "{late:?}");
    }
    let refresh = reader.now(0).refresh.unwrap();
    assert!((Duration::from_millis(330)..Duration::from_millis(470)).contains(&refresh), "{refresh:?}");
}

/// A point of a single bit.
fn bit(function: Function, address: u16, scale: f64) -> Point {
    Point::of(vec![Register { function, address, format: Format::Bool, scale, ..Register::default() }])
}

fn bits(asked: &Asked, bytes: &[u8]) -> Act {
    let count = u8::try_from(bytes.len()).unwrap();
    Act::Send(asked.frame(&[&[asked.function, count][..], bytes].concat()))
}

#[tokio::test]
async fn coils_and_discrete_inputs_are_points() {
    let device = Device::start().await;
    // Ten coils from 100 on, of which the first and the last are set; one discrete input.
    device.script(|asked, _| match (asked.function, asked.address, asked.count) {
        (1, 100, 10) => bits(asked, &[0b0000_0001, 0b1111_1110]),
        (2, 7, 1) => bits(asked, &[0b1000_0001]),
        _ => Act::Send(asked.exception(2)),
    });
    let mut coils = meter(1, &[]);
    coils.profile.power.terms =
        (100..110).flat_map(|address| bit(Function::Coil, address, f64::from(address)).terms).collect();
    let mut contact = meter(2, &[]);
    contact.profile.power = bit(Function::Discrete, 7, -2_500.0);
    let mut reader = device.read(vec![coils, contact]);
    assert_eq!(watts(&reader.until(0, MeterStatus::Ok).await), Some(209.0), "100 and 109");
    assert_eq!(watts(&reader.until(1, MeterStatus::Ok).await), Some(-2_500.0));
    device.script(|asked, _| bits(asked, &[0]));
    reader.until(0, MeterStatus::Malformed).await;
    assert_eq!(watts(&reader.until_it(1, |input| watts(input) == Some(-0.0)).await), Some(0.0));
    assert_eq!(watts(&reader.now(0)), Some(209.0), "one byte is too few for ten coils");
    device.script(|asked, _| bits(asked, &[0, 0, 0]));
    reader.until(1, MeterStatus::Malformed).await;
}

/// A Victron GX with more export on a phase than its register can show, and then more import.
#[tokio::test]
async fn a_register_at_its_end_of_export_is_surplus_and_one_that_runs_over_is_not() {
    let device = Device::start().await;
    let show =
        |words: [u16; 3]| (820..).zip(words).for_each(|(address, word)| device.set_at(100, 3, address, word));
    show([0x8400, 0xFC18, 100]);
    let profile = ballast::config::builtin::profile("victron-gx").unwrap();
    let mut reader = device.read(vec![Connection { profile, ..meter(100, &[]) }]);
    let input = reader.until_it(0, |input| input.power.is_some()).await;
    assert_eq!((watts(&input), input.at_most), (Some(-32_644.0), false));
    show([0x8000, 0xFC18, 100]);
    let input = reader.until_it(0, |input| input.at_most).await;
    assert_eq!((input.status, watts(&input)), (MeterStatus::Ok, Some(-33_668.0)));
    // The phase imports, and its register has run over from the other end.
    show([0x7F00, 0xFC18, 100]);
    let input = reader.until(0, MeterStatus::Implausible).await;
    assert_eq!(watts(&input), Some(-33_668.0), "the jump is none of the power");
    show([0x8500, 0xFC18, 100]);
    let input = reader.until_it(0, |input| input.status == MeterStatus::Ok && !input.at_most).await;
    assert_eq!(watts(&input), Some(-32_388.0));
}

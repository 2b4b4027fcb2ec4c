//! SunSpec discovery on images that were written by hand from the model definitions, and on hostile ones.

use std::collections::HashMap;

use ballast::meter::decode::{self, Absent};
use ballast::meter::plan::Plan;
use ballast::meter::profile::{Function, Measure, Profile};
use ballast::meter::sunspec::{
    Answer, Discovery, Found, Kind, MAX_REQUESTS, Refused, SunSpecError, preferred,
};
use proptest::prelude::*;

/// The holding registers of a device; those that are not there give exception 2.
#[derive(Clone, Default)]
struct Device(HashMap<u16, u16>);

impl Device {
    fn with(mut self, address: u16, words: &[u16]) -> Self {
        self.0.extend((address..=u16::MAX).zip(words.iter().copied()));
        self
    }

    fn read(&self, address: u16, count: u16) -> Answer {
        let word = |offset| address.checked_add(offset).and_then(|address| self.0.get(&address).copied());
        (0..count).map(word).collect::<Option<Vec<u16>>>().ok_or(Refused)
    }

    fn discover(&self) -> Result<Vec<Found>, SunSpecError> {
        discover(|address, count| self.read(address, count))
    }

    /// The value of a measure, read as the link reads it.
    fn value(&self, profile: &Profile, measure: Measure) -> Result<f64, Absent> {
        let point = profile.point(measure).unwrap_or_else(|| panic!("no {measure:?}"));
        let mut plan = Plan::new([point]);
        let mut position = 0;
        while let Some(span) = plan.span(position) {
            assert_eq!(span.function, Function::Holding);
            plan.store(position, &self.read(span.address, span.count).unwrap());
            position += 1;
        }
        decode::explain(point, |register| plan.words(register))
    }
}

fn discover(read: impl Fn(u16, u16) -> Answer) -> Result<Vec<Found>, SunSpecError> {
    let mut discovery = Discovery::new();
    let mut requests = 0;
    while let Some(request) = discovery.request() {
        requests += 1;
        assert!(requests <= MAX_REQUESTS, "no end");
        assert!((1..=125).contains(&request.count));
        discovery.answer(&read(request.address, request.count));
    }
    discovery.finish()
}

/// "SunS", and a common model of 66 registers: Acme, EM-3, serial number 42.
fn common() -> Vec<u16> {
    let mut words = vec![0x5375, 0x6E53, 1, 66];
    let mut body = vec![0_u16; 66];
    body[0..2].copy_from_slice(&[0x4163, 0x6D65]);
    body[16..18].copy_from_slice(&[0x454D, 0x2D33]);
    body[48] = 0x3432;
    words.extend(body);
    words
}

/// Model 203 with its number and length; offsets count from the number.
fn meter_203() -> Vec<u16> {
    let mut model = vec![0x8000_u16; 107];
    model[0..2].copy_from_slice(&[203, 105]);
    // 230.1 V, 229.9 V, not implemented; factor 0.1
    model[8..11].copy_from_slice(&[2301, 2299, 0x8000]);
    model[15] = 0xFFFF;
    // 50.02 Hz
    model[16..18].copy_from_slice(&[5002, 0xFFFE]);
    // -12.34 kW = -1000 - 234 + 0 and ten watts a count
    model[18..23].copy_from_slice(&[0xFB2E, 0xFC18, 0xFF16, 0, 1]);
    // 7.0 kWh out, 6553.9 kWh in; a hundred watt-hours a count
    model[38..40].copy_from_slice(&[0, 70]);
    model[46..48].copy_from_slice(&[1, 3]);
    model[54] = 2;
    model
}

/// Model 213: floats.
fn meter_213() -> Vec<u16> {
    let mut model = vec![0x7FC0_u16; 126];
    model[0..2].copy_from_slice(&[213, 124]);
    // 230.0 V, 231.5 V, NaN
    model[12..18].copy_from_slice(&[0x4366, 0, 0x4367, 0x8000, 0x7FC0, 0]);
    // 50.0 Hz
    model[26..28].copy_from_slice(&[0x4248, 0]);
    // -1500.0, 400.25, 300.5, 1000.0 W
    model[28..36].copy_from_slice(&[0xC4BB, 0x8000, 0x43C8, 0x2000, 0x4396, 0x4000, 0x447A, 0]);
    // 500 Wh out, 100000 Wh in
    model[60..62].copy_from_slice(&[0x43FA, 0]);
    model[68..70].copy_from_slice(&[0x47C3, 0x5000]);
    // No events.
    model[124..126].copy_from_slice(&[0, 0]);
    model
}

#[test]
fn a_meter_that_says_that_its_sensor_is_missing_has_no_value() {
    for (model, events) in [(meter_203(), 105), (meter_213(), 124)] {
        for (says, counts) in [
            ([0, 0], true),
            ([0, 1 << 7], false),
            ([0, 1 << 2], false),
            ([0xFFFF, 0xFF7B], true),
            ([0xFFFF, 0xFFFF], true),
        ] {
            let mut model = model.clone();
            model[events..events + 2].copy_from_slice(&says);
            let device = Device::default().with(40_000, &chain(&[model]));
            let found = device.discover().unwrap();
            for measure in [Measure::Power, Measure::VoltageL1] {
                let value = device.value(&found[0].profile, measure);
                assert_eq!(value.is_ok(), counts, "{says:x?}: {value:?}");
                assert!(counts || value == Err(Absent::Away), "{value:?}");
            }
        }
    }
}

fn chain(models: &[Vec<u16>]) -> Vec<u16> {
    let mut words = common();
    models.iter().for_each(|model| words.extend(model));
    words.extend([0xFFFF, 0]);
    words
}

#[test]
fn a_203_is_read_by_absolute_addresses_with_its_scale_factors() {
    let device = Device::default().with(40_000, &chain(&[meter_203()]));
    let found = device.discover().unwrap();
    assert_eq!(found.len(), 1);
    let meter = &found[0];
    assert_eq!((meter.model, meter.address, meter.kind), (203, 40_070, Kind::Meter));
    let identity = &meter.identity;
    assert_eq!(
        (identity.manufacturer.as_str(), identity.model.as_str(), identity.serial.as_str()),
        ("Acme", "EM-3", "42")
    );
    assert_eq!(meter.profile.description, "Acme EM-3");
    assert_eq!(meter.profile.power.terms[0].address, 40_088);
    for (measure, expected) in [
        (Measure::Power, -12_340.0),
        (Measure::PowerL1, -10_000.0),
        (Measure::PowerL2, -2_340.0),
        (Measure::PowerL3, 0.0),
        (Measure::VoltageL1, 230.1),
        (Measure::VoltageL2, 229.9),
        (Measure::Frequency, 50.02),
        (Measure::EnergyExport, 7_000.0),
        (Measure::EnergyImport, 6_553_900.0),
    ] {
        assert_eq!(device.value(&meter.profile, measure), Ok(expected), "{measure:?}");
    }
    assert_eq!(device.value(&meter.profile, Measure::VoltageL3), Err(Absent::Unavailable));
}

#[test]
fn a_213_at_another_base_is_read_as_floats() {
    for base in [0, 50_000] {
        let device = Device::default().with(base, &chain(&[meter_213()]));
        let found = device.discover().unwrap();
        let profile = &found[0].profile;
        assert_eq!(found[0].address, base + 70);
        for (measure, expected) in [
            (Measure::Power, -1_500.0),
            (Measure::PowerL1, 400.25),
            (Measure::PowerL2, 300.5),
            (Measure::PowerL3, 1_000.0),
            (Measure::VoltageL1, 230.0),
            (Measure::VoltageL2, 231.5),
            (Measure::Frequency, 50.0),
            (Measure::EnergyExport, 500.0),
            (Measure::EnergyImport, 100_000.0),
        ] {
            assert_eq!(device.value(profile, measure), Ok(expected), "{measure:?}");
        }
        assert_eq!(device.value(profile, Measure::VoltageL3), Err(Absent::Unavailable));
    }
}

#[test]
fn a_value_comes_in_one_request_with_its_scale_factor() {
    let device = Device::default().with(40_000, &chain(&[meter_203()]));
    let profile = device.discover().unwrap().remove(0).profile;
    let plan = Plan::new([&profile.power]);
    let span = plan.span(0).unwrap();
    assert_eq!((span.address, span.count), (40_088, 5), "the factor may change between two requests");
    let mut split = plan.clone();
    assert!(!split.split(0), "and no refusal tears them apart");
    let all = Plan::new(profile.points().map(|(_, point)| point));
    assert!((0..).map_while(|position| all.span(position)).all(|span| span.count <= 125));
}

#[test]
fn a_scale_factor_that_is_not_implemented_makes_the_value_absent() {
    let mut model = meter_203();
    for factor in [0x8000, 11, 0xFFF5] {
        model[22] = factor;
        let device = Device::default().with(40_000, &chain(&[model.clone()]));
        let profile = device.discover().unwrap().remove(0).profile;
        assert_eq!(device.value(&profile, Measure::Power), Err(Absent::NoScale), "{factor:#x}");
    }
}

#[test]
fn an_inverter_and_a_resource_show_generation_as_negative() {
    let mut inverter = vec![0xFFFF_u16; 52];
    inverter[0..2].copy_from_slice(&[103, 50]);
    inverter[14..16].copy_from_slice(&[5_000, 0]);
    let mut resource = vec![0xFFFF_u16; 155];
    resource[0..2].copy_from_slice(&[701, 153]);
    resource[10] = 700;
    resource[17..19].copy_from_slice(&[0, 5_000]);
    resource[19..23].copy_from_slice(&[0, 0, 0, 9]);
    resource[114..117].copy_from_slice(&[0xFFFF, 0xFFFE, 1]);
    resource[120] = 3;
    let mut float = vec![0x7FC0_u16; 62];
    float[0..2].copy_from_slice(&[111, 60]);
    float[22..24].copy_from_slice(&[0x447A, 0]);
    let device = Device::default().with(40_000, &chain(&[inverter, resource, float, meter_203()]));
    let found = device.discover().unwrap();
    let power: Vec<_> = found.iter().map(|found| device.value(&found.profile, Measure::Power)).collect();
    assert_eq!(power, [Ok(-5_000.0), Ok(-7_000.0), Ok(-1_000.0), Ok(-12_340.0)]);
    assert_eq!(device.value(&found[1].profile, Measure::Frequency), Ok(50.0));
    assert_eq!(device.value(&found[1].profile, Measure::EnergyExport), Ok(9_000.0));
    assert_eq!(device.value(&found[1].profile, Measure::EnergyImport), Err(Absent::Unavailable));
    assert_eq!(preferred(&found).unwrap().model, 203, "a meter before a source");
}

#[test]
fn each_meter_behind_a_gateway_has_its_own_name() {
    let mut words = chain(&[meter_203()]);
    words.truncate(words.len() - 2);
    let mut second = common().split_off(2);
    second[2] = 0x5A5A;
    words.extend(second);
    words.extend(meter_213());
    words.extend([0xFFFF, 0]);
    let found = Device::default().with(40_000, &words).discover().unwrap();
    let names: Vec<&str> = found.iter().map(|found| found.identity.manufacturer.as_str()).collect();
    assert_eq!(names, ["Acme", "ZZme"]);
}

#[test]
fn what_is_no_sunspec_device_is_told_so() {
    assert_eq!(Device::default().discover(), Err(SunSpecError::NoMark));
    assert_eq!(discover(|_, count| Ok(vec![0; usize::from(count)])), Err(SunSpecError::NoMark));
    assert_eq!(
        Device::default().with(40_000, &chain(&[vec![999, 1, 0]])).discover(),
        Err(SunSpecError::NoPower)
    );
    assert!(SunSpecError::NoMark.to_string().contains("40000, 0 or 50000"));
}

#[test]
fn a_chain_that_breaks_off_says_where() {
    let mut words = chain(&[meter_203()]);
    words.truncate(words.len() - 2);
    let device = Device::default().with(40_000, &words);
    assert_eq!(device.discover(), Err(SunSpecError::Truncated { address: 40_177 }));
    assert_eq!(Discovery::new().finish(), Err(SunSpecError::NoMark));
}

#[test]
fn giant_lengths_empty_registers_and_endless_chains_are_refused() {
    let claims = |words: &[u16]| {
        let chain: Vec<u16> = [0x5375, 0x6E53].iter().chain(words).copied().collect();
        Device::default().with(50_000, &chain).discover()
    };
    let overlong = |length| Err(SunSpecError::Overlong { model: 203, address: 50_002, length });
    assert_eq!(claims(&[203, 0xFFFF]), overlong(0xFFFF));
    assert_eq!(claims(&[203, 8_193]), overlong(8_193));
    assert_eq!(claims(&[0, 0]), Err(SunSpecError::Empty { address: 50_002 }));
    // Models of no length, without end: the same two words for ever.
    let endless = |address: u16, count: u16| match (address, count) {
        (40_000, 2) => Ok(vec![0x5375, 0x6E53]),
        (_, count) => Ok([203, 0].into_iter().cycle().take(usize::from(count)).collect()),
    };
    assert_eq!(discover(endless), Err(SunSpecError::Endless));
}

#[test]
fn a_model_that_is_too_short_for_its_power_is_passed_over() {
    let mut short = meter_203();
    short[1] = 20;
    short.truncate(22);
    let device = Device::default().with(40_000, &chain(&[short, meter_213()]));
    let models: Vec<u16> = device.discover().unwrap().iter().map(|found| found.model).collect();
    assert_eq!(models, [213]);
}

#[test]
fn an_answer_of_another_length_ends_the_discovery() {
    let error = discover(|_, _| Ok(vec![0x5375])).unwrap_err();
    assert_eq!(error, SunSpecError::Miscounted { address: 40_000, wanted: 2, got: 1 });
}

#[test]
fn names_that_are_no_text_stay_harmless() {
    let mut words = chain(&[meter_203()]);
    words[4..8].copy_from_slice(&[0x1B5B, 0x324A, 0xFFFE, 0x0041]);
    let device = Device::default().with(40_000, &words);
    assert_eq!(device.discover().unwrap()[0].identity.manufacturer, "?[2J??");
}

#[tokio::test]
async fn a_link_that_fails_ends_the_discovery_with_its_own_error() {
    let device = Device::default().with(40_000, &chain(&[meter_203()]));
    let found = ballast::meter::sunspec::discover(async |request| {
        Ok::<_, String>(device.read(request.address, request.count))
    });
    assert_eq!(found.await.unwrap().unwrap().len(), 1);
    let failed = ballast::meter::sunspec::discover(async |_| Err("cable".to_owned()));
    assert_eq!(failed.await, Err("cable".to_owned()));
}

proptest! {
    #[test]
    fn any_device_comes_to_an_end_and_gives_profiles_that_can_be_read(
        base in proptest::sample::select(vec![40_000_u16, 0, 50_000]),
        models in proptest::collection::vec(
            (proptest::sample::select(vec![1_u16, 101, 112, 203, 213, 701, 64_001]), 0_u16..300), 0..12),
        fill in any::<u16>(),
        cut in 0_usize..2_000,
    ) {
        let mut words = vec![0x5375, 0x6E53];
        for (model, length) in models {
            words.extend([model, length]);
            words.extend(std::iter::repeat_n(fill, usize::from(length)));
        }
        words.extend([0xFFFF, 0]);
        words.truncate(cut);
        let device = Device::default().with(base, &words);
        if let Ok(found) = device.discover() {
            for found in found {
                for (measure, _) in found.profile.points() {
                    if let Ok(number) = device.value(&found.profile, measure) {
                        prop_assert!(number.is_finite());
                    }
                }
            }
        }
    }
}

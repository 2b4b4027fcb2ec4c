//! Every profile of `config/meters/` against a register image that was written by hand from the makers' tables:
//! address, type, word order and scale. Nothing here comes out of an encoder of ours.

mod more;

use std::collections::{BTreeSet, HashMap};

use ballast::config::builtin;
use ballast::meter::decode::{self, Absent, Measured};
use ballast::meter::plan::Plan;
use ballast::meter::profile::Function::{Holding, Input};
use ballast::meter::profile::Measure::{
    EnergyExport, EnergyImport, Frequency, Power, PowerL1, PowerL2, PowerL3, StateOfCharge, VoltageL1,
    VoltageL2, VoltageL3,
};
use ballast::meter::profile::{Certainty, FullScale, Function, Measure, Profile};
use ballast::units::{Joules, Watts};

/// Runs of words by the address of the first.
type Image<'a> = &'a [(u16, &'a [u16])];

/// Reads every request of a profile from an image, which must have all of it and in the right table.
fn read(profile: &Profile, function: Function, image: Image<'_>) -> Plan {
    let words: HashMap<u16, u16> =
        image.iter().flat_map(|(first, words)| (*first..).zip(words.iter().copied())).collect();
    let mut plan = Plan::new(profile.points().map(|(_, point)| point));
    let mut position = 0;
    while let Some(span) = plan.span(position) {
        assert_eq!(span.function, function, "{}: the table of {}", profile.name, span.address);
        let answer: Vec<u16> = (span.address..span.address + span.count)
            .map(|address| {
                *words.get(&address).unwrap_or_else(|| panic!("{}: reads {address:#06x}", profile.name))
            })
            .collect();
        plan.store(position, &answer);
        position += 1;
    }
    plan
}

fn value(profile: &Profile, plan: &Plan, measure: Measure) -> Result<f64, Absent> {
    let point = profile.point(measure).unwrap_or_else(|| panic!("{} has no {measure:?}", profile.name));
    decode::explain(point, |register| plan.words(register))
}

fn profile(name: &str) -> Profile {
    builtin::profile(name).unwrap_or_else(|| panic!("there is no profile {name}"))
}

/// The profile tells exactly these values, in watts, volts, hertz, watt-hours and percent.
#[track_caller]
fn tells(profile: &Profile, function: Function, image: Image<'_>, expected: &[(Measure, f64)]) {
    let plan = read(profile, function, image);
    let has: BTreeSet<Measure> = profile.points().map(|(measure, _)| measure).collect();
    let tested: BTreeSet<Measure> = expected.iter().map(|(measure, _)| *measure).collect();
    assert_eq!(has, tested, "{}: points and expectations", profile.name);
    for (measure, expected) in expected {
        let number = value(profile, &plan, *measure);
        assert!(
            number.is_ok_and(|number| (number - expected).abs() <= 1e-9 * expected.abs().max(1.0)),
            "{}: {measure:?} is {number:?}, not {expected}",
            profile.name,
        );
    }
}

/// Total power out of an image that says there is none.
#[track_caller]
fn power_is(profile: &Profile, function: Function, image: Image<'_>, expected: Result<f64, Absent>) {
    let power = Profile { others: std::collections::BTreeMap::new(), ..profile.clone() };
    assert_eq!(value(&power, &read(&power, function, image), Power), expected, "{}", profile.name);
}

#[test]
fn eastron_sdm630() {
    tells(
        &profile("eastron-sdm630"),
        Input,
        &[
            (0x00, &[0x4366, 0x0000, 0x4367, 0x8000, 0x4365, 0x0000]),
            (0x0C, &[0x43C8, 0x2000, 0x4396, 0x4000, 0xC4BB, 0x8000]),
            (0x34, &[0xC4BB, 0x8000]),
            (0x46, &[0x4248, 0x0000, 0x3FC0, 0x0000, 0x3F00, 0x0000]),
        ],
        &[
            (Power, -1500.0),
            (PowerL1, 400.25),
            (PowerL2, 300.5),
            (PowerL3, -1500.0),
            (VoltageL1, 230.0),
            (VoltageL2, 231.5),
            (VoltageL3, 229.0),
            (Frequency, 50.0),
            (EnergyImport, 1500.0),
            (EnergyExport, 500.0),
        ],
    );
}

#[test]
fn eastron_sdm120() {
    tells(
        &profile("eastron-sdm120"),
        Input,
        &[
            (0x00, &[0x4366, 0x0000]),
            (0x0C, &[0x4640, 0xE600]),
            (0x46, &[0x4246, 0x0000, 0x4000, 0x0000, 0x3F00, 0x0000]),
        ],
        &[
            (Power, 12_345.5),
            (VoltageL1, 230.0),
            (Frequency, 49.5),
            (EnergyImport, 2_000.0),
            (EnergyExport, 500.0),
        ],
    );
}

/// The registers that all of Carlo Gavazzi's meters here share: the low word first.
const GAVAZZI: [(u16, &[u16]); 3] = [
    // 230.1 V, 229.9 V, 6553.6 V
    (0x00, &[2301, 0, 2299, 0, 0, 1]),
    // 123.4 W, -1 W, 6554.6 W
    (0x12, &[1234, 0, 0xFFF6, 0xFFFF, 10, 1]),
    // -6553.7 W
    (0x28, &[0xFFFF, 0xFFFE]),
];
const GAVAZZI_TELLS: [(Measure, f64); 10] = [
    (Power, -6_553.7),
    (PowerL1, 123.4),
    (PowerL2, -1.0),
    (PowerL3, 6_554.6),
    (VoltageL1, 230.1),
    (VoltageL2, 229.9),
    (VoltageL3, 6_553.6),
    (Frequency, 50.0),
    (EnergyImport, 6_553_600.0),
    (EnergyExport, 700.0),
];

#[test]
fn carlo_gavazzi_em340_and_em24_with_ethernet() {
    let [voltages, phases, power] = GAVAZZI;
    let image = [voltages, phases, power, (0x33, &[500, 0, 1]), (0x4E, &[7, 0])];
    tells(&profile("carlo-gavazzi-em340"), Input, &image, &GAVAZZI_TELLS);
    tells(&profile("carlo-gavazzi-em24-e1"), Input, &image, &GAVAZZI_TELLS);
}

#[test]
fn carlo_gavazzi_em24_with_rs485() {
    let [voltages, phases, power] = GAVAZZI;
    let image = [voltages, phases, power, (0x37, &[500]), (0x3E, &[0, 1]), (0x5C, &[7, 0])];
    tells(&profile("carlo-gavazzi-em24-rs485"), Input, &image, &GAVAZZI_TELLS);
}

#[test]
fn schneider_iem3000_is_in_kilowatts() {
    let iem = profile("schneider-iem3000");
    tells(
        &iem,
        Holding,
        &[
            (3027, &[0x4366, 0x0000, 0x4367, 0x8000, 0x4365, 0x0000]),
            (3053, &[0x3F00, 0x0000, 0x3FC0, 0x0000, 0xC050, 0x0000, 0x4000, 0x0000]),
            (3109, &[0x4248, 0x0000]),
            (3203, &[0, 0, 1, 2, 0, 0, 0, 17]),
        ],
        &[
            (Power, 2_000.0),
            (PowerL1, 500.0),
            (PowerL2, 1_500.0),
            (PowerL3, -3_250.0),
            (VoltageL1, 230.0),
            (VoltageL2, 231.5),
            (VoltageL3, 229.0),
            (Frequency, 50.0),
            (EnergyImport, 65_538.0),
            (EnergyExport, 17.0),
        ],
    );
    power_is(&iem, Holding, &[(3059, &[0x7FC0, 0x0000])], Err(Absent::Unavailable));
}

/// The answer that ABB's own manual prints for the registers from 0x5B14 (A43/A44 User Manual 2CMC480001M0201, chapter
/// "Communication with Modbus"); voltages and energies by the manual's tables.
#[test]
fn abb_b23_b24_and_the_makers_own_example() {
    let abb = profile("abb-b23-b24");
    tells(
        &abb,
        Holding,
        &[
            (0x5000, &[0, 0, 3, 0x1292, 0, 0, 0, 0x923A]),
            (0x5B00, &[0, 2301, 0, 2299, 0, 2310]),
            (0x5B14, &[0x0001, 0xE8E4, 0x0000, 0x5AE2, 0x0000, 0xB097, 0x0000, 0xDD6B]),
            (0x5B2C, &[0x1383]),
        ],
        &[
            (Power, 1_251.56),
            (PowerL1, 232.66),
            (PowerL2, 452.07),
            (PowerL3, 566.83),
            (VoltageL1, 230.1),
            (VoltageL2, 229.9),
            (VoltageL3, 231.0),
            (Frequency, 49.95),
            // 2013.62 kWh and 374.34 kWh
            (EnergyImport, 2_013_620.0),
            (EnergyExport, 374_340.0),
        ],
    );
    power_is(&abb, Holding, &[(0x5B14, &[0x7FFF, 0xFFFF])], Err(Absent::Unavailable));
    power_is(&abb, Holding, &[(0x5B14, &[0xFFFF, 0xFF9C])], Ok(-1.0));
}

#[test]
fn abb_m4m20() {
    let abb = profile("abb-m4m20");
    tells(
        &abb,
        Holding,
        &[(0x5B02, &[0, 2301, 0, 2299, 0, 2310]), (0xCB1A, &[0xFFFF, 0xFC18])],
        &[(Power, -1_000.0), (VoltageL1, 230.1), (VoltageL2, 229.9), (VoltageL3, 231.0)],
    );
    power_is(&abb, Holding, &[(0xCB1A, &[0x7FFF, 0xFFFF])], Err(Absent::Unavailable));
}

/// The conversions that Satec's own guide works out (BG0414, 2.6.1): 662.4 kW full scale, 5500 is 66.3 kW and 500 is
/// -596 kW.
#[test]
fn satec_pm180_and_the_makers_own_examples() {
    let mut satec = profile("satec-pm180");
    power_is(&satec, Holding, &[(275, &[5500])], Err(Absent::OutOfRange));
    satec.set_full_scale(FullScale::Power, 662_400.0);
    satec.set_full_scale(FullScale::Voltage, 828.0);
    tells(
        &satec,
        Holding,
        &[(256, &[0, 2777, 9999]), (262, &[0, 9999, 500]), (275, &[5500])],
        &[
            (Power, 662_400.0 * 1001.0 / 9999.0),
            (PowerL1, -662_400.0),
            (PowerL2, 662_400.0),
            (PowerL3, -662_400.0 * 8999.0 / 9999.0),
            (VoltageL1, 0.0),
            (VoltageL2, 828.0 * 2777.0 / 9999.0),
            (VoltageL3, 828.0),
        ],
    );
    let plan = read(&satec, Holding, &[(256, &[0, 0, 0]), (262, &[0, 0, 500]), (275, &[5500])]);
    assert!((value(&satec, &plan, Power).unwrap_or(0.0) - 66_313.0).abs() < 1.0);
    assert!((value(&satec, &plan, PowerL3).unwrap_or(0.0) + 596_153.0).abs() < 1.0);
    power_is(&satec, Holding, &[(275, &[10_000])], Err(Absent::OutOfRange));
}

#[test]
fn siemens_pac2200() {
    tells(
        &profile("siemens-pac2200"),
        Holding,
        &[
            (1, &[0x4366, 0x0000, 0x4367, 0x8000, 0x4365, 0x0000]),
            (25, &[0x43C8, 0x2000, 0x4396, 0x4000, 0xC4BB, 0x8000]),
            (65, &[0x4640, 0xE600]),
            (801, &[0x40C8, 0x1C80, 0x0000, 0x0000]),
            (809, &[0x408F, 0x4000, 0x0000, 0x0000]),
        ],
        &[
            (Power, 12_345.5),
            (PowerL1, 400.25),
            (PowerL2, 300.5),
            (PowerL3, -1_500.0),
            (VoltageL1, 230.0),
            (VoltageL2, 231.5),
            (VoltageL3, 229.0),
            (EnergyImport, 12_345.0),
            (EnergyExport, 1_000.0),
        ],
    );
}

#[test]
fn janitza_umg96rm() {
    tells(
        &profile("janitza-umg96rm"),
        Holding,
        &[
            (19_000, &[0x4366, 0x0000, 0x4367, 0x8000, 0x4365, 0x0000]),
            (19_020, &[0x43C8, 0x2000, 0x4396, 0x4000, 0xC4BB, 0x8000, 0xC4BB, 0x8000]),
            (19_050, &[0x4248, 0x0000]),
            (19_068, &[0x47C3, 0x5000]),
            (19_076, &[0x43FA, 0x0000]),
        ],
        &[
            (Power, -1_500.0),
            (PowerL1, 400.25),
            (PowerL2, 300.5),
            (PowerL3, -1_500.0),
            (VoltageL1, 230.0),
            (VoltageL2, 231.5),
            (VoltageL3, 229.0),
            (Frequency, 50.0),
            (EnergyImport, 100_000.0),
            (EnergyExport, 500.0),
        ],
    );
}

#[test]
fn janitza_umg604() {
    tells(
        &profile("janitza-umg604"),
        Holding,
        &[
            (1317, &[0x4366, 0x0000, 0x4367, 0x8000, 0x4365, 0x0000]),
            (1333, &[0x43C8, 0x2000, 0x4396, 0x4000, 0xC4BB, 0x8000]),
            (1369, &[0x466A, 0x6000]),
            (1439, &[0x4248, 0x0000]),
            (9851, &[0x47C3, 0x5000]),
        ],
        &[
            (Power, 15_000.0),
            (PowerL1, 400.25),
            (PowerL2, 300.5),
            (PowerL3, -1_500.0),
            (VoltageL1, 230.0),
            (VoltageL2, 231.5),
            (VoltageL3, 229.0),
            (Frequency, 50.0),
            (EnergyImport, 100_000.0),
        ],
    );
}

#[test]
fn socomec_countis_is_in_tens_of_watts() {
    tells(
        &profile("socomec-countis"),
        Holding,
        &[
            (0xC558, &[0, 23_010, 0, 22_990, 1, 0, 0, 5_001]),
            (0xC568, &[0xFFFF, 0xFF85]),
            (0xC570, &[0, 100, 0xFFFF, 0xFFFF, 1, 0]),
            (0xC702, &[0, 7]),
            (0xC708, &[1, 0]),
        ],
        &[
            (Power, -1_230.0),
            (PowerL1, 1_000.0),
            (PowerL2, -10.0),
            (PowerL3, 655_360.0),
            (VoltageL1, 230.1),
            (VoltageL2, 229.9),
            (VoltageL3, 655.36),
            (Frequency, 50.01),
            (EnergyImport, 70.0),
            (EnergyExport, 655_360.0),
        ],
    );
}

#[test]
fn chint_dtsu666() {
    tells(
        &profile("chint-dtsu666"),
        Holding,
        &[
            (0x101E, &[0x3FC0, 0x0000]),
            (0x1028, &[0x3F00, 0x0000]),
            // 2300.0, 2300.0, 2300.0 tenths of a volt
            (0x2006, &[0x450F, 0xC000, 0x450F, 0xC000, 0x450F, 0xC000]),
            (0x2012, &[0xC4BB, 0x8000, 0x466A, 0x6000, 0x447A, 0x0000, 0x43FA, 0x0000]),
            (0x2044, &[0x459C, 0x4000]),
        ],
        &[
            (Power, -150.0),
            (PowerL1, 1_500.0),
            (PowerL2, 100.0),
            (PowerL3, 50.0),
            (VoltageL1, 230.0),
            (VoltageL2, 230.0),
            (VoltageL3, 230.0),
            (Frequency, 50.0),
            (EnergyImport, 1_500.0),
            (EnergyExport, 500.0),
        ],
    );
}

#[test]
fn victron_gx_adds_the_phases_and_refuses_a_saturated_one() {
    let grid = profile("victron-gx");
    tells(
        &grid,
        Holding,
        &[(820, &[1_000, 0xFE0C, 32_765]), (843, &[87])],
        &[
            (Power, 33_265.0),
            (PowerL1, 1_000.0),
            (PowerL2, -500.0),
            (PowerL3, 32_765.0),
            (StateOfCharge, 87.0),
        ],
    );
    power_is(&grid, Holding, &[(820, &[1_000, 0x7FFF, 0])], Err(Absent::Saturated));
    power_is(&grid, Holding, &[(820, &[1_000, 0, 0x8000])], Err(Absent::Saturated));
    let saturated = read(&grid, Holding, &[(820, &[1_000, 0x7FFF, 0]), (843, &[87])]);
    assert_eq!(value(&grid, &saturated, PowerL1), Ok(1_000.0), "the other phases are still known");
}

#[test]
fn victron_gx_battery_and_solar() {
    let battery = profile("victron-gx-battery");
    tells(&battery, Holding, &[(842, &[0xFC18, 55])], &[(Power, -1_000.0), (StateOfCharge, 55.0)]);
    power_is(&battery, Holding, &[(842, &[0x8000])], Err(Absent::Saturated));
    let solar = profile("victron-gx-pv");
    tells(&solar, Holding, &[(808, &[1, 2, 3, 10, 20, 40_000]), (850, &[5_000])], &[(Power, -45_036.0)]);
    power_is(&solar, Holding, &[(808, &[0, 0, 0, 0, 0, 0]), (850, &[0xFFFF])], Err(Absent::Saturated));
}

#[test]
fn huawei_sun2000_shows_export_as_positive() {
    let huawei = profile("huawei-sun2000");
    tells(
        &huawei,
        Holding,
        &[
            (37_100, &[1]),
            (37_101, &[0, 2301, 0, 2299, 0, 2310]),
            (37_113, &[0x0000, 0x03E8]),
            (37_119, &[0, 250, 0, 100]),
            (37_132, &[0, 500, 0xFFFF, 0xFFFE, 0, 502]),
        ],
        &[
            (Power, -1_000.0),
            (PowerL1, -500.0),
            (PowerL2, 2.0),
            (PowerL3, -502.0),
            (VoltageL1, 230.1),
            (VoltageL2, 229.9),
            (VoltageL3, 231.0),
            (EnergyImport, 1_000.0),
            (EnergyExport, 2_500.0),
        ],
    );
    power_is(&huawei, Holding, &[(37_100, &[1]), (37_113, &[0x7FFF, 0xFFFF])], Err(Absent::Unavailable));
    // The meter does not answer the inverter any more, and its last value stands there.
    power_is(&huawei, Holding, &[(37_100, &[0]), (37_113, &[0, 0x03E8])], Err(Absent::Away));
}

#[test]
fn sma_home_manager_is_import_less_export() {
    let sma = profile("sma-home-manager");
    tells(
        &sma,
        Input,
        &[(30_581, &[0, 9, 1, 0]), (30_865, &[0, 100, 0, 1_500])],
        &[(Power, -1_400.0), (EnergyImport, 9.0), (EnergyExport, 65_536.0)],
    );
    power_is(&sma, Input, &[(30_865, &[0, 100, 0x8000, 0])], Err(Absent::Unavailable));
}

#[test]
fn sungrow_sh_shows_export_as_positive_and_the_low_word_first() {
    let sungrow = profile("sungrow-sh");
    tells(
        &sungrow,
        Input,
        &[(13_009, &[0xEC78, 0xFFFF]), (13_036, &[5, 1])],
        &[(Power, 5_000.0), (EnergyImport, 6_554_100.0)],
    );
    power_is(&sungrow, Input, &[(13_009, &[0xFFFF, 0x7FFF])], Err(Absent::Unavailable));
}

#[test]
fn growatt_hybrid_is_import_less_export() {
    tells(
        &profile("growatt-hybrid"),
        Input,
        &[(1021, &[0, 12_345]), (1029, &[1, 0]), (1046, &[0, 7])],
        &[(Power, -5_319.1), (EnergyImport, 700.0)],
    );
}

#[test]
fn deye_3p() {
    let deye = profile("deye-3p");
    tells(
        &deye,
        Holding,
        &[(522, &[7, 0, 0, 1]), (598, &[2301, 2299, 2310]), (625, &[0xF830])],
        &[
            (Power, -2_000.0),
            (VoltageL1, 230.1),
            (VoltageL2, 229.9),
            (VoltageL3, 231.0),
            (EnergyImport, 700.0),
            (EnergyExport, 6_553_600.0),
        ],
    );
    power_is(&deye, Holding, &[(625, &[0x7FFF])], Err(Absent::Saturated));
}

#[test]
fn every_profile_is_tested_and_says_how_sure_it_is() {
    let source = concat!(include_str!("profiles.rs"), include_str!("profiles/more.rs"));
    for name in builtin::profile_names() {
        assert!(source.contains(&format!("profile(\"{name}\")")), "{name} has no test");
        let profile = profile(name);
        assert_ne!(profile.certainty, Certainty::Unknown, "{name}");
        assert!(!profile.description.is_empty(), "{name}");
    }
}

#[test]
fn energies_come_as_joules_and_powers_as_watts() {
    let sma = profile("sma-home-manager");
    let plan = read(&sma, Input, &[(30_581, &[0, 9, 1, 0]), (30_865, &[0, 100, 0, 1_500])]);
    let tell = |measure| decode::measured(&sma, measure, |register| plan.words(register));
    assert_eq!(tell(Power), Ok(Measured::Power(Watts::whole(-1_400))));
    assert_eq!(tell(EnergyImport), Ok(Measured::Energy(Joules::whole(32_400))));
    assert_eq!(tell(Frequency), Err(Absent::NotRead), "it has none");
}

#[test]
fn total_power_takes_the_fewest_requests() {
    for (name, requests) in
        [("eastron-sdm630", 1), ("victron-gx", 1), ("growatt-hybrid", 2), ("victron-gx-pv", 2)]
    {
        let plan = Plan::new([&profile(name).power]);
        let count = (0..).map_while(|position| plan.span(position)).count();
        assert_eq!(count, requests, "{name}");
    }
    profile("satec-pm180").point(PowerL1).expect("phases are declared");
}

//! The profiles of larger meters, of inverters and loggers with a meter behind them, and of generating sets.

use super::*;

/// 230 V, 231.5 V, 229 V.
const VOLTS: &[u16] = &[0x4366, 0x0000, 0x4367, 0x8000, 0x4365, 0x0000];
/// 400.25, 300.5, -1500.
const PHASES: &[u16] = &[0x43C8, 0x2000, 0x4396, 0x4000, 0xC4BB, 0x8000];
const VOLTS_TELL: [(Measure, f64); 3] = [(VoltageL1, 230.0), (VoltageL2, 231.5), (VoltageL3, 229.0)];

fn with(volts: &[(Measure, f64)], more: &[(Measure, f64)]) -> Vec<(Measure, f64)> {
    [volts, more].concat()
}

#[test]
fn accuenergy_acuvim_ii_is_in_kilowatts() {
    tells(
        &profile("accuenergy-acuvim-ii"),
        Holding,
        &[
            (0x4000, &[0x4248, 0x0000]),
            (0x4002, VOLTS),
            // 0.5 kW, 1.5 kW, -3.25 kW, 2 kW
            (0x401C, &[0x3F00, 0x0000, 0x3FC0, 0x0000, 0xC050, 0x0000, 0x4000, 0x0000]),
            (0x4048, &[0, 15, 1, 0]),
        ],
        &with(
            &VOLTS_TELL,
            &[
                (Power, 2_000.0),
                (PowerL1, 500.0),
                (PowerL2, 1_500.0),
                (PowerL3, -3_250.0),
                (Frequency, 50.0),
                (EnergyImport, 1_500.0),
                (EnergyExport, 6_553_600.0),
            ],
        ),
    );
}

#[test]
fn acrel_adw300() {
    let acrel = profile("acrel-adw300");
    tells(
        &acrel,
        Holding,
        &[
            (20, &[2301, 2299, 2310]),
            (30, &[0, 500, 0xFFFF, 0xFFFE, 1, 0, 0xFFFF, 0xFC18]),
            (62, &[0, 150, 0, 7]),
        ],
        &[
            (Power, -1_000.0),
            (PowerL1, 500.0),
            (PowerL2, -2.0),
            (PowerL3, 65_536.0),
            (VoltageL1, 230.1),
            (VoltageL2, 229.9),
            (VoltageL3, 231.0),
            (EnergyImport, 1_500.0),
            (EnergyExport, 70.0),
        ],
    );
    // Nobody says what it shows without a value; no power is at the end of 32 bits.
    power_is(&acrel, Holding, &[(36, &[0x8000, 0])], Err(Absent::Unavailable));
}

#[test]
fn carlo_gavazzi_em530_has_the_registers_of_its_predecessors() {
    let [voltages, phases, power] = GAVAZZI;
    let image = [voltages, phases, power, (0x33, &[500, 0, 1]), (0x4E, &[7, 0])];
    tells(&profile("carlo-gavazzi-em530"), Input, &image, &GAVAZZI_TELLS);
}

#[test]
fn comap_intelligen_nt_gives_as_export() {
    let comap = profile("comap-intelligen-nt");
    tells(
        &comap,
        Holding,
        &[(248, &[231, 230, 229]), (255, &[501]), (263, &[120])],
        &[(Power, -120_000.0), (VoltageL1, 231.0), (VoltageL2, 230.0), (VoltageL3, 229.0), (Frequency, 50.1)],
    );
    power_is(&comap, Holding, &[(263, &[0x8000])], Err(Absent::Unavailable));
}

#[test]
fn deep_sea_gencomm_adds_its_phases_and_knows_eight_ways_to_have_no_value() {
    let genset = profile("deepsea-gencomm");
    tells(
        &genset,
        Holding,
        &[(1031, &[500, 0, 2301, 0, 2299, 0, 2310]), (1052, &[0, 10_000, 0, 11_000, 1, 0]), (1800, &[0, 25])],
        &[
            (Power, -86_536.0),
            (PowerL1, -10_000.0),
            (PowerL2, -11_000.0),
            (PowerL3, -65_536.0),
            (VoltageL1, 230.1),
            (VoltageL2, 229.9),
            (VoltageL3, 231.0),
            (Frequency, 50.0),
            (EnergyExport, 2_500.0),
        ],
    );
    for pattern in 0xFFF8..=0xFFFF {
        let image = [0, 10_000, 0x7FFF, pattern, 0, 0];
        power_is(&genset, Holding, &[(1052, &image)], Err(Absent::Unavailable));
    }
}

#[test]
fn a_set_at_rest_has_no_frequency() {
    for (name, address) in [("deepsea-gencomm", 1031), ("comap-intelligen-nt", 255)] {
        let point = profile(name).point(Frequency).cloned().unwrap_or_default();
        let says = |word: &'static [u16]| {
            decode::explain(&point, |register| (register.address == address).then_some(word))
        };
        assert_eq!(says(&[0]), Err(Absent::Unavailable), "{name}");
        assert_eq!(says(&[500]), Ok(50.0), "{name}");
    }
}

#[test]
fn epever_tracer_gives_as_export_with_the_low_word_first() {
    let tracer = profile("epever-tracer");
    tells(
        &tracer,
        Input,
        &[(0x3102, &[0xE240, 1]), (0x311A, &[87])],
        &[(Power, -1_234.56), (StateOfCharge, 87.0)],
    );
    assert!(tracer.plausible.is_some_and(|range| range.high.get() < 2e3 && range.low.get() < -2e4));
}

#[test]
fn goodwe_et_is_believed_while_its_meter_answers() {
    let goodwe = profile("goodwe-et");
    let [power, phases] = [[0x0000, 0x03E8], [0xFFFF, 0xFE0C]];
    let registers: &[u16] = &[phases[0], phases[1], 0, 2, 0, 502, power[0], power[1]];
    let words: Vec<u16> = [&[0x43FA, 0x0000, 0x47C3, 0x5000][..], registers].concat();
    let image: &[(u16, &[u16])] =
        &[(36_004, &[1]), (36_014, &[5001]), (36_015, &words), (36_052, &[2301, 2299, 2310])];
    tells(
        &goodwe,
        Holding,
        image,
        &[
            (Power, -1_000.0),
            (PowerL1, 500.0),
            (PowerL2, -2.0),
            (PowerL3, -502.0),
            (VoltageL1, 230.1),
            (VoltageL2, 229.9),
            (VoltageL3, 231.0),
            (Frequency, 50.01),
            (EnergyExport, 500.0),
            (EnergyImport, 100_000.0),
        ],
    );
    power_is(&goodwe, Holding, &[(36_004, &[0]), (36_025, &[0, 0x03E8])], Err(Absent::Away));
}

#[test]
fn huawei_smartlogger_shows_import_as_positive() {
    let huawei = profile("huawei-smartlogger");
    tells(
        &huawei,
        Holding,
        &[
            (32_260, &[0, 23_010, 0, 22_990, 0, 23_100]),
            (32_278, &[0xFFFF, 0xFC18]),
            (32_335, &[0, 500, 0xFFFF, 0xFFFE, 0xFFFF, 0xFA26]),
            (32_349, &[0, 0, 0, 250]),
        ],
        &[
            (Power, -1_000.0),
            (PowerL1, 500.0),
            (PowerL2, -2.0),
            (PowerL3, -1_498.0),
            (VoltageL1, 230.1),
            (VoltageL2, 229.9),
            (VoltageL3, 231.0),
            (EnergyImport, 2_500.0),
        ],
    );
    power_is(&huawei, Holding, &[(32_278, &[0x7FFF, 0xFFFF])], Err(Absent::Unavailable));
}

#[test]
fn iammeter_wem3080t_has_its_signs_in_registers_beside_the_amounts() {
    let meter = profile("iammeter-wem3080t");
    let phase = |volts, watts, sign| [volts, 0, watts, 0, 0, 0, 0, 0, sign];
    let registers =
        [phase(23_010, 500, 0x0003), phase(22_990, 1_500, 0x0100), phase(23_100, 2_000, 0x01FF)].concat();
    tells(
        &meter,
        Holding,
        &[(0x48, &registers)],
        &[
            (Power, -3_000.0),
            (PowerL1, 500.0),
            (PowerL2, -1_500.0),
            (PowerL3, -2_000.0),
            (VoltageL1, 230.1),
            (VoltageL2, 229.9),
            (VoltageL3, 231.0),
        ],
    );
    let odd = [phase(0, 500, 0), phase(0, 500, 0x0200), phase(0, 500, 0)].concat();
    power_is(&meter, Holding, &[(0x48, &odd)], Err(Absent::NoSign));
}

#[test]
fn janitza_umg511() {
    tells(
        &profile("janitza-umg511"),
        Holding,
        &[
            (3845, VOLTS),
            (3861, PHASES),
            (3925, &[0x4640, 0xE600]),
            (3995, &[0x4248, 0x0000]),
            (19_068, &[0x47C3, 0x5000]),
            (19_076, &[0x43FA, 0x0000]),
        ],
        &with(
            &VOLTS_TELL,
            &[
                (Power, 12_345.5),
                (PowerL1, 400.25),
                (PowerL2, 300.5),
                (PowerL3, -1_500.0),
                (Frequency, 50.0),
                (EnergyImport, 100_000.0),
                (EnergyExport, 500.0),
            ],
        ),
    );
}

#[test]
fn lovato_dmg610() {
    tells(
        &profile("lovato-dmg610"),
        Input,
        &[
            (1, &[0, 23_010, 0, 22_990, 0, 23_100]),
            (0x13, &[0, 50_000, 0xFFFF, 0xFF38, 1, 0]),
            (0x39, &[0xFFFE, 0x7960]),
            (0x1B1F, &[0, 0, 0, 150]),
            (0x1B23, &[0, 0, 1, 0]),
        ],
        &[
            (Power, -1_000.0),
            (PowerL1, 500.0),
            (PowerL2, -2.0),
            (PowerL3, 655.36),
            (VoltageL1, 230.1),
            (VoltageL2, 229.9),
            (VoltageL3, 231.0),
            (EnergyImport, 1_500.0),
            (EnergyExport, 655_360.0),
        ],
    );
}

#[test]
fn schneider_ion7650_is_in_kilowatts() {
    tells(
        &profile("schneider-ion7650"),
        Holding,
        &[(197, &[0, 500, 0xFFFF, 0xFFFE, 0, 300, 0, 798]), (229, &[0, 15, 1, 0])],
        &[
            (Power, 798_000.0),
            (PowerL1, 500_000.0),
            (PowerL2, -2_000.0),
            (PowerL3, 300_000.0),
            (EnergyImport, 15_000.0),
            (EnergyExport, 65_536_000.0),
        ],
    );
}

#[test]
fn schneider_pm8000_is_in_kilowatts() {
    tells(
        &profile("schneider-pm8000"),
        Holding,
        &[
            (3027, VOLTS),
            (3053, &[0x3F00, 0x0000, 0x3FC0, 0x0000, 0xC050, 0x0000, 0x4000, 0x0000]),
            (3109, &[0x4248, 0x0000]),
            (3203, &[0, 0, 1, 2, 0, 0, 0, 17]),
        ],
        &with(
            &VOLTS_TELL,
            &[
                (Power, 2_000.0),
                (PowerL1, 500.0),
                (PowerL2, 1_500.0),
                (PowerL3, -3_250.0),
                (Frequency, 50.0),
                (EnergyImport, 65_538.0),
                (EnergyExport, 17.0),
            ],
        ),
    );
}

#[test]
fn shelly_pro_3em_has_the_low_word_first() {
    let shelly = profile("shelly-pro-3em");
    tells(
        &shelly,
        Input,
        &[
            (1013, &[0xE600, 0x4640]),
            (1020, &[0x0000, 0x4366, 0, 0, 0x2000, 0x43C8]),
            (1040, &[0x8000, 0x4367, 0, 0, 0x4000, 0x4396]),
            (1060, &[0x0000, 0x4365, 0, 0, 0x8000, 0xC4BB]),
        ],
        &with(&VOLTS_TELL, &[(Power, 12_345.5), (PowerL1, 400.25), (PowerL2, 300.5), (PowerL3, -1_500.0)]),
    );
    power_is(&shelly, Input, &[(1013, &[0x0000, 0x7FC0])], Err(Absent::Unavailable));
}

#[test]
fn siemens_pac3200_and_4200() {
    tells(
        &profile("siemens-pac3200"),
        Holding,
        &[
            (1, VOLTS),
            (25, PHASES),
            (55, &[0x4248, 0x0000]),
            (65, &[0x4640, 0xE600]),
            (801, &[0x40C8, 0x1C80, 0x0000, 0x0000]),
            (809, &[0x408F, 0x4000, 0x0000, 0x0000]),
        ],
        &with(
            &VOLTS_TELL,
            &[
                (Power, 12_345.5),
                (PowerL1, 400.25),
                (PowerL2, 300.5),
                (PowerL3, -1_500.0),
                (Frequency, 50.0),
                (EnergyImport, 12_345.0),
                (EnergyExport, 1_000.0),
            ],
        ),
    );
}

#[test]
fn sma_data_manager_shows_export_as_positive() {
    let sma = profile("sma-data-manager");
    tells(&sma, Holding, &[(31_249, &[0, 0x03E8])], &[(Power, -1_000.0)]);
    power_is(&sma, Holding, &[(31_249, &[0x8000, 0])], Err(Absent::Unavailable));
}

#[test]
fn solis_hybrid_shows_export_as_positive() {
    tells(
        &profile("solis-hybrid"),
        Input,
        &[(33_257, &[0, 500, 0xFFFF, 0xFFFE, 0, 502, 0, 1_000]), (33_282, &[5001, 0, 150, 0, 7])],
        &[
            (Power, -1_000.0),
            (PowerL1, -500.0),
            (PowerL2, 2.0),
            (PowerL3, -502.0),
            (Frequency, 50.01),
            (EnergyImport, 1_500.0),
            (EnergyExport, 70.0),
        ],
    );
}

#[test]
fn sungrow_logger_has_its_words_both_ways_round() {
    tells(
        &profile("sungrow-logger"),
        Input,
        // -100 tens of watts
        &[(8156, &[0xFF9C, 0xFFFF]), (8175, &[15, 0, 0, 1])],
        &[(Power, -1_000.0), (EnergyImport, 1_500.0), (EnergyExport, 6_553_600.0)],
    );
    tells(
        &profile("sungrow-logger-pv"),
        Input,
        // 100,000 W
        &[(8069, &[0, 0, 1, 0x86A0]), (8079, &[0, 0, 0, 15])],
        &[(Power, -100_000.0), (EnergyExport, 1_500.0)],
    );
}

#[test]
fn sungrow_ihomemanager_is_in_tens_of_watts_with_the_low_word_first() {
    tells(
        &profile("sungrow-ihomemanager"),
        Input,
        &[
            (8156, &[0xFF9C, 0xFFFF]),
            (8175, &[15, 0, 0, 1]),
            (8557, &[500, 500, 0, 0xFFFE, 0xFFFF, 0xFA26, 0xFFFF]),
        ],
        &[
            (Power, -1_000.0),
            (PowerL1, 500.0),
            (PowerL2, -2.0),
            (PowerL3, -1_498.0),
            (Frequency, 50.0),
            (EnergyImport, 1_500.0),
            (EnergyExport, 6_553_600.0),
        ],
    );
}

#[test]
fn victron_gx_32bit_goes_beyond_what_16_bits_can_show() {
    tells(
        &profile("victron-gx-32bit"),
        Holding,
        &[(843, &[55]), (908, &[1, 0, 0xFFFE, 0x0000, 0, 100])],
        &[
            (Power, -65_436.0),
            (PowerL1, 65_536.0),
            (PowerL2, -131_072.0),
            (PowerL3, 100.0),
            (StateOfCharge, 55.0),
        ],
    );
}

#[test]
fn what_is_more_export_than_a_phase_can_show_is_told_as_that() {
    let grid = profile("victron-gx");
    let bound = |words: &[u16]| {
        let plan = read(&Profile { others: Default::default(), ..grid.clone() }, Holding, &[(820, words)]);
        decode::amount(&grid.power, |register| plan.words(register))
    };
    assert_eq!(bound(&[1_000, 0x8000, 0]), Ok(decode::Amount::AtMost(-31_768.0)));
    assert_eq!(bound(&[1_000, 0x7FFE, 0]), Ok(decode::Amount::AtLeast(33_766.0)));
    assert_eq!(grid.power.terms[0].turnover(), Some(65_536.0));
}

//! Discovery reads a miner as its driver does: the same fields, in the same units, with the same slips forgiven; and it finds
//! what has no page, no old port, or nothing to tell.

use std::path::Path;

use ballast::discover::evidence::Question;
use ballast::discover::{Control, Finding, Firmware, State, WarningKind};
use ballast::miner::DriverKind;
use serde_json::{Value, json};

use Question::{Framed, Private, Web};

use crate::identify::Host;

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn cgminer(name: &str) -> Value {
    json!({"STATUS": [{"STATUS": "S", "When": 1_770_100_200_u64, "Description": name}], "VERSION": [{"PROD": name}]})
}

fn avalon(estats: &str) -> Finding {
    Host::default()
        .api("version", cgminer("AvalonMiner"))
        .api("estats", fixture(&format!("avalon/{estats}/estats.json")))
        .find()
        .unwrap()
}

fn watts(found: &Finding) -> Option<f64> {
    found.power.map(|watts| watts.get())
}

#[test]
fn every_layout_of_avalon_is_read_at_the_wall() {
    // As `every_model_is_read` of the driver has them.
    for (model, power) in [
        ("a1246", Some(3_455.0)),
        ("q", Some(1_670.0)),
        ("nano3s", Some(66.0)),
        ("nano3", Some(89.0)),
        ("a1066", None),
    ] {
        let found = avalon(model);
        assert_eq!((watts(&found), found.firmware), (power, Firmware::Avalon), "{model}");
    }
    let asleep = Host::default()
        .api("version", cgminer("AvalonMiner"))
        .api("estats", fixture("avalon/q/estats_asleep.json"))
        .find()
        .unwrap();
    assert_eq!((asleep.state, watts(&asleep)), (State::Asleep, Some(146.0)));
}

#[test]
fn a_fault_has_no_hashrate_and_another_unit_is_none() {
    let axe = |name: &str| {
        Host::default().page(404, "", "").json(Web("/api/system/info"), fixture(name)).find().unwrap()
    };
    let fault = axe("axeos/2.14/info_power_fault.json");
    assert_eq!((fault.state, fault.hashrate), (State::Fault, None));
    assert_eq!(watts(&axe("axeos/nerdqaxe-1.0/info_milliwatts.json")), Some(78.25));
    let found = Host::default()
        .api("version", json!({"STATUS": "E", "When": 1, "Code": 14, "Msg": "invalid cmd"}))
        .api("get_version", json!({"STATUS": "S", "Code": 131, "Msg": {"api_ver": "2.0.5", "fw_ver": "20230803.11.REL"}}))
        .api("devdetails", json!({"STATUS": [{"STATUS": "S"}], "DEVDETAILS": [{"Model": "M30S++_VG40", "Driver": "bitmicro"}]}))
        .api("summary", fixture("whatsminer-v2/20230803.11/summary_other_unit.json"))
        .find()
        .unwrap();
    let rate = found.hashrate.unwrap().as_terahashes();
    assert!((124.0..126.0).contains(&rate), "{rate} TH/s");
}

#[test]
fn a_stock_antminer_asleep_is_asleep_though_it_has_no_stats() {
    let found = Host::default()
        .page(401, "Digest realm=\"antMiner Configuration\"", "")
        .json(Private("/cgi-bin/get_miner_conf.cgi"), fixture("bitmain-stock/2022.12/config_asleep.json"))
        .json(Private("/cgi-bin/stats.cgi"), fixture("bitmain-stock/2022.12/stats_asleep.json"))
        .find()
        .unwrap();
    assert_eq!((found.state, found.control.driver_name()), (State::Asleep, Some("bitmain-stock")));
}

#[test]
fn an_antminer_without_modes_is_read_and_not_throttled() {
    let version = || fixture("bitmain-stock/2017/version.json");
    let by_model = Host::default().api("version", version()).find().unwrap();
    let by_settings = Host::default()
        .api("version", cgminer("Antminer of a new name"))
        .page(401, "Digest realm=\"antMiner Configuration\"", "")
        .json(Private("/cgi-bin/get_miner_conf.cgi"), fixture("bitmain-stock/2017/config.json"))
        .find()
        .unwrap();
    for found in [by_model, by_settings] {
        assert_eq!(found.control, Control::ReadOnly, "{found:?}");
        assert_eq!(found.control.driver_name(), Some("cgminer-readonly"));
        assert!(found.is_warned(WarningKind::OldFirmware));
    }
    // What has modes by its own word is throttled, whatever its name is.
    let modern = Host::default()
        .api("version", version())
        .json(Private("/cgi-bin/get_miner_conf.cgi"), fixture("bitmain-stock/2025.10/config.json"))
        .find()
        .unwrap();
    assert_eq!(modern.control, Control::Driver(DriverKind::BitmainStock));
}

#[test]
fn a_miner_of_another_algorithm_is_named_and_not_taken() {
    let mut version = fixture("bitmain-stock/2017/version.json");
    version["VERSION"][0]["Type"] = json!("Antminer L7");
    let found = Host::default()
        .api("version", version)
        .api(
            "summary",
            json!({"STATUS": [{"STATUS": "S"}], "SUMMARY": [{"MHS 5s": 9_500.0, "Elapsed": 9_000}]}),
        )
        .find()
        .unwrap();
    assert_eq!((found.control, found.hashrate), (Control::Nothing, None));
    assert!(found.is_warned(WarningKind::Algorithm), "{:?}", found.warnings);
}

#[test]
fn discovery_goes_on_where_the_page_is_not_there_and_where_the_old_port_is_closed() {
    let page = || Host::default().page(404, "", "not found");
    let cases = [
        (
            Firmware::AxeOs,
            Web("/api/system/info"),
            json!({"ASICModel": "BM1370", "power": 17.0, "hashRate": 1_000}),
        ),
        (Firmware::Vnish, Web("/api/v1/info"), json!({"fw_name": "vnish", "fw_version": "1.3.4"})),
        (Firmware::BraiinsOs, Web("/api/v1/version"), json!({"major": 1, "minor": 2, "patch": 0})),
        (Firmware::Proto, Web("/api/v1/system"), json!({"system-info": {"product_name": "Proto Rig"}})),
    ];
    for (firmware, question, reply) in cases {
        assert_eq!(page().json(question, reply).find().map(|found| found.firmware), Some(firmware));
    }
}

#[test]
fn a_whatsminer_behind_its_new_port_alone_has_the_driver_for_it() {
    let v3 = Some("whatsminer-v3");
    // It answers with a refusal; it is open and silent behind a Whatsminer's page.
    let mut refusing = Host::default().framed("get.device.info", None, Value::Null);
    refusing.answer(
        Framed("get.device.info", None),
        json!({"code": -4, "msg": "no permission", "desc": "get.device.info"}),
    );
    let silent = Host::default().page(307, "", "/cgi-bin/luci").noise(Framed("get.device.info", None), "");
    for host in [refusing, silent] {
        let found = host.find().unwrap();
        assert_eq!((found.firmware, found.control.driver_name()), (Firmware::WhatsminerV3, v3));
    }
    // Asked who it is, an idle one says so, too.
    let idle = fixture("whatsminer-v3/20251209.16/get_device_info_stopped.json");
    let found = Host::default()
        .framed("get.device.info", None, idle["msg"].clone())
        .framed(
            "get.miner.status",
            Some("summary"),
            fixture("whatsminer-v3/20251209.16/get_miner_status_summary_idle.json")["msg"].clone(),
        )
        .find()
        .unwrap();
    assert_eq!(found.state, State::Asleep);
}

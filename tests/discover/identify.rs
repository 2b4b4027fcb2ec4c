//! What each firmware's answers mean. The shapes are those that public projects have on record (asic-rs, pyasic); names,
//! numbers and addresses are made up.

use std::collections::BTreeMap;

use ballast::discover::evidence::{Door, Evidence, Page, Question, Reply};
use ballast::discover::{Control, Finding, Firmware, State, WarningKind, identify, plan};
use serde_json::{Value, json};

use Question::{Api, Epic, Framed, Graph, Private, Web};

/// A host that answers some questions and is silent at all others.
#[derive(Default)]
pub(crate) struct Host {
    replies: BTreeMap<Question, Reply>,
    open: Vec<Door>,
    at: u64,
}

impl Host {
    pub(crate) fn api(mut self, command: &'static str, reply: Value) -> Self {
        self.open.push(Door::Api);
        self.replies.insert(Api(command), Reply::Data(reply));
        self
    }

    pub(crate) fn framed(
        mut self,
        command: &'static str,
        parameter: Option<&'static str>,
        msg: Value,
    ) -> Self {
        self.open.push(Door::Framed);
        let reply = json!({"code": 0, "when": 1_770_100_200, "msg": msg, "desc": command});
        self.replies.insert(Framed(command, parameter), Reply::Data(reply));
        self
    }

    pub(crate) fn page(mut self, status: u16, challenge: &str, body: &str) -> Self {
        self.open.push(Door::Web);
        let page = Page { status, challenge: challenge.into(), body: body.into(), ..Page::default() };
        self.replies.insert(plan::ROOT, Reply::Page(page));
        self
    }

    pub(crate) fn json(mut self, question: Question, reply: Value) -> Self {
        self.open.push(question.door());
        self.replies
            .insert(question, Reply::Page(Page { status: 200, json: Some(reply), ..Page::default() }));
        self
    }

    pub(crate) fn noise(mut self, question: Question, text: &str) -> Self {
        self.open.push(question.door());
        self.replies.insert(question, Reply::Noise(text.into()));
        self
    }

    /// Another reply to a question that has one.
    pub(crate) fn answer(&mut self, question: Question, reply: Value) {
        self.replies.insert(question, Reply::Data(reply));
    }

    /// Asks what the plan wants until it wants nothing more.
    pub(crate) fn evidence(&self) -> Evidence {
        let open = Door::ALL.into_iter().filter(|door| self.open.contains(door)).collect();
        let mut evidence = Evidence { open, unix_seconds: self.at, ..Evidence::default() };
        for round in 0.. {
            let questions = plan::next(&evidence);
            if questions.is_empty() {
                break;
            }
            assert!(round < plan::MOST_QUESTIONS, "the plan goes in circles: {questions:?}");
            for question in questions {
                let reply = self.replies.get(&question).cloned().unwrap_or(Reply::Nothing);
                assert!(evidence.replies.insert(question, reply).is_none(), "{question:?} is asked twice");
            }
        }
        assert!(evidence.replies.len() <= plan::MOST_QUESTIONS);
        let private = self.replies.iter().filter(|(question, _)| matches!(question, Private(_)));
        evidence.replies.extend(private.map(|(question, reply)| (*question, reply.clone())));
        evidence
    }

    pub(crate) fn find(&self) -> Option<Finding> {
        identify("10.20.0.7".parse().unwrap(), &self.evidence())
    }
}

pub(crate) fn status(description: &str, msg: &str, name: &str, list: Value) -> Value {
    json!({"STATUS": [{"STATUS": "S", "When": 1_770_100_200_u64, "Code": 22, "Msg": msg, "Description": description}],
        name: list, "id": 1})
}

fn said(msg: Value) -> Value {
    json!({"STATUS": "S", "When": 1_770_100_200, "Code": 131, "Msg": msg, "Description": ""})
}

pub(crate) fn whatsminer_v3() -> Host {
    let info = json!({
        "network": {"mac": "CE:02:01:00:8C:01", "hostname": "WhatsMiner", "ip": "10.20.0.7"},
        "miner": {"working": "true", "type": "M60S_VK40", "miner-sn": "BTM00000000000000000000000000001"},
        "system": {"api": "3.0.3", "fwversion": "20251209.16.REL2", "apiswitch": "1"},
        "salt": "uhCiDyVj",
    });
    let summary =
        json!({"summary": {"power-realtime": 3_156.0, "hash-realtime": 171.259, "power-limit": 3_600}});
    Host::default()
        .framed("get.device.info", None, info)
        .framed("get.miner.status", Some("summary"), summary)
        .api(
            "version",
            json!({"STATUS": "E", "When": 1, "Code": 14, "Msg": "invalid cmd", "Description": ""}),
        )
        .page(307, "", "")
}

fn whatsminer_v2(api: &str) -> Host {
    Host::default()
        .api("version", json!({"STATUS": "E", "When": 1, "Code": 14, "Msg": "invalid cmd", "Description": ""}))
        .api("get_version", said(json!({"api_ver": api, "fw_ver": "20230803.11.REL", "platform": "H616"})))
        .api("devdetails", json!({"STATUS": [{"STATUS": "S", "Code": 69}],
            "DEVDETAILS": [{"Name": "SM", "Driver": "bitmicro", "Model": "M30S++_VG40"}]}))
        .api("get_miner_info", said(json!({"mac": "D4:02:02:03:04:05", "hostname": "WhatsMiner", "minersn": "HM0001"})))
        .api("summary", status("cgminer 4.9.2", "Summary", "SUMMARY",
            json!([{"MHS av": 125_000_000.0, "HS RT": 124_500_000.0, "Power": 3_200, "Power Limit": 3_300}])))
        .api("status", said(json!({"mineroff": "false", "FirmwareVersion": "20230803.11.REL"})))
}

fn braiins(full: &str) -> Host {
    Host::default()
        .api("version", status("BOSer boser-buildroot 0.1.0-75912fc7", "BOSer versions", "VERSION",
            json!([{"API": "3.7", "BOSer": "boser-buildroot 0.1.0-75912fc7"}])))
        .api("devdetails", status("BOSer", "Device Details", "DEVDETAILS", json!([{"Model": "Antminer S19k Pro"}])))
        .page(200, "", "<title>Braiins OS</title>")
        .json(Graph(plan::GRAPH_QUERY), json!({"data": {
            "bos": {"hostname": "row-3", "info": {"version": {"full": full}}},
            "bosminer": {"info": {"modelName": "Antminer S19k Pro", "workSolver": {"realHashrate": {"mhs5S": 120_500_000.0}},
                "summary": {"power": {"approxConsumptionW": 2_790, "limitW": 2_800}}}}}}))
}

fn braiins_with_account() -> Host {
    braiins("2026-04-14-0-00000000-26.04-plus")
        .json(Web("/api/v1/version"), json!({"major": 1, "minor": 3, "patch": 0}))
        .json(
            Private("/api/v1/miner/details"),
            json!({
            "bos_version": {"current": "2026-04-14-0-00000000-26.04-plus"}, "hostname": "row-3", "status": 3,
            "mac_address": "02:ee:da:00:00:01", "serial_number": null,
            "miner_identity": {"miner_model": "Antminer S19k Pro", "name": "Antminer S19k Pro"}}),
        )
        .json(
            Private("/api/v1/configuration/constraints"),
            json!({"tuner_constraints": {"power_target": {
            "min": {"watt": 800}, "default": {"watt": 2_760}, "max": {"watt": 3_600}}}}),
        )
}

fn vnish(preset: &str) -> Host {
    Host::default()
        .api("version", status("cgminer 4.11.1", "CGMiner versions", "VERSION",
            json!([{"API": "3.1", "Type": "Antminer S19 Pro Hyd. (Vnish 1.2.6)"}])))
        .page(200, "", "<title>AnthillOS</title>")
        .json(Web("/api/v1/info"), json!({"fw_name": "vnish", "fw_version": "1.3.4", "hr_measure": "GH/s",
            "miner": "Antminer S19 Pro Hydro", "model": "s19prohyd", "serial": "JYZZ00000000001",
            "system": {"network_status": {"mac": "02:ee:da:00:00:02", "hostname": "hydro-1", "ip": "10.20.0.7"}}}))
        .json(Web("/api/v1/summary"), json!({"miner": {"miner_status": {"miner_state": "mining", "throttled": 100},
            "power_consumption": 5_100, "hr_realtime": 171_000.0}}))
        .json(Web("/api/v1/perf-summary"), json!({"current_preset": {"name": "5100", "pretty": "5100 watt ~ 171 TH",
            "status": preset, "modded_psu_required": false}, "preset_switcher": {}}))
}

fn luxos(atm: bool) -> Host {
    let described = "LUXminer 2025.4.8.220305-57b389c7";
    Host::default()
        .api("version", status(described, "LUXminer versions", "VERSION", json!([{"API": "3.7",
            "LUXminer": "2025.4.8.220305-57b389c7", "Miner": "2025.4.8.220305", "Type": "Antminer S19k Pro"}])))
        .api("config", status(described, "LUXminer config", "CONFIG", json!([{"Hostname": "lux-1", "IsAtmEnabled": atm,
            "CurtailMode": "None", "MACAddr": "02:ee:da:00:00:03", "Model": "Antminer S19k Pro",
            "SerialNumber": "JYZZ00000000002", "SystemStatus": "Normal"}])))
        .api("power", status(described, "Power usage", "POWER", json!([{"PSU": false, "Watts": 1_051}])))
        .api("summary", status(described, "Summary", "SUMMARY", json!([{"GHS 5s": 59_756.06, "GHS av": 56_917.91}])))
        .api("profiles", status(described, "Profiles", "PROFILES", json!([
            {"Profile Name": "290MHz", "Hashrate": 59.8, "Watts": 1_188, "IsTuned": true},
            {"Profile Name": "190MHz", "Hashrate": 39.2, "Watts": 784, "IsTuned": false}])))
}

fn bitmain() -> Host {
    Host::default()
        .api(
            "version",
            status(
                "cgminer 1.0.0",
                "CGMiner versions",
                "VERSION",
                json!([{"API": "3.1", "BMMiner": "1.0.0",
            "CompileTime": "Tue Dec 6 16:12:30 CST 2022", "Miner": "49.0.1.3", "Type": "Antminer S19 Pro"}]),
            ),
        )
        .api(
            "summary",
            status(
                "cgminer 1.0.0",
                "Summary",
                "SUMMARY",
                json!([{"GHS 5s": 110_566.89, "GHS av": 111_834.85}]),
            ),
        )
        .page(401, "Digest realm=\"antMiner Configuration\", nonce=\"0\", qop=\"auth\"", "")
}

fn epic() -> Host {
    Host::default()
        .noise(Api("version"), "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        .page(200, "", "<title>Miner Web Dashboard</title>")
        .json(
            Epic("/capabilities"),
            json!({"Model": "AntMiner S19 XP", "Model Subtype": "BHB56801",
            "Control Board Version": {"cpuSerial": "0020003532325109"},
            "PerpetualTune": [{"algorithm": "ChipTune"}, {"algorithm": "PowerTune"}],
            "Tune Presets": [{"hashrate": 80.0, "power": 1_700}, {"hashrate": 142.0, "power": 3_350}]}),
        )
        .json(
            Epic("/summary"),
            json!({"Hostname": "cminer1", "Software": "PowerPlay-BMS v1.5.13",
            "HBs": [{"Hashrate": [49_440_724.0, 103.1, 0.8]}, {"Hashrate": [49_925_124.0, 104.1, 0.8]}],
            "Power Supply Stats": {"Input Power": 2_166.6}, "Status": {"Operating State": "Mining"}}),
        )
        .json(Epic("/network"), json!({"dhcp": {"mac_address": "E6:D4:41:51:64:28"}}))
}

fn avalon(at: u64) -> Host {
    let mut host = Host::default()
        .api("version", json!({"STATUS": [{"STATUS": "S", "When": 1_770_100_200_u64, "Code": 22, "Msg": "CGMiner versions",
            "Description": "cgminer 4.11.1"}], "VERSION": [{"CGMiner": "4.11.1", "API": "3.7", "PROD": "AvalonMiner 15-194",
            "MODEL": "15-194", "HWTYPE": "MM4v2_X3", "VERSION": "24102401_25462b2_9ddf522", "DNA": "020100008c699117",
            "MAC": "02eeda000004"}], "id": 1}))
        .api("estats", status("cgminer 4.11.1", "CGMiner stats", "STATS", json!([{"ID": "AVA100", "MM ID0":
            "Ver[1566-194] DNA[020100008c699117] SYSTEMSTATU[Work: In Work, Hash Board: 3 ] Elapsed[24684] \
             PS[0 1214 1316 242 3189 1320 3504] GHSspd[81072.68] GHSmm[83923.04] SoftOFF[0] WORKMODE[1]"}])));
    host.at = at;
    host
}

fn auradine() -> Host {
    let described = "GCMiner-2023-05.24-0ce5e7cc";
    Host::default()
        .api(
            "version",
            status(described, "GCMiner versions", "VERSION", json!([{"API": "1.0", "GCMiner": "0.5"}])),
        )
        .api("devdetails", status(described, "Device Details", "DEVDETAILS", json!([{"Model": "AT1500"}])))
        .api("summary", status(described, "Summary", "SUMMARY", json!([{"MHS av": 150_000_000.0}])))
}

fn sealminer() -> Host {
    let described = "bdminer 4.11.1";
    Host::default()
        .api("version", status(described, "BDMiner versions", "VERSION", json!([{"API": "3.7", "BDMiner": "4.11.1"}])))
        .api("stats", status(described, "BDMiner stats", "STATS", json!([{"Model": "A2", "MAC": "50:d4:48:4b:86:78",
            "Ctrl Board SN": "S127200252001850", "Firmware": "2025091001", "MHS(1m)": 220_315_525.2, "PM State": "Running",
            "PSU Input Power": 3_504, "Power Limit": 3_500}])))
}

fn mara() -> Host {
    Host::default()
        .api(
            "version",
            status(
                "kaonsu 1.2.3",
                "Versions",
                "VERSION",
                json!([{"API": "3.7", "Miner": "MaraFW 24.5", "Model": "Antminer S21"}]),
            ),
        )
        .json(
            Private("/kaonsu/v1/overview"),
            json!({"model": "Antminer S21", "mac": "02:ee:da:00:00:05", "version_firmware": "24.5.1"}),
        )
        .json(
            Private("/kaonsu/v1/brief"),
            json!({"status": "Sleep", "power_consumption_estimated": 61.0, "hashrate_realtime": 0.0}),
        )
}

fn proto() -> Host {
    Host::default()
        .page(200, "", "<title>Proto OS</title>")
        .json(Web("/api/v1/system"), json!({"system-info": {"cb_sn": "PROTO-b6bdaf86", "manufacturer": "Proto",
            "model": "Rig", "product_name": "Proto Rig", "os": {"name": "ProtoOS", "version": "1.8.0", "hostname": "proto-1"}}}))
        .json(Web("/api/v1/network"), json!({"network-info": {"hostname": "proto-1", "mac": "02:00:00:AD:66:39"}}))
        .json(Web("/api/v1/mining"), json!({"mining-status": {"hashrate_ghs": 141_147.4, "power_usage_watts": 3_447.0,
            "power_target_watts": 3_400, "status": "Stopped"}}))
}

fn bitaxe(body: &str) -> Host {
    Host::default().page(200, "", body).json(Web("/api/system/info"), json!({"ASICModel": "BM1368", "asicCount": 1,
        "boardVersion": "401", "hashRate": 510.5, "hostname": "bitaxe", "macAddr": "02:EE:DA:00:00:06", "power": 12.65,
        "version": "v2.4.5"}))
}

fn unknown() -> Host {
    let described = "bmminer 1.0.0";
    Host::default()
        .api(
            "version",
            status(described, "BMMiner versions", "VERSION", json!([{"API": "3.1", "Type": "Ebit E11++"}])),
        )
        .api("get_version", json!({"STATUS": [{"STATUS": "E", "Code": 14, "Msg": "Invalid command"}]}))
        .api("devdetails", json!({"STATUS": [{"STATUS": "E", "Code": 14, "Msg": "Invalid command"}]}))
        .api("summary", status(described, "Summary", "SUMMARY", json!([{"GHS av": 44_000.0}])))
}

/// Name, host, firmware, model, version, hardware address, driver, state, watts, TH/s.
type Row = (
    &'static str,
    Host,
    Firmware,
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
    State,
    f64,
    f64,
);

pub(crate) fn every_firmware() -> Vec<Row> {
    let none = f64::NAN;
    vec![
        (
            "whatsminer 3",
            whatsminer_v3(),
            Firmware::WhatsminerV3,
            "M60S_VK40",
            "20251209.16.REL2",
            "CE:02:01:00:8C:01",
            Some("whatsminer-v3"),
            State::Hashing,
            3_156.0,
            171.259,
        ),
        (
            "whatsminer 2",
            whatsminer_v2("2.0.5"),
            Firmware::WhatsminerV2,
            "M30S++_VG40",
            "20230803.11.REL",
            "D4:02:02:03:04:05",
            Some("whatsminer-v2"),
            State::Hashing,
            3_200.0,
            124.5,
        ),
        (
            "whatsminer 1",
            whatsminer_v2("whatsminer v1.4.0"),
            Firmware::WhatsminerV1,
            "M30S++_VG40",
            "20230803.11.REL",
            "D4:02:02:03:04:05",
            Some("cgminer-readonly"),
            State::Hashing,
            3_200.0,
            124.5,
        ),
        (
            "old braiins",
            braiins("2024-10-17-0-75912fc7-24.09-plus"),
            Firmware::BraiinsOsOld,
            "Antminer S19k Pro",
            "24.09",
            "-",
            Some("cgminer-readonly"),
            State::Hashing,
            2_790.0,
            120.5,
        ),
        (
            "new braiins",
            braiins("2026-04-14-0-00000000-25.07-plus"),
            Firmware::BraiinsOs,
            "Antminer S19k Pro",
            "25.07",
            "-",
            Some("braiins-os"),
            State::Hashing,
            2_790.0,
            120.5,
        ),
        (
            "braiins with an account",
            braiins_with_account(),
            Firmware::BraiinsOs,
            "Antminer S19k Pro",
            "26.04",
            "02:EE:DA:00:00:01",
            Some("braiins-os"),
            State::Asleep,
            2_790.0,
            120.5,
        ),
        (
            "vnish",
            vnish("tuned"),
            Firmware::Vnish,
            "Antminer S19 Pro Hydro",
            "1.3.4",
            "02:EE:DA:00:00:02",
            Some("vnish"),
            State::Hashing,
            5_100.0,
            171.0,
        ),
        (
            "luxos",
            luxos(false),
            Firmware::LuxOs,
            "Antminer S19k Pro",
            "2025.4.8.220305",
            "02:EE:DA:00:00:03",
            Some("luxos"),
            State::Hashing,
            1_051.0,
            59.756_06,
        ),
        (
            "bitmain",
            bitmain(),
            Firmware::BitmainStock,
            "Antminer S19 Pro",
            "Tue Dec 6 16:12:30 CST 2022",
            "-",
            Some("bitmain-stock"),
            State::Hashing,
            none,
            110.566_89,
        ),
        (
            "epic",
            epic(),
            Firmware::Epic,
            "AntMiner S19 XP",
            "PowerPlay-BMS v1.5.13",
            "E6:D4:41:51:64:28",
            Some("epic"),
            State::Hashing,
            2_166.6,
            99.365_848,
        ),
        (
            "avalon",
            avalon(1_770_100_205),
            Firmware::Avalon,
            "AvalonMiner 15-194",
            "24102401_25462b2_9ddf522",
            "02:EE:DA:00:00:04",
            Some("avalon"),
            State::Hashing,
            3_504.0,
            81.072_68,
        ),
        (
            "auradine",
            auradine(),
            Firmware::Auradine,
            "AT1500",
            "GCMiner-2023-05.24-0ce5e7cc",
            "-",
            Some("auradine"),
            State::Hashing,
            none,
            150.0,
        ),
        (
            "sealminer",
            sealminer(),
            Firmware::SealMiner,
            "SealMiner A2",
            "2025091001",
            "50:D4:48:4B:86:78",
            Some("sealminer"),
            State::Hashing,
            3_504.0,
            220.315_525_2,
        ),
        (
            "mara",
            mara(),
            Firmware::Mara,
            "Antminer S21",
            "24.5.1",
            "02:EE:DA:00:00:05",
            Some("mara"),
            State::Asleep,
            61.0,
            0.0,
        ),
        (
            "proto",
            proto(),
            Firmware::Proto,
            "Proto Rig",
            "1.8.0",
            "02:00:00:AD:66:39",
            Some("proto"),
            State::Asleep,
            3_447.0,
            141.147_4,
        ),
        (
            "bitaxe",
            bitaxe("<title>AxeOS</title>"),
            Firmware::AxeOs,
            "Bitaxe BM1368",
            "v2.4.5",
            "02:EE:DA:00:00:06",
            Some("axeos"),
            State::Hashing,
            12.65,
            0.510_5,
        ),
        (
            "bitaxe, packed page",
            bitaxe("\u{1f}\u{fffd}\u{8}"),
            Firmware::AxeOs,
            "Bitaxe BM1368",
            "v2.4.5",
            "02:EE:DA:00:00:06",
            Some("axeos"),
            State::Hashing,
            12.65,
            0.510_5,
        ),
        (
            "some cgminer",
            unknown(),
            Firmware::Cgminer,
            "Ebit E11++",
            "bmminer 1.0.0",
            "-",
            Some("cgminer-readonly"),
            State::Hashing,
            none,
            44.0,
        ),
    ]
}

#[test]
fn every_firmware_is_told_apart_and_read() {
    for (name, host, firmware, model, version, mac, driver, state, watts, terahashes) in every_firmware() {
        let found = host.find().unwrap_or_else(|| panic!("{name} is not recognised: {:?}", host.evidence()));
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        assert_eq!(found.firmware, firmware, "{name}");
        assert_eq!(text(&found.identity.model), model, "{name}");
        assert_eq!(text(&found.version), version, "{name}");
        assert_eq!(found.identity.mac.map_or("-".into(), |mac| mac.to_string()), mac, "{name}");
        assert_eq!(found.control.driver_name(), driver, "{name}");
        assert_eq!(found.state, state, "{name}");
        let near = |value: Option<f64>, expected: f64| match value {
            Some(value) => (value - expected).abs() < 1e-6 * expected.abs().max(1.0),
            None => expected.is_nan(),
        };
        assert!(near(found.power.map(|watts| watts.get()), watts), "{name}: {:?}", found.power);
        assert!(
            near(found.hashrate.map(|rate| rate.as_terahashes()), terahashes),
            "{name}: {:?}",
            found.hashrate
        );
    }
}

#[test]
fn a_miner_costs_few_questions() {
    for (name, host, ..) in every_firmware() {
        let asked = host.evidence().replies.keys().filter(|question| !matches!(question, Private(_))).count();
        assert!(asked <= 9, "{name} took {asked} questions");
    }
}

#[test]
fn what_stands_in_the_way_of_control_is_said() {
    let mut off = whatsminer_v3();
    let Some(Reply::Data(info)) = off.replies.get_mut(&Framed("get.device.info", None)) else { panic!() };
    info["msg"]["system"]["apiswitch"] = json!("0");
    let old_epic =
        epic().json(Epic("/capabilities"), json!({"Model": "AntMiner S19 XP", "PerpetualTune": []}));
    let cases = [
        ("write API off", off, Some(WarningKind::WriteDisabled)),
        ("write API on", whatsminer_v3(), None),
        ("ATM on", luxos(true), Some(WarningKind::Atm)),
        ("ATM off", luxos(false), None),
        ("untuned", vnish("untuned"), Some(WarningKind::Untuned)),
        ("tuned", vnish("tuned"), None),
        ("API 1", whatsminer_v2("whatsminer v1.4.0"), Some(WarningKind::OldFirmware)),
        ("API 2", whatsminer_v2("2.0.5"), None),
        ("24.09", braiins("2024-10-17-0-75912fc7-24.09-plus"), Some(WarningKind::OldFirmware)),
        ("25.07", braiins("2025-07-17-0-75912fc7-25.07.1-plus"), None),
        ("no PowerTune", old_epic, Some(WarningKind::OldFirmware)),
        ("clock an hour behind", avalon(1_770_103_800), Some(WarningKind::Clock)),
        ("clock right", avalon(1_770_100_205), None),
    ];
    for (name, host, expected) in cases {
        let found = host.find().unwrap();
        let kinds: Vec<WarningKind> = found.warnings.iter().map(|warning| warning.kind).collect();
        assert_eq!(kinds, expected.into_iter().collect::<Vec<_>>(), "{name}: {:?}", found.warnings);
    }
}

#[test]
fn devices_name_their_own_limits() {
    let limits = |host: Host| {
        let limits = host.find().unwrap().limits;
        (limits.minimum.map(|watts| watts.get()), limits.maximum.map(|watts| watts.get()))
    };
    assert_eq!(limits(whatsminer_v3()), (None, Some(3_600.0)));
    assert_eq!(limits(braiins_with_account()), (Some(800.0), Some(3_600.0)));
    assert_eq!(limits(luxos(false)), (Some(784.0), Some(1_188.0)));
    assert_eq!(limits(epic()), (Some(1_700.0), Some(3_350.0)));
    assert_eq!(limits(bitmain()), (None, None));
}

#[test]
fn what_is_no_miner_is_none() {
    let printer = Host::default().page(200, "", "<title>LaserJet</title>");
    let router = Host::default().page(200, "", "<a href=/cgi-bin/luci>");
    let mail = Host::default().noise(Api("version"), "220 mail.example ESMTP\r\n");
    let rest = Host::default().page(404, "", "").json(Web("/api/v1/info"), json!({"name": "a web shop"}));
    let other_json = Host::default().api("version", json!({"version": "1.0", "name": "a database"}));
    for (name, host) in
        [("printer", printer), ("router", router), ("mail", mail), ("rest", rest), ("json", other_json)]
    {
        assert!(host.find().is_none(), "{name}: {:?}", host.find());
    }
}

#[test]
fn a_whatsminer_whose_api_is_silent_is_named_and_not_controlled() {
    let found = Host::default().page(307, "", "/cgi-bin/luci").noise(Api("version"), "").find().unwrap();
    assert_eq!((found.control, found.firmware), (Control::Nothing, Firmware::WhatsminerWeb));
    assert!(found.is_warned(WarningKind::Silent));
}

//! What becomes of a configuration.

use std::net::IpAddr;
use std::path::Path;

use ballast::config;
use ballast::discover::merge::{Change, MergeError, Merged, Options, merge};
use ballast::discover::{Finding, Firmware, scan::Scan};
use ballast::units::{Hashrate, Watts};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn miner(address: &str, firmware: Firmware, model: &str, mac: &str) -> Finding {
    let mut finding = Finding::new(ip(address), firmware);
    finding.identity.vendor = Some("Maker".into());
    finding.identity.model = Some(model.into());
    finding.identity.mac = mac.parse().ok();
    finding
}

fn m60s(address: &str, mac: &str) -> Finding {
    miner(address, Firmware::WhatsminerV3, "M60S_VK40", mac)
}

/// A scan of 10.20.0.1 to 10.20.0.254 that found these.
fn scan(findings: Vec<Finding>) -> Scan {
    let settled = (1..=254).map(|host| ip(&format!("10.20.0.{host}"))).collect();
    Scan { findings, settled, addresses: 254, ..Scan::default() }
}

fn merged(text: &str, findings: Vec<Finding>) -> Merged {
    merge(text, Path::new("site.toml"), &scan(findings), &Options::default()).unwrap()
}

const SITE: &str = r#"# The site of the valley.
[site]
name = "Valley"   # as on the contract
mode = "observe"

[circuits.pcc]

[limits.all]
circuit = "pcc"
miners = "100 kW"

# Row 3 is the one beside the door.
[groups.row-3]
driver = "whatsminer-v3"
circuit = "pcc"
model = "m60s"

[miners]
# The old one.
door = { group = "row-3", address = "10.20.0.9", mac = "02:00:00:00:00:09" } # do not touch
window = { group = "row-3", address = "10.20.0.10", mac = "02:00:00:00:00:10" }
"#;

#[test]
fn a_new_file_gets_groups_and_a_line_for_each_miner() {
    let found = vec![m60s("10.20.0.1", "02:00:00:00:00:01"), m60s("10.20.0.2", "02:00:00:00:00:02")];
    let text = merged("", found).text;
    assert_eq!(
        text,
        "[groups.m60s]\n# Found by ballast discover: Maker M60S_VK40; Whatsminer API 3.\n\
         # Commands need an account: credentials = { password_file = \"FILE\" }\ndriver = \"whatsminer-v3\"\n\
         circuit = \"TODO\" # the circuit that feeds these miners\nmodel = \"m60s\"\n\n[miners]\n\
         m60s-001 = { group = \"m60s\", address = \"10.20.0.1\", mac = \"02:00:00:00:00:01\" }\n\
         m60s-002 = { group = \"m60s\", address = \"10.20.0.2\", mac = \"02:00:00:00:00:02\" }\n"
    );
}

#[test]
fn writing_twice_changes_nothing() {
    for text in ["", SITE] {
        let found = || {
            vec![
                m60s("10.20.0.1", "02:00:00:00:00:01"),
                m60s("10.20.0.77", "02:00:00:00:00:09"),
                miner("10.20.0.3", Firmware::BraiinsOs, "Antminer T99", "02:00:00:00:00:03"),
                miner("10.20.0.4", Firmware::WhatsminerV2, "M30S++_VG40", ""),
            ]
        };
        let once = merged(text, found());
        assert!(!once.changes.is_empty());
        let twice = merged(&once.text, found());
        assert_eq!(twice.changes, [], "{}", once.text);
        assert_eq!(twice.text, once.text);
    }
}

#[test]
fn a_moved_miner_keeps_its_name_and_all_around_it() {
    let found = vec![m60s("10.20.0.77", "02:00:00:00:00:09"), m60s("10.20.0.10", "02:00:00:00:00:10")];
    let after = merged(SITE, found);
    let moved = Change::Moved { name: "door".into(), from: ip("10.20.0.9"), to: ip("10.20.0.77") };
    assert_eq!(after.changes, [moved]);
    assert_eq!(after.text, SITE.replace("10.20.0.9\"", "10.20.0.77\""));
}

#[test]
fn two_miners_that_changed_places_both_move() {
    let found = vec![m60s("10.20.0.10", "02:00:00:00:00:09"), m60s("10.20.0.9", "02:00:00:00:00:10")];
    let text = merged(SITE, found).text;
    assert!(text.contains("door = { group = \"row-3\", address = \"10.20.0.10\""), "{text}");
    assert!(text.contains("window = { group = \"row-3\", address = \"10.20.0.9\""), "{text}");
}

#[test]
fn a_miner_that_is_gone_stays_with_a_comment_until_it_is_back() {
    let here = || m60s("10.20.0.10", "02:00:00:00:00:10");
    let gone = merged(SITE, vec![here()]);
    assert_eq!(gone.changes, [Change::Gone { name: "door".into(), address: ip("10.20.0.9") }]);
    let line = "# The old one.\n# ballast discover: not found at 10.20.0.9\ndoor = ";
    assert!(gone.text.contains(line), "{}", gone.text);
    assert_eq!(merged(&gone.text, vec![here()]).changes, []);
    let back = merged(&gone.text, vec![m60s("10.20.0.9", "02:00:00:00:00:09"), here()]);
    assert_eq!(back.text, SITE);
}

#[test]
fn a_miner_outside_of_the_scan_is_not_called_gone() {
    let elsewhere = SITE.replace("10.20.0.9\"", "10.99.0.9\"");
    let after = merged(&elsewhere, vec![m60s("10.20.0.10", "02:00:00:00:00:10")]);
    assert_eq!(after.changes, []);
}

#[test]
fn an_address_that_changed_hands_is_told_and_left_alone() {
    let stranger = m60s("10.20.0.9", "02:00:00:00:00:99");
    let after = merged(SITE, vec![stranger, m60s("10.20.0.10", "02:00:00:00:00:10")]);
    assert!(!after.text.contains("02:00:00:00:00:99"), "{}", after.text);
    let note = after.notes.iter().find(|note| note.contains("another miner answers there")).unwrap();
    assert!(note.contains("`door`") && note.contains("02:00:00:00:00:99"), "{note}");
}

#[test]
fn a_miner_known_by_its_address_alone_learns_who_it_is() {
    let text = SITE.replace(", mac = \"02:00:00:00:00:09\"", "");
    let mut found = m60s("10.20.0.9", "02:00:00:00:00:09");
    found.identity.serial = Some("SN0001".into());
    let after = merged(&text, vec![found, m60s("10.20.0.10", "02:00:00:00:00:10")]);
    assert_eq!(after.changes, [Change::Learned { name: "door".into() }]);
    let line = "door = { group = \"row-3\", address = \"10.20.0.9\", mac = \"02:00:00:00:00:09\", serial = \"SN0001\" } # do";
    assert!(after.text.contains(line), "{}", after.text);
}

#[test]
fn another_driver_at_a_known_address_is_told_and_not_written() {
    let text = SITE.replace(", mac = \"02:00:00:00:00:09\"", "");
    let other = miner("10.20.0.9", Firmware::WhatsminerV2, "M30S", "02:00:00:00:00:09");
    let after = merged(&text, vec![other, m60s("10.20.0.10", "02:00:00:00:00:10")]);
    assert_eq!(after.text, text);
    assert!(after.notes.iter().any(|note| note.contains("correct the driver")), "{:?}", after.notes);
}

#[test]
fn addresses_that_a_group_lists_are_not_written_again() {
    let text = "[groups.old]\ndriver = \"whatsminer-v3\"\ncircuit = \"pcc\"\nmodel = \"m60s\"\n\
                addresses = [\"10.20.0.1-10.20.0.3\", \"10.20.0.8\"]\n";
    let after = merged(
        text,
        vec![
            m60s("10.20.0.1", "02:00:00:00:00:01"),
            m60s("10.20.0.8", "02:00:00:00:00:08"),
            m60s("10.20.0.20", "02:00:00:00:00:20"),
        ],
    );
    // Its members are named old-001 to old-004 already.
    let added = "old-005 = { group = \"old\", address = \"10.20.0.20\", mac = \"02:00:00:00:00:20\" }";
    assert!(after.text.contains(added), "{}", after.text);
    assert_eq!(after.changes.len(), 1);
    assert!(after.notes.iter().any(|note| note.contains("no miner at 2 addresses")), "{:?}", after.notes);
}

#[test]
fn a_file_with_a_table_for_each_miner_goes_on_that_way() {
    let text = "[groups.a]\ndriver = \"whatsminer-v3\"\nmodel = \"m60s\"\n\n# first\n[miners.one]\n# inside\n\
                address = \"10.20.0.1\"\ngroup = \"a\"\n\n[web]\nlisten = \"127.0.0.1:9842\" # here\n# the end\n";
    let after = merged(text, vec![m60s("10.20.0.2", "02:00:00:00:00:02")]);
    let expected = text.replace("# first\n", "# first\n# ballast discover: not found at 10.20.0.1\n").replace(
        "# the end\n",
        "\n[miners.a-001]\ngroup = \"a\"\naddress = \"10.20.0.2\"\nmac = \"02:00:00:00:00:02\"\n# the end\n",
    );
    assert_eq!(after.text, expected);
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_stay() {
    let text = format!("\u{feff}{}", SITE.replace('\n', "\r\n"));
    let found = vec![m60s("10.20.0.77", "02:00:00:00:00:09"), m60s("10.20.0.10", "02:00:00:00:00:10")];
    assert_eq!(merged(&text, found).text, text.replace("10.20.0.9\"", "10.20.0.77\""));
}

#[test]
fn a_model_that_nobody_describes_is_described_as_its_miners_tell() {
    let mut finding = miner("10.20.0.5", Firmware::BraiinsOs, "Antminer T99 Pro", "02:00:00:00:00:05");
    finding.limits.minimum = Some(Watts::whole(900));
    finding.limits.maximum = Some(Watts::whole(3_400));
    let told = merged(SITE, vec![finding.clone()]).text;
    for line in [
        "[groups.t99-pro]",
        "circuit = \"pcc\"\n",
        "minimum = \"900 W\"",
        "maximum = \"3400 W\" # the limit that the miners name",
    ] {
        assert!(told.contains(line), "{line} is not in:\n{told}");
    }
    config::parse(&told, Path::new("site.toml"), &config::Options::default())
        .unwrap_or_else(|error| panic!("{error}"));

    finding.points = [(1_000, 40.0), (2_000, 90.0)]
        .map(|(power, rate)| ballast::discover::finding::Point {
            power: Watts::whole(power),
            hashrate: Hashrate::terahashes(rate),
        })
        .to_vec();
    let points = merged(SITE, vec![finding]).text;
    assert!(points.contains("[models.t99-pro]") && points.contains("model = \"t99-pro\""), "{points}");
    config::parse(&points, Path::new("site.toml"), &config::Options::default())
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_only_the_operator_knows_is_a_todo_that_the_check_finds() {
    let finding = miner("10.20.0.5", Firmware::BraiinsOs, "Antminer T99", "02:00:00:00:00:05");
    let text = merged(
        &SITE.replace("[circuits.pcc]", "[circuits.pcc]\n[circuits.a]\nparent = \"pcc\""),
        vec![finding],
    )
    .text;
    let errors = config::parse(&text, Path::new("site.toml"), &config::Options::default()).unwrap_err();
    let told = errors.to_string();
    for key in [
        "circuit = \"TODO\" # the circuit that feeds these miners: pcc, a",
        "minimum = \"TODO\"",
        "maximum = \"TODO\"",
        "nameplate = \"TODO\"",
    ] {
        assert!(told.contains(key), "{key} is not complained about in:\n{told}");
    }
    assert!(told.contains("site.toml:"), "{told}");
}

#[test]
fn a_name_that_a_device_made_up_cannot_write_into_the_file() {
    let mut finding =
        miner("10.20.0.5", Firmware::BraiinsOs, "x\"]\n[site]\nmode = \"control\" #", "02:00:00:00:00:05");
    // What a scan hands on is cleaned; here it is as the device sent it, cut as the scan does.
    finding.identity.model = ballast::miner::reply::text::clean(finding.identity.model.as_deref().unwrap());
    finding.identity.serial = Some("\"\nmode = \"control".into());
    let text = merged(SITE, vec![finding]).text;
    let table: toml::Table = toml::from_str(&text).unwrap();
    assert_eq!(table["site"]["mode"].as_str(), Some("observe"));
    assert_eq!(
        table.keys().map(String::as_str).collect::<Vec<_>>(),
        ["circuits", "groups", "limits", "miners", "site"]
    );
}

#[test]
fn a_broken_file_gives_the_place_and_is_not_merged_with() {
    let result = merge("[miners\n", Path::new("/etc/ballast/site.toml"), &scan(vec![]), &Options::default());
    let error = result.unwrap_err();
    assert!(matches!(error, MergeError::Syntax(_)));
    assert!(error.to_string().contains("/etc/ballast/site.toml:1:8"), "{error}");
    let shape = merge("miners = 5\n", Path::new("site.toml"), &scan(vec![]), &Options::default());
    assert!(matches!(shape, Err(MergeError::Shape { section: "miners", .. })));
}

#[test]
fn the_files_that_come_with_the_program_are_merged_without_a_loss() {
    for name in ["ballast.toml", "demo.toml", "example-solar-feeder.toml", "example-surplus-register.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let found = vec![
            m60s("10.20.0.1", "02:00:00:00:00:01"),
            miner("10.20.0.2", Firmware::BraiinsOs, "S19 XP", ""),
        ];
        let after = merge(&text, &path, &scan(found), &Options::default()).unwrap();
        let kept: String = after.text.chars().take(text.trim_end().len() / 2).collect();
        assert!(text.starts_with(kept.as_str()), "{name}");
        let mut lines = after.text.lines();
        for line in text.lines() {
            assert!(lines.any(|other| other == line), "{name} lost: {line}");
        }
    }
}

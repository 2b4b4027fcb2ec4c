//! What `ballast check` warns of in a site that can be used as it stands.

use crate::config::{good, site};

/// What is said of a site that is right, with the places.
fn warnings(text: &str) -> String {
    good(text).warnings.iter().map(|warning| format!("{warning}\n")).collect()
}

#[test]
fn a_range_over_a_miner_of_another_driver_or_port_is_told_once() {
    let groups = |first: &str, more: &str| {
        let bounds = "circuit = \"pcc\"\nmodel = \"s19k-pro\"";
        site(&format!("[groups.b]\ndriver = \"luxos\"\n{bounds}\n{more}")).replace("10.0.0.1-10.0.0.3", first)
    };
    let said = |first, more: &str| warnings(&groups(first, more));
    let told = said("10.0.0.1-10.0.0.9", "addresses = [\"10.0.0.5-10.0.0.20\"]");
    let expected =
        "`b-001` (luxos) and `a-005` (whatsminer-v3) are both at 10.0.0.5, and 4 more pairs like them";
    assert_eq!(told.matches("are both at").count(), 1, "{told}");
    assert!(told.contains(expected), "{told}");
    // The port of the whole range makes no other device of an address in it; that of one address does.
    for (more, is_told) in [
        ("port = 4029\naddresses = [\"10.0.0.2-10.0.0.3\"]", true),
        ("addresses = [\"10.0.0.3:4029\"]", true),
        ("addresses = [\"10.0.0.4-10.0.0.9\"]", false),
    ] {
        let told = said("10.0.0.1-10.0.0.3", more);
        assert_eq!(told.contains("are both at 10.0.0."), is_told, "{more}\n{told}");
    }
    let told = said("10.0.0.1:4028", "port = 4029\naddresses = [\"10.0.0.1\"]");
    assert!(!told.contains("are both at"), "{told}");
}

#[test]
fn a_link_that_waits_longer_than_its_meter_is_fresh_is_told() {
    let with = |timeout: &str| {
        let link = format!("tcp = \"127.0.0.1:502\"\ntimeout = \"{timeout}\"");
        warnings(&site("").replacen("tcp = \"127.0.0.1:502\"", &link, 1))
    };
    let told = with("6s");
    assert!(
        told.contains("link `bus` waits 6s for an answer, and meter `pcc` on it is stale after 5s"),
        "{told}"
    );
    assert!(!with("4s").contains("waits"), "{}", with("4s"));
}

#[test]
fn an_address_out_of_a_manual_is_told_and_one_in_hexadecimal_is_not() {
    let with = |function: &str, address: &str| {
        let format = if function == "discrete" || function == "coil" { "bool" } else { "i32" };
        let power =
            format!("power = {{ function = \"{function}\", address = {address}, format = \"{format}\" }}");
        warnings(&site("").replace("profile = \"eastron-sdm630\"", &power))
    };
    for (function, address, wire) in
        [("discrete", "10001", 0), ("coil", "10_017", 16), ("input", "30053", 52), ("holding", "40001", 0)]
    {
        let told = with(function, address);
        assert!(told.contains(&format!("write address = {wire};")), "{function} {address}: {told}");
    }
    for (function, address) in [
        ("discrete", "9999"),
        ("input", "0x7565"),
        ("holding", "0x9C41"),
        ("holding", "30053"),
        ("input", "40000"),
    ] {
        let told = with(function, address);
        assert!(!told.contains("manual"), "{function} {address}: {told}");
    }
}

#[test]
fn an_address_out_of_a_manual_is_told_beside_a_value_and_where_something_is_written() {
    let meter = |more: &str| {
        let power =
            format!("power = {{ function = \"holding\", address = 0x9C48, format = \"u16\", {more} }}");
        site("").replace("profile = \"eastron-sdm630\"", &power)
    };
    let sign = |address: &str| meter(&format!("sign = {{ address = {address}, negative = [1] }}"));
    let scale = |address: &str| meter(&format!("scale_register = {address}"));
    let beat = |key: &str, address: &str| {
        let beat = format!("beat = {{ {key} = {address} }}");
        site(&format!("[heartbeat.plc]\naddress = \"127.0.0.1\"\n{beat}"))
    };
    let device = |key: &str, address: &str| {
        let state = format!("state = {{ {key} = {address} }}");
        site(&format!("[drivers.pdu]\nkind = \"modbus\"\non = {{ coil = 0 }}\noff = {{ coil = 0 }}\n{state}"))
    };
    for (what, decimal, hexadecimal, written) in [
        ("sign", sign("40011"), sign("0x9C4B"), "write address = 10;"),
        ("scale", scale("40020"), scale("0x9C54"), "write scale_register = 19;"),
        ("coil", device("coil", "10003"), device("coil", "0x2713"), "write coil = 2;"),
        ("holding", beat("holding", "40101"), beat("holding", "0x9CA5"), "write holding = 100;"),
        ("discrete", device("discrete", "10004"), device("discrete", "0x2714"), "write discrete = 3;"),
        ("input", device("input", "30005"), device("input", "0x7535"), "write input = 4;"),
    ] {
        let said = warnings(&decimal);
        assert!(said.contains(written), "{what}: {said}");
        let said = warnings(&hexadecimal);
        assert!(!said.contains("manual"), "{what}: {said}");
    }
    // In manuals these are inputs: nobody who writes to such an output meant another one.
    assert!(!warnings(&beat("coil", "12288")).contains("manual"));
    // Once for a value is enough.
    let both = meter("scale_register = 40073").replace("0x9C48", "40072");
    assert_eq!(warnings(&both).matches("manual").count(), 1);
}

#[test]
fn a_miner_that_is_silent_by_one_lost_answer_is_told() {
    let with = |timeout: &str| {
        warnings(&site(&format!("poll_period = \"5s\"\nsilent_after = \"20s\"\ntimeout = \"{timeout}\"")))
    };
    let told = with("16s");
    assert!(
        told.contains("asked every 5s, has 16s to answer, and counts as silent after 20s: one lost answer"),
        "{told}"
    );
    assert!(!with("15s").contains("lost answer"), "{}", with("15s"));
}

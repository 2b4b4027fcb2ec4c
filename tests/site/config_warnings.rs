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

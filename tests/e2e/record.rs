//! What the daemon has recorded is decided again by `ballast replay`.

use crate::bench::{Settings, Site, eventually, scenario, seconds};

/// The words of `ballast replay`, and its code.
fn replay(site: &Site, arguments: &[&str]) -> (String, i32) {
    let folder = site.path("record");
    let mut all = vec!["replay", folder.to_str().unwrap()];
    all.extend(arguments);
    let output = site.ballast(&all).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text + &String::from_utf8_lossy(&output.stderr), output.status.code().unwrap())
}

#[test]
fn what_the_daemon_has_recorded_is_decided_again() {
    let site = Site::new();
    let more = "[record]\nfolder = \"record\"\n";
    site.write("site.toml", &site.config(&Settings { feeder: true, ..Settings::default() }, more));
    let step = "[[event]]\nat = \"6s\"\nfor = \"4s\"\nload = { by = \"6 kW\", over = \"500ms\" }\n";
    let sim = site.simulate("site.toml", &scenario(step));
    let mut daemon = site.run("site.toml");
    eventually("the fleet takes the surplus", seconds(12.0), || (sim.truth().fleet > 22_500.0).then_some(()));
    eventually("the surplus falls", seconds(15.0), || (sim.truth().surplus < 18_100.0).then_some(()));
    daemon.process.signal("HUP");
    eventually("it has read its configuration again", seconds(60.0), || {
        daemon.log().contains("the new configuration is in force").then_some(())
    });
    std::thread::sleep(seconds(2.0));
    assert!(daemon.value("ballast_record_bytes") > 0.0);
    assert_eq!(daemon.value("ballast_record_errors_total"), 0.0);
    assert_eq!(daemon.value("ballast_record_lost_cycles_total"), 0.0);
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.code(seconds(5.5)), 0);

    let (text, code) = replay(&site, &[]);
    println!("{text}");
    assert!(text.contains("in 2 files") && text.contains("same: every cycle"), "{text}");
    assert_eq!(code, 0, "{text}");
    let (text, code) = replay(&site, &["--json"]);
    assert!(code == 0 && text.contains("\"differing\": 0"), "{text}");
    let (text, code) = replay(&site, &["--cycles"]);
    let columns = |line: &str| line.split(',').count();
    assert!(code == 0 && text.lines().count() > 10, "{text}");
    // A text with a comma in it stands in quotation marks.
    assert!(text.lines().all(|line| line.contains('"') || columns(line) == 12), "{text}");
    assert!(text.contains("follow-surplus at pcc"), "{text}");
    let (text, code) = replay(&site, &["--config", "site.toml"]);
    assert!(code == 0 && text.contains("mean budget of the fleet"), "{text}");
    let (text, code) = replay(&site, &["--export-test", "cut", "--anonymise"]);
    assert_eq!(code, 0, "{text}");
    for file in text.lines() {
        let bytes = std::fs::read(site.path(file)).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("127."), "no address");
    }
}

//! The shipped unit is one that systemd takes without a word and that locks the daemon in.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn unit() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/ballast.service")).unwrap()
}

fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// Runs systemd-analyze, or says that it was skipped where there is none.
fn analyze(arguments: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Straight to the terminal: what a passing test prints is hidden.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: systemd-analyze is not installed (Debian: apt-get install systemd)"
            );
            None
        }
        Err(error) => panic!("systemd-analyze does not start: {error}"),
    }
}

/// The unit with the paths of this build, in a directory of its own.
fn installed(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("ballast.service");
    let here = unit().replace("/usr/bin/ballast", env!("CARGO_BIN_EXE_ballast"));
    fs::write(&path, here).unwrap();
    path
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn systemd_has_nothing_to_say_about_the_unit() {
    let path = installed("verify");
    let Some(output) = analyze(&["verify", "--man=no", path.to_str().unwrap()]) else {
        return;
    };
    // The tool also speaks about units of the machine on which it runs; those are not ours.
    let said = text(&output);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("ballast")).collect();
    assert!(ours.is_empty(), "systemd-analyze says:\n{said}");
}

#[test]
fn the_exposure_of_the_service_is_at_most_two() {
    let path = installed("security");
    let Some(output) =
        analyze(&["security", "--offline=true", "--threshold=20", "--no-pager", path.to_str().unwrap()])
    else {
        return;
    };
    let said = text(&output);
    if said.contains("unrecognized option") {
        let _ = writeln!(std::io::stderr(), "SKIPPED: this systemd-analyze cannot look at a file offline");
        return;
    }
    assert!(output.status.success(), "exposure above 2.0:\n{said}");
    assert!(said.contains("Overall exposure level"), "{said}");
}

#[test]
fn the_commands_of_the_unit_are_ones_that_the_program_has() {
    let unit = unit();
    let commands = ["ExecStart", "ExecStartPre", "ExecReload"].map(|key| values(&unit, key));
    let ours: Vec<_> =
        commands.iter().flatten().filter_map(|command| command.strip_prefix("/usr/bin/ballast ")).collect();
    assert!(!ours.is_empty());
    for arguments in ours {
        let subcommand = arguments.split(' ').next().unwrap();
        let help = Command::new(env!("CARGO_BIN_EXE_ballast")).args([subcommand, "--help"]).output().unwrap();
        assert!(help.status.success(), "ballast {subcommand}: {}", text(&help));
    }
}

#[test]
fn the_unit_restarts_for_ever_but_not_on_a_wrong_configuration() {
    let unit = unit();
    assert_eq!(values(&unit, "Type"), ["notify"]);
    assert_eq!(values(&unit, "NotifyAccess"), ["main"]);
    assert_eq!(values(&unit, "WatchdogSec"), ["10"]);
    assert_eq!(values(&unit, "Restart"), ["always"]);
    assert_eq!(values(&unit, "StartLimitIntervalSec"), ["0"]);
    assert_eq!(values(&unit, "RestartPreventExitStatus"), ["78"]);
    assert!(
        values(&unit, "ExecStartPre").is_empty(),
        "systemd restarts a failing ExecStartPre for ever, whatever its exit status"
    );
}

#[test]
fn the_unit_reaches_the_network_and_nothing_else() {
    let unit = unit();
    assert_eq!(values(&unit, "RestrictAddressFamilies"), ["AF_INET AF_INET6 AF_UNIX"]);
    assert_eq!(values(&unit, "CapabilityBoundingSet"), [""]);
    assert_eq!(values(&unit, "PrivateDevices"), ["yes"]);
    assert_eq!(values(&unit, "ProtectSystem"), ["strict"]);
}

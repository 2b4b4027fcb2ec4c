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

/// Ends a process that a test has started, however the test ends.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What systemd does: the daemon has its credentials, and whoever is called by `ExecReload=` has none.
#[test]
fn a_reload_needs_no_credentials_for_the_daemon_has_them() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reload");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("credentials")).unwrap();
    fs::write(folder.join("credentials/miners"), "secret\n").unwrap();
    let config = folder.join("site.toml");
    let clock = std::cell::Cell::new("");
    let site = |mode: &str, margin: &str| {
        let clock = clock.get();
        let text = format!(
            r#"
[site]
name = "Barn roof"
mode = "{mode}"
{clock}
[control]
on_exit = "hold"
[web]
listen = "127.0.0.1:0"
[circuits.pcc]
meter = "grid"
margin = {margin}
[limits.follow-surplus]
circuit = "pcc"
import = "0 W"
[links.bus]
tcp = "127.0.0.1:9"
[meters.grid]
link = "bus"
unit = 1
profile = "eastron-sdm630"
[miners.barn-1]
driver = "whatsminer-v3"
model = "m60s"
circuit = "pcc"
address = "127.0.0.1:9"
credentials = {{ password_credential = "miners" }}
"#
        );
        fs::write(&config, text).unwrap();
    };
    let ballast = |command: &str| {
        let mut ballast = Command::new(env!("CARGO_BIN_EXE_ballast"));
        ballast.args([command, "--config"]).arg(&config).env_remove("CREDENTIALS_DIRECTORY");
        ballast
    };
    site("observe", "\"300 W\"");
    let log = fs::File::create(folder.join("log")).unwrap();
    let daemon =
        ballast("run").env("CREDENTIALS_DIRECTORY", folder.join("credentials")).stderr(log).spawn().unwrap();
    let daemon = Running(daemon);
    let said = || fs::read_to_string(folder.join("log")).unwrap();
    for _ in 0..600 {
        if said().contains("metrics and status on") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    site("control", "\"300 W\"");
    let reload = ballast("reload").output().unwrap();
    assert!(reload.status.success(), "{}{}", text(&reload), said());
    assert!(text(&reload).contains("the new configuration is in force"), "{}", text(&reload));
    assert!(said().contains("in control"), "{}", said());
    assert!(!text(&reload).contains("a restart only"), "{}", text(&reload));

    // What a reload cannot change is not in force, and the one who asked is told so.
    clock.set("clock = \"trusted\"");
    site("control", "\"300 W\"");
    let reload = ballast("reload").output().unwrap();
    let waits = "in force, but for what changes with a restart only: clock in [site]\n";
    assert!(reload.status.success() && text(&reload).contains(waits), "{}", text(&reload));
    assert!(said().contains("clock in [site] changes with a restart only"), "{}", said());

    // Another check by hand cannot see the credential, and says so; the daemon's answer is that of the daemon.
    let check = ballast("check").output().unwrap();
    assert!(check.status.success() && text(&check).contains("to the service alone"), "{}", text(&check));

    site("control", "300");
    let refused = ballast("reload").output().unwrap();
    assert_eq!(refused.status.code(), Some(78), "{}", text(&refused));
    assert!(text(&refused).contains("is a bare number"), "{}", text(&refused));

    drop(daemon);
    let nobody = ballast("reload").output().unwrap();
    assert_eq!(nobody.status.code(), Some(1), "{}", text(&nobody));
    assert!(text(&nobody).contains("no daemon runs with"), "{}", text(&nobody));
}

#[test]
fn the_unit_makes_a_folder_for_the_socket_that_its_group_alone_may_enter() {
    let unit = unit();
    assert_eq!(values(&unit, "RuntimeDirectory"), ["ballast"]);
    assert_eq!(values(&unit, "RuntimeDirectoryMode"), ["0750"]);
    assert_eq!((values(&unit, "User"), values(&unit, "Group")), (vec!["ballast"], vec!["ballast"]));
}

#[test]
fn the_unit_reaches_the_network_and_nothing_else() {
    let unit = unit();
    assert_eq!(values(&unit, "RestrictAddressFamilies"), ["AF_INET AF_INET6 AF_UNIX"]);
    assert_eq!(values(&unit, "CapabilityBoundingSet"), [""]);
    assert_eq!(values(&unit, "PrivateDevices"), ["yes"]);
    assert_eq!(values(&unit, "ProtectSystem"), ["strict"]);
}

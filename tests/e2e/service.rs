//! The service from its start to its end: signals, reload, exit policies, and what its log must never say.

use base64::Engine as _;

use crate::bench::{Daemon, PASSWORD, Settings, Site, always, eventually, now, scenario, seconds, skip};

/// Runs the daemon until it follows and ends it. `settled` says of the fleet's last setpoint and its true draw
/// whether the policy was carried out.
fn end(on_exit: &'static str, more: &str, settled: impl Fn(f64, f64) -> bool) {
    let site = Site::new();
    site.write("site.toml", &site.config(&Settings { on_exit, ..Settings::default() }, more));
    let sim = site.simulate("site.toml", &scenario(""));
    let mut daemon = site.run("site.toml");
    daemon.reaches(if more.is_empty() { "following" } else { "limited" }, 8.0);
    // What the start changed has come to rest.
    std::thread::sleep(seconds(3.0));
    let set = daemon.value("ballast_fleet_setpoint_watts");
    let begun = now();
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.code(seconds(5.5)), 0);
    println!("{on_exit}: ended after {:?}", now() - begun);
    let log = daemon.log();
    assert!(log.trim_end().ends_with("stopped"), "{log}");
    assert!(site.get("/healthz").is_none(), "the port is free");
    // Commands on their way arrive, and the miners move.
    std::thread::sleep(seconds(4.0));
    always(
        &format!("`{on_exit}` is what becomes of a fleet that was set to {set} W"),
        seconds(2.0),
        || sim.truth().fleet,
        |fleet| settled(set, *fleet),
    );
}

#[test]
fn sigterm_ends_in_order_within_five_seconds() {
    // Mostly waiting, so all three at once.
    std::thread::scope(|scope| {
        scope.spawn(|| end("hold", "", |set, fleet| (fleet - set).abs() < 0.05 * set));
        scope.spawn(|| end("sleep", "", |_, fleet| fleet < 1_500.0));
        // More than the surplus: the operator wants it so.
        scope.spawn(|| end("restore", "", |_, fleet| fleet > 25_500.0));
        // But not more than a limit that stays when the daemon is gone.
        let cable = "\n[limits.cable]\ncircuit = \"fleet\"\nminers = \"18 kW\"\n";
        scope.spawn(move || end("restore", cable, |_, fleet| fleet < 18_100.0 && fleet > 13_000.0));
    });
}

#[test]
fn sighup_takes_a_valid_configuration_and_refuses_a_broken_one() {
    let site = Site::new();
    let capped = |cap: &str| {
        let limit = format!("\n[limits.cable]\ncircuit = \"fleet\"\nminers = \"{cap}\"\n");
        site.config(&Settings::default(), &limit)
    };
    site.write("site.toml", &capped("40 kW"));
    let sim = site.simulate("site.toml", &scenario(""));
    let daemon = site.run("site.toml");
    let reads = "ballast_meter_reads_total{meter=\"pcc\",result=\"ok\"}";
    let energy = "ballast_energy_joules_total{kind=\"captured\"}";
    let commands = "ballast_commands_total{";
    // The simulated miners settle by themselves at first: what counts is what the daemon has raised them to.
    eventually("the fleet takes the surplus", seconds(20.0), || {
        (daemon.metrics().sum(commands) > 0.0 && sim.truth().fleet > 22_800.0).then_some(())
    });
    let before = daemon.metrics();

    // The same file again: nothing may happen.
    daemon.process.signal("HUP");
    eventually("the log tells of the reload", seconds(60.0), || {
        daemon.log().contains("the new configuration is in force").then_some(())
    });
    always(
        "a reload sheds nothing and forgets nothing",
        seconds(3.0),
        || {
            let metrics = daemon.metrics();
            let still = metrics.value(reads) >= before.value(reads)
                && metrics.value(energy) >= before.value(energy)
                && metrics.sum(commands) >= before.sum(commands)
                && metrics.sum("ballast_miner_up{") == 9.0;
            (metrics.mode(), still, sim.truth().fleet)
        },
        |(mode, still, fleet)| mode == "following" && *still && *fleet > 22_000.0,
    );

    // A tighter limit binds without a restart.
    site.write("site.toml", &capped("17 kW"));
    daemon.process.signal("HUP");
    let binding = "ballast_binding_limit_info{circuit=\"fleet\",source=\"cable\"}";
    eventually("the new limit binds", seconds(60.0), || daemon.metrics().get(binding));
    eventually("the fleet obeys it", seconds(6.0), || (sim.truth().fleet < 17_100.0).then_some(()));
    let limited = daemon.metrics();
    assert_eq!(limited.mode(), "limited");
    assert!(limited.value(reads) > before.value(reads) && limited.sum(commands) > before.sum(commands));

    // A broken one is told with its place, and changes nothing.
    let broken = capped("40 kW").replace("miners = \"40 kW\"", "miners = \"40\"");
    let line = 1 + broken.lines().position(|line| line == "miners = \"40\"").unwrap();
    site.write("site.toml", &broken);
    daemon.process.signal("HUP");
    let place = format!("site.toml:{line}:10:");
    eventually("the log says what is wrong and where", seconds(60.0), || {
        let log = daemon.log();
        (log.contains(&place) && log.contains("the running one stays in force")).then_some(())
    });
    let after = daemon.metrics();
    assert_eq!(after.get(binding), Some(1.0), "the old limit stands");
    assert!(after.value(reads) > before.value(reads));

    site.write("site.toml", &capped("40 kW"));
    daemon.process.signal("HUP");
    eventually("without the limit the fleet rises", seconds(15.0), || {
        (sim.truth().fleet > 20_500.0).then_some(())
    });
}

#[test]
fn a_reader_of_the_log_that_goes_away_ends_nothing() {
    let site = Site::new();
    site.write("site.toml", &site.config(&Settings::default(), ""));
    let _sim = site.simulate("site.toml", &scenario(""));
    let mut process = site.pipe(&mut site.ballast(&["run", "-c", "site.toml"]));
    let healthy = || site.get("/healthz").filter(|body| body.contains("ok"));
    eventually("the daemon is well", seconds(60.0), healthy);
    process.hang_up_on();
    // Each of these is told in the log.
    for _ in 0..5 {
        process.signal("HUP");
        std::thread::sleep(seconds(0.3));
    }
    assert!(process.ended().is_none(), "it goes on");
    eventually("the daemon is well", seconds(60.0), healthy);
    process.signal("TERM");
    assert_eq!(process.code(seconds(6.0)), 0, "and carries its exit policy out");
}

/// bash with `huponexit`, zsh always: a shell that ends sends its jobs a SIGHUP while the terminal is still there.
#[test]
fn a_shell_that_ends_takes_its_daemon_along_and_a_reload_in_its_terminal_does_not() {
    if !has_script() {
        return;
    }
    let site = Site::new();
    site.write("site.toml", &site.config(&Settings { on_exit: "sleep", ..Settings::default() }, ""));
    let _sim = site.simulate("site.toml", &scenario(""));
    // The shell that hangs up and ends is not the one that holds the terminal, so that this stays.
    site.write(
        "shell.sh",
        &format!(
            "{} run -c site.toml 2>run.err & echo $! >pid; read go; kill -HUP $(cat pid); read go; kill -HUP $(cat pid)",
            env!("CARGO_BIN_EXE_ballast")
        ),
    );
    let mut script = std::process::Command::new("script");
    script
        .args(["-qec", "sh -c 'sh shell.sh; exec sleep 60'", "/dev/null"])
        .current_dir(&site.folder)
        .stdin(std::process::Stdio::piped());
    let mut terminal = site.pipe(&mut script);
    let well = || site.get("/healthz").filter(|body| body.contains("ok"));
    eventually("the daemon is well", seconds(60.0), well);
    let log = || site.read("run.err");
    terminal.type_line("go");
    eventually("it has read its file again", seconds(60.0), || {
        log().contains("the new configuration is in force").then_some(())
    });
    terminal.type_line("go");
    eventually("it has ended", seconds(6.0), || site.get("/healthz").is_none().then_some(()));
    assert!(log().contains("the terminal in which it was started is gone"), "{}", log());
    terminal.kill();
}

/// Runs the daemon in a terminal of its own, waits until it is well, and closes the terminal.
fn in_a_terminal_that_closes(site: &Site, start: &str) {
    site.write(
        "start.sh",
        &format!("echo $$ > pid; exec {start} {} run -c site.toml", env!("CARGO_BIN_EXE_ballast")),
    );
    let mut script = std::process::Command::new("script");
    script
        .args(["-qec", "sh start.sh", "/dev/null"])
        .current_dir(&site.folder)
        .stdin(std::process::Stdio::piped());
    let mut terminal = site.pipe(&mut script);
    eventually("the daemon is well", seconds(60.0), || {
        site.get("/healthz").filter(|body| body.contains("ok"))
    });
    terminal.kill();
}

/// A process that outlives its terminal must not outlive a test that fails: it would answer at the address of the next one.
struct Outliving(String);

impl Drop for Outliving {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = std::process::Command::new("kill").args(["-KILL", &self.0]).status();
        }
    }
}

fn has_script() -> bool {
    let there = std::process::Command::new("script").arg("--version").output().is_ok();
    if !there {
        skip("no `script` (util-linux) to open a terminal with");
    }
    there
}

#[test]
fn a_terminal_that_closes_ends_the_daemon_in_order_unless_it_was_to_outlive_it() {
    if !has_script() {
        return;
    }
    let site = Site::new();
    let settings = Settings { on_exit: "sleep", ..Settings::default() };
    site.write("site.toml", &site.config(&settings, ""));
    let sim = site.simulate("site.toml", &scenario(""));
    in_a_terminal_that_closes(&site, "nohup");
    let pid = site.read("pid").trim().to_owned();
    let _outliving = Outliving(pid.clone());
    always(
        "it goes on",
        seconds(2.0),
        || site.get("/healthz"),
        |body| body.as_ref().is_some_and(|it| it.contains("ok")),
    );
    let signal = |name: &str| std::process::Command::new("kill").args([name, &*pid]).status().unwrap();
    // Without a terminal every other SIGHUP is a reload.
    assert!(signal("-HUP").success());
    always(
        "it goes on",
        seconds(1.0),
        || site.get("/healthz"),
        |body| body.as_ref().is_some_and(|it| it.contains("ok")),
    );
    assert!(sim.truth().fleet > 13_000.0, "and nobody was put to sleep");
    assert!(signal("-TERM").success());
    eventually("it has ended", seconds(6.0), || site.get("/healthz").is_none().then_some(()));

    in_a_terminal_that_closes(&site, "");
    eventually("it has ended", seconds(6.0), || site.get("/healthz").is_none().then_some(()));
    eventually("and put the miners to sleep", seconds(6.0), || (sim.truth().fleet < 1_500.0).then_some(()));
}

#[test]
fn a_copy_of_the_configuration_on_another_port_commands_nobody() {
    let site = Site::new();
    let own = site.config(&Settings::default(), "");
    site.write("site.toml", &own);
    let copy = own.replace(".1:9842", ".1:9843");
    site.write("copy.toml", &copy);
    site.write("observer.toml", &copy.replace("mode = \"control\"", "mode = \"observe\""));
    let _sim = site.simulate("site.toml", &scenario(""));
    let _daemon = site.run("site.toml");
    let output = site.ballast(&["run", "-c", "copy.toml"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another daemon on this computer commands the miner at"), "{said}");
    // Looking on is free, and commanding after a reload is not.
    let observer = site.spawn("observer", &mut site.ballast(&["run", "-c", "observer.toml"]));
    let other = format!("{}:9843", site.host(1));
    eventually("the observer is well", seconds(60.0), || crate::bench::get(&other, "/healthz"));
    site.write("observer.toml", &copy);
    observer.signal("HUP");
    eventually("the reload is refused", seconds(60.0), || {
        let log = site.read("observer.err");
        log.contains("the new configuration is not used, the running one stays in force:\nanother daemon")
            .then_some(())
    });
}

#[test]
fn a_second_daemon_commands_nobody() {
    let site = Site::new();
    let own = format!("{}\n[store]\npath = \"orders.db\"\n", site.config(&Settings::default(), ""));
    site.write("site.toml", &own);
    site.write("copy.toml", &own.replace(".1:9842", ".1:9843"));
    let _sim = site.simulate("site.toml", &scenario(""));
    let daemon = site.run("site.toml");
    daemon.reaches("following", 8.0);
    for (arguments, why) in [
        (["run", "-c", "copy.toml"].as_slice(), "orders.db"),
        (&["run", "-c", "site.toml"], "site.toml"),
        (&["meter", "verify", "pcc", "--yes", "-c", "copy.toml"], "orders.db"),
    ] {
        let output = site.ballast(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("another daemon") && said.contains(why), "{said}");
    }
}

#[test]
fn no_password_is_in_logs_metrics_or_pages() {
    let site = Site::new();
    site.write("site.toml", &site.config(&Settings::default(), ""));
    let drop = "[[event]]\nat = \"4s\"\nload = { by = \"4 kW\" }\n";
    let _sim = site.simulate("site.toml", &scenario(drop));
    let process = site.spawn("run", site.ballast(&["run", "-c", "site.toml"]).env("BALLAST_LOG", "trace"));
    let mut daemon = Daemon::of(&site, process);
    // All three vendors have been logged in to and commanded.
    eventually("every vendor was commanded", seconds(60.0), || {
        let metrics = daemon.metrics();
        let all = ["whatsminer-v2", "whatsminer-v3", "braiins-os"].iter().all(|driver| {
            let accepted = format!("ballast_commands_total{{driver=\"{driver}\",result=\"accepted\"}}");
            metrics.get(&accepted).is_some_and(|count| count > 0.0)
        });
        all.then_some(())
    });
    let mut places = vec![("metrics", daemon.metrics().text().to_owned())];
    for path in ["/", "/healthz", "/api/v1/status", "/api/v1/status?miners=1"] {
        places.push((path, site.get(path).unwrap()));
    }
    // Wrong files, whose errors show lines of them: once as wrong TOML, once as a wrong configuration.
    let good = site.config(&Settings::default(), "");
    let open = format!("credentials = {{ password = \"{PASSWORD}\" }}");
    let within = good.replace("credentials = { password_file = \"password\" }", &open);
    for (text, words) in [
        (format!("{good}\n{open}\n"), "duplicate key"),
        (within, "a password does not belong into the configuration"),
    ] {
        site.write("site.toml", &text);
        daemon.process.signal("HUP");
        eventually(&format!("the log says {words}"), seconds(60.0), || {
            daemon.log().contains(words).then_some(())
        });
    }
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.code(seconds(5.5)), 0);
    let log = daemon.log();
    assert!(log.contains("TRACE") && log.len() > 10_000, "the log has everything: {} bytes", log.len());
    assert!(!log.contains('\u{1b}'), "colours are for terminals");
    places.push(("the log", log));

    let encoded = base64::engine::general_purpose::STANDARD.encode(PASSWORD);
    let bytes = format!("{:?}", PASSWORD.as_bytes());
    for (place, text) in &places {
        for secret in [PASSWORD, encoded.trim_end_matches('='), bytes.trim_matches(['[', ']'])] {
            assert!(!text.contains(secret), "{place} tells the password as {secret}");
        }
    }
}

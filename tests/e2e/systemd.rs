//! What systemd is told over its socket.

use std::os::unix::net::UnixDatagram;

use crate::bench::{Daemon, Settings, Site, eventually, now, scenario, seconds};

/// The socket on which the service manager listens.
struct Manager {
    socket: UnixDatagram,
    said: Vec<String>,
}

impl Manager {
    /// Takes what has come.
    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            self.said.push(String::from_utf8_lossy(buffer.get(..length).unwrap()).into_owned());
        }
    }

    /// Waits for a message with this line, and gives how many messages came before it.
    fn hears(&mut self, line: &str, from: usize, within: f64) -> usize {
        eventually(&format!("systemd hears {line}"), seconds(within), || {
            self.listen();
            let told = |message: &String| message.lines().any(|told| told.starts_with(line));
            self.said.iter().skip(from).position(told).map(|position| from + position)
        })
    }
}

#[test]
fn systemd_hears_of_readiness_life_reload_and_the_end() {
    let site = Site::new();
    site.write("site.toml", &site.config(&Settings { on_exit: "sleep", ..Settings::default() }, ""));
    let _sim = site.simulate("site.toml", &scenario(""));
    let path = site.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut manager = Manager { socket, said: Vec::new() };
    let command = &mut site.ballast(&["run", "-c", "site.toml"]);
    let process = site.spawn("run", command.env("NOTIFY_SOCKET", &path));
    let mut daemon = Daemon::of(&site, process);

    let ready = manager.hears("READY=1", 0, 5.0);
    assert_eq!(ready, 0, "nothing comes before it: {:?}", manager.said);
    let first = daemon.metrics();
    assert!(
        first.value("ballast_cycle_duration_seconds_count") >= 1.0,
        "ready means that a cycle is complete"
    );

    // Every cycle feeds the watchdog, and only cycles do.
    let begun = now();
    let counted = first.value("ballast_cycle_duration_seconds_count");
    manager.listen();
    let heard = manager.said.len();
    while now() - begun < seconds(3.0) {
        manager.listen();
        std::thread::sleep(seconds(0.05));
    }
    let cycles = daemon.value("ballast_cycle_duration_seconds_count") - counted;
    manager.listen();
    let fed = manager.said.iter().skip(heard).filter(|said| said.contains("WATCHDOG=1")).count();
    let fed = f64::from(u32::try_from(fed).unwrap());
    assert!(cycles >= 8.0 && (fed - cycles).abs() <= 4.0, "{cycles} cycles, {fed} times WATCHDOG=1");
    let status = manager.said.last().unwrap();
    assert!(status.contains("STATUS=") && status.contains("fleet"), "{status}");

    let from = manager.said.len();
    daemon.process.signal("HUP");
    let reloading = manager.hears("RELOADING=1", from, 3.0);
    let message = &manager.said[reloading];
    assert!(message.contains("MONOTONIC_USEC="), "Type=notify-reload needs it: {message}");
    manager.hears("READY=1", reloading, 3.0);

    let from = manager.said.len();
    daemon.process.signal("TERM");
    manager.hears("STOPPING=1", from, 2.0);
    assert_eq!(daemon.process.code(seconds(5.5)), 0);
}

//! The page in a browser that others wrote: it shows what is so, is readable by everybody, and goes on over a restart.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;

use crate::bench::{Settings, Site, eventually, scenario, seconds, skip};

const TOKEN: &str = "e2e-operator-token-0123456789";

#[test]
fn the_page_is_read_in_a_browser_and_goes_on_over_a_restart_of_the_daemon() {
    let site = Site::new();
    site.write("operator.token", TOKEN);
    let token = "\n[web.tokens.operator]\ntoken = { file = \"operator.token\" }\nscopes = [\"operator\"]\n";
    // The browser is kept from every address but this one.
    let config = site.config(&Settings::default(), token);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = config.replace(&site.listen(), &format!("127.0.0.1:{port}"));
    site.write("site.toml", &config);
    let _sim = site.simulate("site.toml", &scenario(""));
    let start = || site.spawn("run", &mut site.ballast(&["run", "-c", "site.toml"]));
    let mut daemon = start();
    // Somebody works on a miner, and it is left alone: the page has to say so.
    let begin = ["maintenance", "begin", "v2-001", "--by", "Aisha", "--hands-off", "-c", "site.toml"];
    eventually("the daemon is told of the work", seconds(60.0), || {
        site.ballast(&begin).output().unwrap().status.success().then_some(())
    });
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let check = std::process::Command::new("python3")
        .arg(here.join("tests/dashboard/check.py"))
        .arg(format!("http://127.0.0.1:{port}/"))
        .arg("--token-file")
        .arg(site.path("operator.token"))
        .args(["--maintenance", "v2-001"])
        .arg("--files")
        .arg(here.join("src/web/dashboard"))
        .args(["--restart", "--seconds", "3"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut check = match check {
        Ok(check) => check,
        Err(_) => return skip("the page in a browser (python3 is not installed)"),
    };
    let mut answers = check.stdin.take().unwrap();
    let mut said = String::new();
    for line in BufReader::new(check.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.trim() {
            "stop" => daemon.kill(),
            "start" => daemon = start(),
            _ => {
                said.push_str(&line);
                said.push('\n');
                continue;
            }
        }
        writeln!(answers, "done").unwrap();
    }
    let status = check.wait().unwrap();
    match status.code() {
        Some(77) => skip("the page in a browser (chromium is not installed)"),
        Some(0) => assert!(said.contains("PASSED"), "{said}"),
        _ => panic!("{said}"),
    }
    daemon.kill();
}

//! Whoever does what the guide says, from top to bottom, gets a running service, whose reload works: the commands of the
//! pages themselves, in a booted container with this machine's systemd and nothing of the network.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

pub(crate) fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide").join(name)).unwrap()
}

/// What stands under a heading, up to the next one of its level.
pub(crate) fn section<'t>(page: &'t str, heading: &str) -> &'t str {
    let from =
        page.split(&format!("\n## {heading}")).nth(1).unwrap_or_else(|| panic!("no section {heading}"));
    from.split("\n## ").next().unwrap()
}

/// The lines that are set in: commands, or what is written into files.
pub(crate) fn set_in(section: &str) -> Vec<&str> {
    section.lines().filter_map(|line| line.strip_prefix("    ")).collect()
}

/// The commands of a section that a person types in one place after the other. An editor is a person's.
pub(crate) fn commands(section: &str) -> Vec<String> {
    let typed =
        set_in(section).into_iter().filter(|line| !line.starts_with(['[', ' ']) && !line.contains(" = "));
    typed.map(|line| line.replace("nano miners.password", "echo secret >miners.password")).collect()
}

pub(crate) fn toml(section: &str) -> String {
    section.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// What runs in the container: the pages, and a look at the outcome after each of them.
fn script() -> String {
    let (start, service) = (page("getting-started.md"), page("systemd.md"));
    let built = commands(section(&start, "0. "));
    assert_eq!(built[0], "cargo build --release", "it is built already, and the rest follows");
    let mut lines = vec![String::from("set -eux; cd /srv/source")];
    lines.extend_from_slice(&built[1..]);
    lines.extend(commands(section(&start, "1. ")));
    lines.push(format!("cat >site.toml <<'END'\n{}END", toml(section(&start, "1. "))));
    for step in ["2. ", "3. "] {
        let typed =
            set_in(section(&start, step)).into_iter().find_map(|line| line.strip_prefix("$ ")).unwrap();
        // The daemon goes on while the next steps are done.
        lines.push(if typed.contains(" run ") {
            format!("{typed} & daemon=$!; sleep 3")
        } else {
            typed.into()
        });
    }
    lines.push(String::from("sed -i 's/\"observe\"/\"control\"/' site.toml"));
    let reload = set_in(section(&start, "4. "))[0].strip_prefix("$ ").unwrap();
    lines.push(format!("{reload}; kill $daemon; wait $daemon; cd ..; echo BY HAND >&3"));

    let installing = commands(section(&service, "Installing"));
    assert!(installing.iter().any(|line| line == "systemctl reload ballast"), "{installing:?}");
    lines.extend(installing);
    lines.push(String::from("systemctl is-active ballast; echo INSTALLED >&3"));

    let passwords = section(&service, "Passwords");
    lines.push(String::from("sed -i 's/\"control\"/\"observe\"/' /etc/ballast/ballast.toml"));
    lines.extend(commands(passwords).into_iter().filter(|line| !line.starts_with("LoadCredential")));
    let credentials = set_in(passwords).into_iter().find(|line| line.starts_with("credentials = ")).unwrap();
    lines.push(format!("sed -i 's|^credentials = .*|{credentials}|' /etc/ballast/ballast.toml"));
    let unit: Vec<&str> = set_in(passwords).into_iter().filter(|line| line.starts_with(['[', 'L'])).collect();
    lines.push(format!(
        "mkdir -p /etc/systemd/system/ballast.service.d; cat >/etc/systemd/system/ballast.service.d/override.conf \
         <<'END'\n{}\nEND",
        unit.join("\n")
    ));
    lines.push(String::from("systemctl daemon-reload; systemctl restart ballast; echo CREDENTIAL >&3"));
    // By hand the credential cannot be seen, which is no mistake.
    lines.push(String::from(
        "runuser -u ballast -- ballast check 2>&1 | grep 'gives it to the service alone'",
    ));

    // From watching to commanding without a restart.
    lines.push(String::from(
        "pid=$(systemctl show -P MainPID ballast); sed -i 's/\"observe\"/\"control\"/' /etc/ballast/ballast.toml; \
         systemctl reload ballast; journalctl --sync; journalctl -u ballast | grep 'in control'; \
         [ $pid = $(systemctl show -P MainPID ballast) ]; echo RELOADED >&3",
    ));
    // A mistake makes the reload fail and changes nothing.
    lines.push(String::from(
        "sed -i 's/\"300 W\"/300/' /etc/ballast/ballast.toml; ! systemctl reload ballast; \
         journalctl --sync; journalctl -u ballast | grep 'is a bare number'; systemctl is-active ballast; \
         [ $pid = $(systemctl show -P MainPID ballast) ]; echo REFUSED >&3",
    ));
    lines.push(String::from(
        "systemctl stop ballast; [ $(systemctl show -P Result ballast) = success ]; echo STOPPED >&3",
    ));
    lines.join("\n") + "\n"
}

/// Boots a copy of this machine that leaves no trace on it, and runs `script` in it: `work` gets the script's words and its
/// milestones. `before` prepares the copy, `bind` are more options of systemd-nspawn.
pub(crate) fn boot(work: &Path, script: &str, before: &str, bind: &str) -> Option<i32> {
    fs::write(work.join("guide.sh"), script).unwrap();
    let outer = format!(
        r#"set -e
mount -t tmpfs none '{work}/root'
cd '{work}/root'
mkdir upper scratch all
mount -t overlay none -o lowerdir=/,upperdir=upper,workdir=scratch all || exit 77
cd all
rm -rf etc/systemd/system/network-online.target.wants etc/machine-id etc/ballast etc/sysusers.d srv/source
{before}
# There is no network here that could be waited for.
ln -sf /dev/null etc/systemd/system/systemd-networkd-wait-online.service
ln -sf /dev/null etc/systemd/system/NetworkManager-wait-online.service
cat >etc/systemd/system/guide.service <<'END'
[Service]
Type=oneshot
ExecStart=/bin/bash -c 'bash /out/guide.sh 3>/out/milestones >/out/words 2>&1'
ExecStopPost=/bin/systemctl --no-block exit
END
exec timeout --signal=KILL 900 systemd-nspawn --quiet --directory=. --private-network --register=no --keep-unit \
    --bind='{work}:/out' {bind} --boot systemd.unit=guide.service
"#,
        work = work.display(),
    );
    let output = Command::new("unshare").args(["--mount", "sh", "-c", &outer]).output();
    let output = output.ok()?;
    fs::write(work.join("console"), [output.stdout, output.stderr].concat()).unwrap();
    output.status.code()
}

/// Why no container can be booted here, as far as that is known before it is tried.
pub(crate) fn cannot_boot() -> Option<&'static str> {
    if fs::metadata("/proc/self").map_or(u32::MAX, |process| process.uid()) != 0 {
        return Some("it takes root");
    }
    if Command::new("systemd-nspawn").arg("--version").output().is_err() {
        return Some("there is no systemd-nspawn: apt-get install systemd-container");
    }
    None
}

#[test]
fn the_guide_to_the_letter_gives_a_running_service_that_reloads_with_its_credentials() {
    let skip = |why: &str| {
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: the guide's installation in a booted container ({why})");
    };
    // The script is made in any case: a page without its commands is a fault.
    assert!(script().contains("systemctl enable --now ballast"));
    if let Some(why) = cannot_boot() {
        return skip(why);
    }
    let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("installed");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(work.join("root")).unwrap();
    let source = env!("CARGO_MANIFEST_DIR");
    let before = format!(
        "mkdir -p srv/source/target/release; cp -r '{source}/systemd' srv/source/; touch srv/source/target/release/ballast"
    );
    let bind = format!("--bind-ro='{}:/srv/source/target/release/ballast'", env!("CARGO_BIN_EXE_ballast"));
    let code = boot(&work, &script(), &before, &bind);
    let read = |name: &str| fs::read_to_string(work.join(name)).unwrap_or_default();
    let (reached, words) = (read("milestones"), read("words"));
    if words.is_empty() {
        return skip(&format!("no container can be booted here, {code:?}: {}", read("console")));
    }
    let expected = ["BY HAND", "INSTALLED", "CREDENTIAL", "RELOADED", "REFUSED", "STOPPED"];
    assert_eq!(reached.lines().collect::<Vec<_>>(), expected, "{words}");
}

/// What the section on orders has typed, in its order, to the daemon of the file that the page has written until then.
#[test]
fn the_orders_of_the_guide_are_given_and_taken_as_it_says() {
    let start = page("getting-started.md");
    let orders = section(&start, "5. ");
    let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("orders-of-the-guide");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let site = toml(section(&start, "1. ")) + &toml(orders) + &format!("[web]\nlisten = \"{address}\"\n");
    // Nobody is at the addresses of its meter and its miner.
    fs::write(work.join("site.toml"), site.replace("192.168.", "127.96.")).unwrap();
    fs::write(work.join("miners.password"), "secret").unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_ballast")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let shell = |line: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(&work).env("PATH", &path).env_remove("BALLAST_TOKEN_FILE");
        command
    };
    let mut daemon = shell("exec ballast run --config site.toml >run.log 2>&1").spawn().unwrap();
    let curl = Command::new("curl").arg("--version").output().is_ok();
    let (mut typed, mut wrong) = (0, Vec::new());
    for line in set_in(orders).into_iter().filter_map(|line| line.strip_prefix("$ ")) {
        typed += 1;
        if line.starts_with("curl ") && !curl {
            let _ = writeln!(std::io::stderr(), "SKIPPED: {line} (curl is not installed)");
            continue;
        }
        let line = line.replace("127.0.0.1:9842", &address).replace("curl ", "curl -sS --fail-with-body ");
        // The daemon has to be there, and knows a new token within two seconds.
        let mut output = shell(&line).output().unwrap();
        for _ in 0..300 {
            if output.status.success() {
                break;
            }
            thread::sleep(Duration::from_millis(200));
            output = shell(&line).output().unwrap();
        }
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            wrong.push(format!("{line}: {}", String::from_utf8_lossy(&said)));
        }
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", fs::read_to_string(work.join("run.log")).unwrap());
    assert_eq!(typed, 10);
}

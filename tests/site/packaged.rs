//! The Debian package, in a booted container with this machine's systemd: installed, set up and put to work by the commands of
//! `docs/guide/install.md` against a simulated site, upgraded, removed and purged.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::installed::{boot, cannot_boot, page, section, set_in};

/// The guide's addresses, and where the simulated site is.
const NETWORK: (&str, &str) = ("192.168.", "127.10.");

/// What stands behind the addresses of the guide.
const SITE: &str = r#"
[site]
name = "Behind the guide"
mode = "control"
[circuits.pcc]
meter = "grid"
[limits.follow-surplus]
circuit = "pcc"
import = "0 W"
[links.switchboard]
tcp = "127.10.10.20:502"
[meters.grid]
link = "switchboard"
unit = 1
profile = "eastron-sdm630"
[groups.barn]
driver = "whatsminer-v3"
model = "m60s"
circuit = "pcc"
addresses = ["127.10.20.11-127.10.20.12"]
credentials = { password_file = "password" }
"#;

const SCENARIO: &str = r#"
description = "A barn roof with steady sun"
seed = 7
[generation]
steady = "6 kW"
[load]
base = "600 W"
[miners]
start = "hashing"
at = "80 %"
"#;

fn says(words: &str) {
    // Straight to the terminal: what a passing test prints is hidden.
    let _ = writeln!(std::io::stderr(), "{words}");
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// The blocks of a language in a section.
fn blocks(section: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    section.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The commands of a section, as they are typed, with what only a person can do done by the script.
fn typed(section: &str) -> Vec<String> {
    let commands = set_in(section).into_iter().filter(|line| !line.contains(" = "));
    let command = |line: &str| {
        let line = line.replace(NETWORK.0, NETWORK.1);
        match line.split(' ').next().unwrap() {
            "nano" => format!("echo secret >{}", line.strip_prefix("nano ").unwrap()),
            // The packages lie in /out; nothing can be fetched, and the default of every question is taken.
            "apt" => format!(
                "cd /out; (yes '' || true) | apt-get -y -q --no-install-recommends {}",
                line.strip_prefix("apt ").unwrap()
            ),
            "sqlite3" => format!("if command -v sqlite3; then {line}; fi"),
            _ => line,
        }
    };
    commands.map(command).collect()
}

/// What runs in the container: the guide, and a look at the outcome after each of its steps.
fn script() -> String {
    let guide = page("install.md");
    let step = |number: u8| section(&guide, &format!("{number}. ")).to_owned();
    let config = "/etc/ballast/ballast.toml";
    let mut lines = vec![String::from(
        r#"set -eux
export DEBIAN_FRONTEND=noninteractive PAGER=cat
cd /out; /srv/ballast sim --config sim.toml --scenario barn.toml --every 1s >sim.log 2>&1 & sim=$!
value() { curl -sf http://127.0.0.1:9842/metrics | awk -v name="$1" 'index($0, name) == 1 { sum += $NF } END { print sum + 0 }'; }
# The plant's own word, as long as `$2` of it was written: the least that the fleet has drawn, in W.
least() { tail -n +"$1" /out/sim.log | sed -n 's/.*fleet \([0-9.]*\) \(k*\)W.*/\1 \2/p' | awk '{ w = $1 * ($2 == "k" ? 1000 : 1) } NR == 1 || w < least { least = w } END { print int(least) }'; }
until_() { for _ in $(seq 120); do if eval "$1"; then return; fi; sleep 0.5; done; echo "never: $1"; exit 1; }"#,
    )];

    lines.extend(typed(&step(1)));
    lines.push(String::from(
        r#"systemctl is-enabled ballast
[ "$(stat -c '%a %U %G' /etc/ballast /etc/ballast/credentials /var/lib/ballast | tr '\n' ' ')" = '750 root ballast 700 root root 700 ballast ballast ' ]
journalctl --sync; journalctl -u ballast | grep 'there is nothing to watch yet'
runuser -u ballast -- ballast check 2>&1 | grep 'nothing to watch'
for page in ballast ballast-run ballast-meter-scan; do zcat /usr/share/man/man1/$page.1.gz | grep -q '^.SH NAME'; done
bash -c '. /usr/share/bash-completion/completions/ballast; complete -p ballast'
if command -v zsh; then zsh -n /usr/share/zsh/vendor-completions/_ballast; fi
if command -v fish; then fish -n /usr/share/fish/vendor_completions.d/ballast.fish; fi
zcat /usr/share/doc/ballast/third-party-licences.gz | grep -q '== tokio '
echo INSTALLED >&3"#,
    ));

    let found = step(2);
    let mut commands = typed(&found).into_iter();
    lines.push(format!("{} | tee /out/scan", commands.next().unwrap()));
    lines.push(String::from("grep eastron-sdm630 /out/scan"));
    let file = blocks(&found, "toml").concat().replace(NETWORK.0, NETWORK.1);
    lines.push(format!("cat >{config} <<'END'\n{file}END"));
    lines.extend(commands);
    lines.push(String::from("echo METER >&3"));

    let miners = step(3);
    lines.extend(typed(&miners));
    let account = set_in(&miners).into_iter().find(|line| line.starts_with("credentials = ")).unwrap();
    lines.push(format!("sed -i 's|^driver = .*|&\\n{account}|' {config}; cat {config}; ls -l /etc/ballast"));
    lines.extend(typed(&step(4)));
    lines.push(String::from(
        "pid=$(systemctl show -P MainPID ballast); until_ '[ $(value \"ballast_miner_up{\") = 2 ]'; \
         [ $(value ballast_commands_total) = 0 ]; echo OBSERVED >&3",
    ));

    let token = step(5);
    let mut commands: Vec<String> = typed(&token);
    let after = commands.split_off(2);
    lines.extend(commands);
    lines.push(format!("cat >>{config} <<'END'\n\n{}END", blocks(&token, "toml").concat()));
    lines.extend(after);
    lines.push(String::from("echo TOKEN >&3"));

    lines.push(format!("sed -i 's/\"observe\"/\"control\"/' {config}"));
    let control = typed(&step(6));
    for command in &control {
        lines.push(command.clone());
        if command.contains("systemctl reload") {
            lines.push(String::from("until_ '[ $(value ballast_commands_total) -gt 0 ]'"));
        } else if command.contains("limit list") {
            lines.push(String::from("until_ '[ $(least $(wc -l </out/sim.log)) -lt 4300 ]'"));
        } else if command.contains("limit clear") {
            lines.push(String::from("until_ '[ $(least $(wc -l </out/sim.log)) -gt 4600 ]'"));
        }
    }
    // All of it without a restart.
    lines.push(String::from("[ $pid = $(systemctl show -P MainPID ballast) ]; echo CONTROL >&3"));

    let watch = blocks(&step(7), "yaml").concat();
    lines.push(format!(
        "if command -v promtool; then printf 'scrape_configs:\\n%s' '{watch}' >/tmp/prometheus.yml; \
         promtool check config /tmp/prometheus.yml; fi"
    ));
    lines.extend(typed(&step(8)));
    lines.push(String::from(
        "tar -tzf /var/backups/ballast/etc.tar.gz | grep operator.token; echo BACKUP >&3",
    ));

    // The new version brings another configuration along: what was written stays, and no miner moves.
    lines.push(String::from("sleep 3; from=$(wc -l </out/sim.log)"));
    lines.extend(typed(&step(9)));
    lines.push(String::from(
        r#"new=$(systemctl show -P MainPID ballast); [ $new != $pid ] && [ $new != 0 ]
until_ '[ $(value "ballast_miner_up{") = 2 ]'; sleep 4
[ $(least $from) -gt 4000 ]
[ "$(dpkg-query -W -f '${Version}' ballast)" = 0.1.0-2 ]
grep 'Barn roof' /etc/ballast/ballast.toml; grep 'of another version' /etc/ballast/ballast.toml.dpkg-dist
[ "$(stat -c '%a %U %G' /etc/ballast)" = '750 root ballast' ]
echo UPGRADED >&3
dpkg -i /out/ballast_0.1.0-3_amd64.deb </dev/null 2>&1 | tee /out/refused
grep 'is not taken any more' /out/refused; grep 'was NOT restarted' /out/refused
[ $new = $(systemctl show -P MainPID ballast) ]; systemctl is-active ballast; echo REFUSED >&3
systemctl stop ballast; dpkg -i --force-confold /out/ballast_0.1.0-2_amd64.deb </dev/null
[ $(systemctl is-active ballast) = inactive ]; systemctl start ballast; echo STOPPED >&3"#,
    ));

    let mut commands = typed(&step(10)).into_iter();
    lines.push(commands.next().unwrap());
    lines.push(String::from(
        "[ \"$(systemctl is-active ballast)\" != active ]; grep 'Barn roof' /etc/ballast/ballast.toml; \
         [ -s /etc/ballast/operator.token ] && [ -s /var/lib/ballast/ballast.db ] && [ ! -e /usr/bin/ballast ]; echo REMOVED >&3",
    ));
    lines.push(String::from(
        "dpkg -i --force-confold /out/ballast_0.1.0-2_amd64.deb </dev/null; systemctl is-active ballast; echo AGAIN >&3",
    ));
    lines.extend(commands);
    lines.push(String::from(
        r#"find /etc /run /usr /var -xdev -maxdepth 6 \( -path /var/tmp -o -path /var/backups -o -path /run/systemd \) -prune -o -cnewer /out/begun -iname '*ballast*' -print >/out/leftovers
getent passwd ballast >>/out/leftovers; echo PURGED >&3; kill $sim"#,
    ));
    lines.join("\n") + "\n"
}

/// Makes the packages in `work`: the first from this source, one that follows it and brings another configuration along, and one that
/// takes no configuration of before.
fn pack(work: &Path) {
    let first = work.join("ballast_0.1.0-1_amd64.deb");
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    run(Command::new(source.join("packaging/deb")).arg(env!("CARGO_BIN_EXE_ballast")).arg(work).args([
        "--fast",
        "--deb-version",
        "0.1.0-1",
    ]));
    let tree = work.join("tree");
    for (version, refuses) in [(2, false), (3, true)] {
        let _ = fs::remove_dir_all(&tree);
        run(Command::new("dpkg-deb").arg("-R").arg(&first).arg(&tree));
        let control = fs::read_to_string(tree.join("DEBIAN/control")).unwrap();
        fs::write(tree.join("DEBIAN/control"), control.replace("0.1.0-1", &format!("0.1.0-{version}")))
            .unwrap();
        let config = fs::read_to_string(tree.join("etc/ballast/ballast.toml")).unwrap();
        fs::write(tree.join("etc/ballast/ballast.toml"), format!("# of another version\n{config}")).unwrap();
        if refuses {
            let program = "#!/bin/sh\necho 'ballast.toml:3:1: `margin` is not taken any more' >&2\nexit 78\n";
            fs::write(tree.join("usr/bin/ballast"), program).unwrap();
        }
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zgzip", "-z1", "--build"])
            .arg(&tree)
            .arg(work.join(format!("ballast_0.1.0-{version}_amd64.deb"))));
    }
    fs::remove_dir_all(&tree).unwrap();
}

/// What Debian's own checker calls an error.
fn lint(package: &Path) {
    let Ok(output) =
        Command::new("lintian").args(["--allow-root", "--fail-on", "error"]).arg(package).output()
    else {
        return says("SKIPPED: the package's check by lintian (apt-get install lintian)");
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_package_is_installed_put_to_work_upgraded_and_purged_by_the_guide() {
    // The script is made in any case: a page without its commands is a fault.
    let script = script();
    assert!(
        script.contains("ballast discover 127.10.20.0/24") && script.contains("purge ballast"),
        "{script}"
    );
    let skip = |why: &str| says(&format!("SKIPPED: the package in a booted container ({why})"));
    // It takes minutes, so that a machine which happens to have what packs does not run it by the way.
    if std::env::var_os("BALLAST_TEST_ALL").is_none() {
        return skip("set BALLAST_TEST_ALL=1, or run `.ci/run all`");
    }
    if Command::new("cargo").args(["deb", "--version"]).output().is_ok_and(|output| !output.status.success())
    {
        return skip("there is no cargo-deb: cargo install --locked cargo-deb");
    }
    if run(Command::new("dpkg").arg("--print-architecture")).trim() != "amd64" {
        return skip("the guide's example is of amd64");
    }
    let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("packaged");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(work.join("root")).unwrap();
    pack(&work);
    std::thread::scope(|scope| {
        scope.spawn(|| lint(&work.join("ballast_0.1.0-1_amd64.deb")));
        if let Some(why) = cannot_boot() {
            return skip(why);
        }
        for (name, text) in
            [("sim.toml", SITE), ("barn.toml", SCENARIO), ("password", "secret\n"), ("begun", "")]
        {
            fs::write(work.join(name), text).unwrap();
        }
        // Without the index of manual pages, which takes longer than all else.
        let before = "touch srv/ballast; rm -f var/lib/man-db/auto-update; rm -f usr/sbin/policy-rc.d etc/dpkg/dpkg.cfg.d/docker*";
        let bind = format!("--bind-ro='{}:/srv/ballast'", env!("CARGO_BIN_EXE_ballast"));
        let code = boot(&work, &script, before, &bind);
        let read = |name: &str| fs::read_to_string(work.join(name)).unwrap_or_default();
        let (reached, words) = (read("milestones"), read("words"));
        if words.is_empty() {
            return skip(&format!("no container can be booted here, {code:?}: {}", read("console")));
        }
        let expected = [
            "INSTALLED",
            "METER",
            "OBSERVED",
            "TOKEN",
            "CONTROL",
            "BACKUP",
            "UPGRADED",
            "REFUSED",
            "STOPPED",
            "REMOVED",
            "AGAIN",
            "PURGED",
        ];
        assert_eq!(reached.lines().collect::<Vec<_>>(), expected, "{words}");
        let left = read("leftovers");
        let account = |line: &&str| !line.starts_with("ballast:");
        assert_eq!(left.lines().filter(account).collect::<Vec<_>>(), Vec::<&str>::new(), "{left}");
    });
}

//! How the work of a server is paused and resumed, by a hook of its tenant's: the key `pause` of a group or miner.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use super::diagnostic::{At, Report};
use super::models::MOST_MINER_POWER;
use super::reader::{Table, Wrong, text_of};
use super::secrets::Store;
use super::{Secrets, certificate, urls};
use crate::control::site::LoadClass;
use crate::line::is_line;
use crate::miner::DriverKind;
use crate::miner::pause::{Pause, Way};
use crate::units::Watts;

/// The notice unless told.
const NOTICE: Duration = Duration::from_secs(30);
/// No longer notice is given.
const LONGEST_NOTICE: Duration = Duration::from_secs(600);
/// How long an answer may take unless told.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What a paused server draws unless told, as a share of its lowest cap: a guess, since memory, fans and idle processors go on.
const IDLE: f64 = 0.5;
/// More words than any command needs.
const MOST_WORDS: usize = 32;
/// And longer than any of them, in bytes.
const LONGEST_WORD: usize = 1_024;

/// The table `pause`.
#[derive(Clone)]
pub(super) struct PauseKeys {
    way: Way,
    notice: Duration,
    timeout: Duration,
    draw: Option<At<Watts>>,
}

/// Reads the key; what is wrong with it is noted.
pub(super) fn read(table: &Table<'_>, store: &Store<'_>) -> Option<At<PauseKeys>> {
    let inner = table.table("pause")?;
    let (report, span) = (inner.report(), inner.span());
    let url = inner.read("url", |value| urls::http(text_of(value)?));
    let token = inner.text("token_file").map(|at| store.secret_file(at, report));
    let trust = certificate::trust(&inner, &store.folder);
    let command = command(&inner);
    if let Some(program) = command.as_deref().and_then(<[String]>::first)
        && store.options.secrets != Secrets::Skip
        && is_missing(program)
    {
        report.warn(
            inner.key_span("command"),
            format!("there is no program {program} on this machine"),
            "put it there and make it executable: until then a server is lowered and not paused",
        );
    }
    let notice = inner.time("notice", Duration::ZERO, LONGEST_NOTICE).map_or(NOTICE, |at| at.value);
    let timeout = inner
        .time("timeout", Duration::from_millis(100), Duration::from_secs(30))
        .map_or(TIMEOUT, |at| at.value);
    let draw = inner.power("draw", 0.0, MOST_MINER_POWER);
    if inner.has("url") == inner.has("command") {
        report.error(
            span,
            format!("{} needs one way to the hook", inner.title()),
            "write url = \"http://127.0.0.1:9000/pause\", or command = [\"/usr/local/bin/pause-job\", \"{name}\"]",
        );
    }
    let https = url.as_ref().is_some_and(|url| url.value.scheme() == "https");
    if let Some(trust) = trust.as_ref().filter(|_| !https) {
        report.error(
            trust.span,
            "the pause hook is not reached over HTTPS",
            "`certificate` and `ca` are for url = \"https://…\"",
        );
    }
    if let Some(url) = url.as_ref().filter(|url| token.is_some() && !https && !urls::is_here(&url.value)) {
        report.error(
            url.span,
            "the token would travel in the clear",
            "write https://…; if that cannot be, put a proxy on this machine in between",
        );
    }
    if inner.has("token_file") && inner.has("command") {
        report.error(inner.key_span("token_file"), "a command takes no token", "leave `token_file` out");
    }
    if !inner.finish() {
        return None;
    }
    let way = match (url, command) {
        (Some(url), None) => {
            Way::Http { url: url.value, token: token.flatten(), trust: trust.map(|at| at.value) }
        }
        (None, Some(words)) => Way::Command(words),
        _ => return None,
    };
    Some(At::new(PauseKeys { way, notice, timeout, draw }, span))
}

/// Whether it is certain that a program is not there. Whoever checks a file may not be let in where the service is.
fn is_missing(program: &str) -> bool {
    match std::fs::metadata(program) {
        Ok(found) => !found.is_file() || found.permissions().mode() & 0o111 == 0,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// A program and its arguments.
fn command(table: &Table<'_>) -> Option<Arc<[String]>> {
    let report = table.report();
    let list = table.list("command")?;
    let mistakes = report.count();
    let help = "write the program in full and its arguments, each by itself: [\"/usr/local/bin/pause-job\", \"{name}\"]";
    let mut words = Vec::new();
    for (span, value) in list.value {
        let word = text_of(value).and_then(|word| {
            if word.len() <= LONGEST_WORD && is_line(word) {
                Ok(word.to_owned())
            } else {
                Err(Wrong::new("is no argument", help))
            }
        });
        match word {
            Ok(word) => words.push(word),
            Err(wrong) => wrong.tell(report, span, "command"),
        }
    }
    if report.count() > mistakes {
        return None;
    }
    let program = words.first().is_some_and(|program| program.starts_with('/'));
    if !program || words.len() > MOST_WORDS {
        let what = if program { "has too many words" } else { "does not begin with the path of a program" };
        report.error(list.span, format!("`command` {what}"), help);
        return None;
    }
    Some(words.into())
}

/// How a server of this class is paused, whose lowest cap is this; notes what does not fit.
pub(super) fn fit(
    title: &str,
    driver: DriverKind,
    class: LoadClass,
    lowest: Watts,
    keys: Option<&At<PauseKeys>>,
    report: &Report<'_>,
) -> Option<Arc<Pause>> {
    let At { value: keys, span } = keys?;
    if !driver.is_server() {
        report.error(
            *span,
            format!("{title} is no server"),
            "`pause` asks the tenant of a server (driver = \"redfish\" or \"zeusd\") to pause its work; a miner is put to sleep",
        );
        return None;
    }
    if class != LoadClass::Interruptible {
        report.error(
            *span,
            format!("{title} is of class \"{}\", which is never paused", class.name()),
            "write class = \"interruptible\" too, where that is what was agreed, or leave `pause` out",
        );
        return None;
    }
    if let Some(draw) = keys.draw.filter(|draw| draw.value >= lowest) {
        report.error(
            draw.span,
            format!("{title} draws {} paused, and no more than {lowest} at its lowest cap", draw.value),
            "check `draw` and `minimum`",
        );
        return None;
    }
    let draw = keys.draw.map_or_else(|| lowest.scaled(IDLE), |at| at.value);
    let (way, notice, timeout) = (keys.way.clone(), keys.notice, keys.timeout);
    Some(Arc::new(Pause { way, notice, timeout, lowest, draw }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use crate::config::{Config, Options, Secrets, parse};
    use crate::control::site::LoadClass;
    use crate::miner::pause::Way;

    const HEAD: &str = "[site]\nname = \"s\"\nmode = \"observe\"\n[circuits.pcc]\n[limits.cap]\ncircuit = \"pcc\"\nminers = \"9 kW\"\n";

    fn read(driver: &str, more: &str) -> Result<Config, String> {
        let text = format!(
            "{HEAD}[miners.gpu-1]\ndriver = \"{driver}\"\ncircuit = \"pcc\"\naddress = \"127.0.0.1\"\nminimum = \"1 kW\"\nmaximum = \"2 kW\"\n\
             nameplate = \"2.2 kW\"\n{more}\n"
        );
        let files = [("pause.token", "t0ken\n")];
        let options = Options { secrets: Secrets::Read, files: &files, ..Options::default() };
        parse(&text, Path::new("site.toml"), &options).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_server_with_a_hook_can_be_paused_and_one_without_cannot() {
        let config = read("zeusd", "class = \"interruptible\"").unwrap();
        let server = config.site.miners.first().unwrap();
        assert!(!server.sleeps && server.class == LoadClass::Interruptible);
        assert!(server.notice.is_zero());
        let more = "class = \"interruptible\"\npause = { url = \"http://127.0.0.1:9000/pause\", token_file = \"pause.token\" }";
        let config = read("zeusd", more).unwrap();
        let server = config.site.miners.first().unwrap();
        assert!(server.sleeps);
        assert_eq!((server.notice, server.sleep.get().round()), (Duration::from_secs(30), 500.0));
        let pause = config.miners.first().unwrap().pause.clone().unwrap();
        assert_eq!((pause.lowest.get().round(), pause.timeout), (1_000.0, Duration::from_secs(5)));
        let Way::Http { url, token, .. } = &pause.way else { panic!("{pause:?}") };
        assert_eq!(
            (url.as_str(), token.as_ref().unwrap().expose()),
            ("http://127.0.0.1:9000/pause", "t0ken")
        );
        assert!(!format!("{pause:?}").contains("t0ken"));
        let more = "class = \"interruptible\"\npause = { command = [\"/bin/true\", \"{name}\"], notice = \"2min\", draw = \"600 W\", timeout = \"20s\" }";
        let config = read("redfish", more).unwrap();
        let server = config.site.miners.first().unwrap();
        assert_eq!((server.notice, server.sleep.get().round()), (Duration::from_secs(120), 600.0));
    }

    #[test]
    fn a_hook_is_inherited_from_a_group() {
        let text = format!(
            "{HEAD}[groups.gpu]\ndriver = \"zeusd\"\ncircuit = \"pcc\"\nmaximum = \"2 kW\"\nclass = \"interruptible\"\n\
             pause = {{ command = [\"/bin/true\"] }}\n[miners.one]\ngroup = \"gpu\"\naddress = \"127.0.0.1\"\n"
        );
        let config = parse(&text, Path::new("site.toml"), &Options::default()).unwrap();
        assert!(config.site.miners.iter().all(|server| server.sleeps));
    }

    #[test]
    fn a_program_that_is_not_there_is_warned_of() {
        for (program, there) in
            [("/bin/true", true), ("/usr/local/bin/no-such-hook", false), ("/etc/passwd", false)]
        {
            let more = format!("class = \"interruptible\"\npause = {{ command = [\"{program}\"] }}");
            let config = read("zeusd", &more).unwrap();
            let warned = config.warnings.iter().any(|warning| warning.to_string().contains("no program"));
            assert_eq!(warned, !there, "{program}");
        }
    }

    #[test]
    fn a_hook_of_a_group_is_told_which_server_is_meant() {
        let group = |url: &str| {
            let text = format!(
                "{HEAD}[groups.gpu]\ndriver = \"zeusd\"\ncircuit = \"pcc\"\naddresses = [\"127.0.0.1-127.0.0.3\"]\nminimum = \"1 kW\"\n\
                 maximum = \"2 kW\"\nnameplate = \"2.2 kW\"\nclass = \"interruptible\"\npause = {{ url = \"{url}\" }}\n"
            );
            parse(&text, Path::new("site.toml"), &Options::default()).map_err(|errors| errors.to_string())
        };
        let error = group("http://127.0.0.1:9000/pause").unwrap_err();
        assert_eq!(error.matches("`gpu-001` and `gpu-002` have one pause hook").count(), 1, "{error}");
        assert_eq!(error.matches("have one pause hook").count(), 1, "{error}");
        for url in ["http://127.0.0.1:9000/pause/{name}", "http://127.0.0.1:9000/pause?of={name}"] {
            assert!(group(url).is_ok(), "{url}");
        }
        // Two that are written one by one are no other case.
        let one = |name: &str, port: u16| {
            format!(
                "[miners.{name}]\ndriver = \"zeusd\"\ncircuit = \"pcc\"\naddress = \"127.0.0.1:{port}\"\nminimum = \"1 kW\"\nmaximum = \"2 kW\"\n\
                 nameplate = \"2.2 kW\"\nclass = \"interruptible\"\npause = {{ url = \"http://127.0.0.1:9000/pause\" }}\n"
            )
        };
        let text = format!("{HEAD}{}{}", one("a", 1), one("b", 2));
        let error = parse(&text, Path::new("site.toml"), &Options::default()).unwrap_err().to_string();
        assert!(error.contains("`a` and `b` have one pause hook"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_hook_is_told_with_its_place() {
        let class = "class = \"interruptible\"";
        for (driver, class, pause, words) in [
            ("vnish", "", "{ command = [\"/bin/true\"] }", "is no server"),
            ("zeusd", "", "{ command = [\"/bin/true\"] }", "never paused"),
            ("zeusd", "class = \"throttle\"", "{ command = [\"/bin/true\"] }", "never paused"),
            ("zeusd", class, "{ }", "one way"),
            ("zeusd", class, "{ url = \"http://127.0.0.1/\", command = [\"/bin/true\"] }", "one way"),
            ("zeusd", class, "{ url = \"ftp://127.0.0.1/\" }", "not of http"),
            ("zeusd", class, "{ url = \"http://a:b@127.0.0.1/\" }", "has an account"),
            ("zeusd", class, "{ url = \"http://10.0.0.1/\", token_file = \"pause.token\" }", "in the clear"),
            ("zeusd", class, "{ url = \"http://127.0.0.1/\", token_file = \"none.token\" }", "none.token"),
            ("zeusd", class, "{ url = \"http://127.0.0.1/\", ca = \"none.pem\" }", "none.pem"),
            ("zeusd", class, "{ command = [\"/bin/true\"], token_file = \"pause.token\" }", "no token"),
            ("zeusd", class, "{ command = [] }", "path of a program"),
            ("zeusd", class, "{ command = [\"true\"] }", "path of a program"),
            ("zeusd", class, "{ command = [\"/bin/true\", 1] }", "an element of `command`"),
            ("zeusd", class, "{ command = [\"/bin/true\", \"a\\nb\"] }", "an element of `command`"),
            ("zeusd", class, "{ command = \"/bin/true\" }", "`command`"),
            ("zeusd", class, "{ command = [\"/bin/true\"], notice = \"11min\" }", "`notice`"),
            ("zeusd", class, "{ command = [\"/bin/true\"], timeout = \"1min\" }", "`timeout`"),
            ("zeusd", class, "{ command = [\"/bin/true\"], draw = \"1 kW\" }", "paused"),
            ("zeusd", class, "{ command = [\"/bin/true\"], shell = true }", "unknown key"),
        ] {
            let told = read(driver, &format!("{class}\npause = {pause}")).unwrap_err();
            assert!(told.contains(words), "{pause}: {told}");
            assert!(told.contains("site.toml:"), "{told}");
            assert!(!told.contains("t0ken"), "{told}");
        }
    }
}

//! Rules that the compiler does not keep: the core is pure, files stay readable, and no text of the repository
//! knows the machine on which it was written.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the control law, a crate of its own: what of this program it could name, it cannot.
const CORE: &str = "core/src";

/// All that the core may depend on.
const CORE_NEEDS: [&str; 2] = ["serde", "thiserror"];

/// What of the standard library may not be named in the core, in code, comments and tests alike, and what to do instead.
const IMPURE: [(&str, &str); 19] = [
    ("std::net", "the core does no input or output"),
    ("std::fs", "the core does no input or output"),
    ("std::io", "the core does no input or output"),
    ("std::env", "the core does no input or output"),
    ("std::process", "the core does no input or output"),
    ("std::thread", "the core runs on the thread of its caller"),
    ("std::time::Instant", "time comes in as a Moment"),
    ("Instant::now", "time comes in as a Moment"),
    ("SystemTime", "time comes in as a Moment"),
    ("async fn", "the core is not asynchronous: the shell calls it once a cycle"),
    (".await", "the core is not asynchronous: the shell calls it once a cycle"),
    ("println!", "the decision carries its reasons and the shell logs them"),
    ("eprint!", "the decision carries its reasons and the shell logs them"),
    ("include_bytes!", "the core reads no file"),
    ("RandomState", "the core has no randomness without a seed in its state"),
    ("HashMap", "its order differs from run to run; take a BTreeMap or a vector by id"),
    ("HashSet", "its order differs from run to run; take a BTreeSet or a vector by id"),
    ("static mut", "the core keeps what it knows in its state"),
    ("thread_local", "the core keeps what it knows in its state"),
];

/// The floors of the house, the lowest first: a module uses those of its own floor's left and of the floors below, and
/// none beside it on the right or above. Tests and comments may point anywhere.
const FLOORS: [&str; 36] = [
    "clock",
    "end",
    "line",
    "files",
    "units",
    "secret",
    "rate",
    "token",
    "tls",
    "fetch",
    "oauth",
    "broker",
    "names",
    "endpoint",
    "control",
    "door",
    "energy",
    "proof",
    "store",
    "miner",
    "meter",
    "signal",
    "record",
    "history",
    "maintenance",
    "heartbeat",
    "stops",
    "standby",
    "metrics",
    "alarm",
    "config",
    "discover",
    "web",
    "mqtt",
    "sim",
    "study",
];

/// Above all floors: they put the house together.
const ROOF: [&str; 4] = ["daemon", "cli", "main", "lib"];

/// Folders that hold what is made, not what is written.
const MADE: [&str; 3] = ["target", ".git", "node_modules"];

/// Longest file that a reader is asked to read.
const LINES: usize = 800;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files under a folder, in a fixed order; none where there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return found;
    };
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if MADE.iter().any(|made| name == *made) {
            continue;
        }
        // A link leads out of the tree or to a file that is looked at anyway.
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut found = files(&root().join(folder));
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    found
}

/// Each line of the files that a rule has something to say about, as `path:line: what`.
fn complaints(paths: &[PathBuf], rule: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut all = Vec::new();
    for path in paths {
        // Captures of vendors' replies may be anything; text is what reads as text.
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        for (index, line) in text.lines().enumerate() {
            if let Some(what) = rule(line) {
                let path = path.strip_prefix(root()).unwrap_or(path);
                all.push(format!("{}:{}: {what}", path.display(), index + 1));
            }
        }
    }
    all
}

#[track_caller]
fn no(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn impure(line: &str) -> Option<String> {
    let named = IMPURE.iter().find(|(word, _)| line.contains(word));
    named.map(|(word, instead)| format!("names `{word}`; {instead}"))
}

/// The module of this crate to which a file under `src/` belongs.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The code of a file without its comments and without the tests at its end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    code.lines().enumerate().map(|(index, line)| (index + 1, line.split("//").next().unwrap_or(line)))
}

/// The modules of this crate that a line of code names.
fn named(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|path| {
        let end = path.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(path.len());
        &path[..end]
    })
}

/// The first absolute path of a machine on which somebody builds.
fn machine_path(line: &str) -> Option<String> {
    // Put together here, so that this file does not accuse itself.
    let folders =
        [["/ro", "ot"], ["/wo", "rk"], ["/tmp/", "wt"], ["/bui", "lds"]].map(|parts| parts.concat());
    folders.into_iter().find_map(|folder| {
        let mut places = line.match_indices(&folder);
        let is_path = |at: usize| {
            let before = line[..at].chars().next_back();
            let after = line[at + folder.len()..].chars().next();
            let part_of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || "_-.".contains(c));
            let relative = before.is_some_and(|c| ")}$~*/".contains(c)) || part_of_word(before);
            !relative && !part_of_word(after)
        };
        places.find(|(at, _)| is_path(*at)).map(|_| format!("names a path of a machine, {folder}"))
    })
}

#[test]
fn the_core_names_no_input_output_clock_or_chance() {
    let core = rust_files(CORE);
    assert!(!core.is_empty(), "the core has moved; so must this test");
    no(&complaints(&core, impure));
}

#[test]
fn the_core_depends_on_nothing_that_could_do_input_or_output() {
    let manifest: toml::Table = fs::read_to_string(root().join("core/Cargo.toml")).unwrap().parse().unwrap();
    let needs: Vec<_> = manifest["dependencies"].as_table().unwrap().keys().map(String::as_str).collect();
    assert_eq!(needs, CORE_NEEDS);
}

#[test]
fn no_floor_uses_what_lies_above_it() {
    let mut upwards = Vec::new();
    for path in rust_files("src") {
        let own = module(&path);
        let floor = FLOORS.iter().position(|floor| *floor == own);
        assert!(floor.is_some() || ROOF.contains(&&*own), "{own} is on no floor: give it one in this test");
        let Some(floor) = floor else { continue };
        let text = fs::read_to_string(&path).unwrap();
        if path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("testing.rs") {
            continue;
        }
        for (number, line) in code(&text) {
            for name in named(line) {
                let above = ROOF.contains(&name)
                    || FLOORS.iter().position(|floor| *floor == name).is_some_and(|other| other > floor);
                if above {
                    let path = path.strip_prefix(root()).unwrap();
                    upwards
                        .push(format!("{}:{number}: {own} uses {name}, which lies above it", path.display()));
                }
            }
        }
    }
    no(&upwards);
}

#[test]
fn no_file_is_too_long_to_read() {
    let long = ["src", CORE, "tests", "benches"].into_iter().flat_map(rust_files).filter_map(|path| {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        (lines > LINES).then(|| format!("{}: {lines} lines, {LINES} are the most", path.display()))
    });
    no(&long.collect::<Vec<_>>());
}

#[test]
fn no_text_knows_the_machine_on_which_it_was_written() {
    no(&complaints(&files(root()), machine_path));
}

#[test]
fn the_rules_find_what_they_are_for() {
    assert!(impure("let now = Instant::now();").is_some());
    assert!(impure("// later we may read std::fs").is_some());
    assert!(impure("let now: Moment = snapshot.now;").is_none());

    let names = |line| named(line).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names("use crate::web::api; let x = crate::clock::now();"), ["web", "clock"]);

    let path = |parts: [&str; 3]| machine_path(&parts.concat());
    assert!(path(["open(\"/wo", "rk/main", "\")"]).is_some());
    assert!(path(["cd /ro", "ot", ""]).is_some());
    assert!(path(["/tmp/", "wt/shell", ""]).is_some());
    assert!(path(["the path src/ro", "ot/mod.rs", " is relative"]).is_none());
    assert!(path(["/wo", "rkshop", ""]).is_none());
    assert!(path(["https://example.org/wo", "rk", ""]).is_none());
}

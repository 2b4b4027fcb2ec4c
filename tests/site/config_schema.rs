//! The schema of the configuration for editors: it is what the readers take, and says what the commented example says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ballast::config::{self, Config, Options, Secrets};
use serde_json::{Value, json};

use crate::config::assert_expected;

const REFERENCE: &str = "config/ballast.toml";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// The files below a folder with this ending.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(path.strip_prefix(root()).unwrap().to_str().unwrap(), ending));
        } else if path.extension().is_some_and(|found| found == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// All that is wrong with a text in the place of a file; empty where nothing is.
fn said(text: &str, file: &str) -> String {
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    config::parse(text, &root().join(file), &options)
        .map_or_else(|errors| errors.to_string(), |_| String::new())
}

/// The keys of all sections.
fn keys(schema: &Value) -> BTreeSet<String> {
    let sections = schema["definitions"].as_object().unwrap().values().chain([schema]);
    sections
        .filter_map(|section| section["properties"].as_object())
        .flat_map(|keys| keys.keys().cloned())
        .collect()
}

/// The example with a key that nobody knows, once in each of its sections.
fn with_an_unknown_key() -> Vec<(String, String)> {
    let reference = text(REFERENCE);
    let headers =
        reference.match_indices('\n').map(|(at, _)| at + 1).filter(|at| reference[*at..].starts_with('['));
    headers
        .map(|at| {
            let end = at + reference[at..].find('\n').unwrap() + 1;
            let whole = format!("{}no_such_key = 1\n{}", &reference[..end], &reference[end..]);
            (reference[at..end].trim_end().to_owned(), whole)
        })
        .collect()
}

#[test]
fn the_shipped_schema_is_the_one_that_the_program_prints() {
    let printed = serde_json::to_string_pretty(&config::schema()).unwrap() + "\n";
    assert_expected(&root().join("config/ballast.schema.json"), &printed);
}

#[test]
fn every_key_that_is_declared_is_read_and_stands_in_the_reference() {
    let schema = config::schema();
    let reference = text(REFERENCE);
    // Readers name the keys that they ask for; those of what a meter tells are named where that is.
    let mut readers = text("core/src/control/measure.rs");
    for path in files("src/config", "rs") {
        let name = path.strip_prefix(root().join("src/config")).unwrap().to_owned();
        if !name.starts_with("keys") && name != Path::new("schema.rs") && name != Path::new("reference.rs") {
            readers += fs::read_to_string(&path).unwrap().split("#[cfg(test)]").next().unwrap();
        }
    }
    let keys = keys(&schema);
    assert!(keys.len() > 250, "{}", keys.len());
    for key in keys {
        assert!(readers.contains(&format!("\"{key}\"")), "no reader asks for `{key}`");
        // Keys of earlier versions are not described any more.
        let gone = schema["definitions"]["control"]["properties"][&key]["deprecated"] == json!(true);
        let stands = ["\n", "\n#", "\n# ", "{ ", ", ", "; ", "[", ".", "(", "`"].iter().any(|before| {
            [" =", ".", "]", " ", "`", ","]
                .iter()
                .any(|after| reference.contains(&format!("{before}{key}{after}")))
        });
        assert!(stands || gone, "`{key}` is not in {REFERENCE}");
    }
}

#[test]
fn what_the_example_says_of_a_key_is_what_an_editor_shows() {
    let schema = config::schema();
    let of = |section: &str, key: &str| schema["definitions"][section]["properties"][key].clone();
    let period = of("control", "period");
    assert_eq!(period["description"], json!("Time between two decisions. Default \"1s\"."));
    assert_eq!(period["default"], json!("1s"));
    assert_eq!(of("link", "numbered")["default"], json!(true));
    assert_eq!(of("limit", "class")["enum"][0], json!("surplus"));
    // The same key has another meaning, and takes something else, in sections of another kind.
    let unit = of("signal", "unit");
    assert_eq!(unit["anyOf"].as_array().map(Vec::len), Some(2), "{unit}");
    let told = schema["properties"]["standby"]["description"].as_str().unwrap();
    assert!(told.starts_with("A second machine that stands by"), "{told}");
}

#[test]
fn an_unknown_key_is_refused_in_every_section_of_the_reference() {
    let texts = with_an_unknown_key();
    assert!(texts.len() > 50, "{}", texts.len());
    for (section, text) in texts {
        let said = said(&text, REFERENCE);
        assert!(said.contains("unknown key `no_such_key`"), "{section}: {said}");
    }
}

/// The section of the schema below a header of the reference.
fn section<'s>(schema: &'s Value, header: &str) -> Option<&'s Value> {
    header.split('.').try_fold(schema, |above, name| {
        let below = above["properties"].get(name).or_else(|| above.get("additionalProperties"))?;
        let several = ["allOf", "anyOf"].into_iter().filter_map(|key| below[key].as_array()).flatten();
        let place = std::iter::once(below).chain(several).find_map(|one| one["$ref"].as_str())?;
        schema["definitions"].get(place.rsplit('/').next()?)
    })
}

#[test]
fn what_the_reference_calls_a_default_is_what_holds_without_the_key() {
    let (schema, reference) = (config::schema(), text(REFERENCE));
    let lines: Vec<&str> = reference.lines().collect();
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    let with = |at: usize, line: &str| {
        let mut changed: Vec<&str> = lines.clone();
        changed[at] = line;
        match config::parse(&changed.join("\n"), &root().join(REFERENCE), &options) {
            // What is told of the text itself is another matter.
            Ok(config) => format!("{:?}", Config { hash: [0; 32], warnings: Vec::new(), ..config }),
            // Another key may hang on this one: then both ways are wrong in the same way.
            Err(errors) => errors.to_string(),
        }
    };
    let mut below = None;
    let (mut count, mut wrong) = (0, Vec::new());
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with('[') {
            below = section(&schema, line.trim_matches(['[', ']']));
        }
        let key = line.split_once(" = ").map_or("", |(key, _)| key);
        let Some(default) = below.and_then(|section| section["properties"][key].get("default")) else {
            continue;
        };
        count += 1;
        if with(at, "") != with(at, &format!("{key} = {default}")) {
            wrong.push(format!("line {}: {key} = {default}", at + 1));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count > 30, "{count}");
}

#[test]
fn the_tables_of_the_guide_name_keys_that_there_are_and_their_defaults() {
    let schema = config::schema();
    let page = text("docs/guide/configuration.md");
    let mut count = 0;
    for (name, key) in [
        ("[circuits.NAME]", "circuit"),
        ("[control]", "control"),
        ("[store]", "store"),
        ("[proof]", "proof"),
        ("[web]", "web"),
        ("[meters.NAME]", "meter"),
    ] {
        let heading = page.lines().find(|line| line.starts_with("## ") && line.contains(name)).unwrap();
        let chapter = page.split(heading).nth(1).unwrap().split("\n## ").next().unwrap();
        let known = &schema["definitions"][key]["properties"];
        for row in chapter.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
            for key in cells[0].split('`').skip(1).step_by(2) {
                count += 1;
                assert!(known.get(key).is_some(), "{name} of the guide has `{key}`");
                // A default that is written as in the file.
                let told = cells[1].strip_prefix('`').and_then(|told| told.strip_suffix('`'));
                if let (Some(told), Some(default)) = (told, known[key].get("default")) {
                    assert_eq!(told, default.to_string().trim_matches('"'), "{name}: {key}");
                }
            }
        }
    }
    assert!(count > 30, "{count}");
}

/// Files as they are given to a judge from elsewhere, and whether the schema must take them.
fn judged() -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    // Profiles and models, which are parts of a site.
    let mut parts: Vec<Value> = Vec::new();
    let mut judge = |name: &str, toml: &str, valid: bool| {
        all.push(json!({ "name": name, "toml": toml, "valid": valid }));
    };
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    // Of what is wrong, the schema knows the keys that nobody knows; the rest is for `ballast check`.
    let mut unknown = 0;
    for path in files("config", "toml").into_iter().chain(files("tests/fixtures/config", "toml")) {
        let (name, toml) = (name(&path), fs::read_to_string(&path).unwrap());
        let shape =
            ["meters", "models"].into_iter().find(|folder| name.starts_with(&format!("config/{folder}/")));
        if let Some(folder) = shape {
            let section = if folder == "meters" { "profiles" } else { folder };
            parts.push(json!({ "name": name, "toml": toml, "valid": true, "as": section }));
            continue;
        }
        let said = said(&toml, &name);
        if said.is_empty() {
            judge(&name, &toml, true);
        } else if said.contains("unknown key") {
            unknown += 1;
            judge(&name, &toml, false);
        }
    }
    assert!(unknown >= 3, "{unknown}");
    let mut blocks = 0;
    for path in files("docs/guide", "md") {
        let page = fs::read_to_string(&path).unwrap();
        for block in page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            // The rest are parts of a site.
            if block.contains("[site]") && said(block, "site.toml").is_empty() {
                blocks += 1;
                judge(&name(&path), block, true);
            }
        }
    }
    assert!(blocks >= 3, "{blocks}");
    for (section, toml) in with_an_unknown_key() {
        judge(&format!("{REFERENCE} with a key more in {section}"), &toml, false);
    }
    all.extend(parts);
    all
}

#[test]
fn files_are_valid_by_the_schema_where_their_keys_are_known_and_else_not() {
    let python = std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(&python);
    command.args(["-c", "import jsonschema, tomllib"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !command.status().is_ok_and(|status| status.success()) {
        println!(
            "SKIPPED: {python} has no jsonschema, or is older than 3.11; install them or set BALLAST_TEST_PYTHON"
        );
        return;
    }
    let path = std::env::temp_dir().join(format!("ballast-schema-{}.json", std::process::id()));
    fs::write(&path, json!(judged()).to_string()).unwrap();
    let script = root().join("tests/peers/config_schema.py");
    let schema = root().join("config/ballast.schema.json");
    let output = Command::new(&python).arg(script).arg(schema).arg(&path).output().unwrap();
    let _ = fs::remove_file(&path);
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

//! Accounts on miners: of a miner, of its group, of its driver. The most specific counts.

use std::path::Path;

use ballast::config::{self, Config, ConfigErrors, Options, Secrets};

const SECRETS: [&str; 4] = ["of-the-driver", "of-the-group", "of-the-miner", "of-systemd"];

fn environment(name: &str) -> Option<String> {
    (name == "MINERS_PASSWORD").then(|| String::from("of-the-miner"))
}

fn parse(more: &str) -> Result<Config, ConfigErrors> {
    let text = format!(
        r#"
[site]
name = "Test"
mode = "control"
[circuits.pcc]
[limits.all]
circuit = "pcc"
miners = "100 kW"
[groups.a]
driver = "whatsminer-v3"
circuit = "pcc"
model = "m60s"
addresses = ["10.0.0.1-10.0.0.2"]
[groups.b]
driver = "whatsminer-v3"
circuit = "pcc"
model = "m60s"
addresses = ["10.0.1.1-10.0.1.2"]
credentials = {{ password_file = "group.password" }}
[miners.one]
group = "b"
address = "10.0.2.1"
credentials = {{ username = "user1", password_env = "MINERS_PASSWORD" }}
[groups.c]
driver = "braiins-os"
circuit = "pcc"
model = "s19k-pro"
addresses = ["10.0.3.1"]
{more}
"#
    );
    let files = [("driver.password", "of-the-driver"), ("group.password", "of-the-group\n")];
    let options = Options { secrets: Secrets::Read, files: &files, environment: &environment };
    config::parse(&text, Path::new("site.toml"), &options)
}

const DRIVER: &str =
    "[credentials.whatsminer-v3]\nusername = \"user2\"\npassword_file = \"driver.password\"\n";

fn wrong(more: &str) -> String {
    match parse(more) {
        Ok(_) => panic!("nothing was found wrong"),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn the_most_specific_account_counts() {
    let config = parse(DRIVER).unwrap_or_else(|errors| panic!("{errors}"));
    let account = |name: &str| {
        let miner = config.miners.iter().find(|miner| &*miner.name == name)?;
        let account = miner.credentials.as_ref()?;
        Some((account.username.clone().unwrap_or_default(), account.password.expose().to_owned()))
    };
    let is = |name, username: &str, password: &str| {
        assert_eq!(account(name), Some((username.to_owned(), password.to_owned())), "{name}");
    };
    is("a-001", "user2", "of-the-driver");
    is("b-002", "super", "of-the-group");
    is("one", "user1", "of-the-miner");
    assert_eq!(account("c-001"), None, "the account of another driver is none of its business");
    let without = config.warnings.iter().filter(|warning| warning.message().contains("no `credentials`"));
    assert_eq!(without.count(), 1, "{:?}", config.warnings);
}

#[test]
fn no_password_is_in_the_debug_output_the_summary_or_the_warnings() {
    let config = parse(DRIVER).unwrap_or_else(|errors| panic!("{errors}"));
    let said = format!("{config:?}{}{:?}", config::summary(&config), config.warnings);
    for secret in SECRETS {
        assert!(!said.contains(secret), "{secret}");
    }
}

#[test]
fn mistakes_in_an_account_of_a_driver_are_told_with_their_place() {
    let cases = [
        (
            "[credentials.whatsminer]\npassword_file = \"driver.password\"",
            "there is no driver `whatsminer` that takes a password",
            "whatsminer-v",
        ),
        (
            "[credentials.luxos]\npassword_file = \"driver.password\"",
            "`luxos` takes no password",
            "leave it out",
        ),
        (
            "[credentials.whatsminer-v2]\nusername = \"x\"\npassword_file = \"driver.password\"",
            "`whatsminer-v2` has no account names",
            "leave `username` out",
        ),
        ("[credentials.braiins-os]", "have no password", "password_file"),
        ("[credentials.vnish]\npassword_file = \"not-there\"", "cannot find the password file", "chmod 600"),
        ("[credentials.vnish]\npassword_env = \"NOT_SET\"", "NOT_SET is not set", "password_file"),
        (
            "[credentials.vnish]\npassword_credential = \"x\"",
            "CREDENTIALS_DIRECTORY is not set",
            "LoadCredential",
        ),
        ("[credentials.vnish]\npassword_file = \"driver.password\"\nport = 80", "port", "password_file"),
        ("[credentials.vnish]\npassword = \"hunter2-hunter2\"", "does not belong into", "password_file"),
    ];
    for (text, message, help) in cases {
        let said = wrong(text);
        assert!(said.contains(message) && said.contains(help), "{text}\n{said}");
        assert!(
            said.contains("site.toml:29") || said.contains("site.toml:30") || said.contains("site.toml:31"),
            "{said}"
        );
        assert!(!said.contains("of-the-driver") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn without_secrets_an_account_of_a_driver_is_checked_and_not_read() {
    let text = "[credentials.vnish]\npassword_file = \"not-there\"";
    assert!(wrong(text).contains("not-there"));
    let site = "[site]\nname = \"T\"\nmode = \"observe\"\n[circuits.pcc]\n[limits.all]\ncircuit = \"pcc\"\nminers = \"1 kW\"\n\
                [miners.one]\ndriver = \"vnish\"\ncircuit = \"pcc\"\nmodel = \"s19k-pro\"\naddress = \"10.0.0.1\"\n";
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    let config = config::parse(&format!("{site}{text}"), Path::new("site.toml"), &options);
    assert!(config.is_ok_and(|config| config.miners[0].credentials.is_none()));
}

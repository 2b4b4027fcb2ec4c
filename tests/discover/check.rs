//! The command as a whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ballast::cli::discover::{Args, DiscoverError, discover};
use tokio_util::sync::CancellationToken;

use crate::bench::{PASSWORD, PORTS, site};

/// A folder of its own for each test.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("ballast-discover-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn args(target: &str, write: Option<&Path>) -> Args {
    Args {
        targets: vec![target.parse().unwrap()],
        write: write.map(Path::to_owned),
        dry_run: false,
        circuit: None,
        json: false,
        rate: 1_000,
        timeout: Duration::from_millis(400),
        credentials: Vec::new(),
        try_default_passwords: false,
        web_port: PORTS.web,
    }
}

async fn run(args: &Args) -> Result<(u8, String), DiscoverError> {
    let mut out = Vec::new();
    let code = discover(args, PORTS, &CancellationToken::new(), &mut out).await?;
    Ok((code, String::from_utf8(out).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_a_configuration_and_writing_again_changes_nothing() {
    let site = site(88).await;
    let folder = folder("write");
    let file = folder.join("site.toml");
    std::fs::write(folder.join("b.password"), PASSWORD).unwrap();
    let begin = "# mine\n[site]\nname = \"s\"\nmode = \"observe\"\n[circuits.pcc]\n[limits.all]\ncircuit = \"pcc\"\nminers = \"9 kW\"\n";
    std::fs::write(&file, begin).unwrap();
    let mut args = args("127.88.0.0/28", Some(&file));
    args.credentials = vec![format!("braiins-os={}", folder.join("b.password").display())];

    args.dry_run = true;
    let (_, shown) = run(&args).await.unwrap();
    assert!(shown.contains("+ [groups.m60s]"), "{shown}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), begin);

    args.dry_run = false;
    let (code, told) = run(&args).await.unwrap();
    assert_eq!(code, 0);
    assert!(told.contains("6 new miners"), "{told}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(begin), "{text}");
    let config = ballast::config::load(&file).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(config.miners.len(), 6);
    assert!(config.identities.iter().all(|identity| identity.mac.is_some()), "{text}");
    assert!(text.contains("password_file = \"b.password\""), "{text}");

    let (_, told) = run(&args).await.unwrap();
    assert!(told.contains("nothing to change"), "{told}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "nothing is left beside the file");
    site.shutdown().await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_broken_file_ends_it_before_the_scan_and_is_not_touched() {
    let folder = folder("broken");
    let file = folder.join("site.toml");
    let broken = "[site]\nname = \"s\nmode = 5\n";
    std::fs::write(&file, broken).unwrap();
    // A scan of this network would take longer than the test may.
    let error = run(&args("127.89.0.0/16", Some(&file))).await.unwrap_err();
    assert_eq!(error.code(), 78);
    assert!(error.to_string().contains("site.toml:2:"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), broken);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn json_is_json_and_nothing_else() {
    let mut args = args("127.90.0.1-127.90.0.4", None);
    args.json = true;
    let (_, text) = run(&args).await.unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["addresses"], 4);
    assert_eq!(value["miners"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn an_unknown_driver_for_an_account_gives_64() {
    let mut args = args("127.90.0.1", None);
    args.credentials = vec!["nothing=/nowhere".into()];
    assert_eq!(run(&args).await.unwrap_err().code(), 64);
}

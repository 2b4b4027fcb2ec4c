//! `ballast miner read`: one miner of a configuration, as the daemon reads it, with its account proven and its model compared.

use crate::sim_servers::bench;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ballast::cli::miner::{ReadArgs, read};
use ballast::miner::{Connection, DriverKind, Endpoint, http_client};
use ballast::sim::miner::Initial;
use bench::{Bench, PASSWORD};
use serde_json::Value;
use tokio::net::TcpListener;

/// A folder of this test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ballast-read-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn site(miners: &[(&str, DriverKind, SocketAddr, &str)]) -> String {
    let mut text = String::from(
        "[site]\nname = \"Test\"\nmode = \"observe\"\n[circuits.pcc]\n[limits.all]\ncircuit = \"pcc\"\nminers = \"100 kW\"\n",
    );
    for (name, kind, address, more) in miners {
        text += &format!(
            "[miners.{name}]\ndriver = \"{}\"\ncircuit = \"pcc\"\naddress = \"{}\"\nport = {}\nmodel = \"m60s\"\n{more}\n",
            kind.name(),
            address.ip(),
            address.port()
        );
    }
    text
}

async fn run(config: &Path, miners: &[&str], json: bool) -> (String, u8) {
    let miners = miners.iter().map(|name| (*name).to_owned()).collect();
    read(&ReadArgs { config: config.to_owned(), miners, json })
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_another_model_show_before_any_command() {
    let bench = Bench::start_seeded(DriverKind::Vnish, Initial::Hashing { fraction: 1.0 }, 1).await;
    let folder = Folder::new("accounts");
    // As some editors write it.
    folder.write("right.password", &format!("\u{feff}{PASSWORD}\r\n"));
    folder.write("wrong.password", "wr0ng-wr0ng\n");
    let config = folder.write(
        "site.toml",
        &site(&[
            (
                "right",
                DriverKind::Vnish,
                bench.address(),
                "credentials = { password_file = \"right.password\" }",
            ),
            ("none", DriverKind::Vnish, ([127, 0, 0, 1], bench.address().port()).into(), ""),
        ])
        .replacen("127.0.0.1", "localhost", 1),
    );
    let (text, code) = run(&config, &["right"], false).await;
    assert_eq!(code, 0, "{text}");
    for part in ["does      hashing", "account   accepted", "model = \"m60s\"", "mac "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (text, code) = run(&config, &["none"], false).await;
    assert!(code == 0 && text.contains("none configured"), "{text}");

    let config = folder.write(
        "wrong.toml",
        &site(&[(
            "wrong",
            DriverKind::Vnish,
            bench.address(),
            "credentials = { password_file = \"wrong.password\" }",
        )]),
    );
    let (text, code) = run(&config, &["wrong"], true).await;
    let document: Value = serde_json::from_str(&text).unwrap();
    let miner = document.pointer("/miners/0").unwrap();
    assert_eq!(
        (code, &miner["account"], &miner["state"]),
        (1, &"refused".into(), &"hashing".into()),
        "{text}"
    );
    assert!(!text.contains("wr0ng"), "{text}");
    assert_eq!(bench.miner.tally().commands, 0);
    assert!(read(&ReadArgs { config, miners: vec!["nobody".into()], json: false }).await.is_err());
}

#[tokio::test]
async fn a_whatsminer_whose_update_closed_the_old_port_is_told_so() {
    // The new port of a host of its own; nobody listens at the old one.
    let _new = TcpListener::bind("127.86.0.1:4433").await.unwrap();
    let bench = Bench::start(DriverKind::WhatsminerV2).await;
    let endpoint = Endpoint { host: "127.86.0.1".into(), port: 4028 };
    let connection = Connection { endpoint, ..bench.connection() };
    let mut driver = ballast::miner::driver(&connection, &http_client().unwrap());
    let error = driver.read().await.unwrap_err().to_string();
    assert!(error.contains("4433") && error.contains("whatsminer-v3"), "{error}");
}

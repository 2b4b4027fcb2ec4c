//! Scans of a loopback network.

use std::time::Duration;

use ballast::clock::Clock;
use ballast::discover::login::Account;
use ballast::discover::scan::{self, Options, Progress};
use ballast::discover::targets::{Target, addresses};
use ballast::discover::{Control, State, WarningKind};
use ballast::secret::Secret;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bench::{PASSWORD, Trick, antminer, prober, scan_of, site, trick};

fn account() -> Account {
    Account {
        driver: "braiins-os".into(),
        username: None,
        password: Secret::new(PASSWORD.into()),
        file: "braiins.password".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn simulated_miners_are_found_with_all_that_they_tell() {
    let site = site(84).await;
    let found = scan_of("127.84.0.0/26", &prober(vec![account()], false)).await;
    let rows: Vec<(String, &str, bool, bool)> = found
        .findings
        .iter()
        .map(|finding| {
            let driver = finding.control.driver_name().unwrap_or("-");
            (finding.address.to_string(), driver, finding.identity.mac.is_some(), finding.power.is_some())
        })
        .collect();
    let row = |host: u8, driver| (format!("127.84.0.{host}"), driver, true, true);
    assert_eq!(
        rows,
        [
            row(1, "whatsminer-v3"),
            row(2, "whatsminer-v3"),
            row(3, "whatsminer-v2"),
            row(4, "whatsminer-v2"),
            row(5, "braiins-os"),
            row(6, "braiins-os"),
        ]
    );
    assert_eq!((found.addresses, found.closed, found.settled.len()), (62, 56, 62));
    let macs: std::collections::BTreeSet<_> =
        found.findings.iter().map(|finding| finding.identity.mac).collect();
    assert_eq!(macs.len(), 6);
    let braiins = &found.findings[4];
    assert_eq!(braiins.port, Some(8080));
    assert!(braiins.limits.minimum < braiins.limits.maximum, "{:?}", braiins.limits);
    assert!(found.findings.iter().all(|finding| finding.control != Control::Nothing));
    assert!(found.findings.iter().all(|finding| finding.state != State::Fault), "{found:?}");
    site.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_account_is_told_and_a_default_password_is_tried_only_when_asked() {
    let site = site(85).await;
    let wrong = Account { password: Secret::new("wrong".into()), ..account() };
    let found = scan_of("127.85.0.5", &prober(vec![wrong], false)).await;
    assert!(found.findings[0].is_warned(WarningKind::Account), "{:?}", found.findings[0].warnings);
    assert!(!found.findings[0].default_password_checked);
    // Its password is not the default, so the attempt finds nothing to warn of.
    let found = scan_of("127.85.0.5", &prober(vec![], true)).await;
    assert!(found.findings[0].default_password_checked);
    assert_eq!(found.findings[0].warnings, []);
    site.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_mean_no_good_cost_a_bounded_time_and_hide_nobody() {
    let site = site(86).await;
    let tricks = [Trick::Hold, Trick::Drip, Trick::Flood, Trick::Garbage, Trick::Slam, Trick::Half];
    for (host, kind) in (20..).zip(tricks) {
        trick(&format!("127.86.0.{host}"), kind).await;
    }
    let prober = prober(vec![], false);
    let clock = Clock::start();
    let found = scan_of("127.86.0.0/26", &prober).await;
    let took = clock.now().since_start();
    let bound = scan::bound(62, &Options { rate: 1_000, at_once: 64 }, &prober);
    assert!(took < bound, "{took:?}, bound {bound:?}");
    assert!(took < prober.host_limit() + Duration::from_secs(2), "{took:?}");
    assert_eq!(found.findings.len(), 6, "{:?}", found.findings);
    let others: Vec<String> = found.others.iter().map(|(ip, _)| ip.to_string()).collect();
    let expected: Vec<String> = (20..26).map(|host| format!("127.86.0.{host}")).collect();
    assert_eq!(others, expected);
    site.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_gives_what_was_found_by_then() {
    for host in 1..4 {
        trick(&format!("127.87.0.{host}"), Trick::Hold).await;
    }
    let all = addresses(&["127.87.0.0/24".parse::<Target>().unwrap()], |_| None).unwrap();
    let stop = CancellationToken::new();
    let (progress, mut seen) = watch::channel(Progress::default());
    let prober = prober(vec![], false);
    let options = Options { rate: 100, at_once: 8 };
    let stopping = stop.clone();
    let watching = tokio::spawn(async move {
        let reached = seen.wait_for(|progress| progress.done >= 10).await.map(|progress| *progress);
        stopping.cancel();
        reached.unwrap()
    });
    let found = scan::scan(&all, &options, &prober, &stop, &progress).await;
    assert!(found.interrupted);
    assert!(found.settled.len() >= 10 && found.settled.len() < 254, "{}", found.settled.len());
    assert_eq!(watching.await.unwrap().total, 254);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_antminer_tells_who_it_is_after_a_digest_login() {
    antminer("127.92.0.1", "mine").await;
    antminer("127.92.0.2", "root").await;
    let stock = |password: &str| Account {
        driver: "bitmain-stock".into(),
        username: None,
        password: Secret::new(password.into()),
        file: "stock.password".into(),
    };
    let find = |found: &scan::Scan, index: usize| found.findings[index].clone();

    let none = scan_of("127.92.0.1-127.92.0.2", &prober(vec![], false)).await;
    assert_eq!(find(&none, 0).identity.model.as_deref(), Some("Antminer S19 Pro"));
    assert_eq!(find(&none, 0).hashrate.map(|rate| rate.to_string()).as_deref(), Some("110.5 TH/s"));
    assert!(
        none.findings.iter().all(|finding| finding.identity.mac.is_none() && finding.warnings.is_empty())
    );

    let mine = scan_of("127.92.0.1-127.92.0.2", &prober(vec![stock("mine")], false)).await;
    assert_eq!(find(&mine, 0).identity.serial.as_deref(), Some("THQING0BDJAB024NF"));
    // Its mode is sleep, and it has not followed yet: what the driver would call it, too.
    assert_eq!(find(&mine, 0).state, State::Hashing);
    assert!(find(&mine, 1).is_warned(WarningKind::Account));

    let defaults = scan_of("127.92.0.1-127.92.0.2", &prober(vec![], true)).await;
    assert!(!find(&defaults, 0).is_warned(WarningKind::DefaultPassword));
    assert!(find(&defaults, 1).is_warned(WarningKind::DefaultPassword));
    assert!(defaults.findings.iter().all(|finding| finding.default_password_checked));
}

//! The driver of BMCs where something goes wrong with an order: what is sent then, and what is told of it.

use crate::drivers_proxy;
use crate::drivers_support::{power, rejection};
use crate::redfish::{range, said};
use crate::redfish_manners::{bench, driver, near};
use crate::sim_servers::bench as sim_bench;

use std::time::Duration;

use ballast::control::snapshot::{Activity, Measured, Rejection};
use ballast::miner::drivers::redfish::Redfish;
use ballast::miner::{Connection, Credentials, Driver, DriverError, Endpoint, Urgency, http_client};
use ballast::secret::Secret;
use ballast::sim::miner::{BmcForm, Fault};
use drivers_proxy::{Fate, Proxy, Wire};
use sim_bench::Bench;

/// A way to a bench on which answers can be lost.
async fn proxied(bench: &Bench) -> (Proxy, Redfish) {
    let any = "127.0.0.1:0".parse().unwrap();
    let proxy = Proxy::start(Wire::Http, any, bench.address(), sim_bench::PASSWORD).await;
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: proxy.address.port() };
    let connection = Connection { endpoint, timeout: Duration::from_secs(3), ..bench.connection() };
    (proxy, Redfish::new(&connection, &http_client().unwrap()))
}

fn is_unknown(result: &Result<(), DriverError>) -> bool {
    matches!(result, Err(DriverError::Malformed { .. } | DriverError::Timeout { .. }))
}

async fn draws(bench: &Bench, watts: f64) {
    bench.until("the power", |bench| (bench.power() - watts).abs() < 120.0).await;
}

#[tokio::test]
async fn a_shed_to_what_stood_before_a_raise_without_an_answer_is_sent() {
    let bench = bench(BmcForm::Environment).await;
    let (proxy, mut driver) = proxied(&bench).await;
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    draws(&bench, 2_400.0).await;
    proxy.judge(|request, _| if request.starts_with("PATCH") { Fate::Silence } else { Fate::Pass });
    // It takes the raise, and nobody hears of it: once by a time limit, and once because it is cut off.
    assert!(is_unknown(&driver.apply(power(3_000), Urgency::Normal).await));
    draws(&bench, 3_000.0).await;
    proxy.judge(|_, _| Fate::Pass);
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    draws(&bench, 2_400.0).await;
    proxy.judge(|request, _| if request.starts_with("PATCH") { Fate::Silence } else { Fate::Pass });
    let raise = driver.apply(power(3_000), Urgency::Normal);
    assert!(tokio::time::timeout(Duration::from_millis(5_500), raise).await.is_err());
    proxy.judge(|_, _| Fate::Pass);
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    draws(&bench, 2_400.0).await;
}

#[tokio::test]
async fn a_shed_never_raises_a_cap() {
    // The capacity is that of its supplies.
    let old = bench(BmcForm::Power).await;
    old.miner.bmc(|manner| manner.capacity = 3.0);
    let mut one = driver(&old);
    one.apply(power(2_000), Urgency::Shed).await.unwrap();
    assert_eq!(rejection(one.apply(power(1_600), Urgency::Shed).await), Rejection::OutOfRange);
    assert!(near(one.read().await.unwrap().target, 1_700.0));
    // What an operator has set lower stays.
    let newest = bench(BmcForm::Environment).await;
    driver(&newest).apply(power(2_000), Urgency::Shed).await.unwrap();
    let mut other = driver(&newest);
    other.apply(power(2_400), Urgency::Shed).await.unwrap();
    assert!(near(other.read().await.unwrap().target, 2_000.0));
    assert_eq!(newest.miner.tally().commands, 1);
}

#[tokio::test]
async fn processors_that_do_not_say_their_range_share_what_the_server_has() {
    let bench = bench(BmcForm::Processors).await;
    bench.miner.bmc(|manner| manner.unstated = true);
    let mut driver = driver(&bench);
    assert_eq!(driver.read().await.unwrap().range, None);
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    draws(&bench, 2_400.0).await;
}

#[tokio::test]
async fn a_bmc_that_has_another_form_by_now_is_set_in_that() {
    let bench = bench(BmcForm::Percent).await;
    let mut driver = driver(&bench);
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    bench.miner.bmc(|manner| manner.form = BmcForm::Environment);
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    draws(&bench, 2_000.0).await;
    // Here the resource stays, without its limit. That is found out beside the readings, a little with each.
    bench.miner.bmc(|manner| manner.form = BmcForm::Processors);
    for _ in 0..5 {
        driver.read().await.unwrap();
    }
    let status = driver.read().await.unwrap();
    assert!(status.target.value().is_some() && status.power.value().is_some(), "{status:?}");
    driver.apply(power(1_800), Urgency::Shed).await.unwrap();
    draws(&bench, 1_800.0).await;
    assert_eq!(bench.miner.tally().trespasses, 0);
}

#[tokio::test]
async fn modules_within_a_chassis_are_summed_and_what_only_states_a_range_is_none() {
    let bench = bench(BmcForm::Modules).await;
    let mut driver = driver(&bench);
    let status = driver.read().await.unwrap();
    let draw = status.power.value().unwrap().get();
    assert!((draw - bench.power()).abs() < 100.0, "the draw of the whole, and of no module: {draw}");
    assert!(near(status.target, 3_400.0), "{status:?}");
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    draws(&bench, 2_400.0).await;
    assert_eq!(bench.miner.tally().commands, 4);
}

#[tokio::test]
async fn a_write_that_cannot_be_read_back_is_no_refusal() {
    let bench = bench(BmcForm::Environment).await;
    bench.miner.bmc(|manner| (manner.busy_after_write, manner.retry_after) = (1, 1));
    let mut one = driver(&bench);
    assert!(is_unknown(&one.apply(power(2_400), Urgency::Normal).await));
    draws(&bench, 2_400.0).await;
    bench.miner.bmc(|manner| (manner.busy_after_write, manner.late) = (0, 1_000));
    let result = one.apply(power(2_000), Urgency::Shed).await;
    assert!(is_unknown(&result), "what is only promised may come yet: {result:?}");
}

#[tokio::test]
async fn etags_over_readings_keep_no_order_from_being_written() {
    for takes_any in [true, false] {
        for form in [BmcForm::Environment, BmcForm::Power] {
            let bench = bench(form).await;
            bench.miner.bmc(|manner| (manner.hashes_readings, manner.takes_any) = (true, takes_any));
            let mut driver = driver(&bench);
            driver.read().await.unwrap();
            driver.apply(power(2_400), Urgency::Shed).await.unwrap();
            draws(&bench, 2_400.0).await;
            // An order that has time waits for its turn: once is enough.
            if takes_any && form == BmcForm::Environment {
                driver.apply(power(2_800), Urgency::Normal).await.unwrap();
                draws(&bench, 2_800.0).await;
            }
        }
    }
}

#[tokio::test]
async fn what_somebody_else_writes_all_the_time_is_left_to_them_unless_power_must_fall() {
    let bench = bench(BmcForm::Control).await;
    let mut driver = driver(&bench);
    driver.read().await.unwrap();
    bench.miner.bmc(|manner| (manner.outrun, manner.rival) = (2, Some(3_000.0)));
    assert_eq!(rejection(driver.apply(power(2_400), Urgency::Normal).await), Rejection::Busy);
    assert_eq!(bench.miner.tally().commands, 0);
    bench.miner.bmc(|manner| (manner.outrun, manner.rival) = (2, Some(3_100.0)));
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    draws(&bench, 2_000.0).await;
}

#[tokio::test]
async fn a_limit_that_cannot_be_read_is_set_blind_by_a_shed_and_by_nothing_else() {
    let bench = bench(BmcForm::Environment).await;
    let mut driver = driver(&bench);
    driver.read().await.unwrap();
    bench.miner.bmc(|manner| manner.fails = 1);
    assert!(driver.apply(power(2_400), Urgency::Normal).await.is_err());
    assert_eq!(bench.miner.tally().commands, 0);
    bench.miner.bmc(|manner| manner.fails = 1);
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    draws(&bench, 2_400.0).await;
}

#[tokio::test]
async fn the_other_controls_of_the_old_form_stay() {
    let bench = bench(BmcForm::Power).await;
    bench.miner.bmc(|manner| manner.entries = 3);
    driver(&bench).apply(power(2_400), Urgency::Shed).await.unwrap();
    draws(&bench, 2_400.0).await;
    assert_eq!(bench.miner.tally().trespasses, 0);
}

#[tokio::test]
async fn one_part_that_is_disabled_does_not_spare_the_others() {
    let bench = bench(BmcForm::Processors).await;
    bench.miner.bmc(|manner| manner.disabled = Some(1));
    let mut driver = driver(&bench);
    assert_eq!(driver.read().await.unwrap().activity, Activity::Hashing);
    // The rest can make up for it, and then no longer.
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    draws(&bench, 2_400.0).await;
    let result = driver.apply(power(1_800), Urgency::Shed).await;
    assert!(is_unknown(&result), "{result:?}");
    assert!(result.unwrap_err().to_string().contains("1 of 4 limits"));
    draws(&bench, 2_125.0).await;
}

#[tokio::test]
async fn a_bmc_that_rounds_down_is_believed_and_not_written_to_again() {
    let bench = bench(BmcForm::Environment).await;
    bench.miner.bmc(|manner| manner.rounds = 50.0);
    let mut driver = driver(&bench);
    driver.apply(power(2_409), Urgency::Normal).await.unwrap();
    driver.apply(power(2_409), Urgency::Normal).await.unwrap();
    assert_eq!(bench.miner.tally().commands, 1);
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(2_400)));
}

#[tokio::test]
async fn percent_of_nobody_knows_what_are_not_set() {
    let bench = bench(BmcForm::Percent).await;
    let connection = Connection { rated_is_told: false, ..bench.connection() };
    let mut driver = Redfish::new(&connection, &http_client().unwrap());
    let status = driver.read().await.unwrap();
    assert!(matches!(&status.activity, Activity::Fault(words) if words.contains("`rated`")), "{status:?}");
    assert!(said(driver.apply(power(2_400), Urgency::Shed).await).contains("`rated`"));
    assert_eq!(bench.miner.tally().commands, 0);
    // Watts need none.
    bench.miner.bmc(|manner| manner.form = BmcForm::Control);
    let status = Redfish::new(&connection, &http_client().unwrap()).read().await.unwrap();
    assert_eq!(status.range, range(1_700, 3_400));
}

#[tokio::test]
async fn sessions_are_given_back_and_not_opened_for_what_they_do_not_open() {
    let bench = bench(BmcForm::Environment).await;
    let mut driver = driver(&bench);
    driver.read().await.unwrap();
    bench.miner.bmc(|manner| manner.forbidden = Some("/redfish/v1/Chassis/1/EnvironmentMetrics"));
    for _ in 0..4 {
        match driver.read().await {
            Err(DriverError::Rejected { reason: Rejection::Credentials, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.miner.bmc(|manner| (manner.logins, manner.open_sessions)), (2, 1));
    bench.miner.bmc(|manner| manner.forbidden = None);
    driver.read().await.unwrap();
    driver.close().await;
    assert_eq!(bench.miner.bmc(|manner| (manner.logins, manner.open_sessions)), (2, 0));
}

#[tokio::test]
async fn a_login_that_is_cut_off_goes_on_for_the_next_one() {
    let bench = bench(BmcForm::Environment).await;
    bench.inject(Fault::Slow { delay: Duration::from_millis(300) });
    let mut driver = driver(&bench);
    // The root is there, and the login is under way.
    assert!(tokio::time::timeout(Duration::from_millis(450), driver.read()).await.is_err());
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    assert_eq!(bench.miner.bmc(|manner| (manner.logins, manner.open_sessions)), (1, 1));
    driver.close().await;
    assert_eq!(bench.miner.bmc(|manner| manner.open_sessions), 0);
}

#[tokio::test]
async fn a_login_that_is_refused_is_not_tried_again_and_again() {
    let busy = bench(BmcForm::Environment).await;
    busy.miner.bmc(|manner| (manner.busy_logins, manner.retry_after) = (1, 60));
    let mut one = driver(&busy);
    for _ in 0..3 {
        match one.read().await {
            Err(DriverError::Rejected { reason: Rejection::Busy, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(busy.miner.bmc(|manner| manner.logins), 1);
    let wrong = bench(BmcForm::Environment).await;
    let credentials = Some(Credentials { username: None, password: Secret::new("wr0ng".into()) });
    let connection = Connection { credentials, ..wrong.connection() };
    let mut other = Redfish::new(&connection, &http_client().unwrap());
    for _ in 0..3 {
        match other.read().await {
            Err(DriverError::Rejected { reason: Rejection::Credentials, .. }) => {}
            result => panic!("{result:?}"),
        }
    }
    assert_eq!(wrong.miner.bmc(|manner| manner.logins), 1, "it would lock the account");
}

//! The driver of `zeusd` against the simulated one, in all its manners.

use crate::drivers_support::{malformed, power, rejection};
use crate::redfish::{range, said};
use crate::sim_servers::bench::Bench;

use std::time::Duration;

use ballast::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use ballast::miner::drivers::zeusd::Zeusd;
use ballast::miner::{Connection, Driver, DriverKind, Urgency, http_client};
use ballast::sim::miner::{Fault, FaultKind};

async fn bench() -> Bench {
    Bench::start(DriverKind::Zeusd).await
}

fn driver(bench: &Bench) -> Zeusd {
    let patient = Connection { timeout: Duration::from_secs(3), ..bench.connection() };
    Zeusd::new(&patient, &http_client().unwrap())
}

fn is_at(status: &MinerStatus, watts: i32) -> bool {
    status.target == Measured::Value(power(watts))
}

#[tokio::test]
async fn a_life_of_reading_lowering_raising_and_no_sleep() {
    let bench = bench().await;
    let mut driver = driver(&bench);
    let status = driver.read().await.unwrap();
    assert!(is_at(&status, 3_400) && status.range == range(1_700, 3_400), "{status:?}");
    let drawn = status.power.value().unwrap().get();
    assert!((drawn - bench.power()).abs() < 0.1 * drawn, "{drawn}");
    driver.apply(power(2_402), Urgency::Shed).await.unwrap();
    bench.until("the lower power", |bench| (bench.power() - 2_402.0).abs() < 120.0).await;
    assert!(is_at(&driver.read().await.unwrap(), 2_402));
    driver.apply(power(3_000), Urgency::Normal).await.unwrap();
    bench.until("the higher power", |bench| (bench.power() - 3_000.0).abs() < 120.0).await;
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Unsupported);
    bench.until("the lowest power", |bench| (bench.power() - 1_700.0).abs() < 120.0).await;
    let status = driver.read().await.unwrap();
    assert_eq!(status.activity, Activity::Hashing, "a server is never called asleep");
    assert!(is_at(&status, 1_700), "{status:?}");
    driver.close().await;
    assert!(bench.power() < 1_900.0, "what was ordered holds");
    assert_eq!(bench.miner.tally().trespasses, 0);
}

#[tokio::test]
async fn a_shed_raises_no_processor_and_an_order_that_has_time_does() {
    let bench = bench().await;
    driver(&bench).apply(power(2_000), Urgency::Shed).await.unwrap();
    let mut driver = driver(&bench);
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    assert!(is_at(&driver.read().await.unwrap(), 2_000));
    driver.apply(power(2_400), Urgency::Normal).await.unwrap();
    assert!(is_at(&driver.read().await.unwrap(), 2_400));
}

#[tokio::test]
async fn lower_than_its_lowest_is_no_refusal_where_that_moved_it() {
    let bench = bench().await;
    let mut driver = driver(&bench);
    let words = malformed(driver.apply(power(1_000), Urgency::Normal).await);
    assert!(words.contains("as low as that"), "{words}");
    assert!(is_at(&driver.read().await.unwrap(), 1_700));
    assert_eq!(rejection(driver.apply(power(1_000), Urgency::Normal).await), Rejection::OutOfRange);
}

#[tokio::test]
async fn a_processor_that_refuses_is_counted_at_what_it_has() {
    let bench = bench().await;
    let mut driver = driver(&bench);
    driver.read().await.unwrap();
    bench.miner.zeusd(|manner| manner.stuck = vec![2]);
    let words = malformed(driver.apply(power(2_000), Urgency::Shed).await);
    assert!(words.contains("3 of 4") && words.contains("GPU 2: NVML error"), "{words}");
    // Three at 500 W, one at its 850 W.
    assert!(is_at(&driver.read().await.unwrap(), 2_350));
    bench.miner.zeusd(|manner| manner.stuck.clear());
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    assert!(is_at(&driver.read().await.unwrap(), 2_000));
}

#[tokio::test]
async fn a_processor_that_is_lost_is_told_and_the_others_are_lowered() {
    let bench = bench().await;
    let mut driver = driver(&bench);
    driver.read().await.unwrap();
    bench.miner.zeusd(|manner| manner.lost = vec![0]);
    let status = driver.read().await.unwrap();
    assert!(matches!(&status.activity, Activity::Fault(words) if words.contains("GPU 0")), "{status:?}");
    assert_eq!(status.power, Measured::Unavailable);
    // It counts at its most, and the others have what is left.
    let Some((lowest, _)) = status.range else { panic!("no range: {status:?}") };
    driver.apply(Target::Power(lowest), Urgency::Shed).await.unwrap();
    bench.until("the lower power", |bench| bench.power() < 2_500.0).await;
}

#[tokio::test]
async fn what_is_refused_or_ignored_by_all_is_a_refusal() {
    let bench = bench().await;
    let mut driver = driver(&bench);
    bench.inject(Fault::IgnoreCommands);
    let words = said(driver.apply(power(2_400), Urgency::Normal).await);
    assert!(words.contains("its limit is still 850 W (and 3 more)"), "{words}");
    bench.clear(FaultKind::IgnoreCommands);
    bench.inject(Fault::RejectCommands);
    let words = said(driver.apply(power(2_400), Urgency::Normal).await);
    assert!(words.contains("GPU 0: NVML error: an internal driver error"), "{words}");
    bench.clear(FaultKind::RejectCommands);
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
}

#[tokio::test]
async fn groups_that_are_off_are_named() {
    let bench = bench().await;
    let mut driver = driver(&bench);
    bench.inject(Fault::DropsWriteApi);
    let status = driver.read().await.unwrap();
    assert!(
        matches!(&status.activity, Activity::Fault(words) if words.contains("gpu-control")),
        "{status:?}"
    );
    assert!(said(driver.apply(power(2_400), Urgency::Shed).await).contains("--enable"));
    assert_eq!(bench.miner.tally().commands, 0);
    bench.clear(FaultKind::DropsWriteApi);
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    // One that goes off in between is told by the refusal.
    bench.inject(Fault::DropsWriteApi);
    assert!(said(driver.apply(power(2_000), Urgency::Shed).await).contains("gpu-control is off"));
    bench.clear(FaultKind::DropsWriteApi);
    bench.miner.zeusd(|manner| manner.read_off = true);
    let error = driver.read().await.unwrap_err().to_string();
    assert!(error.contains("gpu-read is off"), "{error}");
}

#[tokio::test]
async fn a_token_that_may_only_read_shows_before_the_first_order() {
    let bench = bench().await;
    let mut driver = driver(&bench);
    bench.miner.zeusd(|manner| manner.reads_only = true);
    driver.read().await.unwrap();
    for result in [driver.prove_account().await.map(|_| ()), driver.apply(power(2_400), Urgency::Shed).await]
    {
        let words = result.as_ref().unwrap_err().to_string();
        assert!(words.contains("zeusd token issue --scope gpu-read,gpu-control"), "{words}");
        assert_eq!(rejection(result), Rejection::Credentials);
    }
    assert_eq!(bench.miner.tally().commands, 0);
}

#[tokio::test]
async fn one_without_tokens_has_none_to_prove_and_is_set() {
    let bench = bench().await;
    let mut driver = driver(&bench);
    bench.miner.zeusd(|manner| manner.open = true);
    assert!(!driver.prove_account().await.unwrap());
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
}

#[tokio::test]
async fn limits_that_are_lost_show_after_a_cut_of_the_power_and_after_the_driver_was_loaded_anew() {
    let bench = bench().await;
    let mut driver = driver(&bench);
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    bench.inject(Fault::PowerCut { boot: Duration::from_millis(200) });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(driver.read().await.is_err());
    bench.clear(FaultKind::PowerCut);
    let mut status = driver.read().await;
    for _ in 0..50 {
        if status.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        status = driver.read().await;
    }
    let status = status.unwrap();
    assert!(is_at(&status, 3_400), "{status:?}");
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    assert!(is_at(&driver.read().await.unwrap(), 2_000));
    bench.miner.zeusd(|manner| manner.forgets = true);
    assert!(is_at(&driver.read().await.unwrap(), 3_400));
}

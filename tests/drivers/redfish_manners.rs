//! The driver of BMCs against the simulated one, in all its forms and manners.

use crate::drivers_proxy;
use crate::drivers_support::{power, rejection};
use crate::redfish::{range, said};
use crate::sim_servers::bench as sim_bench;

use std::collections::BTreeSet;
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use ballast::miner::drivers::redfish::Redfish;
use ballast::miner::{Connection, Driver, DriverError, DriverKind, Endpoint, Urgency, http_client};
use ballast::sim::miner::{BmcForm, Fault, FaultKind};
use drivers_proxy::{Proxy, Wire};
use sim_bench::Bench;

pub(crate) const FORMS: [BmcForm; 6] = [
    BmcForm::Environment,
    BmcForm::Processors,
    BmcForm::Modules,
    BmcForm::Control,
    BmcForm::Percent,
    BmcForm::Power,
];

pub(crate) fn driver(bench: &Bench) -> Redfish {
    let patient = Connection { timeout: Duration::from_secs(3), ..bench.connection() };
    Redfish::new(&patient, &http_client().unwrap())
}

pub(crate) async fn bench(form: BmcForm) -> Bench {
    let bench = Bench::start(DriverKind::Redfish).await;
    bench.miner.bmc(|manner| manner.form = form);
    bench
}

pub(crate) fn near(value: Measured<Target>, watts: f64) -> bool {
    matches!(value, Measured::Value(Target::Power(power)) if (power.get() - watts).abs() < 40.0)
}

/// A life in one form: lowered, and put to sleep, which is the lowest.
async fn life(form: BmcForm) -> Vec<String> {
    let bench = bench(form).await;
    let any = "127.0.0.1:0".parse().unwrap();
    let proxy = Proxy::start(Wire::Http, any, bench.address(), sim_bench::PASSWORD).await;
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: proxy.address.port() };
    let connection = Connection { endpoint, timeout: Duration::from_secs(3), ..bench.connection() };
    let mut driver = Redfish::new(&connection, &http_client().unwrap());
    let status = driver.read().await.unwrap();
    assert!(near(status.target, 3_400.0), "{form:?}: {status:?}");
    let stated = status.range.map(|(low, high)| (low.get().round(), high.get().round()));
    match (form, stated) {
        (BmcForm::Power, None) => {}
        (_, Some((low, high))) => {
            assert!((low - 1_700.0).abs() < 40.0 && (high - 3_400.0).abs() < 40.0, "{form:?}")
        }
        other => panic!("{other:?}"),
    }
    driver.apply(power(2_400), Urgency::Normal).await.unwrap();
    bench.until("the lower power", |bench| (bench.power() - 2_400.0).abs() < 120.0).await;
    let status = driver.read().await.unwrap();
    assert!(near(status.target, 2_400.0), "{form:?}: {status:?}");
    // A shed does not wait for the order before it.
    assert_eq!(
        rejection(driver.apply(Target::Sleep, Urgency::Shed).await),
        Rejection::Unsupported,
        "{form:?}"
    );
    bench.until("the lowest power", |bench| (bench.power() - 1_700.0).abs() < 120.0).await;
    let status = driver.read().await.unwrap();
    assert_eq!(status.activity, Activity::Hashing, "a server is never called asleep: {form:?}");
    assert!(near(status.target, 1_700.0), "{form:?}: {status:?}");
    driver.close().await;
    assert_eq!(bench.miner.tally().trespasses, 0, "{form:?}");
    proxy
        .take()
        .into_iter()
        .map(|exchange| exchange.request)
        .filter(|request| !request.starts_with("GET "))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_is_every_path_that_is_ever_written_to() {
    let mut lives = tokio::task::JoinSet::new();
    for form in FORMS {
        lives.spawn(life(form));
    }
    let digits =
        |word: String| word.split(|letter: char| letter.is_ascii_digit()).collect::<Vec<_>>().join("");
    let mut written = BTreeSet::new();
    for request in lives.join_all().await.into_iter().flatten() {
        let (method, rest) = request.split_once(' ').unwrap();
        let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
        match method {
            "DELETE" => assert!(path.starts_with("/redfish/v1/SessionService/Sessions/"), "{request}"),
            _ => {
                written.insert(format!("{method} {path} {}", digits(body.to_owned())));
            }
        }
    }
    let limit = r#"{"PowerLimitWatts":{"SetPoint":}}"#;
    let gpu =
        |place: u8| format!("PATCH /redfish/v1/Systems/1/Processors/GPU_{place}/EnvironmentMetrics {limit}");
    let module = |place: u8| format!("PATCH /redfish/v1/Chassis/Module_{place}/EnvironmentMetrics {limit}");
    let expected: BTreeSet<String> = [
        format!("PATCH /redfish/v1/Chassis/1/EnvironmentMetrics {limit}"),
        r#"PATCH /redfish/v1/Chassis/1/Controls/PowerLimit {"SetPoint":}"#.to_owned(),
        r#"PATCH /redfish/v1/Chassis/1/Power {"PowerControl":[{"PowerLimit":{"LimitInWatts":}}]}"#.to_owned(),
        r#"POST /redfish/v1/SessionService/Sessions {"Password":"<password>","UserName":"admin"}"#.to_owned(),
        gpu(0),
        gpu(1),
        gpu(2),
        gpu(3),
        module(0),
        module(1),
        module(2),
        module(3),
    ]
    .into();
    assert_eq!(written, expected);
}

#[tokio::test]
async fn a_yes_that_changes_nothing_is_not_believed() {
    let bench = bench(BmcForm::Environment).await;
    let mut driver = driver(&bench);
    bench.inject(Fault::IgnoreCommands);
    let words = said(driver.apply(power(2_400), Urgency::Normal).await);
    assert!(words.contains("still 3400 W"), "{words}");
    bench.clear(FaultKind::IgnoreCommands);
    // One that drops low caps takes others.
    bench.miner.bmc(|manner| manner.drops_below = 2_000.0);
    driver.apply(power(2_500), Urgency::Shed).await.unwrap();
    let words = said(driver.apply(power(1_800), Urgency::Shed).await);
    assert!(words.contains("still 2500 W"), "{words}");
}

#[tokio::test]
async fn a_limit_in_mode_disabled_is_not_set_and_told() {
    for form in [BmcForm::Environment, BmcForm::Control] {
        let bench = bench(form).await;
        let mut driver = driver(&bench);
        bench.inject(Fault::DropsWriteApi);
        let status = driver.read().await.unwrap();
        assert!(
            matches!(&status.activity, Activity::Fault(words) if words.contains("ControlMode")),
            "{status:?}"
        );
        assert_eq!(status.target, Measured::Unavailable);
        assert!(said(driver.apply(power(2_400), Urgency::Shed).await).contains("ControlMode"));
        assert_eq!(bench.miner.tally().commands, 0);
    }
}

#[tokio::test]
async fn one_that_is_switched_off_while_it_is_set_is_not_believed() {
    let bench = bench(BmcForm::Environment).await;
    let mut driver = driver(&bench);
    driver.read().await.unwrap();
    bench.inject(Fault::DropsWriteApi);
    let words = said(driver.apply(power(2_400), Urgency::Shed).await);
    assert!(words.contains("Disabled"), "{words}");
}

#[tokio::test]
async fn a_set_point_outside_of_what_is_allowed_is_not_known_to_hold() {
    let bench = bench(BmcForm::Environment).await;
    bench.miner.bmc(|manner| manner.beyond = true);
    let status = driver(&bench).read().await.unwrap();
    assert_eq!((status.target, status.range), (Measured::Unavailable, range(1_700, 3_400)));
}

#[tokio::test]
async fn a_busy_bmc_is_left_alone_as_long_as_it_asks_for_except_by_a_shed_now_and_then() {
    let bench = bench(BmcForm::Environment).await;
    let mut driver = driver(&bench);
    driver.read().await.unwrap();
    bench.miner.bmc(|manner| (manner.busy, manner.retry_after) = (3, 60));
    assert_eq!(rejection(driver.apply(power(2_400), Urgency::Normal).await), Rejection::Busy);
    assert!(matches!(driver.read().await, Err(DriverError::Rejected { reason: Rejection::Busy, .. })));
    // One shed is tried, and the next one only after a while.
    for _ in 0..3 {
        assert_eq!(rejection(driver.apply(power(2_400), Urgency::Shed).await), Rejection::Busy);
    }
    assert_eq!(bench.miner.bmc(|manner| manner.busy), 1, "two writes went out");
    bench.miner.bmc(|manner| manner.busy = 0);
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    bench.until("the lower power", |bench| bench.power() < 2_600.0).await;
    assert!(driver.read().await.is_err(), "a reading can wait");
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    driver.read().await.expect("but not until it counts as silent");
}

#[tokio::test]
async fn a_bmc_that_counts_in_kilowatts_is_not_believed_and_nothing_is_set() {
    let bench = bench(BmcForm::Environment).await;
    let mut driver = driver(&bench);
    let sound = driver.read().await.unwrap();
    assert!(matches!(sound.power, Measured::Value(_)), "{sound:?}");
    bench.miner.bmc(|manner| manner.kilowatts = true);
    let odd = driver.read().await.unwrap();
    assert_eq!((odd.power, odd.target, odd.range), (Measured::Unavailable, Measured::Unavailable, None));
    assert!(matches!(&odd.activity, Activity::Fault(why) if why.contains("another unit")), "{odd:?}");
    assert!(matches!(rejection(driver.apply(power(2_400), Urgency::Shed).await), Rejection::Other(_)));
    bench.miner.bmc(|manner| manner.kilowatts = false);
    assert_eq!(driver.read().await.unwrap().range, sound.range, "and it is known again");
}

#[tokio::test]
async fn what_somebody_else_wrote_to_and_left_as_it_was_is_written_once_more() {
    let bench = bench(BmcForm::Control).await;
    let mut driver = driver(&bench);
    driver.read().await.unwrap();
    bench.miner.bmc(|manner| manner.outrun = 1);
    driver.apply(power(2_400), Urgency::Normal).await.unwrap();
    assert_eq!(bench.miner.tally().commands, 1);
}

#[tokio::test]
async fn what_is_only_accepted_is_waited_for() {
    let bench = bench(BmcForm::Environment).await;
    let mut driver = driver(&bench);
    bench.miner.bmc(|manner| manner.late = 1);
    driver.apply(power(2_400), Urgency::Normal).await.unwrap();
    assert!(near(driver.read().await.unwrap().target, 2_400.0));
}

#[tokio::test]
async fn a_session_that_has_ended_is_opened_anew_once_and_without_sessions_the_account_goes_along() {
    let bench = bench(BmcForm::Environment).await;
    let mut one = driver(&bench);
    one.read().await.unwrap();
    bench.miner.bmc(|manner| manner.forgets = true);
    one.read().await.unwrap();
    bench.miner.bmc(|manner| manner.forgets = true);
    one.apply(power(2_400), Urgency::Normal).await.unwrap();
    assert_eq!(bench.miner.tally().commands, 1);
    bench.miner.bmc(|manner| manner.sessions = false);
    let mut other = driver(&bench);
    assert!(other.prove_account().await.unwrap());
    other.apply(power(3_000), Urgency::Normal).await.unwrap();
    assert_eq!(bench.miner.tally().commands, 2);
}

#[tokio::test]
async fn an_order_in_five_seconds_and_a_shed_goes_before_one_that_waits() {
    let clock = Clock::start();
    let bench = bench(BmcForm::Environment).await;
    let mut driver = driver(&bench);
    driver.apply(power(3_000), Urgency::Normal).await.unwrap();
    // One that waits is given up for a shed, which goes at once.
    let waiting =
        tokio::time::timeout(Duration::from_millis(300), driver.apply(power(3_200), Urgency::Normal));
    assert!(waiting.await.is_err());
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    assert!(clock.now().since_start() < Duration::from_secs(3));
    assert_eq!(bench.miner.tally().commands, 2);
    let before = clock.now();
    driver.apply(power(2_600), Urgency::Normal).await.unwrap();
    assert!(clock.now() - before > Duration::from_secs(4));
}

#[tokio::test]
async fn the_sum_of_processors_leaves_room_for_the_rest_of_the_server() {
    let bench = bench(BmcForm::Processors).await;
    let mut driver = driver(&bench);
    let first: MinerStatus = driver.read().await.unwrap();
    driver.apply(power(2_400), Urgency::Normal).await.unwrap();
    bench.until("the lower power", |bench| (bench.power() - 2_400.0).abs() < 120.0).await;
    for _ in 0..3 {
        let status = driver.read().await.unwrap();
        assert!(near(status.target, 2_400.0), "a target moves with an order only: {status:?}");
        assert!(status.range.unwrap().0.get() > 1_600.0 && first.range.is_some());
    }
}

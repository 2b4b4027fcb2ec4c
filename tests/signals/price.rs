//! A price drives a simulated site: from a document over HTTP to measured power, and every cell of the table in
//! `docs/guide/signals/price.md`.

use crate::signals_level;

use std::time::Duration;

use ballast::control::signal::SourceState;
use ballast::signal::{Kind, price};
use ballast::sim::price::{PriceServer, Says};
use signals_level::{Site, Table, mistakes};

/// The price of power is asked for every second; at 0.05 USD/TH/day it breaks even at 2.083 J/TH over its number.
fn market(url: &str, more: &str) -> String {
    format!(
        r#"
[signals.market]
kind = "price"
circuit = "fleet"
power_price = {{ url = "{url}", pointer = "/now/price", unit = "USD/MWh", lowest = "-500 USD/MWh", highest = "900 USD/MWh" }}
hash_price = "0.05 USD/TH/day"
every = "1s"
lost_after = "5s"
minimum_hold = "2s"
{more}
"#
    )
}

fn document(price: f64) -> Says {
    Says::Document(format!("{{\"now\":{{\"price\":{price}}}}}"))
}

/// Break-even far above the efficiency of every miner, and far below.
const CHEAP: f64 = 30.0;
const DEAR: f64 = 700.0;

async fn server(address: &str, says: Says) -> PriceServer {
    PriceServer::start(address.parse().unwrap(), says).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_does_not_pay_puts_the_miners_to_sleep_and_one_that_does_wakes_them() {
    let server = server("127.64.1.90:8080", document(CHEAP)).await;
    let site = Site::start("127.64.1", &market("http://127.64.1.90:8080/day", ""), "").await;
    site.eventually("it runs free", |site| {
        site.frame().is_some() && site.caps(1).is_empty() && site.fleet() > 18_000.0
    })
    .await;
    server.say(document(DEAR));
    site.eventually("a cap is there", |site| !site.caps(1).is_empty()).await;
    site.eventually("the miners sleep", |site| site.fleet() < 1_000.0).await;
    server.say(document(-40.0));
    site.eventually("a negative price lets all of them up", |site| site.caps(1).is_empty()).await;
    site.eventually("the fleet is back", |site| site.fleet() > 12_000.0).await;
    site.stop().await;
}

/// A running price at a desk.
struct Running {
    table: Table,
    server: PriceServer,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Time is real here: there are sockets.
    async fn start(says: Says, more: &str) -> Self {
        let server = server("127.0.0.1:0", says).await;
        let url = format!("http://{}/now?key=hidden", server.address());
        let wall = i64::try_from(ballast::clock::unix_seconds()).unwrap() * 1_000;
        let table = Table::new(&market(&url, more), wall);
        let task = Self::spawn(&table);
        Self { table, server, task }
    }

    fn spawn(table: &Table) -> tokio::task::JoinHandle<()> {
        let Kind::Price(settings) = table.kind() else { panic!("a price") };
        tokio::spawn(price::run(*settings, table.context()))
    }

    async fn eventually(&self, what: &str, good: impl Fn(&Self) -> bool) {
        for _ in 0..1_200 {
            if good(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not within a minute: {what}; {:?}", self.table.view());
    }

    fn state(&self) -> SourceState {
        self.table.view().state
    }

    async fn settle(&self) {
        let asked = self.server.asked().len();
        self.eventually("it is asked twice more", |running| running.server.asked().len() >= asked + 2).await;
    }
}

#[tokio::test]
async fn a_lost_price_keeps_its_caps() {
    let running = Running::start(document(DEAR), "").await;
    running.eventually("it caps", |running| running.table.cap().is_some()).await;
    let cap = running.table.cap();
    for says in
        [Says::Status(500), Says::Status(401), Says::Half("{\"now\":{\"price\":1}}".into()), Says::Nothing]
    {
        running.server.say(says);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(running.table.cap(), cap);
    }
    running.eventually("it is lost", |running| running.state() == SourceState::Failsafe).await;
    assert_eq!(running.table.cap(), cap, "a loss never loosens");
    running.server.say(document(CHEAP));
    running.eventually("it is heard again", |running| running.state() == SourceState::Controlled).await;
    assert_eq!(running.table.cap(), None);
}

#[tokio::test]
async fn a_lost_price_ends_its_caps_where_that_is_configured() {
    let running = Running::start(document(DEAR), "when_lost = \"nothing\"").await;
    running.eventually("it caps", |running| running.table.cap().is_some()).await;
    running.server.say(Says::Status(503));
    running.eventually("it is lost", |running| running.state() == SourceState::Failsafe).await;
    running.eventually("its caps are over", |running| running.table.cap().is_none()).await;
}

#[tokio::test]
async fn a_lost_price_falls_to_its_fail_safe() {
    let running = Running::start(document(CHEAP), "fail_safe = \"4 kW\"").await;
    running.eventually("it is heard", |running| running.state() == SourceState::Controlled).await;
    running.server.say(Says::Status(500));
    running.eventually("the fail-safe stands", |running| running.table.cap() == Some(4_000.0)).await;
}

#[tokio::test]
async fn a_price_that_cannot_be_meant_keeps_the_one_before_and_is_said() {
    let running = Running::start(document(DEAR), "").await;
    running.eventually("it caps", |running| running.table.cap().is_some()).await;
    let cap = running.table.cap();
    for body in
        ["{\"now\":{\"price\":null}}", "{\"now\":{\"price\":\"NaN\"}}", "{\"now\":{\"price\":1e6}}", "[]"]
    {
        running.server.say(Says::Document(body.into()));
        running.eventually("it is said", |running| running.state() == SourceState::Degraded).await;
        assert_eq!(running.table.cap(), cap, "{body}");
    }
    running.eventually("what stays wrong is lost", |running| running.state() == SourceState::Failsafe).await;
    assert_eq!(running.table.cap(), cap);
}

#[tokio::test]
async fn bad_values_alone_do_not_keep_a_price_alive() {
    let running = Running::start(document(DEAR), "").await;
    running.eventually("it caps", |running| running.table.cap().is_some()).await;
    let cap = running.table.cap();
    running.server.say(Says::Document("[]".into()));
    let before = running.server.asked().len();
    running.eventually("it is lost", |running| running.state() == SourceState::Failsafe).await;
    let bad = running.server.asked().len() - before;
    assert!(
        bad <= 7,
        "asked every second, it is lost 5 s after the last good answer, and not after {bad} bad ones"
    );
    assert_eq!(running.table.cap(), cap);
    running.server.say(document(DEAR));
    running.eventually("it is heard again", |running| running.state() == SourceState::Limited).await;
}

#[tokio::test]
async fn one_bad_document_is_forgotten_with_the_next_good_one() {
    let running = Running::start(document(DEAR), "").await;
    running.eventually("it caps", |running| running.state() == SourceState::Limited).await;
    running.server.say(Says::Document("[]".into()));
    running.eventually("it is said", |running| running.state() == SourceState::Degraded).await;
    running.server.say(document(DEAR));
    running
        .eventually("the same price is sound again", |running| running.state() == SourceState::Limited)
        .await;
}

#[tokio::test]
async fn a_restart_finds_the_same_orders() {
    let mut running = Running::start(document(DEAR), "").await;
    running.eventually("it caps", |running| running.table.cap().is_some()).await;
    let before = running.table.view().caps;
    running.task.abort();
    running.task = Running::spawn(&running.table);
    running.settle().await;
    assert_eq!(running.table.view().caps, before);
}

#[tokio::test]
async fn after_an_outage_nothing_is_capped_before_the_price_is_known() {
    let running = Running::start(Says::Status(503), "").await;
    running.settle().await;
    assert_eq!((running.table.cap(), running.state()), (None, SourceState::Init));
    running.server.say(document(DEAR));
    running.eventually("it caps", |running| running.table.cap().is_some()).await;
}

#[tokio::test]
async fn the_same_price_again_is_one_order() {
    let running = Running::start(document(DEAR), "").await;
    running.eventually("it caps", |running| running.table.cap().is_some()).await;
    let before = running.table.view().caps;
    running.settle().await;
    running.server.say(document(DEAR * 1.01));
    running.settle().await;
    assert_eq!(running.table.view().caps, before, "one percent more is the same by the hysteresis");
}

#[tokio::test]
async fn a_sender_whose_clock_is_off_makes_the_source_degraded() {
    let body = format!("{{\"now\":{{\"price\":{DEAR}}}}}");
    let running = Running::start(Says::Dated(body.clone(), "Sun, 22 Nov 2020 17:04:58 GMT".into()), "").await;
    running.eventually("it caps", |running| running.table.cap().is_some()).await;
    assert_eq!(running.state(), SourceState::Degraded);
    running.server.say(Says::Document(body));
    running.settle().await;
    assert!(running.table.cap().is_some());
    let asked = running.server.asked();
    assert!(asked.iter().all(|head| head.starts_with("GET /now?key=hidden HTTP/1.1\r\n")), "{asked:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let running = Running::start(Says::Status(302), "").await;
    running.settle().await;
    assert_eq!(running.table.cap(), None);
    assert_eq!(running.state(), SourceState::Init);
}

#[test]
fn what_is_no_price_is_refused_with_its_place() {
    let good = market("https://prices.example/now", "");
    assert_eq!(mistakes(&good), "");
    for (right, wrong, said) in [
        ("0.05 USD/TH/day", "0.05", "is no price"),
        ("0.05 USD/TH/day", "0.05 EUR/TH/day", "in USD and in EUR"),
        ("0.05 USD/TH/day", "0.05 USD/kWh", "is no price"),
        ("/now/price", "now.price", "is no JSON pointer"),
        (", unit = \"USD/MWh\"", "", "has no `unit`"),
        ("https://prices.example", "ftp://prices.example", "not of http or https"),
        ("https://prices.example", "https://me:secret@prices.example", "has an account"),
        ("every = \"1s\"", "every = \"10s\"", "lost before it is asked for again"),
        ("every = \"1s\"", "caps = \"import\"\nevery = \"1s\"", "what the miners draw"),
        (
            "every = \"1s\"",
            "fail_safe = \"1 W\"\nwhen_lost = \"nothing\"\nevery = \"1s\"",
            "keep one of the two",
        ),
        ("every = \"1s\"", "ca = \"no-such-file\"\nevery = \"1s\"", "cannot be used"),
        ("every = \"1s\"", "evry = \"1s\"", "unknown key"),
    ] {
        let said_here = mistakes(&good.replacen(right, wrong, 1));
        assert!(said_here.contains(said), "{wrong}: {said_here}");
        assert!(!said_here.contains("secret"), "{said_here}");
    }
    let tariff = r#"
[signals.tariff]
kind = "price"
hash_price = "52 USD/PH/day"
[signals.tariff.power_price]
otherwise = "0.05 USD/kWh"
[[signals.tariff.power_price.windows]]
from = "17:00"
to = "21:00"
price = "0.30 USD/kWh"
"#;
    assert_eq!(mistakes(tariff), "");
}

#[tokio::test(start_paused = true)]
async fn a_tariff_changes_with_its_hours() {
    let tariff = r#"
[signals.tariff]
kind = "price"
circuit = "fleet"
hash_price = "0.05 USD/TH/day"
minimum_hold = "0s"
[signals.tariff.power_price]
otherwise = "0.03 USD/kWh"
[[signals.tariff.power_price.windows]]
from = "17:00"
to = "21:00"
price = "0.70 USD/kWh"
"#;
    let noon = "2026-11-22T16:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let table = Table::new(tariff, noon);
    let Kind::Price(settings) = table.kind() else { panic!("a price") };
    tokio::spawn(price::run(*settings, table.context()));
    let after = async |seconds| {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        table.cap()
    };
    assert_eq!(after(3_595).await, None);
    assert!(after(10).await.is_some());
    assert!(after(4 * 3_600 - 15).await.is_some());
    assert_eq!(after(15).await, None);
    assert_eq!(table.view().state, SourceState::Controlled, "it is never lost");
}

//! An OpenADR 3 end node against a top node with faults: what reaches the desk and what does not.

use crate::signals_openadr_site;

use std::time::Duration;

use ballast::clock::Clock;
use ballast::config::Config;
use ballast::control::signal::book::Trouble;
use ballast::control::signal::{Doubt, SourceState, View, Wall};
use ballast::signal::openadr::client::{Client, VenError};
use ballast::signal::openadr::{self, Settings};
use ballast::signal::{Context, Desk, Kind};
use ballast::sim::vtn::{Fault, Options, Vtn};
use ballast::units::Watts;
use serde_json::{Value, json};
use signals_openadr_site::{ACCOUNT, UTILITY, event, from_now, parse, seconds, settings, text, vtn};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The end node with a desk and no site behind it.
struct Node {
    vtn: Vtn,
    desk: Desk,
    task: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn wall() -> Wall {
    Wall::unix_millis(jiff::Timestamp::now().as_millisecond())
}

fn desk(config: &Config) -> (Desk, Clock) {
    let clock = Clock::start();
    let sources = config.signals.iter().map(|spec| spec.settings.clone()).collect();
    let wall = std::sync::Arc::new(|| (wall(), Doubt::None));
    (Desk::new(config.site.clone(), sources, clock, wall), clock)
}

impl Node {
    async fn start(vtn: Vtn, more: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let mut config = parse(&text(99, &vtn.url(), &format!("{ACCOUNT}{more}")));
        let own = settings(&mut config);
        (own.poll, own.timeout) = (seconds(0.05), seconds(0.5));
        change(own);
        let (desk, clock) = desk(&config);
        let spec = &config.signals[UTILITY.0];
        let Kind::OpenAdr(settings) = &spec.kind else { unreachable!() };
        let (_, frames) = watch::channel(None);
        let context = Context {
            source: desk.source(&spec.settings.name).unwrap(),
            name: "utility".into(),
            place: spec.place,
            desk: desk.clone(),
            clock,
            frames,
        };
        let task = tokio::spawn(openadr::run((**settings).clone(), context));
        Self { vtn, desk, task }
    }

    async fn plain() -> Self {
        Self::start(vtn(Options::default()).await, "", |_| {}).await
    }

    fn view(&self) -> View {
        let _ = self.desk.look();
        self.desk.views()[UTILITY.0].clone().unwrap()
    }

    fn cap(&self) -> Option<f64> {
        self.view().caps.iter().map(|cap| cap.cap.get()).min_by(f64::total_cmp)
    }

    async fn until(&self, what: &str, look: impl Fn(&View) -> bool) -> View {
        let begun = Clock::start();
        loop {
            let view = self.view();
            if look(&view) {
                return view;
            }
            assert!(begun.now().since_start() < seconds(60.0), "{what}, but: {view:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn has_cap(&self, watts: Option<f64>) -> View {
        let near = |cap: Option<f64>| match (cap, watts) {
            (Some(one), Some(other)) => (one - other).abs() < 0.5,
            (None, None) => true,
            _ => false,
        };
        self.until(&format!("the cap is {watts:?}"), |view| {
            let cap = view.caps.iter().map(|cap| cap.cap.get()).min_by(f64::total_cmp);
            near(cap)
                && matches!(
                    view.state,
                    SourceState::Controlled | SourceState::Limited | SourceState::Degraded
                )
        })
        .await
    }

    /// A few whole polls go by.
    async fn polls(&self, count: u64) {
        let wanted = self.vtn.counts().events + count;
        let begun = Clock::start();
        while self.vtn.counts().events < wanted {
            assert!(begun.now().since_start() < seconds(60.0), "no polls: {:?}", self.vtn.counts());
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn bad_events() -> [&'static str; 9] {
    [
        r#"{"id":"bad","programID":"p1","intervals":[{"id":0,"payloads":[{"type":"SIMPLE","values":[7]}]}]}"#,
        r#"{"id":"bad","programID":"p1","intervals":"none"}"#,
        r#"{"id":"bad","programID":"p1","priority":-1}"#,
        r#"{"id":"bad","programID":"p1","intervalPeriod":{"start":"tomorrow"}}"#,
        r#"{"id":"bad","programID":"p1","intervalPeriod":{"start":"0001-01-01","duration":"1 hour"}}"#,
        r#"{"id":"bad","programID":"p1","payloadDescriptors":[{"payloadType":"IMPORT_CAPACITY_LIMIT","units":"KVA"}],
            "intervals":[{"id":0,"payloads":[{"type":"IMPORT_CAPACITY_LIMIT","values":[5]}]}]}"#,
        r#"{"programID":"p1"}"#,
        "17",
        "null",
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_no_whole_authenticated_list_is_no_news_and_the_source_is_lost_after_a_while() {
    let faults = [
        Fault::Hang,
        Fault::Unauthorised,
        Fault::NoToken,
        Fault::ServerError,
        Fault::HalfAnswer,
        Fault::CutJson,
        Fault::Html,
        Fault::NoList,
        Fault::Endless,
        Fault::Redirect("http://127.0.0.1:9/elsewhere".into()),
    ];
    let each = faults.into_iter().map(|fault| async move {
        let node = Node::plain().await;
        node.vtn.put_event(event("e1", "IMPORT_CAPACITY_LIMIT", 30.0));
        node.has_cap(Some(30_000.0)).await;
        if fault == Fault::NoToken {
            node.vtn.revoke_tokens();
        }
        node.vtn.set_faults([fault.clone()]);
        let heard = node.vtn.counts().events;
        sleep(seconds(1.2)).await;
        // Nothing is called yet: what was known holds, whatever the broken list seems to say.
        let view = node.view();
        assert_eq!(view.state, SourceState::Limited, "{fault:?}");
        assert!(view.age.unwrap() > seconds(0.5), "{fault:?}: {:?}", view.age);
        node.until("it is lost", |view| view.state == SourceState::Failsafe).await;
        assert_eq!(node.cap(), Some(12_000.0), "{fault:?}");
        assert!(!node.task.is_finished(), "{fault:?}");
        node.vtn.set_faults([]);
        node.has_cap(Some(30_000.0)).await;
        assert!(node.vtn.counts().events > heard, "{fault:?}");
    });
    let tasks: Vec<_> = each.map(tokio::spawn).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_event_makes_the_source_degraded_and_takes_no_other_along() {
    let node = Node::plain().await;
    for number in 0..5 {
        node.vtn.put_event(event(&format!("e{number}"), "IMPORT_CAPACITY_LIMIT", 30.0 + f64::from(number)));
    }
    node.has_cap(Some(30_000.0)).await;
    for bad in bad_events() {
        node.vtn.set_faults([Fault::BadEvent(bad.into())]);
        let view = node.until("it is degraded", |view| view.state == SourceState::Degraded).await;
        assert!(matches!(&view.trouble[..], [Trouble::Unreadable(_)]), "{bad}: {view:?}");
        assert_eq!(node.cap(), Some(30_000.0), "{bad}");
        node.vtn.set_faults([]);
        node.until("it is well again", |view| view.state == SourceState::Limited).await;
    }
    // While an event without a name cannot be read, nothing is taken back: it may be any of them.
    node.vtn.set_faults([Fault::BadEvent("{}".into())]);
    node.until("it is degraded", |view| view.state == SourceState::Degraded).await;
    node.vtn.delete_event("e0");
    node.polls(3).await;
    assert_eq!(node.cap(), Some(30_000.0));
    node.vtn.set_faults([]);
    node.has_cap(Some(31_000.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_be_read_leaves_the_one_before_in_force() {
    let node = Node::plain().await;
    node.vtn.put_event(event("e1", "IMPORT_CAPACITY_LIMIT", 25.0));
    node.has_cap(Some(25_000.0)).await;
    let mut other_unit = event("e1", "IMPORT_CAPACITY_LIMIT", 26.0);
    other_unit["payloadDescriptors"][0]["units"] = json!("KWH");
    for bad in
        [event("e1", "IMPORT_CAPACITY_LIMIT", "many"), other_unit, event("e1", "IMPORT_CAPACITY_LIMIT", -1)]
    {
        node.vtn.put_event(bad);
        let view = node.until("it is degraded", |view| view.state == SourceState::Degraded).await;
        assert_eq!(view.caps[0].cap, Watts::whole(25_000));
        node.vtn.put_event(event("e1", "IMPORT_CAPACITY_LIMIT", 25.0));
        node.until("it is well again", |view| view.state == SourceState::Limited).await;
    }
    node.vtn.put_event(event("e1", "IMPORT_CAPACITY_LIMIT", 0));
    node.has_cap(Some(0.0)).await;
    node.vtn.delete_event("e1");
    node.has_cap(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_to_their_end_whatever_the_size_of_the_pages() {
    for page in [50, 7, 1] {
        let node = Node::start(vtn(Options { page, ..Options::default() }).await, "", |_| {}).await;
        let count = if page == 1 { 9 } else { 130 };
        for number in 0..count {
            node.vtn.put_event(event(&format!("e{number}"), "IMPORT_CAPACITY_LIMIT", 200 - number));
        }
        // Those above 47 kW are above everything that hangs there and are refused; the last one counts.
        let lowest = if page == 1 { None } else { Some(f64::from(201 - count) * 1e3) };
        if let Some(lowest) = lowest {
            assert!(lowest > 47_000.0);
        }
        node.vtn.put_event(event("last", "IMPORT_CAPACITY_LIMIT", 20.0));
        node.has_cap(Some(20_000.0)).await;
        node.vtn.delete_event("last");
        node.has_cap(None).await;
    }
    let node = Node::plain().await;
    node.vtn.set_faults([Fault::NoSkip]);
    node.vtn.put_event(event("e1", "IMPORT_CAPACITY_LIMIT", 21.0));
    node.vtn.put_event(event("e2", "IMPORT_CAPACITY_LIMIT", 22.0));
    node.has_cap(Some(21_000.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_renewed_before_their_end_and_when_they_are_refused() {
    let options = Options { token_life: seconds(1.0), ..Options::default() };
    let node = Node::start(vtn(options).await, "token_auth = \"basic\"\n", |_| {}).await;
    node.vtn.put_event(event("e1", "IMPORT_CAPACITY_LIMIT", 21.0));
    node.has_cap(Some(21_000.0)).await;
    sleep(seconds(2.5)).await;
    let counts = node.vtn.counts();
    assert!((2..12).contains(&counts.tokens), "{counts:?}");
    assert_eq!(counts.refused, 0, "renewed before they end: {counts:?}");
    // One that is worthless before its time is renewed at once, and nothing is lost.
    node.vtn.revoke_tokens();
    node.polls(2).await;
    assert!(node.vtn.counts().refused <= 1, "{:?}", node.vtn.counts());
    assert!(node.view().age.unwrap() < seconds(1.0));
}

#[tokio::test]
async fn a_token_that_is_refused_with_403_is_renewed_unless_it_is_fresh() {
    let vtn = vtn(Options::default()).await;
    vtn.set_faults([Fault::Forbids]);
    let mut config = parse(&text(99, &vtn.url(), ACCOUNT));
    let client = Client::new(settings(&mut config), Clock::start(), std::sync::Arc::new(wall)).unwrap();
    let ask = || client.get(client.address(&["events"]));
    ask().await.unwrap();
    vtn.revoke_tokens();
    // It has just been fetched, so it is no old one that is refused.
    assert!(matches!(ask().await, Err(VenError::Status { status: 403, .. })));
    assert_eq!(vtn.counts().tokens, 1);
    tokio::time::pause();
    tokio::time::advance(seconds(61.0)).await;
    tokio::time::resume();
    ask().await.unwrap();
    assert_eq!(vtn.counts().tokens, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_events_of_the_programme_and_for_this_site_count() {
    let more = "program = \"capacity\"\nven_name = \"mill\"\nresources = [\"hall\"]\ngroups = [\"north\"]\n";
    let node = Node::start(vtn(Options::default()).await, more, |_| {}).await;
    let put = |id: &str, kilowatts: f64, targets: Value| {
        let mut event = event(id, "IMPORT_CAPACITY_LIMIT", kilowatts);
        event["targets"] = targets;
        node.vtn.put_event(event);
    };
    node.vtn.put_programme(json!({ "id": "p2", "programName": "another" }));
    let mut foreign = event("foreign", "IMPORT_CAPACITY_LIMIT", 1.0);
    foreign["programID"] = json!("p2");
    node.vtn.put_event(foreign);
    put("other-ven", 2.0, json!([{ "type": "VEN_NAME", "values": ["dam"] }]));
    put("other-group", 3.0, json!(["south", "east"]));
    put("all", 40.0, json!(null));
    node.has_cap(Some(40_000.0)).await;
    put("group", 30.0, json!([{ "type": "GROUP", "values": ["south", "north"] }]));
    node.has_cap(Some(30_000.0)).await;
    put("plain", 25.0, json!(["hall"]));
    node.has_cap(Some(25_000.0)).await;
    put("ven", 20.0, json!([{ "type": "VEN_NAME", "values": ["mill"] }]));
    node.has_cap(Some(20_000.0)).await;
    node.vtn.delete_programme("p1");
    sleep(seconds(0.3)).await;
    assert_eq!(node.cap(), Some(20_000.0), "programmes are asked for again after ten minutes only");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_programme_that_the_account_cannot_see_is_no_empty_list() {
    let node = Node::start(vtn(Options::default()).await, "program = \"nobody\"\n", |_| {}).await;
    let view = node.until("it is lost", |view| view.state == SourceState::Failsafe).await;
    assert_eq!(view.age, None);
    assert_eq!(node.cap(), Some(12_000.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn units_come_from_the_event_then_the_programme_then_the_configuration() {
    let more = "payloads = { CONSUMPTION_POWER_LIMIT = { means = \"cap\", unit = \"W\" } }\n";
    let node = Node::start(vtn(Options::default()).await, more, |_| {}).await;
    let mut plain = event("e1", "IMPORT_CAPACITY_LIMIT", 0.02);
    plain["payloadDescriptors"] = json!([{ "payloadType": "IMPORT_CAPACITY_LIMIT", "units": "MW" }]);
    node.vtn.put_event(plain.clone());
    node.has_cap(Some(20_000.0)).await;
    plain["payloadDescriptors"] = json!(null);
    plain["intervals"][0]["payloads"][0]["values"] = json!([21]);
    node.vtn.put_event(plain);
    node.has_cap(Some(21_000.0)).await;
    node.vtn.put_event({
        let mut private = event("e2", "CONSUMPTION_POWER_LIMIT", 18_000);
        private["payloadDescriptors"] = json!([]);
        private
    });
    node.has_cap(Some(18_000.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_differs_makes_the_source_degraded() {
    let node = Node::plain().await;
    node.has_cap(None).await;
    node.vtn.set_faults([Fault::Skew { by: seconds(20.0), ahead: true }]);
    node.polls(2).await;
    assert_eq!(node.view().state, SourceState::Controlled, "nothing to speak of");
    for ahead in [true, false] {
        node.vtn.set_faults([Fault::Skew { by: seconds(90.0), ahead }]);
        let view = node.until("it is degraded", |view| view.state == SourceState::Degraded).await;
        let [Trouble::Clock(Doubt::Off(by))] = view.trouble[..] else { panic!("{view:?}") };
        assert!((by.as_secs_f64() - 90.0).abs() < 3.0, "{by:?}");
        node.vtn.set_faults([]);
        node.until("it is well again", |view| view.state == SourceState::Controlled).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_cannot_be_delivered_touch_no_order() {
    let node = Node::start(vtn(Options::default()).await, "", |settings| {
        settings.reports.every = seconds(0.2);
        settings.reports.acknowledge = Some("EVENT_RECEIVED".into());
    })
    .await;
    node.vtn.set_faults([Fault::NoReports]);
    let mut asking = event("e1", "IMPORT_CAPACITY_LIMIT", 20.0);
    asking["reportDescriptors"] = json!([
        { "payloadType": "OPERATING_STATE", "frequency": 0 },
        { "payloadType": "DEMAND", "units": "KW", "frequency": 0 },
        { "payloadType": "LOAD_SHED_DELTA_AVAILABLE", "historical": false },
    ]);
    node.vtn.put_event(asking.clone());
    node.has_cap(Some(20_000.0)).await;
    sleep(seconds(1.0)).await;
    assert!(node.view().age.unwrap() < seconds(1.0));
    assert!(node.vtn.reports().is_empty());
    node.vtn.set_faults([]);
    asking["id"] = json!("e2");
    asking["reportDescriptors"] = json!([{ "payloadType": "OPERATING_STATE" }]);
    node.vtn.put_event(asking);
    let begun = Clock::start();
    loop {
        let reports = node.vtn.reports();
        let receipt = reports.iter().find(|report| report["reportName"] == "receipt e2");
        if let Some(receipt) = receipt {
            let payload = &receipt["resources"][0]["intervals"][0]["payloads"][0];
            assert_eq!(payload, &json!({ "type": "EVENT_RECEIVED", "values": ["ACCEPTED"] }));
            assert_eq!((&receipt["objectType"], &receipt["programID"]), (&json!("REPORT"), &json!("p1")));
            break;
        }
        assert!(begun.now().since_start() < seconds(30.0), "{reports:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_events_at_once_are_each_acknowledged_beside_their_telemetry() {
    let node = Node::start(vtn(Options::default()).await, "", |settings| {
        settings.reports.acknowledge = Some("EVENT_RECEIVED".into());
    })
    .await;
    for number in 0..120 {
        let mut asking = event(&format!("e{number}"), "IMPORT_CAPACITY_LIMIT", 20.0);
        asking["reportDescriptors"] = json!([{ "payloadType": "OPERATING_STATE" }]);
        node.vtn.put_event(asking);
    }
    let begun = Clock::start();
    loop {
        let reports = node.vtn.reports();
        let of = |kind: &str| {
            let names = reports.iter().filter_map(|report| report["reportName"].as_str());
            names.filter(|name| name.starts_with(kind)).collect::<std::collections::BTreeSet<_>>().len()
        };
        if (of("receipt "), of("state ")) == (120, 120) {
            break;
        }
        assert!(begun.now().since_start() < seconds(30.0), "{} {}", of("receipt "), of("state "));
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_in_the_future_wait_and_the_past_is_over() {
    let node = Node::plain().await;
    let mut event = event("e1", "IMPORT_CAPACITY_LIMIT", 20.0);
    event["intervalPeriod"] = json!({ "start": from_now(2), "duration": "PT2S" });
    node.vtn.put_event(event.clone());
    node.polls(2).await;
    // What was polled may be on its way to the desk still.
    node.until("it is controlled", |view| view.state == SourceState::Controlled).await;
    node.has_cap(Some(20_000.0)).await;
    node.has_cap(None).await;
    event["id"] = json!("e2");
    event["intervalPeriod"]["start"] = json!(from_now(-100));
    node.vtn.put_event(event);
    node.polls(2).await;
    node.until("what is over is no complaint", |view| view.state == SourceState::Controlled).await;
}

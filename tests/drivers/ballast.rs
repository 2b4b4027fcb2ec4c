//! The driver of another Ballast against a little server that says what the real one says, and against the simulated one.

use crate::drivers_rest;
use crate::drivers_support;
use crate::sim_servers::bench as sim_bench;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ballast::config::{self, Options, Secrets};
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::ballast::{Ballast, response};
use ballast::miner::{Driver, DriverError, DriverKind, Urgency, http_client};
use ballast::sim::miner::{Fault, FaultKind};
use ballast::units::{Hashrate, Watts};
use drivers_rest::{Reply, Seen, Server, reply};
use drivers_support::{PASSWORD, connection, fails_on_the_wire, fixture, power, rejection};
use serde_json::{Value, json};
use sim_bench::Bench;

/// What the little daemon says.
struct Lower {
    member: Value,
    limit: (u16, Value),
    heartbeat: u16,
}

struct Bed {
    server: Server,
    lower: Arc<Mutex<Lower>>,
}

fn answer(lower: &Lower, seen: &Seen) -> Reply {
    if seen.header("authorization") != Some(&format!("Bearer {PASSWORD}")) {
        return reply(401, r#"{"title":"the token is not known","status":401}"#);
    }
    match seen.line.as_str() {
        "GET /api/v1/member" => reply(200, lower.member.to_string()),
        "POST /api/v1/heartbeat" => reply(lower.heartbeat, r#"{"source":"upper","state_before":"limited"}"#),
        "PUT /api/v1/limits/ballast" if lower.limit.0 == 200 && lower.limit.1.is_null() => {
            let asked: Value = serde_json::from_str(&seen.body).unwrap();
            reply(
                200,
                json!({
                    "outcome": "replaced",
                    "stored": true,
                    "limit": {
                        "cap_watts": asked["cap_watts"],
                        "revision": asked["revision"].as_u64().unwrap_or(17),
                    },
                })
                .to_string(),
            )
        }
        "PUT /api/v1/limits/ballast" => reply(lower.limit.0, lower.limit.1.to_string()),
        _ => reply(404, ""),
    }
}

impl Bed {
    async fn start() -> Self {
        let member = serde_json::from_slice(&fixture("ballast/0.1.0/member.json")).unwrap();
        let lower = Arc::new(Mutex::new(Lower { member, limit: (200, Value::Null), heartbeat: 200 }));
        let shared = Arc::clone(&lower);
        let server = Server::start(move |seen| answer(&shared.lock().unwrap(), seen)).await;
        Self { server, lower }
    }

    fn driver(&self) -> Ballast {
        Ballast::new(&connection(DriverKind::Ballast, self.server.address), &http_client().unwrap())
    }

    /// The same daemon in another state.
    fn change(&self, change: impl Fn(&mut Value)) {
        change(&mut self.lower.lock().unwrap().member);
    }

    fn sent(&self) -> Vec<String> {
        let log = self.server.log();
        let sent = log.iter().filter(|seen| !seen.line.starts_with("GET"));
        sent.map(|seen| format!("{} {}", seen.line, seen.body).trim_end().to_owned()).collect()
    }
}

fn fault(activity: &Activity) -> &str {
    match activity {
        Activity::Fault(words) => words,
        other => panic!("expected a fault, got {other:?}"),
    }
}

#[tokio::test]
async fn a_daemon_that_runs_reads_as_one_large_miner() {
    let bed = Bed::start().await;
    let status = bed.driver().read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::saturating(96_412.5)));
    assert_eq!(status.hashrate, Measured::Value(Hashrate::saturating(5.105e15)));
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.target, Measured::Value(power(96_000)));
    assert_eq!(status.range, Some((Watts::whole(3_460), Watts::whole(126_240))));
    assert_eq!(bed.sent(), Vec::<String>::new(), "who has ordered nothing stands behind nothing");
}

#[tokio::test]
async fn an_order_has_no_end_and_is_kept_alive_only_by_whoever_gave_it() {
    let bed = Bed::start().await;
    let mut driver = bed.driver();
    driver.read().await.unwrap();
    driver.apply(Target::Power(Watts::saturating(80_000.9)), Urgency::Shed).await.unwrap();
    driver.read().await.unwrap();
    assert_eq!(bed.sent().len(), 1, "no control law stands behind it");
    driver.vouched(true);
    driver.read().await.unwrap();
    // More than it can ever draw would be refused.
    driver.apply(power(999_000), Urgency::Normal).await.unwrap();
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!(
        bed.sent(),
        [
            r#"PUT /api/v1/limits/ballast {"cap_watts":80000.0,"scope":"miners"}"#,
            "POST /api/v1/heartbeat",
            r#"PUT /api/v1/limits/ballast {"cap_watts":144000.0,"revision":18,"scope":"miners"}"#,
            r#"PUT /api/v1/limits/ballast {"cap_watts":0.0,"revision":19,"scope":"miners"}"#,
        ]
    );
    driver.close().await;
    driver.read().await.unwrap();
    assert_eq!(bed.sent().len(), 4, "after the end nobody stands behind it");
}

#[tokio::test]
async fn an_emergency_is_passed_on_as_one_also_where_what_it_may_draw_stays() {
    let bed = Bed::start().await;
    let mut driver = bed.driver();
    driver.vouched(true);
    driver.apply(power(50_000), Urgency::Shed).await.unwrap();
    driver.emergency(true);
    bed.lower.lock().unwrap().limit = (503, json!({}));
    assert!(driver.read().await.is_err());
    bed.lower.lock().unwrap().limit = (200, Value::Null);
    driver.read().await.unwrap();
    driver.read().await.unwrap();
    driver.emergency(false);
    driver.read().await.unwrap();
    let order =
        |more: &str| format!(r#"PUT /api/v1/limits/ballast {{"cap_watts":50000.0,{more}"scope":"miners"}}"#);
    let urgent = |revision: &str| order(revision).replace("}", r#","urgency":"emergency"}"#);
    assert_eq!(
        bed.sent(),
        [
            order(""),
            urgent(r#""revision":18,"#),
            // One that was refused is followed by one of the version that the other side gives it.
            urgent(""),
            "POST /api/v1/heartbeat".into(),
            order(r#""revision":18,"#),
        ]
    );
}

#[tokio::test]
async fn an_order_that_did_not_go_through_keeps_no_earlier_one_alive() {
    let bed = Bed::start().await;
    let mut driver = bed.driver();
    driver.vouched(true);
    driver.apply(power(80_000), Urgency::Normal).await.unwrap();
    bed.lower.lock().unwrap().limit = (503, json!({"title": "nobody leads"}));
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Busy);
    driver.read().await.unwrap();
    assert!(!bed.sent().contains(&"POST /api/v1/heartbeat".to_owned()), "80 kW are not to be kept alive");
    // Once it goes through, it is alive again, and its version is the next one that the daemon gives.
    bed.lower.lock().unwrap().limit = (200, Value::Null);
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    driver.read().await.unwrap();
    assert_eq!(
        bed.sent().split_off(2),
        [r#"PUT /api/v1/limits/ballast {"cap_watts":0.0,"scope":"miners"}"#, "POST /api/v1/heartbeat"]
    );
}

#[tokio::test]
async fn a_daemon_that_only_observes_is_told_nothing_and_says_why() {
    let bed = Bed::start().await;
    bed.change(|member| member["mode"] = json!("observe"));
    let mut driver = bed.driver();
    let status = driver.read().await.unwrap();
    assert!(fault(&status.activity).contains("mode = \"control\""), "{status:?}");
    assert_eq!(status.power, Measured::Value(Watts::saturating(96_412.5)), "it draws what it draws");
    let Rejection::Other(words) = rejection(driver.apply(Target::Sleep, Urgency::Shed).await) else {
        panic!("in words");
    };
    assert!(words.contains("only observes"), "{words}");
    assert!(bed.sent().is_empty());
}

#[tokio::test]
async fn a_daemon_that_would_never_miss_the_upper_one_is_not_led() {
    let bed = Bed::start().await;
    bed.change(|member| member["source"]["lost_after_seconds"] = Value::Null);
    let mut driver = bed.driver();
    // Also where nothing was read before.
    let Rejection::Other(words) = rejection(driver.apply(power(50_000), Urgency::Normal).await) else {
        panic!("in words");
    };
    assert!(words.contains("lost_after and fail_safe in its [signals.upper]"), "{words}");
    assert!(bed.sent().is_empty());
}

#[tokio::test]
async fn what_is_stale_stands_still_or_is_lost_is_not_its_last_number() {
    let bed = Bed::start().await;
    let mut driver = bed.driver();
    bed.change(|member| {
        member["mode"] = json!("fail-safe");
        member["stale_meters"] = json!(["feeder"]);
    });
    let status = driver.read().await.unwrap();
    assert_eq!(fault(&status.activity), "it is in fail-safe: no fresh value of feeder");
    bed.change(|member| member["power"]["age_seconds"] = json!(31.0));
    assert_eq!(driver.read().await.unwrap().power, Measured::Unavailable);
    bed.change(|member| member["power"]["watts"] = Value::Null);
    assert_eq!(driver.read().await.unwrap().power, Measured::Unavailable);
    bed.change(|member| {
        member["mode"] = json!("start-up");
        member["power"] = json!({"watts": 1.0, "age_seconds": null, "meters": []});
    });
    let status = driver.read().await.unwrap();
    assert_eq!((status.activity, status.power), (Activity::Starting, Measured::Unavailable));
    bed.change(|member| member["cycle_age_seconds"] = json!(12.0));
    let error = driver.read().await.unwrap_err().to_string();
    assert!(error.contains("has stood still for 12 s"), "{error}");
}

#[tokio::test]
async fn what_its_own_limits_or_its_operator_do_is_told() {
    let bed = Bed::start().await;
    let mut driver = bed.driver();
    bed.change(|member| member["held_by"] = json!({"watts": 50_000.0, "source": "rating", "circuit": "c"}));
    let status = driver.read().await.unwrap();
    assert_eq!((status.activity, status.range.unwrap().1), (Activity::Hashing, Watts::whole(50_000)));
    bed.change(|member| member["held_by"]["watts"] = json!(0.0));
    let status = driver.read().await.unwrap();
    assert_eq!(fault(&status.activity), "`rating` leaves it 0 W, less than its lowest miner needs");
    bed.change(|member| {
        member["held_by"] = Value::Null;
        member["source"]["lifted_by"] = json!("A. Khan");
    });
    let status = driver.read().await.unwrap();
    assert_eq!(fault(&status.activity), "A. Khan has lifted the caps of its source `upper`");
    bed.change(|member| {
        member["source"]["lifted_by"] = Value::Null;
        member["source"]["cap_watts"] = json!(0.0);
        member["miners_by_state"] = json!({"asleep": 40});
    });
    let status = driver.read().await.unwrap();
    assert_eq!((status.activity, status.target), (Activity::Asleep, Measured::Value(Target::Sleep)));
    bed.change(|member| member["range"]["lowest_watts"] = Value::Null);
    assert_eq!(driver.read().await.unwrap().range, None);
}

#[tokio::test]
async fn a_refusal_is_told_apart_and_a_higher_cap_than_asked_for_is_no_yes() {
    let bed = Bed::start().await;
    let mut driver = bed.driver();
    for (status, expected) in [
        (403, Rejection::Credentials),
        (404, Rejection::Unsupported),
        (429, Rejection::Busy),
        (503, Rejection::Busy),
    ] {
        bed.lower.lock().unwrap().limit = (status, json!({"title": "no"}));
        assert_eq!(rejection(driver.apply(power(50_000), Urgency::Normal).await), expected, "{status}");
    }
    bed.lower.lock().unwrap().limit = (422, json!({"title": "the cap is above the nameplate"}));
    let refused = rejection(driver.apply(power(50_000), Urgency::Normal).await);
    assert_eq!(refused, Rejection::Other("HTTP 422: the cap is above the nameplate".into()));
    bed.lower.lock().unwrap().limit = (200, json!({"limit": {"cap_watts": 60_000}}));
    assert_eq!(rejection(driver.apply(power(50_000), Urgency::Normal).await), Rejection::OutOfRange);
    for odd in [json!({}), json!({"limit": {"cap_watts": "many"}}), json!([1])] {
        bed.lower.lock().unwrap().limit = (200, odd);
        let result = driver.apply(power(50_000), Urgency::Normal).await;
        assert!(matches!(result, Err(DriverError::Malformed { .. })), "{result:?}");
    }
    // None of them was taken, so nobody stands behind one.
    driver.vouched(true);
    driver.read().await.unwrap();
    assert!(!bed.sent().contains(&"POST /api/v1/heartbeat".to_owned()));
}

#[tokio::test]
async fn it_is_who_its_site_is_and_a_heartbeat_that_is_refused_is_a_failure() {
    let bed = Bed::start().await;
    let mut driver = bed.driver();
    assert_eq!(driver.identify().await.unwrap().unwrap().serial.as_deref(), Some("container-1"));
    driver.vouched(true);
    driver.apply(power(50_000), Urgency::Normal).await.unwrap();
    bed.lower.lock().unwrap().heartbeat = 503;
    assert!(driver.read().await.is_err());
}

#[tokio::test]
async fn whatever_goes_wrong_on_the_wire_is_an_error_that_names_the_place() {
    fails_on_the_wire(DriverKind::Ballast).await;
}

#[tokio::test]
async fn the_simulated_daemon_obeys_sleeps_and_wakes_and_one_that_ignores_says_yes() {
    let bench = Bench::start(DriverKind::Ballast).await;
    let mut driver = Ballast::new(&bench.connection(), &http_client().unwrap());
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    bench.until("the lower power", |bench| (bench.power() - 2_400.0).abs() < 100.0).await;
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    bench.until("sleep", |bench| bench.power() < 100.0).await;
    let status = driver.read().await.unwrap();
    assert_eq!((status.activity, status.target), (Activity::Asleep, Measured::Value(Target::Sleep)));
    driver.apply(power(3_000), Urgency::Normal).await.unwrap();
    bench.until("waking", |bench| bench.power() > 2_800.0).await;
    // What it says of itself is a mean, and comes behind.
    for _ in 0..600 {
        if driver.read().await.unwrap().power.value().is_some_and(|power| power.get() > 2_900.0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bench.inject(Fault::IgnoreCommands);
    driver.apply(power(1_800), Urgency::Shed).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let status = driver.read().await.unwrap();
    assert!(status.power.value().unwrap().get() > 2_800.0, "its draw tells: {status:?}");
    bench.clear(FaultKind::IgnoreCommands);
}

#[test]
fn its_seed_goes_by_its_size() {
    let (small, large) = (response(Watts::kilowatts(100.0)), response(Watts::kilowatts(10_000.0)));
    assert!((large.ramp_up.get() / small.ramp_up.get() - 100.0).abs() < 1e-9);
    assert_eq!(small.dead_time_down, large.dead_time_down);
}

#[test]
fn the_configurations_of_the_guide_are_valid_lead_to_one_another_and_have_one_plant() {
    let guide = include_str!("../../docs/guide/many-sites.md");
    let section =
        guide.split("## Containers of one large site").nth(1).unwrap().split("\n## ").next().unwrap();
    let examples: Vec<&str> =
        section.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [lower, upper, plant] = examples[..] else { panic!("{} examples", examples.len()) };
    let token = ("container-1.token", "a-token-of-the-upper-daemon");
    let files = [token, ("upper.token", token.1), ("miner.password", "ballast")];
    let options = Options { secrets: Secrets::Read, files: &files, environment: &|_| None };
    let parse = |text: &str| {
        config::parse(text, std::path::Path::new("site.toml"), &options)
            .unwrap_or_else(|words| panic!("{words}"))
    };
    assert!(section.contains("s/10\\.0\\./127.0./g; s/:502\"/:5502\"/"), "what is done here");
    let here = |text: &str| parse(&text.replace("10.0.", "127.0.").replace(":502\"", ":5502\""));
    let (there, plant) = ([here(lower), here(upper)], parse(plant));
    let meters = |config: &config::Config| {
        let place =
            |meter: &ballast::meter::Connection| format!("{:?}", config.links[meter.link.0].transport);
        let names = config.site.meters.iter().map(|meter| meter.name.clone());
        names.zip(config.meters.iter().map(place)).collect::<Vec<_>>()
    };
    // All that the two ask is in the one plant, but for the lower daemon itself.
    for config in &there {
        assert!(meters(config).iter().all(|meter| meters(&plant).contains(meter)), "{:?}", meters(config));
    }
    let addresses = |config: &config::Config| {
        config.miners.iter().map(|miner| (miner.name.clone(), miner.endpoint.clone())).collect::<Vec<_>>()
    };
    assert_eq!(addresses(&plant), addresses(&there[0]));
    let [below, above] = &there;
    assert_ne!(below.store.path, above.store.path, "on one machine they have two databases");
    assert_ne!(below.web.listen, above.web.listen);
    let (lower, upper) = (parse(lower), parse(upper));
    let member = &upper.site.miners[0];
    let sum = |of: fn(&ballast::control::site::Miner) -> Watts| {
        lower.site.miners.iter().map(|miner| of(miner).get()).sum::<f64>()
    };
    assert!((member.nameplate.get() - sum(|miner| miner.nameplate)).abs() < 1.0);
    assert!((member.maximum().get() / sum(ballast::control::site::Miner::maximum) - 1.0).abs() < 0.01);
    assert!((member.sleep.get() - sum(|miner| miner.sleep)).abs() < 1e-6);
    assert!(member.response.caps && member.response.ramp_up.get() > 2_000.0, "{:?}", member.response);
}

//! What an agent of DSX Flex says, as a sign that it is heard, and that all of it is.

use ballast::control::signal::{SourceState, Why};
use ballast::signal::Word;
use ballast::signal::dsx::admit::Refused;
use ballast::signal::dsx::alert::Life;
use ballast::signal::dsx::message::Sent;
use serde_json::json;

use crate::dsx::seconds;
use crate::dsx_infra::{Came, Hall, TEXT, codes, data, hint, parsed};

fn is_missed(hall: &Hall) -> bool {
    hall.desk.word(hall.source()) == Some(Word::Missed)
}

#[tokio::test(start_paused = true)]
async fn that_a_breach_is_over_is_heard_late_and_ends_its_own_hints_alone() {
    let mut hall = Hall::heard().await;
    let one = json!([hint("node-1", "power_cap", 1, Some(4_000))]);
    let alert = hall.alerts(1, 9, "active", &one);
    hall.hear(&alert).await.unwrap().report();
    let begun = hall.hands.wall();
    hall.pass(seconds(600)).await;
    // The broker was away: hints that are old are refused, and what they asked for is missed.
    let late = hall.says(2, begun.later(seconds(20)), Sent::Breach, &data(9, "escalated", &one));
    let refused = hall.hear(&late).await.unwrap_err();
    assert!(matches!(refused, Refused::Old(_)) && refused.missed(), "{refused:?}");
    let of_another = hall.says(3, begun.later(seconds(30)), Sent::Breach, &data(8, "resolved", &one));
    assert!(matches!(hall.hear(&of_another).await, Ok(Came::Reverted(None))));
    assert!(hall.caps().contains(&("gpu-1".into(), 4_000.0)));
    let own = hall.says(4, begun.later(seconds(40)), Sent::Breach, &data(9, "resolved", &one));
    assert!(matches!(hall.hear(&own).await, Ok(Came::Reverted(Some(_)))));
    // It is lifted, and what stood when the agent was lost stands until it is heard.
    let state = hall.state(5, true);
    assert!(matches!(hall.hear(&state).await, Ok(Came::State(Life::Control))));
    assert!(!hall.caps().iter().any(|(circuit, _)| circuit == "gpu-1"), "{:?}", hall.caps());
}

#[tokio::test(start_paused = true)]
async fn that_a_breach_was_over_long_ago_does_not_make_the_agent_heard() {
    let mut hall = Hall::heard().await;
    let one = json!([hint("node-1", "power_cap", 1, Some(4_000))]);
    let alert = hall.alerts(1, 9, "active", &one);
    hall.hear(&alert).await.unwrap().report();
    let begun = hall.hands.wall();
    hall.pass(seconds(121)).await;
    assert_eq!(hall.view(), SourceState::Failsafe);
    for missed in [false, true] {
        if missed {
            hall.desk.miss(hall.source());
        }
        let over = hall.says(
            2 + u128::from(missed),
            begun.later(seconds(1)),
            Sent::Breach,
            &data(9, "resolved", &one),
        );
        assert!(matches!(hall.hear(&over).await, Ok(Came::Reverted(_))));
        assert_eq!((hall.view(), is_missed(&hall)), (SourceState::Failsafe, missed));
    }
}

#[tokio::test(start_paused = true)]
async fn an_alert_of_one_feed_does_not_make_up_for_what_was_missed_of_another() {
    let mut hall = Hall::new();
    let state = hall.state(1, true);
    hall.hear(&state).await.unwrap();
    let broken = hall.says(2, hall.hands.wall(), Sent::Breach, &json!({ "feed_tag": "main-a" }));
    assert!(matches!(hall.hear(&broken).await, Err(Refused::Content(_))));
    let elsewhere = |status: &str| {
        let mut data = data(10, status, &json!([hint("node-1", "power_cap", 1, Some(4_000))]));
        data["feed_tag"] = json!("main-b");
        data
    };
    let alert = hall.says(3, hall.hands.wall(), Sent::Breach, &elsewhere("active"));
    hall.hear(&alert).await.unwrap().report();
    assert_eq!(hall.caps(), [("gpu-1".to_owned(), 4_000.0)], "it is obeyed");
    hall.pass(seconds(100)).await;
    let over = hall.says(4, hall.hands.wall(), Sent::Breach, &elsewhere("resolved"));
    assert!(matches!(hall.hear(&over).await, Ok(Came::Reverted(Some(_)))));
    assert!(hall.caps().is_empty(), "so is its end");
    hall.pass(seconds(21)).await;
    assert_eq!((hall.view(), is_missed(&hall)), (SourceState::Failsafe, true));
    let state = hall.state(5, true);
    assert!(matches!(hall.hear(&state).await, Ok(Came::State(Life::Control))));
    assert_eq!(hall.view(), SourceState::Controlled);
}

#[tokio::test(start_paused = true)]
async fn a_hint_that_the_desk_does_not_take_is_missed() {
    for missed in [false, true] {
        let mut hall = Hall::new();
        let state = hall.state(1, true);
        hall.hear(&state).await.unwrap();
        if missed {
            hall.desk.miss(hall.source());
        }
        // The configuration was read again, and the circuit has another name there; we do not know that yet.
        let next = parsed(&TEXT.replace("gpu-1", "gpu-9"));
        hall.desk.configure(next.site, next.signals.iter().map(|spec| spec.settings.clone()).collect());
        let hints =
            json!([hint("node-1", "power_cap", 1, Some(4_000)), hint("node-3", "power_cap", 2, Some(4_000))]);
        let alert = hall.alerts(2, 9, "active", &hints);
        let Came::Shed(refused, Some(report)) = hall.hear(&alert).await.unwrap() else { panic!("no report") };
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_eq!(codes(&hall.told(&report))[0].0, "skipped");
        assert!(is_missed(&hall));
        assert_eq!(hall.view(), SourceState::Degraded);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_start_control_comes_back_by_a_status_in_which_no_feed_is_above() {
    let mut hall = Hall::new();
    assert_eq!(hall.view(), SourceState::Init);
    // What was missed before the start nobody knows any more.
    let state = hall.state(1, false);
    assert!(matches!(hall.hear(&state).await, Ok(Came::State(Life::Nothing))));
    hall.pass(seconds(121)).await;
    let state = hall.state(2, false);
    assert!(matches!(hall.hear(&state).await, Ok(Came::State(Life::Nothing))));
    assert_eq!(hall.view(), SourceState::Failsafe);
    hall.pass(seconds(1)).await;
    let state = hall.state(3, true);
    assert!(matches!(hall.hear(&state).await, Ok(Came::State(Life::Control))));
    assert_eq!(hall.view(), SourceState::Controlled);
    // Who takes over from another machine knows as much as that one did.
    for (missed, life) in [(false, Life::Sign), (true, Life::Nothing)] {
        let mut next = Hall::new();
        next.hands.forward(seconds(122));
        if missed {
            hall.desk.miss(hall.source());
        }
        next.desk.mirror(hall.desk.copy());
        next.view();
        let state = next.state(4, false);
        let Came::State(heard) = next.hear(&state).await.unwrap() else { panic!("no status") };
        assert_eq!(heard, life);
    }
    let mut hall = Hall::new();
    let alert = hall.alerts(1, 9, "active", &json!([hint("node-1", "power_cap", 1, Some(4_000))]));
    hall.hear(&alert).await.unwrap().report();
    assert_eq!(hall.view(), SourceState::Init);
}

#[tokio::test(start_paused = true)]
async fn after_a_start_an_alert_of_one_feed_is_obeyed_and_gives_no_control() {
    for (status, obeyed) in [("active", true), ("resolved", false)] {
        let mut hall = Hall::new();
        let alert = hall.alerts(1, 9, status, &json!([hint("node-1", "power_cap", 1, Some(4_000))]));
        hall.hear(&alert).await.unwrap();
        assert_eq!(hall.view(), SourceState::Init, "{status}");
        assert_eq!(hall.caps().contains(&("gpu-1".into(), 4_000.0)), obeyed, "{status}");
        // An alert of another feed may have been lost before the start.
        hall.pass(seconds(60)).await;
        let state = hall.state(2, false);
        assert!(matches!(hall.hear(&state).await, Ok(Came::State(Life::Nothing))), "{status}");
        hall.pass(seconds(61)).await;
        assert_eq!(hall.view(), SourceState::Failsafe, "{status}");
        let state = hall.state(3, true);
        assert!(matches!(hall.hear(&state).await, Ok(Came::State(Life::Control))), "{status}");
        let known = if obeyed { SourceState::Limited } else { SourceState::Controlled };
        assert_eq!(hall.view(), known, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_falls_silent_is_a_lost_source_and_its_hints_hold_until_it_ends_them() {
    let mut hall = Hall::new();
    assert_eq!(hall.view(), SourceState::Init);
    let state = hall.state(1, true);
    assert!(matches!(hall.hear(&state).await, Ok(Came::State(Life::Control))));
    assert_eq!(hall.view(), SourceState::Controlled, "a status is enough while there is no breach");
    let alert = hall.alerts(2, 9, "active", &json!([hint("node-1", "power_cap", 1, Some(4_000))]));
    hall.hear(&alert).await.unwrap().report();
    for id in 3..6 {
        hall.pass(seconds(90)).await;
        let state = hall.state(id, false);
        assert!(matches!(hall.hear(&state).await, Ok(Came::State(Life::Sign))));
        assert_eq!(hall.view(), SourceState::Limited);
    }
    hall.pass(seconds(121)).await;
    assert_eq!(hall.view(), SourceState::Failsafe);
    assert_eq!(hall.caps(), [("gpu-1".to_owned(), 4_000.0), ("pcc".to_owned(), 23_000.0)]);
    hall.pass(seconds(3_600)).await;
    assert_eq!(hall.caps(), [("gpu-1".to_owned(), 4_000.0), ("pcc".to_owned(), 23_000.0)]);
    // It speaks again, and the hints hold on.
    let state = hall.state(7, false);
    assert!(matches!(hall.hear(&state).await, Ok(Came::State(Life::Control))));
    assert_eq!((hall.view(), hall.caps()), (SourceState::Limited, vec![("gpu-1".to_owned(), 4_000.0)]));
    // Something of what it said was missed: until nothing is exceeded by its word, that it lives says nothing.
    let broken = hall.says(8, hall.hands.wall(), Sent::Breach, &json!({ "status": "active" }));
    assert!(matches!(hall.hear(&broken).await, Err(Refused::Content(_))));
    hall.pass(seconds(1)).await;
    let state = hall.state(9, false);
    assert!(matches!(hall.hear(&state).await, Ok(Came::State(Life::Nothing))));
    hall.pass(seconds(121)).await;
    assert_eq!(hall.view(), SourceState::Failsafe);
    let state = hall.state(10, true);
    assert!(matches!(hall.hear(&state).await, Ok(Came::State(Life::Control))));
    assert_eq!((hall.view(), hall.caps()), (SourceState::Limited, vec![("gpu-1".to_owned(), 4_000.0)]));
    let held = hall.desk.look().into_iter().find(|order| order.source == hall.source().position()).unwrap();
    assert!(matches!(held.active.why, Why::Order(_)), "{held:?}");
}

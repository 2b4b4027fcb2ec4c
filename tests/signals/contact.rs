//! Contacts drive a simulated site: from a relay that closes to measured power, and every cell of the table in
//! `docs/guide/signals/contact.md`.

use crate::signals_level;

use std::time::Duration;

use signals_level::{Site, mistakes};

/// A receiver with a contact for 8 kW of import and one for nothing, on the line of the meter.
const RECEIVER: &str = r#"
[signals.ripple]
kind = "contact"
circuit = "pcc"
fail_safe = "5 kW"
lost_after = "2s"
link = "board"
unit = 9
period = "100ms"
debounce = "200ms"

[[signals.ripple.contacts]]
name = "to-8"
address = 0
cap = "8 kW"

[[signals.ripple.contacts]]
name = "to-0"
address = 1
speaks_when = "open"
cap = "2 kW"
"#;

fn event(at: u64, lasting: u64, what: &str) -> String {
    format!("[[event]]\nat = \"{at}s\"\nfor = \"{lasting}s\"\n{what}\n")
}

fn speaks(at: u64, lasting: u64, name: &str) -> String {
    event(at, lasting, &format!("contact = {{ source = \"ripple\", name = \"{name}\" }}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_that_closes_brings_the_power_down_and_its_opening_lets_it_up() {
    let site = Site::start("127.61.1", RECEIVER, &speaks(8, 12, "to-8")).await;
    site.eventually("it runs free", |site| {
        site.frame().is_some() && site.caps(1).is_empty() && site.fleet() > 18_000.0
    })
    .await;
    site.eventually("the order is there", |site| site.caps(1) == [8_000.0]).await;
    let took = site.eventually("the import is down", |site| site.import() < 8_100.0).await;
    assert!(took < Duration::from_secs(15), "{took:?}");
    site.eventually("the order is gone", |site| site.caps(1).is_empty()).await;
    site.eventually("the fleet is back", |site| site.fleet() > 12_000.0).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_error_is_not_open_and_becomes_the_fail_safe() {
    let events = event(6, 10, "meter = { name = \"ripple\", fault = \"exception\", code = 4 }");
    let site = Site::start("127.61.2", RECEIVER, &events).await;
    site.eventually("it runs free", |site| site.frame().is_some() && site.fleet() > 18_000.0).await;
    site.eventually("it is lost", |site| site.is_lost(1)).await;
    site.eventually("the import is at the fail-safe", |site| site.import() < 5_100.0).await;
    site.eventually("it is heard again", |site| !site.is_lost(1) && site.caps(1).is_empty()).await;
    site.eventually("the fleet is back", |site| site.fleet() > 12_000.0).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_while_a_contact_speaks_never_loosens() {
    let receiver = RECEIVER.replace("fail_safe = \"5 kW\"", "fail_safe = \"12 kW\"");
    let events = speaks(4, 60, "to-8") + &event(9, 5, "meter = { name = \"ripple\", fault = \"silent\" }");
    let site = Site::start("127.61.3", &receiver, &events).await;
    site.eventually("the order is there", |site| site.caps(1) == [8_000.0]).await;
    site.eventually("it is lost", |site| site.is_lost(1)).await;
    site.always("the tighter cap stays", Duration::from_secs(2), |site| site.caps(1).contains(&8_000.0))
        .await;
    site.eventually("it is heard again", |site| site.caps(1) == [8_000.0]).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_that_is_cut_speaks_where_rest_is_closed() {
    let site = Site::start("127.61.4", RECEIVER, &speaks(4, 60, "to-0")).await;
    site.eventually("the order is there", |site| site.caps(1) == [2_000.0]).await;
    site.eventually("no miner hashes", |site| site.import() < 2_500.0).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_reads_the_contacts_before_it_lets_anything_up() {
    let mut site = Site::start("127.61.5", RECEIVER, &speaks(2, 120, "to-8")).await;
    site.eventually("the import is down", |site| site.caps(1) == [8_000.0] && site.import() < 8_100.0).await;
    site.restart().await;
    site.eventually("there is a cycle", |site| site.frame().is_some()).await;
    site.always("nothing loosens", Duration::from_secs(3), |site| {
        site.import() < 8_200.0 && !site.caps(1).is_empty()
    })
    .await;
    assert_eq!(site.caps(1), [8_000.0], "the contact is read, and is no fail-safe any more");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_combination_that_cannot_be_meant_keeps_the_cap_before_it() {
    let receiver =
        RECEIVER.replace("debounce", "stages = \"one\"\ndebounce").replace("speaks_when = \"open\"", "");
    // One after the other, as it should be, then both at once, then the first alone.
    let events = speaks(0, 120, "to-8") + &speaks(7, 5, "to-0");
    let site = Site::start("127.61.6", &receiver, &events).await;
    site.eventually("the order is there", |site| site.caps(1) == [8_000.0]).await;
    site.always("nothing else counts", Duration::from_secs(10), |site| site.caps(1) == [8_000.0]).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_level_over_and_over_is_one_order() {
    let site = Site::start("127.61.7", RECEIVER, &speaks(0, 120, "to-8")).await;
    site.eventually("the order is there", |site| site.caps(1) == [8_000.0]).await;
    site.always("there is one, and it stays", Duration::from_secs(3), |site| site.caps(1) == [8_000.0]).await;
    site.stop().await;
}

#[test]
fn what_cannot_be_wired_is_refused_with_its_place() {
    assert_eq!(mistakes(RECEIVER), "");
    for (wrong, right, said) in [
        ("link = \"bord\"", "link = \"board\"", "did you mean"),
        ("", "fail_safe = \"5 kW\"", "has no `fail_safe`"),
        ("address = 0\n", "address = 1\n", "the same bit"),
        ("cap = \"8\"", "cap = \"8 kW\"", "has no unit"),
        ("lost_after = \"1s\"\nperiod = \"2s\"", "lost_after = \"2s\"", "lost before its contacts can count"),
        ("stages = \"number\"", "period = \"100ms\"", "has no `steps`"),
        ("otherwise = \"1 kW\"\nstages = \"one\"", "period = \"100ms\"", "always say something"),
        ("steps = [\"none\"]", "period = \"100ms\"", "form a number"),
        ("speaks_if = \"open\"", "speaks_when = \"open\"", "unknown key"),
    ] {
        let text = RECEIVER.replacen(right, wrong, 1);
        let said_here = mistakes(&text);
        assert!(said_here.contains(said), "{wrong}: {said_here}");
    }
    let numbers = RECEIVER
        .replace("period", "stages = \"number\"\nsteps = [\"none\", \"60 %\", \"30 %\", \"0 %\"]\nperiod")
        .replace("cap = \"8 kW\"", "")
        .replace("cap = \"2 kW\"", "");
    assert_eq!(mistakes(&numbers), "");
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_does_not_move_a_level() {
    use ballast::control::snapshot::{MeterInput, MeterStatus, Reading};
    use ballast::signal::Kind;
    use ballast::units::Watts;

    let table = signals_level::Table::new(RECEIVER, 1_800_000_000_000);
    let Kind::Contact(settings) = table.kind() else { panic!("a contact") };
    let (wire, input) = tokio::sync::watch::channel(MeterInput::PENDING);
    let task = tokio::spawn(ballast::signal::contact::run(*settings, table.context(), input));
    let read = async |bits: i32| {
        let reading = Reading { value: Watts::whole(bits), at: table.clock.now() };
        wire.send_replace(MeterInput::new(MeterStatus::Ok, Some(reading)));
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    for _ in 0..5 {
        // Both closed: the first speaks, the second rests.
        read(0b11).await;
    }
    assert_eq!(table.cap(), Some(8_000.0));
    for wall in [0, 1_700_000_000_000, 1_900_000_000_000] {
        table.set(wall);
        read(0b11).await;
        assert_eq!(table.cap(), Some(8_000.0), "{wall}");
    }
    table.set(1_700_000_000_000);
    for _ in 0..5 {
        read(0b10).await;
    }
    assert_eq!(table.cap(), None);
    // It bounces: as long as it does, nothing is heard, and then it is lost.
    for round in 0..30 {
        read(0b10 | (round % 2)).await;
    }
    assert_eq!(table.cap(), Some(5_000.0), "a contact that never rests is lost");
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
}

//! Values that are wrong although the wire is sound.

use std::time::Duration;

use ballast::control::snapshot::MeterStatus;

use super::bench::{Kind, Site, Spec, all, fault, watts};

const ONE: [Spec; 1] = [("grid", 1, 10, 12_345)];

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_is_unavailable_and_never_zero() {
    all(Kind::ALL.map(|kind| async move {
        let site = Site::start(kind, &ONE, &fault("500ms", "400ms", "grid", "fault = \"unavailable\"")).await;
        let mut reader = site.read(&ONE, |_| ());
        reader.until(0, MeterStatus::Ok).await;
        let absent = reader.until(0, MeterStatus::Unavailable).await;
        assert_eq!(watts(&absent), Some(12_345.0), "the last good one");
        reader.until(0, MeterStatus::Ok).await;
        assert_eq!((reader.reads(0, "implausible"), reader.connections()), (0, 1), "{kind:?}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_meter_loses_its_fresh_stamp() {
    // Noise shows that it lives; the fault takes that away.
    let events =
        format!("[meters.grid]\nnoise = \"1 W\"\n{}", fault("800ms", "800ms", "grid", "fault = \"frozen\""));
    let site = Site::start(Kind::Tcp, &ONE, &events).await;
    let mut reader = site.read(&ONE, |config| {
        config.meters[0].frozen_after = Some(Duration::from_millis(300));
        config.meters[0].plausible = None;
    });
    reader.until(0, MeterStatus::Ok).await;
    let frozen = reader.until(0, MeterStatus::Frozen).await;
    let stamp = frozen.power.unwrap().at;
    let later = reader.next(0).await;
    assert_eq!((later.status, later.power.unwrap().at), (MeterStatus::Frozen, stamp), "it does not advance");
    let again = reader.until(0, MeterStatus::Ok).await;
    assert!(again.power.unwrap().at > stamp);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_refresh_is_learned_and_a_lag_is_not_taken_for_it() {
    let learned = |words: &'static str| async move {
        let events = format!("[meters.grid]\nnoise = \"500 W\"\n{}", fault("0s", "1h", "grid", words));
        let site = Site::start(Kind::Tcp, &ONE, &events).await;
        let mut reader = site.read(&ONE, |config| config.meters[0].plausible = None);
        reader.until(0, MeterStatus::Ok).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        reader.meters.counters[0].refresh_period().expect("the value has changed twice")
    };
    let (slow, lagging) = tokio::join!(
        learned("fault = \"refresh\", period = \"700ms\""),
        learned("fault = \"lag\", time = \"10s\"")
    );
    assert!((400..1_100).contains(&slow.as_millis()), "{slow:?}");
    assert!(lagging.as_millis() < 250, "it refreshes as before: {lagging:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_shows_at_once_and_is_refused_where_it_is_implausible() {
    for (words, shown) in [
        ("fault = \"offset\", by = \"-500 MW\"", 12_345.0 - 500e6),
        ("fault = \"factor\", factor = -1.0", -12_345.0),
        ("fault = \"factor\", factor = 1000", 12_345_000.0),
    ] {
        let events = fault("600ms", "500ms", "grid", words);
        let (site, open) =
            tokio::join!(Site::start(Kind::Tcp, &ONE, &events), Site::start(Kind::OverTcp, &ONE, &events));
        let mut guarded = site.read(&ONE, |_| ());
        let mut open = open.read(&ONE, |config| config.meters[0].plausible = None);
        let good = guarded.until(0, MeterStatus::Ok).await;
        let refused = guarded.until(0, MeterStatus::Implausible).await;
        assert_eq!(watts(&refused), watts(&good), "{words}");
        let near = |watts: Option<f64>| watts.is_some_and(|watts| (watts - shown).abs() < shown.abs() * 1e-6);
        open.until_it(0, words, |input| near(watts(input))).await;
        guarded.until(0, MeterStatus::Ok).await;
    }
}

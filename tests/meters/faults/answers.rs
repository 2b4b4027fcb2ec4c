//! Answers that are wrong on the wire.

use ballast::control::snapshot::MeterStatus;

use super::bench::{Kind, Reader, Spec, all, fault, watts};

const ONE: [Spec; 1] = [("grid", 1, 10, 12_345)];

/// Faults of answers, on which kinds of links there are, and what a meter is then.
const BROKEN: [(&str, &[Kind], MeterStatus); 11] = [
    ("fault = \"silent\", every = 4", &Kind::ALL, MeterStatus::Unreachable),
    ("fault = \"cut-off\", every = 4", &Kind::ALL, MeterStatus::Unreachable),
    ("fault = \"reset\", every = 4", &[Kind::Tcp, Kind::OverTcp], MeterStatus::Unreachable),
    ("fault = \"slow\", delay = \"300ms\", every = 9", &Kind::ALL, MeterStatus::Unreachable),
    ("fault = \"short\", every = 4", &Kind::ALL, MeterStatus::Malformed),
    ("fault = \"wrong-count\", every = 4", &Kind::ALL, MeterStatus::Malformed),
    ("fault = \"wrong-function\", every = 4", &Kind::ALL, MeterStatus::Malformed),
    ("fault = \"wrong-unit\", every = 4", &Kind::ALL, MeterStatus::Malformed),
    ("fault = \"crossed\", every = 4", &Kind::ALL, MeterStatus::Malformed),
    ("fault = \"twice\", every = 4", &Kind::ALL, MeterStatus::Malformed),
    ("fault = \"wrong-crc\", every = 4", &[Kind::OverTcp, Kind::Pty], MeterStatus::Malformed),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_short_or_broken_answer_is_no_value_and_the_next_one_is() {
    let cases =
        BROKEN.iter().flat_map(|(words, kinds, status)| kinds.iter().map(move |k| (*words, *k, *status)));
    all(cases.map(|(words, kind, status)| async move {
        let mut reader = Reader::start(kind, &ONE, &fault("0s", "1h", "grid", words)).await;
        for round in 0..3 {
            let good = reader.until(0, MeterStatus::Ok).await;
            assert_eq!(watts(&good), Some(12_345.0), "{words}, {kind:?}, round {round}");
            let bad = reader.until_it(0, words, |input| input.status != MeterStatus::Ok).await;
            assert_eq!(bad.status, status, "{words}, {kind:?}, round {round}");
            let kept = bad.power.unwrap();
            assert!(
                (kept.value.get() - 12_345.0).abs() < 0.5 && kept.at >= good.power.unwrap().at,
                "{words}"
            );
        }
        assert_eq!(reader.reads(0, "implausible"), 0, "{words}, {kind:?}");
        assert!(reader.connections() >= 3, "{words}, {kind:?}: the connection is dropped each time");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exceptions_are_told_apart_and_keep_the_connection() {
    const CODES: [(u8, &str); 9] = [
        (1, "configuration"),
        (2, "configuration"),
        (3, "configuration"),
        (4, "device"),
        (5, "transient"),
        (6, "transient"),
        (8, "device"),
        (10, "transient"),
        (11, "transient"),
    ];
    let cases = CODES.into_iter().flat_map(|code| Kind::ALL.map(|kind| (code, kind)));
    all(cases.map(|((code, sort), kind)| async move {
        let words = format!("fault = \"exception\", code = {code}");
        let mut reader = Reader::start(kind, &ONE, &fault("500ms", "400ms", "grid", &words)).await;
        reader.until(0, MeterStatus::Ok).await;
        let refused = reader.until(0, MeterStatus::Exception(code)).await;
        assert_eq!(watts(&refused), Some(12_345.0), "{code}: the last good one");
        reader.until(0, MeterStatus::Ok).await;
        assert_eq!(reader.connections(), 1, "{code}, {kind:?}");
        let counted = reader.meters.counters[0].exceptions();
        for (name, count) in counted {
            assert_eq!(count > 0, name == sort, "{code}, {kind:?}: {counted:?}");
        }
    }))
    .await;
}

//! The desk of a machine that stands by, and what it takes over from the one that leads.

use crate::signals_bench;

use std::time::Duration;

use ballast::clock::Moment;
use ballast::control::signal::{SourceState, Wall};
use ballast::signal::glance::Giver;
use ballast::signal::mirror::DeskCopy;
use ballast::signal::record::Stage;
use signals_bench::{Folder, Hands, UTILITY, desk, import, let_go, order, site, source};

/// A copy as it comes over the wire.
fn sent(copy: &DeskCopy) -> DeskCopy {
    serde_json::from_str(&serde_json::to_string(copy).unwrap()).unwrap()
}

#[tokio::test]
async fn the_second_desk_obeys_what_the_first_one_was_told_and_knows_who_told_it() {
    let (folder, other, hands) = (Folder::new(), Folder::new(), Hands::new());
    let config = site(&["hall"], UTILITY);
    let one = desk(&config, &folder.database(), &hands);
    let two = desk(&config, &other.database(), &hands);
    let utility = source(&one, "utility");
    one.give(utility, order("a", 80.0, hands.wall(), None)).await.unwrap();
    let giver = Giver { id: "b".into(), by: Some("shift".into()), remark: None };
    one.give_sent(utility, order("b", 60.0, hands.wall(), None), None, Some(giver)).await.unwrap();
    assert_eq!(import(&one), Some(60.0));
    assert!(two.mirror(sent(&one.copy())).strange.is_empty());
    assert_eq!(import(&two), Some(60.0));
    assert_eq!(two.views()[1].as_ref().unwrap().state, one.views()[1].as_ref().unwrap().state);
    let record = two.records().into_iter().find(|record| &*record.id == "b").unwrap();
    assert_eq!(record.by.as_deref(), Some("shift"));

    // What is taken back there is over here, and an older version of it does not come back.
    one.take_back(utility, "b", None).await.unwrap();
    two.mirror(sent(&one.copy()));
    assert_eq!(import(&two), Some(80.0));
    let record = two.records().into_iter().find(|record| &*record.id == "b").unwrap();
    assert_eq!(record.stage, Stage::Ended);
    let utility = source(&two, "utility");
    two.give(utility, order("b", 50.0, hands.wall(), None)).await.ok();
    assert_eq!(import(&two), Some(80.0), "the same version again");

    // And it is on disk there.
    two.beat().await;
    drop(two);
    let_go(&other.database());
    let three = desk(&config, &other.database(), &hands);
    assert_eq!(three.records().iter().filter(|record| record.stage != Stage::Ended).count(), 1);
}

#[tokio::test]
async fn a_source_that_is_lost_there_is_lost_here_and_its_caps_stand() {
    let (folder, other, hands) = (Folder::new(), Folder::new(), Hands::new());
    let config = site(&["hall"], UTILITY);
    let one = desk(&config, &folder.database(), &hands);
    let two = desk(&config, &other.database(), &hands);
    let utility = source(&one, "utility");
    one.give(utility, order("a", 50.0, hands.wall(), None)).await.unwrap();
    assert_eq!(import(&one), Some(50.0));
    // As it would say long after it was heard last.
    let mut copy = sent(&one.copy());
    let lost = copy.sources.iter_mut().find(|source| &*source.name == "utility").unwrap();
    (lost.heard_ms, lost.in_control) = (Some(3_600_000), false);
    two.mirror(copy);
    assert_eq!(import(&two), Some(50.0), "the lower of the fail-safe and what was in force");
    assert_ne!(two.views()[1].as_ref().unwrap().state, SourceState::Limited);
}

#[tokio::test]
async fn the_time_of_an_order_is_counted_on_and_no_clock_of_the_other_machine_moves_it() {
    let (folder, other, hands) = (Folder::new(), Folder::new(), Hands::new());
    let config = site(&["hall"], UTILITY);
    let one = desk(&config, &folder.database(), &hands);
    let two = desk(&config, &other.database(), &hands);
    let begins = hands.wall();
    let utility = source(&one, "utility");
    one.give(utility, order("a", 50.0, begins, Some(begins.later(Duration::from_secs(600))))).await.unwrap();
    one.look();
    let mut copy = sent(&one.copy());
    // A scale that began somewhere else.
    let far = |wall: Wall| wall.later(Duration::from_secs(86_400 * 400));
    copy.steady = far(copy.steady);
    for stored in copy.sources.iter_mut().flat_map(|source| &mut source.kept.orders) {
        let begun = stored.held.begun.as_mut().unwrap();
        begun.steady = far(begun.steady);
    }
    two.mirror(copy);
    let begun = |desk: &ballast::signal::Desk| desk.held(source(desk, "utility"))[0].begun.unwrap();
    let apart =
        begun(&one).steady.since(begun(&two).steady).max(begun(&two).steady.since(begun(&one).steady));
    assert!(apart < Duration::from_secs(2), "{apart:?}");
    assert!(two.moment() >= Moment::START);
}

#[tokio::test]
async fn what_the_second_site_does_not_have_is_told_and_the_rest_counts() {
    let (folder, other, hands) = (Folder::new(), Folder::new(), Hands::new());
    let one = desk(&site(&["hall"], UTILITY), &folder.database(), &hands);
    let two = desk(&site(&["hall"], UTILITY), &other.database(), &hands);
    let utility = source(&one, "utility");
    one.give(utility, order("a", 50.0, hands.wall(), None)).await.unwrap();
    let mut copy = sent(&one.copy());
    let mut more = copy.sources[1].clone();
    more.name = "nobody".into();
    copy.sources.push(more);
    let taken = two.mirror(copy);
    assert_eq!(taken.strange, ["source nobody"]);
    assert_eq!(import(&two), Some(50.0));
}

//! The uses of one grant over two sidecars.

use super::bench::*;
use crate::control::feed::FeedLimits;
use crate::domain::GrantId;
use crate::wire::feed::{EndCause, FromControl, FromSidecar, Subscribe};

async fn share(sidecar: &mut Sidecar) -> u32 {
    let heard = sidecar.hear_until(|line| matches!(line, FromControl::Share { .. })).await;
    match heard.last() {
        Some(FromControl::Share { allotted, .. }) => *allotted,
        _ => unreachable!(),
    }
}

async fn returns(sidecar: &mut Sidecar, grant: &GrantId, spent: u32) -> u32 {
    let heard = sidecar.hear_until(|line| matches!(line, FromControl::ShareRecall { .. })).await;
    let Some(FromControl::ShareRecall { keep, .. }) = heard.last() else { unreachable!() };
    let allotted = spent.max(*keep);
    sidecar.say(FromSidecar::ShareReturned { grant: grant.clone(), allotted }).await;
    allotted
}

#[tokio::test]
async fn one_sidecar_gets_all_and_uses_it_up() {
    let bench = bench(FeedLimits::default()).await;
    let (mut sidecar, _) = bench.sidecar(subscribe("one")).await;
    let (grant, _) = bench.grant(1, 2).await;
    assert_eq!(share(&mut sidecar).await, 2);
    sidecar.say(FromSidecar::Spent { grant: grant.clone(), spent: 2 }).await;
    let heard = sidecar.hear_until(|line| matches!(line, FromControl::Tombstone { .. })).await;
    assert!(
        matches!(heard.last(), Some(FromControl::Tombstone { grant: g, cause: EndCause::UsedUp, .. }) if *g == grant)
    );
    bench.stop().await;
}

#[tokio::test]
async fn uses_move_after_they_were_handed_back() {
    let bench = bench(FeedLimits::default()).await;
    let (mut one, _) = bench.sidecar(subscribe("one")).await;
    let (mut two, _) = bench.sidecar(subscribe("two")).await;
    let (grant, _) = bench.grant(1, 5).await;
    assert_eq!((share(&mut one).await, share(&mut two).await), (3, 2));
    two.say(FromSidecar::Spent { grant: grant.clone(), spent: 2 }).await;
    two.say(FromSidecar::ShareWanted { grant: grant.clone() }).await;
    let kept = returns(&mut one, &grant, 0).await;
    assert_eq!(kept, 1);
    assert_eq!((share(&mut one).await, share(&mut two).await), (1, 4), "both are told what stands");
    let held: u32 = bench.store.shares_of(&grant).await.unwrap().iter().map(|share| share.allotted).sum();
    assert_eq!(held, 5);
    bench.stop().await;
}

#[tokio::test]
async fn a_single_use_goes_where_it_is_wanted() {
    let bench = bench(FeedLimits::default()).await;
    let (mut one, _) = bench.sidecar(subscribe("one")).await;
    let (mut two, _) = bench.sidecar(subscribe("two")).await;
    let (grant, _) = bench.grant(1, 1).await;
    assert_eq!(share(&mut one).await, 1);
    two.say(FromSidecar::ShareWanted { grant: grant.clone() }).await;
    assert_eq!(returns(&mut one, &grant, 0).await, 0);
    assert_eq!(share(&mut two).await, 1);
    bench.stop().await;
}

#[tokio::test]
async fn an_answer_nobody_asked_for_moves_nothing() {
    let bench = bench(FeedLimits::default()).await;
    let (mut one, _) = bench.sidecar(subscribe("one")).await;
    let (grant, _) = bench.grant(1, 5).await;
    assert_eq!(share(&mut one).await, 5);
    one.say(FromSidecar::ShareReturned { grant: grant.clone(), allotted: 0 }).await;
    one.ping(1).await;
    assert_eq!(bench.store.shares_of(&grant).await.unwrap()[0].allotted, 5);
    bench.stop().await;
}

#[tokio::test]
async fn a_lineage_keeps_its_share_and_its_spending_over_streams() {
    let bench = bench(FeedLimits::default()).await;
    let (mut one, _) = bench.sidecar(subscribe("one")).await;
    let (grant, _) = bench.grant(1, 3).await;
    assert_eq!(share(&mut one).await, 3);
    drop(one);
    let spent = [(grant.clone(), 2)].into();
    let (_one, beginning) = bench.sidecar(Subscribe { spent, ..subscribe("one") }).await;
    assert!(beginning.iter().any(|line| matches!(line, FromControl::Share { allotted: 3, .. })), "{beginning:?}");
    assert_eq!(bench.store.shares_of(&grant).await.unwrap()[0].spent, 2);
    bench.stop().await;
}

//! A database that the first schema made, with rows in it, opened by this version.

use super::bench::{Bench, Place, count, first_schema, on_both_databases, raw};
use super::lifecycle::person;
use super::*;
use crate::token::claims::GrantClaims;

on_both_databases! {
    rows_of_the_first_schema_are_brought_along,
}

/// One request with its grant, as the first version wrote them.
fn rows(n: u64, state: &str) -> String {
    let new = new_grant(n, 3);
    let grant = grant(&new);
    let claims = serde_json::to_string(&GrantClaims::of(grant, "https://control.test")).unwrap();
    let (id, at) = (&new.record.elevation.id, NOW.unix_ms());
    let ended = if state == "active" { "NULL".to_owned() } else { at.to_string() };
    let body = serde_json::json!({
        "role": "payments.override", "resources": ["contract/C-1042"], "actions": ["payment.release"],
        "reason": "stuck_payment", "ticket": "INC-2041", "duration_s": 900,
    });
    format!(
        "INSERT INTO elevations (id, service, person, tier, state, at_ms, body) \
         VALUES ('{id}', 'payments-demo', 'alice@example.test', 'oncall', 'approved', {at}, '{body}'); \
         INSERT INTO grants (id, elevation, service, person, state, expires_ms, max_uses, claims, token, revision, \
         changed_ms, ended_ms) VALUES ('{}', '{id}', 'payments-demo', 'alice@example.test', '{state}', {}, 3, \
         '{claims}', 'token-{n}', {n}, {at}, {ended}); \
         INSERT INTO changes (revision, at_ms, service, kind, body) VALUES ({n}, {at}, 'payments-demo', 'put', \
         '{{\"kind\":\"put\",\"grant\":\"{}\"}}'); \
         INSERT INTO once_keys (person, key, digest, elevation, at_ms) \
         VALUES ('alice@example.test', 'k-{n}', 'd', '{id}', {at});",
        grant.id,
        grant.expires.unix_ms(),
        grant.id,
    )
}

async fn rows_of_the_first_schema_are_brought_along(bench: Bench) {
    let Bench { clock, place, store } = bench;
    store.close().await;
    let place = match place {
        Place::Folder(_) => Bench::sqlite_place(),
        Place::Server(_) => Bench::postgres_place(),
    };
    let counters = "UPDATE counters SET value = 2 WHERE name = 'revision';";
    first_schema(&place, &format!("{}{}{counters}", rows(1, "active"), rows(2, "revoked"))).await;
    for opening in 1..=2 {
        let store = place.open(&clock).await.unwrap();
        let record = store.elevation(&ElevationId::from_random(1)).await.unwrap().unwrap();
        let expected = ElevationRecord { admitted_by: None, ..new_grant(1, 3).record };
        assert_eq!(record, expected, "opening {opening}: it says what its grant said");
        let live = store.grant(&GrantId::from_random(1)).await.unwrap().unwrap();
        assert_eq!(
            (live.tier.as_str(), live.state, live.review.state),
            ("oncall", GrantState::Active, ReviewState::None)
        );
        let ended = store.grant(&GrantId::from_random(2)).await.unwrap().unwrap();
        assert_eq!((ended.state, ended.review.state), (GrantState::Revoked, ReviewState::None), "nobody is asked back");
        let resource = Listing { resource: Some("contract/C-1042".parse().unwrap()), limit: 10, ..Listing::default() };
        assert_eq!(store.grants(&resource).await.unwrap().items.len(), 2);
        assert_eq!(store.elevations(&resource).await.unwrap().items.len(), 2);
        assert_eq!(count(&store, "scope_items").await, 8);
        let key = OnceKey { key: "k-1".into(), operation: Operation::Request, digest: "d".into() };
        let kept = store.kept(&person("alice@example.test"), &key).await.unwrap();
        assert_eq!(kept, Some(Kept::Before(ElevationId::from_random(1).to_string())));
        assert_eq!(store.snapshot(&service()).await.unwrap().tokens.len(), 1);
        store.close().await;
    }
    let store = place.open(&clock).await.unwrap();
    store.revoke(&GrantId::from_random(1), &person("bob"), None).await.unwrap();
    let review = store.grant(&GrantId::from_random(1)).await.unwrap().unwrap().review;
    assert_eq!(review.state, ReviewState::Due, "what was live is reviewed");
    raw(&store, "UPDATE elevations SET body = 'x' WHERE tier = 'oncall'".to_owned()).await;
    store.elevation(&ElevationId::from_random(1)).await.unwrap_err();
}

//! Pages, filters, and what spares a caller who has seen it.

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde_json::{Value, json};

use super::bench::{Bench, NOW_S, bearer, problem, request};
use crate::http::Answer;
use crate::wire::api::{ElevationView, GrantView, Page};

fn ids(answer: &Answer) -> Vec<String> {
    let page: Page<Value> = answer.json().unwrap();
    page.items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pages_follow_each_other_by_their_links() {
    let bench = Bench::start().await;
    let alice = bench.alice();
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(bench.granted(&alice, &request(json!({}))).await.grant.unwrap().id.to_string());
    }
    made.reverse();
    let (mut found, mut path) = (Vec::new(), "/v1/grants?limit=2&service=payments-demo".to_owned());
    let mut pages = 0;
    loop {
        let answer = bench.get(&alice, &path).await;
        found.extend(ids(&answer));
        pages += 1;
        if pages == 1 {
            // What comes in between is before the first page, and moves none of the others.
            bench.granted(&alice, &request(json!({}))).await;
        }
        let page: Page<GrantView> = answer.json().unwrap();
        let link = answer.headers.get(header::LINK).map(|link| link.to_str().unwrap().to_owned());
        assert_eq!(link.is_some(), page.next.is_some());
        let Some(link) = link else { break };
        let target = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        assert!(target.ends_with(&format!("cursor={}", page.next.unwrap())), "{target}");
        path = target.to_owned();
    }
    assert_eq!((found, pages), (made, 3));
    let foreign = path.replace("service=payments-demo&", "");
    assert_eq!(problem(&bench.get(&alice, &foreign).await).code, "malformed_request", "a cursor of another query");
    bench.running.stop().await;
}

#[tokio::test]
async fn every_filter_narrows() {
    let bench = Bench::start().await;
    let alice = bench.alice();
    let one = json!({"resources": ["contract/C-1042"], "actions": ["payment.release"], "ticket": "INC-1"});
    let other = json!({"resources": ["contract/C-7", "contract/C-8"], "actions": ["payment.cancel"], "ticket": "INC-2",
        "reason": "customer_harm"});
    let one = bench.granted(&alice, &request(one)).await;
    bench.clock.advance(std::time::Duration::from_secs(60));
    let other = bench.granted(&alice, &request(other)).await;
    let later = (NOW_S + 60) * 1000;
    let auditor = bench.token("ann", &["auditors"], json!({}));
    for (query, hits) in [
        ("".to_owned(), 2),
        ("resource=contract/C-1042".to_owned(), 1),
        ("resource=contract/C-8&action=payment.cancel".to_owned(), 1),
        ("resource=contract/C-8&action=payment.release".to_owned(), 0),
        ("reason=customer_harm".to_owned(), 1),
        ("ticket=INC-1".to_owned(), 1),
        (format!("since_at={later}"), 1),
        (format!("before_at={later}"), 1),
        (format!("since_at={later}&before_at={later}"), 0),
        ("person=alice".to_owned(), 2),
        ("person=bob".to_owned(), 0),
        ("mine=true".to_owned(), 0),
    ] {
        for list in ["grants", "elevations"] {
            let answer = bench.get(&auditor, &format!("/v1/{list}?{query}")).await;
            assert_eq!(answer.status, 200, "{query}");
            assert_eq!(ids(&answer).len(), hits, "{list}: {query}");
        }
    }
    let answer = bench.get(&alice, "/v1/elevations?state=approved&ticket=INC-2").await;
    assert_eq!(ids(&answer), [other.id.to_string()]);
    let answer = bench.get(&alice, "/v1/grants?state=active&ticket=INC-1").await;
    assert_eq!(ids(&answer), [one.grant.unwrap().id.to_string()]);
    assert!(ids(&bench.get(&alice, "/v1/grants?state=revoked").await).is_empty());
    let mallory = bench.token("mallory", &["payments-oncall"], json!({}));
    assert!(ids(&bench.get(&mallory, "/v1/grants?person=alice").await).is_empty());
    bench.running.stop().await;
}

#[tokio::test]
async fn who_has_seen_it_is_told_so_until_it_changes() {
    let bench = Bench::start().await;
    let alice = bench.alice();
    let view: ElevationView = bench.granted(&alice, &request(json!({}))).await;
    let grant = view.grant.unwrap();
    let ask = async |path: &str, tag: &HeaderValue| {
        let mut headers = bearer(&alice);
        headers.insert(header::IF_NONE_MATCH, tag.clone());
        bench.call(Method::GET, path, headers, Bytes::new()).await
    };
    let paths = [
        format!("/v1/grants/{}", grant.id),
        format!("/v1/elevations/{}", view.id),
        format!("/v1/grants/{}/enforcement", grant.id),
    ];
    let mut tags = Vec::new();
    for path in &paths {
        let tag = bench.get(&alice, path).await.headers[header::ETAG].clone();
        let again = ask(path, &tag).await;
        assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{path}");
        assert_eq!(again.headers[header::ETAG], tag);
        let listed = format!("\"other\", W/{}", tag.to_str().unwrap());
        assert_eq!(ask(path, &HeaderValue::try_from(listed).unwrap()).await.status, 304, "{path}");
        tags.push(tag);
    }
    bench.post(&alice, &format!("/v1/grants/{}/revoke", grant.id), &json!({})).await;
    for (path, tag) in paths.iter().zip(&tags) {
        let changed = ask(path, tag).await;
        assert_eq!(changed.status, 200, "{path}");
        assert_ne!(changed.headers[header::ETAG], tag, "{path}");
    }
    let public = bench.get(&alice, "/v1/services/payments-demo/options").await.headers[header::ETAG].clone();
    assert_eq!(ask("/v1/services/payments-demo/options", &public).await.status, 304);
    let mallory = bench.token("mallory", &["payments-oncall"], json!({}));
    let mut headers = bearer(&mallory);
    headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
    let foreign = bench.call(Method::GET, &paths[0], headers, Bytes::new()).await;
    assert_eq!(problem(&foreign).code, "not_found", "a tag opens nothing");
    bench.running.stop().await;
}

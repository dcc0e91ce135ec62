//! Who and what is not let in, and what they are told.

use http::{Method, StatusCode};
use tokio::sync::mpsc;

use super::bench::*;
use crate::control::feed::FeedLimits;
use crate::wire::feed::{CONTENT_TYPE, FromControl, FromSidecar, PATH};

#[tokio::test]
async fn without_a_client_certificate_there_is_no_answer() {
    let bench = bench(FeedLimits::default()).await;
    // TLS 1.3 tells the client only after its own side of the handshake: then the first exchange fails.
    let refused = match bench.connect(None, 1 << 20).await {
        Err(_) => true,
        Ok(client) => client.driver.await.unwrap().is_err(),
    };
    assert!(refused);
    bench.stop().await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_no_certificate() {
    let bench = bench(FeedLimits::default()).await;
    let foreign = Authority::new().client(&["spiffe://bank.test/sidecar/payments"]);
    let refused = match bench.connect(Some(foreign), 1 << 20).await {
        Err(_) => true,
        Ok(client) => client.driver.await.unwrap().is_err(),
    };
    assert!(refused);
    bench.stop().await;
}

#[tokio::test]
async fn another_service_is_refused_before_anything_is_said() {
    let bench = bench(FeedLimits::default()).await;
    bench.grant(1, 0).await;
    let client = bench.client_of("spiffe://bank.test/sidecar/limits").await;
    let problem = client.subscribe(subscribe("one")).await.map(|_| ()).unwrap_err();
    assert_eq!((problem.status, problem.code.as_str()), (403, "feed_foreign_service"));
    assert_eq!(bench.hub.connected(), 0);
    bench.stop().await;
}

#[tokio::test]
async fn a_certificate_that_names_no_sidecar_or_two_is_refused() {
    let bench = bench(FeedLimits::default()).await;
    for uris in [
        &["spiffe://bank.test/control/payments"][..],
        &["spiffe://bank.test/sidecar/payments", "spiffe://bank.test/sidecar/limits"],
        &[],
    ] {
        let client = bench.connect(Some(bench.authority.client(uris)), 1 << 20).await.unwrap();
        let problem = client.subscribe(subscribe("one")).await.map(|_| ()).unwrap_err();
        assert_eq!((problem.status, problem.code.as_str()), (403, "feed_certificate"), "{uris:?}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn what_is_not_the_feed_is_a_problem_and_the_connection_stays_usable() {
    let bench = bench(FeedLimits::default()).await;
    let mut client = bench.client().await;
    for (method, path, content_type, status) in [
        (Method::POST, "/feed/v2", CONTENT_TYPE, StatusCode::NOT_FOUND),
        (Method::GET, PATH, CONTENT_TYPE, StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, PATH, "application/json", StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ] {
        let (_, body) = mpsc::channel(1);
        let response = client.request(method, path, content_type, body).await.unwrap();
        assert_eq!(response.status(), status);
        problem(response).await;
    }
    assert!(client.subscribe(subscribe("one")).await.is_ok());
    bench.stop().await;
}

#[tokio::test]
async fn a_first_line_that_is_no_subscribe_is_refused() {
    let bench =
        bench(FeedLimits { first_line_wait_max: std::time::Duration::from_millis(100), ..Default::default() }).await;
    let mut client = bench.client().await;
    for (first, status) in [
        (&b"{\"kind\":\"ping\",\"n\":1}\n"[..], 400),
        (b"{\"kind\":\"unheard of\"}\n", 400),
        (b"no JSON at all\n", 400),
        (&[b'['; 100_000], 400),
        (b"{\"kind\":", 408),
    ] {
        let (say, body) = mpsc::channel(1);
        say.send(first.to_vec().into()).await.unwrap();
        let problem = problem(client.request(Method::POST, PATH, CONTENT_TYPE, body).await.unwrap()).await;
        assert_eq!((problem.status, problem.code.as_str()), (status, "feed_subscribe"));
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_broken_line_ends_the_stream_with_its_reason() {
    let bench = bench(FeedLimits::default()).await;
    for (said, reason) in [
        (&b"{\"kind\":\"poke\"}\n"[..], "line 2 is not one of this protocol"),
        (
            b"{\"kind\":\"ack\",\"revision\":99,\"audit\":{\"log_id\":\"\",\"sequence\":0,\"head\":\"\"}}\n",
            "revision 99 was",
        ),
    ] {
        let (mut sidecar, _) = bench.sidecar(subscribe("one")).await;
        sidecar.say_raw(said).await;
        let Some(FromControl::Resync { why }) = sidecar.hear().await else { panic!("no reason") };
        assert!(why.starts_with(reason), "{why}");
        assert_eq!(sidecar.hear().await, None);
    }
    bench.stop().await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_asked_to_come_later() {
    let bench = bench(FeedLimits { sessions_max: 1, ..Default::default() }).await;
    let (_one, _) = bench.sidecar(subscribe("one")).await;
    let problem = bench.client().await.subscribe(subscribe("two")).await.map(|_| ()).unwrap_err();
    assert_eq!((problem.status, problem.code.as_str()), (503, "feed_full"));
    bench.stop().await;
}

#[tokio::test]
async fn one_audit_folder_serves_one_instance_at_a_time() {
    let bench = bench(FeedLimits::default()).await;
    let (_one, _) = bench.sidecar(subscribe("one")).await;
    let mut other = subscribe("two");
    other.lineage = subscribe("one").lineage;
    let problem = bench.client().await.subscribe(other).await.map(|_| ()).unwrap_err();
    assert_eq!((problem.status, problem.code.as_str()), (409, "feed_lineage_in_use"));
    bench.stop().await;
}

#[tokio::test]
async fn a_newer_stream_of_an_instance_ends_the_older() {
    let bench = bench(FeedLimits::default()).await;
    let (mut old, _) = bench.sidecar(subscribe("one")).await;
    let (mut new, _) = bench.sidecar(subscribe("one")).await;
    assert!(matches!(old.hear().await, Some(FromControl::Resync { .. })));
    assert_eq!(old.hear().await, None);
    new.ping(1).await;
    assert_eq!(bench.hub.connected(), 1);
    new.say(FromSidecar::Ping { n: 2, at: None }).await;
    bench.stop().await;
}

//! What a good proxy leaves as it is: lengths, ranges, trailers, conditions, failures (RFC 9110, RFC 9112).

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;

use crate::harness::{Answer, Ask, ByHand, Line, Raw, SidecarFile, Site, TestSidecar, h2_request, raw_request, whole};

async fn before(upstream: &ByHand) -> (Site, TestSidecar) {
    let site = Site::start().await;
    let file = SidecarFile {
        upstream: Some(upstream.url()),
        // One pool of upstream connections.
        workers: 1,
        ..SidecarFile::default()
    };
    let sidecar = site.sidecar_with(&file).await;
    (site, sidecar)
}

/// Client, upstream and what stands between them, with a first exchange done so that both connections are kept.
async fn kept(upstream: &ByHand, sidecar: &TestSidecar) -> (Raw, Line) {
    let mut raw = sidecar.raw().await;
    raw.write(&raw_request("GET", "/v1/first", &[], "")).await;
    let (mut line, _) = upstream.request().await;
    line.write(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 204);
    (raw, line)
}

/// One exchange on kept connections.
async fn exchange(raw: &mut Raw, line: &mut Line, request: &[u8], said: &[u8]) -> (String, Answer) {
    raw.write(request).await;
    let head = line.head().await.head;
    line.write(said).await;
    (head, raw.answer().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_a_body_keeps_its_length_and_its_connection() {
    let upstream = ByHand::start().await;
    let (_site, sidecar) = before(&upstream).await;
    let (mut raw, mut line) = kept(&upstream, &sidecar).await;
    raw.write(&raw_request("HEAD", "/v1/head", &[], "")).await;
    line.head().await;
    line.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4711\r\nETag: \"a\"\r\n\r\n").await;
    let (status, headers) = raw.head().await.unwrap();
    let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!((status, find("content-length"), find("etag")), (200, Some("4711"), Some("\"a\"")));
    raw.write(&raw_request("GET", "/v1/condition", &[("If-None-Match", "\"a\"")], "")).await;
    line.head().await;
    line.write(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4711\r\nETag: \"a\"\r\nVary: Accept\r\n\r\n").await;
    let (status, headers) = raw.head().await.unwrap();
    let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!((status, find("content-length"), find("etag")), (304, Some("4711"), Some("\"a\"")), "{headers:?}");
    let (_, last) = exchange(
        &mut raw,
        &mut line,
        &raw_request("DELETE", "/v1/gone", &[], ""),
        b"HTTP/1.1 204 No Content\r\nX-Kept: 1\r\n\r\n",
    )
    .await;
    assert_eq!((last.status, last.header("x-kept"), last.header("content-length")), (204, Some("1"), None));
    let mut h2 = sidecar.h2().await;
    for (method, said) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 4711\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4711\r\n\r\n"),
    ] {
        let request = h2_request(method, "/v1/none", &[], "");
        let (response, ()) = tokio::join!(h2.begin(request), async {
            line.head().await;
            line.write(said.as_bytes()).await;
        });
        let answer = whole(response.unwrap()).await;
        assert_eq!((answer.header("content-length"), answer.body.len()), (Some("4711"), 0), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_and_conditions_pass_untouched() {
    let upstream = ByHand::start().await;
    let (_site, sidecar) = before(&upstream).await;
    let (mut raw, mut line) = kept(&upstream, &sidecar).await;
    let asked = [("Range", "bytes=0-1,4-5"), ("If-Range", "\"a\"")];
    let parts =
        "--b\r\nContent-Range: bytes 0-1/6\r\n\r\nab\r\n--b\r\nContent-Range: bytes 4-5/6\r\n\r\nef\r\n--b--\r\n";
    let said = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=b\r\nAccept-Ranges: bytes\r\n\
         Content-Length: {}\r\n\r\n{parts}",
        parts.len()
    );
    let (head, answer) = exchange(&mut raw, &mut line, &raw_request("GET", "/v1/a", &asked, ""), said.as_bytes()).await;
    assert!(head.contains("range: bytes=0-1,4-5\r\n") && head.contains("if-range: \"a\"\r\n"), "{head}");
    assert_eq!((answer.status, answer.body.as_slice()), (206, parts.as_bytes()));
    assert_eq!(answer.header("content-type"), Some("multipart/byteranges; boundary=b"));
    let said = b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */6\r\nContent-Length: 0\r\n\r\n";
    let (_, answer) = exchange(&mut raw, &mut line, &raw_request("GET", "/v1/a", &asked[..1], ""), said).await;
    assert_eq!((answer.status, answer.header("content-range")), (416, Some("bytes */6")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_pass_both_ways() {
    let upstream = ByHand::start().await;
    let (_site, sidecar) = before(&upstream).await;
    let (mut raw, mut line) = kept(&upstream, &sidecar).await;
    raw.write(
        b"POST /v1/sum HTTP/1.1\r\nHost: localhost\r\nTE: deflate, Trailers\r\nConnection: TE\r\nTrailer: X-Sum\r\n\
          Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n",
    )
    .await;
    let head = line.head().await;
    assert_eq!((head.header("te"), head.header("connection")), (Some("trailers"), Some("te")), "{}", head.head);
    assert_eq!(head.header("trailer"), Some("X-Sum"));
    assert_eq!(line.until(b"\r\n\r\n").await, b"4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n");
    let said =
        b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n";
    line.write(said).await;
    let (_, headers) = raw.head().await.unwrap();
    assert!(headers.contains(&("trailer".to_owned(), "X-Sum".to_owned())), "{headers:?}");
    assert_eq!(raw.take(22).await.unwrap(), b"2\r\nok\r\n0\r\nx-sum: 2\r\n\r\n");
    // A client that did not say it takes trailers gets none.
    raw.write(&raw_request("GET", "/v1/sum", &[], "")).await;
    line.head().await;
    line.write(said).await;
    raw.head().await.unwrap();
    assert_eq!(raw.take(12).await.unwrap(), b"2\r\nok\r\n0\r\n\r\n");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "3".parse().unwrap());
    let frames = [Frame::data(Bytes::from_static(b"body")), Frame::trailers(trailers)];
    let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok))).boxed();
    let mut request = h2_request("POST", "/v1/sum", &[("te", "trailers"), ("trailer", "x-sum")], "").map(|_| body);
    *request.version_mut() = http::Version::HTTP_2;
    let mut h2 = sidecar.h2().await;
    let (response, ()) = tokio::join!(h2.begin(request), async {
        line.head().await;
        assert_eq!(line.until(b"\r\n\r\n").await, b"4\r\nbody\r\n0\r\nx-sum: 3\r\n\r\n");
        line.write(said).await;
    });
    let whole = response.unwrap().into_body().collect().await.unwrap();
    assert_eq!(whole.trailers().unwrap()["x-sum"], "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_grant_trailers_end_both_bodies() {
    let upstream = ByHand::start().await;
    let (site, sidecar) = before(&upstream).await;
    sidecar.until_overrides().await;
    let grant = site.grant(&Ask::default()).await;
    let identity = site.identity("alice");
    let head = format!(
        "POST /v1/contracts/C-1042/echo HTTP/1.1\r\nHost: localhost\r\nBreak-Glass: {}\r\n\
         Break-Glass-Identity: {identity}\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n",
        grant.id
    );
    let mut raw = sidecar.raw().await;
    raw.write(format!("{head}4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n").as_bytes()).await;
    let (mut line, _) = upstream.request().await;
    line.until(b"x-sum: 1\r\n\r\n").await;
    line.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n").await;
    assert_eq!(raw.answer().await.body, b"ok");
    let outcome = sidecar.until_facts("outcome", 1).await.remove(0);
    assert_eq!((outcome["end"].as_str(), outcome["status"].as_u64()), (Some("completed"), Some(200)), "{outcome}");
    assert_eq!((outcome["request"]["bytes"].as_u64(), outcome["response"]["bytes"].as_u64()), (Some(4), Some(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_side_keeps_its_own_connections() {
    let upstream = ByHand::start().await;
    let (_site, sidecar) = before(&upstream).await;
    let (mut raw, mut line) = kept(&upstream, &sidecar).await;
    let closing = b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok";
    let (_, answer) = exchange(&mut raw, &mut line, &raw_request("GET", "/v1/a", &[], ""), closing).await;
    assert_eq!((answer.status, answer.header("connection"), answer.header("x-hop")), (200, None, None));
    raw.write(&raw_request("GET", "/v1/b", &[], "")).await;
    let (mut line, _) = upstream.request().await;
    line.write(b"HTTP/1.0 200 OK\r\n\r\nuntil the end").await;
    line.finish().await;
    let answer = raw.answer().await;
    assert_eq!((answer.header("transfer-encoding"), answer.body.as_slice()), (Some("chunked"), &b"until the end"[..]));
    let mut old = sidecar.raw().await;
    old.write(b"GET /v1/c HTTP/1.0\r\n\r\n").await;
    let (mut line, head) = upstream.request().await;
    assert_eq!((head.request_line(), head.header("via")), ("GET /v1/c HTTP/1.1", Some("1.0 breakglass")));
    line.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nchunk\r\n0\r\n\r\n").await;
    let answer = old.answer().await;
    assert_eq!((answer.header("transfer-encoding"), answer.body.as_slice()), (None, &b"chunk"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_pass_byte_for_byte() {
    let upstream = ByHand::start().await;
    let (_site, sidecar) = before(&upstream).await;
    let (mut raw, mut line) = kept(&upstream, &sidecar).await;
    let long = "v".repeat(20_000);
    let mut request = format!(
        "GET /v1/a?b=%7e+%2F HTTP/1.1\r\nHost: localhost\r\nX-Long: {long}\r\nX-Twice: 1\r\nX-Twice: 2\r\nX-Text: "
    )
    .into_bytes();
    request.extend_from_slice(b"caf\xe9 \xff\r\n\r\n");
    raw.write(&request).await;
    let head = line.until(b"\r\n\r\n").await;
    let has = |bytes: &[u8]| head.windows(bytes.len()).any(|window| window == bytes);
    assert!(has(b"GET /v1/a?b=%7e+%2F HTTP/1.1\r\n") && has(b"x-text: caf\xe9 \xff\r\n"));
    assert!(has(format!("x-long: {long}\r\n").as_bytes()) && has(b"x-twice: 1\r\nx-twice: 2\r\n"));
    let mut said =
        format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nX-Text: ").into_bytes();
    said.extend_from_slice(b"caf\xe9\r\nContent-Length: 0\r\n\r\n");
    line.write(&said).await;
    let mut h1 = Vec::new();
    while !h1.ends_with(b"\r\n\r\n") {
        h1.extend(raw.take(1).await.unwrap());
    }
    let has = |bytes: &[u8]| h1.windows(bytes.len()).any(|window| window == bytes);
    assert!(has(b"x-text: caf\xe9\r\n") && has(b"set-cookie: a\r\nset-cookie: b\r\n") && has(long.as_bytes()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_before_the_body_is_whole_reaches_its_client() {
    let upstream = ByHand::start().await;
    let (_site, sidecar) = before(&upstream).await;
    let mut raw = sidecar.raw().await;
    raw.write(b"POST /v1/big HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\nsome").await;
    let (mut line, _) = upstream.request().await;
    assert_eq!(line.take(4).await, b"some");
    line.write(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 8\r\n\r\ntoo much").await;
    drop(line);
    // The client goes on sending, as clients do; its answer must not be lost to a reset.
    raw.write(&vec![b'x'; 1 << 20]).await;
    let answer = raw.answer().await;
    assert_eq!((answer.status, answer.body.as_slice()), (413, &b"too much"[..]));
    assert!(raw.ends_in_order().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let upstream = ByHand::start().await;
    let (_site, sidecar) = before(&upstream).await;
    let mut raw = sidecar.raw().await;
    raw.write(b"POST /v1/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 1000000\r\n\r\n").await;
    raw.write(&vec![b'x'; 1 << 20]).await;
    let answer = raw.answer().await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "framing_conflict"));
    assert!(raw.ends_in_order().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_off_never_looks_whole() {
    let upstream = ByHand::start().await;
    let (_site, sidecar) = before(&upstream).await;
    for (said, reset) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false),
        ("HTTP/1.1 200 OK\r\n\r\nhalf", true),
    ] {
        let mut raw = sidecar.raw().await;
        raw.write(&raw_request("GET", "/v1/a", &[], "")).await;
        let (mut line, _) = upstream.request().await;
        line.write(said.as_bytes()).await;
        let (status, headers) = raw.head().await.unwrap();
        assert_eq!(status, 200);
        let chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
        let expected: &[u8] = if chunked { b"4\r\nhalf\r\n" } else { b"half" };
        assert_eq!(raw.take(expected.len()).await.unwrap(), expected);
        if reset {
            line.reset()
        } else {
            line.finish().await
        }
        assert!(raw.rest().await.is_empty(), "{said:?}");
        let mut h2 = sidecar.h2().await;
        let (response, mut line) = tokio::join!(h2.begin(h2_request("GET", "/v1/a", &[], "")), async {
            let (mut line, _) = upstream.request().await;
            line.write(said.as_bytes()).await;
            line
        });
        let mut body = response.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
        if reset {
            line.reset()
        } else {
            line.finish().await
        }
        assert!(body.frame().await.is_none_or(|frame| frame.is_err()), "{said:?}");
        assert!(!http_body::Body::is_end_stream(&body), "{said:?}");
    }
}

//! The page of metrics says what is exposed, no more and no less; and what is counted is what happened.

use std::collections::{BTreeMap, BTreeSet};

use breakglass::http::{Cleartext, Client, Limits};
use breakglass::telemetry::metric::family::table;
use breakglass::telemetry::metric::{Family, Values, process};
use breakglass::{control, sidecar};
use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::harness::{Ask, SidecarFile, Site, TestSidecar, raw_request, until};

type Theme = (&'static str, &'static [&'static Family]);

fn planes() -> [(&'static str, Vec<Theme>); 2] {
    [("The sidecar", sidecar::metrics::themes().to_vec()), ("The control plane", control::metrics::themes().to_vec())]
}

fn document() -> String {
    let mut text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.head.md")).unwrap();
    for (plane, themes) in planes() {
        text.push_str(&format!("\n## {plane}\n"));
        for (theme, families) in themes {
            text.push_str(&format!("\n### {theme}\n\n{}", table(families)));
        }
    }
    text + "\n## Both: the process\n\n" + &table(&process::FAMILIES)
}

/// `UPDATE_DOCS=1 cargo test --test integration metrics_page` writes the page anew.
#[test]
fn the_metrics_page_is_that_of_the_code() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(page, document()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(page).unwrap(), document(), "UPDATE_DOCS=1 writes docs/metrics.md anew");
}

async fn control_metrics(site: &Site) -> String {
    let client = Client::new(None, Limits::DEFAULT).with_cleartext(Cleartext::LoopbackOnly);
    let url = format!("http://{}/metrics", site.control().admin_addr).parse().unwrap();
    let answer = client.send(Method::GET, &url, HeaderMap::new(), Bytes::new()).await.unwrap();
    String::from_utf8(answer.body.to_vec()).unwrap()
}

/// Samples by name and labels as they stand.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

fn exposed(text: &str) -> BTreeSet<String> {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    kinds.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_exposed_is_documented_and_what_is_documented_is_exposed() {
    let mut site = Site::start().await;
    // Sinks are shown where there are some. A transmitter that is not there is one to be asked all the same, and so is an
    // issuer.
    site.issuer_lines =
        "[issuer.introspection]\ntoken_file = \"secret\"\nurl = \"http://127.0.0.1:1/ask\"\n".to_owned();
    let issuer = format!("http://{}", site.issuer_addr);
    let transmitter = format!("name = \"idp\", issuer = \"{issuer}\", audience = \"us\"");
    site.control_lines = format!(
        "sinks = [{{ name = \"files\", kind = \"file\", directory = \"entries\" }}]\n\
         signals = [{{ {transmitter}, poll = {{ url = \"http://127.0.0.1:1/poll\" }} }}]\n"
    );
    site.stop_control().await;
    site.start_control().await;
    let audit_lines = "sinks = [{ name = \"files\", kind = \"file\", directory = \"../lines\" }]\n".to_owned();
    let sidecar = site.sidecar_with(&SidecarFile { audit_lines, ..SidecarFile::default() }).await;
    sidecar.until_overrides().await;
    site.grant(&Ask::default()).await;
    let texts = [sidecar.admin(Method::GET, "/metrics").await, control_metrics(&site).await];
    for ((plane, themes), text) in planes().into_iter().zip(texts) {
        let families: Vec<&Family> =
            themes.iter().flat_map(|(_, families)| families.iter().copied()).chain(process::FAMILIES).collect();
        let documented: BTreeSet<String> = families.iter().map(|family| family.name.to_owned()).collect();
        assert_eq!(documented.len(), families.len(), "{plane}: a name stands once");
        assert_eq!(exposed(&text), documented, "{plane}");
        for family in families {
            assert!(text.contains(&format!("# TYPE {} {}\n", family.name, family.kind.as_str())), "{}", family.name);
            assert_eq!(family.name.ends_with("_total"), family.kind.as_str() == "counter", "{}", family.name);
            assert!(family.help.ends_with('.') && !family.help.is_empty(), "{}", family.name);
            labels_are_those_described(family, &text);
        }
    }
}

fn labels_are_those_described(family: &Family, text: &str) {
    let of_family = text.lines().filter(|line| line.starts_with(&format!("{}{{", family.name)));
    for line in of_family {
        let labels = line.split_once('{').unwrap().1.rsplit_once("} ").unwrap().0;
        for label in labels.split("\",") {
            let (name, value) = label.split_once("=\"").unwrap();
            let known = family.labels.iter().find(|label| label.name == name);
            let known = known.unwrap_or_else(|| panic!("{} has an undescribed label {name}", family.name));
            if let Values::Of(values) = known.values {
                assert!(values().contains(&value.trim_end_matches('"')), "{}: {label}", family.name);
            }
        }
    }
}

async fn counted(sidecar: &TestSidecar) -> BTreeMap<String, f64> {
    samples(&sidecar.admin(Method::GET, "/metrics").await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_counted_is_what_happened() {
    let site = Site::start().await;
    let sidecar = site.sidecar().await;
    let grant = site.grant(&Ask { max_uses: Some(3), ..Ask::default() }).await;
    let identity = site.identity("alice");
    let own = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
    let echo = "/v1/contracts/C-1042/echo";
    for _ in 0..2 {
        assert_eq!(sidecar.send(&raw_request("POST", echo, &[], "12345")).await.status, 200);
    }
    let answer = sidecar.send(&raw_request("POST", echo, &own, "1234567")).await;
    assert_eq!(answer.status, 200);
    let foreign = sidecar.send(&raw_request("POST", "/v1/contracts/C-2077/echo", &own, "")).await;
    assert_eq!(foreign.status, 403);
    sidecar.h2().await.send("POST", echo, &[], "").await;

    let all = until("every answer has ended", async || {
        Some(counted(&sidecar).await).filter(|all| all["breakglass_sidecar_requests_open"] == 0.0)
    })
    .await;
    let value =
        |name: &str| all.get(&format!("breakglass_sidecar_{name}")).copied().unwrap_or_else(|| panic!("{name}"));
    for (outcome, count) in [("passed", 3.0), ("override", 1.0), ("refused", 1.0), ("upstream_failed", 0.0)] {
        assert_eq!(value(&format!("requests_total{{outcome=\"{outcome}\"}}")), count, "{outcome}");
        assert_eq!(value(&format!("request_duration_seconds_count{{outcome=\"{outcome}\"}}")), count, "{outcome}");
    }
    assert_eq!(value("upstream_head_seconds_count{outcome=\"passed\"}"), 3.0);
    assert_eq!(value("upstream_head_seconds_count{outcome=\"override\"}"), 1.0);
    assert_eq!(value("refusals_total{code=\"resource_out_of_scope\"}"), 1.0);
    assert_eq!(value("request_body_bytes_total"), 17.0);
    assert!(value("response_body_bytes_total") >= 17.0);
    assert_eq!(value("requests_open"), 0.0);
    assert_eq!(value("intent_wait_seconds_count"), 1.0);
    assert!(value("request_duration_seconds_sum{outcome=\"override\"}") >= value("intent_wait_seconds_sum"));
    assert_eq!(value("connections_by_protocol_total{protocol=\"h2\"}"), 1.0);
    assert_eq!(value("connections_by_protocol_total{protocol=\"http/1.1\"}"), 4.0);
    assert_eq!(value("tls_handshake_seconds_count"), 5.0);
    assert_eq!(value("grants{standing=\"live\"}"), 1.0);
    assert!((1.0..=3.0).contains(&value("shares_allotted")));
    assert_eq!(value("shares_spent"), 1.0);
    assert!((1.0..3600.0).contains(&value("next_grant_end_seconds")));
    assert_eq!(value("audit_records_total{kind=\"intent\"}"), 1.0);
    assert!(value("audit_commit_seconds_count") >= 1.0);
    assert!(value("feed_lines_total{kind=\"put\"}") >= 1.0);
    assert_eq!(value("feed_streams_total"), 1.0);
    assert!(value("upstream_connect_seconds_count") + value("upstream_reuses_total") >= 4.0);
    for certificate in ["server", "feed_client"] {
        let end = value(&format!("certificate_expiry_timestamp_seconds{{certificate=\"{certificate}\"}}"));
        assert!(end > 1.7e9, "{certificate}: {end}");
    }
    assert!(all.iter().any(|(name, keys)| name.starts_with("breakglass_sidecar_identity_keys{") && *keys >= 1.0));

    site.revoke(&grant).await;
    let after = counted(&sidecar).await;
    assert_eq!(after["breakglass_sidecar_grants{standing=\"revoked\"}"], 1.0);
    assert_eq!(after["breakglass_sidecar_next_grant_end_seconds"], f64::INFINITY);
}

//! The policy's schedules, from the file to the admin port.

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::bench::write_files;
use crate::clock::Clock;
use crate::config::control::ControlConfig;
use crate::control::on_call::tests::server::{Reply, Server};
use crate::control::{Control, Running};
use crate::http::{Answer, Client, Limits};

async fn admin(running: &Running, path: &str) -> Answer {
    let uri = format!("http://{}{path}", running.admin_addr).parse().unwrap();
    Client::new(None, Limits::DEFAULT).send(Method::GET, &uri, HeaderMap::new(), Bytes::new()).await.unwrap()
}

#[tokio::test]
async fn schedules_are_served_from_the_start_and_shown() {
    let answer =
        json!({"data": {"_parent": {"id": "a-b", "name": "S", "enabled": true}, "onCallRecipients": ["alice@x.test"]}});
    let server = Server::start(Reply::ok(answer)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = write_files(folder.path(), "http://127.0.0.1:9");
    let append = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text.to_owned() + &std::fs::read_to_string(&path).unwrap()).unwrap();
    };
    append("control.toml", "credentials = \"credentials\"\n");
    append(
        "policy.toml",
        &format!(
            "[[schedule]]\nname = \"primary\"\nsource = \"opsgenie\"\nurl = \"{}\"\nschedule = \"a-b\"\ntoken_file = \"key\"\n\
             [[schedule]]\nname = \"secondary\"\nsource = \"opsgenie\"\nurl = \"{}\"\nschedule = \"c-d\"\n\
             token_file = \"other\"\nfallback_group = \"leads\"\n",
            server.url, server.url
        ),
    );
    std::fs::create_dir(folder.path().join("credentials")).unwrap();
    let key = folder.path().join("credentials/key");
    std::fs::write(&key, "s3cr3t").unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();

    let running = Control::start(ControlConfig::load(&file).unwrap(), Clock::System).await.unwrap();
    let workflow = &running.state.workflow;
    let alice = "alice@x.test".parse().unwrap();
    assert!(workflow.on_call.is_on_call("primary", &alice, &[], workflow.clock.now()).is_on_call());
    let ready = admin(&running, "/readyz").await;
    assert_eq!(ready.status, 200, "a schedule that is not known refuses nobody by itself");
    let schedules = &ready.json::<Value>().unwrap()["schedules"];
    assert_eq!((&schedules[0]["state"], &schedules[0]["fallback"]), (&json!("current"), &json!(false)));
    assert!(schedules[0]["as_of"].is_string() && schedules[0].get("failure").is_none(), "{schedules}");
    assert_eq!((&schedules[1]["state"], &schedules[1]["fallback"]), (&json!("unknown"), &json!(true)));
    assert!(schedules[1]["failure"].as_str().unwrap().contains("credentials/other can't be read"), "{schedules}");
    let metrics = String::from_utf8(admin(&running, "/metrics").await.body.to_vec()).unwrap();
    for line in [
        "breakglass_control_on_call_known{schedule=\"primary\"} 1",
        "breakglass_control_on_call_people{schedule=\"primary\"} 1",
        "breakglass_control_on_call_failures_total{schedule=\"primary\",kind=\"unauthorised\"} 0",
        "breakglass_control_on_call_known{schedule=\"secondary\"} 0",
        "breakglass_control_on_call_age_seconds{schedule=\"secondary\"} inf",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(!metrics.contains("alice") && !metrics.contains("s3cr3t"));
    running.stop().await;
}

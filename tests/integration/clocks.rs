//! P2 against the clocks: whatever a wall clock does while a grant lives, the grant ends on time or earlier, never later.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use breakglass::clock::{Clock, ManualClock};
use breakglass::wire::api::GrantView;

use crate::harness::{Ask, PATIENCE, Process, Raw, SidecarFile, Site, TestSidecar, raw_request, until};

const HOUR_MS: i64 = 3_600_000;
const ENDLESS: &str = "/v1/contracts/C-1042/statement?bytes=8589934592";

fn ask(duration_s: u64) -> Ask {
    let actions = vec!["payment.release".to_owned(), "statement.read".to_owned()];
    Ask { duration_s, actions, ..Ask::default() }
}

/// Two machines whose clocks run alike until one of them is set.
struct Machines {
    control: Arc<ManualClock>,
    sidecar: Arc<ManualClock>,
}

impl Machines {
    fn pass(&self, span: Duration) {
        self.control.advance(span);
        self.sidecar.advance(span);
    }
}

async fn two_machines() -> (Machines, Site, TestSidecar) {
    let now = Clock::System.now();
    let clocks = Machines { control: ManualClock::starting_at(now), sidecar: ManualClock::starting_at(now) };
    let site = Site::with_clock(Clock::Manual(Arc::clone(&clocks.control))).await;
    let sidecar = site.sidecar_by(Clock::Manual(Arc::clone(&clocks.sidecar))).await;
    sidecar.until_overrides().await;
    (clocks, site, sidecar)
}

async fn code(sidecar: &TestSidecar, grant: &GrantView, identity: &str) -> String {
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity)];
    sidecar.send(&raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "x")).await.code()
}

/// A download under the grant that flows, and the task that waits for its end.
async fn download(address: std::net::SocketAddr, ca: &Path, grant: &GrantView, identity: &str) -> Flowing {
    let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity)];
    let mut raw = Raw::open(address, ca).await;
    raw.write(&raw_request("GET", ENDLESS, &headers, "")).await;
    assert_eq!(raw.head().await.unwrap().0, 200);
    assert!(raw.some().await);
    tokio::spawn(async move {
        raw.tail().await;
        Instant::now()
    })
}

type Flowing = tokio::task::JoinHandle<Instant>;

/// Lets time pass on both, in steps that a heartbeat can follow.
async fn pass(clocks: &Machines, sidecar: &TestSidecar, seconds: u64) {
    for _ in 0..seconds {
        clocks.pass(Duration::from_secs(1));
        until("a heartbeat", async || sidecar.readyz().await["feed_age_ms"].as_u64().filter(|age| *age < 1_000)).await;
    }
}

async fn play(what: &str, on_control_ms: i64, on_sidecar_ms: i64) {
    let (clocks, site, sidecar) = two_machines().await;
    let identity = site.identity("alice");
    let grant = site.grant(&ask(10)).await;
    assert_eq!(code(&sidecar, &grant, &identity).await, "override", "{what}");
    let ca = site.path().join("ca.pem");
    let flowing = download(sidecar.address, &ca, &grant, &identity).await;
    pass(&clocks, &sidecar, 5).await;
    assert!(!flowing.is_finished(), "{what}: it is not over yet");
    clocks.control.step_wall(on_control_ms);
    clocks.sidecar.step_wall(on_sidecar_ms);
    if on_control_ms <= 0 && on_sidecar_ms <= 0 {
        pass(&clocks, &sidecar, 4).await;
        until("overrides go on within their time", async || {
            (code(&sidecar, &grant, &identity).await == "override").then_some(())
        })
        .await;
        assert!(!flowing.is_finished(), "{what}: it is not over yet");
        clocks.pass(Duration::from_secs(1));
    }
    tokio::time::timeout(PATIENCE, flowing).await.expect("the download is cut").unwrap();
    let cut =
        until("the outcome", async || sidecar.facts("outcome").into_iter().find(|outcome| outcome["end"] == "cut"))
            .await;
    assert_eq!(cut["cause"], "grant_expired", "{what}: {cut}");
    let after = code(&sidecar, &grant, &identity).await;
    assert!(after != "override" && after != "pass", "{what}: {after}");
    clocks.control.step_wall(-on_control_ms);
    clocks.sidecar.step_wall(-on_sidecar_ms);
    let after = code(&sidecar, &grant, &identity).await;
    assert!(after != "override" && after != "pass", "{what}, set right again: {after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_set_by_an_hour_on_either_machine_prolongs_nothing() {
    tokio::join!(
        play("the sidecar's, back", 0, -HOUR_MS),
        play("the sidecar's, forward", 0, HOUR_MS),
        play("the control plane's, back", -HOUR_MS, 0),
        play("the control plane's, forward", HOUR_MS, 0),
        play("both, back", -HOUR_MS, -HOUR_MS),
    );
}

/// A program under libfaketime: its wall clock follows a file, its monotonic clocks are left alone.
struct Faked(std::path::PathBuf);

impl Faked {
    fn in_folder(folder: &Path) -> Self {
        let faked = Self(folder.join("wall-clock"));
        faked.set("+0");
        faked
    }

    /// By how much the wall clock differs, such as "-1h".
    fn set(&self, offset: &str) {
        let fresh = self.0.with_extension("new");
        std::fs::write(&fresh, format!("{offset}\n")).unwrap();
        std::fs::rename(fresh, &self.0).unwrap();
    }

    fn start(&self, file: &Path) -> Process {
        let library = crate::tool("libfaketime.so.1", "target/tools/lib/libfaketime.so.1");
        Process::start_with(file, |command| {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", &self.0)
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_process_whose_wall_clock_is_set_by_an_hour_ends_its_grants_on_time_or_earlier() {
    let site = Site::start().await;
    let ca = site.path().join("ca.pem");
    let identity = site.identity("alice");
    let lives = Duration::from_secs(6);
    for offset in ["-1h", "+1h"] {
        let file = site.sidecar_file(&SidecarFile::default());
        let faked = Faked::in_folder(file.parent().unwrap());
        let process = faked.start(&file);
        site.believe(&process.keys);
        let ready = site.grant(&ask(600)).await;
        let headers = [("Break-Glass", ready.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
        let request = raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "x");
        until("overrides work", async || {
            let mut raw = Raw::open(process.address, &ca).await;
            raw.write(&request).await;
            raw.try_answer().await.filter(|answer| answer.status == 200)
        })
        .await;
        let asked = Instant::now();
        let grant = site.grant(&ask(lives.as_secs())).await;
        let flowing = download(process.address, &ca, &grant, &identity).await;
        faked.set(offset);
        let skew = format!("{}3", offset.trim_end_matches("1h").trim_start_matches('+'));
        until("the process goes by the other clock", async || {
            process.metric("breakglass_sidecar_clock_skew_seconds").await.filter(|value| value.starts_with(&skew))
        })
        .await;
        let cut = tokio::time::timeout(PATIENCE, flowing).await.expect("the download is cut").unwrap();
        let after = cut.saturating_duration_since(asked);
        // The promise is 50 ms; the rest is for a busy machine.
        assert!(after < lives + Duration::from_secs(2), "{offset}: cut after {after:?}");
        let headers = [("Break-Glass", grant.id.as_str()), ("Break-Glass-Identity", identity.as_str())];
        let mut raw = Raw::open(process.address, &ca).await;
        raw.write(&raw_request("POST", "/v1/contracts/C-1042/echo", &headers, "x")).await;
        let code = raw.answer().await.code();
        assert!(code != "override" && code != "pass", "{offset}: {code}");
        eprintln!("{offset}: a grant of {lives:?} was cut {after:?} after it was asked for");
        process.kill();
    }
}

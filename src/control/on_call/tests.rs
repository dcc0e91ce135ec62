//! Schedules from real servers of this process, that answer as documented, otherwise, or not at all.

mod answers;
mod calendars;
mod expansion;
mod failures;
mod following;
pub(in crate::control) mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::clock::ManualClock;
use crate::config::reader;
use crate::config::schedule::read_schedules;
use crate::domain::{BootTime, WallTime};
use server::Server;

/// 2026-11-22T02:13:00Z.
const NOW_S: i64 = 1_795_313_580;
const TOKEN: &str = "u+s3cr3t-t0k3n";

/// A folder of credentials, a clock, and what is known of the schedules.
struct Bench {
    on_call: Arc<OnCall>,
    clock: Arc<ManualClock>,
    credentials: TempDir,
}

/// What the tables say.
fn schedules(tables: &str) -> Vec<ScheduleConfig> {
    reader::parse(Path::new("policy.toml"), tables, |root| Some(read_schedules(root))).unwrap()
}

fn person(name: &str) -> Person {
    name.parse().unwrap()
}

fn at(rfc3339: &str) -> WallTime {
    WallTime::from_unix_ms(chrono::DateTime::parse_from_rfc3339(rfc3339).unwrap().timestamp_millis())
}

impl Bench {
    /// Impatient, but not so that a busy machine fails a test.
    fn start(tables: &str) -> Self {
        Self::with(tables, Limits { response_ms_max: 10_000, ..Limits::DEFAULT })
    }

    fn with(tables: &str, limits: Limits) -> Self {
        let credentials = tempfile::tempdir().unwrap();
        let moment = Moment { boot: BootTime::ZERO, wall: WallTime::from_unix_s(NOW_S) };
        let clock = ManualClock::starting_at(moment);
        let retry = RetryTimes { retry_ms_min: 1, retry_ms_max: 10, told_ms_max: 10 };
        let settings = OnCallSettings { tls: None, limits, retry, credentials: Some(credentials.path().to_owned()) };
        let on_call = OnCall::new(&schedules(tables), settings, Clock::Manual(Arc::clone(&clock)));
        let bench = Self { on_call, clock, credentials };
        bench.write("token", TOKEN, 0o600);
        bench
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.credentials.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    async fn ready(self) -> Self {
        let failures = self.on_call.refresh().await;
        assert!(failures.is_empty(), "{failures:?}");
        self
    }

    /// How `name`, a member of no group, stands with the schedule "primary".
    fn standing(&self, name: &str) -> Standing {
        self.standing_in(name, &[])
    }

    fn standing_in(&self, name: &str, groups: &[&str]) -> Standing {
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        self.on_call.is_on_call("primary", &person(name), &groups, self.clock.now())
    }

    fn is_on_call(&self, name: &str) -> bool {
        self.standing(name).is_on_call()
    }

    fn health(&self) -> ScheduleHealth {
        self.on_call.health(self.clock.now()).remove(0)
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// One table named "primary".
fn pagerduty(server: &Server, more: &str) -> String {
    format!(
        "[[schedule]]\nname = \"primary\"\nsource = \"pagerduty\"\nurl = \"{}\"\nschedule = \"PI7DH85\"\n\
         token_file = \"token\"\n{more}\n",
        server.url
    )
}

fn opsgenie(server: &Server, more: &str) -> String {
    format!(
        "[[schedule]]\nname = \"primary\"\nsource = \"opsgenie\"\nurl = \"{}\"\n\
         schedule = \"d875alp4-9b4e-4219-alp3-0c26936d18de\"\ntoken_file = \"token\"\n{more}\n",
        server.url
    )
}

fn calendar(server: &Server, more: &str) -> String {
    format!("[[schedule]]\nname = \"primary\"\nsource = \"icalendar\"\nurl = \"{}/rota.ics\"\n{more}\n", server.url)
}

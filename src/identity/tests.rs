//! The verifier against a real issuer with real signatures.

mod attacks;
mod claims;
mod keys;

use std::sync::Arc;

use serde_json::{Value, json};

use super::test_issuer::{TestIssuer, TestKey};
use super::*;
use crate::clock::{Clock, ManualClock};
use crate::domain::{BootTime, Moment, WallTime};
use crate::http::{Client, Limits};

const NOW_S: i64 = 1_795_313_580;

struct Bench {
    issuer: TestIssuer,
    clock: Arc<ManualClock>,
    verifier: Verifier,
    config: IssuerConfig,
}

impl Bench {
    async fn with_keys(keys: &[&TestKey]) -> Self {
        Self::new(keys, RefreshTimes::DEFAULT, |_| {}).await
    }

    async fn new(keys: &[&TestKey], times: RefreshTimes, change: impl FnOnce(&mut IssuerConfig)) -> Self {
        let issuer = TestIssuer::start(keys).await;
        let mut config = IssuerConfig::new(issuer.url.parse().unwrap(), "control".parse().unwrap());
        change(&mut config);
        let clock = ManualClock::starting_at(Moment { boot: BootTime::ZERO, wall: WallTime::from_unix_s(NOW_S) });
        let verifier = Verifier::with_refresh_times(
            vec![config.clone()],
            &Client::new(None, Limits::DEFAULT),
            Clock::Manual(Arc::clone(&clock)),
            times,
        )
        .unwrap();
        Self { issuer, clock, verifier, config }
    }

    async fn ready(self) -> Self {
        let failures = self.verifier.refresh().await;
        assert!(failures.is_empty(), "{failures:?}");
        self
    }

    /// Good claims, changed by the members of `change`; a null member is taken out.
    fn claims(&self, change: Value) -> Value {
        let mut claims = json!({
            "iss": self.issuer.url, "aud": ["control", "payments"], "sub": "u-1", "client_id": "cli", "jti": "1",
            "iat": NOW_S, "exp": NOW_S + 300, "groups": ["oncall"],
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }
}

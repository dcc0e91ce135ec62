//! Several control planes on one PostgreSQL, each a process: any of them killed, cut off or hung at any time.

mod chaos;
mod cut_off;
mod together;
mod uses;

use std::sync::Mutex;
use std::time::Duration;

use breakglass::wire::api::{ElevationView, GrantView};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Ask, Dice, Fleet, TestSidecar, until_within};

/// Each replica that hangs may take its time to say so.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A number of the environment: the long suites do more of the same.
fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |number| number.parse().unwrap_or_else(|_| panic!("{name}")))
}

/// What an elevation request says.
pub(crate) fn wish(ask: &Ask) -> Value {
    let mut document = json!({
        "service": ask.service, "resources": ask.resources, "actions": ask.actions, "reason": "stuck_payment",
        "ticket": "INC-2041", "duration_s": ask.duration_s,
    });
    if let Some(uses) = ask.max_uses {
        document["max_uses"] = uses.into();
    }
    document
}

/// Asks one replica after the other, by one idempotency key, until one has granted it.
async fn granted(fleet: &Fleet, dice: &Mutex<Dice>, ask: &Ask, key: &str) -> GrantView {
    let document = wish(ask);
    let mut at = dice.lock().unwrap().below(fleet.replicas.len());
    until_within(PATIENCE, "the grant", async || {
        at = (at + 1) % fleet.replicas.len();
        let (status, said) = fleet.ask(at, Method::POST, "/v1/elevations", ask.person, Some(key), &document).await?;
        assert!(matches!(status, 200 | 201 | 503), "{status} {said}");
        (status < 300).then(|| serde_json::from_value::<ElevationView>(said).unwrap().grant.unwrap())
    })
    .await
}

/// Revokes at one replica after the other until one says that it has ended.
async fn revoked(fleet: &Fleet, dice: &Mutex<Dice>, grant: &GrantView) {
    let path = format!("/v1/grants/{}/revoke", grant.id);
    let mut at = dice.lock().unwrap().below(fleet.replicas.len());
    until_within(PATIENCE, "the revocation", async || {
        at = (at + 1) % fleet.replicas.len();
        let (status, said) = fleet.ask(at, Method::POST, &path, grant.person.as_str(), None, &json!({})).await?;
        assert!(matches!(status, 200 | 409 | 503), "{status} {said}");
        (status != 503).then_some(())
    })
    .await;
}

/// The decision code; "cut" where the connection was ended, as it is when an override may no longer run.
async fn code(sidecar: &TestSidecar, request: &[u8]) -> String {
    let mut raw = sidecar.raw().await;
    raw.write(request).await;
    raw.try_answer().await.map_or_else(|| "cut".to_owned(), |answer| answer.code())
}

/// What befalls replicas: at most all but one are down at a time.
struct Mishaps {
    dice: Dice,
    down: Vec<Option<Mishap>>,
    pub(crate) counts: [usize; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    Killed,
    Cut,
    Hung,
}

impl Mishaps {
    fn new(dice: Dice, replicas: usize) -> Self {
        Self { dice, down: vec![None; replicas], counts: [0; 3] }
    }

    /// One more mishap, or the end of one.
    async fn next(&mut self, fleet: &Fleet) {
        let at = self.dice.below(self.down.len());
        let well = self.down.iter().filter(|down| down.is_none()).count();
        match self.down[at] {
            Some(_) => self.mend(fleet, at).await,
            None if well > 1 => {
                let mishap = self.dice.one(&[Mishap::Killed, Mishap::Cut, Mishap::Hung]);
                self.counts[mishap as usize] += 1;
                self.down[at] = Some(mishap);
                match mishap {
                    Mishap::Killed => fleet.kill(at),
                    Mishap::Cut => fleet.replicas[at].wire.cut(),
                    Mishap::Hung => fleet.replicas[at].wire.hang(),
                }
            }
            None => {
                let other = self.down.iter().position(Option::is_some).expect("the others are down");
                self.mend(fleet, other).await;
            }
        }
    }

    async fn mend(&mut self, fleet: &Fleet, at: usize) {
        match self.down[at].take() {
            Some(Mishap::Killed) => fleet.restart(at).await,
            Some(Mishap::Cut | Mishap::Hung) => fleet.replicas[at].wire.mend(),
            None => {}
        }
    }

    async fn mend_all(&mut self, fleet: &Fleet) {
        for at in 0..self.down.len() {
            self.mend(fleet, at).await;
        }
    }
}

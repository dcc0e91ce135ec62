//! Entries for tests, as `docs/ledger-entries.md` describes them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::told::Told;

/// An entry and the values beside it.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    canonical: String,
    values: BTreeMap<String, String>,
}

impl Sample {
    pub(super) fn told(&self) -> Told<'_> {
        Told::read(&self.canonical, &self.values).unwrap().unwrap()
    }

    /// With another text in the place of one.
    pub(super) fn with(&self, text: &str, other: &str) -> Self {
        let canonical = self.canonical.replace(&format!("\"{text}\""), &format!("\"{other}\""));
        Self { canonical, ..self.clone() }
    }
}

/// A ledger that is written entry by entry.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<Sample>);

impl Writer {
    /// `personal`: by field; null is a value that was erased.
    pub(super) fn add(&mut self, at: i64, kind: &str, facts: Value, personal: Value) -> &mut Self {
        let values = personal.as_object().unwrap();
        let commitments: serde_json::Map<_, _> = values.keys().map(|field| (field.clone(), json!("5f1c"))).collect();
        let entry = json!({"format": 1, "index": self.0.len(), "kind": kind, "at": at, "facts": facts, "personal": commitments});
        let kept = values.iter().filter_map(|(field, value)| Some((field.clone(), value.as_str()?.to_owned())));
        self.0.push(Sample { canonical: entry.to_string(), values: kept.collect() });
        self
    }

    /// `alice` asks at `at` for 600 s on `resource`, for the team `core`.
    pub(super) fn asked(&mut self, at: i64, n: u32, person: Value, resource: &str) -> &mut Self {
        let facts = json!({"elevation": format!("e-{n}"), "service": "payments", "tier": "oncall", "team": "core",
            "role": "payments.override", "resources": [resource], "actions": ["payment.release", "payment.cancel"],
            "reason": "stuck_payment", "duration_s": 900, "max_uses": 5, "admitted_by": "group:oncall"});
        self.add(at, "elevation_requested", facts, json!({"person": person, "ticket": "INC-1"}))
    }

    /// For 600 s from `at` on, three uses, to be reviewed within an hour of its end.
    pub(super) fn issued(&mut self, at: i64, n: u32, person: Value, resource: &str) -> &mut Self {
        let facts = json!({"grant": format!("g-{n}"), "elevation": format!("e-{n}"), "service": "payments",
            "tier": "oncall", "role": "payments.override", "resources": [resource], "actions": ["payment.release"],
            "reason": "stuck_payment", "binding": "identity", "not_before": at, "expires": at + 600_000, "max_uses": 3,
            "review_due_s": 3600, "token_sha256": "ab", "policy_revision": 1});
        self.add(at, "grant_issued", facts, json!({"person": person, "ticket": "INC-1"}))
    }

    pub(super) fn line(&mut self, at: i64, line: &str, facts: Value, text: Value) -> &mut Self {
        let mut all = json!({"service": "payments", "instance": "s-1", "log_id": "aa", "line": line, "recorded_at": at,
            "resource": "contract/C-1", "action": "payment.release"});
        let (own, more) = (all.as_object_mut().unwrap(), facts.as_object().unwrap().clone());
        own.extend(more);
        self.add(at, "audit_line", all, json!({ "line": text }))
    }

    /// Override `number` of grant `n`, and that it completed two seconds later.
    pub(super) fn used(&mut self, at: i64, n: u32, number: u64) -> &mut Self {
        let (grant, seq) = (format!("g-{n}"), number * 2);
        self.line(
            at,
            "intent",
            json!({"grant": grant, "seq": seq, "number": number, "decision": "override"}),
            json!(null),
        );
        let intent = json!({"log_id": "aa", "seq": seq});
        let outcome = json!({"grant": grant, "seq": seq + 1, "intent": intent, "end": "completed", "status": 200});
        self.line(at + 2_000, "outcome", outcome, json!(null))
    }

    pub(super) fn closed(&mut self, at: i64, n: u32, overrides: u64) -> &mut Self {
        let facts = json!({"grant": format!("g-{n}"), "overrides": overrides, "ends": {"completed": overrides},
            "open": 0, "refusals": 0, "spent": overrides, "reconciled": true});
        self.add(at, "grant_closed", facts, json!({}))
    }
}

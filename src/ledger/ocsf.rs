//! An entry as an OCSF 1.8 event, for a SIEM: User Access Management (3005) where a grant begins or ends, Entity Management
//! (3004) for all else. `docs/ocsf.md` is the mapping for readers; it and this file change together.
//!
//! Source: <https://schema.ocsf.io/1.8.0/classes/user_access>, <https://schema.ocsf.io/1.8.0/classes/entity_management>;
//! `tests/ocsf/validate.py` checks real events against the published schema.
//!
//! The entry itself stands whole under `unmapped.break_glass`, so nothing is lost in the mapping. Personal values stand in the
//! event where they are given: whoever sends events elsewhere sends those too.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use serde_json::{Map, Value, json};

use crate::domain::WallTime;
use crate::hex::hex;

const USER_ACCESS: u64 = 3005;
const ENTITY_MANAGEMENT: u64 = 3004;
const OTHER: u64 = 99;
/// Stands where a personal value was erased, or none is known.
const UNKNOWN: &str = "unknown";

/// What is known of an entry and of what it is about.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    pub index: u64,
    pub at: WallTime,
    pub kind: &'a str,
    pub canonical: &'a str,
    /// By field, where they were not erased.
    pub values: &'a BTreeMap<String, String>,
    /// Where a grant ends, which one.
    pub grant: Option<&'a EndedGrant>,
    /// The control plane that tells it.
    pub instance: &'a str,
    pub version: &'a str,
}

/// A grant that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedGrant {
    pub person: String,
    pub role: String,
    pub service: String,
    pub resources: Vec<String>,
}

/// How a kind appears.
enum Shape {
    /// Privileges given (1) or taken (2).
    Access(u64),
    /// What happened to an entity: activity, type, and the fact that names it.
    Entity(u64, &'static str, &'static str),
}

/// Severity, and whether it is a failure.
struct Weight {
    severity: u64,
    failure: bool,
}

/// The event as one line of JSON, without a newline.
///
/// # Errors
/// When the entry is no JSON, which the database gives no cause for.
pub fn event(told: &Told<'_>) -> Result<Vec<u8>, serde_json::Error> {
    let entry: Value = serde_json::from_str(told.canonical)?;
    let facts = entry.get("facts").and_then(Value::as_object).cloned().unwrap_or_default();
    let (class, activity) = match shape(told.kind, &facts) {
        Shape::Access(activity) => (USER_ACCESS, activity),
        Shape::Entity(activity, ..) => (ENTITY_MANAGEMENT, activity),
    };
    let Weight { severity, failure } = weight(told.kind, &facts);
    let digest = hex(digest::digest(&digest::SHA256, told.canonical.as_bytes()).as_ref());
    let prefix: String = digest.chars().take(16).collect();
    let mut event = json!({
        "activity_id": activity,
        "actor": actor(told),
        "category_uid": 3,
        "class_uid": class,
        "metadata": {
            "event_code": told.kind,
            "log_name": "break-glass-ledger",
            "log_version": "1",
            "product": {"name": "breakglass-control", "vendor_name": "breakglass", "version": told.version},
            "sequence": told.index,
            // After a restore from a backup another entry may have the same index.
            "uid": format!("{}-{prefix}", told.index),
            "version": "1.8.0",
        },
        "severity_id": severity,
        "status_id": if failure { 2 } else { 1 },
        "time": told.at.unix_ms(),
        "type_uid": class * 100 + activity,
        "unmapped": {"break_glass": {
            "entry": entry, "entry_sha256": digest, "instance": told.instance, "values": told.values,
        }},
    });
    if let Some(event) = event.as_object_mut() {
        if activity == OTHER {
            event.insert("activity_name".to_owned(), told.kind.into());
        }
        match shape(told.kind, &facts) {
            Shape::Access(_) => access(event, told, &facts),
            Shape::Entity(_, kind, name) => entity(event, told, &facts, kind, name),
        }
    }
    serde_json::to_vec(&event)
}

fn shape(kind: &str, facts: &Map<String, Value>) -> Shape {
    let frozen = facts.get("frozen").and_then(Value::as_bool).unwrap_or_default();
    match kind {
        "grant_issued" => Shape::Access(1),
        "grant_revoked" | "grant_expired" | "grant_used_up" => Shape::Access(2),
        "elevation_requested" | "elevation_refused" => Shape::Entity(1, "elevation", "elevation"),
        "elevation_approved" => Shape::Entity(3, "elevation", "elevation"),
        "elevation_denied" | "elevation_withdrawn" | "elevation_lapsed" => Shape::Entity(11, "elevation", "elevation"),
        "grant_reviewed" | "review_overdue" => Shape::Entity(3, "grant", "grant"),
        "grant_suspended" => Shape::Entity(12, "grant", "grant"),
        "grant_resumed" => Shape::Entity(13, "grant", "grant"),
        "signal_received" => Shape::Entity(1, "signal", "event_id"),
        "token_inactive" => Shape::Entity(11, "access token", "token"),
        "user_provisioned" => Shape::Entity(3, "user", "user"),
        "personal_erased" => Shape::Entity(4, "personal data", "erasure"),
        "group_provisioned" => Shape::Entity(3, "group", "group"),
        "revocation_ordered" => Shape::Entity(1, "revocation", "revocation"),
        "revocation_enforced" => Shape::Entity(3, "revocation", "revocation"),
        "freeze_changed" => Shape::Entity(if frozen { 12 } else { 13 }, "service", "service"),
        "policy_proposed" => Shape::Entity(1, "policy proposal", "proposal"),
        "policy_proposal_withdrawn" => Shape::Entity(11, "policy proposal", "proposal"),
        "policy_applied" => Shape::Entity(10, "policy", "policy_revision"),
        "service_applied" => Shape::Entity(3, "service", "service"),
        "key_created" => Shape::Entity(1, "grant key", "kid"),
        "assertion_key_certified" => Shape::Entity(6, "assertion key", "kid"),
        "control_started" => Shape::Entity(10, "control plane", "instance"),
        "database_restored" => Shape::Entity(3, "database", "epoch"),
        "data_read" => Shape::Entity(2, "view", "view"),
        // A kind that this mapping does not know is told all the same.
        _ => Shape::Entity(OTHER, "ledger entry", "id"),
    }
}

/// OCSF: 1 informational, 2 low, 3 medium, 4 high.
fn weight(kind: &str, facts: &Map<String, Value>) -> Weight {
    let justified = facts.get("verdict").and_then(Value::as_str).is_none_or(|verdict| verdict == "justified");
    let severity = match kind {
        "grant_issued" | "grant_revoked" | "revocation_ordered" | "policy_applied" => 2,
        "grant_reviewed" if justified => 1,
        "elevation_refused" | "elevation_denied" | "review_overdue" | "freeze_changed" | "grant_reviewed" => 3,
        "database_restored" => 4,
        _ => 1,
    };
    Weight { severity, failure: matches!(kind, "elevation_refused" | "review_overdue") }
}

/// Who did it: `by`, where that is not the one it is about, else who it is about; without either the control plane.
fn actor(told: &Told<'_>) -> Value {
    let who = told.values.get("by").or_else(|| told.values.get("person"));
    match who {
        Some(person) => json!({"app_name": "breakglass-control", "user": {"uid": person}}),
        None => json!({"app_name": "breakglass-control"}),
    }
}

fn access(event: &mut Map<String, Value>, told: &Told<'_>, facts: &Map<String, Value>) {
    let text = |name: &str| facts.get(name).and_then(Value::as_str).map(str::to_owned);
    let ended = told.grant;
    let person = told.values.get("person").cloned().or_else(|| ended.map(|grant| grant.person.clone()));
    let role = text("role").or_else(|| ended.map(|grant| grant.role.clone()));
    let service = text("service").or_else(|| ended.map(|grant| grant.service.clone()));
    let resources = match facts.get("resources").and_then(Value::as_array) {
        Some(resources) => resources.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        None => ended.map(|grant| grant.resources.clone()).unwrap_or_default(),
    };
    event.insert("user".to_owned(), json!({"uid": person.as_deref().unwrap_or(UNKNOWN)}));
    event.insert("privileges".to_owned(), json!([role.as_deref().unwrap_or(UNKNOWN)]));
    let detail = |resource: &String| {
        let (kind, _) = resource.split_once('/').unwrap_or(("resource", resource));
        match &service {
            Some(service) => json!({"uid": resource, "type": kind, "namespace": service}),
            None => json!({"uid": resource, "type": kind}),
        }
    };
    let resources: Vec<_> = resources.iter().map(detail).collect();
    if !resources.is_empty() {
        event.insert("resources".to_owned(), resources.into());
    }
}

fn entity(
    event: &mut Map<String, Value>,
    told: &Told<'_>,
    facts: &Map<String, Value>,
    kind: &'static str,
    name: &'static str,
) {
    let uid = match facts.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        // Such as a freeze of everything, or a request that was refused before it had a name.
        _ => format!("{}-{}", told.kind, told.index),
    };
    event.insert("entity".to_owned(), json!({"uid": uid, "type": kind}));
    if let Some(note) = told.values.get("note") {
        event.insert("comment".to_owned(), note.clone().into());
    }
    if let Some(code) = facts.get("code").and_then(Value::as_str) {
        event.insert("status_code".to_owned(), code.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::entry::EntryKind;

    fn line(kind: &str, facts: Value, values: &[(&str, &str)]) -> Value {
        let canonical = json!({"format": 1, "index": 7, "kind": kind, "at": 1, "facts": facts}).to_string();
        let values = values.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect();
        let grant = EndedGrant {
            person: "ada".to_owned(),
            role: "payments.override".to_owned(),
            service: "payments".to_owned(),
            resources: vec!["contract/C-1042".to_owned()],
        };
        let told = Told {
            index: 7,
            at: WallTime::from_unix_ms(1),
            kind,
            canonical: &canonical,
            values: &values,
            grant: kind.starts_with("grant_").then_some(&grant),
            instance: "control-1",
            version: "0.1.0",
        };
        serde_json::from_slice(&event(&told).unwrap()).unwrap()
    }

    #[test]
    fn a_grant_is_privileges_given_and_its_end_privileges_taken() {
        let facts =
            json!({"grant": "g-1", "role": "payments.override", "service": "payments", "resources": ["contract/C-1"]});
        let issued = line("grant_issued", facts, &[("person", "ada"), ("ticket", "INC-1")]);
        assert_eq!((&issued["class_uid"], &issued["type_uid"]), (&3005.into(), &300_501.into()));
        assert_eq!((&issued["user"]["uid"], &issued["privileges"][0]), (&"ada".into(), &"payments.override".into()));
        assert_eq!(issued["resources"][0], json!({"uid": "contract/C-1", "type": "contract", "namespace": "payments"}));
        let revoked = line("grant_revoked", json!({"grant": "g-1"}), &[("by", "bob")]);
        assert_eq!((&revoked["type_uid"], &revoked["user"]["uid"]), (&300_502.into(), &"ada".into()));
        assert_eq!(revoked["actor"]["user"]["uid"], "bob");
    }

    #[test]
    fn everything_else_is_an_entity_and_unknown_kinds_are_told_too() {
        let refused = line("elevation_refused", json!({"code": "not_allowed"}), &[("person", "ada")]);
        assert_eq!((&refused["type_uid"], &refused["status_id"]), (&300_401.into(), &2.into()));
        assert_eq!(refused["status_code"], "not_allowed");
        let frozen = line("freeze_changed", json!({"frozen": true, "service": "payments"}), &[("note", "look")]);
        assert_eq!((&frozen["activity_id"], &frozen["comment"]), (&12.into(), &"look".into()));
        let unknown = line("of_tomorrow", json!({}), &[]);
        assert_eq!((&unknown["activity_id"], &unknown["activity_name"]), (&99.into(), &"of_tomorrow".into()));
        assert_eq!(unknown["unmapped"]["break_glass"]["entry"]["kind"], "of_tomorrow");
    }

    #[test]
    fn an_entry_with_the_same_index_has_another_name() {
        let uid = |code: &str| line("elevation_refused", json!({"code": code}), &[])["metadata"]["uid"].clone();
        assert_ne!(uid("a"), uid("b"));
    }

    /// Every kind there is has a line of its own in the mapping.
    #[test]
    fn no_kind_is_left_to_the_unknown() {
        for kind in [
            EntryKind::GrantIssued,
            EntryKind::FreezeChanged,
            EntryKind::DataRead,
            EntryKind::DatabaseRestored,
            EntryKind::GrantSuspended,
            EntryKind::GrantResumed,
            EntryKind::SignalReceived,
            EntryKind::TokenInactive,
            EntryKind::UserProvisioned,
            EntryKind::GroupProvisioned,
        ] {
            let told = line(kind.as_str(), json!({}), &[]);
            assert_ne!(told["activity_id"], OTHER, "{}", kind.as_str());
        }
    }
}

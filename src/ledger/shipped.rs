//! The entries that tell what sidecars recorded: their lines, what is missing or twofold among them, and that a grant's
//! account is closed.
//!
//! Must never: tell in the clear what a line says of a human. The line as a whole is a personal value.

use serde_json::{Map, Value};

use super::entry::{Draft, EntryKind, PersonalField};
use crate::domain::{Action, GrantId, InstanceName, Resource, ServiceName, WallTime};

/// One line, as far as it may be told.
#[derive(Debug, Clone)]
pub struct AuditLine<'a> {
    pub service: &'a ServiceName,
    pub instance: &'a InstanceName,
    pub log_id: String,
    pub seq: u64,
    /// The line's kind.
    pub line: &'static str,
    /// When it was written, by the sidecar's clock.
    pub recorded_at: WallTime,
    pub decision: Option<&'a str>,
    pub resource: Option<&'a Resource>,
    pub action: Option<&'a Action>,
    pub grant: Option<&'a GrantId>,
    /// Of an intent: which of its grant's overrides, dense from 1 over all sidecars.
    pub number: Option<u64>,
    /// Of an intent: which of its grant's in its own log, as the sidecar says.
    pub log_number: Option<u64>,
    pub end: Option<&'a str>,
    pub cause: Option<&'a str>,
    pub status: Option<u16>,
    /// Of an outcome: which assertion under its grant in this log.
    pub assertion: Option<u64>,
    /// Of an outcome: the place of its intent.
    pub intent: Option<(String, u64)>,
    /// Of a summary: what was left out of the log, by kind and code.
    pub counts: Vec<LeftOut<'a>>,
}

/// How many records of one kind and code a log does not have.
#[derive(Debug, Clone)]
pub struct LeftOut<'a> {
    pub kind: &'a str,
    pub code: &'a str,
    pub count: u64,
}

/// A place where a log goes on in two ways.
#[derive(Debug, Clone)]
pub struct Fork<'a> {
    pub service: &'a ServiceName,
    pub instance: &'a InstanceName,
    pub log_id: String,
    /// Of the line after which, or in the place of which, another one came.
    pub seq: u64,
    /// The log that goes on from there, where it is another one.
    pub by_log: Option<String>,
}

/// Lines that were recorded and never came.
#[derive(Debug, Clone)]
pub struct Lost<'a> {
    pub service: &'a ServiceName,
    pub instance: &'a InstanceName,
    /// The last line that did come; absent where none ever did.
    pub after: Option<(String, u64)>,
    /// How far the log is known to have been written.
    pub heard: Option<u64>,
    /// The first line that comes after the loss, where there is one.
    pub next: Option<(String, u64)>,
    pub cause: &'static str,
}

/// How far a sidecar's log had become durable, as it said.
#[derive(Debug, Clone)]
pub struct Anchor {
    pub service: ServiceName,
    pub instance: InstanceName,
    pub log_id: String,
    pub seq: u64,
    /// SHA-256 of that line, hexadecimal.
    pub head: String,
}

/// The account of a grant that has ended.
#[derive(Debug, Clone)]
pub struct Closed<'a> {
    pub grant: &'a GrantId,
    /// Intents: they are numbered from 1 to this.
    pub overrides: u64,
    /// Outcomes by how they ended.
    pub ends: &'a Map<String, Value>,
    /// Intents whose outcome never came.
    pub open: u64,
    pub refusals: u64,
    /// Uses that the sidecars reported as spent; absent where the grant had no limit.
    pub spent: Option<u64>,
    /// Sidecars that may have recorded something and have not shipped past the grant's end.
    pub missing: &'a [InstanceName],
    /// Outcomes that name the assertion which told the upstream.
    pub assertions: u64,
    /// Assertions that were signed, by the sidecars' own counters.
    pub signed: u64,
    /// What of the numbers does not agree.
    pub differences: &'a [&'static str],
    /// Nothing is missing, and every number that tells of the same agrees with the others.
    pub reconciled: bool,
    /// The index of the account that this one replaces: something came late.
    pub amends: Option<u64>,
}

impl Draft {
    /// `text` is the line itself.
    pub fn audit_line(line: AuditLine<'_>, text: &str) -> Self {
        Self::new(EntryKind::AuditLine)
            .fact("service", line.service.as_str())
            .fact("instance", line.instance.as_str())
            .fact("log_id", line.log_id)
            .fact("seq", line.seq)
            .fact("line", line.line)
            .fact("recorded_at", line.recorded_at.unix_ms())
            .fact_if("decision", line.decision)
            .fact_if("resource", line.resource.map(Resource::as_str))
            .fact_if("action", line.action.map(Action::as_str))
            .fact_if("grant", line.grant.map(GrantId::as_str))
            .fact_if("number", line.number)
            .fact_if("log_number", line.log_number)
            .fact_if("end", line.end)
            .fact_if("cause", line.cause)
            .fact_if("status", line.status)
            .fact_if("assertion", line.assertion)
            .fact_if("intent", line.intent.map(place))
            .fact_if("counts", counts(&line.counts))
            .personal(PersonalField::Line, text)
    }

    pub fn audit_fork(fork: Fork<'_>) -> Self {
        Self::new(EntryKind::AuditFork)
            .fact("service", fork.service.as_str())
            .fact("instance", fork.instance.as_str())
            .fact("log_id", fork.log_id)
            .fact("seq", fork.seq)
            .fact_if("by_log", fork.by_log)
    }

    pub fn audit_lost(lost: Lost<'_>) -> Self {
        Self::new(EntryKind::AuditLost)
            .fact("service", lost.service.as_str())
            .fact("instance", lost.instance.as_str())
            .fact("cause", lost.cause)
            .fact_if("after", lost.after.map(place))
            .fact_if("heard", lost.heard)
            .fact_if("next", lost.next.map(place))
    }

    /// Several at once: one entry in a while is enough for all sidecars together.
    pub fn audit_anchored(anchors: &[Anchor]) -> Self {
        let anchor = |anchor: &Anchor| {
            serde_json::json!({
                "service": anchor.service.as_str(), "instance": anchor.instance.as_str(),
                "log_id": anchor.log_id, "seq": anchor.seq, "head": anchor.head,
            })
        };
        Self::new(EntryKind::AuditAnchored).fact("anchors", anchors.iter().map(anchor).collect::<Vec<_>>())
    }

    pub fn grant_closed(closed: Closed<'_>) -> Self {
        let missing: Vec<&str> = closed.missing.iter().map(InstanceName::as_str).collect();
        let draft = Self::new(EntryKind::GrantClosed)
            .fact("grant", closed.grant.as_str())
            .fact("overrides", closed.overrides)
            .fact("ends", closed.ends.clone())
            .fact("open", closed.open)
            .fact("refusals", closed.refusals)
            .fact("assertions", closed.assertions)
            .fact("signed", closed.signed)
            .fact("reconciled", closed.reconciled)
            .fact_if("spent", closed.spent)
            .fact_if("amends", closed.amends);
        let draft =
            if closed.differences.is_empty() { draft } else { draft.fact("differences", closed.differences.to_vec()) };
        if missing.is_empty() { draft } else { draft.fact("missing", missing) }
    }
}

fn counts(counts: &[LeftOut<'_>]) -> Option<Vec<Value>> {
    let count = |of: &LeftOut<'_>| serde_json::json!({ "kind": of.kind, "code": of.code, "count": of.count });
    (!counts.is_empty()).then(|| counts.iter().map(count).collect())
}

fn place((log_id, seq): (String, u64)) -> Value {
    serde_json::json!({ "log_id": log_id, "seq": seq })
}

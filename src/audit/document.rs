//! The shape of a line: the members of OCSF that we use, and ours. See [`super::ocsf`].

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Serialize;

use super::captured::CapturedFacts;
use super::chain::{LineHash, LineUid, LogId, Position};
use super::loss::LossFacts;
use super::record::QueryDigests;
use crate::domain::WallTime;

pub(super) type Text<'a> = Cow<'a, str>;

/// One line.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    pub activity_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity_name: Option<&'a str>,
    pub actor: Actor<'a>,
    pub api: Api<'a>,
    pub category_uid: u32,
    pub class_uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_endpoint: Option<Endpoint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_request: Option<HttpRequest<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_response: Option<HttpResponse>,
    pub metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<[ResourceDetails<'a>; 1]>,
    pub severity_id: u32,
    pub src_endpoint: Endpoint<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<&'a str>,
    pub status_id: u32,
    pub time: WallTime,
    pub type_uid: u32,
    pub unmapped: Unmapped<'a>,
}

#[derive(Serialize, Default)]
pub(super) struct Actor<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idp: Option<Named<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Named<'a>>,
}

#[derive(Serialize, Default)]
pub(super) struct Named<'a> {
    pub uid: &'a str,
}

#[derive(Serialize, Default)]
pub(super) struct Api<'a> {
    pub operation: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<ApiRequest<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<ApiResponse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service<'a>>,
}

#[derive(Serialize)]
pub(super) struct ApiRequest<'a> {
    pub uid: Text<'a>,
}

#[derive(Serialize)]
pub(super) struct ApiResponse {
    pub code: u16,
}

#[derive(Serialize)]
pub(super) struct Service<'a> {
    pub name: &'a str,
}

#[derive(Serialize, Default)]
pub(super) struct Endpoint<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub svc_name: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct HttpRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_method: Option<Text<'a>>,
    pub uid: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Url<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Url<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Text<'a>>,
    pub path: Text<'a>,
}

#[derive(Serialize)]
pub(super) struct HttpResponse {
    pub body_length: u64,
    pub code: u16,
}

#[derive(Serialize)]
pub(super) struct Metadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_uid: Option<Text<'a>>,
    pub event_code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_truncated: Option<bool>,
    pub log_name: &'a str,
    pub log_version: &'a str,
    pub product: Product<'a>,
    pub sequence: u64,
    pub uid: LineUid,
    pub version: &'a str,
}

#[derive(Serialize, Default)]
pub(super) struct Product<'a> {
    pub name: &'a str,
    pub vendor_name: &'a str,
    pub version: Text<'a>,
}

#[derive(Serialize)]
pub(super) struct ResourceDetails<'a> {
    #[serde(rename = "type")]
    pub kind: &'a str,
    pub uid: &'a str,
}

#[derive(Serialize)]
pub(super) struct Unmapped<'a> {
    pub break_glass: Facts<'a>,
}

/// Our own facts: what counts.
#[derive(Serialize)]
pub(super) struct Facts<'a> {
    pub format: u32,
    pub kind: &'a str,
    pub log_id: LogId,
    pub seq: u64,
    pub prev: LineHash,
    pub service: &'a str,
    pub instance: &'a str,
    pub version: Text<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub truncated: Vec<&'static str>,
    #[serde(flatten)]
    pub body: Body<'a>,
}

/// What a kind says beside the frame.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Body<'a> {
    Start(Start),
    Intent(Box<IntentFacts<'a>>),
    Outcome(Box<OutcomeFacts<'a>>),
    Verdict(Box<VerdictFacts<'a>>),
    Summary(SummaryFacts),
    Loss(Box<LossFacts>),
    End { open_intents: u64 },
}

#[derive(Serialize)]
pub(super) struct Start {
    pub previous: Option<Position>,
    pub torn_bytes: u64,
    pub orphans: u64,
    pub previous_damaged: bool,
}

#[derive(Serialize)]
pub(super) struct IntentFacts<'a> {
    pub request_id: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<Text<'a>>,
    pub decision: &'static str,
    pub mode: &'static str,
    pub method: Text<'a>,
    pub protocol: &'static str,
    pub query_names: Vec<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_digests: Option<&'a QueryDigests>,
    pub resource: &'a str,
    pub action: &'a str,
    pub person: &'a str,
    pub idp: &'a str,
    pub authentication: AuthenticationFacts<'a>,
    pub grant: GrantFacts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
}

/// How the person had authenticated.
#[derive(Serialize)]
pub(super) struct AuthenticationFacts<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<Text<'a>>,
    pub amr: Vec<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<WallTime>,
}

#[derive(Serialize)]
pub(super) struct GrantFacts<'a> {
    pub id: &'a str,
    pub role: &'a str,
    pub reason: &'a str,
    pub ticket: &'a str,
    pub binding: &'static str,
    /// Thumbprint of the key or certificate that was proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<&'a str>,
    pub policy_revision: u64,
    pub approvals: Vec<&'a str>,
    pub expires: WallTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct GrantRef<'a> {
    pub id: &'a str,
}

/// The place of an intent.
#[derive(Serialize)]
pub(super) struct IntentRef {
    pub log_id: LogId,
    pub seq: u64,
}

#[derive(Serialize)]
pub(super) struct OutcomeFacts<'a> {
    pub intent: IntentRef,
    pub request_id: Text<'a>,
    pub end: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    pub method: Text<'a>,
    pub resource: &'a str,
    pub action: &'a str,
    pub person: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idp: Option<&'a str>,
    pub authentication: AuthenticationFacts<'a>,
    pub grant: GrantRef<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assertion: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<BodyFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<BodyFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captured: Option<CapturedFacts<'a>>,
}

/// A body, as size and digest.
#[derive(Serialize)]
pub(super) struct BodyFacts {
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<LineHash>,
}

#[derive(Serialize)]
pub(super) struct VerdictFacts<'a> {
    pub request_id: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<Text<'a>>,
    pub decision: &'static str,
    pub mode: &'static str,
    pub method: Text<'a>,
    pub protocol: &'static str,
    pub query_names: Vec<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_digests: Option<&'a QueryDigests>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<AuthenticationFacts<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantRef<'a>>,
}

#[derive(Serialize)]
pub(super) struct SummaryFacts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<WallTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<WallTime>,
    pub counts: Vec<CountFacts>,
}

#[derive(Serialize)]
pub(super) struct CountFacts {
    pub kind: &'static str,
    pub code: &'static str,
    pub count: u64,
}

/// The methods OCSF names; others stand in our facts only.
pub(super) fn is_named_method(method: &str) -> bool {
    ["OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH"].contains(&method)
}

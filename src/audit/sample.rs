//! Records for tests: ordinary ones, and the longest that can be.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::captured::{Captured, CapturedBody, CapturedValue, JsonType, NotCaptured, Told, VALUES_MAX};
use super::chain::{Chain, LineHash, LogId};
use super::loss::AcceptedLoss;
use super::ocsf::encode;
use super::record::{
    Asker, Counted, End, Event, Intent, LogEnd, LogIdentity, LogStart, Observed, Outcome, Protocol, QueryDigest,
    QueryDigests, Refusal, RequestFacts, Summary,
};
use super::{Link, ParsedLine, PastIntent, Position};
use crate::decision::{Mode, RefusalCode};
use crate::domain::{Authentication, Binding, Grant, GrantId, Justification, Origin, Resource, Scope, WallTime};

pub(crate) const AT: WallTime = WallTime::from_unix_ms(1_795_313_580_123);

pub(crate) fn identity() -> LogIdentity {
    LogIdentity {
        service: "payments-prod".parse().unwrap(),
        instance: "sidecar-1".parse().unwrap(),
        version: "0.1.0".to_owned(),
    }
}

pub(crate) fn request(id: &str) -> RequestFacts {
    RequestFacts {
        request_id: id.to_owned(),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        at: AT,
        method: "POST".to_owned(),
        path: "/contracts/C-1042/payments/P-7/release".to_owned(),
        query_names: vec!["dry_run".to_owned()],
        query_digests: None,
        protocol: Protocol::Http2,
        client: "10.1.2.3:40112".parse().unwrap(),
        host: Some("payments.example".to_owned()),
        resource: Some("contract/C-1042".parse().unwrap()),
        action: Some("payment.release".parse().unwrap()),
        mode: Mode::Enforce,
    }
}

pub(crate) fn grant(id: u64) -> Grant {
    let resource: Resource = "contract/C-1042".parse().unwrap();
    Grant {
        id: GrantId::from_random(id),
        service: "payments-prod".parse().unwrap(),
        person: "ada".parse().unwrap(),
        idp: "https://id.example".parse().unwrap(),
        authentication: Authentication {
            acr: Some("phr".to_owned()),
            amr: vec!["hwk".to_owned()],
            auth_time: Some(AT.minus(Duration::from_secs(60))),
        },
        role: "release.manager".parse().unwrap(),
        scope: Scope::new([resource], ["payment.release".parse().unwrap()]).unwrap(),
        binding: Binding::Identity,
        confirmation: None,
        justification: Justification { reason: "stuck-payment".parse().unwrap(), ticket: "INC-2041".parse().unwrap() },
        issued: AT,
        not_before: AT,
        expires: AT.plus(Duration::from_secs(600)),
        max_uses: NonZeroU32::new(3),
        staleness_max: Duration::from_secs(30),
        policy_revision: 1,
        approvals: vec!["bob".parse().unwrap()],
        origin: Origin::ControlPlane,
    }
}

pub(crate) fn intent(id: &str) -> Intent {
    intent_under(id, grant(7))
}

pub(crate) fn intent_under(id: &str, grant: Grant) -> Intent {
    Intent {
        number: None,
        request: request(id),
        grant: Arc::new(grant),
        resource: "contract/C-1042".parse().unwrap(),
        action: "payment.release".parse().unwrap(),
    }
}

pub(crate) fn outcome(end: End) -> Outcome {
    Outcome {
        at: AT,
        status: Some(200),
        assertion: None,
        request_bytes: 17,
        response_bytes: 211,
        request_sha256: Some([0x11; 32]),
        response_sha256: Some([0x22; 32]),
        duration: Duration::from_millis(41),
        end,
        captured: None,
    }
}

pub(crate) fn captured() -> Captured {
    let value = |field: &str, json_type, told| CapturedValue { field: field.to_owned(), json_type, told };
    let values = vec![
        value("/amount", JsonType::Number, Told::Value("1250.00".to_owned())),
        value("/payee/iban", JsonType::String, Told::Digest("f".repeat(64))),
        value("/lines/0/note", JsonType::String, Told::Nothing),
        value("/lines/1/note", JsonType::String, Told::Withheld),
        value("/reference", JsonType::Absent, Told::Nothing),
    ];
    Captured {
        key: Some("f".repeat(16)),
        request: Some(CapturedBody::Fields { values, is_whole: true }),
        response: Some(CapturedBody::Not(NotCaptured::TooLarge)),
    }
}

/// More than fits.
pub(crate) fn longest_captured() -> Captured {
    let nasty = || CapturedValue {
        field: "\"".repeat(128),
        json_type: JsonType::Boolean,
        told: Told::Value("\u{1}".repeat(9999)),
    };
    let body = || Some(CapturedBody::Fields { values: (0..VALUES_MAX).map(|_| nasty()).collect(), is_whole: true });
    Captured { key: Some("f".repeat(16)), request: body(), response: body() }
}

pub(crate) fn refusal(code: RefusalCode) -> Refusal {
    Refusal { request: request("r-refused"), code, asker: None }
}

pub(crate) fn observed() -> Observed {
    Observed { request: request("r-observed"), decision: "override", asker: Some(Asker::holder_of(&grant(7))) }
}

/// A tail that was lost.
pub(crate) fn loss() -> AcceptedLoss {
    let place = |sequence| Position { log_id: LogId::from_bytes([9; 16]), sequence, head: LineHash::of(b"line") };
    AcceptedLoss {
        by: "ada".to_owned(),
        reason: "the disk was replaced".to_owned(),
        accepted_at: AT,
        digest: LineHash::of(b"damage"),
        known: Some(place(42)),
        found: Some(place(40)),
        findings: vec!["the end is missing".to_owned()],
    }
}

pub(crate) fn longest_loss() -> AcceptedLoss {
    let nasty = "\u{1}".repeat(5000);
    AcceptedLoss { by: nasty.clone(), reason: nasty.clone(), findings: vec![nasty; 99], ..loss() }
}

pub(crate) fn log_start(previous: Option<Position>) -> LogStart {
    LogStart { at: AT, previous, torn_bytes: 0, orphans: 0, previous_damaged: false }
}

/// A request whose every text is as long and as hard to write in JSON as can be.
pub(crate) fn longest_request() -> RequestFacts {
    let nasty = "\u{1}\"\\ü".repeat(20_000);
    RequestFacts {
        request_id: nasty.clone(),
        trace_id: Some(nasty.clone()),
        method: nasty.clone(),
        path: nasty.clone(),
        query_names: vec![nasty.clone(); 1000],
        query_digests: Some(QueryDigests { key: "f".repeat(16), is_whole: false, values: vec![longest_digest(); 8] }),
        host: Some(nasty),
        client: "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap(),
        resource: Some(longest_resource()),
        action: Some("a".repeat(128).parse().unwrap()),
        ..request("r")
    }
}

fn longest_digest() -> QueryDigest {
    QueryDigest { name: "\"".repeat(64), hmac_sha256: "f".repeat(64) }
}

fn longest_resource() -> Resource {
    format!("{}/{}", "t".repeat(64), "~".repeat(128)).parse().unwrap()
}

pub(crate) fn longest_intent() -> Intent {
    let text = |len| "\"".repeat(len);
    let grant = Grant {
        person: text(255).parse().unwrap(),
        idp: text(512).parse().unwrap(),
        authentication: Authentication {
            acr: Some("\u{1}".repeat(9999)),
            amr: vec!["\u{1}".repeat(999); 99],
            auth_time: Some(AT),
        },
        role: "r".repeat(64).parse().unwrap(),
        justification: Justification { reason: "r".repeat(64).parse().unwrap(), ticket: text(128).parse().unwrap() },
        approvals: vec![text(255).parse().unwrap(); 99],
        policy_revision: u64::MAX,
        ..grant(u64::MAX)
    };
    Intent {
        number: Some(u64::MAX),
        request: longest_request(),
        grant: Arc::new(grant),
        resource: longest_resource(),
        action: "a".repeat(128).parse().unwrap(),
    }
}

pub(crate) fn longest_identity() -> LogIdentity {
    LogIdentity {
        service: "s".repeat(63).parse().unwrap(),
        instance: "i".repeat(63).parse().unwrap(),
        version: "\u{1}".repeat(999),
    }
}

/// A chain under construction, as segments of lines.
pub(crate) struct LogBuilder {
    pub(crate) chain: Chain,
    pub(crate) lines: Vec<Vec<u8>>,
}

impl LogBuilder {
    pub(crate) fn new() -> Self {
        let mut builder = Self { chain: Chain::start(LogId::from_bytes([0; 16]), None), lines: Vec::new() };
        builder.restart(1);
        builder
    }

    /// A further process start.
    pub(crate) fn restart(&mut self, id: u8) {
        let previous = Some(self.chain.position()).filter(|_| !self.lines.is_empty());
        self.chain = Chain::start(LogId::from_bytes([id; 16]), previous.as_ref());
        self.push(&Event::LogStarted(&log_start(previous)));
    }

    pub(crate) fn push(&mut self, event: &Event<'_>) -> Link {
        let (link, mut line) = (self.chain.next(), Vec::new());
        encode(&link, &identity(), event, &mut line).unwrap();
        self.chain.advance(&line);
        self.lines.push(line);
        link
    }

    pub(crate) fn intent(&mut self, id: &str) -> Link {
        self.push(&Event::Intent(&intent(id)))
    }

    pub(crate) fn outcome(&mut self, id: &str, link: &Link, end: End) {
        self.push(&Event::Outcome { intent: &intent(id), link, outcome: &outcome(end) });
    }
}

pub(crate) fn past_intent(line: &[u8]) -> PastIntent {
    match ParsedLine::parse(line).unwrap().body {
        super::line::LineBody::Intent(intent) => *intent,
        other => panic!("not an intent: {other:?}"),
    }
}

/// One line of each kind, and the longest ones.
pub(crate) fn one_of_each() -> LogBuilder {
    let mut log = LogBuilder::new();
    let link = log.intent("r-1");
    log.outcome("r-1", &link, End::Completed);
    for code in RefusalCode::ALL {
        let link = log.intent("r-2");
        log.outcome("r-2", &link, End::NotForwarded(*code));
        log.push(&Event::Refusal(&refusal(*code)));
    }
    for end in [
        End::ClientAborted,
        End::UpstreamFailed,
        End::UpstreamTimeout,
        End::Stopped,
        End::ClientClosed,
        End::UpstreamClosed,
        End::Idle,
        End::Unknown,
        End::Aborted,
    ] {
        let link = log.intent("r-3");
        log.outcome("r-3", &link, end);
    }
    for captured in [captured(), longest_captured()] {
        let link = log.intent("r-4");
        let outcome = Outcome { captured: Some(Box::new(captured)), ..outcome(End::Completed) };
        log.push(&Event::Outcome { intent: &intent("r-4"), link: &link, outcome: &outcome });
    }
    log.push(&Event::Observed(&observed()));
    let asker = Asker { grant: None, ..Asker::holder_of(&grant(7)) };
    log.push(&Event::Refusal(&Refusal { asker: Some(asker), ..refusal(RefusalCode::GrantNotUsable) }));
    let counts = [(Counted::Refusal(RefusalCode::HeaderMalformed), 3), (Counted::Observed("pass"), 2)].into();
    log.push(&Event::RefusalSummary(&Summary { from: Some(AT), until: Some(AT), counts }));
    let long = longest_intent();
    let link = log.push(&Event::Intent(&long));
    log.push(&Event::Outcome { intent: &long, link: &link, outcome: &outcome(End::Completed) });
    let open = log.push(&Event::Intent(&long));
    let orphan = past_intent(log.lines.last().unwrap());
    assert_eq!(orphan.seq, open.seq);
    log.push(&Event::LogEnded(&LogEnd { at: AT, open_intents: 1 }));
    log.restart(2);
    log.push(&Event::UnknownOutcome { intent: &orphan, at: AT });
    log
}

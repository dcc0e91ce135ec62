//! A line as whoever keeps it elsewhere needs it: its place in the chain, and the facts that name no human.
//!
//! The line itself may hold personal values (who, from where, for which ticket). They are not read here, so that nothing
//! made of this can tell them. Must never: let a line pass that says other things in two places.

use serde::Deserialize;

use super::chain::{LineHash, Link, LogId, Position};
use super::kind::LineKind;
use super::line::{FORMAT, LineError};
use crate::domain::{Action, EXACT_MAX, GrantId, InstanceName, Resource, ServiceName, WallTime};

/// Of a code.
const WORD_BYTES_MAX: usize = 64;

/// A line with its hash, its place, and what may be told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldLine {
    pub link: Link,
    pub hash: LineHash,
    pub service: ServiceName,
    pub instance: InstanceName,
    pub at: WallTime,
    pub kind: LineKind,
    /// The decision code, where one was decided.
    pub decision: Option<String>,
    pub resource: Option<Resource>,
    pub action: Option<Action>,
    pub grant: Option<GrantId>,
    /// Of an intent: which of its grant's in this log, dense from 1.
    pub number: Option<u64>,
    /// How an override ended, why where that has a code, and the upstream's status.
    pub end: Option<String>,
    pub cause: Option<String>,
    pub status: Option<u16>,
    /// Of an outcome: which assertion under its grant in this log told the upstream of the override, dense from 1.
    pub assertion: Option<u64>,
    /// The intent that an outcome belongs to.
    pub intent: Option<(LogId, u64)>,
    /// What the first line of a log says of the log before.
    pub previous: Option<Position>,
    /// Of a summary: what was left out of the log.
    pub counts: Vec<LeftOut>,
}

/// Records of one kind and code that a log has only as a number.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LeftOut {
    /// `refusal` or `observed`.
    pub kind: String,
    /// The decision code.
    pub code: String,
    pub count: u64,
}

impl ToldLine {
    /// # Errors
    /// When the bytes are no line of the format and kinds that this version knows.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        let document: Document<'_> = serde_json::from_slice(line).map_err(LineError::Malformed)?;
        let facts = document.unmapped.break_glass;
        if facts.format != FORMAT {
            return Err(LineError::Format(facts.format));
        }
        facts.check()?;
        let link = Link { log_id: facts.log_id, seq: facts.seq, prev: facts.prev };
        if document.metadata.uid != link.uid().to_string() {
            return Err(LineError::Contradiction);
        }
        Ok(Self {
            link,
            hash: LineHash::of(line),
            service: facts.service,
            instance: facts.instance,
            at: document.time,
            kind: facts.kind,
            decision: facts.decision.map(str::to_owned),
            resource: facts.resource,
            action: facts.action,
            grant: facts.grant.map(|grant| grant.id),
            number: facts.number.map(exact),
            end: facts.end.map(str::to_owned),
            cause: facts.cause.map(str::to_owned),
            status: facts.status,
            assertion: facts.assertion.map(exact),
            intent: facts.intent.map(|intent| (intent.log_id, intent.seq)),
            previous: facts.previous,
            counts: facts
                .counts
                .into_iter()
                .map(|left_out| LeftOut { count: exact(left_out.count), ..left_out })
                .collect(),
        })
    }

    /// Where the line stands.
    pub fn position(&self) -> Position {
        Position { log_id: self.link.log_id, sequence: self.link.seq, head: self.hash }
    }

    /// The line that it says is right before it; `None`: none at all.
    pub fn before(&self) -> Option<Position> {
        if self.begins() {
            return self.previous;
        }
        let sequence = self.link.seq.saturating_sub(1);
        Some(Position { log_id: self.link.log_id, sequence, head: self.link.prev })
    }

    /// Whether it can be the line right after `before`; `None`: after nothing at all.
    pub fn follows(&self, before: Option<&Position>) -> bool {
        self.is_of_one_mind() && self.before().as_ref() == before
    }

    /// Whether what it says of its place fits together.
    pub fn is_of_one_mind(&self) -> bool {
        match (self.begins(), &self.previous) {
            (true, Some(previous)) => previous.head == self.link.prev && previous.log_id != self.link.log_id,
            (true, None) => self.link.prev == LineHash::NONE,
            (false, _) => self.link.seq > 1 && self.kind != LineKind::LogStarted,
        }
    }

    /// Whether it is the first line of a log.
    pub fn begins(&self) -> bool {
        self.link.seq == 1 && self.kind == LineKind::LogStarted
    }
}

#[derive(Deserialize)]
struct Document<'a> {
    time: WallTime,
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    unmapped: Unmapped<'a>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    uid: &'a str,
}

#[derive(Deserialize)]
struct Unmapped<'a> {
    #[serde(borrow)]
    break_glass: Facts<'a>,
}

/// Texts that are borrowed are words of ours, which need no escape.
#[derive(Deserialize)]
struct Facts<'a> {
    format: u32,
    kind: LineKind,
    log_id: LogId,
    seq: u64,
    prev: LineHash,
    service: ServiceName,
    instance: InstanceName,
    decision: Option<&'a str>,
    resource: Option<Resource>,
    action: Option<Action>,
    grant: Option<Grant>,
    number: Option<u64>,
    end: Option<&'a str>,
    cause: Option<&'a str>,
    status: Option<u16>,
    assertion: Option<u64>,
    intent: Option<Intent>,
    previous: Option<Position>,
    #[serde(default)]
    counts: Vec<LeftOut>,
}

impl Facts<'_> {
    /// What is told stays in the ledger for ever: places that every reader takes for the same, and words, no texts.
    fn check(&self) -> Result<(), LineError> {
        let mut places =
            [Some(self.seq), self.intent.as_ref().map(|intent| intent.seq), self.previous.map(|at| at.sequence)]
                .into_iter()
                .flatten();
        if places.any(|place| place > EXACT_MAX) {
            return Err(LineError::Number);
        }
        let left_out = self.counts.iter().flat_map(|left_out| [left_out.kind.as_str(), left_out.code.as_str()]);
        let mut words = [self.decision, self.end, self.cause].into_iter().flatten().chain(left_out);
        if words.all(is_word) { Ok(()) } else { Err(LineError::Word) }
    }
}

/// A count that not every reader would take for the same is told as the greatest that they do; the line has it whole.
fn exact(count: u64) -> u64 {
    count.min(EXACT_MAX)
}

fn is_word(text: &str) -> bool {
    (1..=WORD_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[derive(Deserialize)]
struct Grant {
    id: GrantId,
}

#[derive(Deserialize)]
struct Intent {
    log_id: LogId,
    seq: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{ParsedLine, sample};

    #[test]
    fn every_kind_is_read_and_follows_the_line_before() {
        let log = sample::one_of_each();
        let mut before = None;
        for line in &log.lines {
            let told = ToldLine::parse(line).unwrap();
            assert_eq!(told.link, ParsedLine::parse(line).unwrap().link);
            assert!(told.follows(before.as_ref()), "{}", told.kind.as_str());
            let elsewhere = before.map(|before: Position| Position { head: LineHash::of(b"x"), ..before });
            assert!(elsewhere.is_none() || !told.follows(elsewhere.as_ref()));
            before = Some(told.position());
        }
    }

    #[test]
    fn what_was_left_out_is_told_by_kind_and_code() {
        let lines = sample::one_of_each().lines;
        let told = lines.iter().map(|line| ToldLine::parse(line).unwrap());
        let (summaries, others): (Vec<_>, Vec<_>) = told.partition(|told| told.kind == LineKind::RefusalSummary);
        assert!(others.iter().all(|told| told.counts.is_empty()));
        let counts = &summaries[0].counts;
        assert!(counts.iter().any(|left_out| left_out.kind == "refusal" && left_out.count > 0), "{counts:?}");
    }

    #[test]
    fn what_no_reader_could_take_back_is_no_line() {
        let log = sample::one_of_each();
        let line = |of: &str| {
            let line = log.lines.iter().find(|line| String::from_utf8_lossy(line).contains(of)).unwrap();
            serde_json::from_slice::<serde_json::Value>(line).unwrap()
        };
        let told = |line: &serde_json::Value| ToldLine::parse(&serde_json::to_vec(line).unwrap());
        let mut summary = line(r#""kind":"refusal_summary""#);
        let facts = "/unmapped/break_glass/counts/0";
        assert!(told(&summary).is_ok());
        for (member, value) in [("code", "a text".into()), ("kind", "x".repeat(65).into())] {
            let before = std::mem::replace(summary.pointer_mut(&format!("{facts}/{member}")).unwrap(), value);
            assert!(matches!(told(&summary), Err(LineError::Word)), "{member}");
            *summary.pointer_mut(&format!("{facts}/{member}")).unwrap() = before;
        }
        *summary.pointer_mut(&format!("{facts}/count")).unwrap() = u64::MAX.into();
        assert_eq!(told(&summary).unwrap().counts[0].count, EXACT_MAX);
        let mut intent = line(r#""kind":"intent""#);
        intent["unmapped"]["break_glass"]["number"] = u64::MAX.into();
        assert_eq!(told(&intent).unwrap().number, Some(EXACT_MAX));
        let (log_id, seq) = (intent["unmapped"]["break_glass"]["log_id"].clone(), 1_u64 << 53);
        let mut far = intent.clone();
        far["unmapped"]["break_glass"]["seq"] = seq.into();
        far["metadata"]["uid"] = format!("{}-{seq}", log_id.as_str().unwrap()).into();
        assert!(matches!(told(&far), Err(LineError::Number)));
        intent["unmapped"]["break_glass"]["decision"] = "Ada was here".into();
        assert!(matches!(told(&intent), Err(LineError::Word)));
    }

    #[test]
    fn nothing_personal_is_told() {
        for line in &sample::one_of_each().lines {
            let told = format!("{:?}", ToldLine::parse(line).unwrap());
            for personal in ["\"ada\"", "10.1.2.3", "INC-"] {
                assert!(!told.contains(personal), "{personal} in {told}");
            }
        }
    }
}

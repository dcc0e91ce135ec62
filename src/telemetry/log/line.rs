//! One event as one line: flat JSON, or text for people. Nothing in a value can begin a new line or a new field.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};

use super::{LogFormat, ProcessName};
use crate::domain::WallTime;
use crate::error_chain::error_chain;
use crate::telemetry::request_context::RequestContext;

/// The name that `tracing` gives an event's text.
const MESSAGE: &str = "message";

/// What an event carries.
#[derive(Debug, Clone, Default)]
pub struct Content {
    pub message: String,
    pub fields: Vec<(&'static str, Value)>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Signed(i64),
    Unsigned(u64),
    Real(f64),
    Truth(bool),
}

impl Content {
    fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| *known == name)
    }

    fn keep(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            (MESSAGE, Value::Text(text)) => self.message = text,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Content {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, Value::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, Value::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, Value::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, Value::Real(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, Value::Truth(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.keep(field, Value::Text(error_chain(value)));
    }
}

/// One line, before it is written.
#[derive(Debug)]
pub struct Line<'l> {
    pub at: WallTime,
    pub level: tracing::Level,
    pub target: &'l str,
    pub content: &'l Content,
    pub process: &'l ProcessName,
    pub request: Option<RequestContext>,
}

impl Line<'_> {
    /// With its line break.
    pub fn written(&self, format: LogFormat, colour: bool) -> String {
        let mut line = match format {
            LogFormat::Json => self.json(),
            LogFormat::Text => self.text(colour),
        };
        line.push('\n');
        line
    }

    /// Who wrote it and for whom. What the event says itself goes before.
    fn circumstances(&self) -> Vec<(&'static str, Value)> {
        let request = self.request;
        let trace = request.and_then(|request| request.trace);
        let text = |value: Option<String>| value.map(Value::Text);
        let all = [
            ("program", text(Some(self.process.program.to_owned()).filter(|program| !program.is_empty()))),
            ("service", text(self.process.service.clone())),
            ("instance", text(self.process.instance.clone())),
            ("request_id", text(request.and_then(|request| request.known_id()).map(|id| id.to_string()))),
            ("trace_id", text(trace.map(|trace| trace.trace_id.to_string()))),
            ("span_id", text(trace.map(|trace| trace.span_id.to_string()))),
        ];
        let untold = all.into_iter().filter(|(name, _)| !self.content.has(name));
        untold.filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn json(&self) -> String {
        let mut line = String::with_capacity(256);
        line.push('{');
        let head = [
            ("timestamp", Value::Text(self.at.rfc3339())),
            ("level", Value::Text(self.level.to_string())),
            ("target", Value::Text(self.target.to_owned())),
            (MESSAGE, Value::Text(self.content.message.clone())),
        ];
        let circumstances = self.circumstances();
        for (name, value) in head.iter().chain(&circumstances).chain(&self.content.fields) {
            if line.len() > 1 {
                line.push(',');
            }
            let _ = write!(line, "{}:{}", quoted(name), value.json());
        }
        line.push('}');
        line
    }

    fn text(&self, colour: bool) -> String {
        let (on, off) = if colour { (colour_of(self.level), "\x1b[0m") } else { ("", "") };
        let level = self.level;
        let mut line = format!("{} {on}{level:>5}{off} {}: ", self.at.rfc3339(), self.target);
        push_plain(&mut line, &self.content.message);
        // A person reads the log of a process they know.
        let circumstances = self.circumstances();
        let of_request = circumstances.iter().filter(|(name, _)| !matches!(*name, "program" | "service" | "instance"));
        for (name, value) in self.content.fields.iter().chain(of_request) {
            let _ = write!(line, " {name}={}", value.text());
        }
        line
    }
}

impl Value {
    fn json(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Real(number) if !number.is_finite() => quoted(&number.to_string()),
            Self::Real(_) | Self::Signed(_) | Self::Unsigned(_) | Self::Truth(_) => self.bare(),
        }
    }

    /// As it is where it reads as one word, else in quotes.
    fn text(&self) -> String {
        match self {
            Self::Text(text) if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic() && b != b'"') => {
                quoted(text)
            }
            _ => self.bare(),
        }
    }

    fn bare(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Signed(number) => number.to_string(),
            Self::Unsigned(number) => number.to_string(),
            Self::Real(number) => number.to_string(),
            Self::Truth(truth) => truth.to_string(),
        }
    }
}

/// A JSON string. serde_json leaves DEL and the C1 controls as they are, which a terminal may obey.
fn quoted(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap_or_default();
    if !json.contains(is_control) {
        return json;
    }
    json.chars().fold(String::with_capacity(json.len()), |mut safe, c| {
        if is_control(c) {
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
        safe
    })
}

/// Control characters, and those that turn the direction of what follows.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
}

fn push_plain(line: &mut String, text: &str) {
    for c in text.chars() {
        if is_control(c) { line.extend(c.escape_default()) } else { line.push(c) }
    }
}

const fn colour_of(level: tracing::Level) -> &'static str {
    match level {
        tracing::Level::ERROR => "\x1b[31m",
        tracing::Level::WARN => "\x1b[33m",
        tracing::Level::INFO => "\x1b[32m",
        tracing::Level::DEBUG => "\x1b[34m",
        tracing::Level::TRACE => "\x1b[35m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'l>(content: &'l Content, process: &'l ProcessName) -> Line<'l> {
        Line {
            at: WallTime::from_unix_ms(1_795_313_580_123),
            level: tracing::Level::WARN,
            target: "breakglass::sidecar::journey",
            content,
            process,
            request: None,
        }
    }

    #[test]
    fn json_is_one_flat_object_with_the_fixed_names_first() {
        let content = Content {
            message: "broke\noff".to_owned(),
            fields: vec![
                ("code", Value::Text("upstream_failed".to_owned())),
                ("spent", Value::Unsigned(3)),
                ("share", Value::Real(f64::NAN)),
                ("frozen", Value::Truth(true)),
                ("service", Value::Text("another".to_owned())),
            ],
        };
        let process = ProcessName { program: "p", service: Some("own".to_owned()), instance: Some("i".to_owned()) };
        assert_eq!(
            line(&content, &process).written(LogFormat::Json, false),
            concat!(
                r#"{"timestamp":"2026-11-22T02:13:00.123Z","level":"WARN","target":"breakglass::sidecar::journey","#,
                r#""message":"broke\noff","program":"p","instance":"i","code":"upstream_failed","spent":3,"#,
                r#""share":"NaN","frozen":true,"service":"another"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn no_value_begins_a_line_or_a_field_or_moves_a_terminal() {
        let nasty = "a b\n2026 ERROR forged=1 \"\u{1b}[2J\u{9b}\u{202e}";
        let content = Content { message: nasty.to_owned(), fields: vec![("error", Value::Text(nasty.to_owned()))] };
        let process = ProcessName::default();
        for format in [LogFormat::Text, LogFormat::Json] {
            let written = line(&content, &process).written(format, false);
            assert_eq!(written.chars().filter(|c| is_control(*c)).count(), 1, "{written:?}");
            assert!(written.ends_with('\n'));
        }
        let written = line(&content, &process).written(LogFormat::Json, false);
        let parsed: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(parsed["error"], nasty);
        let text = line(&content, &process).written(LogFormat::Text, false);
        assert!(text.contains(r#" error="a b\n2026 ERROR forged=1 \"\u001b[2J"#), "{text}");
    }
}

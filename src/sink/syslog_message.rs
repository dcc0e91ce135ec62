//! One record as a syslog message (RFC 5424), framed by octet counting (RFC 5425 §4.3, RFC 6587 §3.4.1).
//!
//! The message is the line as it is, without a byte order mark: parsers of JSON do not expect one, and MSG-ANY allows it.

use std::io::Write as _;

use super::Record;

/// What is the same in every message.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) facility: u8,
    pub(super) hostname: String,
    pub(super) app_name: String,
    pub(super) process_id: u32,
    pub(super) structured_data_id: String,
}

impl Header {
    /// Appends the framed message of `record`.
    pub(super) fn frame(&self, record: &Record, out: &mut Vec<u8>) {
        let mut message = Vec::with_capacity(record.text.len().saturating_add(256));
        let priority = u32::from(self.facility) * 8 + u32::from(record.severity.syslog());
        let written = write!(
            message,
            "<{priority}>1 {} {} {} {} {} [{} uid=\"{}\" kind=\"{}\"] ",
            record.at.rfc3339(),
            token(&self.hostname, 255),
            token(&self.app_name, 48),
            self.process_id,
            token(&record.kind, 32),
            self.structured_data_id,
            parameter(&record.uid),
            parameter(&record.kind),
        );
        debug_assert!(written.is_ok(), "memory takes what is written");
        message.extend_from_slice(&record.text);
        out.extend_from_slice(message.len().to_string().as_bytes());
        out.push(b' ');
        out.append(&mut message);
    }
}

/// RFC 5424 §6: printable ASCII without blanks, or the nil value.
fn token(text: &str, chars_max: usize) -> String {
    let sound: String = text.chars().filter(char::is_ascii_graphic).take(chars_max).collect();
    if sound.is_empty() { "-".to_owned() } else { sound }
}

/// RFC 5424 §6.3.3: three characters are escaped.
fn parameter(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::WallTime;
    use crate::sink::Severity;

    #[test]
    fn a_message_is_counted_and_its_parameters_escaped() {
        let header = Header {
            facility: 13,
            hostname: "pay ments-1".to_owned(),
            app_name: "breakglass".to_owned(),
            process_id: 7,
            structured_data_id: "breakglass@32473".to_owned(),
        };
        let record = Record {
            text: Bytes::from_static("{\"grund\":\"kläre\"}".as_bytes()),
            uid: "a\"b\\c]d".to_owned(),
            kind: "intent".to_owned(),
            severity: Severity::High,
            at: WallTime::from_unix_ms(1_700_000_000_123),
        };
        let mut out = Vec::new();
        header.frame(&record, &mut out);
        let text = String::from_utf8(out).unwrap();
        let (count, message) = text.split_once(' ').unwrap();
        assert_eq!(count.parse::<usize>().unwrap(), message.len());
        assert_eq!(
            message,
            "<107>1 2023-11-14T22:13:20.123Z payments-1 breakglass 7 intent \
             [breakglass@32473 uid=\"a\\\"b\\\\c\\]d\" kind=\"intent\"] {\"grund\":\"kläre\"}"
        );
    }
}

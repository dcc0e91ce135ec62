//! The words of the NATS client protocol that a publisher needs, over any connection. Bounded: a line, a message and its
//! headers have a greatest length.
//!
//! Source: <https://docs.nats.io/reference/reference-protocols/nats-protocol>, ADR-4 (headers), ADR-8 and ADR-31 (JetStream).

use std::io;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

use super::SinkError;

const LINE_BYTES_MAX: u64 = 64 * 1024;
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// What a server says of itself.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Info {
    #[serde(default)]
    pub(super) headers: bool,
    #[serde(default)]
    pub(super) max_payload: u64,
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Ping,
    Pong,
    Ok,
    /// Another list of servers, or that it will end soon.
    Info,
    Error(String),
    /// On a subject, with a payload. A status line of headers comes with its number, such as 503: nobody listens.
    Message {
        subject: String,
        status: Option<u16>,
        payload: Vec<u8>,
    },
}

/// JetStream's word on what was published.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Acknowledgement {
    pub(super) stream: Option<String>,
    #[serde(default)]
    pub(super) error: Option<ErrorDescription>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ErrorDescription {
    #[serde(default)]
    pub(super) description: String,
}

/// The first line of a connection.
pub(super) async fn read_info<R: AsyncRead + Unpin>(reader: &mut BufReader<R>) -> Result<Info, SinkError> {
    let line = read_line(reader).await?;
    let json = line.strip_prefix("INFO ").ok_or(SinkError::Protocol)?;
    serde_json::from_str(json).map_err(|_| SinkError::Protocol)
}

/// The next word. Not to be given up in the middle: the connection is then of no more use.
pub(super) async fn read<R: AsyncRead + Unpin>(reader: &mut BufReader<R>) -> Result<Said, SinkError> {
    let line = read_line(reader).await?;
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
    match word.to_ascii_uppercase().as_str() {
        "PING" => Ok(Said::Ping),
        "PONG" => Ok(Said::Pong),
        "+OK" => Ok(Said::Ok),
        "INFO" => Ok(Said::Info),
        "-ERR" => Ok(Said::Error(rest.trim().trim_matches('\'').to_owned())),
        "MSG" => message(reader, rest, false).await,
        "HMSG" => message(reader, rest, true).await,
        _ => Err(SinkError::Protocol),
    }
}

/// `MSG subject sid [reply] bytes`, `HMSG subject sid [reply] header-bytes bytes`.
async fn message<R: AsyncRead + Unpin>(
    reader: &mut BufReader<R>,
    rest: &str,
    has_headers: bool,
) -> Result<Said, SinkError> {
    let words: Vec<_> = rest.split_ascii_whitespace().collect();
    let subject = words.first().ok_or(SinkError::Protocol)?;
    let number = |from_end: usize| -> Result<usize, SinkError> {
        let word = words.len().checked_sub(from_end).and_then(|at| words.get(at)).ok_or(SinkError::Protocol)?;
        word.parse().map_err(|_| SinkError::Protocol)
    };
    let total = number(1)?;
    let headers = if has_headers { number(2)? } else { 0 };
    if total > MESSAGE_BYTES_MAX || headers > total {
        return Err(SinkError::Protocol);
    }
    let mut bytes = vec![0; total.saturating_add(2)];
    reader.read_exact(&mut bytes).await.map_err(SinkError::Broken)?;
    bytes.truncate(total);
    let payload = bytes.split_off(headers);
    Ok(Said::Message { subject: (*subject).to_owned(), status: status(&bytes), payload })
}

/// `NATS/1.0 503`.
fn status(headers: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(headers).ok()?;
    text.lines().next()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

async fn read_line<R: AsyncRead + Unpin>(reader: &mut BufReader<R>) -> Result<String, SinkError> {
    let mut line = Vec::new();
    let read = (&mut *reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await.map_err(SinkError::Broken)?;
    if read == 0 {
        return Err(SinkError::Closed);
    }
    let line = line.strip_suffix(b"\n").ok_or_else(|| SinkError::Broken(io::ErrorKind::InvalidData.into()))?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8(line.to_vec()).map_err(|_| SinkError::Protocol)
}

/// One message with a name for its stream to drop repeats by.
pub(super) fn publish(out: &mut Vec<u8>, subject: &str, reply: &str, id: &str, payload: &[u8]) {
    let id: String = id.chars().filter(char::is_ascii_graphic).collect();
    let headers = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n");
    let total = headers.len().saturating_add(payload.len());
    out.extend_from_slice(format!("HPUB {subject} {reply} {} {total}\r\n{headers}", headers.len()).as_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(bytes: &[u8]) -> Vec<Result<Said, SinkError>> {
        let mut reader = BufReader::new(bytes);
        let mut said = Vec::new();
        loop {
            match read(&mut reader).await {
                Err(SinkError::Closed) => return said,
                Err(error) => {
                    said.push(Err(error));
                    return said;
                }
                said_now => said.push(said_now),
            }
        }
    }

    #[tokio::test]
    async fn the_servers_words_are_read() {
        let bytes = b"PING\r\npong\r\n+OK\r\n-ERR 'Authorization Violation'\r\nMSG a.b 1 3\r\nx\r\n\r\n\
                      HMSG a 1 reply 16 18\r\nNATS/1.0 503\r\n\r\nok\r\n";
        let said: Vec<_> = all(bytes).await.into_iter().map(Result::unwrap).collect();
        let message = |subject: &str, status, payload: &[u8]| Said::Message {
            subject: subject.to_owned(),
            status,
            payload: payload.to_vec(),
        };
        let refused = Said::Error("Authorization Violation".to_owned());
        let expected =
            [Said::Ping, Said::Pong, Said::Ok, refused, message("a.b", None, b"x\r\n"), message("a", Some(503), b"ok")];
        assert_eq!(said, expected);
    }

    #[tokio::test]
    async fn what_is_none_of_them_ends_the_connection() {
        let long = [vec![b'x'; 70_000], b"\r\n".to_vec()].concat();
        let cases: [&[u8]; 6] = [
            b"HELLO\r\n",
            b"MSG a\r\n",
            b"MSG a 1 99999999\r\n",
            b"HMSG a 1 9 4\r\nabcd\r\n",
            b"MSG a 1 5\r\nab",
            &long,
        ];
        for bytes in cases {
            assert!(
                all(bytes).await.iter().any(Result::is_err),
                "{}",
                String::from_utf8_lossy(&bytes[..10.min(bytes.len())])
            );
        }
    }

    #[test]
    fn a_message_is_counted() {
        let mut out = Vec::new();
        publish(&mut out, "s", "r", "id\r\n-1", b"{}");
        assert_eq!(out, b"HPUB s r 31 33\r\nNATS/1.0\r\nNats-Msg-Id: id-1\r\n\r\n{}\r\n");
    }
}

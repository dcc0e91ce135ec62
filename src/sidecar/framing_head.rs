//! Judging one HTTP/1 head by its bytes (RFC 9112 §2 to §6), for the framing guard.

/// Why a head is not sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    #[error("a line ends with a bare LF or holds a bare CR")]
    BareLineEnd,
    #[error("a header line is folded (it begins with a space or tab)")]
    FoldedLine,
    #[error("a header name is empty, holds a character no name may hold, or a space stands before its colon")]
    HeaderName,
    #[error("a header value holds a control byte")]
    HeaderValue,
    #[error("Content-Length stands more than once or is not a plain number")]
    ContentLength,
    #[error("Transfer-Encoding is not exactly \"chunked\", once, in HTTP/1.1")]
    TransferEncoding,
    #[error("Content-Length and Transfer-Encoding stand together")]
    LengthWithTransferEncoding,
    #[error("Host is missing or stands more than once")]
    Host,
    #[error("the request line is not method, target and HTTP/1.0 or HTTP/1.1, each one space apart")]
    RequestLine,
    #[error("the head is larger than this sidecar takes")]
    TooLarge,
    #[error("the head is not whole")]
    Incomplete,
}

/// How long the body is (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLength {
    None,
    Sized(u64),
    Chunked,
}

/// What a sound head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SoundHead {
    pub(super) body: BodyLength,
    pub(super) fragment: bool,
    /// What follows may be another protocol: an Upgrade field stands there, and no body comes first.
    pub(super) upgrade: bool,
}

/// The position after the empty line that ends the head in `bytes`, looking from `from` on; `None` while it has not
/// come. A bare LF anywhere before is a fault at once: waiting for more could hide it.
pub(super) fn end_of_head(bytes: &[u8], from: usize) -> Result<Option<usize>, HeadFault> {
    let mut at = from;
    while let Some(offset) = bytes.get(at..).and_then(|rest| rest.iter().position(|b| *b == b'\n')) {
        let line_feed = at + offset;
        let before = bytes.get(..line_feed).unwrap_or_default();
        if !before.ends_with(b"\r") {
            return Err(HeadFault::BareLineEnd);
        }
        if before.ends_with(b"\r\n\r") {
            return Ok(Some(line_feed + 1));
        }
        at = line_feed + 1;
    }
    Ok(None)
}

/// True when a line of `bytes` names the `Break-Glass` header.
pub(super) fn names_our_header(bytes: &[u8]) -> bool {
    bytes
        .split(|b| *b == b'\n')
        .any(|line| line.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"break-glass:")))
}

/// Judges a whole head, the empty line included.
pub(super) fn judge(head: &[u8]) -> Result<SoundHead, HeadFault> {
    let mut lines = Lines(head);
    let request_line = lines.next().ok_or(HeadFault::Incomplete)??;
    let (target, http_11) = judge_request_line(request_line)?;
    let mut fields = Fields::default();
    for line in lines {
        let line = line?;
        if !line.is_empty() {
            fields.note(line)?;
        }
    }
    if http_11 && fields.hosts != 1 {
        return Err(HeadFault::Host);
    }
    let body = fields.body(http_11)?;
    let upgrade = fields.upgrade && http_11 && body == BodyLength::None;
    Ok(SoundHead { body, fragment: target.contains(&b'#'), upgrade })
}

/// Lines that end with CRLF; a CR or LF elsewhere is a fault.
struct Lines<'h>(&'h [u8]);

impl<'h> Iterator for Lines<'h> {
    type Item = Result<&'h [u8], HeadFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some(end) = self.0.iter().position(|b| *b == b'\n') else {
            self.0 = &[];
            return Some(Err(HeadFault::Incomplete));
        };
        let (line, rest) = self.0.split_at(end + 1);
        self.0 = rest;
        let line = line.strip_suffix(b"\r\n").filter(|line| !line.contains(&b'\r'));
        Some(line.ok_or(HeadFault::BareLineEnd))
    }
}

/// The target, and whether the version is 1.1.
fn judge_request_line(line: &[u8]) -> Result<(&[u8], bool), HeadFault> {
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadFault::RequestLine);
    };
    let http_11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(HeadFault::RequestLine),
    };
    let sound = !method.is_empty() && method.iter().all(|b| is_token(*b)) && !target.is_empty();
    if sound && !target.iter().any(|b| *b <= b' ' || *b == 0x7f) {
        Ok((target, http_11))
    } else {
        Err(HeadFault::RequestLine)
    }
}

/// The fields that decide what follows the head.
#[derive(Default)]
struct Fields {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl Fields {
    fn note(&mut self, line: &[u8]) -> Result<(), HeadFault> {
        if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
            return Err(HeadFault::FoldedLine);
        }
        let colon = line.iter().position(|b| *b == b':').ok_or(HeadFault::HeaderName)?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
            return Err(HeadFault::HeaderName);
        }
        if value.iter().any(|b| (*b < b' ' && *b != b'\t') || *b == 0x7f) {
            return Err(HeadFault::HeaderValue);
        }
        self.note_framing(name, value.trim_ascii())
    }

    fn note_framing(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadFault> {
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = plain_number(value).filter(|_| self.length.is_none());
            self.length = Some(length.ok_or(HeadFault::ContentLength)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadFault::TransferEncoding);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        }
        Ok(())
    }

    fn body(&self, http_11: bool) -> Result<BodyLength, HeadFault> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(HeadFault::LengthWithTransferEncoding),
            (true, None) if !http_11 => Err(HeadFault::TransferEncoding),
            (true, None) => Ok(BodyLength::Chunked),
            (false, Some(length)) if length > 0 => Ok(BodyLength::Sized(length)),
            (false, _) => Ok(BodyLength::None),
        }
    }
}

/// Digits only, at most what a `u64` holds.
fn plain_number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// `tchar` of RFC 9110 §5.6.2.
const fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(fields: &str) -> Result<BodyLength, HeadFault> {
        judge(format!("POST /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes()).map(|head| head.body)
    }

    #[test]
    fn one_length_is_sound() {
        assert_eq!(judged(""), Ok(BodyLength::None));
        assert_eq!(judged("Content-Length: 12\r\n"), Ok(BodyLength::Sized(12)));
        assert_eq!(judged("content-length:0\r\n"), Ok(BodyLength::None));
        assert_eq!(judged("Transfer-Encoding: Chunked\r\n"), Ok(BodyLength::Chunked));
    }

    #[test]
    fn every_conflict_has_its_name() {
        for (fields, fault) in [
            ("Content-Length: 1\r\nContent-Length: 1\r\n", HeadFault::ContentLength),
            ("Content-Length: 1\r\nContent-Length: 2\r\n", HeadFault::ContentLength),
            ("Content-Length: 1, 1\r\n", HeadFault::ContentLength),
            ("Content-Length: +1\r\n", HeadFault::ContentLength),
            ("Content-Length: -1\r\n", HeadFault::ContentLength),
            ("Content-Length: 0x1\r\n", HeadFault::ContentLength),
            ("Content-Length: \r\n", HeadFault::ContentLength),
            ("Content-Length: 99999999999999999999\r\n", HeadFault::ContentLength),
            ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", HeadFault::LengthWithTransferEncoding),
            ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", HeadFault::LengthWithTransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", HeadFault::TransferEncoding),
            ("Transfer-Encoding: gzip, chunked\r\n", HeadFault::TransferEncoding),
            ("Transfer-Encoding: xchunked\r\n", HeadFault::TransferEncoding),
            ("Transfer-Encoding: \u{b}chunked\r\n", HeadFault::HeaderValue),
            ("X: a\r\n b\r\n", HeadFault::FoldedLine),
            ("X : a\r\n", HeadFault::HeaderName),
            (": a\r\n", HeadFault::HeaderName),
            ("X\r\n", HeadFault::HeaderName),
            ("X: a\nY: b\r\n", HeadFault::BareLineEnd),
            ("X: a\rY: b\r\n", HeadFault::BareLineEnd),
            ("X: a\0b\r\n", HeadFault::HeaderValue),
            ("Host: other\r\n", HeadFault::Host),
        ] {
            assert_eq!(judged(fields), Err(fault), "{fields:?}");
        }
    }

    #[test]
    fn the_request_line_is_three_parts() {
        for line in
            ["GET /", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", "GET / HTTP/2.0", "GET /\t HTTP/1.1", " GET / HTTP/1.1"]
        {
            assert_eq!(judge(format!("{line}\r\nHost: h\r\n\r\n").as_bytes()), Err(HeadFault::RequestLine), "{line:?}");
        }
        assert!(judge(b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().fragment);
        assert_eq!(judge(b"GET / HTTP/1.0\r\n\r\n").unwrap().body, BodyLength::None);
        assert_eq!(judge(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(HeadFault::TransferEncoding));
    }

    #[test]
    fn the_end_is_found_across_reads() {
        let head = b"GET / HTTP/1.1\r\n\r\nrest";
        assert_eq!(end_of_head(head, 0), Ok(Some(18)));
        assert_eq!(end_of_head(&head[..17], 0), Ok(None));
        assert_eq!(end_of_head(head, 14), Ok(Some(18)));
        assert_eq!(end_of_head(b"GET / HTTP/1.1\n", 0), Err(HeadFault::BareLineEnd));
    }
}

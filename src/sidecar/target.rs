//! The canonical form of a path: the one form that is matched, recorded and forwarded.
//!
//! RFC 3986 §6.2.2 normalises what has one meaning: escapes of unreserved characters are decoded, the other escapes
//! get upper-case digits. What parsers read differently is never normalised but named as an [`Ambiguity`]: dot
//! segments, escaped dots and separators, backslashes, control bytes, invalid UTF-8, empty segments, `;` parameters.

use std::borrow::Cow;

/// Why a path has more than one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguity {
    #[error("it does not begin with '/'")]
    NotAbsolute,
    #[error("it has a '.' or '..' segment")]
    DotSegment,
    #[error("it has an escaped dot (%2E)")]
    EncodedDot,
    #[error("it has an escaped '/' or '\\' (%2F, %5C)")]
    EncodedSeparator,
    #[error("it has an empty segment ('//')")]
    EmptySegment,
    #[error("it has a path parameter (';')")]
    PathParameter,
    #[error("it has a control byte")]
    ControlByte,
    #[error("it has a '%' that two hexadecimal digits do not follow")]
    BrokenEscape,
    #[error("it is escaped twice (%25 and two hexadecimal digits)")]
    DoubleEscape,
    #[error("its bytes are not UTF-8")]
    NotUtf8,
    #[error("it has a character that RFC 3986 does not allow in a path")]
    ForeignCharacter,
    #[error("it has a fragment ('#')")]
    Fragment,
    #[error("its authority and the Host header differ")]
    AuthorityMismatch,
}

/// The canonical form of `path` (no query). Borrowed where it already is canonical.
///
/// # Errors
/// [`Ambiguity`], the first one found.
pub fn canonical(path: &str) -> Result<Cow<'_, str>, Ambiguity> {
    if path == "*" {
        return Ok(Cow::Borrowed(path));
    }
    if !path.starts_with('/') {
        return Err(Ambiguity::NotAbsolute);
    }
    let text = if path.bytes().all(is_plain) { Cow::Borrowed(path) } else { Cow::Owned(rewrite(path)?) };
    check_segments(&text)?;
    Ok(text)
}

fn check_segments(path: &str) -> Result<(), Ambiguity> {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            // A trailing slash is no empty segment: it names another path.
            "" if segments.peek().is_some() => return Err(Ambiguity::EmptySegment),
            "." | ".." => return Err(Ambiguity::DotSegment),
            _ => {}
        }
    }
    Ok(())
}

const fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

/// `pchar` of RFC 3986 §3.3 without escapes and `;`, and the separator.
const fn is_plain(b: u8) -> bool {
    is_unreserved(b)
        || matches!(b, b'/' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

fn rewrite(path: &str) -> Result<String, Ambiguity> {
    let mut canonical = String::with_capacity(path.len());
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        if b != b'%' {
            canonical.push(char::from(plain_or_ambiguous(b)?));
            decoded.push(b);
            continue;
        }
        let (byte, tail) = escape(rest)?;
        rest = tail;
        decoded.push(byte);
        push_escaped(&mut canonical, byte, rest)?;
    }
    if std::str::from_utf8(&decoded).is_err() {
        return Err(Ambiguity::NotUtf8);
    }
    Ok(canonical)
}

fn plain_or_ambiguous(b: u8) -> Result<u8, Ambiguity> {
    match b {
        _ if is_plain(b) => Ok(b),
        b';' => Err(Ambiguity::PathParameter),
        b'\\' => Err(Ambiguity::EncodedSeparator),
        b'#' => Err(Ambiguity::Fragment),
        0..=0x1f | 0x7f => Err(Ambiguity::ControlByte),
        _ => Err(Ambiguity::ForeignCharacter),
    }
}

/// The byte that the two digits after a `%` stand for.
fn escape(after: &[u8]) -> Result<(u8, &[u8]), Ambiguity> {
    let (&[high, low], tail) = after.split_first_chunk::<2>().ok_or(Ambiguity::BrokenEscape)?;
    let byte = hex_value(high).zip(hex_value(low)).map(|(high, low)| high << 4 | low);
    Ok((byte.ok_or(Ambiguity::BrokenEscape)?, tail))
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn push_escaped(canonical: &mut String, byte: u8, after: &[u8]) -> Result<(), Ambiguity> {
    match byte {
        b'.' => return Err(Ambiguity::EncodedDot),
        b'/' | b'\\' => return Err(Ambiguity::EncodedSeparator),
        b';' => return Err(Ambiguity::PathParameter),
        0..=0x1f | 0x7f => return Err(Ambiguity::ControlByte),
        b'%' if starts_with_two_digits(after) => return Err(Ambiguity::DoubleEscape),
        _ if is_unreserved(byte) => canonical.push(char::from(byte)),
        _ => canonical.push_str(&format!("%{byte:02X}")),
    }
    Ok(())
}

fn starts_with_two_digits(text: &[u8]) -> bool {
    text.first_chunk::<2>().is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_meaning_gets_one_form() {
        for (path, expected) in [
            ("/", "/"),
            ("/v1/contracts/C-1042", "/v1/contracts/C-1042"),
            ("/v1/%63ontracts/C%2d1042", "/v1/contracts/C-1042"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%20b/", "/a%20b/"),
            ("/100%25", "/100%25"),
            ("/a...b/..c", "/a...b/..c"),
            ("*", "*"),
        ] {
            assert_eq!(canonical(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_has_two_readings_is_named() {
        for (path, expected) in [
            ("", Ambiguity::NotAbsolute),
            ("a", Ambiguity::NotAbsolute),
            ("/a/./b", Ambiguity::DotSegment),
            ("/a/..", Ambiguity::DotSegment),
            ("/a/%2e%2e/b", Ambiguity::EncodedDot),
            ("/a%2Fb", Ambiguity::EncodedSeparator),
            ("/a%5cb", Ambiguity::EncodedSeparator),
            ("/a\\b", Ambiguity::EncodedSeparator),
            ("//a", Ambiguity::EmptySegment),
            ("/a//b", Ambiguity::EmptySegment),
            ("/a;v=1", Ambiguity::PathParameter),
            ("/a%3bv", Ambiguity::PathParameter),
            ("/a%00", Ambiguity::ControlByte),
            ("/a%7f", Ambiguity::ControlByte),
            ("/a%0d%0ab", Ambiguity::ControlByte),
            ("/a%", Ambiguity::BrokenEscape),
            ("/a%4", Ambiguity::BrokenEscape),
            ("/a%zz", Ambiguity::BrokenEscape),
            ("/a%252e", Ambiguity::DoubleEscape),
            ("/%c0%af", Ambiguity::NotUtf8),
            ("/%e0%80%af", Ambiguity::NotUtf8),
            ("/%ff", Ambiguity::NotUtf8),
            ("/a\"b", Ambiguity::ForeignCharacter),
            ("/a[b", Ambiguity::ForeignCharacter),
        ] {
            assert_eq!(canonical(path), Err(expected), "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own(path in "/[a-zA-Z0-9%./;\\\\é -]{0,40}") {
            if let Ok(once) = canonical(&path) {
                prop_assert_eq!(canonical(&once), Ok(Cow::Borrowed(once.as_ref())));
            }
        }
    }
}

//! The URL a proof is for (`htu`), in one form: RFC 9449 §4.3 has it compared after the syntax-based and scheme-based
//! normalisation of RFC 3986 §6.2.2 and §6.2.3, without query and fragment.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::PathAndQuery;

/// Greatest length of a URL that is read.
const BYTES_MAX: usize = 2048;

/// Why a text is no URL a proof can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("it is longer than {BYTES_MAX} bytes")]
    TooLong,
    #[error("it is not an absolute http or https URL without user information")]
    NotAbsolute,
    #[error("it has a '%' that two hexadecimal digits do not follow")]
    BrokenEscape,
}

/// A URL in normal form. Two that are equal name the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofUrl {
    text: String,
    /// Where the path begins.
    path: usize,
}

impl ProofUrl {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `https://host:port`, without a path.
    pub fn origin(&self) -> &str {
        self.text.get(..self.path).unwrap_or_default()
    }

    /// The same origin with another path, which may carry a query.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn with_path(&self, path_and_query: &str) -> Result<Self, UrlError> {
        if !path_and_query.starts_with('/') {
            return Err(UrlError::NotAbsolute);
        }
        format!("{}{path_and_query}", self.origin()).parse()
    }
}

impl FromStr for ProofUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.len() > BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::NotAbsolute)?;
        let origin = origin(&uri).ok_or(UrlError::NotAbsolute)?;
        let path = normal_path(uri.path_and_query().map_or("/", PathAndQuery::path))?;
        Ok(Self { path: origin.len(), text: origin + &path })
    }
}

impl fmt::Display for ProofUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Scheme and host in lower case, the port only where it is not the scheme's own.
fn origin(uri: &Uri) -> Option<String> {
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let host = authority.host().to_ascii_lowercase();
    if host.is_empty() {
        return None;
    }
    // "host:" names the scheme's own port too (RFC 3986 §6.2.3); a port that is no number names none.
    let (port, after) = (authority.port_u16(), authority.as_str().get(host.len()..)?);
    match port {
        Some(port) if port != usual => Some(format!("{scheme}://{host}:{port}")),
        Some(_) => Some(format!("{scheme}://{host}")),
        None if matches!(after, "" | ":") => Some(format!("{scheme}://{host}")),
        None => None,
    }
}

fn normal_path(path: &str) -> Result<String, UrlError> {
    let escaped = normal_escapes(path)?;
    Ok(without_dot_segments(&escaped))
}

/// Escapes of unreserved characters are decoded, the others get upper-case digits (RFC 3986 §6.2.2.1, §6.2.2.2).
fn normal_escapes(path: &str) -> Result<String, UrlError> {
    let mut normal = String::with_capacity(path.len());
    let mut parts = path.split('%');
    normal.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let digits = digits.ok_or(UrlError::BrokenEscape)?;
        let byte = u8::from_str_radix(digits, 16).map_err(|_| UrlError::BrokenEscape)?;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            normal.push(char::from(byte));
        } else {
            normal.push('%');
            normal.push_str(&digits.to_ascii_uppercase());
        }
        normal.push_str(part.get(2..).unwrap_or_default());
    }
    Ok(normal)
}

/// RFC 3986 §5.2.4 for an absolute path.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

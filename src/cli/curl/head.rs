//! The head of an answer, as curl's `--dump-header` writes it (RFC 9112 §4, RFC 9110 §5).

/// Status and header fields of the last head in a dump: interim answers (1xx) come before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    /// The final head, once it is complete.
    pub(super) fn parse(dump: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(dump);
        let mut found = None;
        let mut lines =
            text.split_inclusive('\n').map(|line| (line.trim_end_matches(['\r', '\n']), line.ends_with('\n')));
        while let Some((line, _)) = lines.next() {
            if line.starts_with("HTTP/") {
                let status = line.split_whitespace().nth(1)?.parse().ok()?;
                found = Self::fields(status, &mut lines).or(found);
            }
        }
        found.filter(|head| head.status >= 200)
    }

    /// The fields up to the empty line; nothing when it has not come yet.
    fn fields<'a>(status: u16, lines: &mut impl Iterator<Item = (&'a str, bool)>) -> Option<Self> {
        let mut fields = Vec::new();
        for (line, whole) in lines {
            if line.is_empty() && whole {
                return Some(Self { status, fields });
            }
            if let Some((name, value)) = line.split_once(':') {
                fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        None
    }

    /// Every value of a field; `name` in lower case.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// True when the body says that it is a problem document (RFC 9457).
    pub(super) fn is_problem(&self) -> bool {
        self.all("content-type").any(|value| {
            let media = value.split(';').next().unwrap_or_default();
            media.trim().eq_ignore_ascii_case(crate::wire::problem::CONTENT_TYPE)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_complete_head_counts() {
        let dump = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/2 423 \r\nContent-Type: application/problem+json; charset=utf-8\r\nLink: <a>\r\nlink: <b>\r\n\r\n";
        let head = Head::parse(dump).unwrap();
        assert_eq!(head.status, 423);
        assert!(head.is_problem());
        assert_eq!(head.all("link").collect::<Vec<_>>(), ["<a>", "<b>"]);
    }

    #[test]
    fn an_unfinished_or_interim_head_does_not() {
        for dump in
            ["", "HTTP/1.1 423 Locked\r\nLink: <a>\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 x\r\n\r\n", "\r\n"]
        {
            assert_eq!(Head::parse(dump.as_bytes()), None, "{dump:?}");
        }
    }

    #[test]
    fn every_prefix_of_a_dump_is_bearable() {
        let dump = b"HTTP/1.1 423 Locked\r\nA: \xff\xfe\r\nB\r\n: c\r\n\r\nX: trailer\r\n";
        for end in 0..=dump.len() {
            let _ = Head::parse(&dump[..end]);
        }
        assert_eq!(Head::parse(dump).unwrap().status, 423);
    }
}

//! Following a chunked body byte by byte (RFC 9112 §7.1), for the framing guard.
//!
//! Stricter than the grammar where parsers differ: sizes are plain hexadecimal of at most 15 digits, every line ends
//! with CRLF, there are no chunk extensions, and a trailer line obeys the rules of a header line's ends.

/// Greatest length of the trailer section.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// At the first digit of a size.
    #[default]
    SizeStart,
    Size,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the first byte of a trailer line.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
}

/// Where in a chunked body the next byte stands.
#[derive(Debug, Default)]
pub(super) struct ChunkScanner {
    state: State,
    size: u64,
    digits: usize,
    trailer_bytes: usize,
}

/// How far a scan came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Bytes from the start that are sound.
    pub(super) judged: usize,
    /// The body ended after them.
    pub(super) finished: bool,
}

impl ChunkScanner {
    /// Judges as much of `bytes` as belongs to this body.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Result<Progress, &'static str> {
        let mut at = 0;
        while let Some(&b) = bytes.get(at) {
            if self.state == State::Data {
                let rest = u64::try_from(bytes.len() - at).unwrap_or(u64::MAX);
                let take = self.size.min(rest);
                self.size -= take;
                at += usize::try_from(take).unwrap_or(usize::MAX);
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            at += 1;
            if self.state == State::EndLf && b == b'\n' {
                return Ok(Progress { judged: at, finished: true });
            }
            self.state = self.step(b)?;
        }
        Ok(Progress { judged: at, finished: false })
    }

    fn step(&mut self, b: u8) -> Result<State, &'static str> {
        match (self.state, b) {
            (State::SizeStart | State::Size, digit) if digit.is_ascii_hexdigit() => self.digit(digit),
            (State::Size, b'\r') => Ok(State::SizeLf),
            (State::SizeStart | State::Size, _) => Err("a chunk size is not plain hexadecimal"),
            (State::SizeLf, b'\n') => Ok(self.after_size()),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::SizeStart),
            (State::SizeLf | State::DataCr | State::DataLf, _) => Err("a chunk does not end with CRLF"),
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::TrailerStart, b' ' | b'\t' | b'\n') => Err("a trailer line is folded or ends with a bare LF"),
            (State::TrailerStart, _) => self.trailer_byte(),
            (State::Trailer, b'\r') => Ok(State::TrailerLf),
            (State::Trailer, b'\n') => Err("a trailer line ends with a bare LF"),
            (State::Trailer, _) => self.trailer_byte(),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::TrailerLf | State::EndLf, _) => Err("a trailer line holds a bare CR"),
            (State::Data, _) => Ok(State::Data),
        }
    }

    fn digit(&mut self, digit: u8) -> Result<State, &'static str> {
        if self.state == State::SizeStart {
            (self.size, self.digits) = (0, 0);
        }
        self.digits += 1;
        if self.digits > 15 {
            return Err("a chunk size is too long");
        }
        self.size = self.size * 16 + u64::from(char::from(digit).to_digit(16).unwrap_or(0));
        Ok(State::Size)
    }

    const fn after_size(&self) -> State {
        if self.size == 0 { State::TrailerStart } else { State::Data }
    }

    fn trailer_byte(&mut self) -> Result<State, &'static str> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX { Err("the trailer section is too long") } else { Ok(State::Trailer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Result<Progress, &'static str> {
        ChunkScanner::default().scan(text.as_bytes())
    }

    #[test]
    fn a_body_ends_where_it_ends() {
        assert_eq!(scan("5\r\nhello\r\n0\r\n\r\nGET"), Ok(Progress { judged: 15, finished: true }));
        assert_eq!(scan("0\r\na: b\r\n\r\n"), Ok(Progress { judged: 11, finished: true }));
        assert_eq!(scan("A\r\n01234"), Ok(Progress { judged: 8, finished: false }));
    }

    #[test]
    fn what_parsers_read_differently_is_refused() {
        for text in [
            "x",
            "\r\n",
            "5 \r\n",
            "5;a=b\r\n",
            "0x5\r\n",
            "+5\r\n",
            "5\n",
            "5\r\nhelloX",
            "1\r\nab\r\n",
            "0\r\na: b\n",
            "0\r\n b\r\n",
            "1234567890123456\r\n",
            "0\r\na\rb",
        ] {
            assert!(scan(text).is_err(), "{text:?}");
        }
    }
}

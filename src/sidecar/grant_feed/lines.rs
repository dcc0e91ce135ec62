//! JSON lines out of a stream of bytes, each of bounded length.

use bytes::{Buf as _, BytesMut};

use crate::wire::feed::LINE_BYTES_MAX;

/// Gathers bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: BytesMut,
}

/// A line longer than [`LINE_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of the feed is longer than {LINE_BYTES_MAX} bytes")]
pub(super) struct LineTooLong;

impl Lines {
    pub(super) fn push(&mut self, data: &[u8]) {
        self.pending.extend_from_slice(data);
    }

    /// The next whole line, without its end.
    pub(super) fn next(&mut self) -> Result<Option<BytesMut>, LineTooLong> {
        match self.pending.iter().position(|b| *b == b'\n') {
            Some(end) if end < LINE_BYTES_MAX => {
                let line = self.pending.split_to(end);
                self.pending.advance(1);
                Ok(Some(line))
            }
            None if self.pending.len() < LINE_BYTES_MAX => Ok(None),
            Some(_) | None => Err(LineTooLong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_bounded() {
        let mut lines = Lines::default();
        lines.push(b"{\"a\":");
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"1}\n{}\n");
        assert_eq!(lines.next().unwrap().unwrap(), &b"{\"a\":1}"[..]);
        assert_eq!(lines.next().unwrap().unwrap(), &b"{}"[..]);
        lines.push(&vec![b'x'; LINE_BYTES_MAX]);
        assert_eq!(lines.next(), Err(LineTooLong));
    }
}

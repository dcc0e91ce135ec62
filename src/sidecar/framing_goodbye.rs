//! Closing a connection whose client may still be sending (RFC 9112 §9.6): were it closed at once, the bytes that nobody
//! reads would reset it, and the last answer would be lost on its way. So our side is closed first, and what still
//! comes is thrown away for a bounded time.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long what still comes is thrown away.
pub(super) const LINGER_MAX: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Goodbye {
    said: bool,
    until: Option<Pin<Box<Sleep>>>,
}

impl Goodbye {
    /// Closes our side; with `more`, waits for the client's.
    pub(super) fn poll<I>(&mut self, io: &mut I, more: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        if !self.said {
            ready!(Pin::new(&mut *io).poll_shutdown(cx))?;
            self.said = true;
        }
        if !more {
            return Poll::Ready(Ok(()));
        }
        let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_MAX)));
        let mut scratch = [0; 4096];
        while until.as_mut().poll(cx).is_pending() {
            let mut space = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut *io).poll_read(cx, &mut space));
            if read.is_err() || space.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

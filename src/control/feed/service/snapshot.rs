//! Everything a sidecar of one service must hold, read once and serialised once for all who subscribe about then.

use bytes::{Bytes, BytesMut};

use crate::control::feed::lines::{WriteError, serialised};
use crate::domain::{BootTime, GrantId};
use crate::store::contract::FeedSnapshot;
use crate::wire::feed::FromControl;

/// See the module.
#[derive(Debug)]
pub(in crate::control::feed) struct Snapshot {
    pub(in crate::control::feed) revision: u64,
    /// From the freeze to the last tombstone.
    pub(in crate::control::feed) chunks: Vec<Bytes>,
    pub(in crate::control::feed) lines: u64,
    /// The grants in it whose uses are shared out, and their limits.
    pub(super) limited: Vec<(GrantId, u32)>,
    pub(super) read: BootTime,
}

impl Snapshot {
    pub(super) fn of(snapshot: FeedSnapshot, read: BootTime, chunk_bytes: usize) -> Result<Self, WriteError> {
        let mut made = Chunks { done: Vec::new(), gathered: BytesMut::new(), chunk_bytes, lines: 0 };
        let mut limited = Vec::new();
        made.add(&FromControl::Freeze { revision: snapshot.revision, frozen: snapshot.frozen })?;
        for grant in snapshot.tokens {
            if let Some(max_uses) = super::max_uses(grant.token.expose()) {
                limited.push((grant.grant, max_uses));
            }
            let (revision, token) = (grant.revision, grant.token.into_exposed());
            made.add(&FromControl::Put { revision, token, identity_since: grant.identity_since })?;
        }
        for grant in snapshot.suspended {
            if let Some(max_uses) = super::max_uses(grant.token.expose()) {
                limited.push((grant.grant, max_uses));
            }
            made.add(&FromControl::Suspended { revision: grant.revision, token: grant.token.into_exposed() })?;
        }
        for end in snapshot.ended_recently {
            let (revision, token) = (end.revision, end.token.into_exposed());
            made.add(&FromControl::Put { revision, token, identity_since: None })?;
            made.add(&FromControl::Tombstone { revision: end.revision, grant: end.grant, cause: end.cause })?;
        }
        made.cut();
        Ok(Self { revision: snapshot.revision, chunks: made.done, lines: made.lines, limited, read })
    }
}

struct Chunks {
    done: Vec<Bytes>,
    gathered: BytesMut,
    chunk_bytes: usize,
    lines: u64,
}

impl Chunks {
    fn add(&mut self, line: &FromControl) -> Result<(), WriteError> {
        self.gathered.extend_from_slice(&serialised(line)?);
        self.lines += 1;
        if self.gathered.len() >= self.chunk_bytes {
            self.cut();
        }
        Ok(())
    }

    fn cut(&mut self) {
        if !self.gathered.is_empty() {
            self.done.push(self.gathered.split().freeze());
        }
    }
}

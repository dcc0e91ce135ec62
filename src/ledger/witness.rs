//! What a witness is asked, and what it answers (c2sp.org/tlog-witness, `add-checkpoint`): pure.
//!
//! A witness remembers the newest checkpoint of each log that it cosigned. INVARIANT: it cosigns only what that one has grown
//! into, so that a log which shows another history to somebody else can't have both cosigned.

use std::fmt;
use std::str::FromStr;

use super::checkpoint::{CheckpointError, SignedCheckpoint, decimal};
use super::hash::Hash;
use super::note::{KeyName, NOTE_BYTES_MAX, VerifierKey};
use super::tree::{self, ProofError};

/// Most hashes of a consistency proof (`add-checkpoint`).
const PROOF_LINES_MAX: usize = 63;
/// Greatest size of a submission.
pub const SUBMISSION_BYTES_MAX: usize = NOTE_BYTES_MAX + PROOF_LINES_MAX * 64 + 64;

/// A checkpoint, and the proof that the one before has grown into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Entries of the checkpoint that the witness is thought to have cosigned last.
    pub old: u64,
    pub proof: Vec<Hash>,
    pub note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the submission is not an old size, hashes, an empty line and a checkpoint")]
pub struct SubmissionError;

impl fmt::Display for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.note)
    }
}

impl FromStr for Submission {
    type Err = SubmissionError;

    fn from_str(text: &str) -> Result<Self, SubmissionError> {
        let (head, note) = text.split_once("\n\n").ok_or(SubmissionError)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(decimal).ok_or(SubmissionError)?;
        let proof: Vec<Hash> = lines.map(str::parse).collect::<Result<_, _>>().map_err(|_| SubmissionError)?;
        if proof.len() > PROOF_LINES_MAX {
            return Err(SubmissionError);
        }
        Ok(Self { old, proof, note: note.to_owned() })
    }
}

/// What a witness cosigned last of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub size: u64,
    pub root: Hash,
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCosigned {
    #[error("the checkpoint is none")]
    Malformed,
    #[error("the log is not known here")]
    UnknownLog,
    #[error("no known key of the log signed the checkpoint")]
    Unsigned,
    #[error("the old size is above the checkpoint's")]
    OldAbove,
    #[error("the checkpoint that was cosigned last has {size} entries")]
    OtherSize { size: u64 },
    #[error("the checkpoint is not what the one before has grown into: {0}")]
    Inconsistent(ProofError),
}

impl NotCosigned {
    /// The status that the specification gives it.
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::OldAbove => 400,
            Self::Unsigned => 403,
            Self::UnknownLog => 404,
            Self::OtherSize { .. } => 409,
            Self::Inconsistent(_) => 422,
        }
    }
}

/// Whose log it is, before anything else is asked.
///
/// # Errors
/// [`NotCosigned`].
pub fn known(submission: &Submission, logs: &[VerifierKey]) -> Result<SignedCheckpoint, NotCosigned> {
    let read = SignedCheckpoint::read(&submission.note).map_err(|_| NotCosigned::Malformed)?;
    let is_known = |origin: &KeyName| logs.iter().any(|key| key.name() == origin);
    if !is_known(&read.checkpoint.origin) {
        return Err(NotCosigned::UnknownLog);
    }
    SignedCheckpoint::verify(&submission.note, logs).map_err(|error| match error {
        CheckpointError::Note(_) => NotCosigned::Unsigned,
        CheckpointError::OtherLog => NotCosigned::UnknownLog,
        CheckpointError::Malformed => NotCosigned::Malformed,
    })
}

/// Whether the checkpoint, whose signature holds, is to be cosigned by who has `seen` that last.
///
/// # Errors
/// [`NotCosigned`].
pub fn judge(submission: &Submission, signed: &SignedCheckpoint, seen: Option<Seen>) -> Result<(), NotCosigned> {
    let checkpoint = &signed.checkpoint;
    let before = seen.unwrap_or(Seen { size: 0, root: Hash::of_nothing() });
    if submission.old > checkpoint.size {
        return Err(NotCosigned::OldAbove);
    }
    if submission.old != before.size {
        return Err(NotCosigned::OtherSize { size: before.size });
    }
    if checkpoint.size == 0 && checkpoint.root != Hash::of_nothing() {
        return Err(NotCosigned::Inconsistent(ProofError::OtherRoot));
    }
    tree::check_consistency(&submission.proof, (before.size, before.root), (checkpoint.size, checkpoint.root))
        .map_err(NotCosigned::Inconsistent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::sample::SampleLog;

    fn submission(log: &SampleLog, old: u64, new: u64) -> Submission {
        Submission { old, proof: log.consistency(old, new), note: log.note_of(new) }
    }

    fn asked(log: &SampleLog, submission: &Submission, seen: Option<Seen>) -> Result<(), NotCosigned> {
        let read: Submission = submission.to_string().parse().unwrap();
        assert_eq!(read, *submission);
        judge(submission, &known(submission, &[log.key()])?, seen)
    }

    #[test]
    fn a_log_that_grows_is_cosigned_and_no_other() {
        let log = SampleLog::of(40);
        let seen = |size| Some(Seen { size, root: log.root(size) });
        assert_eq!(asked(&log, &submission(&log, 0, 10), None), Ok(()));
        assert_eq!(asked(&log, &submission(&log, 10, 40), seen(10)), Ok(()));
        assert_eq!(asked(&log, &submission(&log, 10, 10), seen(10)), Ok(()), "again");
        let again = asked(&log, &submission(&log, 10, 40), seen(20));
        assert_eq!(again.map_err(NotCosigned::status), Err(409));
        assert_eq!(asked(&log, &submission(&log, 0, 40), seen(20)), Err(NotCosigned::OtherSize { size: 20 }));
        let shorter = Submission { old: 20, proof: Vec::new(), note: log.note_of(10) };
        assert_eq!(asked(&log, &shorter, seen(20)), Err(NotCosigned::OldAbove));
    }

    #[test]
    fn a_fork_is_never_cosigned() {
        let log = SampleLog::of(40);
        let mut entries = log.entries.clone();
        entries[5] = entries[5].replace("grant_expired", "grant_revoked");
        let fork = log.with(entries);
        let seen = |size| Some(Seen { size, root: log.root(size) });
        for (old, new) in [(10, 40), (10, 10), (16, 40), (39, 40)] {
            let refused = asked(&log, &submission(&fork, old, new), seen(old)).unwrap_err();
            assert_eq!(refused.status(), 422, "{old} {new}: {refused}");
        }
        let proofless = Submission { proof: Vec::new(), ..submission(&log, 10, 40) };
        assert_eq!(asked(&log, &proofless, seen(10)).unwrap_err().status(), 422);
        let surplus = Submission { proof: log.consistency(10, 40), ..submission(&log, 0, 40) };
        assert_eq!(asked(&log, &surplus, None).unwrap_err().status(), 422);
    }

    #[test]
    fn a_stranger_and_a_forger_are_told_so() {
        let log = SampleLog::of(4);
        let good = submission(&log, 0, 4);
        assert_eq!(known(&good, &[]).unwrap_err().status(), 404);
        assert_eq!(known(&good, &[SampleLog::of(0).key()]).unwrap_err().status(), 403, "another key of that name");
        let forged = Submission { note: good.note.replace("\n4\n", "\n5\n"), ..good };
        assert_eq!(known(&forged, &[log.key()]).unwrap_err().status(), 403);
        for bad in ["", "old 1\n", "old 01\n\nx", "new 1\n\nx", "old 1\nAAAA\n\nx"] {
            assert!(bad.parse::<Submission>().is_err(), "{bad:?}");
        }
        let line = format!("{}\n", Hash::of_nothing());
        assert!(format!("old 1\n{}\nx", line.repeat(64)).parse::<Submission>().is_err());
    }
}

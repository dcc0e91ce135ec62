//! What is asked of a ledger: is it whole, prove an entry, check proofs, export what is about a grant.
//!
//! A ledger is a URL, or a folder with a copy: the same files under the same names. Nobody is believed but the keys that
//! were named on the command line.

mod check;
mod export;
mod personal;
mod prove;
mod source;
mod verify;

use std::path::Path;

use super::args::{Global, TrustArgs};
use super::failure::{Exit, Failure};
use super::session;
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::note::KeyKind;

pub(super) use check::check_proofs;
pub(super) use export::{Wanted, export};
pub(super) use prove::prove;
pub(super) use verify::verify;

use source::Source;

/// Who asks: for a ledger that is not public, their token is needed.
pub(super) struct Asked<'a> {
    pub(super) global: &'a Global,
    pub(super) env: session::Lookup<'a>,
}

const KEY_HINT: &str = "name the ledger's verifier key with --key; who runs the control plane publishes it, and \
                        GET /v1/keys shows it";

/// Whether the path is that of a ledger, and not of a sidecar's log.
pub(super) fn is_ledger(path: &Path) -> bool {
    source::is_url(path) || path.join("checkpoint").is_file()
}

/// The newest checkpoint, once a trusted key is shown to have signed it, and every witness that is demanded.
async fn trusted_checkpoint(source: &Source, trust: &TrustArgs) -> Result<SignedCheckpoint, Failure> {
    let bytes = source.fetch("checkpoint").await?;
    let bytes = bytes.ok_or_else(|| {
        Failure::new(Exit::Failed, format!("{source} has no checkpoint"), "is it a ledger, and has it been signed yet?")
    })?;
    let note = String::from_utf8(bytes).map_err(|_| unverified("its checkpoint is not text".to_owned()))?;
    believed(&note, trust)
}

/// A checkpoint that the keys of `trust` vouch for.
fn believed(note: &str, trust: &TrustArgs) -> Result<SignedCheckpoint, Failure> {
    if trust.keys.iter().all(|key| key.kind() != KeyKind::Note) {
        return Err(Failure::new(Exit::Usage, "nothing says whose checkpoints are to be believed", KEY_HINT));
    }
    let signed = SignedCheckpoint::verify(note, &trust.keys)
        .map_err(|error| unverified(format!("its checkpoint can't be believed: {error}")))?;
    let found = signed.cosigned_by(&trust.witnesses).map_err(|error| unverified(error.to_string()))?;
    for wanted in &trust.witnesses {
        if !found.iter().any(|(key, _)| *key == wanted) {
            let what = format!("the witness {} has not cosigned the {} entries", wanted.name(), signed.checkpoint.size);
            return Err(unverified(what));
        }
    }
    Ok(signed)
}

fn unverified(what: String) -> Failure {
    let hint = "keep what you have as it is, and compare with a copy, an earlier checkpoint or a witness";
    Failure::new(Exit::Unverified, what, hint)
}

#[cfg(test)]
mod tests;

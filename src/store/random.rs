//! Randomness for ids. Must never: go on without it.

use super::StoreError;
use crate::ledger::entry::EntryError;

pub(super) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bits = [0; N];
    aws_lc_rs::rand::fill(&mut bits).map_err(|_| EntryError::Randomness)?;
    Ok(bits)
}

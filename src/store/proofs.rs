//! Proofs of possession that were used (RFC 9449 §11.1), and the secret of the nonces that bound their time.
//!
//! INVARIANT: a proof is used up in the transaction of what it bound, so that no two replicas take the same one.

use super::statement::sql;
use super::transition::Transition;
use super::{Store, StoreError};
use crate::domain::WallTime;
use crate::hex::hex;

/// A proof that is about to bind something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedProof {
    /// Apart from every other proof's.
    pub mark: String,
    /// From when on it would be refused for its age.
    pub until: WallTime,
}

impl Store {
    /// A secret that all replicas share: `fresh`, unless the database has one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn nonce_secret(&self, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        let mut tx = self.shared.database.write().await?;
        sql("INSERT INTO meta (name, value) VALUES ('nonce_secret', $1) ON CONFLICT (name) DO NOTHING")
            .bind(hex(&fresh))
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        let row = sql("SELECT value FROM meta WHERE name = 'nonce_secret'").fetch_one(&self.shared.database).await?;
        let hex: String = row.first()?;
        read(&hex).ok_or_else(|| StoreError::Corrupt("the secret of nonces".to_owned()))
    }
}

fn read(hex: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).and_then(|d| d.try_into().ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    bytes.try_into().ok()
}

/// Uses the proof up; false when it was used before.
pub(super) async fn use_up(transition: &mut Transition<'_>, proof: Option<&UsedProof>) -> Result<bool, StoreError> {
    let Some(proof) = proof else { return Ok(true) };
    let now = transition.at();
    sql("DELETE FROM used_proofs WHERE until_ms <= $1").bind(now.unix_ms()).execute(transition.connection()).await?;
    let noted = sql("INSERT INTO used_proofs (mark, until_ms) VALUES ($1, $2) ON CONFLICT (mark) DO NOTHING")
        .bind(&proof.mark)
        .bind(proof.until.unix_ms())
        .execute(transition.connection())
        .await?;
    Ok(noted > 0)
}

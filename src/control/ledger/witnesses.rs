//! Submits checkpoints to witnesses (c2sp.org/tlog-witness) and keeps what they answer. One task a witness.
//!
//! A witness that knows more of the log than the database does means that the database went back: that is told, and nothing
//! is signed on by this process until it is put right.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use tokio::sync::watch;

use super::Ledger;
use crate::config::ledger::WitnessConfig;
use crate::error_chain::error_chain;
use crate::http::{Cleartext, Client, ClientTls, HttpError, Limits, TlsError, TlsRoots};
use crate::ledger::checkpoint::{SignedCheckpoint, cosigned_at, decimal};
use crate::ledger::note::SignatureLine;
use crate::ledger::witness::Submission;
use crate::store::{Cosigned, LedgerError, StoreError, StoredCheckpoint};

/// How often it is looked for a newer checkpoint.
const EVERY: Duration = Duration::from_secs(1);
/// How long a witness that failed is left alone, at most.
const REST_MAX: Duration = Duration::from_secs(60);

/// Why a witness can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum WitnessesError {
    #[error("the authority of the witness {name} can't be used")]
    Tls { name: String, source: TlsError },
    #[error("the witness {name} is to be reached by https, and the system has no authorities: name one as ca")]
    NoRoots { name: String },
}

/// Why nothing was cosigned this time.
#[derive(Debug, thiserror::Error)]
enum SubmitError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("it was not reached")]
    Http(#[from] HttpError),
    #[error("it answered {status}: {said}")]
    Refused { status: u16, said: String },
    #[error("its answer holds no cosignature of its key that holds")]
    Unsigned,
    #[error(
        "it has cosigned {witnessed} entries, and the ledger has {signed}: the database is older than what was signed, or is \
         not this log"
    )]
    Ahead { witnessed: u64, signed: u64 },
}

/// One witness, and how it is reached.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) config: WitnessConfig,
    client: Client,
    target: Uri,
}

impl Asked {
    pub(super) fn new(config: &WitnessConfig, system: Option<ClientTls>) -> Result<Self, WitnessesError> {
        let name = || config.key.name().to_string();
        let is_secure = config.url.scheme_str() == Some("https");
        let tls = match &config.ca {
            Some(file) => {
                let own = TlsRoots::from_pem_files([file]).and_then(|roots| ClientTls::new(roots, None));
                Some(own.map_err(|source| WitnessesError::Tls { name: name(), source })?)
            }
            None => system,
        };
        if is_secure && tls.is_none() {
            return Err(WitnessesError::NoRoots { name: name() });
        }
        let target = format!("{}/add-checkpoint", config.url.to_string().trim_end_matches('/'));
        // The reader of the configuration has seen that this is a URL.
        let target = target.parse().unwrap_or_else(|_| config.url.clone());
        let client = Client::new(tls, Limits::DEFAULT).with_cleartext(Cleartext::LoopbackOnly);
        Ok(Self { config: config.clone(), client, target })
    }
}

impl Ledger {
    /// Keeps one witness's cosignatures up with the log, until `stop` turns true.
    pub async fn keep_witnessed(self: Arc<Self>, which: usize, mut stop: watch::Receiver<bool>) {
        let Some(asked) = self.witnesses.get(which) else { return };
        let (mut rest, mut failing) = (EVERY, false);
        loop {
            match self.submit_newest(asked).await {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!(witness = %asked.config.key.name(), "the witness cosigns again");
                    }
                    rest = EVERY;
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let error = error_chain(&error);
                        tracing::warn!(witness = %asked.config.key.name(), error, "not cosigned; it is tried again");
                    }
                    rest = (rest * 2).min(REST_MAX);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Asks every witness, before this process signs anything, whether it knows more of the log than the database does. One
    /// that can't be reached is not waited for: it would stop the log.
    pub(in crate::control) async fn ask_before_signing(&self) {
        let Ok(Some(newest)) = self.store.newest_checkpoint(&self.origin).await else { return };
        for asked in &self.witnesses {
            match self.submit(asked, newest.size, &newest).await {
                // Where the database can't be asked, nothing is signed either.
                Ok(Some(witnessed)) => drop(self.check_ahead(asked, witnessed).await),
                Ok(None) => {}
                Err(error) => {
                    let (witness, error) = (asked.config.key.name(), error_chain(&error));
                    tracing::warn!(%witness, error, "the witness could not be asked what it has seen");
                }
            }
        }
    }

    /// Has one witness cosign the newest checkpoint now.
    #[cfg(test)]
    pub(in crate::control) async fn witness_now(&self, which: usize) -> Result<(), String> {
        self.submit_newest(&self.witnesses[which]).await.map_err(|error| error_chain(&error))
    }

    /// Has the newest checkpoint cosigned, where this witness has not cosigned it yet.
    async fn submit_newest(&self, asked: &Asked) -> Result<(), SubmitError> {
        let Some(newest) = self.store.newest_checkpoint(&self.origin).await? else { return Ok(()) };
        let before = self.witnessed(asked).await?;
        if before == newest.size {
            return Ok(());
        }
        // What it says it has cosigned counts, and not what we remember.
        match self.submit(asked, before, &newest).await? {
            None => Ok(()),
            Some(witnessed) if witnessed > newest.size => self.check_ahead(asked, witnessed).await,
            Some(witnessed) => match self.submit(asked, witnessed, &newest).await? {
                None => Ok(()),
                Some(other) => Err(SubmitError::Refused { status: 409, said: other.to_string() }),
            },
        }
    }

    /// Whether it has cosigned more than the database has signed by now: another replica may have signed and submitted since
    /// we looked, and what is submitted was committed before.
    async fn check_ahead(&self, asked: &Asked, witnessed: u64) -> Result<(), SubmitError> {
        let signed = self.store.newest_checkpoint(&self.origin).await?.map_or(0, |newest| newest.size);
        if witnessed <= signed {
            return Ok(());
        }
        self.note_ahead(asked, witnessed, signed);
        Err(SubmitError::Ahead { witnessed, signed })
    }

    /// Entries of the newest checkpoint that the witness has cosigned, as far as is known here.
    async fn witnessed(&self, asked: &Asked) -> Result<u64, StoreError> {
        let cosigned = self.store.newest_cosignatures(&self.origin).await?;
        let own = cosigned.iter().find(|cosigned| cosigned.witness == asked.config.key.name().as_str());
        Ok(own.map_or(0, |cosigned| cosigned.size))
    }

    /// The size that it has cosigned instead, where that is another than `old`.
    async fn submit(&self, asked: &Asked, old: u64, newest: &StoredCheckpoint) -> Result<Option<u64>, SubmitError> {
        let proof = self.store.prove_growth(old, newest.size).await?;
        let body = Submission { old, proof, note: newest.note.clone() }.to_string();
        let answer = asked.client.send(Method::POST, &asked.target, HeaderMap::new(), Bytes::from(body)).await?;
        let text = String::from_utf8_lossy(&answer.body);
        match answer.status {
            StatusCode::OK => self.keep(asked, newest, &text).await.map(|()| None),
            StatusCode::CONFLICT => {
                let refused = || SubmitError::Refused { status: 409, said: "no size".to_owned() };
                decimal(text.trim_end()).map(Some).ok_or_else(refused)
            }
            status => {
                let said = text.chars().filter(|c| !c.is_control()).take(200).collect();
                Err(SubmitError::Refused { status: status.as_u16(), said })
            }
        }
    }

    /// Keeps the cosignature of the witness's key; what else the answer holds is passed over.
    async fn keep(&self, asked: &Asked, newest: &StoredCheckpoint, answer: &str) -> Result<(), SubmitError> {
        let signed = SignedCheckpoint::read(&newest.note).map_err(|_| SubmitError::Unsigned)?;
        let lines = answer.lines().filter_map(|line| line.parse::<SignatureLine>().ok());
        let text = signed.note.text();
        let own = lines.into_iter().find(|line| cosigned_at(line, &asked.config.key, text).is_some());
        let own = own.ok_or(SubmitError::Unsigned)?;
        let witness = asked.config.key.name().to_string();
        let cosigned = Cosigned { size: newest.size, witness, line: own.to_string(), at: self.clock.wall() };
        Ok(self.store.keep_cosignature(&self.origin, &cosigned).await?)
    }
}

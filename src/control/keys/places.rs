//! Where the keys of each purpose are, and how they are read, made and removed there.
//!
//! Must never: make a root where one was before (every sidecar pins it).

use std::collections::BTreeMap;
use std::path::Path;

use super::Purpose;
use super::error::KeysError;
use super::folder::{Folder, Halves, read_private};
use super::hsm::Token;
use super::private_key::{PrivateKey, token_place};
use crate::config::keys::{KeySource, KeysConfig, ObjectId};
use crate::domain::WallTime;
use crate::error_chain::error_chain;
use crate::token::{CertifiedKey, PublicKey, SigningKey, TokenError, unsigned_key_certificate, verify_key_certificate};

/// A grant key: its private half, and what a root says of it.
#[derive(Debug)]
pub(super) struct GrantKey {
    pub(super) private: PrivateKey,
    pub(super) certificate: String,
    pub(super) certified: CertifiedKey,
}

impl GrantKey {
    pub(super) fn kid(&self) -> &str {
        self.certified.key.kid()
    }
}

/// What a grant key's files came to.
#[derive(Debug)]
pub(super) enum Read {
    Whole(GrantKey),
    /// Its time is over.
    Ended(CertifiedKey),
    /// A certificate whose private half is elsewhere, or still on its way.
    NoPrivateHalf(CertifiedKey),
}

#[derive(Debug)]
pub(super) enum Source {
    Files,
    Token { token: Token, label: String, id: Option<ObjectId> },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) folder: Folder,
    root: Source,
    pub(super) grant: Source,
    ledger: Source,
}

impl Source {
    fn open(source: &KeySource) -> Result<Self, KeysError> {
        Ok(match source {
            KeySource::File => Self::Files,
            KeySource::Token(keys) => {
                Self::Token { token: Token::new(keys.token.clone())?, label: keys.label.clone(), id: keys.id.clone() }
            }
        })
    }

    /// For people.
    fn place(&self, file: &Path) -> String {
        match self {
            Self::Files => file.display().to_string(),
            Self::Token { token, label, .. } => format!("{} (label {label})", token_place(token)),
        }
    }
}

impl Places {
    pub(super) fn open(config: &KeysConfig, may_make: bool) -> Result<Self, KeysError> {
        if !may_make && !config.folder.exists() {
            let place = config.folder.display().to_string();
            return Err(KeysError::NotMade { purpose: Purpose::Root, place, verb: "init" });
        }
        let folder = Folder::open(&config.folder, may_make)?;
        let (root, grant) = (Source::open(&config.root)?, Source::open(&config.grant)?);
        Ok(Self { folder, root, grant, ledger: Source::open(&config.ledger)? })
    }

    pub(super) fn root_place(&self) -> String {
        self.root.place(&self.folder.root_path())
    }

    /// Where grant keys are, one of them if it is named.
    pub(super) fn grant_place(&self, kid: &str) -> String {
        self.grant.place(&self.folder.private_path(kid))
    }

    pub(super) async fn root(&self) -> Result<Option<PrivateKey>, KeysError> {
        let Source::Token { token, label, id } = &self.root else {
            return Ok(self.folder.root()?.map(PrivateKey::memory));
        };
        let mut found = token.keys(label, id.clone()).await?;
        let count = found.len();
        match found.pop() {
            Some(public) if count == 1 => Ok(Some(PrivateKey::in_token(token, label, public).await?)),
            Some(_) => {
                let (token, label) = (token.name(), label.clone());
                Err(super::hsm::HsmError::SeveralKeys { token, label, count }.into())
            }
            None => Ok(None),
        }
    }

    /// INVARIANT: the caller has seen that there never was one.
    pub(super) async fn make_root(&self) -> Result<PrivateKey, KeysError> {
        match &self.root {
            Source::Files => {
                let root = SigningKey::generate()?;
                self.folder.write_root(&root)?;
                Ok(PrivateKey::memory(root))
            }
            Source::Token { token, label, id } => {
                let public = token.make(label, id.clone()).await?;
                PrivateKey::in_token(token, label, public).await
            }
        }
    }

    /// Where the keys of the ledger are, one of them if it is named.
    pub(super) fn ledger_place(&self, kid: &str) -> String {
        self.ledger.place(&self.folder.ledger_path(kid))
    }

    /// The private half of a published key of the ledger, where it is here.
    pub(super) async fn ledger_key(&self, public: &PublicKey) -> Result<Option<PrivateKey>, KeysError> {
        if let Some(key) = self.folder.ledger_key(public.kid())? {
            let is_it = key.public() == public;
            let place = || self.folder.ledger_path(public.kid()).display().to_string();
            return if is_it { Ok(Some(PrivateKey::memory(key))) } else { Err(KeysError::Unusable { place: place() }) };
        }
        let Source::Token { token, label, .. } = &self.ledger else { return Ok(None) };
        if !token.keys(label, None).await?.contains(public) {
            return Ok(None);
        }
        PrivateKey::in_token(token, label, public.clone()).await.map(Some)
    }

    /// Makes a key of the ledger, which follows those that are published.
    pub(super) async fn make_ledger_key(&self, mut published: Vec<PublicKey>) -> Result<PublicKey, KeysError> {
        let private = match &self.ledger {
            Source::Files => PrivateKey::memory(SigningKey::generate()?),
            Source::Token { token, label, .. } => {
                let public = token.make(label, None).await?;
                PrivateKey::in_token(token, label, public).await?
            }
        };
        let public = private.public().clone();
        published.push(public.clone());
        self.folder.write_ledger_key(&published, private.in_memory())?;
        Ok(public)
    }

    pub(super) fn grant_keys(&self) -> Result<BTreeMap<String, Halves>, KeysError> {
        Ok(self.folder.grant_keys()?)
    }

    /// A grant key from its files, and from the token where that holds its private half.
    pub(super) async fn grant_key(
        &self,
        kid: &str,
        halves: Halves,
        roots: &[PublicKey],
        now: WallTime,
    ) -> Result<Read, KeysError> {
        let (certificate, certified) = self.certificate(kid, halves, roots)?;
        if certified.not_after <= now {
            return Ok(Read::Ended(certified));
        }
        let private = match &self.grant {
            _ if halves.private => PrivateKey::memory(self.folder.grant_key(kid)?),
            Source::Token { token, label, .. } => PrivateKey::in_token(token, label, certified.key.clone()).await?,
            Source::Files => return Ok(Read::NoPrivateHalf(certified)),
        };
        if *private.public() != certified.key {
            return Err(KeysError::Certificate { path: self.folder.certificate_path(kid), source: None });
        }
        Ok(Read::Whole(GrantKey { private, certificate, certified }))
    }

    /// A certificate that one of `roots` signed for the key its file is named after, whatever the time is.
    fn certificate(&self, kid: &str, halves: Halves, roots: &[PublicKey]) -> Result<(String, CertifiedKey), KeysError> {
        if !halves.certificate {
            return Err(KeysError::NoCertificate { path: self.folder.private_path(kid) });
        }
        let path = self.folder.certificate_path(kid);
        let bytes = read_private(&path)?;
        let unfit = |source: Option<TokenError>| KeysError::Certificate { path: path.clone(), source };
        let certificate = String::from_utf8(bytes).map_err(|_| unfit(None))?;
        let certified = verify_key_certificate(certificate.trim_end(), roots, WallTime::EPOCH);
        let certified = certified.map_err(|error| unfit(Some(error)))?;
        if certified.key.kid() != kid {
            return Err(unfit(None));
        }
        Ok((certificate.trim_end().to_owned(), certified))
    }

    /// Makes a grant key that holds from `not_before` until `not_after`, both cut to whole seconds.
    pub(super) async fn make_grant_key(
        &self,
        root: &PrivateKey,
        not_before: WallTime,
        not_after: WallTime,
    ) -> Result<GrantKey, KeysError> {
        let private = match &self.grant {
            Source::Files => PrivateKey::memory(SigningKey::generate()?),
            Source::Token { token, label, .. } => {
                let public = token.make(label, None).await?;
                PrivateKey::in_token(token, label, public).await?
            }
        };
        let public = private.public().clone();
        let made = self.certify(root, private, not_before, not_after).await;
        if made.is_err() {
            self.discard(&public).await;
        }
        made
    }

    async fn certify(
        &self,
        root: &PrivateKey,
        private: PrivateKey,
        not_before: WallTime,
        not_after: WallTime,
    ) -> Result<GrantKey, KeysError> {
        let whole = |time: WallTime| WallTime::from_unix_s(time.unix_s());
        let key = private.public().clone();
        let certified = CertifiedKey { key, not_before: whole(not_before), not_after: whole(not_after) };
        let certificate = root.sign(unsigned_key_certificate(&certified, root.public())?).await?;
        self.folder.write_grant_key(certified.key.kid(), &certificate, private.in_memory())?;
        Ok(GrantKey { private, certificate, certified })
    }

    /// A key that came to nothing stays in no token: attempts repeat, and tokens are small.
    async fn discard(&self, key: &PublicKey) {
        if let Err(error) = self.remove_grant_key(key.kid()).await {
            tracing::warn!(kid = key.kid(), error = %error_chain(&error), "a grant key that was not certified is left behind");
        }
    }

    /// Grant keys of the token, whether certified or not.
    pub(super) async fn grant_keys_in_token(&self) -> Result<Vec<PublicKey>, KeysError> {
        match &self.grant {
            Source::Files => Ok(Vec::new()),
            Source::Token { token, label, .. } => Ok(token.keys(label, None).await?),
        }
    }

    /// Removes a grant key wherever it is: the certificate before what is in the token.
    pub(super) async fn remove_grant_key(&self, kid: &str) -> Result<(), KeysError> {
        self.folder.remove_grant_key(kid)?;
        let Source::Token { token, label, .. } = &self.grant else { return Ok(()) };
        match token.keys(label, None).await?.into_iter().find(|key| key.kid() == kid) {
            Some(key) => Ok(token.destroy(label, &key).await?),
            None => Ok(()),
        }
    }
}

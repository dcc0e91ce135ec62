//! Where a ledger is read from: over HTTP, or a folder with the same files.

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use super::Asked;
use crate::cli::failure::{Exit, Failure};
use crate::cli::session;
use crate::error_chain::error_chain;
use crate::http::{Client, Limits};
use crate::ledger::tile::{BUNDLE_BYTES_MAX, Kind, TILE_WIDTH, TilePath, read_bundle, write_bundle};

/// A whole bundle of the largest entries, on a slow line.
const LIMITS: Limits = Limits { total_ms_max: 60_000, body_bytes_max: BUNDLE_BYTES_MAX, ..Limits::DEFAULT };

/// See the module.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Http { client: Client, base: String, headers: HeaderMap },
    Folder(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { base, .. } => f.write_str(base),
            Self::Folder(path) => path.display().fmt(f),
        }
    }
}

pub(super) fn is_url(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with("https://") || text.starts_with("http://"))
}

impl Source {
    /// # Errors
    /// When the address can't be used.
    pub(super) fn open(path: &Path, asked: &Asked<'_>) -> Result<Self, Failure> {
        if !is_url(path) {
            return Ok(Self::Folder(path.to_owned()));
        }
        let base = path.to_string_lossy().trim_end_matches('/').to_owned();
        let wrong = || Failure::new(Exit::Usage, format!("'{base}' is not a URL"), "such as https://HOST:PORT/ledger");
        let uri: Uri = base.parse().map_err(|_| wrong())?;
        let tls = session::tls_for(&uri, asked.global.ca.as_deref())?;
        let mut headers = HeaderMap::new();
        if let Some(token) = session::ledger_token(asked.global, &base, asked.env)? {
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| wrong())?;
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Self::Http { client: Client::new(tls, LIMITS), base, headers })
    }

    /// A file of the ledger; `None` where there is none.
    ///
    /// # Errors
    /// When it is not known whether there is one.
    pub(super) async fn fetch(&self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Self::Folder(folder) => read(&folder.join(path)),
            Self::Http { client, base, headers } => get(client, &format!("{base}/{path}"), headers).await,
        }
    }

    /// A tile or bundle. Where a partial one is gone, the whole one begins with it (c2sp.org/tlog-tiles).
    ///
    /// # Errors
    /// As [`Source::fetch`].
    pub(super) async fn piece(&self, path: TilePath) -> Result<Option<Vec<u8>>, Failure> {
        let found = self.fetch(&path.to_string()).await?;
        if found.is_some() || path.is_whole() {
            return Ok(found);
        }
        let whole = self.fetch(&TilePath { width: TILE_WIDTH, ..path }.to_string()).await?;
        Ok(whole.and_then(|bytes| beginning(&bytes, path)))
    }
}

fn beginning(bytes: &[u8], path: TilePath) -> Option<Vec<u8>> {
    match path.kind {
        Kind::Hashes(_) => Some(bytes.get(..usize::try_from(path.width).ok()? * 32)?.to_vec()),
        Kind::Entries => write_bundle(read_bundle(bytes, path.width).0).ok(),
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(Failure::new(Exit::Failed, format!("{}: {error}", path.display()), "name a folder that can be read"))
        }
    }
}

async fn get(client: &Client, url: &str, headers: &HeaderMap) -> Result<Option<Vec<u8>>, Failure> {
    let wrong = || Failure::new(Exit::Usage, format!("'{url}' is not a URL"), "such as https://HOST:PORT/ledger");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let answer = client.send(Method::GET, &uri, headers.clone(), Bytes::new()).await.map_err(|error| {
        let hint = "check the address and --ca; a copy in a folder verifies as well";
        Failure::new(Exit::Unreachable, format!("{url}: {}", error_chain(&error)), hint)
    })?;
    match answer.status {
        StatusCode::OK => Ok(Some(answer.body.to_vec())),
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::new(
            Exit::NotAuthenticated,
            format!("{url} is not yours to read ({})", answer.status.as_u16()),
            "put a reader's token, or an auditor's access token, into BREAKGLASS_LEDGER_TOKEN or the file that \
             BREAKGLASS_LEDGER_TOKEN_FILE names",
        )),
        status => {
            Err(Failure::new(Exit::Unreachable, format!("{url} answered {}", status.as_u16()), "try again shortly"))
        }
    }
}

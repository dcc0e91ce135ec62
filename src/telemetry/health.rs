//! Asking a running plane's admin port how it is, for container health checks without curl.

use http::{HeaderMap, Method, Uri};

use crate::http::{Client, HttpError, Limits};

/// Why the answer was no.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    #[error("the admin port did not answer")]
    Unanswered(#[from] HttpError),
    #[error("the admin port answered {0}")]
    Status(http::StatusCode),
}

/// GETs `url` (`/readyz` or `/livez` of an admin port) and wants a 2xx answer, whose body is returned.
///
/// # Errors
/// [`HealthError`].
pub async fn health(url: &Uri) -> Result<String, HealthError> {
    let client = Client::new(None, Limits::DEFAULT);
    let answer = client.send(Method::GET, url, HeaderMap::new(), bytes::Bytes::new()).await?;
    if answer.status.is_success() {
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    } else {
        Err(HealthError::Status(answer.status))
    }
}

//! What a URL says: the name in its path, its query parameters, the cursor between pages.

use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::shown;
use crate::control::refusal::{Cause, Refusal};
use crate::domain::{Person, ServiceName};
use crate::store::Listing;
use crate::wire::api::GrantState;

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 200;

/// The one name in the path. What can't be decoded names nothing.
#[derive(Debug)]
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|_| Refusal::not_found())
    }
}

/// A query string, strictly: unknown and mistyped parameters are refused.
#[derive(Debug)]
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query
            .map(|Query(asked)| Self(asked))
            .map_err(|error| Refusal::new(Cause::MalformedRequest, shown(&error.body_text(), 200)))
    }
}

/// Which of many to list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Of this service only.
    service: Option<ServiceName>,
    /// Grants in this state only.
    state: Option<GrantState>,
    /// Only one's own, where one sees more.
    mine: Option<bool>,
    /// `next` of the page before.
    cursor: Option<i64>,
    /// Greatest number of items; more than 200 are 200.
    #[param(minimum = 1, example = 50)]
    limit: Option<u32>,
}

impl ListQuery {
    /// The listing for a caller: one who does not see all sees their own.
    pub fn listing(self, caller: &Person, sees_all: bool) -> Listing {
        let own = !sees_all || self.mine.unwrap_or(false);
        Listing {
            service: self.service,
            person: own.then(|| caller.clone()),
            state: self.state,
            before: self.cursor,
            limit: self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX),
        }
    }
}

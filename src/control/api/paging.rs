//! Pages: which one is asked for, and where the next begins.
//!
//! A cursor is a position in the list, newest first, and a digest of the query that it belongs to. It is opaque, holds
//! for as long as the list exists, and is no secret: what a page shows is decided anew for whoever asks. With another
//! query it is refused, since its position would mean nothing there.

use axum::Json;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, Uri, header};
use serde::Serialize;

use crate::control::refusal::{Cause, Refusal};
use crate::domain::{ElevationState, Person, ReviewState, ServiceName};
use crate::store::{Listed, Listing, StoreError};
use crate::wire::api::{GrantState, Page};
use crate::wire::query::{Content, ElevationsQuery, GrantsQuery, RevocationsQuery};

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 200;
/// Reads of the store for one page. What is filtered after reading may leave a page short, even empty; `next` goes on.
const READS_MAX: u32 = 10;
const POSITION_BYTES: usize = 8;
const DIGEST_BYTES: usize = 8;

/// A list that is asked for, whichever it is.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ListAsked {
    /// Which list: a cursor of one is none of another.
    pub list: &'static str,
    pub service: Option<ServiceName>,
    pub person: Option<Person>,
    pub state: Option<GrantState>,
    pub elevation_state: Option<ElevationState>,
    pub review: Option<ReviewState>,
    pub content: Content,
    pub mine: bool,
    /// Only what the caller can approve now.
    pub to_approve: bool,
    #[serde(skip)]
    cursor: Option<String>,
    #[serde(skip)]
    limit: Option<u32>,
}

/// The fields of both queries bear the same names, but serde can't flatten and refuse unknown members at once.
macro_rules! list_asked {
    ($query:ty, $list:literal, $own:expr) => {
        impl From<$query> for ListAsked {
            fn from(asked: $query) -> Self {
                let own: fn(&$query) -> Self = $own;
                let own = own(&asked);
                Self {
                    list: $list,
                    service: asked.service,
                    person: asked.person,
                    content: Content {
                        resource: asked.resource,
                        action: asked.action,
                        reason: asked.reason,
                        ticket: asked.ticket,
                        since_at: asked.since_at,
                        before_at: asked.before_at,
                    },
                    mine: asked.mine.unwrap_or(false),
                    cursor: asked.cursor,
                    limit: asked.limit,
                    ..own
                }
            }
        }
    };
}
list_asked!(GrantsQuery, "grants", |asked| ListAsked {
    state: asked.state,
    review: asked.review,
    ..ListAsked::default()
});
list_asked!(ElevationsQuery, "elevations", |asked| ListAsked {
    elevation_state: asked.state,
    to_approve: asked.to_approve.unwrap_or(false),
    ..ListAsked::default()
});

impl From<RevocationsQuery> for ListAsked {
    fn from(asked: RevocationsQuery) -> Self {
        let mine = asked.mine.unwrap_or(false);
        Self { list: "revocations", mine, cursor: asked.cursor, limit: asked.limit, ..Self::default() }
    }
}

impl ListAsked {
    /// What the store is to list for a caller: one who does not see all sees their own. `None` where that is nothing.
    ///
    /// # Errors
    /// When the cursor is not one of this list.
    pub fn listing(&self, caller: &Person, sees_all: bool) -> Result<Option<Listing>, Refusal> {
        let before = self.cursor.as_deref().map(|cursor| self.position(cursor)).transpose()?;
        let own = (!sees_all || self.mine).then(|| caller.clone());
        let person = match (own, &self.person) {
            (Some(own), Some(asked)) if own != *asked => return Ok(None),
            (Some(own), _) => Some(own),
            (None, asked) => asked.clone(),
        };
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
        let content = self.content.clone();
        Ok(Some(Listing {
            service: self.service.clone(),
            person,
            state: self.state,
            // What can be approved waits.
            elevation_state: self.elevation_state.or(self.to_approve.then_some(ElevationState::Requested)),
            review: self.review,
            resource: content.resource,
            action: content.action,
            reason: content.reason,
            ticket: content.ticket,
            from: content.since_at,
            to: content.before_at,
            before,
            limit,
        }))
    }

    /// Whether a page may show what is not the caller's own.
    pub fn is_beyond(&self, caller: &Person, sees_all: bool) -> bool {
        sees_all && !self.mine && self.person.as_ref() != Some(caller)
    }

    fn digest(&self) -> Vec<u8> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
        digest.as_ref().iter().copied().take(DIGEST_BYTES).collect()
    }

    fn cursor(&self, position: i64) -> String {
        URL_SAFE_NO_PAD.encode([&position.to_be_bytes()[..], &self.digest()].concat())
    }

    fn position(&self, cursor: &str) -> Result<i64, Refusal> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap_or_default();
        let read = bytes.split_first_chunk::<POSITION_BYTES>().filter(|(_, digest)| *digest == self.digest());
        read.map(|(position, _)| i64::from_be_bytes(*position)).ok_or_else(|| {
            let detail = "the cursor is not one of this list with these parameters: begin without it";
            Refusal::new(Cause::MalformedRequest, detail)
        })
    }

    /// Reads until the page is full, the list ends, or it has been read often enough.
    ///
    /// # Errors
    /// What the store said.
    pub async fn read<T, R: Future<Output = Result<Listed<T>, StoreError>>>(
        &self,
        mut listing: Listing,
        read: impl Fn(Listing) -> R,
        fits: impl Fn(&T) -> bool,
    ) -> Result<Listed<T>, StoreError> {
        let wanted = usize::try_from(listing.limit).unwrap_or(usize::MAX);
        let mut items = Vec::new();
        for _ in 0..READS_MAX {
            listing.limit = u32::try_from(wanted.saturating_sub(items.len())).unwrap_or(u32::MAX);
            let listed = read(listing.clone()).await?;
            items.extend(listed.items.into_iter().filter(&fits));
            listing.before = listed.next;
            if listing.before.is_none() || items.len() >= wanted {
                break;
            }
        }
        Ok(Listed { items, next: listing.before })
    }

    /// The answer, with the way to the next page in it and in `Link` (RFC 8288).
    pub fn page<T: Serialize>(&self, uri: &Uri, items: Vec<T>, next: Option<i64>) -> Response {
        let next = next.map(|position| self.cursor(position));
        let link = next.as_deref().and_then(|cursor| next_link(uri, cursor));
        let mut response = Json(Page { items, next }).into_response();
        if let Some(link) = link {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

fn next_link(uri: &Uri, cursor: &str) -> Option<HeaderValue> {
    let others = uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty());
    let others = others.filter(|part| !part.starts_with("cursor="));
    let own = format!("cursor={cursor}");
    let query: Vec<_> = others.chain([own.as_str()]).collect();
    HeaderValue::try_from(format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(service: &str) -> ListAsked {
        GrantsQuery { service: Some(service.parse().unwrap()), ..GrantsQuery::default() }.into()
    }

    #[test]
    fn a_cursor_belongs_to_its_query() {
        let (one, other) = (asked("payments"), asked("ledger"));
        let cursor = one.cursor(42);
        assert_eq!(one.position(&cursor).unwrap(), 42);
        assert_eq!(other.position(&cursor).unwrap_err().cause, Cause::MalformedRequest);
        for broken in ["", "42", "!", &cursor[1..], &format!("{cursor}AA")] {
            assert!(one.position(broken).is_err(), "{broken}");
        }
        let elevations: ListAsked =
            ElevationsQuery { service: Some("payments".parse().unwrap()), ..ElevationsQuery::default() }.into();
        assert!(elevations.position(&cursor).is_err(), "of another list");
    }

    #[test]
    fn the_next_page_is_this_one_with_another_cursor() {
        let uri: Uri = "/v1/grants?cursor=old&limit=2&ticket=INC-1%2B2".parse().unwrap();
        assert_eq!(next_link(&uri, "new").unwrap(), "</v1/grants?limit=2&ticket=INC-1%2B2&cursor=new>; rel=\"next\"");
        let uri: Uri = "/v1/grants".parse().unwrap();
        assert_eq!(next_link(&uri, "new").unwrap(), "</v1/grants?cursor=new>; rel=\"next\"");
    }

    #[test]
    fn who_sees_only_their_own_finds_nothing_of_others() {
        let (alice, bob): (Person, Person) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let asked: ListAsked = GrantsQuery { person: Some(bob.clone()), ..GrantsQuery::default() }.into();
        assert_eq!(asked.listing(&alice, false).unwrap(), None);
        assert_eq!(asked.listing(&alice, true).unwrap().unwrap().person, Some(bob.clone()));
        assert_eq!(asked.listing(&bob, false).unwrap().unwrap().person, Some(bob.clone()));
        assert!(asked.is_beyond(&alice, true) && !asked.is_beyond(&bob, true) && !asked.is_beyond(&alice, false));
    }

    #[tokio::test]
    async fn what_is_filtered_after_reading_leaves_a_page_short_but_loses_nothing() {
        // A list of the numbers 1000 to 1, as the store reads one.
        let read = async |listing: Listing| {
            let from = listing.before.unwrap_or(1001);
            let items: Vec<i64> = (1..from).rev().take(listing.limit as usize).collect();
            let next = items.last().copied().filter(|last| *last > 1);
            Ok(Listed { items, next })
        };
        let (mut found, mut pages, mut before) = (Vec::new(), 0, None);
        loop {
            let listing = Listing { limit: 50, before, ..Listing::default() };
            let page = asked("x").read(listing, read, |number| number % 100 == 7).await.unwrap();
            assert!(page.items.len() <= 50);
            found.extend(page.items);
            pages += 1;
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(found, [907, 807, 707, 607, 507, 407, 307, 207, 107, 7]);
        assert!(pages <= 4, "{pages}");
    }
}

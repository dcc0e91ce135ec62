//! What a URL's query says of a list: which of many, and which page.

use serde::{Deserialize, Serialize};

use crate::domain::{Action, ElevationState, Person, ReasonCode, Resource, ReviewState, ServiceName, Ticket, WallTime};
use crate::wire::api::GrantState;

/// Which grants to list. Every member narrows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct GrantsQuery {
    /// Of this service.
    pub service: Option<ServiceName>,
    /// Of this person. Who does not see everything sees their own only.
    pub person: Option<Person>,
    /// In this state.
    pub state: Option<GrantState>,
    /// Whose review stands like this.
    pub review: Option<ReviewState>,
    /// With this resource.
    pub resource: Option<Resource>,
    /// With this action.
    pub action: Option<Action>,
    /// For this reason.
    pub reason: Option<ReasonCode>,
    /// Under this ticket.
    pub ticket: Option<Ticket>,
    /// Issued then or later.
    pub since_at: Option<WallTime>,
    /// Issued earlier than that.
    pub before_at: Option<WallTime>,
    /// Only one's own, where one sees more.
    pub mine: Option<bool>,
    /// `next` of the page before. The other parameters must be those of that page.
    #[cfg_attr(feature = "control", param(max_length = 64))]
    pub cursor: Option<String>,
    /// Greatest number of items. Absent: 50; more than 200 are 200.
    #[cfg_attr(feature = "control", param(minimum = 1, example = 50))]
    pub limit: Option<u32>,
}

/// Which elevation requests to list. Every member narrows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct ElevationsQuery {
    /// Of this service.
    pub service: Option<ServiceName>,
    /// Of this person. Who does not see everything sees their own only.
    pub person: Option<Person>,
    /// In this state.
    pub state: Option<ElevationState>,
    /// Only those that one can approve now, whoever asked.
    pub to_approve: Option<bool>,
    /// With this resource.
    pub resource: Option<Resource>,
    /// With this action.
    pub action: Option<Action>,
    /// For this reason.
    pub reason: Option<ReasonCode>,
    /// Under this ticket.
    pub ticket: Option<Ticket>,
    /// Requested then or later.
    pub since_at: Option<WallTime>,
    /// Requested earlier than that.
    pub before_at: Option<WallTime>,
    /// Only one's own, where one sees more.
    pub mine: Option<bool>,
    /// `next` of the page before. The other parameters must be those of that page.
    #[cfg_attr(feature = "control", param(max_length = 64))]
    pub cursor: Option<String>,
    /// Greatest number of items. Absent: 50; more than 200 are 200.
    #[cfg_attr(feature = "control", param(minimum = 1, example = 50))]
    pub limit: Option<u32>,
}

/// Which revocations to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct RevocationsQuery {
    /// Only those that one ordered, where one sees more.
    pub mine: Option<bool>,
    /// `next` of the page before. The other parameters must be those of that page.
    #[cfg_attr(feature = "control", param(max_length = 64))]
    pub cursor: Option<String>,
    /// Greatest number of items. Absent: 50; more than 200 are 200.
    #[cfg_attr(feature = "control", param(minimum = 1, example = 50))]
    pub limit: Option<u32>,
}

/// The part of a query that both lists have: what is asked for, why, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Content {
    pub resource: Option<Resource>,
    pub action: Option<Action>,
    pub reason: Option<ReasonCode>,
    pub ticket: Option<Ticket>,
    pub since_at: Option<WallTime>,
    pub before_at: Option<WallTime>,
}

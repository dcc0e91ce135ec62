//! The claims of a grant token (`bg-grant+jwt`) and their way into and out of the domain.
//!
//! RFC 7519 registered claims, `authorization_details` of RFC 9396 §2 (type `break_glass`), `cnf` of RFC 7800, and the
//! private member `bg`. Exactly one audience: a grant is for one service.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{
    Action, Authentication, Binding, Confirmation, Grant, GrantId, Issuer, Justification, Origin, Person, ReasonCode,
    Resource, Role, Scope, ScopeError, ServiceName, Ticket, WallTime,
};

/// `type` of the authorisation details.
pub const DETAILS_TYPE: &str = "break_glass";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantClaims {
    pub iss: String,
    /// One string: an array is refused.
    pub aud: ServiceName,
    /// The person.
    pub sub: Person,
    /// The grant id.
    pub jti: GrantId,
    /// Seconds since the epoch (RFC 7519 §2, whole numbers only).
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
    /// The issuer that authenticated the person.
    pub idp: Issuer,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub acr: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub amr: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub auth_time: Option<i64>,
    /// One element a resource; all carry the same actions and role.
    pub authorization_details: Vec<Details>,
    /// RFC 7800: there if, and only if, the binding is `mtls` or `dpop`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cnf: Option<Confirmation>,
    pub bg: BreakGlass,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    #[serde(rename = "type")]
    pub kind: String,
    pub identifier: Resource,
    pub actions: Vec<Action>,
    pub privileges: Vec<Role>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlass {
    /// Explicit: a missing binding fails to parse and is never taken as bearer.
    pub binding: Binding,
    pub reason: ReasonCode,
    pub ticket: Ticket,
    pub policy_revision: u64,
    #[serde(default)]
    pub approvals: Vec<Person>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_uses: Option<NonZeroU32>,
    /// Seconds.
    pub staleness_max: u64,
    pub origin: Origin,
}

/// Why well-signed claims are no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    #[error("authorization_details must all have type \"{DETAILS_TYPE}\"")]
    DetailsType,
    #[error("authorization_details must all name the same actions and the same single privilege")]
    DetailsDiffer,
    #[error(transparent)]
    Scope(#[from] ScopeError),
    #[error("exp must be later than nbf")]
    Times,
    #[error("cnf is not what the binding is proven by")]
    Confirmation,
}

impl GrantClaims {
    /// The claims of `grant`, issued by `issuer`.
    pub fn of(grant: &Grant, issuer: &str) -> Self {
        let actions: Vec<_> = grant.scope.actions().iter().cloned().collect();
        let details = grant.scope.resources().iter().map(|resource| Details {
            kind: DETAILS_TYPE.to_owned(),
            identifier: resource.clone(),
            actions: actions.clone(),
            privileges: vec![grant.role.clone()],
        });
        Self {
            iss: issuer.to_owned(),
            aud: grant.service.clone(),
            sub: grant.person.clone(),
            jti: grant.id.clone(),
            iat: grant.issued.unix_s(),
            nbf: grant.not_before.unix_s(),
            exp: grant.expires.unix_s(),
            idp: grant.idp.clone(),
            acr: grant.authentication.acr.clone(),
            amr: grant.authentication.amr.clone(),
            auth_time: grant.authentication.auth_time.map(WallTime::unix_s),
            authorization_details: details.collect(),
            cnf: grant.confirmation.clone(),
            bg: BreakGlass {
                binding: grant.binding,
                reason: grant.justification.reason.clone(),
                ticket: grant.justification.ticket.clone(),
                policy_revision: grant.policy_revision,
                approvals: grant.approvals.clone(),
                max_uses: grant.max_uses,
                staleness_max: grant.staleness_max.as_secs(),
                origin: grant.origin,
            },
        }
    }

    fn role_and_scope(details: Vec<Details>) -> Result<(Role, Scope), ClaimsError> {
        let mut resources = Vec::with_capacity(details.len());
        let mut common: Option<(Vec<Action>, Vec<Role>)> = None;
        for detail in details {
            if detail.kind != DETAILS_TYPE {
                return Err(ClaimsError::DetailsType);
            }
            let this = (detail.actions, detail.privileges);
            match &common {
                Some(first) if *first != this => return Err(ClaimsError::DetailsDiffer),
                Some(_) => {}
                None => common = Some(this),
            }
            resources.push(detail.identifier);
        }
        let (actions, privileges) = common.ok_or(ScopeError::NoResource)?;
        let [role] = <[Role; 1]>::try_from(privileges).map_err(|_| ClaimsError::DetailsDiffer)?;
        Ok((role, Scope::new(resources, actions)?))
    }
}

impl TryFrom<GrantClaims> for Grant {
    type Error = ClaimsError;

    fn try_from(claims: GrantClaims) -> Result<Self, ClaimsError> {
        if claims.exp <= claims.nbf {
            return Err(ClaimsError::Times);
        }
        if claims.cnf.as_ref().is_some_and(|cnf| cnf.binding() != claims.bg.binding) {
            return Err(ClaimsError::Confirmation);
        }
        let (role, scope) = GrantClaims::role_and_scope(claims.authorization_details)?;
        Ok(Self {
            id: claims.jti,
            service: claims.aud,
            person: claims.sub,
            idp: claims.idp,
            authentication: Authentication {
                acr: claims.acr,
                amr: claims.amr,
                auth_time: claims.auth_time.map(WallTime::from_unix_s),
            },
            role,
            scope,
            binding: claims.bg.binding,
            confirmation: claims.cnf,
            justification: Justification { reason: claims.bg.reason, ticket: claims.bg.ticket },
            issued: WallTime::from_unix_s(claims.iat),
            not_before: WallTime::from_unix_s(claims.nbf),
            expires: WallTime::from_unix_s(claims.exp),
            max_uses: claims.bg.max_uses,
            staleness_max: Duration::from_secs(claims.bg.staleness_max),
            policy_revision: claims.bg.policy_revision,
            approvals: claims.bg.approvals,
            origin: claims.bg.origin,
        })
    }
}

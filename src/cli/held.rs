//! The live grants that the caller holds: the one that was named, or the one that fits.

use super::api::{Api, GrantQuery};
use super::args::Which;
use super::failure::{Exit, Failure};
use super::grants::joined;
use crate::clock::Clock;
use crate::domain::WallTime;
use crate::wire::api::{GrantState, GrantView};

/// # Errors
/// When there is none, or more than one, or the named one has ended.
pub(super) async fn find(api: &Api, which: &Which) -> Result<GrantView, Failure> {
    let now = Clock::System.wall();
    if let Some(id) = &which.id {
        let grant = api.grant(id).await?;
        return if is_live(&grant, now) { Ok(grant) } else { Err(ended(&grant)) };
    }
    let query = GrantQuery {
        service: which.service.clone(),
        state: Some(GrantState::Active.as_str()),
        mine: true,
        ..GrantQuery::default()
    };
    let mut live = api.grants(&query).await?;
    live.retain(|grant| is_live(grant, now) && fits(grant, which));
    match live.as_slice() {
        [] => Err(none(which)),
        [one] => Ok(one.clone()),
        several => Err(too_many(several)),
    }
}

fn is_live(grant: &GrantView, now: WallTime) -> bool {
    grant.state == GrantState::Active && !grant.expires_at.since(now).is_zero()
}

fn fits(grant: &GrantView, which: &Which) -> bool {
    which.service.as_ref().is_none_or(|service| grant.service == *service)
        && which.resource.as_ref().is_none_or(|resource| grant.resources.contains(resource))
        && which.action.as_ref().is_none_or(|action| grant.actions.contains(action))
}

/// A grant that can't be used any more.
pub(super) fn ended(grant: &GrantView) -> Failure {
    let by = grant.ended_by.as_ref().map(|person| format!(" by {person}")).unwrap_or_default();
    let note = grant.end_note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
    let how = match grant.state {
        // By its own clock the control plane may not have noticed yet.
        GrantState::Active | GrantState::Expired => "has expired".to_owned(),
        GrantState::Revoked => format!("was revoked{by}{note}"),
        GrantState::UsedUp => "is used up".to_owned(),
    };
    Failure::new(Exit::Refused, format!("{} {how}", grant.id), format!("request again: {}", request_like(grant)))
}

fn request_like(grant: &GrantView) -> String {
    let resources: String = grant.resources.iter().map(|resource| format!(" --resource {resource}")).collect();
    let actions: String = grant.actions.iter().map(|action| format!(" --action {action}")).collect();
    format!("breakglass request --service {}{resources}{actions}", grant.service)
}

fn none(which: &Which) -> Failure {
    let part = |flag: &str, value: Option<&str>, what: &str| format!(" --{flag} {}", value.unwrap_or(what));
    let service = part("service", which.service.as_ref().map(AsRef::as_ref), "NAME");
    let resource = part("resource", which.resource.as_ref().map(AsRef::as_ref), "TYPE/ID");
    let action = part("action", which.action.as_ref().map(AsRef::as_ref), "VERB");
    let hint = format!("get one with: breakglass request{service}{resource}{action}");
    Failure::new(Exit::Refused, "you hold no live grant that fits", hint)
}

fn too_many(grants: &[GrantView]) -> Failure {
    let listed = grants.iter().map(|grant| {
        format!("{} ({} on {} of {})", grant.id, joined(&grant.actions), joined(&grant.resources), grant.service)
    });
    let message = format!("several of your grants fit: {}", listed.collect::<Vec<_>>().join("; "));
    Failure::new(Exit::Usage, message, "name the one you mean")
}

#[cfg(test)]
mod tests {
    use super::super::grants::sample;
    use super::*;

    #[test]
    fn what_ended_says_how_and_what_to_type() {
        let mut grant = GrantView {
            state: GrantState::Revoked,
            ended_by: Some("bob".parse().unwrap()),
            end_note: Some("enough".to_owned()),
            ..sample::grant()
        };
        let failure = ended(&grant);
        assert!(failure.message.ends_with("was revoked by bob: enough"), "{}", failure.message);
        assert!(failure.hint.starts_with("request again: breakglass request --service"), "{}", failure.hint);
        grant.state = GrantState::Active;
        assert!(ended(&grant).message.ends_with("has expired"));
        assert!(!is_live(&grant, grant.expires_at), "its last moment is no time");
    }

    #[test]
    fn what_is_missing_is_what_would_be_requested() {
        let which = Which { resource: Some("contract/C-1".parse().unwrap()), ..Which::default() };
        assert_eq!(
            none(&which).hint,
            "get one with: breakglass request --service NAME --resource contract/C-1 --action VERB"
        );
    }
}

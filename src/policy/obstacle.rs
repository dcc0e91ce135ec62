//! What stands between one tier and one request.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use super::asker::{AdmittedBy, Asked, Asker};
use super::refused::{Cause, Refused};
use crate::config::policy::{StepUp, Tier};
use crate::domain::{Action, Binding, ReasonCode, Resource, Scope, ServiceName};

/// One reason why a tier does not give what is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The request names another tier.
    OtherTierNamed,
    NotOpen,
    Service(ServiceName),
    Resource(Resource),
    Action(Action),
    Reason(ReasonCode),
    TooShort,
    TooLong {
        most: Duration,
    },
    TooFewUses,
    TooManyUses {
        most: NonZeroU32,
    },
    Binding(Binding),
    TooManyLive {
        live: u32,
        most: NonZeroU32,
    },
    CoolDown {
        resource: Resource,
        left: Duration,
    },
    StepUp(StepUp),
}

/// How far an obstacle is from the tier: the nearest is told, what is farther is no one's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It is another tier that is meant.
    Fit,
    /// It is this tier, but for other needs.
    Reason,
    /// It is this tier, on other terms.
    Terms,
}

impl Obstacle {
    pub const fn stage(&self) -> Stage {
        match self {
            Self::OtherTierNamed | Self::NotOpen | Self::Service(_) | Self::Resource(_) | Self::Action(_) => Stage::Fit,
            Self::Reason(_) => Stage::Reason,
            Self::TooShort
            | Self::TooLong { .. }
            | Self::TooFewUses
            | Self::TooManyUses { .. }
            | Self::Binding(_)
            | Self::TooManyLive { .. }
            | Self::CoolDown { .. }
            | Self::StepUp(_) => Stage::Terms,
        }
    }

    pub const fn cause(&self) -> Cause {
        match self {
            Self::OtherTierNamed | Self::NotOpen | Self::Service(_) | Self::Resource(_) | Self::Action(_) => {
                Cause::NoTierFits
            }
            Self::Reason(_) => Cause::ReasonNotInTier,
            Self::TooShort => Cause::DurationTooShort,
            Self::TooLong { .. } => Cause::DurationTooLong,
            Self::TooFewUses => Cause::TooFewUses,
            Self::TooManyUses { .. } => Cause::TooManyUses,
            Self::Binding(_) => Cause::BindingNotInTier,
            Self::TooManyLive { .. } => Cause::TooManyLive,
            Self::CoolDown { .. } => Cause::CoolDown,
            Self::StepUp(_) => Cause::StepUp,
        }
    }

    /// The refusal of a request that only this tier fits.
    pub fn refused(&self, tier: &Tier) -> Refused {
        let detail = match self.stage() {
            Stage::Fit => "no tier that is open to you covers what was asked for".to_owned(),
            Stage::Reason | Stage::Terms => format!("the tier \"{}\" {self}", tier.name),
        };
        let mut refused = Refused::new(self.cause(), detail);
        match self {
            Self::CoolDown { left, .. } => refused.retry_after = Some(*left),
            Self::StepUp(step_up) => refused.step_up = Some(step_up.clone()),
            _ => {}
        }
        refused
    }
}

/// Reads on after "the tier".
impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherTierNamed => f.write_str("is not the one named"),
            Self::NotOpen => f.write_str("is open to other groups and schedules only"),
            Self::Service(service) => write!(f, "is not for the service {service}"),
            Self::Resource(resource) => write!(f, "does not cover {resource}"),
            Self::Action(action) => write!(f, "does not cover {action}"),
            Self::Reason(reason) => write!(f, "is not for the reason \"{reason}\""),
            Self::TooShort => f.write_str("allows no less than 1 second"),
            Self::TooLong { most } => write!(f, "allows {} seconds", most.as_secs()),
            Self::TooFewUses => f.write_str("allows no less than 1 use"),
            Self::TooManyUses { most } => write!(f, "allows {most} uses"),
            Self::Binding(binding) => write!(f, "does not accept the binding \"{}\"", binding.as_str()),
            Self::TooManyLive { live, most } => write!(f, "allows {most} live grants of one person; you have {live}"),
            Self::CoolDown { resource, left } => {
                write!(f, "wants {} seconds more to pass since your last grant on {resource} ended", whole(*left))
            }
            Self::StepUp(step_up) => write!(f, "wants a stronger or fresher login: {step_up}"),
        }
    }
}

/// Whole seconds, rounded up: waiting that long is enough.
pub fn whole(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0))
}

/// One tier and one request.
#[derive(Debug)]
pub struct TierVerdict<'r> {
    pub tier: &'r Tier,
    /// By what it is open to the person, if it is.
    pub admitted_by: Option<AdmittedBy>,
    /// In the order in which they count. None: it gives what is asked for.
    pub obstacles: Vec<Obstacle>,
}

impl TierVerdict<'_> {
    /// Whether it is this tier that is meant.
    pub fn fits(&self) -> bool {
        self.obstacles.iter().all(|obstacle| obstacle.stage() > Stage::Fit)
    }

    /// Whether it is this tier that is meant, and for this need.
    pub fn fits_reason(&self) -> bool {
        self.obstacles.iter().all(|obstacle| obstacle.stage() > Stage::Reason)
    }
}

/// By what the tier is open to someone: a group first, since it lasts longer than a shift.
pub fn admitted_by(tier: &Tier, asker: &Asker) -> Option<AdmittedBy> {
    let group = tier.groups.intersection(&asker.groups).next().cloned().map(AdmittedBy::Group);
    group.or_else(|| tier.on_call.intersection(&asker.on_call).next().cloned().map(AdmittedBy::OnCall))
}

/// Whether someone may use the tier at all.
pub fn is_open_to(tier: &Tier, asker: &Asker) -> bool {
    admitted_by(tier, asker).is_some()
}

/// Everything that stands between the tier and the request.
pub fn examine<'r>(tier: &'r Tier, asker: &Asker, asked: Asked<'_>, scope: &Scope) -> TierVerdict<'r> {
    let admitted_by = admitted_by(tier, asker);
    let mut obstacles = Vec::new();
    if admitted_by.is_none() {
        obstacles.push(Obstacle::NotOpen);
    }
    examine_fit(tier, asked, scope, &mut obstacles);
    examine_terms(tier, asked, &mut obstacles);
    examine_history(tier, asker, asked, scope, &mut obstacles);
    let step_up = tier.step_up.as_ref().filter(|step_up| !step_up.is_met_by(&asker.authentication, asker.now));
    obstacles.extend(step_up.cloned().map(Obstacle::StepUp));
    TierVerdict { tier, admitted_by, obstacles }
}

fn examine_fit(tier: &Tier, asked: Asked<'_>, scope: &Scope, obstacles: &mut Vec<Obstacle>) {
    let request = asked.request;
    if request.tier.as_ref().is_some_and(|name| *name != tier.name) {
        obstacles.push(Obstacle::OtherTierNamed);
    }
    if !tier.services.contains(&request.service) {
        obstacles.push(Obstacle::Service(request.service.clone()));
    }
    let resources = scope.resources().iter().filter(|resource| !tier.has_resource(resource));
    obstacles.extend(resources.cloned().map(Obstacle::Resource));
    obstacles.extend(scope.actions().difference(&tier.actions).cloned().map(Obstacle::Action));
    if !tier.has_reason(&request.reason) {
        obstacles.push(Obstacle::Reason(request.reason.clone()));
    }
}

fn examine_terms(tier: &Tier, asked: Asked<'_>, obstacles: &mut Vec<Obstacle>) {
    match asked.request.duration_s {
        Some(0) => obstacles.push(Obstacle::TooShort),
        Some(seconds) if seconds > tier.maximum.as_secs() => obstacles.push(Obstacle::TooLong { most: tier.maximum }),
        Some(_) | None => {}
    }
    match (asked.request.max_uses, tier.uses_maximum) {
        (Some(0), _) => obstacles.push(Obstacle::TooFewUses),
        (Some(uses), Some(most)) if uses > most.get() => obstacles.push(Obstacle::TooManyUses { most }),
        (Some(_) | None, _) => {}
    }
    if let Some(binding) = asked.binding.filter(|binding| !tier.bindings.contains(binding)) {
        obstacles.push(Obstacle::Binding(binding));
    }
}

fn examine_history(tier: &Tier, asker: &Asker, asked: Asked<'_>, scope: &Scope, obstacles: &mut Vec<Obstacle>) {
    let live = asker.history.live.get(&tier.name).copied().unwrap_or(0);
    if let Some(most) = tier.concurrent_max.filter(|most| live >= most.get()) {
        obstacles.push(Obstacle::TooManyLive { live, most });
    }
    let concerns = |ended: &&super::Ended| {
        ended.tier == tier.name && ended.service == asked.request.service && scope.has_resource(&ended.resource)
    };
    let left = |ended: &super::Ended| ended.at.plus(tier.cool_down).since(asker.now);
    let last = asker.history.ended.iter().filter(concerns).max_by_key(|ended| ended.at);
    if let Some(ended) = last.filter(|ended| left(ended) > Duration::ZERO) {
        obstacles.push(Obstacle::CoolDown { resource: ended.resource.clone(), left: left(ended) });
    }
}

//! The policy's verdict on a request, as the API answers it. What the verdict is stands in [`crate::policy`].

use super::Workflow;
use crate::control::on_call::{ScheduleStanding, Standing};
use crate::control::refusal::Refusal;
use crate::identity::Verified;
pub use crate::policy::check::Terms;
use crate::policy::{AdmittedBy, Asked, Asker, Rules};

/// Checks a request.
///
/// # Errors
/// The refusal to answer with.
pub fn check<'r>(rules: &'r Rules, asker: &Asker, asked: Asked<'_>) -> Result<Terms<'r>, Refusal> {
    Ok(crate::policy::check(rules, asker, asked)?)
}

impl Workflow {
    /// The caller as the policy looks at them, without a history.
    pub fn asker(&self, caller: &Verified) -> Asker {
        let groups = caller.groups.iter().cloned();
        let mut asker = Asker::new(groups, caller.authentication.clone(), self.clock.wall());
        let on_call = |stands: &ScheduleStanding| stands.standing.is_on_call();
        asker.on_call = self.schedules_of(caller).into_iter().filter(on_call).map(|stands| stands.schedule).collect();
        asker
    }

    fn schedules_of(&self, caller: &Verified) -> Vec<ScheduleStanding> {
        self.on_call.schedules_of(&caller.person, &caller.groups, self.clock.now())
    }

    /// The group that stood in for the schedule by which the tier is open to the caller, where one did.
    pub(super) fn stood_in(&self, caller: &Verified, admitted_by: &AdmittedBy) -> Option<String> {
        let AdmittedBy::OnCall(schedule) = admitted_by else { return None };
        match self.on_call.is_on_call(schedule, &caller.person, &caller.groups, self.clock.now()) {
            Standing::Fallback { group, .. } => Some(group),
            Standing::Yes { .. } | Standing::No { .. } | Standing::Unknown { .. } => None,
        }
    }
}

//! What an approver takes off a request: time, actions or uses. Narrowings of several approvers combine, and none of
//! them can widen: what stands after each is within what stood before it.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use super::{Action, Elevation, Scope, ScopeError};

/// What one approver agrees to, where that is less than what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrowing {
    pub duration: Option<Duration>,
    pub actions: Option<BTreeSet<Action>>,
    pub max_uses: Option<NonZeroU32>,
}

impl Narrowing {
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What a grant would confer now: the request, less what its approvers took off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    pub scope: Scope,
    pub duration: Duration,
    /// `None`: any number.
    pub max_uses: Option<NonZeroU32>,
}

/// Why a narrowing is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NarrowingError {
    #[error("{given_s} seconds are more than the {asked_s} that were asked for")]
    Longer { given_s: u64, asked_s: u64 },
    #[error("a grant lasts at least 1 second")]
    NoTime,
    #[error("the action \"{0}\" was not asked for")]
    ActionNotAsked(Action),
    #[error("{given} uses are more than the {asked} that were asked for")]
    MoreUses { given: NonZeroU32, asked: NonZeroU32 },
    #[error("no action would be left: the approvers agree to different ones")]
    NothingLeft,
}

impl Bounds {
    pub fn of(elevation: &Elevation) -> Self {
        Self { scope: elevation.scope.clone(), duration: elevation.duration, max_uses: elevation.max_uses }
    }

    /// Less `narrowing`, which was given for a request that asked for `asked`.
    ///
    /// # Errors
    /// When it would widen the request, or when nothing would be left.
    pub fn narrowed(&self, narrowing: &Narrowing, asked: &Self) -> Result<Self, NarrowingError> {
        asked.check(narrowing)?;
        let smaller = |own: Option<NonZeroU32>, other: Option<NonZeroU32>| match (own, other) {
            (Some(own), Some(other)) => Some(own.min(other)),
            (own, other) => own.or(other),
        };
        Ok(Self {
            scope: self.narrowed_scope(narrowing)?,
            duration: narrowing.duration.map_or(self.duration, |duration| duration.min(self.duration)),
            max_uses: smaller(self.max_uses, narrowing.max_uses),
        })
    }

    /// INVARIANT: a narrowing never names more than was asked for.
    fn check(&self, narrowing: &Narrowing) -> Result<(), NarrowingError> {
        match narrowing.duration {
            Some(given) if given < Duration::from_secs(1) => return Err(NarrowingError::NoTime),
            Some(given) if given > self.duration => {
                return Err(NarrowingError::Longer { given_s: given.as_secs(), asked_s: self.duration.as_secs() });
            }
            Some(_) | None => {}
        }
        if let (Some(given), Some(asked)) = (narrowing.max_uses, self.max_uses)
            && given > asked
        {
            return Err(NarrowingError::MoreUses { given, asked });
        }
        let foreign = narrowing.actions.iter().flatten().find(|action| !self.scope.has_action(action));
        foreign.map_or(Ok(()), |action| Err(NarrowingError::ActionNotAsked(action.clone())))
    }

    fn narrowed_scope(&self, narrowing: &Narrowing) -> Result<Scope, NarrowingError> {
        let Some(actions) = &narrowing.actions else { return Ok(self.scope.clone()) };
        let left: BTreeSet<Action> = self.scope.actions().intersection(actions).cloned().collect();
        Scope::new(self.scope.resources().iter().cloned(), left).map_err(|error| match error {
            ScopeError::NoAction | ScopeError::NoResource | ScopeError::TooMany { .. } => NarrowingError::NothingLeft,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn actions(names: &[&str]) -> BTreeSet<Action> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn asked(max_uses: u32) -> Bounds {
        Bounds {
            scope: Scope::new(["contract/C-1".parse().unwrap()], actions(&["a.x", "a.y", "a.z"])).unwrap(),
            duration: Duration::from_secs(600),
            max_uses: NonZeroU32::new(max_uses),
        }
    }

    fn narrowing(seconds: Option<u64>, names: Option<&[&str]>, max_uses: Option<u32>) -> Narrowing {
        Narrowing {
            duration: seconds.map(Duration::from_secs),
            actions: names.map(actions),
            max_uses: max_uses.and_then(NonZeroU32::new),
        }
    }

    #[test]
    fn narrowings_combine_to_what_all_agree_to() {
        let asked = asked(5);
        let first = asked.narrowed(&narrowing(Some(300), Some(&["a.x", "a.y"]), None), &asked).unwrap();
        let second = first.narrowed(&narrowing(Some(400), Some(&["a.y", "a.z"]), Some(2)), &asked).unwrap();
        assert_eq!(second.duration, Duration::from_secs(300), "a second approver does not give back");
        assert_eq!(*second.scope.actions(), actions(&["a.y"]));
        assert_eq!(second.max_uses, NonZeroU32::new(2));
        assert!(second.scope.is_within(&first.scope));
        let third = second.narrowed(&narrowing(None, Some(&["a.x"]), None), &asked);
        assert_eq!(third, Err(NarrowingError::NothingLeft));
    }

    #[test]
    fn what_was_unlimited_can_be_limited() {
        let asked = asked(0);
        let limited = asked.narrowed(&narrowing(None, None, Some(9)), &asked).unwrap();
        assert_eq!(limited.max_uses, NonZeroU32::new(9));
        assert!(narrowing(None, None, None).is_nothing());
    }

    #[test]
    fn nothing_can_be_widened() {
        let asked = asked(5);
        for (wider, why) in [
            (narrowing(Some(601), None, None), "601 seconds are more than the 600 that were asked for"),
            (narrowing(Some(0), None, None), "a grant lasts at least 1 second"),
            (narrowing(None, None, Some(6)), "6 uses are more than the 5 that were asked for"),
            (narrowing(None, Some(&["a.x", "b.x"]), None), "the action \"b.x\" was not asked for"),
            (narrowing(None, Some(&[]), None), "no action would be left: the approvers agree to different ones"),
        ] {
            assert_eq!(asked.narrowed(&wider, &asked).unwrap_err().to_string(), why);
        }
    }

    fn any_narrowing() -> impl Strategy<Value = Narrowing> {
        let names = proptest::sample::subsequence(vec!["a.x", "a.y", "a.z"], 0..=3);
        (proptest::option::of(1_u64..=600), proptest::option::of(names), proptest::option::of(1_u32..=5))
            .prop_map(|(seconds, names, uses)| narrowing(seconds, names.as_deref(), uses))
    }

    proptest! {
        #[test]
        fn what_stands_never_grows_and_order_does_not_matter(
            all in proptest::collection::vec(any_narrowing(), 0..5),
        ) {
            let asked = asked(5);
            let reversed: Vec<&Narrowing> = all.iter().rev().collect();
            let combine = |all: &[&Narrowing]| {
                all.iter().try_fold(asked.clone(), |bounds, next| {
                    let narrowed = bounds.narrowed(next, &asked)?;
                    assert!(narrowed.scope.is_within(&bounds.scope) && narrowed.duration <= bounds.duration);
                    assert!(narrowed.max_uses <= bounds.max_uses);
                    Ok::<_, NarrowingError>(narrowed)
                })
            };
            prop_assert_eq!(combine(&all.iter().collect::<Vec<_>>()), combine(&reversed));
        }
    }
}

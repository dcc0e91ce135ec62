//! Keys that tokens have named and nobody here knows: those that the issuer is being asked for, and those it did not have
//! when it was.
//!
//! So a token of a key that was made a moment ago is not called forged while the issuer is asked, and one of a key that
//! is gone is not told to wait for ever. It holds a few digests and never a token.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;

/// Greatest number of names that are waited for at once; whoever invents more is told that they are unknown.
const NAMES_MAX: usize = 64;

type Name = [u8; 32];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sought(Mutex<Names>);

#[derive(Debug, Default)]
struct Names {
    /// Named since the last answer was asked for.
    awaited: HashSet<Name>,
    /// What the last answer did not have.
    missing: HashSet<Name>,
}

/// What was awaited when the issuer was asked.
#[derive(Debug)]
pub(super) struct Question(HashSet<Name>);

impl Sought {
    /// Whether the answer to this name is still awaited. A name that is missing is asked for again all the same.
    pub(super) fn awaits(&self, kid: &str) -> bool {
        let name = name(kid);
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = names.awaited.len() < NAMES_MAX || names.awaited.contains(&name);
        if has_room {
            names.awaited.insert(name);
        }
        has_room && !names.missing.contains(&name)
    }

    pub(super) fn ask(&self) -> Question {
        Question(self.0.lock().unwrap_or_else(PoisonError::into_inner).awaited.clone())
    }

    /// The issuer has answered: what of the question it knows is known now, and the rest is missing, as is what it `withdrew`.
    pub(super) fn answered<'n>(&self, question: Question, withdrew: impl Iterator<Item = &'n str>) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.awaited.retain(|name| !question.0.contains(name));
        names.missing = question.0;
        names.missing.extend(withdrew.map(name));
    }
}

fn name(kid: &str) -> Name {
    let mut name = [0; 32];
    name.copy_from_slice(digest::digest(&digest::SHA256, kid.as_bytes()).as_ref());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_awaited_until_the_issuer_has_answered() {
        let sought = Sought::default();
        assert!(sought.awaits("new"));
        let question = sought.ask();
        assert!(sought.awaits("later"), "it was not part of the question");
        sought.answered(question, ["old"].into_iter());
        assert!(!sought.awaits("old"), "the issuer said so");
        assert!(!sought.awaits("new"), "the issuer did not have it");
        assert!(sought.awaits("later"));
        sought.answered(sought.ask(), [].into_iter());
        assert!(!sought.awaits("new"), "it was asked for again");
        sought.answered(sought.ask(), [].into_iter());
        sought.answered(sought.ask(), [].into_iter());
        assert!(sought.awaits("new"), "nobody has named it for a while");
    }

    #[test]
    fn a_failed_question_leaves_everything_as_it_was() {
        let sought = Sought::default();
        assert!(sought.awaits("new"));
        drop(sought.ask());
        assert!(sought.awaits("new"));
    }

    #[test]
    fn names_without_end_are_not_kept() {
        let sought = Sought::default();
        let awaited = (0..1000).filter(|number| sought.awaits(&number.to_string())).count();
        assert_eq!((awaited, sought.0.lock().unwrap().awaited.len()), (NAMES_MAX, NAMES_MAX));
        assert!(sought.awaits("0"), "who came first still waits");
    }
}

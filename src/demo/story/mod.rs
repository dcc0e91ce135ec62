//! The 2:13 story, played over real sockets with what a person has: HTTP requests, and the command line's own verbs.
//!
//! Every step says what is told of it and what came, and the two are compared as they are printed: there is no other
//! verdict. The parts may be anywhere; the story knows only their addresses.

mod invitation;
mod log;
mod narrator;
mod plot;
mod stage;

pub(super) use invitation::invite;
pub(super) use stage::Stage;

use narrator::Narrator;

use crate::cli::output::Output;

/// How the story came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    AsTold,
    Otherwise,
}

/// Plays the whole story. A reader that goes away does not change how it ends.
pub(super) async fn play(stage: &Stage, out: &mut Output) -> Verdict {
    let mut narrator = Narrator::new(out);
    if let Err(broken) = plot::all(stage, &mut narrator).await {
        narrator.broken_off(&broken);
    }
    narrator.end()
}

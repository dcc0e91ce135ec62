//! How the story is told on the terminal, and the one place that keeps count of what came out as told.

use super::Verdict;
use crate::cli::failure::Failure;
use crate::cli::output::{Cell, Colour, Output};

pub(super) struct Narrator<'a> {
    out: &'a mut Output,
    steps: u32,
    otherwise: u32,
    /// Nobody reads any more. The story goes on: its end is still asked for.
    gone: bool,
}

impl<'a> Narrator<'a> {
    pub(super) fn new(out: &'a mut Output) -> Self {
        Self { out, steps: 0, otherwise: 0, gone: false }
    }

    pub(super) fn act(&mut self, title: &str) {
        self.parts(&["".into()]);
        self.parts(&[Cell::coloured(title, Colour::Yellow)]);
    }

    pub(super) fn says(&mut self, text: &str) {
        self.parts(&["  ".into(), text.into()]);
    }

    /// What is done, as one would type it.
    pub(super) fn does(&mut self, what: &str) {
        self.parts(&["  > ".into(), what.into()]);
    }

    pub(super) fn shows(&mut self, text: &str) {
        for line in text.lines() {
            self.parts(&["    ".into(), Cell::coloured(line, Colour::Dim)]);
        }
    }

    /// Compares what is told with what came.
    pub(super) fn compare(&mut self, told: &str, came: &str) {
        self.judge(told, came, told == came);
    }

    pub(super) fn judge(&mut self, told: &str, came: &str, as_told: bool) {
        self.steps += 1;
        self.otherwise += u32::from(!as_told);
        self.parts(&["    told  ".into(), Cell::coloured(told, Colour::Dim)]);
        let mark = if as_told { Cell::coloured("  ✓", Colour::Green) } else { Cell::coloured("  ✗", Colour::Red) };
        self.parts(&["    came  ".into(), came.into(), mark]);
    }

    /// A step without which the rest makes no sense did not come about.
    pub(super) fn broken_off(&mut self, failure: &Failure) {
        self.judge("the story goes on", &format!("{}; {}", failure.message, failure.hint), false);
    }

    pub(super) fn end(mut self) -> Verdict {
        let as_told = self.steps.saturating_sub(self.otherwise);
        self.parts(&["".into()]);
        let count = format!("{as_told} of {} steps came out as told", self.steps);
        if self.otherwise == 0 && self.steps > 0 {
            self.parts(&[Cell::coloured(format!("✓ {count}"), Colour::Green)]);
            Verdict::AsTold
        } else {
            self.parts(&[Cell::coloured(format!("✗ {count}"), Colour::Red)]);
            Verdict::Otherwise
        }
    }

    fn parts(&mut self, parts: &[Cell]) {
        if !self.gone {
            self.gone = self.out.parts(parts).is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::cli::args::Format;

    fn output() -> Output {
        Output::of_streams(Box::new(io::sink()), Box::new(io::sink()), Format::Table)
    }

    #[test]
    fn one_step_that_came_otherwise_decides() {
        let mut out = output();
        let mut narrator = Narrator::new(&mut out);
        narrator.compare("423", "423");
        narrator.compare("423", "200");
        narrator.compare("423", "423");
        assert_eq!(narrator.end(), Verdict::Otherwise);
        let mut narrator = Narrator::new(&mut out);
        narrator.compare("423", "423");
        assert_eq!(narrator.end(), Verdict::AsTold);
        assert_eq!(Narrator::new(&mut out).end(), Verdict::Otherwise, "nothing told is nothing shown");
    }
}

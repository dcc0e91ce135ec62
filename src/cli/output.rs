//! The only place that prints. Standard output is data, standard error is talk.
//!
//! What comes from elsewhere is shown without its control characters: an answer must not be able to move the cursor of
//! the person who reads it.

use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::args::Format;
use super::failure::{Exit, Failure};

/// A colour of the terminal's own palette (ECMA-48 SGR).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Red,
    Green,
    Yellow,
    Dim,
}

impl Colour {
    const fn code(self) -> &'static str {
        match self {
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Dim => "2",
        }
    }
}

/// One cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl Cell {
    pub fn new(text: impl AsRef<str>) -> Self {
        Self { text: visible(text.as_ref()), colour: None }
    }

    pub fn coloured(text: impl AsRef<str>, colour: Colour) -> Self {
        Self { colour: Some(colour), ..Self::new(text) }
    }
}

impl Cell {
    /// What it says, without colour.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

/// Both streams, and how to write to them.
pub struct Output {
    data: Box<dyn Write + Send>,
    /// Shared with those who speak [aside](Self::aside).
    talk: Arc<Mutex<Box<dyn Write + Send>>>,
    pub format: Format,
    quiet: bool,
    data_colour: bool,
    talk_colour: bool,
    /// Standard error is a terminal: progress may rewrite its line.
    live: bool,
    /// Standard output is a terminal.
    pub data_terminal: bool,
    /// A progress line stands unfinished.
    unfinished: Arc<AtomicBool>,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Output {
    /// The process's own streams. Colour only on a terminal, and not when `NO_COLOR` is set to anything
    /// (<https://no-color.org>).
    pub fn of_process(format: Format, quiet: bool) -> Self {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let (data_terminal, live) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            data: Box::new(io::stdout()),
            talk: Arc::new(Mutex::new(Box::new(io::stderr()))),
            format,
            quiet,
            data_colour: colour && data_terminal,
            talk_colour: colour && live,
            live,
            data_terminal,
            unfinished: Arc::default(),
        }
    }

    /// Two given streams, neither a terminal.
    pub fn of_streams(data: Box<dyn Write + Send>, talk: Box<dyn Write + Send>, format: Format) -> Self {
        Self {
            data,
            talk: Arc::new(Mutex::new(talk)),
            format,
            quiet: false,
            data_colour: false,
            talk_colour: false,
            live: false,
            data_terminal: false,
            unfinished: Arc::default(),
        }
    }

    /// The same talk, and no data: for what has something to say while a verb goes on.
    pub(super) fn aside(&self) -> Self {
        Self {
            data: Box::new(io::sink()),
            talk: Arc::clone(&self.talk),
            unfinished: Arc::clone(&self.unfinished),
            ..*self
        }
    }

    /// Somebody may be reading what is said.
    pub(super) const fn is_live(&self) -> bool {
        self.live
    }

    /// One line of data.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(format!("{}\n", visible(text)).as_bytes())
    }

    /// One line of data made of parts, each in its colour.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub fn parts(&mut self, parts: &[Cell]) -> Result<(), Failure> {
        let mut text: String =
            parts.iter().map(|part| paint(&part.text, part.colour.filter(|_| self.data_colour))).collect();
        text.push('\n');
        self.bytes(text.as_bytes())
    }

    /// Data as it is.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.data.write_all(bytes).and_then(|()| self.data.flush()).map_err(|error| unwritable(&error))
    }

    /// One JSON document.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub fn json<T: Serialize>(&mut self, document: &T) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(document)
            .map_err(|_| Failure::new(Exit::Failed, "the answer cannot be written as JSON", "report this as a bug"))?;
        text.push('\n');
        self.bytes(text.as_bytes())
    }

    /// Rows under a header, columns aligned.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub fn table(&mut self, header: &[&str], rows: &[Vec<Cell>]) -> Result<(), Failure> {
        let header: Vec<Cell> = header.iter().map(|title| Cell::coloured(title, Colour::Dim)).collect();
        let widths = widths(&header, rows);
        let mut text = String::new();
        for row in std::iter::once(&header).chain(rows) {
            self.row(&mut text, row, &widths);
        }
        self.bytes(text.as_bytes())
    }

    /// Names and values, one pair a line.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub fn facts(&mut self, facts: &[(&str, Cell)]) -> Result<(), Failure> {
        let rows: Vec<Vec<Cell>> =
            facts.iter().map(|(name, value)| vec![Cell::coloured(name, Colour::Dim), value.clone()]).collect();
        let widths = widths(&[], &rows);
        let mut text = String::new();
        for row in &rows {
            self.row(&mut text, row, &widths);
        }
        self.bytes(text.as_bytes())
    }

    fn row(&self, text: &mut String, row: &[Cell], widths: &[usize]) {
        let last = row.len().saturating_sub(1);
        for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
            text.push_str(&paint(&cell.text, cell.colour.filter(|_| self.data_colour)));
            if i < last {
                let gap = width.saturating_sub(cell.text.chars().count()) + 2;
                text.extend(std::iter::repeat_n(' ', gap));
            }
        }
        text.push('\n');
    }

    /// Something worth knowing. Not shown when asked to be quiet.
    pub fn note(&mut self, text: &str) {
        if !self.quiet {
            self.say(&visible(text));
        }
    }

    /// Something that should give pause. Shown always.
    pub fn warn(&mut self, text: &str) {
        let label = paint("warning:", Some(Colour::Yellow).filter(|_| self.talk_colour));
        self.say(&format!("{label} {}", visible(text)));
    }

    /// How far a wait has come: rewritten on a terminal, left out elsewhere. What is too long for a line is cut off at its
    /// end (DECAWM off), since a line that wraps could not be rewritten.
    pub fn progress(&mut self, text: &str) {
        if self.quiet || !self.live {
            return;
        }
        self.unfinished.store(true, Ordering::Relaxed);
        self.talk_bytes(format!("\r\u{1b}[K\u{1b}[?7l{}\u{1b}[?7h", visible(text)).as_bytes());
    }

    /// A question; the cursor stays behind it.
    pub fn ask(&mut self, question: &str) {
        self.finish_progress();
        self.talk_bytes(format!("{} ", visible(question)).as_bytes());
    }

    /// What belongs to a question. Shown always: a question cannot be answered without it.
    pub fn choice(&mut self, text: &str) {
        self.say(&visible(text));
    }

    /// The end of a verb that did not end well.
    pub fn failure(&mut self, failure: &Failure) {
        if failure.message.is_empty() {
            return;
        }
        let label = paint("error:", Some(Colour::Red).filter(|_| self.talk_colour));
        self.say(&format!("{label} {}", visible(&failure.message)));
        self.say(&format!("hint: {}", visible(&failure.hint)));
    }

    fn say(&mut self, text: &str) {
        self.finish_progress();
        self.talk_bytes(format!("{text}\n").as_bytes());
    }

    fn finish_progress(&mut self) {
        if self.unfinished.swap(false, Ordering::Relaxed) {
            self.talk_bytes(b"\r\x1b[K");
        }
    }

    /// Talk that nobody hears is no reason to stop working.
    fn talk_bytes(&mut self, bytes: &[u8]) {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = talk.write_all(bytes).and_then(|()| talk.flush());
    }
}

fn unwritable(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::reader_gone();
    }
    Failure::new(
        Exit::Failed,
        format!("standard output cannot be written to: {error}"),
        "make room, or write elsewhere",
    )
}

fn widths(header: &[Cell], rows: &[Vec<Cell>]) -> Vec<usize> {
    let mut widths: Vec<usize> = Vec::new();
    for row in std::iter::once(header).chain(rows.iter().map(Vec::as_slice)) {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    widths
}

fn paint(text: &str, colour: Option<Colour>) -> String {
    colour.map_or_else(|| text.to_owned(), |colour| format!("\u{1b}[{}m{text}\u{1b}[0m", colour.code()))
}

/// The text without what steers a terminal: control characters but the newline, and marks that reorder text.
fn visible(text: &str) -> String {
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

const fn steers(c: char) -> bool {
    (c.is_ascii_control() && c != '\n')
        || matches!(c, '\u{80}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
pub(crate) mod capture {
    //! Streams that tests can read back.

    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::{Format, Output};

    #[derive(Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// An output, its data and its talk.
    pub(crate) fn output(format: Format) -> (Output, Captured, Captured) {
        let (data, talk) = (Captured::default(), Captured::default());
        (Output::of_streams(Box::new(data.clone()), Box::new(talk.clone()), format), data, talk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_plain_without_a_terminal() {
        let (mut out, data, _) = capture::output(Format::Table);
        out.table(
            &["ID", "STATE"],
            &[vec!["g-1".into(), "active".into()], vec!["g-12345".into(), Cell::coloured("x", Colour::Red)]],
        )
        .unwrap();
        assert_eq!(data.text(), "ID       STATE\ng-1      active\ng-12345  x\n");
    }

    #[test]
    fn an_answer_cannot_steer_the_terminal() {
        let (mut out, data, talk) = capture::output(Format::Table);
        out.note("a\u{1b}[2Jb\u{202e}c");
        out.line("d\re").unwrap();
        assert_eq!(talk.text(), "a\u{fffd}[2Jb\u{fffd}c\n");
        assert_eq!(data.text(), "d\u{fffd}e\n");
    }

    #[test]
    fn errors_have_a_hint_and_a_closed_pipe_has_none() {
        let (mut out, data, talk) = capture::output(Format::Table);
        out.failure(&Failure::new(Exit::Failed, "it broke", "mend it"));
        out.failure(&Failure::reader_gone());
        assert_eq!(talk.text(), "error: it broke\nhint: mend it\n");
        assert_eq!(data.text(), "");
    }

    #[test]
    fn a_closed_pipe_ends_quietly() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut out = Output::of_streams(Box::new(Closed), Box::new(io::sink()), Format::Json);
        assert_eq!(out.line("x"), Err(Failure::reader_gone()));
    }
}

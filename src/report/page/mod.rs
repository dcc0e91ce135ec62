//! A report as a page: headings, facts and tables of plain text. What shows it (HTML, a terminal) decides how it looks.
//!
//! Nothing is escaped here: each cell holds what is to be read.

mod incident;
mod period;
mod recorded;
mod words;

pub use incident::of_grant;
pub use period::of_period;

/// How a cell is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    /// A number, to stand under others.
    Number,
    /// An id, a time, an index.
    Code,
    /// A digest or a path: it may be broken anywhere.
    Long,
    Good,
    Bad,
    /// Not known, or not there.
    Faint,
}

impl Tone {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Number => "number",
            Self::Code => "code",
            Self::Long => "long",
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Faint => "faint",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    pub text: String,
    pub tone: Tone,
}

impl Cell {
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }

    pub fn code(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Code }
    }

    pub fn long(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Long }
    }

    pub fn number(number: u64) -> Self {
        // A zero says that there was none: it is there, and it does not shout.
        let tone = if number == 0 { Tone::Faint } else { Tone::Number };
        Self { text: words::grouped(number), tone }
    }

    pub fn good(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Good }
    }

    pub fn bad(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Bad }
    }

    pub fn faint(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Faint }
    }

    /// A number that should be zero.
    pub fn wrong(number: u64) -> Self {
        if number == 0 { Self::number(0) } else { Self::bad(words::grouped(number)) }
    }
}

/// Names and what they are.
pub type Facts = Vec<(&'static str, Cell)>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    pub head: Vec<&'static str>,
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// The cells of a row, each with the title of its column.
    pub fn titled<'t>(&'t self, row: &'t [Cell]) -> impl Iterator<Item = (&'static str, &'t Cell)> {
        self.head.iter().copied().chain(std::iter::repeat("")).zip(row)
    }
}

/// A heading with what stands under it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    pub title: String,
    /// What a reader must know to read it.
    pub note: String,
    pub facts: Facts,
    pub table: Table,
    /// Text as it is: a checkpoint, a command.
    pub verbatim: String,
}

/// A number that a reader sees first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    pub label: &'static str,
    pub value: Cell,
    pub note: String,
}

/// Something on a line of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// In thousandths of the line.
    pub from: u64,
    pub width: u64,
    pub what: &'static str,
}

/// A line of time, and what lies on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline {
    pub begin: String,
    pub end: String,
    pub marks: Vec<Mark>,
    pub legend: Vec<(&'static str, String)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub title: String,
    /// Under the title.
    pub lead: String,
    /// The one sentence that matters, and whether it is good news.
    pub verdict: Option<Cell>,
    pub figures: Vec<Figure>,
    pub timeline: Option<Timeline>,
    pub sections: Vec<Section>,
    /// At the very end.
    pub foot: String,
}

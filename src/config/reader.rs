//! A TOML table read key by key, where a mistake is noted and reading goes on.
//!
//! A key that nobody asked for when its [`Section`] is dropped is a mistake too, with the nearest known key as hint.
//! After a mistake a method returns a stand-in value; [`parse`] then refuses the whole.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistakes::{ConfigError, Mistake, nearest};

/// Reads `file` as UTF-8 text.
///
/// # Errors
/// One mistake that says why it can't be read.
pub fn read_file(file: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(file)
        .map_err(|error| ConfigError::one(Mistake::of_file(file, format!("can't be read: {error}"))))
}

/// Parses `text` as TOML, lets `read` take it apart, and reports every mistake found on the way.
///
/// # Errors
/// When there was any mistake.
pub fn parse<T>(file: &Path, text: &str, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Result<T, ConfigError> {
    let notes = Notes { file, text, found: RefCell::default() };
    let (root, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        notes.add(error.span().unwrap_or(0..0), error.message().to_owned(), None);
    }
    // A file that is no TOML yields no further mistakes worth reading.
    let value =
        if syntax.is_empty() { read(&Section::new(&notes, root.get_ref(), root.span(), String::new())) } else { None };
    let mut mistakes = notes.found.into_inner();
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    match value {
        Some(value) if mistakes.is_empty() => Ok(value),
        Some(_) | None if !mistakes.is_empty() => Err(ConfigError { mistakes }),
        Some(_) | None => Err(ConfigError::one(Mistake::of_file(file, "could not be understood"))),
    }
}

/// Where mistakes of one file are collected.
struct Notes<'a> {
    file: &'a Path,
    text: &'a str,
    found: RefCell<Vec<Mistake>>,
}

impl Notes<'_> {
    fn add(&self, span: Range<usize>, what: String, hint: Option<String>) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        self.found.borrow_mut().push(Mistake { file: self.file.to_owned(), line, column, what, hint });
    }
}

/// One table of the file.
pub struct Section<'a> {
    notes: &'a Notes<'a>,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    /// Dotted path with a trailing dot; empty for the root.
    path: String,
    asked: RefCell<BTreeSet<&'static str>>,
    quiet: Cell<bool>,
}

impl std::fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Section").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<'a> Section<'a> {
    fn new(notes: &'a Notes<'a>, table: &'a DeTable<'a>, span: Range<usize>, path: String) -> Self {
        Self { notes, table, span, path, asked: RefCell::default(), quiet: Cell::new(false) }
    }

    fn raw(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().insert(key);
        self.table.get(key)
    }

    /// Notes a mistake at the value of `key`, or at the section where the key is missing.
    pub fn mistake(&self, key: &str, what: impl Display, hint: Option<&str>) {
        let span = self.table.get(key).map_or_else(|| self.span.clone(), Spanned::span);
        self.notes.add(span, format!("{}{key}: {what}", self.path), hint.map(str::to_owned));
    }

    fn wrong_type(&self, key: &str, wanted: &str, value: &DeValue<'_>) {
        self.mistake(key, format_args!("must be {wanted}, not {}", value.type_str()), None);
    }

    /// Notes that `key` is missing.
    pub fn missing(&self, key: &str) {
        self.mistake(key, "is missing", None);
    }

    pub fn has(&self, key: &'static str) -> bool {
        self.raw(key).is_some()
    }

    /// True when `key` holds a table: for a key that has a short form and a long one.
    pub fn has_table(&self, key: &'static str) -> bool {
        self.raw(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// A string parsed as `T`; `None` where the key is absent or wrong.
    pub fn optional<T: FromStr<Err: Display>>(&self, key: &'static str) -> Option<T> {
        let value = self.raw(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, "a string", value.get_ref());
            return None;
        };
        text.parse().map_err(|error: T::Err| self.mistake(key, error, None)).ok()
    }

    /// Like [`Self::optional`]; an absent key is a mistake.
    pub fn required<T: FromStr<Err: Display>>(&self, key: &'static str) -> Option<T> {
        if !self.has(key) {
            self.missing(key);
        }
        self.optional(key)
    }

    /// A whole number within `range`, or `default` where absent.
    pub fn integer(&self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(value) = self.raw(key) else { return default };
        let number = match value.get_ref() {
            DeValue::Integer(digits) => u64::from_str_radix(digits.as_str(), digits.radix()).ok(),
            other => {
                self.wrong_type(key, "a whole number", other);
                return default;
            }
        };
        match number {
            Some(number) if range.contains(&number) => number,
            Some(_) | None => {
                self.mistake(key, format_args!("must be from {} to {}", range.start(), range.end()), None);
                default
            }
        }
    }

    /// A number of the machine's size, kept within what an index can hold.
    pub fn size(&self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> usize {
        usize::try_from(self.integer(key, range, default)).unwrap_or(usize::MAX)
    }

    pub fn millis(&self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> Duration {
        Duration::from_millis(self.integer(key, range, default))
    }

    pub fn boolean(&self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.raw(key) else { return default };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong_type(key, "true or false", value.get_ref());
            default
        })
    }

    /// One of a closed set of words.
    pub fn choice<T: Copy>(&self, key: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        let word: String = self.optional(key)?;
        let found = choices.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            let near = nearest(&word, choices.iter().map(|(name, _)| *name));
            let hint = near.map(|near| format!("did you mean \"{near}\"?"));
            self.mistake(key, format_args!("must be one of {}", names.join(", ")), hint.as_deref());
        }
        found
    }

    /// A list of strings, each parsed as `T`. Absent: empty.
    pub fn list<T: FromStr<Err: Display>>(&self, key: &'static str) -> Vec<T> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(key, "a list of strings", value.get_ref());
            return Vec::new();
        };
        items.iter().filter_map(|item| self.list_item(key, item)).collect()
    }

    fn list_item<T: FromStr<Err: Display>>(&self, key: &str, item: &Spanned<DeValue<'_>>) -> Option<T> {
        let note = |what: String| self.notes.add(item.span(), format!("{}{key}: {what}", self.path), None);
        let Some(text) = item.get_ref().as_str() else {
            note(format!("must hold strings, not {}", item.get_ref().type_str()));
            return None;
        };
        text.parse().map_err(|error: T::Err| note(error.to_string())).ok()
    }

    /// Like [`Self::list`]; an absent or empty list is a mistake.
    pub fn required_list<T: FromStr<Err: Display>>(&self, key: &'static str) -> Vec<T> {
        match self.raw(key) {
            None => self.missing(key),
            Some(value) if value.get_ref().as_array().is_some_and(|items| items.is_empty()) => {
                self.mistake(key, "must not be empty", None);
            }
            Some(_) => {}
        }
        self.list(key)
    }

    /// A file path, taken relative to the folder of this file.
    pub fn path(&self, key: &'static str) -> Option<PathBuf> {
        let text: String = self.optional(key)?;
        if text.is_empty() {
            self.mistake(key, "must not be empty", None);
            return None;
        }
        Some(self.notes.file.parent().unwrap_or_else(|| Path::new("")).join(text))
    }

    pub fn required_path(&self, key: &'static str) -> Option<PathBuf> {
        if !self.has(key) {
            self.missing(key);
        }
        self.path(key)
    }

    /// A table under `key`.
    pub fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let value = self.raw(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(key, "a table", value.get_ref());
            return None;
        };
        Some(Section::new(self.notes, table, value.span(), format!("{}{key}.", self.path)))
    }

    pub fn required_section(&self, key: &'static str) -> Option<Section<'a>> {
        if !self.has(key) {
            self.mistake(key, "this table is missing", None);
        }
        self.section(key)
    }

    /// An array of tables under `key`. Absent: empty.
    pub fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(key, "a list of tables", value.get_ref());
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item.get_ref().as_table() {
                Some(table) => {
                    sections.push(Section::new(
                        self.notes,
                        table,
                        item.span(),
                        format!("{}{key}[{index}].", self.path),
                    ));
                }
                None => self.wrong_type(key, "a list of tables", item.get_ref()),
            }
        }
        sections
    }

    /// Keys that are left over are no mistake: they belong to someone else's reading of the same table.
    pub fn ignore_unknown(&self) {
        self.quiet.set(true);
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        if self.quiet.get() {
            return;
        }
        let asked = self.asked.borrow();
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !asked.contains(name) {
                let hint = nearest(name, asked.iter().copied()).map(|near| format!("did you mean \"{near}\"?"));
                self.notes.add(key.span(), format!("{}{name}: unknown key", self.path), hint);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str, read: impl FnOnce(&Section<'_>) -> Option<()>) -> String {
        parse(Path::new("a.toml"), text, read).unwrap_err().to_string()
    }

    #[test]
    fn every_mistake_is_reported_with_its_place() {
        let text = "port = \"x\"\nmoed = \"observe\"\n[tls]\ncert = 3\n";
        let report = mistakes(text, |root| {
            root.integer("port", 1..=10, 1);
            root.choice("mode", &[("observe", ())]);
            let tls = root.required_section("tls")?;
            tls.required::<String>("cert");
            tls.required::<String>("key");
            Some(())
        });
        assert_eq!(
            report,
            "a.toml:1:8: port: must be a whole number, not string\n\
             a.toml:2:1: moed: unknown key (did you mean \"mode\"?)\n\
             a.toml:3:1: tls.key: is missing\n\
             a.toml:4:8: tls.cert: must be a string, not integer"
        );
    }

    #[test]
    fn a_file_that_is_no_toml_says_where() {
        let report = mistakes("a = \nb = 2\n", |_| Some(()));
        assert!(report.starts_with("a.toml:1:"), "{report}");
    }
}

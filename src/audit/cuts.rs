//! Client-controlled texts on their way into a line: each has a greatest length, and a longer one is cut in the open.

use super::document::Text;

/// What a text that was cut ends in.
pub(super) const CUT_MARK: &str = "…[cut]";

/// Which texts were cut.
#[derive(Default)]
pub(super) struct Cuts(pub(super) Vec<&'static str>);

impl Cuts {
    pub(super) fn text<'a>(&mut self, name: &'static str, text: &'a str, bytes_max: usize) -> Text<'a> {
        if text.len() <= bytes_max {
            return Text::Borrowed(text);
        }
        self.note(name);
        let end = text.floor_char_boundary(bytes_max);
        Text::Owned(format!("{}{CUT_MARK}", text.get(..end).unwrap_or_default()))
    }

    pub(super) fn list<'a>(
        &mut self,
        name: &'static str,
        items: &'a [String],
        max: usize,
        bytes_max: usize,
    ) -> Vec<Text<'a>> {
        if items.len() > max {
            self.note(name);
        }
        items.iter().take(max).map(|item| self.text(name, item, bytes_max)).collect()
    }

    pub(super) fn note(&mut self, name: &'static str) {
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }
}

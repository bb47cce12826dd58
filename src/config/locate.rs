//! Finds the line of a key: figment tells the path of a key that is wrong, toml_edit keeps where each one stands.

use std::{ops::Range, path::PathBuf, string::FromUtf8Error};

use toml_edit::{Document, Item, TableLike, Value};

use super::error::Place;

/// A configuration file with the places of its keys.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    text: String,
    document: Document<String>,
}

/// Which part of a key is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Key,
    Value,
}

impl Source {
    /// Parses the text.
    ///
    /// # Errors
    /// Where it is not TOML.
    pub(super) fn parse(path: PathBuf, text: String) -> Result<Self, (Place, String)> {
        match Document::parse(text.clone()) {
            Ok(document) => Ok(Self { path, text, document }),
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                let message = error.message().trim().replace('\n', ", ");
                Err((place(path, &text, span), message))
            }
        }
    }

    /// The text as read.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where the key of this path stands; `None` when the file does not have it.
    pub(super) fn find(&self, path: &[String], part: Part) -> Option<Place> {
        let span = self.span(path, part)?;
        Some(place(self.path.clone(), &self.text, span))
    }

    fn span(&self, path: &[String], part: Part) -> Option<Range<usize>> {
        let mut node = Node::Item(self.document.as_item());
        let mut key_span = None;
        for segment in path {
            (node, key_span) = node.child(segment)?;
        }
        match part {
            Part::Key => key_span.or_else(|| node.span()),
            // A table's own span is all of it, or nothing: its name is the better place.
            Part::Value if node.is_table() => key_span.or_else(|| node.span()),
            Part::Value => node.span().or(key_span),
        }
    }
}

/// The place of the first byte that is not UTF-8.
pub(super) fn not_utf8(path: PathBuf, error: &FromUtf8Error) -> Place {
    let valid = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes());
    place(path, &text, valid..valid + 1)
}

enum Node<'d> {
    Item(&'d Item),
    Value(&'d Value),
}

impl<'d> Node<'d> {
    fn child(&self, segment: &str) -> Option<(Self, Option<Range<usize>>)> {
        let table: Option<&'d dyn TableLike> = match self {
            Self::Item(item) => item.as_table_like(),
            Self::Value(value) => value.as_inline_table().map(|table| table as &dyn TableLike),
        };
        if let Some(table) = table {
            let (key, item) = table.get_key_value(segment)?;
            return Some((Self::Item(item), key.span()));
        }
        let array = match self {
            Self::Item(item) => item.as_array(),
            Self::Value(value) => value.as_array(),
        };
        Some((Self::Value(array?.get(segment.parse().ok()?)?), None))
    }

    fn span(&self) -> Option<Range<usize>> {
        match self {
            Self::Item(item) => item.span(),
            Self::Value(value) => value.span(),
        }
    }

    fn is_table(&self) -> bool {
        matches!(self, Self::Item(item) if item.is_table())
    }
}

fn place(path: PathBuf, text: &str, span: Range<usize>) -> Place {
    let start = floor(text, span.start);
    let end = floor(text, span.end.max(start));
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[line_start..].find('\n').map_or(text.len(), |at| line_start + at);
    let line = text[..start].matches('\n').count() + 1;
    Place::File {
        path,
        line,
        column: text[line_start..start].chars().count() + 1,
        text: text[line_start..line_end].trim_end_matches('\r').to_owned(),
        width: text[start..end.min(line_end).max(start)].chars().count(),
    }
}

/// The greatest character boundary at or below `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "mode = \"enforce\"\n[directory.corp.file]\npath = \"/x\"\n[domains]\nnames = [\"a\", \"é\", 7]\n";

    fn at(path: &[&str], part: Part) -> (usize, usize, usize) {
        let source = Source::parse("t.toml".into(), TEXT.to_owned()).expect("valid TOML");
        let path: Vec<String> = path.iter().map(|&segment| segment.to_owned()).collect();
        match source.find(&path, part) {
            Some(Place::File { line, column, width, .. }) => (line, column, width),
            other => panic!("{path:?}: {other:?}"),
        }
    }

    #[test]
    fn keys_and_values_are_found() {
        assert_eq!(at(&["mode"], Part::Key), (1, 1, 4));
        assert_eq!(at(&["mode"], Part::Value), (1, 8, 9));
        assert_eq!(at(&["directory", "corp", "file", "path"], Part::Key), (3, 1, 4));
        assert_eq!(at(&["directory", "corp", "file"], Part::Value), (2, 17, 4));
        assert_eq!(at(&["domains", "names", "2"], Part::Value), (5, 20, 1));
    }

    #[test]
    fn broken_toml_is_located() {
        let (place, _) = Source::parse("t.toml".into(), "a = 1\nb = = 2\n".to_owned()).expect_err("not TOML");
        assert!(matches!(place, Place::File { line: 2, .. }), "{place:?}");
    }
}

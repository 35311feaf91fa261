//! From a place in the file's text to a line, and from a key to its place.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// One step from the root of the file to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A key of a table.
    Key(String),
    /// An element of an array.
    Index(usize),
}

/// The path as an operator reads it: `listener[0].tls.key`.
pub(super) fn key_text(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// The line, counted from 1, in which a byte of the text stands.
pub(super) fn line_of(text: &str, byte: usize) -> usize {
    let before = text.as_bytes().get(..byte).unwrap_or(text.as_bytes());
    before.iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// Where the last key of `steps` stands in the text; `None` where there is no such key.
pub(super) fn place_of_key(root: &DeTable<'_>, steps: &[Step]) -> Option<Range<usize>> {
    let (last, way) = steps.split_last()?;
    let Step::Key(last) = last else { return None };
    let (first, way) = match way.split_first() {
        None => return key_place(root, last),
        Some((Step::Key(first), way)) => (first, way),
        Some((Step::Index(_), _)) => return None,
    };
    let mut value = root.get(first.as_str())?.get_ref();
    for step in way {
        value = match (step, value) {
            (Step::Key(key), DeValue::Table(table)) => table.get(key.as_str())?.get_ref(),
            (Step::Index(index), DeValue::Array(array)) => array.get(*index)?.get_ref(),
            _ => return None,
        };
    }
    match value {
        DeValue::Table(table) => key_place(table, last),
        _ => None,
    }
}

fn key_place(table: &DeTable<'_>, key: &str) -> Option<Range<usize>> {
    table.get_key_value(key).map(|(key, _)| key.span())
}

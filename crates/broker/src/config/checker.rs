//! The tools of `check`: take a field out of a table, judge it, and write down what is wrong with it.

use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::lines::line_of;
use super::problems::Problem;
use super::raw::Field;

/// Collects problems while the tables are taken apart.
pub(super) struct Checker<'a> {
    text: &'a str,
    folder: &'a Path,
    problems: Vec<Problem>,
}

/// A table of the file: its name in messages, and where it begins.
#[derive(Debug, Clone)]
pub(super) struct Table {
    name: String,
    span: Option<Range<usize>>,
}

impl Table {
    pub(super) fn new(name: impl Into<String>, span: Option<Range<usize>>) -> Table {
        Table { name: name.into(), span }
    }

    /// A table in this one; what is missing in it is told at `span`, or at this table where it is missing itself.
    pub(super) fn inner(&self, name: &str, span: Option<Range<usize>>) -> Table {
        Table { name: self.key(name), span: span.or_else(|| self.span.clone()) }
    }

    /// This table, as messages name it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where it begins.
    pub(super) fn span(&self) -> Option<Range<usize>> {
        self.span.clone()
    }

    /// A key of this table, as messages name it.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }
}

impl<'a> Checker<'a> {
    pub(super) fn new(text: &'a str, folder: &'a Path, problems: Vec<Problem>) -> Checker<'a> {
        Checker { text, folder, problems }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Writes down a problem; `span` is where in the text it stands.
    pub(super) fn problem(&mut self, key: impl Into<String>, span: Option<Range<usize>>, message: impl Into<String>) {
        let line = span.map(|span| line_of(self.text, span.start));
        self.problems.push(Problem { line, key: key.into(), message: message.into() });
    }

    /// The value of a field that may be missing, with its place.
    pub(super) fn optional<T>(
        &mut self,
        table: &Table,
        key: &str,
        field: Option<Field<T>>,
    ) -> Option<(T, Range<usize>)> {
        let Field { span, value } = field?;
        match value {
            Ok(value) => Some((value, span)),
            Err(message) => {
                self.problem(table.key(key), Some(span), message);
                None
            }
        }
    }

    /// The value of a field that must be there, with its place.
    pub(super) fn required<T>(
        &mut self,
        table: &Table,
        key: &str,
        field: Option<Field<T>>,
    ) -> Option<(T, Range<usize>)> {
        if field.is_none() {
            self.problem(table.key(key), table.span.clone(), "missing");
        }
        self.optional(table, key, field)
    }

    /// A number within `range`, or `default`.
    pub(super) fn number(
        &mut self,
        table: &Table,
        key: &str,
        field: Option<Field<u64>>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        let Some((value, span)) = self.optional(table, key, field) else { return default };
        if range.contains(&value) {
            return value;
        }
        let message = format!("{value} is not within {} to {}", range.start(), range.end());
        self.problem(table.key(key), Some(span), message);
        default
    }

    /// A number of milliseconds within `range`, or `default`.
    pub(super) fn duration_ms(
        &mut self,
        table: &Table,
        key: &str,
        field: Option<Field<u64>>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Duration {
        Duration::from_millis(self.number(table, key, field, default, range))
    }

    /// One of `choices` by its name; the first is the default.
    pub(super) fn choice<T: Copy>(
        &mut self,
        table: &Table,
        key: &str,
        field: Option<Field<String>>,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let Some((name, span)) = self.optional(table, key, field) else {
            return choices.first().map(|(_, value)| *value);
        };
        self.choose(table, key, &name, span, choices)
    }

    /// One of `choices` by its name, for a value that is at hand already.
    pub(super) fn choose<T: Copy>(
        &mut self,
        table: &Table,
        key: &str,
        name: &str,
        span: Range<usize>,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let chosen = choices.iter().find(|(choice, _)| *choice == name).map(|(_, value)| *value);
        if chosen.is_none() {
            let names: Vec<String> = choices.iter().map(|(choice, _)| format!("\"{choice}\"")).collect();
            let message = format!("{name:?} is not one of {}", names.join(", "));
            self.problem(table.key(key), Some(span), message);
        }
        chosen
    }

    /// The items of a list as what they stand for, each that is wrong told on its own.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &mut self,
        table: &Table,
        key: &str,
        list: Option<(Vec<String>, Range<usize>)>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let (items, span) = list.unwrap_or_default();
        let mut parsed = Vec::with_capacity(items.len());
        for item in items {
            match parse(&item) {
                Ok(value) => parsed.push(value),
                Err(error) => {
                    self.problem(table.key(key), Some(span.clone()), format!("{item:?}: {error}"));
                }
            }
        }
        parsed
    }

    /// An address to listen on.
    pub(super) fn address(
        &mut self,
        table: &Table,
        field: Option<Field<String>>,
    ) -> Option<(SocketAddr, Range<usize>)> {
        let (text, span) = self.required(table, "address", field)?;
        match text.parse() {
            Ok(address) => Some((address, span)),
            Err(_) => {
                let message = format!("{text:?} is not an IP address and port, as \"0.0.0.0:8883\" or \"[::]:8883\"");
                self.problem(table.key("address"), Some(span), message);
                None
            }
        }
    }

    /// A path, counted from the folder of the file.
    pub(super) fn path(&mut self, table: &Table, key: &str, field: Option<Field<String>>) -> Option<PathBuf> {
        let (text, span) = self.required(table, key, field)?;
        if text.is_empty() {
            self.problem(table.key(key), Some(span), "an empty path");
            return None;
        }
        Some(self.folder.join(text))
    }
}

//! What is wrong with a configuration file: everything at once, each with its key and line.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where in the file, counted from 1; `None` where something is missing that has no place.
    pub line: Option<usize>,
    /// The key, as `listener[0].tls.key`; empty where the file as a whole is meant.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(formatter, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        formatter.write_str(&self.message)
    }
}

/// Everything that is wrong with one file. Its `Display` is what the operator reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblems {
    file: PathBuf,
    problems: Vec<Problem>,
}

impl ConfigProblems {
    pub(super) fn new(file: &Path, mut problems: Vec<Problem>) -> ConfigProblems {
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        ConfigProblems { file: file.to_owned(), problems }
    }

    pub(super) fn whole_file(file: &Path, message: String) -> ConfigProblems {
        ConfigProblems::new(file, vec![Problem { line: None, key: String::new(), message }])
    }

    /// The problems in the order of their lines.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.problems.len() == 1 { "problem" } else { "problems" };
        write!(formatter, "{}: {} {plural}", self.file.display(), self.problems.len())?;
        for problem in &self.problems {
            write!(formatter, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigProblems {}

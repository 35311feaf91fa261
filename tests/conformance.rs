//! `docs/conformance.md` and the tests agree: every numbered statement of both specifications stands there once and in
//! order, each with its evidence; every test that is named exists; the sources cite no statement that does not.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// One of the two specifications that number their statements.
struct Specification {
    heading: &'static str,
    /// How the sources cite it.
    citation: &'static str,
    /// The statements of its appendix B.
    statements: usize,
    /// The one number that it skips, if any.
    skipped: Option<&'static str>,
}

const SPECIFICATIONS: [Specification; 2] = [
    Specification { heading: "## MQTT 5.0", citation: "MQTT5 ", statements: 251, skipped: Some("2.2.1-1") },
    Specification { heading: "## MQTT 3.1.1", citation: "MQTT3.1.1 ", statements: 141, skipped: None },
];

const CLIENTS_ALONE: &str = "Bind clients alone: ";

/// The words that open a reason.
const REASONS: [&str; 2] = ["no test: ", "deviation: "];
/// Stands where a test is still to be written.
const PENDING: &str = "pending:";

/// The number of a statement: section and place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Clause {
    section: Vec<u32>,
    number: u32,
}

impl FromStr for Clause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ill_formed = || format!("{text:?} is not the number of a statement");
        let (section, number) = text.split_once('-').ok_or_else(ill_formed)?;
        let section: Vec<u32> =
            section.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| ill_formed())?;
        let number = number.parse().map_err(|_| ill_formed())?;
        let clause = Clause { section, number };
        let is_plain = clause.section.len() == 3 && clause.number > 0 && clause.to_string() == text;
        is_plain.then_some(clause).ok_or_else(ill_formed)
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let section: Vec<String> = self.section.iter().map(u32::to_string).collect();
        write!(f, "{}-{}", section.join("."), self.number)
    }
}

/// A line of a table.
struct Row {
    clause: Clause,
    evidence: String,
}

impl Row {
    fn read(line: &str) -> Result<Row, String> {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [clause, asked, evidence] = cells[..] else { return Err(format!("not three cells: {line}")) };
        let number = clause.strip_prefix("[MQTT-").and_then(|rest| rest.strip_suffix(']'));
        let clause = number.ok_or_else(|| format!("no [MQTT-x.y.z-n]: {line}"))?.parse()?;
        if asked.is_empty() {
            return Err(format!("{clause} asks nothing"));
        }
        Ok(Row { clause, evidence: evidence.to_owned() })
    }

    /// The tests that it names.
    fn tests(&self) -> impl Iterator<Item = &str> {
        let quoted = self.evidence.split('`').skip(1).step_by(2);
        quoted.filter(|text| text.contains("::"))
    }

    fn has_reason(&self) -> bool {
        REASONS.iter().any(|word| self.evidence.split_once(word).is_some_and(|(_, why)| !why.trim().is_empty()))
    }
}

/// What the page says of one specification.
struct Part {
    rows: Vec<Row>,
    clients_alone: Vec<Clause>,
}

impl Part {
    fn statements(&self) -> BTreeSet<&Clause> {
        self.rows.iter().map(|row| &row.clause).chain(&self.clients_alone).collect()
    }
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests stand in the workspace")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn part(specification: &Specification) -> Part {
    let page = read(&workspace().join("docs/conformance.md"));
    let (_, rest) = page.split_once(&format!("{}\n", specification.heading)).expect(specification.heading);
    let lines = || rest.lines().take_while(|line| !line.starts_with("## "));
    let rows = lines().filter(|line| line.starts_with("| ")).skip(2);
    let alone = lines().find_map(|line| line.strip_prefix(CLIENTS_ALONE)).expect(CLIENTS_ALONE);
    let read = |clause: &str| clause.parse().unwrap_or_else(|error: String| panic!("{error}"));
    Part {
        rows: rows.map(|line| Row::read(line).unwrap_or_else(|error| panic!("{error}"))).collect(),
        clients_alone: alone.trim_end_matches('.').split(", ").map(read).collect(),
    }
}

/// Every Rust source of the workspace, but for the fuzz targets.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![workspace().join("crates"), workspace().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The name of a source in this page: its crate and its file, or its folder where all files are called that way.
fn name_of(path: &Path) -> String {
    let inside = path.strip_prefix(workspace()).expect("a source of the workspace");
    let parts: Vec<&str> = inside.iter().filter_map(|part| part.to_str()).collect();
    let crate_name = if parts[0] == "crates" { parts[1] } else { "blackbox" };
    let stem = match parts[parts.len() - 1] {
        "mod.rs" | "tests.rs" => parts[parts.len() - 2],
        file => file.trim_end_matches(".rs"),
    };
    format!("{crate_name}::{stem}")
}

/// The names of the test functions in a source; those that are ignored show nothing.
fn tests_of(source: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if line.starts_with("#[ignore") {
            is_test = false;
        } else if let Some(name) = function_name(line).filter(|_| std::mem::take(&mut is_test)) {
            found.push(name);
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

/// The suite of the backbones is no test by itself: its list names what every backbone runs.
fn behaviours() -> impl Iterator<Item = String> {
    let list = read(&workspace().join("crates/backbone/src/suite/mod.rs"));
    let names: Vec<String> = list
        .lines()
        .filter_map(|line| line.trim().strip_suffix(','))
        .filter(|name| name.split_once("::").is_some_and(|(file, name)| is_name(file) && is_name(name)))
        .map(|name| format!("backbone::{name}"))
        .collect();
    names.into_iter()
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn all_tests() -> BTreeSet<String> {
    let mut tests: BTreeSet<String> = behaviours().collect();
    for path in sources() {
        let file = name_of(&path);
        tests.extend(tests_of(&read(&path)).iter().map(|name| format!("{file}::{name}")));
    }
    tests
}

/// The statements that a source cites: `MQTT5 3.3.4-2, 3.3.4-3` are two.
fn cited<'s>(source: &'s str, citation: &str) -> Vec<&'s str> {
    let starts = source.match_indices(citation).map(|(at, found)| at + found.len());
    let lists = starts.map(|at| {
        let rest = &source[at..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && !"., -".contains(c)).unwrap_or(rest.len());
        rest[..end].split([',', ' ']).map(|one| one.trim_end_matches(['.', '-']))
    });
    lists.flatten().filter(|one| one.contains('-')).collect()
}

/// The numbers of each section, from the first to the last.
fn numbers_of_sections(statements: &BTreeSet<&Clause>) -> Vec<(Vec<u32>, Range<u32>, usize)> {
    let mut sections: Vec<(Vec<u32>, Range<u32>, usize)> = Vec::new();
    for clause in statements {
        match sections.last_mut() {
            Some((section, numbers, count)) if *section == clause.section => {
                (numbers.end, *count) = (clause.number + 1, *count + 1);
            }
            _ => sections.push((clause.section.clone(), clause.number..clause.number + 1, 1)),
        }
    }
    sections
}

#[test]
fn every_statement_stands_once_and_in_order() {
    for specification in SPECIFICATIONS {
        let part = part(&specification);
        for pair in part.rows.windows(2) {
            assert!(pair[0].clause < pair[1].clause, "{}: {}", specification.heading, pair[1].clause);
        }
        for pair in part.clients_alone.windows(2) {
            assert!(pair[0] < pair[1], "{}: {}", specification.heading, pair[1]);
        }
        let mut statements = part.statements();
        assert_eq!(
            statements.len(),
            part.rows.len() + part.clients_alone.len(),
            "one stands in the table and below it"
        );
        assert_eq!(statements.len(), specification.statements, "{}", specification.heading);
        let skipped: Option<Clause> = specification.skipped.map(|clause| clause.parse().expect("well formed"));
        assert!(skipped.iter().all(|clause| statements.insert(clause)), "a number that was never given");
        for (section, numbers, count) in numbers_of_sections(&statements) {
            assert_eq!(numbers, 1..count as u32 + 1, "{}: section {section:?}", specification.heading);
        }
    }
}

#[test]
fn every_statement_has_its_evidence() {
    let mut lacking = Vec::new();
    for specification in SPECIFICATIONS {
        for row in part(&specification).rows {
            if row.evidence.contains(PENDING) || (row.tests().next().is_none() && !row.has_reason()) {
                lacking.push(format!("{}{}: {}", specification.citation, row.clause, row.evidence));
            }
        }
    }
    assert!(lacking.is_empty(), "{} without evidence:\n{}", lacking.len(), lacking.join("\n"));
}

#[test]
fn every_test_that_is_named_exists() {
    let tests = all_tests();
    assert!(tests.contains("blackbox::conformance::every_test_that_is_named_exists"), "{tests:?}");
    let mut unknown = BTreeSet::new();
    for specification in SPECIFICATIONS {
        for row in part(&specification).rows {
            unknown.extend(row.tests().filter(|name| !tests.contains(*name)).map(str::to_owned));
        }
    }
    assert!(unknown.is_empty(), "no such tests: {unknown:#?}");
}

#[test]
fn every_statement_that_the_sources_cite_exists() {
    let sources: Vec<(PathBuf, String)> = sources().into_iter().map(|path| (path.clone(), read(&path))).collect();
    let mut unknown = BTreeSet::new();
    for specification in SPECIFICATIONS {
        let part = part(&specification);
        let statements = part.statements();
        for (path, source) in &sources {
            for clause in cited(source, specification.citation) {
                let is_known = clause.parse::<Clause>().is_ok_and(|clause| statements.contains(&clause));
                if !is_known {
                    unknown.insert(format!("{}: {}{clause}", path.display(), specification.citation));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "no such statements: {unknown:#?}");
}

#[test]
fn test_functions_and_citations_are_found() {
    let source = "#[test]\nfn one() {}\n#[tokio::test(flavor = \"x\")]\nasync fn two() {}\nfn helper() {}\n\
                  #[test]\n#[ignore]\nfn three() {}\n    #[test]\n    fn four(\n";
    assert_eq!(tests_of(source), ["one", "two", "four"]);
    let source = "// so it is (MQTT5 3.3.4-2, 3.3.4-3). MQTT5 3.1.2.11 - it is; MQTT5 4.9.0-1.";
    assert_eq!(cited(source, "MQTT5 "), ["3.3.4-2", "3.3.4-3", "4.9.0-1"]);
}

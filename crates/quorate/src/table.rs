//! Tables for a person: columns as wide as their widest cell.

use serde_json::Value;

/// Lays rows out under a heading. Cells hold no line breaks; the last column is not padded.
pub fn table<const COLUMNS: usize>(heading: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let mut widths = heading.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(&heading.map(str::to_owned), &widths);
    for row in rows {
        text.push_str(&line(row, &widths));
    }
    text
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    format!("{}\n", padded.join("  ").trim_end())
}

/// A JSON value as a cell: text without quotes, lists with commas, nothing as a dash. Control characters are taken out:
/// purposes and reasons are other people's words.
pub fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// A Unix time in milliseconds as `2026-12-01 00:00:00Z`; a dash where there is none.
pub fn time(value: &Value) -> String {
    match value.as_u64() {
        Some(milliseconds) => {
            quorate_identity::authority::rfc3339(quorate_domain::UnixMs(milliseconds)).replace('T', " ")
        }
        None => cell(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["alice".to_owned(), "yes".to_owned()], ["b".to_owned(), "no".to_owned()]];
        assert_eq!(table(["party", "online"], &rows), "party  online\nalice  yes\nb      no\n");
    }

    #[test]
    fn other_peoples_words_cannot_move_the_cursor() {
        assert_eq!(cell(&json!("a\u{1b}[2J")), "a [2J");
        assert_eq!(cell(&json!(["a", "b"])), "a, b");
        assert_eq!(cell(&json!(null)), "-");
    }
}

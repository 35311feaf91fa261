//! What a person or a program reads of the demo: numbered steps, or one JSON object a step.

use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::{Value, json};

/// How often the spinner moves.
const TICK: Duration = Duration::from_millis(100);

/// Tells the steps in order.
pub struct Report {
    is_json: bool,
    steps: u32,
    /// Hidden by itself where standard error is no terminal.
    spinner: ProgressBar,
}

impl Report {
    pub fn new(is_json: bool) -> Self {
        let spinner = if is_json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        spinner.enable_steady_tick(TICK);
        Self { is_json, steps: 0, spinner }
    }

    /// What is being done now; shown while it lasts.
    pub fn doing(&self, what: &str) {
        self.spinner.set_message(what.to_owned());
    }

    /// A step is done: its short name, a sentence, and the facts for a program.
    pub fn step(&mut self, name: &str, sentence: &str, facts: Value) {
        self.steps += 1;
        let line = match self.is_json {
            true => json!({ "step": self.steps, "name": name, "text": sentence, "facts": facts }).to_string(),
            false => format!("{:>3}  {name:<12}  {sentence}", self.steps),
        };
        self.spinner.suspend(|| println!("{line}"));
    }

    /// The last line.
    pub fn valid(&mut self) {
        self.spinner.finish_and_clear();
        self.steps += 1;
        match self.is_json {
            true => println!(
                "{}",
                json!({ "step": self.steps, "name": "signature", "text": "signature: valid", "facts": {}, "valid": true })
            ),
            false => println!("signature: valid"),
        }
    }

    /// What failed, and the broker's last words.
    pub fn failed(&mut self, error: &anyhow::Error, log: Option<(&std::path::Path, String)>) {
        self.spinner.finish_and_clear();
        if self.is_json {
            println!("{}", json!({ "step": self.steps + 1, "name": "failed", "text": format!("{error:#}") }));
        }
        eprintln!("quorate demo: failed after step {}: {error:#}", self.steps);
        if let Some((path, tail)) = log {
            eprintln!("The last lines of the broker's log ({}):\n{tail}", path.display());
        }
    }
}

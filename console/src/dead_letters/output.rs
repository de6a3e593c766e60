//! Tables and JSON of letters.

use std::{collections::BTreeMap, fmt::Write};

use chrono::{DateTime, Utc};
use dead_letters::{
    inventory::FoundLetter,
    journal::Action,
    letter::Letter,
    mask::{mask, mask_body, mask_headers},
    operation::Operation,
    prediction::{Change, Prediction, Verdict},
};
use serde::Serialize;
use serde_json::Value;

/// A letter as `show` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    #[serde(flatten)]
    letter: &'a Letter,
    failed_deliveries: u64,
    properties: Value,
    headers: Value,
    body: Value,
}

impl<'a> Shown<'a> {
    pub(crate) fn new(found: &'a FoundLetter, unmask: bool) -> Self {
        let message = &found.message;
        let text = || String::from_utf8_lossy(message.body()).into_owned();
        let parsed = serde_json::from_slice(message.body()).ok();
        let mut shown = Self {
            letter: &found.letter,
            failed_deliveries: message.failed_deliveries(),
            properties: message.properties_as_json(),
            headers: message.headers_as_json(),
            body: parsed.clone().unwrap_or_else(|| Value::String(text())),
        };
        if !unmask {
            mask_headers(&mut shown.properties);
            mask_headers(&mut shown.headers);
            match parsed {
                Some(_) => mask_body(&mut shown.body),
                None => shown.body = Value::String(mask(&text())),
            }
        }
        shown
    }
}

/// Returns one line of JSON for each value.
pub(crate) fn json_lines<T: Serialize>(values: &[T]) -> anyhow::Result<String> {
    let mut text = String::new();
    for value in values {
        writeln!(text, "{}", serde_json::to_string(value)?)?;
    }
    Ok(text)
}

fn time(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.format("%Y-%m-%d %H:%M:%S").to_string())
}

/// Returns a table with a line for each queue, reason, and release.
pub(crate) fn groups(letters: &[Letter]) -> String {
    let mut groups: BTreeMap<_, Vec<Option<DateTime<Utc>>>> = BTreeMap::new();
    for letter in letters {
        let release = letter.rejected_by.as_deref().unwrap_or("-");
        groups
            .entry((letter.queue.as_str(), letter.reason.as_str(), release))
            .or_default()
            .push(letter.rejected_at);
    }
    let mut rows = vec![["queue", "reason", "rejected by", "letters", "first", "last"].map(str::to_owned)];
    for ((queue, reason, release), times) in groups {
        let known = times.iter().flatten().copied();
        let (first, last) = (known.clone().min(), known.max());
        rows.push([
            queue.to_owned(),
            reason.to_owned(),
            release.to_owned(),
            times.len().to_string(),
            time(first),
            time(last),
        ]);
    }
    table(&rows) + &format!("{} letters\n", letters.len())
}

/// Returns a table with a line for each letter.
pub(crate) fn letters(letters: &[Letter]) -> String {
    let mut rows = vec![["letter", "queue", "reason", "rejected at", "message"].map(str::to_owned)];
    for letter in letters {
        rows.push([
            letter.id.short(),
            letter.queue.clone(),
            letter.reason.clone(),
            time(letter.rejected_at),
            letter.message_id.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table(&rows)
}

/// Returns a prediction as a JSON document on several lines.
pub(crate) fn details(prediction: Option<&Prediction>) -> anyhow::Result<String> {
    Ok(prediction.map(serde_json::to_string_pretty).transpose()?.map(|text| text + "\n").unwrap_or_default())
}

/// The predictions of many letters, grouped by queue, reason, and verdict.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    groups: BTreeMap<(String, String, String), u64>,
    passing: u64,
    failing: u64,
}

impl Summary {
    pub(crate) fn add(&mut self, prediction: &Prediction) {
        let Letter { queue, reason, .. } = &prediction.letter;
        *self.groups.entry((queue.clone(), reason.clone(), verdict(prediction))).or_default() += 1;
        *if prediction.passes() { &mut self.passing } else { &mut self.failing } += 1;
    }

    pub(crate) fn do_all_pass(&self) -> bool {
        self.failing == 0
    }

    /// Returns a table with a line for each group.
    pub(crate) fn to_text(&self) -> String {
        let mut rows = vec![["queue", "reason", "letters", "today"].map(str::to_owned)];
        for ((queue, reason, verdict), count) in &self.groups {
            rows.push([queue.clone(), reason.clone(), count.to_string(), verdict.clone()]);
        }
        let Self { passing, failing, .. } = self;
        table(&rows) + &format!("{passing} letters would pass, {failing} would still fail\n")
    }
}

/// Returns the verdict and the effect of a prediction in a few words.
fn verdict(prediction: &Prediction) -> String {
    match (&prediction.verdict, &prediction.change) {
        (Verdict::Fails { code, at, .. }, _) => format!("fails at {at}: {code}"),
        (Verdict::Passes, Some(Change::Insert)) => "passes: inserts a row".to_owned(),
        (Verdict::Passes, Some(Change::Update { .. })) => "passes: updates the row".to_owned(),
        (Verdict::Passes, Some(Change::Nothing { .. })) => {
            "passes: changes nothing, the row has this version or a higher one".to_owned()
        }
        (Verdict::Passes, None) => "passes".to_owned(),
    }
}

/// Returns the outcome of an operation.
pub(crate) fn finished(operation: &Operation, moved: u64, absent: u64) -> String {
    let done = match operation.action {
        Action::Retry => "sent back",
        Action::Edit => "sent the edited message of",
        Action::Discard => "discarded",
        Action::Restore => "restored",
        Action::Erase => "erased",
    };
    let absent = match absent {
        0 => String::new(),
        absent if operation.is_resumed => format!("; {absent} had been moved before"),
        absent => format!("; {absent} were not there any more, because another operation had moved them"),
    };
    format!("{done} {moved} letters{absent}\n")
}

/// Returns rows as a table whose first row is the heading.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

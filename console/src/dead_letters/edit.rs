//! Editing a body in the operator's editor.

use std::{
    env,
    io::{self, BufRead, Write},
};

use anyhow::{Context, ensure};
use dead_letters::inventory::FoundLetter;
use serde_json::Value;
use tokio::process::Command;

/// Opens the body in the editor. Returns the new body, or `None` if it is unchanged.
///
/// JSON is shown on several lines. The file is readable only for its owner, and is deleted afterwards.
///
/// # Errors
/// Returns an error if the editor cannot be started or fails.
pub(super) async fn edit_body(found: &FoundLetter) -> anyhow::Result<Option<Vec<u8>>> {
    let body = found.message.body();
    let shown = readable(body).map_or_else(|| body.to_owned(), |text| (text + "\n").into_bytes());
    let file = tempfile::Builder::new().prefix("dead-letter-").suffix(".json").tempfile()?;
    file.as_file().write_all(&shown)?;
    let editor = env::var("VISUAL").or_else(|_| env::var("EDITOR")).unwrap_or_else(|_| "vi".to_owned());
    // By a shell, because the variable may contain arguments.
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file.path());
    let status = command.status().await.with_context(|| format!("cannot start the editor {editor}"))?;
    ensure!(status.success(), "the editor {editor} ended with {status}, so nothing is sent");
    // Some editors replace the file.
    let edited = std::fs::read(file.path()).context("cannot read the edited text")?;
    if edited == shown {
        return Ok(None);
    }
    Ok(Some(compact(&edited)))
}

/// Returns a body on several lines, or `None` if it is no JSON.
#[must_use]
pub fn readable(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    serde_json::to_string_pretty(&value).ok()
}

/// Returns an edited text as a body: JSON in its short form, unless it is no JSON. Then the check explains the fault.
#[must_use]
pub fn compact(text: &[u8]) -> Vec<u8> {
    let json = serde_json::from_slice::<Value>(text).map(|value| value.to_string().into_bytes());
    json.unwrap_or_else(|_| text.to_owned())
}

/// Asks whether the edited message is to be sent.
///
/// # Errors
/// Returns an error if standard input cannot be read.
pub(super) fn confirm() -> anyhow::Result<bool> {
    eprint!("send it? [y/N] ");
    io::stderr().flush()?;
    let mut reply = String::new();
    io::stdin().lock().read_line(&mut reply)?;
    Ok(matches!(reply.trim(), "y" | "Y" | "yes"))
}

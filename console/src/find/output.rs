//! The report about customers, as text and as JSON.

use std::fmt::Write;

use super::{report::Report, timeline::timeline};

pub(super) fn json(report: &Report) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

pub(super) fn text(report: &Report) -> anyhow::Result<String> {
    let mut text = String::new();
    for customer in &report.customers {
        let name = customer.name.as_deref().unwrap_or("-");
        let email = customer.email.as_deref().unwrap_or("-");
        writeln!(text, "customer {}, name {name}, e-mail {email}", customer.customer_id)?;
        if let Some(message) = customer.message() {
            writeln!(text, "{message}")?;
        }
        for (at, line) in timeline(customer) {
            writeln!(text, "{at:19}  {line}")?;
        }
        writeln!(text, "{}\n", customer.sentence)?;
    }
    for letter in &report.letters {
        let letter = &letter.letter;
        let (queue, reason, id) = (&letter.queue, &letter.reason, letter.id.short());
        writeln!(
            text,
            "The message is a letter of {queue} ({reason}), and it names no customer. Next: console dead-letters show {id}\n"
        )?;
    }
    match (&report.customers[..], &report.letters[..]) {
        ([], []) => writeln!(text, "No customer is found.")?,
        _ if report.is_truncated => writeln!(text, "More customers have this e-mail address.")?,
        _ => {}
    }
    Ok(text)
}

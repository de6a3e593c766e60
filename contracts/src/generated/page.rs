//! The page for developers of other teams: the template `page.md`, filled from the contracts.

use serde_json::Value;

use super::{
    Contract,
    contract::{description, fields, is_required, schema},
};
use crate::{Kind, envelope};

const TEMPLATE: &str = include_str!("page.md");

pub(super) fn page(contracts: &[Contract]) -> String {
    let values = [
        ("{{overview}}", contracts.iter().map(overview).collect()),
        ("{{listen.py}}", include_str!("../../clients/listen.py").to_owned()),
        ("{{replay.py}}", include_str!("../../clients/replay.py").to_owned()),
        ("{{send.py}}", include_str!("../../clients/send.py").to_owned()),
        ("{{envelope}}", envelope()),
        ("{{messages}}", contracts.iter().map(message).collect()),
    ];
    values.iter().fold(TEMPLATE.to_owned(), |page, (key, text)| page.replace(key, text.trim_end()))
}

fn overview(contract: &Contract) -> String {
    let Contract { name, message_type, owner, .. } = contract;
    let kind = contract.kind.as_str();
    let summary = contract.summary();
    format!("| [{name}](#{}) | `{message_type}` | {kind} | {owner} | {summary} |\n", name.to_lowercase())
}

fn message(contract: &Contract) -> String {
    let Contract { name, message_type, owner, exchange, .. } = contract;
    let summary = contract.summary();
    let kind = match contract.kind {
        Kind::Event => "an event",
        Kind::Command => "a command",
    };
    let exchange_type = contract.routing.exchange_type();
    let sections = contract
        .sections()
        .iter()
        .fold(String::new(), |all, (heading, text)| all + &format!("**{heading}.** {text}\n\n"));
    let sample: Value = serde_json::from_str(&contract.sample()).expect("a sample is JSON");
    let table = table(&contract.schema) + &item_tables(&contract.schema);
    format!(
        "### {name}\n\n\
         `{message_type}` on the {exchange_type} exchange `{exchange}`, {kind} of `{owner}` \
         ([JSON Schema](schemas/{message_type}.json))\n\n\
         {summary}\n\n{sections}{table}\n```json\n{sample:#}\n```\n\n"
    )
}

fn envelope() -> String {
    let properties = schema::<envelope::Properties>();
    format!("{}\nHeaders:\n\n{}", table(&properties), table(&properties["properties"]["headers"]))
}

/// Returns a table for each field that is an array of objects.
fn item_tables(schema: &Value) -> String {
    let arrays = fields(schema).filter(|(_, field)| field["items"]["type"] == "object");
    arrays.fold(String::new(), |all, (name, field)| {
        all + &format!("\nEach of `{name}`:\n\n{}", table(&field["items"]))
    })
}

fn table(schema: &Value) -> String {
    let rows = fields(schema).map(|(name, field)| {
        let example = &field["examples"][0];
        let example = if example.is_null() { String::new() } else { format!("`{example}`") };
        let personal_data = field["x-personal-data"].as_str().unwrap_or_default();
        let required = if is_required(schema, name) { "" } else { "Optional. " };
        let meaning = description(field);
        let shape = shape(field);
        format!("| `{name}` | {required}{meaning} | {shape} | {personal_data} | {example} |\n")
    });
    let head = "| field | meaning | shape | personal data | example |\n| --- | --- | --- | --- | --- |\n";
    head.to_owned() + &rows.collect::<String>()
}

/// Returns a field's type, limits, and unit in words. The field's description explains its pattern.
fn shape(field: &Value) -> String {
    // The type of an optional field is a list of its type and `null`.
    let kind = field["type"].as_str().or_else(|| field["type"][0].as_str()).unwrap_or("any");
    let mut words = vec![match field["format"].as_str() {
        Some(format) if kind == "string" => format!("{kind}, {format}"),
        _ => kind.to_owned(),
    }];
    let range = |low: &str, high: &str| match (&field[low], &field[high]) {
        (Value::Null, Value::Null) => None,
        (low, Value::Null) => Some(format!("at least {low}")),
        (Value::Null, high) => Some(format!("at most {high}")),
        (low, high) => Some(format!("{low} to {high}")),
    };
    if kind == "array" {
        words = vec![format!("array of {}", field["items"]["type"].as_str().unwrap_or("any"))];
    }
    words.extend(range("minLength", "maxLength").map(|range| range + " characters"));
    words.extend(range("minItems", "maxItems").map(|range| range + " items"));
    words.extend(range("minimum", "maximum"));
    words.extend(field["x-unit"].as_str().map(str::to_owned));
    words.join(", ")
}

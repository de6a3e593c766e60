//! One contract, as the documents see it.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{Kind, Message};

/// A message's contract, read from its type.
#[derive(Debug, Clone)]
pub struct Contract {
    /// The type's name, such as `CustomerRegistered`.
    pub name: String,
    /// [`Message::TYPE`].
    pub message_type: &'static str,
    /// [`Message::KIND`].
    pub kind: Kind,
    /// [`Message::OWNER`].
    pub owner: &'static str,
    /// [`Message::EXCHANGE`].
    pub exchange: &'static str,
    /// JSON Schema 2020-12. `x-contract` has what else there is to the contract.
    pub schema: Value,
    /// Reads a body as this message, and writes it again.
    pub rewrite: fn(&str) -> serde_json::Result<String>,
}

impl Contract {
    pub(super) fn of<M: Message>() -> Self {
        let mut schema = schema::<M>();
        schema["x-contract"] = json!({
            "type": M::TYPE,
            "kind": M::KIND.word(),
            "owner": M::OWNER,
            "exchange": M::EXCHANGE,
            "routing-key": M::TYPE,
        });
        Self {
            name: M::schema_name().into_owned(),
            message_type: M::TYPE,
            kind: M::KIND,
            owner: M::OWNER,
            exchange: M::EXCHANGE,
            schema,
            rewrite: |body| Ok(serde_json::from_str::<M>(body)?.to_json()),
        }
    }

    /// A message that consists of the fields' examples, as it goes on the wire.
    ///
    /// # Panics
    /// If the examples do not make a message: a mistake in its definition.
    #[must_use]
    pub fn sample(&self) -> String {
        let example = |field: &Value| field["examples"][0].clone();
        let fields = fields(&self.schema).map(|(name, field)| (name.clone(), example(field)));
        let examples = Value::from(fields.collect::<Map<_, _>>()).to_string();
        (self.rewrite)(&examples)
            .unwrap_or_else(|error| panic!("the examples of {} make no message: {error}", self.name))
    }

    /// What the message is, without the sections below.
    pub(super) fn summary(&self) -> String {
        description(&self.schema).split("\n\n# ").next().unwrap_or_default().to_owned()
    }

    /// The sections of its meaning: heading and text.
    #[must_use]
    pub fn sections(&self) -> Vec<(String, String)> {
        let sections = description(&self.schema).split("\n\n# ").skip(1);
        sections.filter_map(|section| section.split_once("\n\n")).map(|(a, b)| (a.into(), b.into())).collect()
    }
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Command => "command",
        }
    }
}

/// The JSON Schema of a type, with each paragraph of its texts in one line, so that breaking lines
/// elsewhere in a comment changes nothing.
pub(super) fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    unwrap_lines(&mut schema);
    // What it is comes first, for those who read it.
    let first =
        ["$schema", "title", "description"].map(|keyword| (keyword.to_owned(), schema[keyword].take()));
    let rest =
        schema.as_object().cloned().unwrap_or_default().into_iter().filter(|(_, value)| !value.is_null());
    first.into_iter().chain(rest).collect::<Map<_, _>>().into()
}

/// The text of a schema or of a field.
pub(super) fn description(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

/// The fields of an object's schema, in the order of their definition.
pub(super) fn fields(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// Whether an object has to have a field.
pub(super) fn is_required(schema: &Value, field: &str) -> bool {
    schema["required"].as_array().is_some_and(|required| required.iter().any(|name| name == field))
}

fn unwrap_lines(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(text)) = object.get_mut("description") {
                let paragraph = |text: &str| {
                    // A heading is a paragraph of its own.
                    match text.strip_prefix("# ").and_then(|text| text.split_once('\n')) {
                        Some((heading, rest)) => format!("# {heading}\n\n{}", rest.replace('\n', " ")),
                        None => text.replace('\n', " "),
                    }
                };
                *text = text.split("\n\n").map(paragraph).collect::<Vec<_>>().join("\n\n");
            }
            object.values_mut().for_each(unwrap_lines);
        }
        Value::Array(values) => values.iter_mut().for_each(unwrap_lines),
        _ => {}
    }
}

//! One contract, in the form from which the documents are generated.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{Kind, Message, Routing};

/// A message's contract, read from its Rust type.
#[derive(Debug, Clone)]
pub struct Contract {
    /// The name of the Rust type, such as `CustomerRegistered`.
    pub name: String,
    /// [`Message::TYPE`].
    pub message_type: &'static str,
    /// [`Message::KIND`].
    pub kind: Kind,
    /// [`Message::OWNER`].
    pub owner: &'static str,
    /// [`Message::EXCHANGE`].
    pub exchange: &'static str,
    /// [`Message::ROUTING`].
    pub routing: Routing,
    /// The JSON Schema 2020-12. `x-contract` holds the parts that a schema cannot express.
    pub schema: Value,
    /// Parses a body as this message and serializes it again.
    pub rewrite: fn(&str) -> serde_json::Result<String>,
}

impl Contract {
    pub(super) fn from_type<M: Message + JsonSchema>() -> Self {
        let mut schema = schema::<M>();
        schema["x-contract"] = json!({
            "type": M::TYPE,
            "kind": M::KIND.as_str(),
            "owner": M::OWNER,
            "exchange": M::EXCHANGE,
            "routing-key": match M::ROUTING {
                Routing::Type => M::TYPE,
                Routing::ReplyTo => "the property reply_to of the command",
            },
        });
        Self {
            name: M::schema_name().into_owned(),
            message_type: M::TYPE,
            kind: M::KIND,
            owner: M::OWNER,
            exchange: M::EXCHANGE,
            routing: M::ROUTING,
            schema,
            rewrite: |body| Ok(serde_json::from_str::<M>(body)?.to_json()),
        }
    }

    /// Returns the body of a message built from the fields' examples. An optional field without an example is absent.
    ///
    /// # Panics
    /// Panics if the examples do not form a valid message, which is a mistake in its definition.
    #[must_use]
    pub fn sample(&self) -> String {
        let example = |field: &Value| Some(field["examples"][0].clone()).filter(|example| !example.is_null());
        let fields = fields(&self.schema).filter_map(|(name, field)| Some((name.clone(), example(field)?)));
        let examples = Value::from(fields.collect::<Map<_, _>>()).to_string();
        (self.rewrite)(&examples).unwrap_or_else(|error| {
            panic!("the examples of {} do not form a valid message: {error}", self.name)
        })
    }

    /// Returns the first paragraphs of the doc comment, before its sections.
    pub(super) fn summary(&self) -> String {
        description(&self.schema).split("\n\n# ").next().unwrap_or_default().to_owned()
    }

    /// Returns the sections of the doc comment as pairs of heading and text.
    #[must_use]
    pub fn sections(&self) -> Vec<(String, String)> {
        let sections = description(&self.schema).split("\n\n# ").skip(1);
        let pairs = sections.filter_map(|section| section.split_once("\n\n"));
        pairs.map(|(heading, text)| (heading.to_owned(), text.to_owned())).collect()
    }
}

impl Routing {
    /// Returns the type of the exchange.
    pub(super) fn exchange_type(self) -> &'static str {
        match self {
            Self::Type => "topic",
            Self::ReplyTo => "direct",
        }
    }
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Command => "command",
        }
    }
}

/// Returns the JSON Schema of a type. Each paragraph of a description is one line, so that rewrapping a doc
/// comment does not change the schema.
pub(super) fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    unwrap_lines(&mut schema);
    // The summary comes first, for human readers.
    let first =
        ["$schema", "title", "description"].map(|keyword| (keyword.to_owned(), schema[keyword].take()));
    let rest =
        schema.as_object().cloned().unwrap_or_default().into_iter().filter(|(_, value)| !value.is_null());
    first.into_iter().chain(rest).collect::<Map<_, _>>().into()
}

/// Returns the description of a schema or of a field.
pub(super) fn description(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

/// Returns the fields of an object's schema, in the order of their definition.
pub(super) fn fields(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// Returns whether a field is required.
pub(super) fn is_required(schema: &Value, field: &str) -> bool {
    schema["required"].as_array().is_some_and(|required| required.iter().any(|name| name == field))
}

fn unwrap_lines(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(text)) = object.get_mut("description") {
                let paragraph = |text: &str| {
                    // A heading becomes a paragraph of its own.
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

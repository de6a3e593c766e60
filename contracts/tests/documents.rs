//! The committed documents match the types, and the types are completely documented.

use std::{fs, path::Path};

use contracts::generated::{contracts, documents, schemas};
use serde_json::Value;

const SECTIONS: [&str; 4] = ["When it is sent", "What holds afterwards", "Not stated", "Delivery"];

#[test]
fn committed_documents_match_types() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in documents() {
        let committed = fs::read_to_string(directory.join(&document.path)).unwrap_or_default();
        assert!(
            committed == document.text,
            "contracts/{} is out of date; \
             `cargo run -p contracts --features generated --example documents` regenerates it",
            document.path
        );
    }
}

#[test]
fn committed_documents_belong_to_existing_contracts() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known: Vec<_> = documents().into_iter().map(|document| directory.join(document.path)).collect();
    for folder in ["schemas", "samples"] {
        for file in fs::read_dir(directory.join(folder)).unwrap() {
            let path = file.unwrap().path();
            assert!(known.contains(&path), "{} belongs to no contract; delete it", path.display());
        }
    }
}

#[test]
fn every_contract_has_all_sections_of_its_meaning() {
    for contract in contracts() {
        let sections = contract.sections();
        let headings: Vec<&str> = sections.iter().map(|(heading, _)| heading.as_str()).collect();
        assert_eq!(headings, SECTIONS, "{}", contract.name);
        let delivery = &sections[3].1;
        assert!(delivery.contains("At least once") && delivery.contains("no particular order"), "{delivery}");
    }
}

#[test]
fn every_message_type_contains_its_owner_and_version() {
    for contract in contracts() {
        let parts: Vec<&str> = contract.message_type.split('.').collect();
        assert_eq!(parts.len(), 3, "<owner>.<message>.v<major version>: {}", contract.message_type);
        assert_eq!(parts[0], contract.owner);
        assert!(parts[2].strip_prefix('v').is_some_and(|version| version.parse::<u32>().is_ok()));
        assert!(
            contract.exchange.starts_with(contract.owner),
            "{} does not belong to the owner",
            contract.exchange
        );
    }
}

#[test]
fn every_field_is_completely_documented() {
    for (name, schema) in schemas() {
        for (field, schema) in fields(&schema) {
            let described = schema["description"].as_str().is_some_and(|text| text.len() > 10);
            assert!(described, "{name}: {field} has no description");
            let personal_data = schema["x-personal-data"].as_str().unwrap_or_default();
            assert!(
                ["direct", "linked", "none"].contains(&personal_data),
                "{name}: {field} has no `x-personal-data`"
            );
            if schema["type"] != "object" && schema["items"]["type"] != "object" {
                assert!(schema["examples"][0] != Value::Null, "{name}: {field} has no example");
            }
            if schema["type"] == "array" {
                assert!(schema["maxItems"].is_u64(), "{name}: {field} has no limit");
            }
            if schema["type"] == "string" {
                let limited =
                    ["maxLength", "format", "pattern"].iter().any(|limit| schema.get(limit).is_some());
                assert!(limited, "{name}: {field} has no limit");
            }
        }
    }
}

/// Returns the fields of an object, and of the objects and arrays of objects within it.
fn fields(schema: &Value) -> Vec<(String, Value)> {
    let fields = schema["properties"].as_object().unwrap();
    let own = fields.iter().map(|(name, field)| (name.clone(), field.clone()));
    let objects = fields.values().map(|field| if field["type"] == "array" { &field["items"] } else { field });
    let inner = objects.filter(|field| field["type"] == "object").flat_map(self::fields);
    own.chain(inner).collect()
}

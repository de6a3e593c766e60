//! The committed documents say what the types say, and the types say everything.

use std::{fs, path::Path};

use contracts::generated::{contracts, documents, schemas};
use serde_json::Value;

#[test]
fn the_committed_documents_are_current() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in documents() {
        let committed = fs::read_to_string(directory.join(&document.path)).unwrap_or_default();
        assert!(
            committed == document.text,
            "contracts/{} is not what the contracts say; \
             `cargo run -p contracts --example documents` makes it anew",
            document.path
        );
    }
}

#[test]
fn no_committed_document_is_left_of_a_contract_that_is_no_more() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known: Vec<_> = documents().into_iter().map(|document| directory.join(document.path)).collect();
    for folder in ["schemas", "samples"] {
        for file in fs::read_dir(directory.join(folder)).unwrap() {
            let path = file.unwrap().path();
            assert!(known.contains(&path), "{} is made from no contract; delete it", path.display());
        }
    }
}

#[test]
fn every_contract_says_when_it_is_sent_what_is_true_what_it_does_not_say_and_how_it_comes() {
    for contract in contracts() {
        let sections = contract.sections();
        let headings: Vec<&str> = sections.iter().map(|(heading, _)| heading.as_str()).collect();
        assert_eq!(headings, ["Sent", "True from then on", "Not said", "Delivery"], "{}", contract.name);
        let delivery = &sections[3].1;
        assert!(delivery.contains("At least once") && delivery.contains("no order"), "{delivery}");
    }
}

#[test]
fn every_contract_is_named_after_its_owner_and_its_version() {
    for contract in contracts() {
        let parts: Vec<&str> = contract.message_type.split('.').collect();
        assert_eq!(parts.len(), 3, "<owner>.<message>.v<major version>: {}", contract.message_type);
        assert_eq!(parts[0], contract.owner);
        assert!(parts[2].strip_prefix('v').is_some_and(|version| version.parse::<u32>().is_ok()));
        assert!(contract.exchange.starts_with(contract.owner), "{} is not its owner's", contract.exchange);
    }
}

#[test]
fn every_field_says_its_meaning_its_limits_an_example_and_whether_it_is_personal_data() {
    for (name, schema) in schemas() {
        for (field, says) in fields(&schema) {
            let described = says["description"].as_str().is_some_and(|text| text.len() > 10);
            assert!(described, "{name}: {field} says no meaning");
            let personal_data = says["x-personal-data"].as_str().unwrap_or_default();
            assert!(["direct", "linked", "none"].contains(&personal_data), "{name}: {field}");
            if says["type"] != "object" {
                assert!(says["examples"][0] != Value::Null, "{name}: {field} has no example");
            }
            if says["type"] == "string" {
                let limited =
                    ["maxLength", "format", "pattern"].iter().any(|limit| says.get(limit).is_some());
                assert!(limited, "{name}: {field} has no limit");
            }
        }
    }
}

/// The fields of an object, and of the objects in it.
fn fields(schema: &Value) -> Vec<(String, Value)> {
    let fields = schema["properties"].as_object().unwrap();
    let own = fields.iter().map(|(name, field)| (name.clone(), field.clone()));
    let inner = fields.values().filter(|field| field["type"] == "object").flat_map(self::fields);
    own.chain(inner).collect()
}

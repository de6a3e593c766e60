//! The golden samples: every message on the wire, byte for byte, and the tolerance of readers.

use std::path::Path;

use contracts::generated::{Contract, contracts};
use serde_json::{Value, json};

fn sample(contract: &Contract) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("samples/{}.json", contract.message_type));
    std::fs::read_to_string(path).unwrap().trim_end().to_owned()
}

/// Changes a contract's sample, parses it, and serializes it again.
fn rewritten(contract: &Contract, change: impl FnOnce(&mut Value)) -> Result<String, String> {
    let mut body: Value = serde_json::from_str(&sample(contract)).unwrap();
    change(&mut body);
    (contract.rewrite)(&body.to_string()).map_err(|error| error.to_string())
}

fn fields(contract: &Contract) -> Vec<String> {
    contract.schema["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn every_message_is_parsed_and_serialized_as_its_sample() {
    for contract in contracts() {
        assert_eq!((contract.rewrite)(&sample(&contract)).unwrap(), sample(&contract));
    }
}

#[test]
fn unknown_field_is_ignored() {
    for contract in contracts() {
        let read = rewritten(&contract, |body| body["loyalty_tier"] = json!({"name": "gold"}));
        assert_eq!(read, Ok(sample(&contract)));
    }
}

#[test]
fn missing_required_field_is_rejected_by_name() {
    for contract in contracts() {
        let required = contract.schema["required"].as_array().unwrap();
        for field in required.iter().map(|field| field.as_str().unwrap()) {
            let read = rewritten(&contract, |body| drop(body.as_object_mut().unwrap().shift_remove(field)));
            assert!(read.as_ref().is_err_and(|error| error.contains(field)), "{field}: {read:?}");
        }
    }
}

#[test]
fn time_with_another_offset_is_same_instant() {
    for contract in contracts() {
        for field in fields(&contract) {
            if contract.schema["properties"][&field]["format"] == "date-time" {
                let utc = json!("2026-01-02T03:04:05.000600Z");
                let offset = json!("2026-01-02T05:04:05.0006+02:00");
                let read = rewritten(&contract, |body| body[&field] = offset);
                assert_eq!(read, rewritten(&contract, |body| body[&field] = utc), "{field}");
            }
        }
    }
}

//! The gate: no change of a contract breaks whoever reads or writes a released version of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use contracts::{
    compatibility::breakages,
    generated::{contracts, schemas},
    test_util::{assert_valid, named_validator},
};
use serde_json::Value;

#[test]
fn no_released_contract_has_changed_in_structure_or_meaning() {
    let current = schemas();
    let mut broken = Vec::new();
    for directory in entries(&released()) {
        let name = directory.file_name().unwrap().to_str().unwrap();
        let Some((_, current)) = current.iter().find(|(known, _)| known == name) else {
            broken.push(format!(
                "{name}: the contract is no more, and whoever reads or writes it is left alone"
            ));
            continue;
        };
        for revision in files(&directory) {
            let number = revision.file_stem().unwrap().display();
            let found = breakages(&read(&revision), current);
            broken.extend(found.iter().map(|breakage| format!("{name}, revision {number}: {breakage}")));
        }
    }
    assert!(
        broken.is_empty(),
        "\n{}\n\nMake it a new type next to this one, or a change that breaks nobody; \
         contracts/README.md says which, under \"How a contract changes\".\n",
        broken.join("\n")
    );
}

#[test]
fn every_contract_is_released_with_a_sample() {
    for (name, _) in schemas() {
        let directory = released().join(&name);
        assert!(
            directory.join("1.json").exists(),
            "{name} was never released; `cargo run -p contracts --example release` does it"
        );
        if name != "envelope.v1" {
            assert!(!files(&directory.join("samples")).is_empty(), "{name} has no released sample");
        }
    }
}

#[test]
fn every_sample_ever_released_is_still_read_and_still_valid() {
    for contract in contracts() {
        let validator = named_validator(contract.message_type);
        for sample in files(&released().join(contract.message_type).join("samples")) {
            let text = fs::read_to_string(&sample).unwrap();
            let written = (contract.rewrite)(&text)
                .unwrap_or_else(|error| panic!("{} is not read any more: {error}", sample.display()));
            assert_valid(&validator, &text);
            assert_valid(&validator, &written);
            let (read, written): (Value, Value) = (read(&sample), serde_json::from_str(&written).unwrap());
            for (field, value) in read.as_object().unwrap() {
                assert_eq!(written[field], *value, "{field} of {}", sample.display());
            }
        }
    }
}

fn released() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("released")
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    entries(directory).into_iter().filter(|path| path.is_file()).collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

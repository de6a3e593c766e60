//! The gate: no change of a contract breaks a reader or a writer of a released version.

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
fn released_contracts_keep_structure_and_meaning() {
    let current = schemas();
    let mut broken = Vec::new();
    for directory in entries(&released()) {
        let name = directory.file_name().unwrap().to_str().unwrap();
        let Some((_, current)) = current.iter().find(|(known, _)| known == name) else {
            broken.push(format!("{name}: the contract was removed, which breaks its readers and writers"));
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
        "\n{}\n\nAdd a new type beside this one, or make a change that breaks no reader or writer. \
         See \"How a contract changes\" in contracts/README.md.\n",
        broken.join("\n")
    );
}

#[test]
fn every_contract_has_a_released_revision_and_sample() {
    for (name, _) in schemas() {
        let directory = released().join(&name);
        assert!(
            directory.join("1.json").exists(),
            "{name} was never released; \
             run `cargo run -p contracts --features generated --example release`"
        );
        if name != "envelope.v1" {
            assert!(!files(&directory.join("samples")).is_empty(), "{name} has no released sample");
        }
    }
}

#[test]
fn every_released_sample_is_still_valid_and_parsed() {
    for contract in contracts() {
        let validator = named_validator(contract.message_type);
        for sample in files(&released().join(contract.message_type).join("samples")) {
            let text = fs::read_to_string(&sample).unwrap();
            let written = (contract.rewrite)(&text)
                .unwrap_or_else(|error| panic!("{} cannot be parsed any more: {error}", sample.display()));
            assert_valid(&validator, &text);
            assert_valid(&validator, &written);
            let released = read(&sample);
            let written: Value = serde_json::from_str(&written).unwrap();
            for (field, value) in released.as_object().unwrap() {
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

//! The published schemas of the messages.

use std::{collections::HashMap, fs, sync::LazyLock};

use contracts::Message;
use jsonschema::Validator;
use serde_json::Value;

/// The validators, by message type. They read the committed files, so the services' code cannot weaken them.
static VALIDATORS: LazyLock<HashMap<String, Validator>> = LazyLock::new(|| {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contracts/schemas");
    let files = fs::read_dir(directory).expect("the schemas are in the work tree");
    let validator = |path| {
        let schema = serde_json::from_slice(&fs::read(path).expect("a schema is readable"));
        let options = jsonschema::options().should_validate_formats(true);
        options.build(&schema.expect("a schema is JSON")).expect("the schema is valid")
    };
    files
        .map(|file| {
            let path = file.expect("the directory is readable").path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (name, validator(path))
        })
        .collect()
});

/// Returns whether a body matches the schema of its message.
pub(crate) fn is_valid<M: Message>(body: &Value) -> bool {
    VALIDATORS[M::TYPE].is_valid(body)
}

/// Panics if a written body does not match the schema of its message.
pub(crate) fn assert_valid(message_type: &str, body: &[u8]) {
    let body: Value = serde_json::from_slice(body).expect("a written body is JSON");
    let errors: Vec<_> = VALIDATORS[message_type].iter_errors(&body).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{message_type}: {errors:#?} in {body}");
}

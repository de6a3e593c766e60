//! The verdicts of the gate for each kind of change: on a modified released contract, and on typical types.

use contracts::{
    CustomerRegistered, Message,
    compatibility::{Change, breakages},
    generated::schemas,
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

fn released() -> Value {
    schemas().into_iter().find(|(name, _)| name == CustomerRegistered::TYPE).unwrap().1
}

/// Returns the verdict of the gate after a change.
fn verdict(change: impl FnOnce(&mut Value)) -> Vec<(String, Change)> {
    let mut current = released();
    change(&mut current);
    let found = breakages(&released(), &current);
    found.into_iter().map(|breakage| (breakage.field, breakage.change)).collect()
}

/// Returns the only breakage after a change.
fn broken(change: impl FnOnce(&mut Value)) -> (String, Change) {
    let mut found = verdict(change);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn passes(change: impl FnOnce(&mut Value)) {
    assert_eq!(verdict(change), []);
}

fn remove(object: &mut Value, key: &str) -> Value {
    object.as_object_mut().unwrap().shift_remove(key).unwrap()
}

fn require(schema: &mut Value, field: &str) {
    schema["required"].as_array_mut().unwrap().push(field.into());
}

fn make_optional(schema: &mut Value, field: &str) {
    schema["required"].as_array_mut().unwrap().retain(|name| name != field);
}

#[test]
fn no_change_passes() {
    passes(|_| {});
}

#[test]
fn new_field_passes_only_if_optional() {
    let field = json!({"type": "string", "maxLength": 20, "description": "How they found us."});
    passes(|schema| schema["properties"]["found_by"] = field.clone());
    let (name, change) = broken(|schema| {
        schema["properties"]["found_by"] = field.clone();
        require(schema, "found_by");
    });
    assert_eq!((name.as_str(), change), ("found_by", Change::MadeRequired));
}

#[test]
fn removed_field_is_reported_even_beside_new_one() {
    for with_new_field in [false, true] {
        let (name, change) = broken(|schema| {
            remove(&mut schema["properties"], "email");
            make_optional(schema, "email");
            if with_new_field {
                schema["properties"]["telephone"] = json!({"type": "string"});
            }
        });
        assert_eq!((name.as_str(), change), ("email", Change::Removed));
    }
}

#[test]
fn renamed_field_is_reported_as_renamed() {
    let (name, change) = broken(|schema| {
        schema["properties"]["email_address"] = remove(&mut schema["properties"], "email");
        make_optional(schema, "email");
        require(schema, "email_address");
    });
    assert_eq!((name.as_str(), change), ("email", Change::Renamed("email_address".into())));
}

#[test]
fn changed_type_or_format_is_reported_as_retyped() {
    for (field, keyword, value) in
        [("marketing_consent", "type", "string"), ("customer_id", "format", "uri"), ("name", "type", "array")]
    {
        let (name, change) = broken(|schema| schema["properties"][field][keyword] = value.into());
        assert_eq!(name, field);
        assert!(matches!(change, Change::Retyped(_)), "{change:?}");
    }
}

#[test]
fn changed_requirement_is_reported_in_both_directions() {
    let (name, change) = broken(|schema| make_optional(schema, "name"));
    assert_eq!((name.as_str(), change), ("name", Change::MadeOptional));

    let mut before = released();
    make_optional(&mut before, "name");
    let found = breakages(&before, &released());
    assert_eq!((found.len(), &found[0].change), (1, &Change::MadeRequired));
    assert_eq!(breakages(&before, &before), []);
}

#[test]
fn changed_limits_are_reported_as_narrowed_or_widened() {
    let narrower = [
        ("name", "minLength", json!(2)),
        ("name", "maxLength", json!(199)),
        ("name", "pattern", json!("^x$")),
    ];
    for (field, keyword, value) in narrower {
        let (name, change) = broken(|schema| schema["properties"][field][keyword] = value);
        assert!(name == field && matches!(change, Change::Narrowed(_)), "{change:?}");
    }
    let (_, change) = broken(|schema| schema["additionalProperties"] = false.into());
    assert!(matches!(change, Change::Narrowed(_)), "{change:?}");

    let wider = [("name", "minLength", json!(0)), ("name", "maxLength", json!(201))];
    for (field, keyword, value) in wider {
        let (name, change) = broken(|schema| schema["properties"][field][keyword] = value);
        assert!(name == field && matches!(change, Change::Widened(_)), "{change:?}");
    }
    for (field, keyword) in [("name", "minLength"), ("name", "maxLength"), ("email", "pattern")] {
        let (name, change) = broken(|schema| drop(remove(&mut schema["properties"][field], keyword)));
        assert!(name == field && matches!(change, Change::Widened(_)), "{change:?}");
    }
}

#[test]
fn changed_choices_are_reported_as_narrowed_or_widened() {
    let choices = |choices: &[&str]| json!({"properties": {"tier": {"type": "string", "enum": choices}}});
    let verdict = |before: &[&str], after: &[&str]| breakages(&choices(before), &choices(after));
    assert_eq!(verdict(&["gold", "lead"], &["gold", "lead"]), []);
    assert!(matches!(verdict(&["gold", "lead"], &["gold"])[0].change, Change::Narrowed(_)));
    assert!(matches!(verdict(&["gold"], &["gold", "lead"])[0].change, Change::Widened(_)));
}

#[test]
fn changed_meaning_is_reported_and_changed_example_passes() {
    let (name, change) = broken(|schema| schema["description"] = "A customer has left the Web Store.".into());
    assert!(name.is_empty() && matches!(change, Change::MeaningChanged(_)), "{change:?}");
    for (keyword, value) in [
        ("description", "The time of the e-mail's confirmation."),
        ("x-unit", "seconds"),
        ("x-personal-data", "none"),
    ] {
        let (name, change) = broken(|schema| schema["properties"]["registered_at"][keyword] = value.into());
        assert!(name == "registered_at" && matches!(change, Change::MeaningChanged(_)), "{change:?}");
    }
    let (_, change) = broken(|schema| schema["x-contract"]["exchange"] = "web-store.news".into());
    assert!(matches!(change, Change::MeaningChanged(_)), "{change:?}");
    passes(|schema| schema["properties"]["name"]["examples"] = json!(["Ann"]));
}

#[test]
fn nested_fields_are_compared() {
    let with = |inner: Value| json!({"properties": {"outer": {"properties": {"inner": inner}}, "list": {"items": inner}}});
    let found = breakages(&with(json!({"type": "string"})), &with(json!({"type": "integer"})));
    let fields: Vec<&str> = found.iter().map(|breakage| breakage.field.as_str()).collect();
    assert_eq!(fields, ["outer.inner", "list[]"]);
}

#[test]
fn verdict_explains_which_side_breaks() {
    let mut current = released();
    remove(&mut current["properties"], "email");
    current["properties"]["name"]["maxLength"] = 100.into();
    let texts: Vec<String> = breakages(&released(), &current).iter().map(ToString::to_string).collect();
    assert!(
        texts.iter().any(|text| text.starts_with("`email` was removed: a reader of the released version")),
        "{texts:?}"
    );
    let narrowed = "`name` was narrowed, `maxLength`: 200 became 100: a writer of the released version";
    assert!(texts.iter().any(|text| text.starts_with(narrowed)), "{texts:?}");
}

/// The summary.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Released {
    /// A size, in meters.
    size: u32,
}

/// The summary.
#[derive(Serialize, Deserialize, JsonSchema)]
struct WithOptionalField {
    /// A size, in meters.
    size: u32,
    /// A color, by its English name.
    color: Option<String>,
}

/// The summary.
#[derive(Serialize, Deserialize, JsonSchema)]
struct InFeet {
    /// A size, in feet.
    size: u32,
}

/// The summary.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Strict {
    /// A size, in meters.
    size: u32,
}

#[test]
fn typical_types_get_same_verdicts() {
    let released = schema::<Released>();
    assert_eq!(breakages(&released, &schema::<WithOptionalField>()), []);
    assert!(
        serde_json::from_str::<WithOptionalField>(r#"{"size": 1}"#).is_ok(),
        "a message of the released version is parsed"
    );
    let changes =
        |current| breakages(&released, &current).into_iter().map(|found| found.change).collect::<Vec<_>>();
    assert!(matches!(changes(schema::<InFeet>())[..], [Change::MeaningChanged(_)]));
    assert!(matches!(changes(schema::<Strict>())[..], [Change::Narrowed(_)]));
}

fn schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}

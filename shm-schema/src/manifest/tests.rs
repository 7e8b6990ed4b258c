//! What a person reads who sets parameters.

use super::*;
use proptest::prelude::*;
use serde_json::{Map, json};

#[test]
fn every_parameter_that_does_not_fit_is_told_with_its_path_and_what_is_allowed() {
    let schema = json!({
        "type": "object",
        "properties": {
            "sigma": {"type": "number", "minimum": 0.1, "maximum": 50.0},
            "mute": {"type": "boolean"},
            "position": {"$ref": "#/$defs/Position"},
            "scale": {"type": ["integer", "null"], "exclusiveMinimum": 0},
            "show": {"anyOf": [{"$ref": "#/$defs/Position"}, {"type": "null"}]},
            "text": {"type": "string", "maxLength": 4, "minLength": 2},
            "sizes": {"type": "array", "maxItems": 2, "items": {"type": "integer"}},
            "box": {"type": "object", "required": ["x"], "properties": {"x": {"maximum": 1}}},
        },
        "additionalProperties": false,
        "$defs": {"Position": {"oneOf": [{"const": "left"}, {"const": "right"}]}},
    });
    let told = |params: Value| -> String {
        let params = params.as_object().cloned().unwrap_or_default();
        Faults(check_params(&schema, &params, "$.params")).to_string()
    };
    for good in [
        json!({}),
        json!({"sigma": 0.1, "mute": true, "position": "left", "scale": null, "show": null}),
        json!({"text": "üüüü", "sizes": [1, 2.0], "box": {"x": 1, "y": 7}}),
    ] {
        assert_eq!(told(good.clone()), "", "{good}");
    }
    for (bad, fault) in [
        (json!({"sigma": 99}), "$.params.sigma: is 99; allowed is 0.1 to 50"),
        (json!({"mute": "yes"}), "$.params.mute: must be true or false, and is the text `yes`"),
        (json!({"sgima": 1}), "$.params: unknown parameter `sgima`; did you mean `sigma`?"),
        (
            json!({"position": "up"}),
            "$.params.position: is the text `up`; allowed are \"left\", \"right\"",
        ),
        (
            json!({"scale": 1.5}),
            "$.params.scale: must be a whole number or null, and is the number 1.5",
        ),
        (json!({"scale": 0}), "$.params.scale: is 0; allowed is more than 0"),
        (json!({"show": "up"}), "$.params.show: is the text `up`; allowed are"),
        (json!({"text": "xxxxx"}), "$.params.text: has 5 characters; at most 4 are allowed"),
        (json!({"text": "x"}), "$.params.text: has 1 characters; at least 2 are needed"),
        (json!({"sizes": [1, 2, 3]}), "$.params.sizes: has 3 entries; at most 2 are allowed"),
        (json!({"sizes": [1, "x"]}), "$.params.sizes[1]: must be a whole number"),
        (json!({"box": {"x": 2}}), "$.params.box.x: is 2; allowed is up to 1"),
        (json!({"box": {}}), "$.params.box: `x` is missing"),
    ] {
        let said = told(bad.clone());
        assert!(said.starts_with(fault), "of {bad}: {said}");
    }
    let both = told(json!({"sigma": 99, "mute": 7}));
    assert!(both.contains("$.params.mute: ") && both.contains("$.params.sigma: "), "{both}");
}

#[test]
fn a_strangers_parameters_cannot_make_an_error_long() {
    let closed = json!({"properties": {}, "additionalProperties": false});
    let many: Map<String, Value> = (0..1000).map(|i| (format!("k{i}"), Value::Null)).collect();
    assert_eq!(check_params(&closed, &many, "$").len(), MAX_FAULTS);
    let long = Map::from_iter([("x".repeat(100_000), Value::Null)]);
    let told = Faults(check_params(&closed, &long, "$")).to_string();
    assert!(told.len() < 200, "{}", told.len());
}

#[test]
fn a_worker_whose_schema_is_broken_or_endless_checks_its_parameters_itself() {
    let params = Map::from_iter([("a".to_owned(), json!({"a": 1}))]);
    for schema in [
        json!(7),
        json!({}),
        json!({"$ref": "#"}),
        json!({"$ref": "#/nowhere"}),
        json!({"properties": {"a": {"$ref": "#"}}}),
        json!({"properties": {"a": {"anyOf": [{"$ref": "#/properties/a"}, {"$ref": "#/properties/a"}]}}}),
    ] {
        assert_eq!(check_params(&schema, &params, "$"), [], "{schema}");
    }
}

proptest! {
    #[test]
    fn no_schema_and_no_parameters_panic_the_check(schema in any_json(), params in any_json()) {
        if let Value::Object(params) = &params {
            prop_assert!(check_params(&schema, params, "$").len() <= MAX_FAULTS);
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("type"),
        Just("properties"),
        Just("oneOf"),
        Just("anyOf"),
        Just("enum"),
        Just("const"),
        Just("$ref"),
        Just("#"),
        Just("#/properties"),
        Just("minimum"),
        Just("number"),
        Just("a"),
        Just("items"),
        Just("maxLength"),
        Just("required"),
        Just("additionalProperties"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((word.clone(), inner), 0..5).prop_map(|p| p
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
}

use serde_json::{Value, json};

use super::{JsonSchema, Misfit};

fn schema(text: &Value) -> JsonSchema {
    JsonSchema::new(text.clone()).unwrap_or_else(|why| panic!("{why}: {text}"))
}

fn wrong(path: &str, must_be: &str) -> Result<(), Misfit> {
    Err(Misfit::Wrong(path.to_owned(), must_be.to_owned()))
}

#[test]
fn a_misfit_has_a_place_and_says_what_must_stand_there() {
    let edits = json!({"type": "object", "additionalProperties": false, "required": ["path"], "properties": {
        "path": {"type": "string", "minLength": 1},
        "mode": {"enum": ["a", "b"]},
        "count": {"type": ["integer", "null"], "minimum": 1, "exclusiveMaximum": 9, "multipleOf": 2},
        "edits": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"$ref": "#/$defs/edit"}},
    }, "$defs": {"edit": {"type": "object", "required": ["old"], "properties": {"old": {"type": "string", "pattern": "^x"}}}}});
    let schema = schema(&edits);
    for (value, expected) in [
        (json!({"path": "p", "edits": [{"old": "x"}], "count": null, "mode": "a"}), Ok(())),
        (json!({}), Err(Misfit::Missing("path".into()))),
        (json!({"path": "p", "b": 1}), Err(Misfit::Undeclared("b".into()))),
        (json!({"path": 1}), wrong("path", "of type string")),
        (json!({"path": ""}), wrong("path", "of at least 1 characters")),
        (json!({"path": "p", "mode": "c"}), wrong("mode", r#"one of "a","b""#)),
        (json!({"path": "p", "count": 0}), wrong("count", "at least 1")),
        (json!({"path": "p", "count": 9}), wrong("count", "below 9")),
        (json!({"path": "p", "count": 3}), wrong("count", "a multiple of 2")),
        (json!({"path": "p", "count": 2.5}), wrong("count", "of type integer or null")),
        (json!({"path": "p", "edits": []}), wrong("edits", "of at least 1 elements")),
        (json!({"path": "p", "edits": [{"old": "x"}, {}]}), Err(Misfit::Missing("edits[1].old".into()))),
        (json!({"path": "p", "edits": [{"old": "y"}]}), wrong("edits[0].old", r#"text that matches "^x""#)),
    ] {
        assert_eq!(schema.check(&value), expected, "{value}");
    }
    assert!(schema.takes_null("count") && !schema.takes_null("path"));
}

#[test]
fn schemas_are_combined() {
    for (rules, yes, no) in [
        (json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), json!(null), json!(1)),
        (json!({"oneOf": [{"minimum": 3}, {"maximum": 5}]}), json!(6), json!(4)),
        (json!({"allOf": [{"minimum": 3}, {"maximum": 5}]}), json!(4), json!(6)),
        (json!({"not": {"const": 1}}), json!(2), json!(1)),
        (
            json!({"if": {"minimum": 5}, "then": {"multipleOf": 5}, "else": {"maximum": 1}}),
            json!(10),
            json!(6),
        ),
        (json!({"uniqueItems": true}), json!([1, 2, "1"]), json!([1, 2, 1])),
        (json!({"propertyNames": {"maxLength": 1}}), json!({"a": 1}), json!({"ab": 1})),
        (json!({"additionalProperties": {"type": "integer"}}), json!({"a": 1}), json!({"a": "1"})),
        (
            json!({"$ref": "#here", "$defs": {"x": {"$anchor": "here", "type": "string"}}}),
            json!("a"),
            json!(1),
        ),
        (json!({"minProperties": 1, "maxProperties": 1}), json!({"a": 1}), json!({})),
    ] {
        assert_eq!(schema(&rules).check(&yes), Ok(()), "{rules}");
        assert!(schema(&rules).check(&no).is_err(), "{rules}");
    }
}

#[test]
fn draft_7_looks_at_nothing_beside_a_reference() {
    let rules = |draft: &str| json!({"$schema": draft, "definitions": {"x": {"type": "integer"}}, "properties": {"a": {"$ref": "#/definitions/x", "minimum": 3}}});
    let value = json!({"a": 1});
    assert!(schema(&rules("http://json-schema.org/draft-07/schema#")).check(&value).is_ok());
    assert!(schema(&rules("https://json-schema.org/draft/2020-12/schema")).check(&value).is_err());
}

#[test]
fn what_cannot_be_checked_is_refused_when_it_is_read() {
    let deep = (0..40).fold(json!(true), |inner, _| json!({"items": inner}));
    for bad in [
        json!({"patternProperties": {"a": true}}),
        json!({"items": [true]}),
        json!({"properties": {"a": {"contains": true}}}),
        json!({"$ref": "https://example.org/x"}),
        json!({"$ref": "#/$defs/none"}),
        json!({"$ref": "#/enum/0", "enum": [{"dependentRequired": {}}]}),
        json!({"pattern": "(?=a)"}),
        json!({"type": "text"}),
        json!({"minLength": -1}),
        json!({"$schema": "http://json-schema.org/draft-04/schema#"}),
        json!({"properties": {"a": {"$id": "x"}}}),
        json!([]),
        deep,
    ] {
        assert!(JsonSchema::new(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn checking_takes_a_bounded_time() {
    let endless = schema(&json!({"$ref": "#"}));
    assert!(endless.check(&json!(1)).is_err());
    let mut defs = json!({"a0": {"type": "string"}});
    for n in 1..30 {
        let before = json!({"$ref": format!("#/$defs/a{}", n - 1)});
        defs[format!("a{n}")] = json!({"anyOf": [before, before, before]});
    }
    let many = schema(&json!({"$ref": "#/$defs/a29", "$defs": defs}));
    assert!(many.check(&json!(1)).is_err());
    let turned = schema(&json!({"not": {"$ref": "#"}}));
    assert!(turned.check(&json!(1)).is_err());
    // What is looked at counts, not only how often.
    let list = json!((0..2000).collect::<Vec<_>>());
    let part = |of: &str| json!({"allOf": vec![json!({"$ref": format!("#/$defs/{of}")}); 40]});
    let unique = schema(&json!({"$ref": "#/$defs/c", "$defs": {
        "a": {"uniqueItems": true}, "b": part("a"), "c": part("b")}}));
    assert_eq!(unique.check(&list), wrong("", "simpler: checking it takes too long"));
    let once = schema(&json!({"uniqueItems": true}));
    assert_eq!(once.check(&list), Ok(()));
}

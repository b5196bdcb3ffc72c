//! Reading a schema, and refusing what cannot be checked.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::base::ecma_regex::EcmaRegex;

const MAX_DEPTH: u8 = 32;
const MAX_SCHEMAS: usize = 1000;

/// What asserts something that is not checked here.
const UNCHECKED: [&str; 16] = [
    "$dynamicRef",
    "$recursiveRef",
    "additionalItems",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "disallow",
    "divisibleBy",
    "extends",
    "maxContains",
    "minContains",
    "patternProperties",
    "prefixItems",
    "unevaluatedItems",
    "unevaluatedProperties",
];
const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];

/// A schema that values can be checked by.
#[derive(Clone, Debug)]
pub(crate) struct JsonSchema {
    pub(super) root: Value,
    /// By their source.
    pub(super) patterns: BTreeMap<String, EcmaRegex>,
    /// The places of `$anchor`, as JSON pointers.
    anchors: BTreeMap<String, String>,
    /// Whether what stands beside `$ref` counts for nothing.
    pub(super) is_draft7: bool,
}

impl JsonSchema {
    /// # Errors
    /// What it is in the schema that cannot be checked, in words.
    pub(crate) fn new(root: Value) -> Result<JsonSchema, String> {
        let is_draft7 =
            match root.get("$schema").map(|name| name.as_str().unwrap_or_default().trim_end_matches('#')) {
                None | Some("https://json-schema.org/draft/2020-12/schema") => false,
                Some(
                    "http://json-schema.org/draft-07/schema" | "https://json-schema.org/draft-07/schema",
                ) => true,
                Some(_) => return Err("its $schema is neither 2020-12 nor draft-07".to_owned()),
            };
        let mut reading = Reading::default();
        reading.schema(&root, "", MAX_DEPTH)?;
        let mut schema = JsonSchema {
            root: Value::Null,
            patterns: BTreeMap::new(),
            anchors: reading.anchors.clone(),
            is_draft7,
        };
        schema.root = root;
        let mut seen = BTreeSet::new();
        // A reference may lead to what is no schema by its place.
        while let Some(name) = reading.references.pop() {
            if seen.insert(name.clone()) {
                let target = schema.target(&name).ok_or_else(|| format!("its $ref {name} leads nowhere"))?;
                reading.schema(target, name.trim_start_matches('#'), MAX_DEPTH)?;
            }
        }
        schema.patterns = reading.patterns;
        Ok(schema)
    }

    /// As it was read.
    pub(crate) fn source(&self) -> &Value {
        &self.root
    }

    /// What `$ref` means, within this schema alone.
    pub(crate) fn target(&self, reference: &str) -> Option<&Value> {
        let pointer = reference.strip_prefix('#')?;
        if pointer.is_empty() || pointer.starts_with('/') {
            return self.root.pointer(pointer);
        }
        self.root.pointer(self.anchors.get(pointer)?)
    }
}

#[derive(Default)]
struct Reading {
    count: usize,
    patterns: BTreeMap<String, EcmaRegex>,
    anchors: BTreeMap<String, String>,
    references: Vec<String>,
}

impl Reading {
    fn schema(&mut self, schema: &Value, at: &str, depth: u8) -> Result<(), String> {
        self.count += 1;
        let depth = depth.checked_sub(1).filter(|_| self.count <= MAX_SCHEMAS);
        let depth = depth.ok_or("it is nested deeper than 32 or has more than 1,000 parts")?;
        match schema {
            Value::Bool(_) => Ok(()),
            Value::Object(words) => {
                words.iter().try_for_each(|(word, rule)| self.word((word, rule), at, depth))
            }
            _ => Err("a schema in it is neither an object nor true or false".to_owned()),
        }
    }

    /// Whether this is the one place of an anchor. What is read once more by its anchor has its place already.
    fn place(&mut self, anchor: &str, at: &str) -> bool {
        let is_placed = at.is_empty() || at.starts_with('/');
        let known = self.anchors.entry(anchor.to_owned()).or_insert_with(|| at.to_owned());
        !is_placed || known == at
    }

    fn word(&mut self, (word, rule): (&String, &Value), at: &str, depth: u8) -> Result<(), String> {
        let bad = || format!("its {word} cannot be understood");
        let ensure = |fits: bool| if fits { Ok(()) } else { Err(bad()) };
        let below = format!("{at}/{}", word.replace('~', "~0").replace('/', "~1"));
        match word.as_str() {
            name if UNCHECKED.contains(&name) => Err(format!("it uses {word}, which is not checked here")),
            "properties" | "$defs" | "definitions" => {
                let members = rule.as_object().ok_or_else(bad)?;
                members.iter().try_for_each(|(name, schema)| {
                    let name = name.replace('~', "~0").replace('/', "~1");
                    self.schema(schema, &format!("{below}/{name}"), depth)
                })
            }
            "items" if rule.is_array() => {
                Err("it uses items with a list, which is not checked here".to_owned())
            }
            "items" | "additionalProperties" | "propertyNames" | "not" | "if" | "then" | "else" => {
                self.schema(rule, &below, depth)
            }
            "anyOf" | "oneOf" | "allOf" => {
                let schemas = rule.as_array().filter(|all| !all.is_empty()).ok_or_else(bad)?;
                let mut each = schemas.iter().enumerate();
                each.try_for_each(|(n, schema)| self.schema(schema, &format!("{below}/{n}"), depth))
            }
            "$ref" => {
                let name = rule.as_str().filter(|name| !name.contains('%')).ok_or_else(bad)?;
                ensure(name.starts_with('#'))
                    .map_err(|_| "it refers to something outside of itself".to_owned())?;
                self.references.push(name.to_owned());
                Ok(())
            }
            "$anchor" => ensure(self.place(rule.as_str().ok_or_else(bad)?, at)),
            // What it names would be looked up under another base.
            "$id" if !at.is_empty() => Err(bad()),
            "pattern" => {
                let source = rule.as_str().ok_or_else(bad)?;
                let pattern =
                    EcmaRegex::new(source).map_err(|why| format!("its pattern cannot be checked: {why}"))?;
                self.patterns.insert(source.to_owned(), pattern);
                Ok(())
            }
            "type" => {
                let is_type = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
                ensure(rule.as_array().map_or_else(|| is_type(rule), |all| all.iter().all(is_type)))
            }
            "enum" => ensure(rule.is_array()),
            "required" => ensure(rule.as_array().is_some_and(|all| all.iter().all(Value::is_string))),
            "uniqueItems" => ensure(rule.is_boolean()),
            "multipleOf" => ensure(rule.as_f64().is_some_and(|number| number > 0.0)),
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => ensure(rule.is_number()),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
                ensure(rule.is_u64())
            }
            _says_nothing_that_is_checked => Ok(()),
        }
    }
}

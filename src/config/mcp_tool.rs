//! One tool in the tool file of an MCP server, as `agentpass mcp import` has written it and its owner may have changed it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::argument::ArgSpecs;
use super::at::{At, Name, Section};
use super::constant;
use super::doc::Doc;
use super::facts::{self, Takes};
use super::finding::Finding;
use super::mcp_settings::McpService;
use super::services::timeout;
use super::tool::{DOING, kind, signature};
use crate::base::digest::Digest;
use crate::base::json::canonical;
use crate::base::json_schema::JsonSchema;
use crate::base::template::Template;
use crate::model::mcp_target::pin;
use crate::model::{ArgSpec, ArgType, Kind, McpTarget, Target, Tool};

const KEYS: &str = "kind risk signature free_text cost tokens data idempotency timeout digest title description input_schema output_schema annotations";

/// The keys that are the owner's; an import keeps them.
pub(crate) const OWNERS: [&str; 9] =
    ["kind", "risk", "signature", "free_text", "cost", "tokens", "data", "idempotency", "timeout"];

/// How deep a schema is followed to learn what an argument is.
const MAX_DEPTH: u8 = 8;

/// Reads one tool. None when it cannot be called as it stands.
pub(crate) fn read(name: Name<'_>, at: At<'_>, service: &McpService) -> Option<Tool> {
    let section = at.section(KEYS);
    let definition = definition(name.text(), section)?;
    let digest = section.require("digest", |at| {
        let given = at.filled()?;
        let help = format!("run `agentpass mcp import {}` again", service.name);
        let known = Digest::parse_pin(&given);
        let fits = known.is_some_and(|known| known == pin(&definition));
        at.ensure(fits, "the definition is not the one that was imported", &help)?;
        known
    })?;
    let schema = definition.get("inputSchema").cloned().unwrap_or_default();
    let schema = match JsonSchema::new(schema) {
        Ok(schema) => schema,
        Err(why) => {
            return section.need("input_schema")?.fail(format!("the schema cannot be used: {why}"), "");
        }
    };
    let free = section.get("free_text").map(|at| free_text(at, &schema));
    let args = args(&schema, free.as_ref());
    let exposed = service.exposed(name.text());
    let extra_args = schema.source().get("additionalProperties") != Some(&Value::Bool(false));
    let signature = match section.get("signature") {
        Some(at) => signature(at, &args),
        None => usual_signature(&args),
    };
    let nulls = required(&schema).filter(|name| schema.takes_null(name)).map(str::to_owned).collect();
    let target = McpTarget { upstream: name.text().to_owned(), schema, pin: digest, nulls };
    let mut tool = Tool {
        description: definition.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
        service: service.name.clone(),
        kind: section.read("kind", kind).unwrap_or(Kind::Write),
        facts: facts::read(section, &exposed, Takes { args: &args, extra: extra_args }),
        signature,
        extra_args,
        timeout: section.read("timeout", timeout),
        args,
        ..Tool::new(&exposed, Target::Mcp(Box::new(target)))
    };
    tool.digest = digest_of(&tool, service, digest);
    Some(tool)
}

/// What the server has said, as it has said it.
fn definition(name: &str, section: Section<'_>) -> Option<Value> {
    let mut members = Map::from_iter([("name".to_owned(), name.into())]);
    let keys = [
        ("title", "title"),
        ("description", "description"),
        ("input_schema", "inputSchema"),
        ("output_schema", "outputSchema"),
        ("annotations", "annotations"),
    ];
    for (key, member) in keys {
        if let Some(at) = section.get(key) {
            members.insert(member.to_owned(), constant::json(at)?);
        }
    }
    section.need("input_schema")?;
    Some(Value::Object(members))
}

fn free_text(at: At<'_>, schema: &JsonSchema) -> BTreeSet<String> {
    let known = |name: &String| properties(schema).is_some_and(|all| all.contains_key(name));
    let name = |item: At<'_>| {
        let name = item.text()?;
        item.ensure(known(&name), format!("there is no argument {}", item.shown()), "")?;
        Some(name)
    };
    at.items().into_iter().filter_map(name).collect()
}

fn properties(schema: &JsonSchema) -> Option<&Map<String, Value>> {
    schema.source().get("properties")?.as_object()
}

fn required(schema: &JsonSchema) -> impl Iterator<Item = &str> {
    schema.source().get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The arguments as rules, conditions and limits know them. What they may be is checked by the schema.
fn args(schema: &JsonSchema, free: Option<&BTreeSet<String>>) -> ArgSpecs {
    let required: BTreeSet<&str> = required(schema).filter(|name| !schema.takes_null(name)).collect();
    let spec = |(name, part): (&String, &Value)| {
        let types = types(schema, part, MAX_DEPTH);
        let kind = arg_type(&types);
        let is_scalar = kind.is_none_or(ArgType::is_scalar);
        let is_free = match free {
            Some(free) => free.contains(name),
            None => types.contains("string") && is_open(schema, part, MAX_DEPTH),
        };
        let spec = ArgSpec {
            required: required.contains(name.as_str()),
            kind,
            description: part.get("description").and_then(Value::as_str).map(str::to_owned),
            free_text: is_free || !is_scalar,
            ..ArgSpec::default()
        };
        (name.clone(), spec)
    };
    properties(schema).into_iter().flatten().map(spec).collect::<BTreeMap<_, _>>()
}

/// The types that a value may have; all where nothing is said.
fn types<'s>(schema: &'s JsonSchema, part: &'s Value, depth: u8) -> BTreeSet<&'s str> {
    let all = || ["string", "number", "boolean", "null", "array", "object"].into();
    let Some(depth) = depth.checked_sub(1) else { return all() };
    if let Some(target) = part.get("$ref").and_then(Value::as_str) {
        return schema.target(target).map_or_else(all, |target| types(schema, target, depth));
    }
    let alternatives = ["anyOf", "oneOf"].into_iter().find_map(|word| part.get(word)?.as_array());
    match (part.get("type"), alternatives) {
        (Some(Value::String(one)), _) => [one.as_str()].into(),
        (Some(Value::Array(some)), _) => some.iter().filter_map(Value::as_str).collect(),
        (_, Some(parts)) => parts.iter().flat_map(|part| types(schema, part, depth)).collect(),
        _ => {
            let one = part.get("const").into_iter();
            let given: Vec<&Value> =
                one.chain(part.get("enum").and_then(Value::as_array).into_iter().flatten()).collect();
            if given.is_empty() { all() } else { given.into_iter().map(type_of).collect() }
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// None: any single value. An argument that may be a list, an object or a single value counts as an object: it stands in
/// no signature.
fn arg_type(types: &BTreeSet<&str>) -> Option<ArgType> {
    let types: Vec<&str> = types.iter().copied().filter(|name| *name != "null").collect();
    match types.as_slice() {
        ["string"] => Some(ArgType::String),
        ["integer"] => Some(ArgType::Integer),
        ["number"] | ["integer", "number"] => Some(ArgType::Number),
        ["boolean"] => Some(ArgType::Boolean),
        ["array"] => Some(ArgType::Array),
        some if !some.is_empty() && !some.iter().any(|name| matches!(*name, "array" | "object")) => None,
        _ => Some(ArgType::Object),
    }
}

/// Whether it may be any text.
fn is_open(schema: &JsonSchema, part: &Value, depth: u8) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return true };
    if ["enum", "const", "pattern", "format"].into_iter().any(|word| part.get(word).is_some()) {
        return false;
    }
    if let Some(target) = part.get("$ref").and_then(Value::as_str) {
        return schema.target(target).is_none_or(|target| is_open(schema, target, depth));
    }
    let alternatives = ["anyOf", "oneOf"].into_iter().find_map(|word| part.get(word)?.as_array());
    match alternatives {
        Some(parts) => parts
            .iter()
            .any(|part| types(schema, part, depth).contains("string") && is_open(schema, part, depth)),
        None => true,
    }
}

/// All single values that are not free text, by name.
fn usual_signature(args: &ArgSpecs) -> Option<Template> {
    let fits = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    let signed = args.iter().filter(|(name, spec)| !spec.free_text && fits(name));
    let pieces: Vec<String> = signed.map(|(name, _)| format!("{{{name}}}")).collect();
    if pieces.is_empty() { None } else { Template::parse(&pieces.join(", ")).ok() }
}

/// Everything that decides what a call of this tool does, and how it is shown.
fn digest_of(tool: &Tool, service: &McpService, pin: Digest) -> Digest {
    let free: Vec<&String> =
        tool.args.iter().filter(|(_, spec)| spec.free_text).map(|(name, _)| name).collect();
    let all = json!({
        "handler": "mcp",
        "service": tool.service,
        "server": service.address(),
        "name": tool.name,
        "pin": pin.hex(),
        "kind": tool.kind.as_str(),
        "facts": tool.facts.source(),
        "signature": tool.signature.as_ref().map(Template::to_string),
        "free_text": free,
        "timeout": tool.timeout.map(|time| time.as_secs_f64()),
    });
    Digest::sha256(&canonical(&all).unwrap_or_else(|_| all.to_string().into_bytes()))
}

/// What the owner has written of each tool in the tool file of an MCP server, for the next import to keep.
///
/// # Errors
/// When the file is no YAML.
pub(crate) fn of_owner(file: &Path) -> Result<BTreeMap<String, Map<String, Value>>, Finding> {
    each(file, &|_, section| {
        let value = |key: &str| Some((key.to_owned(), constant::json(section.get(key)?)?));
        OWNERS.into_iter().filter_map(value).collect()
    })
}

/// The definition of each tool in the tool file of an MCP server, as the server gave it.
///
/// # Errors
/// When the file is no YAML.
pub(crate) fn pinned(file: &Path) -> Result<BTreeMap<String, Map<String, Value>>, Finding> {
    each(file, &|name, section| match definition(name, section) {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    })
}

fn each(
    file: &Path,
    read: &dyn Fn(&str, Section<'_>) -> Map<String, Value>,
) -> Result<BTreeMap<String, Map<String, Value>>, Finding> {
    let doc = Doc::open(file, DOING, None)?;
    let tools = At::root(&doc).open().get("tools").map(At::entries).unwrap_or_default();
    let all =
        tools.into_iter().map(|(name, at)| (name.text().to_owned(), read(name.text(), at.open()))).collect();
    match doc.finish().into_iter().find(Finding::is_error) {
        Some(finding) => Err(finding),
        None => Ok(all),
    }
}

//! The list of tools that an agent may see, as JSON: made once for each agent, until a reload changes the setup.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use serde_json::{Map, Value, json};

use crate::gate::{Gate, Setup};
use crate::model::{AgentId, ArgSpec, ItemSpec, Tool};
use crate::protocol::mcp::schema;

/// The lists of one front, in its own words.
pub(crate) struct ToolLists {
    /// From the tools that an agent may see, each as `list_tools` describes it, to JSON text.
    write: fn(&[Value]) -> String,
    current: RefCell<Current>,
}

#[derive(Default)]
struct Current {
    /// The lists are made from this setup.
    setup: Weak<Setup>,
    lists: HashMap<AgentId, ToolList>,
}

#[derive(Clone)]
pub(crate) struct ToolList {
    /// As the front writes it.
    pub json: Rc<str>,
    pub count: u64,
    /// Whether some of them are for what the agent performs itself.
    pub has_permits: bool,
}

impl ToolLists {
    pub(crate) fn new(write: fn(&[Value]) -> String) -> ToolLists {
        ToolLists { write, current: RefCell::default() }
    }

    /// The list of `agent` under the setup in force.
    pub(crate) fn get(&self, gate: &Gate, agent: &AgentId) -> ToolList {
        let (setup, mut current) = (gate.setup(), self.current.borrow_mut());
        if !std::ptr::eq(current.setup.as_ptr(), Rc::as_ptr(&setup)) {
            *current = Current { setup: Rc::downgrade(&setup), lists: HashMap::new() };
        }
        current.lists.entry(agent.clone()).or_insert_with(|| self.list(gate, agent)).clone()
    }

    fn list(&self, gate: &Gate, agent: &AgentId) -> ToolList {
        let tools = gate.tools(agent);
        let has_permits = tools.iter().any(|tool| tool.is_permit());
        let tools: Vec<_> = tools.iter().map(|tool| tool_json(tool)).collect();
        let count = u64::try_from(tools.len()).unwrap_or(u64::MAX);
        ToolList { json: (self.write)(&tools).into(), count, has_permits }
    }
}

/// `{"tools": […]}`, the result of `list_tools`: without what only other fronts say.
pub(super) fn plain(tools: &[Value]) -> String {
    let mut tools = tools.to_vec();
    for members in tools.iter_mut().filter_map(Value::as_object_mut) {
        members.retain(|name, _| !["kind", "extra_args", "permit"].contains(&name.as_str()));
    }
    json!({ "tools": tools }).to_string()
}

/// The elements of MCP's `tools`, joined by commas. Without the tools that an agent performs itself: a client could only take a
/// permit for the action.
pub(super) fn for_mcp(tools: &[Value]) -> String {
    let called = tools.iter().filter(|tool| tool.get("permit").is_none());
    let definitions = called.filter_map(schema::definition);
    definitions.map(|definition| definition.to_string()).collect::<Vec<_>>().join(",")
}

/// `kind` and `extra_args` as in tool files, `permit` for what the agent performs itself, the rest as `list_tools` has it.
fn tool_json(tool: &Tool) -> Value {
    let args: Map<_, _> = tool.args.iter().map(|(name, spec)| (name.clone(), argument(spec))).collect();
    members([
        ("name", Some(tool.name.as_str().into())),
        ("description", Some(tool.description.as_str().into())),
        ("service", Some(tool.service.as_str().into())),
        ("kind", Some(tool.kind.as_str().into())),
        ("permit", tool.is_permit().then_some(true.into())),
        ("extra_args", (!tool.extra_args).then(|| "refuse".into())),
        ("args", Some(args.into())),
        ("input_schema", tool.target.mcp().map(|mcp| mcp.schema.source().clone())),
        ("idempotency", tool.facts.key_required.then(|| "required".into())),
    ])
}

fn argument(spec: &ArgSpec) -> Value {
    let text = |text: Option<&str>| text.map(Value::from);
    members([
        ("required", Some(spec.required.into())),
        ("validate", text(spec.validate.as_ref().map(|v| v.as_str()))),
        ("type", text(spec.kind.map(|k| k.as_str()))),
        ("description", text(spec.description.as_deref())),
        ("items", spec.items.as_ref().map(items)),
        ("each", spec.each.then_some(true.into())),
        ("default", spec.default.clone().filter(|_| !spec.secret)),
    ])
}

fn items(items: &ItemSpec) -> Value {
    members([
        ("type", items.kind.map(|k| k.as_str().into())),
        ("validate", items.validate.as_ref().map(|v| v.as_str().into())),
    ])
}

/// An object of the members that have a value.
fn members<const N: usize>(all: [(&str, Option<Value>); N]) -> Value {
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

//! Which fields a call sends: the names of the members in the body of its request.

use std::collections::BTreeSet;

use serde_json::Value;

use super::call::Call;
use super::condition::key_name;
use super::http::{Encoding, Layout, RequestSpec};
use super::tool::Target;

/// The names of all members of objects in the body, at any depth, trimmed and in lower case. None: there is no body, or
/// it is one text whose fields nobody knows.
pub(crate) fn body_fields(call: &Call) -> Option<BTreeSet<String>> {
    let request = match &call.tool().target {
        Target::Http(http) => &http.request,
        // What the agent or the server makes of the arguments is its own affair: all of them may get there.
        Target::Permit | Target::Mcp(_) => {
            let mut fields = BTreeSet::new();
            call.args().iter().for_each(|(name, value)| add_arg(name, value, &mut fields));
            return Some(fields);
        }
    };
    if !request.has_body() || request.encoding() == Encoding::None {
        return None;
    }
    let mut fields = BTreeSet::new();
    match &request.body {
        Some(layout) => add_layout(layout, call, &mut fields),
        None => add_all(request, call, &mut fields),
    }
    Some(fields)
}

/// A body without a layout: all arguments under their names.
fn add_all(request: &RequestSpec, call: &Call, fields: &mut BTreeSet<String>) {
    for (name, value) in call.args().iter().filter(|(name, _)| !request.body_exclude.contains(*name)) {
        let sent_as = call.tool().args.get(name).and_then(|spec| spec.sent_as.as_ref());
        add_arg(sent_as.unwrap_or(name), value, fields);
    }
}

fn add_arg(name: &str, value: &Value, fields: &mut BTreeSet<String>) {
    fields.insert(key_name(name));
    add_value(value, fields);
}

/// A member that is left out because all of its arguments are absent is no field; in doubt it is one.
fn add_layout(layout: &Layout, call: &Call, fields: &mut BTreeSet<String>) {
    match layout {
        Layout::Constant(value) => add_value(value, fields),
        Layout::Arg(name) => call.args().get(name).into_iter().for_each(|value| add_value(value, fields)),
        Layout::Text(_) => {}
        Layout::List(layouts) => layouts.iter().for_each(|layout| add_layout(layout, call, fields)),
        Layout::Object(members) => {
            for (name, layout) in members {
                let args = layout.args();
                if args.is_empty() || args.iter().any(|name| call.args().contains_key(*name)) {
                    fields.insert(key_name(name));
                    add_layout(layout, call, fields);
                }
            }
        }
    }
}

/// No recursion: how deep the arguments go is the agent's choice.
fn add_value(value: &Value, fields: &mut BTreeSet<String>) {
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(members) => {
                fields.extend(members.keys().map(|name| key_name(name)));
                open.extend(members.values());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

//! What `list_tools` answers: put into words once for each agent, until a reload changes what there is to say.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use serde_json::{Value, json};

use super::wire;
use crate::gate::{Gate, Setup};
use crate::model::AgentId;

/// The answers of all agents.
#[derive(Default)]
pub(crate) struct Listings(RefCell<Inner>);

#[derive(Default)]
struct Inner {
    /// What they were made from.
    setup: Weak<Setup>,
    of: HashMap<AgentId, Listing>,
}

/// One agent's answer.
#[derive(Clone)]
pub(crate) struct Listing {
    /// The result, as JSON text.
    pub text: Rc<str>,
    /// How many tools it lists.
    pub items: u64,
}

impl Listings {
    /// What `agent` hears of the setup in force.
    pub(crate) fn of(&self, gate: &Gate, agent: &AgentId) -> Listing {
        let (setup, mut inner) = (gate.setup(), self.0.borrow_mut());
        if !std::ptr::eq(inner.setup.as_ptr(), Rc::as_ptr(&setup)) {
            *inner = Inner { setup: Rc::downgrade(&setup), of: HashMap::new() };
        }
        inner.of.entry(agent.clone()).or_insert_with(|| listing(gate, agent)).clone()
    }
}

fn listing(gate: &Gate, agent: &AgentId) -> Listing {
    let tools: Vec<Value> = gate.tools(agent).iter().map(|tool| wire::tool(tool)).collect();
    let items = u64::try_from(tools.len()).unwrap_or(u64::MAX);
    Listing { text: json!({ "tools": tools }).to_string().into(), items }
}

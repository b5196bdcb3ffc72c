//! The toy smart home of the demo: a thermometer, a lamp and a lock behind a token, on loopback.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use serde_json::{Value, json};

use crate::gate::Executor;
use crate::net::front::{WebAnswer, WebRequest, serve_pages};
use crate::net::listener::{BindError, Listener};
use crate::net::stream::Stream;

/// The home's token. Only the gateway knows it; the demo shows that the agent never does.
pub(crate) const TOKEN: &str = "the-home-token-that-no-agent-ever-sees";

/// The state of the home, and every request that came in.
#[derive(Default)]
pub(crate) struct ToyHome {
    lamp: Cell<bool>,
    requests: RefCell<Vec<String>>,
}

impl ToyHome {
    /// Starts the home on a free port.
    pub(crate) fn start(executor: &Executor) -> Result<(Rc<ToyHome>, SocketAddr), BindError> {
        let listener = Listener::bind("127.0.0.1", 0)?;
        let address = listener.addresses().first().copied().unwrap_or(([127, 0, 0, 1], 0).into());
        let home = Rc::new(ToyHome::default());
        executor.spawn(accept(home.clone(), executor.clone(), listener)).detach();
        Ok((home, address))
    }

    /// What was asked of the home, in order.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.borrow().clone()
    }

    /// `on` or `off`.
    pub(crate) fn lamp(&self) -> &'static str {
        if self.lamp.get() { "on" } else { "off" }
    }

    fn answer(&self, request: WebRequest) -> WebAnswer {
        if request.header("authorization") != format!("Bearer {TOKEN}") {
            return reply(401, &json!({"message": "unauthorised"}));
        }
        self.requests.borrow_mut().push(format!("{} {}", request.method(), request.path));
        match (request.method(), request.path.as_str()) {
            ("GET", "/api/") => reply(200, &json!({"message": "API running."})),
            ("GET", "/api/states/sensor.living_room") => reply(200, &state("sensor.living_room", "21.5")),
            ("GET", "/api/states/light.desk") => reply(200, &state("light.desk", self.lamp())),
            ("POST", "/api/services/light/turn_on") => self.switch(true),
            ("POST", "/api/services/light/turn_off") => self.switch(false),
            _ => reply(404, &json!({"message": "not found"})),
        }
    }

    fn switch(&self, on: bool) -> WebAnswer {
        self.lamp.set(on);
        reply(200, &json!([state("light.desk", self.lamp())]))
    }
}

async fn accept(home: Rc<ToyHome>, executor: Executor, listener: Listener) {
    loop {
        let (tcp, _) = listener.accept().await;
        let home = home.clone();
        executor
            .spawn(async move { serve_pages(Stream::plain(tcp), async |request| home.answer(request)).await })
            .detach();
    }
}

fn state(entity: &str, state: &str) -> Value {
    json!({"entity_id": entity, "state": state})
}

fn reply(status: u16, body: &Value) -> WebAnswer {
    WebAnswer::new(status, "application/json", body.to_string())
}

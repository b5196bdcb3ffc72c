//! `agentpass mcp` as a client's child.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{BINARY, Gateway, Setup};

pub(crate) const MODERN: &str = "2026-07-28";

/// A gateway that holds calls for so many seconds.
pub(crate) fn holding(seconds: u32) -> Gateway {
    Gateway::with(&setup(seconds))
}

fn setup(seconds: u32) -> Setup {
    let usual = Setup::default();
    let mcp = format!("  port: 0\n  mcp: {{hold: {seconds}, keep_alive: 1}}");
    Setup { config: usual.config.replace("  port: 0", &mcp), ..usual }
}

/// The same on a port that it has again after a restart.
pub(crate) fn fixed_port(seconds: u32) -> Setup {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let usual = setup(seconds);
    Setup { config: usual.config.replace("  port: 0", &format!("  port: {free}")), ..usual }
}

/// The default agent is a coding agent; laptop has no tool of permits.
pub(crate) fn coding(seconds: u32) -> Gateway {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let usual = setup(seconds);
    let services = format!(
        "services:\n  coding: {{handler: permit, tools: \"{}\"}}\n",
        root.join("tools/coding-agent.yaml").display()
    );
    let permissions = "rules:\n  - {pattern: \"code_*\", agents: [laptop], action: deny}\n  \
                       - {pattern: \"code_read\", action: allow}\n\
                       defaults: [{pattern: \"*\", action: ask}]\n";
    let config = usual.config.replace("services:\n", &services);
    Gateway::with(&Setup { config, permissions: permissions.into(), ..usual })
}

pub(crate) fn light() -> Value {
    json!({"domain": "light", "service": "turn_on", "entity_id": "light.desk"})
}

pub(crate) fn bash(command: &str) -> Value {
    json!({"tool_name": "Bash", "input": {"command": command}})
}

pub(crate) fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{result}"))
}

/// What a new client is told to come back with.
pub(crate) fn state(result: &Value) -> &str {
    result["requestState"].as_str().unwrap_or_else(|| panic!("{result}"))
}

pub(crate) fn meta() -> Value {
    json!({"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}})
}

pub(crate) struct Bridge {
    child: Child,
    input: Option<ChildStdin>,
    messages: Receiver<String>,
    last: u64,
}

impl Bridge {
    pub(crate) fn of(gateway: &Gateway, token: &str) -> Bridge {
        Bridge::at(&format!("ws://{}", gateway.address), token)
    }

    pub(crate) fn at(url: &str, token: &str) -> Bridge {
        Bridge::start(url, token, true)
    }

    /// One whose output is not read.
    pub(crate) fn deaf(gateway: &Gateway, token: &str) -> Bridge {
        Bridge::start(&format!("ws://{}", gateway.address), token, false)
    }

    fn start(url: &str, token: &str, reads: bool) -> Bridge {
        let mut command = Command::new(BINARY);
        command.arg("mcp").env("AGENTPASS_URL", url).env("AGENT_TOKEN", token);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (send, messages) = channel();
        let input = child.stdin.take();
        if reads {
            let output = BufReader::new(child.stdout.take().unwrap());
            thread::spawn(move || {
                for line in output.lines().map_while(Result::ok) {
                    if send.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Bridge { child, input, messages, last: 0 }
    }

    pub(crate) fn line(&mut self, line: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input.write_all(&[line, b"\n"].concat()).unwrap();
    }

    /// Asks, and does not wait; the request's id.
    pub(crate) fn send(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let message = json!({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params});
        self.line(message.to_string().as_bytes());
        json!(self.last)
    }

    pub(crate) fn notify(&mut self, method: &str, params: Value) {
        self.line(json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string().as_bytes());
    }

    /// The next message. Whatever is written must be one.
    pub(crate) fn next(&mut self) -> Value {
        let line = self.messages.recv_timeout(Duration::from_secs(120)).unwrap();
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:.300}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line:.300}");
        message
    }

    /// Asks and waits for the answer, which must come next.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        let answer = self.next();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    pub(crate) fn old(&mut self, method: &str, params: Value) -> Value {
        self.ask(method, params)
    }

    pub(crate) fn old_call(&mut self, tool: &str, args: Value) -> Value {
        self.old("tools/call", json!({"name": tool, "arguments": args}))["result"].clone()
    }

    pub(crate) fn new_era(&mut self, method: &str, mut params: Value) -> Value {
        params["_meta"] = meta();
        self.ask(method, params)
    }

    pub(crate) fn call(&mut self, tool: &str, args: Value) -> Value {
        self.new_era("tools/call", json!({"name": tool, "arguments": args}))
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Ends its input; its exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        self.input = None;
        self.wait()
    }

    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// What it has written besides.
    pub(crate) fn rest(&mut self) -> Vec<Value> {
        self.messages.iter().map(|line| serde_json::from_str(&line).unwrap()).collect()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

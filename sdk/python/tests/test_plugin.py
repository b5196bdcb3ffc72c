"""Plugins, driven over stdio as the gateway drives them."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

from agentpass.config import AuthConfig, ConfigError, ServiceConfig, ToolDefinition
from agentpass.plugin import load
from gateway import REPOSITORY, eventually, free_port

SECRET = "s3rvice-cr3dential-0123456789"

# What the predecessor's README shows, filled in.
PLUGIN = """
import asyncio, os, sys, time
from agentpass.config import ServiceConfig, ToolDefinition
from agentpass.services.base import ServiceHandler
print("imported")

class MQTTService(ServiceHandler):
    def __init__(self, config: ServiceConfig, tools: list[ToolDefinition]):
        asyncio.get_running_loop()
        self.config, self.tools = config, tools
    async def execute(self, tool_name: str, args: dict) -> dict:
        print("a print in the middle")
        os.write(1, b"and one past Python")
        if tool_name == "config":
            return {"url": self.config.url, "type": self.config.auth.type, "name": self.config.name,
                    "tools": [t.name for t in self.tools], "required": self.tools[0].args["a"].required}
        if tool_name == "fail":
            raise RuntimeError(f"no broker\\nfor {self.config.auth.token}")
        if tool_name == "leave":
            sys.exit(3)
        if tool_name == "slow":
            await asyncio.sleep(args["seconds"])
        if tool_name == "block":
            time.sleep(args["seconds"])
        if tool_name == "odd":
            return args["value"] if "value" in args else {"at": object, "nan": float("nan")}
        if tool_name == "read":
            return {"read": sys.stdin.read()}
        return {"tool": tool_name, "args": args}
    async def health_check(self) -> bool:
        if self.config.url == "mqtt://dead":
            raise OSError("unreachable " + self.config.auth.token)
        return self.config.url == "mqtt://broker.local"
    async def close(self) -> None:
        open(os.environ["CLOSED"], "w").write("closed")

class Blocking(ServiceHandler):
    def __init__(self, config, tools): pass
    def execute(self, tool_name, args):
        time.sleep(args["seconds"])
        return {"slept": True}
    def health_check(self): return True
    def close(self): open(os.environ["CLOSED"], "w").write("closed")

class Broken(ServiceHandler):
    def __init__(self, config, tools): raise ValueError("bad " + config.auth.token)
    async def execute(self, tool_name, args): return {}
    async def health_check(self): return True
    async def close(self): pass
"""
TOOLS = [
    {"name": name, "args": {"a": {"required": True, "validate": "[a-z]+", "type": "string"}}}
    for name in ("config", "fail", "leave", "slow", "block", "odd", "read", "echo")
]


class Child:
    """A plugin's process."""

    def __init__(self, folder: pathlib.Path, name: str, path: str | pathlib.Path | None = None) -> None:
        self.closed = folder / "closed"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agentpass.plugin", "--path", str(path or folder), name],
            cwd=folder,
            env={**os.environ, "CLOSED": str(self.closed)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "stderr").open("w"),
        )
        self.stderr = folder / "stderr"
        self.last = 0
        self.kept: dict[Any, Any] = {}

    def send(self, method: str, params: dict[str, Any] | None = None) -> int:
        self.last += 1
        self.write({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params or {}})
        return self.last

    def write(self, message: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def reply(self, number: Any) -> dict[str, Any]:
        assert self.process.stdout
        while number not in self.kept:
            line = self.process.stdout.readline()
            assert line, self.stderr.read_text()
            message = json.loads(line)
            self.kept[message["id"]] = message
        found: dict[str, Any] = self.kept.pop(number)
        return found

    def ask(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.reply(self.send(method, params))

    def start(self, url: str = "mqtt://broker.local", auth: dict[str, Any] | None = None, tools: Any = TOOLS) -> Any:
        auth = auth or {"type": "bearer", "token": SECRET}
        service = {"name": "mqtt_broker", "url": url, "auth": auth, "a_later_key": 1}
        params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        return self.ask("initialize", {**params, "agentpass": {"service": service, "tools": tools}})

    def call(self, tool: str, **args: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("tools/call", {"name": tool, "arguments": args})["result"]
        return found

    def end(self) -> int:
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(30)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "my_plugin.py").write_text(textwrap.dedent(PLUGIN))
    return tmp_path


@pytest.fixture
def child(folder: pathlib.Path) -> Iterator[Child]:
    running = Child(folder, "my_plugin:MQTTService")
    yield running
    running.process.kill()
    running.process.wait()


def test_a_plugin_of_the_predecessor_runs_unchanged(child: Child) -> None:
    started = child.start()["result"]
    assert (started["protocolVersion"], started["capabilities"]) == ("2025-06-18", {"tools": {}})
    assert started["serverInfo"]["name"] == "mqtt_broker"
    child.write({"jsonrpc": "2.0", "method": "notifications/initialized"})
    tools = child.ask("tools/list")["result"]["tools"]
    assert [tool["name"] for tool in tools] == [tool["name"] for tool in TOOLS]
    assert tools[0]["inputSchema"] == {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "^(?:[a-z]+)$"}},
        "required": ["a"],
    }
    expected = {
        "url": "mqtt://broker.local",
        "type": "bearer",
        "name": "mqtt_broker",
        "tools": [tool["name"] for tool in TOOLS],
        "required": True,
    }
    found = child.call("config")
    assert (found["structuredContent"], found["isError"]) == (expected, False)
    assert json.loads(found["content"][0]["text"]) == expected
    assert child.ask("agentpass/health")["result"] == {"ok": True}
    assert (child.end(), child.closed.read_text()) == (0, "closed")
    said = child.stderr.read_text()
    assert "a print in the middle" in said
    assert "and one past Python" in said


def test_a_failure_is_a_sentence_without_credentials(child: Child) -> None:
    child.start(url="mqtt://dead")
    failed = child.call("fail")
    assert failed == {"content": [{"type": "text", "text": "RuntimeError: no broker for ***"}], "isError": True}
    assert child.call("leave") == {"content": [{"type": "text", "text": "SystemExit: 3"}], "isError": True}
    assert child.ask("agentpass/health")["result"] == {"ok": False, "detail": "OSError: unreachable ***"}
    assert child.ask("tools/call", {"name": "nope"})["error"]["code"] == -32602
    assert child.ask("no/such")["error"]["code"] == -32601
    assert child.start()["error"]["code"] == -32600
    assert child.end() == 0
    said = child.stderr.read_text()
    assert "Traceback" in said
    assert SECRET not in said


def test_calls_run_side_by_side_and_nothing_holds_up_a_ping(child: Child) -> None:
    assert child.ask("tools/list")["error"]["code"] == -32600
    child.start()
    slow = child.send("tools/call", {"name": "slow", "arguments": {"seconds": 60}})
    assert child.call("echo", x=[1])["structuredContent"] == {"tool": "echo", "args": {"x": [1]}}
    child.write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": slow}})
    block = child.send("tools/call", {"name": "block", "arguments": {"seconds": 1}})
    assert child.ask("ping")["result"] == {}
    assert block not in child.kept
    assert child.reply(block)["result"]["structuredContent"]["tool"] == "block"
    assert slow not in child.kept
    # Nothing of the protocol can be read by a plugin.
    assert child.call("read")["structuredContent"] == {"read": ""}


def test_what_was_done_is_not_reported_as_failed(child: Child) -> None:
    child.start()
    for value in (None, [1, 2], "text", 7):
        assert child.call("odd", value=value)["structuredContent"] == {"result": value}
    odd = child.call("odd")
    assert (odd["isError"], list(odd["structuredContent"])) == (False, ["result"])
    large = child.call("odd", value="x" * (8 << 20))
    assert (large["isError"], large["structuredContent"]["result"]) == (False, None)
    child.write("not a request")
    assert child.process.stdin
    child.process.stdin.write("{\n")
    child.process.stdin.flush()
    assert child.reply(None)["error"]["code"] == -32700


def test_methods_may_block(folder: pathlib.Path) -> None:
    child = Child(folder, "my_plugin:Blocking")
    child.start()
    slow = child.send("tools/call", {"name": "echo", "arguments": {"seconds": 1}})
    assert child.ask("agentpass/health")["result"] == {"ok": True}
    assert slow not in child.kept
    assert child.reply(slow)["result"]["structuredContent"] == {"slept": True}
    assert (child.end(), child.closed.read_text()) == (0, "closed")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my_plugin:Broken", "my_plugin:Broken cannot be started: ValueError: bad ***"),
        ("my_plugin:Nothing", "Class 'Nothing' not found in module 'my_plugin'"),
        ("no_such_module:Class", "Cannot import 'no_such_module'"),
        ("my_plugin.Class", "expected 'module.path:ClassName'"),
    ],
)
def test_a_plugin_that_cannot_be_started(folder: pathlib.Path, name: str, says: str) -> None:
    child = Child(folder, name)
    error = child.start()["error"]
    assert error["code"] == -32603
    assert says in error["message"]
    assert child.process.wait(30) == 1
    assert SECRET not in child.stderr.read_text()


def test_a_configuration_prints_no_credentials() -> None:
    config = ServiceConfig("a", "mqtt://b", AuthConfig("basic", username="u", password=SECRET, token=SECRET))
    assert SECRET not in repr(config)
    assert ToolDefinition("t", "a") == ToolDefinition(name="t", service_name="a")
    with pytest.raises(ConfigError, match="expected"):
        load("")


BROKER = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")


@pytest.fixture
def broker(tmp_path: pathlib.Path) -> Iterator[str]:
    assert BROKER, "this test needs Debian's package mosquitto"
    port = free_port()
    passwords = tmp_path / "passwords"
    passwords.write_text(f"agentpass:{SECRET}\n")
    passwords.chmod(0o600)
    subprocess.run([BROKER.replace("/sbin/", "/bin/") + "_passwd", "-U", passwords], check=True, capture_output=True)
    config = tmp_path / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n"
        f"log_dest file {tmp_path}/log\n"
    )
    process = subprocess.Popen([BROKER, "-c", str(config)])
    yield f"mqtt://127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_mqtt_with_a_real_broker(tmp_path: pathlib.Path, broker: str) -> None:
    tools = [{"name": "mqtt_publish"}, {"name": "mqtt_get"}]
    child = Child(tmp_path, "mqtt_service:MQTTService", REPOSITORY / "integrations/mqtt")
    child.start(broker, {"type": "bearer", "token": SECRET}, tools)
    eventually("the broker", lambda: child.ask("agentpass/health")["result"]["ok"])
    topic = "home/attic/lamp"
    assert child.call("mqtt_get", topic=topic)["structuredContent"] == {"topic": topic, "payload": None}
    published = child.call("mqtt_publish", topic=topic, payload="on", retain=True)
    assert published["structuredContent"] == {"topic": topic, "published": True}
    assert child.call("mqtt_get", topic=topic)["structuredContent"] == {"topic": topic, "payload": "on"}
    assert child.end() == 0

    other = Child(tmp_path, "mqtt_service:MQTTService", REPOSITORY / "integrations/mqtt")
    other.start(broker, {"type": "basic", "username": "agentpass", "password": "another-password"}, tools)
    assert other.ask("agentpass/health")["result"]["ok"] is False
    refused = other.call("mqtt_publish", topic=topic, payload="off")
    assert refused == {"content": [{"type": "text", "text": "not connected to the broker"}], "isError": True}
    assert other.end() == 0

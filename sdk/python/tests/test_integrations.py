"""The pieces in `integrations/` and the examples in the documents, with the real gateway."""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.error
import urllib.request
from types import ModuleType
from typing import Any

import pytest

from agentpass import AgentPassClient, AgentPassDenied, AgentPassError, AgentPassTimeout, SyncAgentPassClient
from agentpass.tools import for_model, input_schema
from gateway import BOARD, PROGRAM, REPOSITORY, TOKEN, Gateway, eventually, free_port

INTEGRATIONS = REPOSITORY / "integrations"
LAMP = {"domain": "light", "service": "turn_on", "entity_id": "light.desk"}

# Frameworks are installed beside the newest Python only.
frameworks = pytest.mark.skipif(
    "AGENTPASS_FRAMEWORKS" not in os.environ, reason="AGENTPASS_FRAMEWORKS=1 tries the frameworks"
)


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, INTEGRATIONS / "python" / f"{name}.py")
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def blocks(path: pathlib.Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


@frameworks
async def test_openai_agents(gateway: Gateway) -> None:
    from agents.tool_context import ToolContext

    async with AgentPassClient(gateway.url, TOKEN) as gw:
        tools = {tool.name: tool for tool in await module("openai_agents_tools").tools_of(gw)}
        assert "drop_all" not in tools
        lamp = tools["ha_call_service"]
        assert lamp.params_json_schema["required"] == ["domain", "service"]

        async def invoke(name: str, args: dict[str, Any]) -> Any:
            context = ToolContext(None, tool_name=name, tool_call_id="1", tool_arguments=json.dumps(args))
            return await tools[name].on_invoke_tool(context, json.dumps(args))

        assert json.loads(await invoke("ha_get_state", {"entity_id": "sensor.a"}))["state"] == "21.5"
        asking = asyncio.create_task(invoke("ha_call_service", LAMP))
        await asyncio.to_thread(gateway.deny, "not at night")
        assert await asking == "Denied by a person: not at night. Do not retry."


@frameworks
async def test_langchain(gateway: Gateway) -> None:
    async with AgentPassClient(gateway.url, TOKEN) as gw:
        tools = {tool.name: tool for tool in await module("langchain_tools").tools_of(gw)}
        assert json.loads(await tools["ha_get_state"].ainvoke({"entity_id": "sensor.a"}))["state"] == "21.5"
        asking = asyncio.create_task(tools["ha_call_service"].ainvoke(LAMP))
        await asyncio.to_thread(gateway.approve)
        assert json.loads(await asking)["state"] == "21.5"
        denied = await tools["ha_call_service"].ainvoke({**LAMP, "domain": "lock"})
        assert denied == "Denied by policy (Locks are for people). Do not retry."


@frameworks
def test_home_assistant_answers(gateway: Gateway) -> None:
    """The package's templates as Home Assistant renders them, sent to the real API."""
    import jinja2
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!secret", lambda _loader, node: {"agentpass_board": f"Bearer {BOARD}"}[node.value])
    text = (INTEGRATIONS / "home-assistant/agentpass.yaml").read_text().replace("http://127.0.0.1:8080", gateway.site)
    package = yaml.load(text, Loader)
    templates = jinja2.Environment(autoescape=False)
    templates.filters["to_json"] = json.dumps
    templates.filters["bool"] = lambda value: str(value).lower() in ("true", "yes", "on", "1")
    rest, [sensor] = package["rest_command"]["agentpass_resolve"], package["sensor"]

    def fetch(where: dict[str, Any], body: str | None = None) -> Any:
        request = urllib.request.Request(where["resource"] if body is None else where["url"], headers=where["headers"])
        if body is not None:
            request.data = body.encode()
            request.add_header("Content-Type", where["content_type"])
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    arguments = ["request", "ha_call_service", *(f"{name}={value}" for name, value in LAMP.items())]
    environment = {**os.environ, "AGENTPASS_URL": gateway.url, "AGENT_TOKEN": TOKEN}
    asking = subprocess.Popen([PROGRAM, *arguments], env=environment, stderr=subprocess.PIPE)
    gateway.question()
    found = fetch(sensor)
    assert templates.from_string(sensor["value_template"]).render(value_json=found) == "1"
    [action] = package["automation"][0]["actions"]
    [step] = action["repeat"]["sequence"]
    assert step["action"] == "rest_command.agentpass_resolve"
    data = {
        name: templates.from_string(value).render(repeat={"item": found["approvals"][0]})
        if isinstance(value, str)
        else value
        for name, value in step["data"].items()
    }
    body = templates.from_string(rest["payload"]).render(**data)
    assert fetch(rest, body) == {"outcome": "RESOLVED"}
    assert asking.wait(60) == 1
    assert asking.stderr
    asking.stderr.close()
    assert gateway.row(data["request_id"])["resolved_by"] == "board:nobody home"


@pytest.mark.skipif("AGENTPASS_NODE_RED" not in os.environ, reason="AGENTPASS_NODE_RED names an installed Node-RED")
def test_node_red_answers(gateway: Gateway, tmp_path: pathlib.Path) -> None:
    port, secret = free_port(), "whsec_dGhlIGtleSBvZiBib3RoIHNpZGVzLCAzMiBieXRlcyE="
    where = f"http://127.0.0.1:{port}/agentpass"
    gateway.terminate()
    config = gateway.folder / "config.yaml"
    text = config.read_text().replace("gateway: {", f'gateway: {{public_url: "{gateway.site}", ')
    config.write_text(
        text.replace("channels:\n", f'channels:\n  red: {{type: webhook, url: "{where}", secret: "{secret}"}}\n')
    )
    gateway.start()
    (tmp_path / "flows.json").write_text((INTEGRATIONS / "node-red/flow.json").read_text())
    program = pathlib.Path(os.environ["AGENTPASS_NODE_RED"]) / "node_modules/node-red/red.js"
    settings = tmp_path / "settings.js"
    settings.write_text('module.exports = {uiHost: "127.0.0.1", telemetry: {enabled: false}};\n')
    command = [
        "node",
        str(program),
        "--port",
        str(port),
        "--userDir",
        str(tmp_path),
        "--settings",
        str(settings),
        "flows.json",
    ]
    log = (tmp_path / "log").open("w")
    red = subprocess.Popen(command, env={**os.environ, "AGENTPASS_SECRET": secret}, stdout=log, stderr=log)
    try:
        eventually("Node-RED", lambda: "Started flows" in (tmp_path / "log").read_text())
        with SyncAgentPassClient(gateway.url, TOKEN) as gw:
            found = gw.request("ha_call_service", LAMP)
            assert gateway.row(found.request_id)["resolved_by"] == "red:node-red"
            # The rest waits for a person.
            with concurrent.futures.ThreadPoolExecutor() as pool:
                asking = pool.submit(gw.request, "ha_call_service", {**LAMP, "domain": "cover"})
                request_id = gateway.deny()
                with pytest.raises(AgentPassDenied):
                    asking.result()
            assert gateway.row(request_id)["resolved_by"] != "red:node-red"
        forged = urllib.request.Request(where, b'{"type": "question.asked", "data": {}}', method="POST")
        forged.add_header("Content-Type", "application/json")
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(forged)
    finally:
        red.kill()
        red.wait()
        log.close()


def test_the_skill_says_what_the_command_line_does(gateway: Gateway, tmp_path: pathlib.Path) -> None:
    skill = INTEGRATIONS / "openclaw/agentpass/SKILL.md"
    head = skill.read_text().split("---\n")[1]
    facts = dict(line.split(": ", 1) for line in head.splitlines())
    assert facts["name"] == skill.parent.name
    assert json.loads(facts["metadata"])["openclaw"]["requires"]["bins"] == ["agentpass"]
    environment = {**os.environ, "AGENTPASS_URL": gateway.url, "AGENT_TOKEN": TOKEN}
    (tmp_path / "agentpass").symlink_to(PROGRAM)
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    commands = [line for block in blocks(skill, "bash") for line in block.splitlines()]
    assert len(commands) == 4

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for command in commands:
            done = pool.submit(run, command)
            if "light" in command:
                assert gateway.question()["reason"] == "It is getting dark"
                gateway.approve()
            assert (done.result().returncode, done.result().stderr) == (0, ""), command
            json.loads(done.result().stdout)
    said = skill.read_text()
    for code in range(6):
        assert f"| {code} |" in said


def test_the_examples_in_the_documents_run(gateway: Gateway) -> None:
    environment = {**os.environ, "AGENTPASS_URL": gateway.url, "AGENT_TOKEN": TOKEN}
    examples = blocks(REPOSITORY / "docs/agents.md", "python")
    assert len(examples) >= 2
    for example in examples:
        text = example.replace("wss://gateway:8443", gateway.url).replace('token="..."', f'token="{TOKEN}"')
        text = text.replace(', pin="sha256:..."', "")
        if "await" in text and "async def" not in text:
            continue
        process = subprocess.Popen(
            [sys.executable, "-c", text],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=INTEGRATIONS / "python",
        )
        if "ha_call_service" in text or "delete_file" in text:
            gateway.deny("later")
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, ""), example
        assert "later" in out, example


def test_schemas_and_sentences_for_models() -> None:
    tool = {
        "args": {
            "a": {"required": True, "type": "string", "validate": "[a-z]+", "description": "d"},
            "b": {"type": "bytes"},
            "c": {"type": "array", "items": {"type": "integer"}, "default": [1]},
            "d": {},
            "e": 7,
        }
    }
    assert input_schema(tool) == {
        "type": "object",
        "properties": {
            "a": {"type": "string", "pattern": "^(?:[a-z]+)$", "description": "d"},
            "b": {"type": "string", "contentEncoding": "base64"},
            "c": {"type": "array", "items": {"type": "integer"}, "default": [1]},
            "d": {},
        },
        "required": ["a"],
    }
    assert input_schema({"args": []}) == {"type": "object", "properties": {}, "required": []}
    sentences = {
        AgentPassDenied(-32001, "Denied by user", {"reason": "denied_by_user"}): "Denied by a person. Do not retry.",
        AgentPassDenied(-32003, "Limit", {"reason": "limit_reached", "retry_after": 60}): (
            "Limit. Not before 60 seconds from now."
        ),
        AgentPassTimeout(-32002, "late"): "Nobody answered in time, and nothing was done.",
        AgentPassError(-32006, "Too many", {"retry_after": 2.5}): "Too many. Try again in 2.5 seconds.",
        AgentPassError(-32004, "Not found"): "Not found.",
        AgentPassError(-32004, "Lost", {"reason": "unknown_result"}): (
            "Lost. It may have been done or not: do not repeat it, look first."
        ),
    }
    for why, sentence in sentences.items():
        assert for_model(why) == sentence

"""The client against the real gateway."""

from __future__ import annotations

import asyncio
import inspect
import json
import pickle
import textwrap
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

import agentpass.client
import agentpass.errors
from agentpass import (
    AgentPassClient,
    AgentPassConnectionError,
    AgentPassDenied,
    AgentPassError,
    AgentPassTimeout,
)
from gateway import LAPTOP, TOKEN, Gateway, Proxy, eventually, free_port, quick

LAMP: dict[str, Any] = {"domain": "light", "service": "turn_on", "entity_id": "light.bedroom"}

# The example of the predecessor's README, as it stands there.
EXAMPLE = """
from agentpass import AgentPassClient, AgentPassDenied, AgentPassTimeout

async with AgentPassClient("wss://gateway:8443", token="your-agent-token") as gw:

    # Auto-allowed by policy -- returns immediately
    state = await gw.tool_request("ha_get_state", entity_id="sensor.temp")

    # Requires human approval -- blocks until approved/denied/timeout
    try:
        await gw.tool_request(
            "ha_call_service",
            domain="light", service="turn_on", entity_id="light.bedroom",
        )
    except AgentPassDenied as e:
        print(f"Denied: {e.message}")
    except AgentPassTimeout as e:
        print(f"Timed out: {e.message}")

    # List available tools
    tools = await gw.list_tools()

    # Retrieve offline results
    results = await gw.get_pending_results()
"""


async def run_example(gateway: Gateway) -> dict[str, Any]:
    text = EXAMPLE.replace("wss://gateway:8443", gateway.url).replace("your-agent-token", TOKEN)
    scope: dict[str, Any] = {}
    exec(f"async def example():\n{textwrap.indent(text, '    ')}\n    return state, tools, results", scope)
    state, tools, results = await scope["example"]()
    return {"state": state, "tools": [tool["name"] for tool in tools], "results": results}


@pytest.mark.parametrize("answer", ["approve", "deny"])
async def test_the_example_of_the_predecessor_runs_unchanged(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    person = asyncio.to_thread(gateway.approve if answer == "approve" else gateway.deny)
    found, _ = await asyncio.gather(run_example(gateway), person)
    assert found["state"]["state"] == "21.5"
    assert "ha_get_state" in found["tools"]
    assert "drop_all" not in found["tools"]
    assert found["results"] == []
    assert capsys.readouterr().out == ("" if answer == "approve" else "Denied: Denied by user\n")
    assert len(gateway.service.calls("/api/services/light/turn_on")) == (1 if answer == "approve" else 0)


async def test_the_example_when_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    gateway = Gateway(approval_timeout=0.3)
    try:
        await run_example(gateway)
    finally:
        gateway.close()
    assert capsys.readouterr().out == "Timed out: Approval timed out\n"


async def test_every_ending_has_its_error(gateway: Gateway) -> None:
    async with AgentPassClient(gateway.url, TOKEN) as gw:
        with pytest.raises(AgentPassDenied) as denied:
            await gw.tool_request("ha_call_service", domain="lock", service="open", entity_id="lock.front")
        assert (denied.value.code, denied.value.reason, denied.value.rule) == (
            -32003,
            "denied_by_policy",
            "Locks are for people",
        )
        assert (denied.value.message, str(denied.value)) == (
            "Denied by policy",
            "Denied by policy (Locks are for people)",
        )
        assert denied.value.request_id

        asking = asyncio.create_task(gw.tool_request("ha_call_service", **LAMP))
        await asyncio.to_thread(gateway.deny, "not at night")
        with pytest.raises(AgentPassDenied) as denied:
            await asking
        assert (denied.value.code, denied.value.note) == (-32001, "not at night")

        with pytest.raises(AgentPassError) as failed:
            await gw.tool_request("ha_get_state", entity_id="sensor.none")
        assert (failed.value.code, failed.value.reason, failed.value.data["status"]) == (-32004, "service_error", 404)

        with pytest.raises(AgentPassError) as failed:
            await gw.tool_request("no_such_tool")
        assert (type(failed.value), failed.value.reason) == (AgentPassError, "unknown_tool")

        with pytest.raises(AgentPassError) as failed:
            await gw.tool_request("ha_get_state")
        assert (failed.value.code, failed.value.argument) == (-32600, "entity_id")

        for unfit in (float("nan"), {1, 2}, "x" * (1 << 20)):
            with pytest.raises(AgentPassError) as failed:
                await gw.tool_request("write", text=unfit)
            assert failed.value.code == -32600
        assert (await gw.tool_request("ha_get_state", entity_id="sensor.a"))["state"] == "21.5"


async def test_all_keywords_are_arguments_of_the_tool(gateway: Gateway) -> None:
    async with AgentPassClient(gateway.url, TOKEN) as gw:
        await gw.tool_request("write", text="a", reason="b", session="c")
        await gw.tool_request(tool="write", text="d")
    assert gateway.service.calls("/api/write") == [{"text": "a", "reason": "b", "session": "c"}, {"text": "d"}]


async def test_a_call_says_why_and_hears_that_somebody_is_asked(gateway: Gateway) -> None:
    told: list[Any] = []

    async def on_pending(info: dict[str, Any]) -> None:
        told.append(info)

    def bad(_: dict[str, Any]) -> None:
        raise RuntimeError("a caller's mistake")

    async def bad_too(_: dict[str, Any]) -> None:
        raise RuntimeError("another one")

    async with AgentPassClient(gateway.url, TOKEN) as gw:
        asking = asyncio.create_task(
            gw.call("ha_call_service", LAMP, reason="It is dark", session="evening", on_pending=on_pending)
        )
        question = await asyncio.to_thread(gateway.question)
        assert (question["reason"], question["session_id"]) == ("It is dark", "evening")
        await asyncio.to_thread(gateway.approve)
        assert (await asking)["state"] == "21.5"
        assert [info["request_id"] for info in told] == [question["request_id"]]
        assert told[0]["expires_at"]
        for mistake in (bad, bad_too):
            asking = asyncio.create_task(gw.call("ha_call_service", LAMP, on_pending=mistake))
            await asyncio.to_thread(gateway.approve)
            assert (await asking)["state"] == "21.5"


async def test_a_key_runs_a_call_once(gateway: Gateway) -> None:
    async with AgentPassClient(gateway.url, TOKEN) as gw:
        first = await gw.request("write", {"text": "a"}, idempotency_key="k")
        again = await gw.request("write", {"text": "a"}, idempotency_key="k")
        assert (first.replayed, again.replayed) == (False, True)
        assert (again.request_id, again.data) == (first.request_id, first.data)
        with pytest.raises(AgentPassError) as conflict:
            await gw.call("write", {"text": "b"}, idempotency_key="k")
        assert conflict.value.reason == "idempotency_conflict"
        # Without one, every call is a call of its own.
        await gw.call("write", {"text": "a"})
    assert len(gateway.service.calls("/api/write")) == 2


async def test_a_question_can_be_withdrawn(gateway: Gateway) -> None:
    asked: asyncio.Queue[str] = asyncio.Queue()
    async with AgentPassClient(gateway.url, TOKEN) as gw:
        asking = asyncio.create_task(
            gw.call("ha_call_service", LAMP, on_pending=lambda info: asked.put_nowait(info["request_id"]))
        )
        request_id = await asked.get()
        assert await gw.cancel(request_id) == "withdrawn"
        with pytest.raises(AgentPassDenied) as denied:
            await asking
        assert denied.value.reason == "withdrawn"
        assert await gw.cancel(request_id) == "already_resolved"
        assert await gw.cancel(str(uuid.uuid4())) == "unknown"


async def test_what_the_rules_would_decide(gateway: Gateway) -> None:
    async with AgentPassClient(gateway.url, LAPTOP) as gw:
        assert (await gw.explain("ha_call_service", LAMP))["decision"] == "ask"
    async with AgentPassClient(gateway.url, TOKEN) as gw:
        with pytest.raises(AgentPassError) as refused:
            await gw.explain("ha_call_service", LAMP)
        assert refused.value.code == -32601
    assert gateway.service.seen == []


async def test_results_wait_for_an_agent_that_was_away(gateway: Gateway) -> None:
    away = AgentPassClient(gateway.url, TOKEN)
    await away.connect()
    asking = asyncio.create_task(away.tool_request("ha_call_service", **LAMP))
    request_id = (await asyncio.to_thread(gateway.question))["request_id"]
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await away.close()
    await asyncio.to_thread(gateway.approve)
    async with AgentPassClient(gateway.url, TOKEN) as gw:
        results: list[dict[str, Any]] = []
        while not results:
            results = await gw.get_pending_results()
        assert [found["request_id"] for found in results] == [request_id]
        assert json.loads(results[0]["result"])["status"] == "executed"
        assert (results[0]["tool_name"], json.loads(results[0]["args"])) == ("ha_call_service", LAMP)
    async with AgentPassClient(gateway.url, TOKEN) as gw:
        assert await gw.get_pending_results() == []


async def test_what_was_received_is_not_offered_again(gateway: Gateway) -> None:
    for _ in range(20):
        async with AgentPassClient(gateway.url, TOKEN) as gw:
            await gw.tool_request("write", text="a")
    async with AgentPassClient(gateway.url, TOKEN) as gw:
        assert await gw.get_pending_results() == []


async def test_a_call_that_its_caller_gave_up_goes_on(gateway: Gateway) -> None:
    async with AgentPassClient(gateway.url, TOKEN) as gw:
        with pytest.raises(AgentPassTimeout) as late:
            await gw.call("ha_call_service", LAMP, timeout=0.3)
        assert (late.value.code, late.value.reason) == (-1, "client_timeout")
        request_id = await asyncio.to_thread(gateway.approve)
        results: list[dict[str, Any]] = []
        while not results:
            results = await gw.get_pending_results()
        assert [found["request_id"] for found in results] == [request_id]
        assert json.loads(results[0]["result"])["data"]["state"] == "21.5"
        assert (results[0]["tool_name"], json.loads(results[0]["args"])) == ("ha_call_service", LAMP)
        assert await gw.get_pending_results() == []


async def test_more_calls_than_one_connection_may_have_in_flight(gateway: Gateway) -> None:
    gateway.service.delay = 0.05
    async with AgentPassClient(gateway.url, TOKEN) as gw:
        found = await asyncio.gather(*(gw.tool_request("write", text=str(n)) for n in range(100)))
    assert len(found) == 100
    assert sorted(int(body["text"]) for body in gateway.service.calls("/api/write")) == list(range(100))


async def test_a_large_answer_arrives(gateway: Gateway) -> None:
    gateway.service.filler = 3 << 20
    async with AgentPassClient(gateway.url, TOKEN) as gw:
        quick(gw)
        assert len((await gw.tool_request("write", text="a"))["filler"]) == 3 << 20
        assert len((await gw.tool_request("write", text="b"))["filler"]) == 3 << 20
    assert len(gateway.service.calls("/api/write")) == 2


async def test_a_lost_connection_asks_nobody_twice(gateway: Gateway, proxy: Proxy) -> None:
    told: list[Any] = []
    async with AgentPassClient(proxy.url, TOKEN) as gw:
        quick(gw)
        asking = asyncio.create_task(gw.call("ha_call_service", LAMP, on_pending=told.append))
        first = await asyncio.to_thread(gateway.question)
        proxy.cut()
        await asyncio.to_thread(eventually, "a new connection", lambda: proxy.connections == 2)
        # Sent again, it is the same question.
        assert (await gw.tool_request("ha_get_state", entity_id="sensor.a"))["state"] == "21.5"
        assert [question["request_id"] for question in gateway.questions()] == [first["request_id"]]
        await asyncio.to_thread(gateway.approve)
        assert (await asking)["state"] == "21.5"
    assert [info["request_id"] for info in told] == [first["request_id"]]
    assert len(gateway.service.calls("/api/services/light/turn_on")) == 1


async def test_after_a_long_outage_no_call_is_sent_again(
    gateway: Gateway, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agentpass.client, "_LONGEST_OUTAGE", -1.0)
    async with AgentPassClient(proxy.url, TOKEN) as gw:
        quick(gw)
        asking = asyncio.create_task(gw.call("ha_call_service", LAMP))
        await asyncio.to_thread(gateway.question)
        proxy.cut()
        with pytest.raises(AgentPassConnectionError) as lost:
            await asking
        assert lost.value.reason == "unknown_result"
        await asyncio.to_thread(gateway.approve)
        results: list[dict[str, Any]] = []
        while not results:
            results = await gw.get_pending_results()
        assert json.loads(results[0]["result"])["status"] == "executed"


async def test_a_machine_that_was_suspended_sends_no_call_again(
    gateway: Gateway, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection seems to be lost only when it wakes up, and what has waited in a buffer is no news."""
    async with AgentPassClient(proxy.url, TOKEN) as gw:
        quick(gw)
        asking = asyncio.create_task(gw.call("ha_call_service", LAMP))
        await asyncio.to_thread(gateway.question)
        awake = time.time
        monkeypatch.setattr(time, "time", lambda: awake() + 24 * 3600)
        assert await gw.list_tools()
        proxy.cut()
        with pytest.raises(AgentPassConnectionError) as lost:
            await asking
        assert lost.value.reason == "unknown_result"


async def test_the_first_connection_is_tried_once() -> None:
    gw = AgentPassClient(f"ws://127.0.0.1:{free_port()}", TOKEN)
    with pytest.raises(ConnectionError) as nobody:
        await gw.connect()
    assert isinstance(nobody.value, AgentPassConnectionError)
    with pytest.raises(AgentPassConnectionError, match="Not connected"):
        await gw.tool_request("write", text="a")
    await gw.close()
    with pytest.raises(AgentPassConnectionError, match="Not the address"):
        await AgentPassClient("http://gateway", TOKEN).connect()


async def test_a_wrong_token(gateway: Gateway) -> None:
    with pytest.raises(AgentPassConnectionError) as refused:
        await AgentPassClient(gateway.url, "no-such-token").connect()
    assert (refused.value.code, refused.value.reason) == (-32005, "not_authenticated")


async def test_a_token_that_is_removed_ends_the_client(gateway: Gateway) -> None:
    async with AgentPassClient(gateway.url, TOKEN) as gw:
        quick(gw)
        asking = asyncio.create_task(gw.call("ha_call_service", LAMP))
        await asyncio.to_thread(gateway.question)
        config = gateway.folder / "config.yaml"
        config.write_text(config.read_text().replace(TOKEN, "another-token-of-the-default-agent"))
        await asyncio.to_thread(gateway.cli, "reload")
        with pytest.raises(AgentPassConnectionError) as ended:
            await asking
        assert ended.value.code == -32005
        with pytest.raises(AgentPassConnectionError):
            await gw.list_tools()


async def test_retries_come_to_an_end(gateway: Gateway) -> None:
    async with AgentPassClient(gateway.url, TOKEN, max_retries=3) as gw:
        quick(gw)
        asking = asyncio.create_task(gw.call("ha_call_service", LAMP))
        await asyncio.to_thread(gateway.question)
        gateway.kill()
        with pytest.raises(AgentPassConnectionError, match="Connection lost"):
            await asking
        gateway.start()
        await gw.connect()
        assert (await gw.tool_request("ha_get_state", entity_id="sensor.a"))["state"] == "21.5"


async def test_a_closed_client_says_so(gateway: Gateway) -> None:
    gw = AgentPassClient(gateway.url, TOKEN)
    await gw.connect()
    asking = asyncio.create_task(gw.call("ha_call_service", LAMP))
    await asyncio.to_thread(gateway.question)
    await gw.close()
    with pytest.raises(AgentPassConnectionError, match="closed"):
        await asking
    with pytest.raises(AgentPassConnectionError, match="closed"):
        await gw.list_tools()
    await gw.close()


@pytest.fixture
def secure() -> Iterator[Gateway]:
    running = Gateway(tls=True)
    yield running
    running.close()


async def test_what_makes_a_certificate_acceptable(secure: Gateway) -> None:
    certificate = str(secure.folder / "cert.pem")
    trusted: list[dict[str, Any]] = [
        {"pin": secure.pin},
        {"pin": secure.pin.upper().replace("SHA", "sha")},
        {"ca_file": certificate},
    ]
    for trust in trusted:
        async with AgentPassClient(secure.url, TOKEN, **trust) as gw:
            assert (await gw.tool_request("ha_get_state", entity_id="sensor.a"))["state"] == "21.5"
    with pytest.raises(AgentPassConnectionError, match="the pin says"):
        await AgentPassClient(secure.url, TOKEN, pin="sha256:" + "0" * 64).connect()
    with pytest.raises(AgentPassConnectionError):
        await AgentPassClient(secure.url, TOKEN).connect()
    unusable: list[tuple[str, dict[str, Any]]] = [
        (secure.url, {"pin": "sha256:12"}),
        (secure.url, {"pin": secure.pin, "ca_file": certificate}),
        ("ws://127.0.0.1:1", {"pin": secure.pin}),
    ]
    for url, bad in unusable:
        with pytest.raises(ValueError, match="pin"):
            AgentPassClient(url, TOKEN, **bad)


def test_errors_survive_another_process() -> None:
    for kind in (AgentPassError, AgentPassDenied, AgentPassTimeout, AgentPassConnectionError):
        found = pickle.loads(pickle.dumps(kind(-32001, "no", {"note": "later"})))
        assert (type(found), found.code, found.message, found.note) == (kind, -32001, "no", "later")


def test_nothing_from_the_wire_is_trusted_to_have_a_type() -> None:
    odd: list[Any] = [None, [], "x", {}, {"code": "x", "message": 7, "data": []}, {"code": True, "data": {"note": 7}}]
    for value in odd:
        found = agentpass.errors.from_wire(value)
        assert (found.note, found.reasons, found.retry_after) == (None, [], None)
        assert inspect.isclass(type(found))

"""Lost connections and restarts of the gateway: no call runs twice, and none is lost."""

from __future__ import annotations

import asyncio
import collections
import json
import random
import subprocess
import sys
from typing import Any

from agentpass import AgentPassClient, AgentPassConnectionError, AgentPassError
from gateway import TOKEN, Gateway, Proxy, eventually, quick

CALLS = 600


async def trouble(gateway: Gateway, proxy: Proxy, is_over: asyncio.Event) -> int:
    """Cuts the wire all the time, and now and then ends the gateway, with and without a goodbye."""
    rounds = 0
    while not is_over.is_set():
        await asyncio.sleep(random.uniform(0.02, 0.2))
        proxy.cut()
        rounds += 1
        if rounds % 3 == 0:
            await asyncio.to_thread(gateway.kill if rounds % 2 else gateway.terminate)
            await asyncio.to_thread(gateway.start)
    return rounds // 3


async def test_no_call_twice_and_none_lost(gateway: Gateway, proxy: Proxy) -> None:
    gateway.service.delay = 0.02
    outcomes: dict[int, str] = {}
    is_over = asyncio.Event()

    async def one(gw: AgentPassClient, n: int) -> None:
        try:
            found: Any = await gw.call("write", {"text": str(n)})
            outcomes[n] = "done" if found["state"] == "21.5" else "odd"
        except AgentPassError as why:
            outcomes[n] = why.reason or type(why).__name__

    async with AgentPassClient(proxy.url, TOKEN) as gw:
        quick(gw)
        making_trouble = asyncio.create_task(trouble(gateway, proxy, is_over))
        await asyncio.gather(*(one(gw, n) for n in range(CALLS)))
        is_over.set()
        restarts = await making_trouble

    done = collections.Counter(int(body["text"]) for body in gateway.service.calls("/api/write"))
    assert proxy.connections > 6
    assert restarts > 1
    assert [n for n, times in done.items() if times > 1] == []
    assert sorted(outcomes) == list(range(CALLS))
    # A gateway that was killed in the middle of a call says that it cannot know.
    assert set(outcomes.values()) <= {"done", "unknown_result"}
    assert all(done[n] == 1 for n, outcome in outcomes.items() if outcome == "done")
    assert list(outcomes.values()).count("unknown_result") <= 32 * restarts
    gateway.cli("audit", "verify")


CALLER = """
import sys
from agentpass import SyncAgentPassClient
with SyncAgentPassClient(sys.argv[1], token=sys.argv[2]) as gw:
    print(gw.call("write", {"text": "once"}, idempotency_key="job-17")["state"])
"""


def test_a_process_that_is_killed_takes_its_call_up_again(gateway: Gateway) -> None:
    """The caller's own key survives the caller."""
    gateway.service.delay = 1.0
    command = [sys.executable, "-c", CALLER, gateway.url, TOKEN]
    first = subprocess.Popen(command)
    eventually("the call is under way", lambda: gateway.service.seen)
    first.kill()
    first.wait()
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "21.5\n"
    assert gateway.service.calls("/api/write") == [{"text": "once"}]


async def test_questions_survive_restarts(gateway: Gateway, proxy: Proxy) -> None:
    async with AgentPassClient(proxy.url, TOKEN) as gw:
        quick(gw)
        lamp = {"domain": "light", "service": "turn_on", "entity_id": "light.desk"}
        asking = asyncio.create_task(gw.call("ha_call_service", lamp))
        first = await asyncio.to_thread(gateway.question)
        for end in (gateway.kill, gateway.terminate):
            await asyncio.to_thread(end)
            await asyncio.to_thread(gateway.start)
        assert (await asyncio.to_thread(gateway.question))["request_id"] == first["request_id"]
        await asyncio.to_thread(gateway.approve)
        try:
            assert (await asking)["state"] == "21.5"
        except AgentPassConnectionError as why:  # pragma: no cover
            raise AssertionError(json.dumps(why.data)) from why
    assert len(gateway.service.calls("/api/services/light/turn_on")) == 1

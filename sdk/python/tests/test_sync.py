"""The blocking twin against the real gateway."""

from __future__ import annotations

import concurrent.futures
import inspect
from typing import Any

import pytest

from agentpass import AgentPassClient, AgentPassConnectionError, AgentPassDenied, AgentPassTimeout, SyncAgentPassClient
from gateway import TOKEN, Gateway


def test_the_twin_does_the_same(gateway: Gateway) -> None:
    told: list[Any] = []
    with SyncAgentPassClient(gateway.url, token=TOKEN) as gw, concurrent.futures.ThreadPoolExecutor() as pool:
        assert gw.tool_request("ha_get_state", entity_id="sensor.a")["state"] == "21.5"
        assert "write" in [tool["name"] for tool in gw.list_tools()]
        person = pool.submit(gateway.deny, "no")
        with pytest.raises(AgentPassDenied) as denied:
            gw.call("ha_call_service", {"domain": "light", "service": "on"}, reason="why", on_pending=told.append)
        assert (denied.value.note, told[0]["request_id"]) == ("no", person.result())
        with pytest.raises(AgentPassTimeout):
            gw.call("ha_call_service", {"domain": "light", "service": "off"}, timeout=0.2)
        gateway.approve()
        results: list[Any] = []
        while not results:
            results = gw.get_pending_results()
        assert len(results) == 1
        found = list(pool.map(lambda n: gw.tool_request("write", text=str(n)), range(20)))
        assert len(found) == 20
    assert len(gateway.service.calls("/api/write")) == 20
    with pytest.raises(AgentPassConnectionError, match="Not connected"):
        gw.list_tools()
    gw.close()
    with pytest.raises(AgentPassConnectionError):
        SyncAgentPassClient(gateway.url, token="no-such-token").connect()


def test_the_twin_has_the_same_methods() -> None:
    for name, method in inspect.getmembers(AgentPassClient, inspect.isfunction):
        if name.startswith("_") and name != "__init__":
            continue
        twin = getattr(SyncAgentPassClient, name)
        assert inspect.signature(twin) == inspect.signature(method), name

"""The client for programs without an event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from agentpass.client import AgentPassClient, OnPending
from agentpass.errors import AgentPassConnectionError
from agentpass.results import ToolResult

T = TypeVar("T")


class Background:
    """An event loop in a thread of its own, for those who have none or many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._loop is not None

    def start(self) -> asyncio.AbstractEventLoop:
        """Starts it, once."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="agentpass", daemon=True)
                self._thread.start()
            return self._loop

    def begin(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Begins work there."""
        return asyncio.run_coroutine_threadsafe(work, self.start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Does work there and waits for it. Whoever stops waiting, with Ctrl-C for example, ends it."""
        future = self.begin(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Ends it, with whatever still runs."""
        with self._lock:
            if self._loop is None or self._thread is None:
                return
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = self._thread = None


class SyncAgentPassClient:
    """The blocking twin of `AgentPassClient`: same options, methods and errors.

    ::

        with SyncAgentPassClient("wss://gateway:8443", token="...") as gw:
            state = gw.tool_request("ha_get_state", entity_id="sensor.temp")

    Any thread may use it. ``on_pending`` is called in the client's own thread.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        max_retries: int | None = None,
        pin: str | None = None,
        ca_file: str | None = None,
    ) -> None:
        """Prepares a client; `connect` or ``with`` connects it. See `AgentPassClient`."""
        self._client = AgentPassClient(url, token, max_retries=max_retries, pin=pin, ca_file=ca_file)
        self._background = Background()

    def connect(self) -> None:
        """Connects and authenticates, in one attempt."""
        self._background.start()
        try:
            self._wait(self._client.connect())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Disconnects. Calls under way go on in the gateway, and their results wait there."""
        if self._background.is_running:
            with contextlib.suppress(AgentPassConnectionError):
                self._wait(self._client.close())
            self._background.stop()

    def __enter__(self) -> SyncAgentPassClient:
        self.connect()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def tool_request(self, /, tool: str, **args: Any) -> Any:
        """Runs a tool and returns its data. All further keywords are the tool's arguments."""
        return self._wait(self._client.tool_request(tool, **args))

    def call(
        self,
        tool: str,
        args: Mapping[str, Any] | None = None,
        *,
        reason: str | None = None,
        session: str | None = None,
        idempotency_key: str | None = None,
        on_pending: OnPending | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Runs a tool and returns its data. See `AgentPassClient.call`."""
        found = self.request(
            tool,
            args,
            reason=reason,
            session=session,
            idempotency_key=idempotency_key,
            on_pending=on_pending,
            timeout=timeout,
        )
        return found.data

    def request(
        self,
        tool: str,
        args: Mapping[str, Any] | None = None,
        *,
        reason: str | None = None,
        session: str | None = None,
        idempotency_key: str | None = None,
        on_pending: OnPending | None = None,
        timeout: float | None = None,
    ) -> ToolResult:
        """As `call`, with everything that the gateway says besides the data."""
        return self._wait(
            self._client.request(
                tool,
                args,
                reason=reason,
                session=session,
                idempotency_key=idempotency_key,
                on_pending=on_pending,
                timeout=timeout,
            )
        )

    def list_tools(self, timeout: float | None = 10) -> list[dict[str, Any]]:
        """The tools that this agent may ask for."""
        return self._wait(self._client.list_tools(timeout))

    def get_pending_results(self) -> list[dict[str, Any]]:
        """Outcomes of calls that nobody has received."""
        return self._wait(self._client.get_pending_results())

    def cancel(self, request_id: str) -> str:
        """Withdraws an open question of this agent."""
        return self._wait(self._client.cancel(request_id))

    def explain(self, tool: str, args: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the rules would decide. Nothing is done."""
        return self._wait(self._client.explain(tool, args))

    def report(self, request_id: str, ok: bool, detail: str | None = None) -> str:
        """Says what came of a permit, once."""
        return self._wait(self._client.report(request_id, ok, detail))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if not self._background.is_running:
            work.close()
            raise AgentPassConnectionError(-1, "Not connected: use `with`, or connect() first")
        return self._background.run(work)

"""The asynchronous client: one connection to a gateway that mends itself.

A call goes out again on a new connection only under its idempotency key, and only to a gateway that still knows the
key: lost connections and restarts of the gateway never make a call run twice. Tokens and arguments are never logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timezone
from typing import Any

import websockets
import websockets.exceptions

from agentpass.errors import (
    AgentPassConnectionError,
    AgentPassDenied,
    AgentPassError,
    AgentPassTimeout,
    from_wire,
)
from agentpass.results import ToolResult
from agentpass.trust import tls_context

__all__ = [
    "AgentPassClient",
    "AgentPassConnectionError",
    "AgentPassDenied",
    "AgentPassError",
    "AgentPassTimeout",
    "OnPending",
]

OnPending = Callable[[dict[str, Any]], object]
"""Told that a person is being asked: ``{"request_id", "expires_at"}``. May be a coroutine function."""

_log = logging.getLogger("agentpass")

_FIRST_DELAY, _LONGEST_DELAY = 1.0, 30.0
_CONNECT_LIMIT = 10.0
# A connection that lasted this long works, even if nothing was asked on it: the next attempts begin anew.
_PROVED_AFTER = 10.0
# What a gateway takes unless it was told otherwise.
_LARGEST_FRAME = 1 << 20
# Answers may be larger than the limit of the library, which holds for the first connection.
_LARGEST_ANSWER = 128 << 20
# A gateway takes 32 calls per connection; `cancel` must still get through.
_MOST_CALLS = 24
# Every gateway remembers a key for an hour at least after the call has ended.
_LONGEST_OUTAGE = 50 * 60.0
_PING_EVERY = 20.0
_TOO_LARGE = 1009
# Reasons for which another attempt would end like this one.
_FINAL = ("not_authenticated", "invalid_address")


class _Call:
    """A request without a reply."""

    def __init__(self, number: int, method: str, params: Mapping[str, Any], on_pending: OnPending | None) -> None:
        self.number, self.method, self.params, self.on_pending = number, method, params, on_pending
        self.text = _frame(number, method, params)
        self.sent_on: object = None
        self.was_keyed = True
        self.asked: set[str] = set()

    @property
    def acts(self) -> bool:
        return self.method == "tool_request"


class AgentPassClient:
    """Asks an agentpass gateway for tool calls.

    ::

        async with AgentPassClient("wss://gateway:8443", token="...") as gw:
            state = await gw.tool_request("ha_get_state", entity_id="sensor.temp")

    Any number of calls may wait at once. The first connection is tried once; one that is lost later comes back by
    itself, after 1 to 30 seconds, and open calls are picked up. One client belongs to one event loop.
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
        """Prepares a client; `connect` or ``async with`` connects it.

        Args:
            url: ``wss://host:port``, or ``ws://`` for a gateway without TLS.
            token: The agent's token.
            max_retries: Attempts in a row to get a lost connection back; None for no end.
            pin: ``sha256:`` and 64 hex digits, as the gateway prints it: only a server with this key is talked to.
            ca_file: PEM certificates to trust, besides the system's.

        Raises:
            ValueError: for an unusable combination of these.
        """
        self.url = url
        self.token = token
        self._max_retries = max_retries
        self._tls = tls_context(url, pin=pin, ca_file=ca_file)
        self._ws: websockets.ClientConnection | None = None
        self._request_counter = 0
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._calls: dict[int, _Call] = {}
        self._slots = asyncio.Semaphore(_MOST_CALLS)
        self._reader_task: asyncio.Task[None] | None = None
        self._reconnect_task: asyncio.Task[None] | None = None
        self._background: set[asyncio.Future[Any]] = set()
        self._connected = self._closed = False
        self._ended: AgentPassConnectionError | None = None
        self._keyed = False
        self._attempts = 0
        self._has_answered = False
        self._contact = _now()
        self._max_size: int | None = None
        self._unclaimed: list[dict[str, Any]] = []

    async def connect(self) -> None:
        """Connects and authenticates, in one attempt.

        Raises:
            AgentPassConnectionError: when the gateway cannot be reached, is not the right one or refuses the token.
        """
        if self.is_usable:
            return
        self._ws, self._closed, self._ended, self._attempts = None, False, None, 0
        self._slots = asyncio.Semaphore(_MOST_CALLS)
        self._contact = _now()
        await self._open()

    async def close(self) -> None:
        """Disconnects. Calls under way go on in the gateway, and their results wait there."""
        self._closed = True
        self._fail_all(AgentPassConnectionError(-1, "Client is closed"))
        for task in (self._reader_task, self._reconnect_task, *self._background):
            if task is not None and not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self._ws is not None:
            await self._ws.close()
            self._ws = None
        self._connected = False

    @property
    def is_usable(self) -> bool:
        """Whether there is a connection, or one that is lost is coming back."""
        return self._ws is not None and not self._closed and self._ended is None

    async def __aenter__(self) -> AgentPassClient:
        await self.connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def tool_request(self, /, tool: str, **args: Any) -> Any:
        """Runs a tool and returns its data. All further keywords are the tool's arguments.

        Waits while a person is asked. For a reason, a key and so on, see `call`.

        Raises:
            AgentPassDenied: A person or a rule said no.
            AgentPassTimeout: Nobody answered in time.
            AgentPassConnectionError: The connection is lost for good.
            AgentPassError: Anything else; `code` and `reason` say what.
        """
        return (await self.request(tool, args)).data

    async def call(
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
        """Runs a tool and returns its data, as `tool_request` does.

        Args:
            tool: Its name.
            args: Its arguments.
            reason: Shown to the person who is asked; at most 500 characters.
            session: Your own name for what you are doing, at most 128 bytes.
            idempotency_key: The same key never leads to a second execution, not even after a restart of your program. A
                fresh one unless given.
            on_pending: Told when a person is asked.
            timeout: Seconds to wait; None waits as long as the gateway does. A call that has timed out goes on, and
                `get_pending_results` returns its outcome.
        """
        found = await self.request(
            tool,
            args,
            reason=reason,
            session=session,
            idempotency_key=idempotency_key,
            on_pending=on_pending,
            timeout=timeout,
        )
        return found.data

    async def request(
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
        params: dict[str, Any] = {
            "tool": tool,
            "args": dict(args or {}),
            "idempotency_key": idempotency_key or str(uuid.uuid4()),
        }
        if reason is not None:
            params["reason"] = reason
        if session is not None:
            params["session_id"] = session
        try:
            return await asyncio.wait_for(self._request(params, on_pending), timeout)
        except asyncio.TimeoutError as late:
            message = f"No answer within {timeout:g} s; the call goes on"
            raise AgentPassTimeout(-1, message, {"reason": "client_timeout"}) from late

    async def list_tools(self, timeout: float | None = 10) -> list[dict[str, Any]]:
        """The tools that this agent may ask for: ``name``, ``description``, ``service``, ``args``.

        Args:
            timeout: Seconds to wait for the answer.
        """
        try:
            reply = await asyncio.wait_for(self._ask("list_tools", {}), timeout)
        except asyncio.TimeoutError as late:
            raise AgentPassTimeout(-1, f"No list of tools within {timeout:g} s") from late
        return _dicts(reply.get("tools"))

    async def get_pending_results(self) -> list[dict[str, Any]]:
        """Outcomes of calls that nobody has received: ``request_id``, ``tool_name``, ``args``, ``result`` and so on.

        ``args`` and ``result`` are JSON texts. Each outcome is returned once; ask again until the list is empty.
        """
        results = _dicts((await self._ask("get_pending_results", {})).get("results"))
        self._adopt(results)
        kept, self._unclaimed = self._unclaimed, []
        return kept + results

    async def cancel(self, request_id: str) -> str:
        """Withdraws an open question of this agent.

        Returns:
            ``withdrawn``, ``already_resolved``, ``expired`` or ``unknown``.
        """
        return str((await self._ask("cancel", {"request_id": request_id})).get("status", "unknown"))

    async def explain(self, tool: str, args: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the rules would decide: ``decision``, ``signature``, ``rule``, ``trace``. Nothing is done.

        Only for agents with ``may_explain``; others get -32601.
        """
        reply = await self._ask("explain", {"tool": tool, "args": dict(args or {})})
        return dict(reply)

    async def report(self, request_id: str, ok: bool, detail: str | None = None) -> str:
        """Says what came of a permit, once. It stands in the record as the agent's word.

        Args:
            request_id: Of the call that was permitted.
            ok: Whether it went well.
            detail: At most 500 characters.

        Returns:
            ``reported``, ``already_reported`` or ``unknown``.
        """
        params: dict[str, Any] = {"request_id": request_id, "ok": ok}
        if detail is not None:
            params["detail"] = detail
        return str((await self._ask("report", params)).get("status", "unknown"))

    # One request

    def _next_id(self) -> int:
        self._request_counter += 1
        return self._request_counter

    async def _request(self, params: Mapping[str, Any], on_pending: OnPending | None) -> ToolResult:
        async with self._slots:
            return ToolResult.read(await self._ask("tool_request", params, on_pending))

    async def _ask(
        self, method: str, params: Mapping[str, Any], on_pending: OnPending | None = None
    ) -> Mapping[str, Any]:
        if self._closed:
            raise AgentPassConnectionError(-1, "Client is closed")
        if self._ended is not None:
            raise AgentPassConnectionError(self._ended.code, self._ended.message, self._ended.data)
        if self._ws is None:
            raise AgentPassConnectionError(-1, "Not connected: use `async with`, or connect() first")
        call = _Call(self._next_id(), method, params, on_pending)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls[call.number], self._pending[call.number] = call, future
        is_over = False
        try:
            if self._connected:
                await self._send(call)
            reply = await future
            is_over = True
        except AgentPassError:
            is_over = True
            raise
        finally:
            self._pending.pop(call.number, None)
            # What a caller no longer waits for is not sent again, but may still be answered.
            if is_over or not call.acts or call.sent_on is None:
                self._calls.pop(call.number, None)
        return reply if isinstance(reply, Mapping) else {}

    async def _send(self, call: _Call) -> None:
        """Sends a call, at most once per connection."""
        ws = self._ws
        if ws is None or call.sent_on is ws:
            return
        # Noted first: a message whose sending fails may have arrived all the same.
        call.sent_on, call.was_keyed = ws, self._keyed
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            await ws.send(call.text)

    # One connection

    async def _open(self) -> None:
        """Connects, authenticates and begins to read."""
        ws = await self._dial()
        try:
            self._keyed = await self._authenticate(ws)
            if not self._keyed and self._pending:
                await self._collect(ws)
        except (OSError, websockets.exceptions.ConnectionClosed, asyncio.TimeoutError) as why:
            await ws.close()
            if isinstance(why, AgentPassConnectionError):
                raise
            message = "The gateway closed the connection, or fell silent, before it let us in"
            raise AgentPassConnectionError(-1, message) from why
        except BaseException:
            await ws.close()
            raise
        self._ws = ws
        self._connected = True
        self._reader_task = asyncio.create_task(self._read_loop(ws))
        self._keep(self._ping(ws))

    async def _dial(self) -> websockets.ClientConnection:
        options: dict[str, Any] = {}
        if self._tls is not None:
            options["ssl"] = self._tls
        if self._max_size is not None:
            options["max_size"] = self._max_size
        try:
            return await websockets.connect(self.url, **options)
        except websockets.exceptions.InvalidURI as why:
            message = f"Not the address of a gateway: {why}"
            raise AgentPassConnectionError(-1, message, {"reason": "invalid_address"}) from why
        except (OSError, EOFError, websockets.exceptions.WebSocketException, asyncio.TimeoutError) as why:
            raise AgentPassConnectionError(-1, f"Cannot reach the gateway: {why or 'no answer in time'}") from why

    async def _authenticate(self, ws: websockets.ClientConnection) -> bool:
        """Says who we are; whether the gateway knows idempotency keys."""
        await ws.send(_frame("auth-1", "auth", {"token": self.token}))
        reply = _parse(await asyncio.wait_for(ws.recv(), _CONNECT_LIMIT))
        if "error" in reply:
            refused = from_wire(reply["error"])
            # "Too many" may be over when we come again.
            reason = "not_authenticated" if refused.code == -32005 else refused.reason or "refused"
            raise AgentPassConnectionError(refused.code, refused.message, {**refused.data, "reason": reason})
        result = reply.get("result")
        if not isinstance(result, dict) or result.get("status") != "authenticated":
            raise AgentPassConnectionError(-1, "Unexpected auth response")
        return isinstance(result.get("version"), str)

    async def _read_loop(self, ws: websockets.ClientConnection) -> None:
        began, self._has_answered = time.monotonic(), False
        why: BaseException | None = None
        try:
            async for raw in ws:
                self._receive(raw)
        except websockets.exceptions.ConnectionClosed as closed:
            why = closed
        if self._closed or self._ws is not ws:
            return
        if self._has_answered or time.monotonic() - began >= _PROVED_AFTER:
            self._attempts = 0
        self._connected = False
        self._make_room(why)
        _log.info("the connection to the gateway is lost: %s", why or "closed")
        self._reconnect_task = asyncio.create_task(self._reconnect())

    async def _ping(self, ws: websockets.ClientConnection) -> None:
        """Knows until when there was contact: a machine that was suspended would not notice otherwise.

        What arrives may have waited in a buffer for long; an answer is no older than its ping.
        """
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            while self._ws is ws:
                await asyncio.sleep(_PING_EVERY)
                asked_at = _now()
                await (await ws.ping())
                self._contact = asked_at

    def _silence(self) -> float:
        """Seconds since the gateway was heard. One clock may stand still, the other may be set."""
        wall, steady = (now - then for now, then in zip(_now(), self._contact, strict=True))
        return max(wall, steady)

    def _make_room(self, why: BaseException | None) -> None:
        """After a message that was too large: the same must not happen again and again."""
        sent, received = getattr(why, "sent", None), getattr(why, "rcvd", None)
        if received is not None and received.code == _TOO_LARGE and getattr(why, "rcvd_then_sent", True):
            # The gateway takes smaller messages than usual, and has not read this one.
            sizes = {len(call.text): number for number, call in self._calls.items() if call.sent_on is self._ws}
            if sizes:
                self._settle(sizes[max(sizes)], _too_large("the gateway takes no message of this size"))
        elif sent is not None and sent.code == _TOO_LARGE:
            if self._max_size is None:
                self._max_size = _LARGEST_ANSWER
            else:
                message = "The gateway's answer is too large"
                self._fail_all(AgentPassConnectionError(-1, message, {"reason": "response_too_large"}))

    # After a lost connection

    async def _reconnect(self) -> None:
        delay = min(_FIRST_DELAY * 2 ** min(self._attempts, 5), _LONGEST_DELAY)
        why = ""
        while self._max_retries is None or self._attempts < self._max_retries:
            self._attempts += 1
            await self._backoff_sleep(delay)
            if self._closed:
                return
            delay = min(delay * 2, _LONGEST_DELAY)
            began = _now()
            try:
                await self._open()
            except AgentPassConnectionError as failed:
                _log.info("no connection to the gateway: %s", failed.message)
                why = f": {failed.message}"
                if failed.reason in _FINAL:
                    self._end(failed)
                    return
            else:
                outage = self._silence()
                self._contact = began
                await self._resume(may_act=outage <= _LONGEST_OUTAGE)
                return
        self._end(AgentPassConnectionError(-1, f"Connection lost{why}"))

    async def _backoff_sleep(self, delay: float) -> None:
        """Waits, up to a quarter longer, so that not all agents come back at once."""
        await asyncio.sleep(delay * random.uniform(1, 1.25))

    async def _resume(self, *, may_act: bool) -> None:
        """Sends again what may be sent again; says of the rest that its outcome is unknown."""
        for number, call in list(self._calls.items()):
            is_known = may_act and call.was_keyed and self._keyed
            if number not in self._pending:
                self._calls.pop(number, None)
            elif call.acts and call.sent_on is not None and not is_known:
                message = "The connection was lost while the call was under way: look at the pending results"
                self._settle(number, AgentPassConnectionError(-1, message, {"reason": "unknown_result"}))
            else:
                await self._send(call)

    async def _collect(self, ws: websockets.ClientConnection) -> None:
        """Takes what a gateway without idempotency keys has finished meanwhile."""
        await ws.send(_frame(self._next_id(), "get_pending_results", {}))
        reply = _parse(await asyncio.wait_for(ws.recv(), _CONNECT_LIMIT))
        result = reply.get("result")
        results = _dicts(result.get("results")) if isinstance(result, dict) else []
        self._adopt(results)
        self._unclaimed += results

    def _adopt(self, results: list[dict[str, Any]]) -> None:
        """Ends calls which a gateway without idempotency keys names by the number that they were sent with."""
        for item in results:
            number, text = item.get("request_id"), item.get("result")
            if not isinstance(number, int) or number not in self._pending:
                continue
            outcome = _parse(text) if isinstance(text, str) else text if isinstance(text, dict) else {}
            status, data = outcome.get("status"), outcome.get("data")
            if status == "executed":
                self._settle(number, {"data": data} if number in self._calls else data)
            elif status in ("denied", "error"):
                kind, code = (AgentPassDenied, -32001) if status == "denied" else (AgentPassError, -32004)
                self._settle(number, kind(code, data if isinstance(data, str) else status))

    # Answers

    def _receive(self, raw: str | bytes) -> None:
        message = _parse(raw)
        if message.get("method") == "approval_pending":
            self._tell(message.get("params"))
            return
        number = message.get("id")
        if number is None and "error" in message and len(self._calls) == 1:
            # It can only be about the one thing that we asked.
            number = next(iter(self._calls))
        if isinstance(number, str) and number.isdecimal():
            number = int(number)
        if not isinstance(number, int) or isinstance(number, bool):
            return
        self._has_answered = True
        if number in self._pending:
            self._settle(number, from_wire(message["error"]) if "error" in message else message.get("result"))
        elif (call := self._calls.pop(number, None)) is not None:
            self._unclaimed += _as_pending_result(call, message)

    def _tell(self, params: object) -> None:
        if not isinstance(params, dict):
            return
        number, request_id = params.get("id"), params.get("request_id")
        call = self._calls.get(number) if isinstance(number, int) else None
        if call is None or call.on_pending is None or not isinstance(request_id, str) or request_id in call.asked:
            return
        call.asked.add(request_id)
        try:
            told = call.on_pending({"request_id": request_id, "expires_at": params.get("expires_at")})
            if inspect.isawaitable(told):
                self._keep(told)
        except Exception:
            _log.exception("on_pending failed")

    def _keep(self, work: Awaitable[object]) -> None:
        """Lets work of the caller's go on beside the connection."""
        task = asyncio.ensure_future(_logged(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _settle(self, number: int, outcome: Any) -> None:
        self._calls.pop(number, None)
        future = self._pending.pop(number, None)
        if future is None or future.done():
            return
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _fail_all(self, why: AgentPassConnectionError) -> None:
        for number in list(self._pending):
            self._settle(number, AgentPassConnectionError(why.code, why.message, why.data))

    def _end(self, why: AgentPassConnectionError) -> None:
        """There is no hope of a connection: `connect` begins anew."""
        self._ended = why
        self._fail_all(why)


def _now() -> tuple[float, float]:
    return time.time(), time.monotonic()


async def _logged(work: Awaitable[object]) -> None:
    try:
        await work
    except Exception:
        _log.exception("on_pending failed")


def _frame(number: int | str, method: str, params: Mapping[str, Any]) -> str:
    try:
        text = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": number}, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as why:
        message = f"The arguments cannot be written as JSON: {why}"
        raise AgentPassError(-32600, message, {"reason": "invalid_request"}) from why
    if len(text) > _LARGEST_FRAME:
        raise _too_large(f"the request is larger than {_LARGEST_FRAME} bytes")
    return text


def _parse(raw: str | bytes) -> dict[str, Any]:
    """The object in a message; an empty one for anything else."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _dicts(items: object) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _too_large(message: str) -> AgentPassError:
    return AgentPassError(-32600, message[0].upper() + message[1:], {"reason": "too_large"})


def _as_pending_result(call: _Call, message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An answer that came when its caller had stopped waiting, as `get_pending_results` returns it."""
    result: Any = message.get("result")
    if "error" in message:
        why = from_wire(message["error"])
        status = "denied" if isinstance(why, (AgentPassDenied, AgentPassTimeout)) else "error"
        result = {"status": status, "data": None, "reason": why.reason, "message": why.message, **_id(why.data)}
    if not isinstance(result, dict) or "request_id" not in result:
        return []
    now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
    return [
        {
            "request_id": result.pop("request_id"),
            "tool_name": call.params.get("tool"),
            "args": json.dumps(call.params.get("args")),
            "signature": "",
            "result": json.dumps(result),
            "created_at": now,
            "expires_at": None,
        }
    ]


def _id(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"request_id": data["request_id"]} if "request_id" in data else {}

"""Actions that the agent's own process performs: the gateway decides, asks and records, and the agent acts.

A permit binds an agent that asks. It keeps a mistaken one from acting, not a hostile one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import copy
import functools
import inspect
import logging
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from agentpass.approvals import ApprovalRequest, Approvals, ResolveOutcome
from agentpass.client import AgentPassClient
from agentpass.errors import AgentPassConnectionError, AgentPassError, AgentPassTimeout
from agentpass.sync import Background

F = TypeVar("F", bound=Callable[..., Any])
Executor = Callable[[str, dict[str, Any]], Any]

_log = logging.getLogger("agentpass")

# How long an action waits until its report has arrived; the report goes on afterwards.
_REPORT_LIMIT = 2.0
_LONGEST_DETAIL = 500


@dataclass(frozen=True)
class ActionDenied:
    """What `Guard.execute` returns instead of a result. It is falsy, and nothing was done."""

    reason: str
    """For programs: ``denied_by_user``, ``denied_by_policy``, ``approval_timed_out``, ``unreachable`` and so on."""
    tool: str
    request_id: str | None = None
    note: str | None = None
    """What the person who said no wrote."""
    message: str = ""
    """For people and models."""

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return f"{self.message or self.reason} ({self.note})" if self.note else self.message or self.reason


@dataclass(frozen=True)
class Decision:
    """What the rules say of an action. It is truthy if they allow it without a question."""

    decision: str
    """``allow``, ``ask``, ``deny`` or ``invalid``."""
    tool: str
    signature: str | None = None
    rule: dict[str, Any] | None = None
    reasons: list[Any] = field(default_factory=list)
    trace: list[Any] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.decision == "allow"


class Guard:
    """Stands in front of what the agent's own process does. Tools are those of a service with ``handler: permit``.

    ::

        guard = Guard("wss://gateway:8443", token="...")
        result = guard.execute("delete_file", {"path": "notes.txt"}, run_tool, reason="Not needed any more")
        if isinstance(result, ActionDenied):
            return f"Not done: {result}"

    It connects when it is first used; any thread and any event loop may use it.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        approvals_url: str | None = None,
        approvals_token: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        pin: str | None = None,
        ca_file: str | None = None,
    ) -> None:
        """Prepares a guard.

        Args:
            url: The gateway, as for `AgentPassClient`.
            token: The agent's token.
            approvals_url: The admin pages, ``http(s)://host:port``, for `pending` and `resolve`.
            approvals_token: The token of a channel of type ``api``. Keep it from agents.
            timeout: Seconds to wait for a permit; the question is withdrawn then. None waits as long as the gateway.
            max_retries: As for the client.
            pin: As for the client.
            ca_file: As for the client.
        """
        self._client = AgentPassClient(url, token, max_retries=max_retries, pin=pin, ca_file=ca_file)
        self._background = Background()
        self._connecting = asyncio.Lock()
        self._timeout = timeout
        self._reports: set[concurrent.futures.Future[Any]] = set()
        self._approvals: Approvals | None = None
        if approvals_url is not None:
            is_tls = approvals_url.lower().startswith("https:")
            self._approvals = Approvals(
                approvals_url,
                approvals_token or "",
                pin=pin if is_tls else None,
                ca_file=ca_file if is_tls else None,
            )

    def execute(
        self,
        tool_name: str,
        params: Mapping[str, Any],
        executor: Executor,
        *,
        reason: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
    ) -> Any:
        """Runs ``executor(tool_name, params)`` if the gateway permits it, and reports what came of it.

        The executor gets a copy of the parameters as they were asked about. What it raises goes through.

        Args:
            tool_name: A tool of a permit service.
            params: What the action is about; must be writable as JSON.
            executor: Does it.
            reason: Shown to the person who is asked.
            agent_id: Accepted and left out: the token says who asks.
            session_id: Your own name for what you are doing.

        Returns:
            What the executor returns, or `ActionDenied`. A tool that the gateway performs itself runs there, and its
            data is returned.
        """
        frozen = copy.deepcopy(dict(params))
        permit = self._background.run(self._permit(tool_name, frozen, reason, session_id))
        if not isinstance(permit, _Permit):
            return permit
        if permit.is_over():
            return permit.denied(tool_name)
        try:
            result = executor(tool_name, frozen)
        except BaseException as why:
            self._say(permit, why)
            raise
        self._say(permit, None)
        return result

    async def aexecute(
        self,
        tool_name: str,
        params: Mapping[str, Any],
        executor: Executor,
        *,
        reason: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
    ) -> Any:
        """As `execute`, for code with an event loop; ``executor`` may be a coroutine function. No thread waits."""
        frozen = copy.deepcopy(dict(params))
        permit = await asyncio.wrap_future(self._background.begin(self._permit(tool_name, frozen, reason, session_id)))
        if not isinstance(permit, _Permit):
            return permit
        if permit.is_over():
            return permit.denied(tool_name)
        try:
            result = executor(tool_name, frozen)
            if inspect.isawaitable(result):
                result = await result
        except BaseException as why:
            self._begin_report(permit, why)
            raise
        report = self._begin_report(permit, None)
        await asyncio.wait([asyncio.wrap_future(report)], timeout=_REPORT_LIMIT)
        return result

    @overload
    def gate(self, func: F) -> F: ...

    @overload
    def gate(self, func: None = None, *, name: str | None = None, reason: str | None = None) -> Callable[[F], F]: ...

    def gate(self, func: Any = None, *, name: str | None = None, reason: str | None = None) -> Any:
        """Decorator: every call of the function needs a permit, under its own name or ``name``.

        The parameters are the call's arguments by name; ``self`` and ``cls`` are left out. The function may be a
        coroutine function.
        """
        if func is None:
            return functools.partial(self.gate, name=name, reason=reason)
        tool, signature = name or func.__name__, inspect.signature(func)

        def bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[str, Any], Executor]:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            params: dict[str, Any] = {}
            for at, (key, parameter) in enumerate(signature.parameters.items()):
                if at == 0 and key in ("self", "cls"):
                    continue
                # What is asked about is what runs, whatever becomes of the caller's objects meanwhile.
                value = bound.arguments[key] = copy.deepcopy(bound.arguments[key])
                if parameter.kind is parameter.VAR_KEYWORD:
                    # A second value under one name would be shown in the place of the one that counts.
                    if taken := sorted(value.keys() & signature.parameters.keys()):
                        raise TypeError(f"{tool}() is gated: **{key} must not name a parameter ({', '.join(taken)})")
                    params.update(value)
                else:
                    params[key] = value
            return params, lambda _tool, _params: func(*bound.args, **bound.kwargs)

        if inspect.iscoroutinefunction(func):

            @functools.wraps(func)
            async def agated(*args: Any, **kwargs: Any) -> Any:
                params, executor = bind(args, kwargs)
                return await self.aexecute(tool, params, executor, reason=reason)

            return agated

        @functools.wraps(func)
        def gated(*args: Any, **kwargs: Any) -> Any:
            params, executor = bind(args, kwargs)
            return self.execute(tool, params, executor, reason=reason)

        return gated

    def check(self, name: str, params: Mapping[str, Any] | None = None) -> Decision:
        """What the rules say of an action. Nothing is asked or recorded; only for agents with ``may_explain``."""
        found = self._background.run(self._explain(name, params))
        rule = found.get("rule")
        return Decision(
            decision=str(found.get("decision", "invalid")),
            tool=name,
            signature=found.get("signature") if isinstance(found.get("signature"), str) else None,
            rule=rule if isinstance(rule, dict) else None,
            reasons=_list(found.get("reasons")),
            trace=_list(found.get("trace")),
        )

    def require(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        *,
        reason: str | None = None,
        session_id: str | None = None,
    ) -> str:
        """Gets a permit, and leaves the action and its report to the caller.

        Returns:
            The request id, for `report`.

        Raises:
            PermissionError: when there is no permit.
        """
        permit = self._background.run(self._permit(name, dict(params or {}), reason, session_id))
        if isinstance(permit, ActionDenied):
            raise PermissionError(f"{name}: {permit}")
        if not isinstance(permit, _Permit):
            raise PermissionError(f"{name}: the gateway performs this tool itself, and has done so")
        return permit.request_id

    def report(self, request_id: str, ok: bool, detail: str | None = None) -> str:
        """Says what came of a permit that `require` got. See `AgentPassClient.report`."""
        return self._background.run(self._client.report(request_id, ok, detail))

    def classify(self, name: str) -> str | None:
        """See the function `classify`."""
        return classify(name)

    def pending(self) -> list[ApprovalRequest]:
        """The questions that wait for a person. Needs ``approvals_url`` and its token."""
        return self._board().pending()

    def resolve(
        self, request_id: str, approved: bool, *, actor: str | None = None, note: str | None = None
    ) -> ResolveOutcome:
        """Answers a question. Needs ``approvals_url`` and its token."""
        return self._board().resolve(request_id, approved, actor=actor, note=note)

    def close(self) -> None:
        """Disconnects, after the last reports."""
        concurrent.futures.wait(set(self._reports), timeout=_REPORT_LIMIT)
        if self._background.is_running:
            self._background.run(self._client.close())
            self._background.stop()
            self._connecting = asyncio.Lock()

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _board(self) -> Approvals:
        if self._approvals is None:
            raise ValueError("pending and resolve need approvals_url and approvals_token")
        return self._approvals

    async def _permit(
        self, tool: str, params: dict[str, Any], reason: str | None, session: str | None
    ) -> _Permit | ActionDenied | Any:
        asked: list[str] = []
        try:
            await self._connect()
            found = await self._client.request(
                tool,
                params,
                reason=reason,
                session=session,
                on_pending=lambda info: asked.append(info["request_id"]),
                timeout=self._timeout,
            )
        except AgentPassError as why:
            if asked and isinstance(why, AgentPassTimeout):
                self._begin(self._withdraw(asked[-1]))
            return _denied(tool, why, asked)
        except asyncio.CancelledError:
            # Nobody waits any more, so nobody should be asked.
            if asked:
                self._begin(self._withdraw(asked[-1]))
            raise
        if found.status != "permitted":
            return found.data
        permit = _Permit(found.request_id, found.expires_in or 0)
        return permit.denied(tool) if permit.is_over() else permit

    async def _connect(self) -> None:
        # One attempt at a time: many may ask at once when the first one is made.
        async with self._connecting:
            if not self._client.is_usable:
                await self._client.connect()

    async def _explain(self, name: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
        await self._connect()
        return await self._client.explain(name, params)

    async def _withdraw(self, request_id: str) -> None:
        with contextlib.suppress(AgentPassError):
            await self._client.cancel(request_id)

    def _say(self, permit: _Permit, why: BaseException | None) -> None:
        concurrent.futures.wait([self._begin_report(permit, why)], timeout=_REPORT_LIMIT)

    def _begin_report(self, permit: _Permit, why: BaseException | None) -> concurrent.futures.Future[Any]:
        detail = None if why is None else " ".join(f"{type(why).__name__}: {why}".split())[:_LONGEST_DETAIL]
        return self._begin(self._report(permit.request_id, why is None, detail))

    async def _report(self, request_id: str, ok: bool, detail: str | None) -> None:
        try:
            await self._client.report(request_id, ok, detail)
        except AgentPassError as why:
            # The action is over, whatever becomes of its report.
            _log.warning("what came of %s was not reported: %s", request_id, why.message)

    def _begin(self, work: Coroutine[Any, Any, Any]) -> concurrent.futures.Future[Any]:
        future = self._background.begin(work)
        self._reports.add(future)
        future.add_done_callback(self._reports.discard)
        return future


class _Permit:
    """What may be begun now, and not once its time is over."""

    def __init__(self, request_id: str, seconds: float) -> None:
        self.request_id = request_id
        self._seconds = seconds
        self._began = (time.time(), time.monotonic())

    def is_over(self) -> bool:
        # One clock stands still while the machine sleeps, the other may be set.
        wall, steady = self._began
        return max(time.time() - wall, time.monotonic() - steady) >= self._seconds

    def denied(self, tool: str) -> ActionDenied:
        return ActionDenied("permit_expired", tool, self.request_id, message="The permit came too late")


def _denied(tool: str, why: AgentPassError, asked: list[str]) -> ActionDenied:
    default = "unreachable" if isinstance(why, AgentPassConnectionError) else f"error_{why.code}"
    request_id = why.request_id or (asked[-1] if asked else None)
    message = f"{why.message} ({why.rule})" if why.rule and not why.note else why.message
    return ActionDenied(why.reason or default, tool, request_id, why.note, message)


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list) else []


_KINDS = {
    "delete": "delete destroy drop erase kill prune purge remove reset revoke rm truncate uninstall unlink wipe",
    "pay": "buy charge checkout order pay purchase refund subscribe transfer withdraw",
    "admin": "admin disable enable grant key keys password permission permissions role secret secrets sudo token",
    "deploy": "apply deploy install migrate publish release rollback",
    "export": "backup dump export exfiltrate share upload",
    "send": "call email mail message notify post reply send sms tweet",
    "execute": "bash eval exec execute invoke reboot restart run shell shutdown spawn start stop terminal",
    "write": "add append change create edit insert modify move overwrite patch put rename replace set update write",
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words.split()}
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def classify(name: str) -> str | None:
    """What kind of action a tool's name suggests: ``delete``, ``pay``, ``send`` and so on; None if it sounds harmless.

    A hint for choosing rules, never a decision: a name says little about what a tool does. Whole words count, so that
    ``evaluate_model`` and ``running_total`` are harmless.
    """
    found = {_KIND_OF.get(word.lower()) for word in _WORDS.findall(name)}
    return next((kind for kind in _KINDS if kind in found), None)

"""Runs a plugin for the gateway: ``python -m agentpass.plugin [--path DIR] module:Class``.

The gateway starts this and speaks MCP on its stdin and stdout. The service's configuration, credentials included, comes
with ``initialize``, never in arguments or the environment. Whatever the plugin prints goes to stderr, and exceptions
that it raises become one sentence without credentials.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import inspect
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TextIO

from agentpass.config import AuthConfig, ConfigError, ServiceConfig, ToolDefinition
from agentpass.executor import ExecutionError
from agentpass.tools import input_schema

_INVALID_REQUEST, _METHOD_NOT_FOUND, _INVALID_PARAMS, _INTERNAL = -32600, -32601, -32602, -32603
_VERSION = "2025-11-25"
# What the gateway takes as one line, less what stands around a result.
_LARGEST_RESULT = (8 << 20) - (64 << 10)


class _Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Secrets:
    """The credentials of the service, to be kept out of all texts."""

    def __init__(self, auth: AuthConfig | None = None) -> None:
        found = {auth.token, auth.password} if auth else set()
        self._found = sorted((text for text in found if len(text) >= 4), key=len, reverse=True)

    def removed(self, text: str) -> str:
        """The text without any of them."""
        for secret in self._found:
            text = text.replace(secret, "***")
        return text


class Plugin:
    """A plugin's object, on an event loop of its own: one that blocks does not keep us from answering."""

    def __init__(self, handler_class: str) -> None:
        self.handler_class = handler_class
        self.config: ServiceConfig | None = None
        self.secrets = Secrets()
        self._handler: Any = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="plugin", daemon=True).start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Begins work on the plugin's loop; a `concurrent.futures.Future`."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def start(self, config: ServiceConfig) -> None:
        """Constructs the plugin's object.

        Raises:
            ConfigError: in words, whatever is wrong.
        """
        self.config, self.secrets = config, Secrets(config.auth)
        build = load(self.handler_class)
        try:
            self._handler = build(config, config.tools)
        except BaseException as why:
            self._log("cannot be started", why)
            raise ConfigError(f"{self.handler_class} cannot be started: {self.sentence(why)}") from why

    async def call(self, tool: str, args: dict[str, Any]) -> dict[str, Any]:
        """Carries out a call; an MCP result, also for one that failed."""
        try:
            found = await _result(self._handler.execute, tool, args)
        except asyncio.CancelledError:
            raise
        except BaseException as why:
            self._log(f"{tool} failed", why)
            return {"content": [{"type": "text", "text": self.sentence(why)}], "isError": True}
        return _written(found)

    async def health(self) -> dict[str, Any]:
        """What `agentpass/health` answers."""
        try:
            return {"ok": bool(await _result(self._handler.health_check))}
        except BaseException as why:
            return {"ok": False, "detail": self.sentence(why)}

    async def close(self) -> None:
        """Lets the plugin clean up."""
        if self._handler is None:
            return
        try:
            await _result(self._handler.close)
        except BaseException as why:
            self._log("close failed", why)

    def sentence(self, why: BaseException) -> str:
        """An exception in one line, for agents."""
        text = " ".join(str(why).split())
        kind = type(why).__name__
        if isinstance(why, (ExecutionError, ConfigError)) and text:
            return self.secrets.removed(text)
        return self.secrets.removed(f"{kind}: {text}" if text else kind)

    def _log(self, what: str, why: BaseException) -> None:
        trace = "".join(traceback.format_exception(type(why), why, why.__traceback__))
        print(self.secrets.removed(f"{self.handler_class}: {what}\n{trace}"), file=sys.stderr, flush=True)


def load(handler_class: str) -> Callable[..., Any]:
    """The class that ``module.path:ClassName`` names.

    Raises:
        ConfigError: when there is none.
    """
    module_path, colon, class_name = handler_class.rpartition(":")
    if not colon or not module_path or not class_name:
        raise ConfigError(f"expected 'module.path:ClassName', got '{handler_class}'")
    try:
        module = importlib.import_module(module_path)
    except Exception as why:
        raise ConfigError(f"Cannot import '{module_path}': {type(why).__name__}: {why}") from why
    found = getattr(module, class_name, None)
    if not callable(found):
        raise ConfigError(f"Class '{class_name}' not found in module '{module_path}'")
    return found  # type: ignore[no-any-return]


async def _result(method: Callable[..., Any], *args: Any) -> Any:
    """Calls a method of the plugin: a plain function in a thread, where it may block."""
    if inspect.iscoroutinefunction(method):
        return await method(*args)
    found = await asyncio.to_thread(method, *args)
    return await found if inspect.isawaitable(found) else found


def _written(found: Any) -> dict[str, Any]:
    """A result as MCP. What was done is never reported as failed, whatever the plugin returned."""
    value = found if isinstance(found, dict) else {"result": found}
    try:
        text = json.dumps(value, allow_nan=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps({"result": str(value)[:_LARGEST_RESULT]})
    if len(text) > _LARGEST_RESULT:
        text = json.dumps({"result": None, "note": f"the result has more than {_LARGEST_RESULT} bytes"})
    return {"content": [{"type": "text", "text": text}], "structuredContent": json.loads(text), "isError": False}


def _listed(tool: ToolDefinition) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "inputSchema": input_schema({"args": {name: asdict(arg) for name, arg in tool.args.items()}}),
    }


class Server:
    """Reads requests line by line and answers them as they finish."""

    def __init__(self, plugin: Plugin, requests: TextIO, replies: TextIO) -> None:
        self._plugin, self._requests, self._replies = plugin, requests, replies
        self._lock = threading.Lock()
        self._running: dict[str, Any] = {}

    def serve(self) -> int:
        """Until the other side closes; the exit code."""
        try:
            for line in self._requests:
                if line.strip():
                    self._take(line)
        except ConfigError:
            return 1
        self._plugin.run(self._plugin.close()).result()
        return 0

    def _take(self, line: str) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return self._reply(None, error=(-32700, "Parse error"))
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            return None
        params = message.get("params")
        number = message.get("id")
        try:
            self._do(message["method"], number, params if isinstance(params, dict) else {}, "id" in message)
        except _Refusal as why:
            self._reply(number, error=(why.code, str(why)))
        except ConfigError as why:
            self._reply(number, error=(_INTERNAL, self._plugin.secrets.removed(str(why))))
            raise
        return None

    def _do(self, method: str, number: Any, params: Mapping[str, Any], is_request: bool) -> None:
        if method == "notifications/cancelled":
            running = self._running.get(json.dumps(params.get("requestId")))
            if running is not None:
                running.cancel()
        elif not is_request:
            return
        elif method == "ping":
            self._reply(number, {})
        elif method == "initialize":
            self._reply(number, self._initialize(params))
        elif self._plugin.config is None:
            raise _Refusal(_INVALID_REQUEST, "initialize comes first")
        elif method == "tools/list":
            self._reply(number, {"tools": [_listed(tool) for tool in self._plugin.config.tools]})
        elif method == "tools/call":
            tool, args = params.get("name"), params.get("arguments")
            if tool not in {known.name for known in self._plugin.config.tools}:
                raise _Refusal(_INVALID_PARAMS, f"Unknown tool: {tool}")
            self._begin(number, self._plugin.call(str(tool), dict(args) if isinstance(args, dict) else {}))
        elif method == "agentpass/health":
            self._begin(number, self._plugin.health())
        else:
            raise _Refusal(_METHOD_NOT_FOUND, f"Unknown method: {method}")

    def _initialize(self, params: Mapping[str, Any]) -> dict[str, Any]:
        told = params.get("agentpass")
        if self._plugin.config is not None:
            raise _Refusal(_INVALID_REQUEST, "initialize comes once")
        if not isinstance(told, dict) or not isinstance(told.get("service"), dict):
            raise _Refusal(_INVALID_PARAMS, "agentpass.service is missing: only an agentpass gateway starts this")
        config = ServiceConfig.read(told["service"], [t for t in told.get("tools") or [] if isinstance(t, dict)])
        self._plugin.run(self._plugin.start(config)).result()
        asked = params.get("protocolVersion")
        return {
            "protocolVersion": asked if isinstance(asked, str) else _VERSION,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": config.name or self._plugin.handler_class, "version": _own_version()},
        }

    def _begin(self, number: Any, work: Coroutine[Any, Any, dict[str, Any]]) -> None:
        key = json.dumps(number)
        running = self._running[key] = self._plugin.run(work)

        def done(_: object) -> None:
            self._running.pop(key, None)
            if not running.cancelled():
                self._reply(number, running.result())

        running.add_done_callback(done)

    def _reply(self, number: Any, result: Any = None, error: tuple[int, str] | None = None) -> None:
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": number}
        if error is None:
            reply["result"] = result
        else:
            reply["error"] = {"code": error[0], "message": error[1]}
        # A gateway that is gone needs no answer.
        with self._lock, contextlib.suppress(OSError):
            self._replies.write(json.dumps(reply) + "\n")
            self._replies.flush()


def _own_version() -> str:
    try:
        return version("agentpass")
    except PackageNotFoundError:
        return "0"


def _private_streams() -> tuple[TextIO, TextIO]:
    """Our stdin and stdout, which nobody else can reach from now on: prints go to stderr, reads find nothing."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8", errors="replace")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, replies


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m agentpass.plugin", description="Runs a plugin for the gateway.")
    parser.add_argument("handler_class", metavar="module:Class")
    parser.add_argument("--path", help="the directory of the module")
    options = parser.parse_args(arguments)
    if options.path:
        sys.path.insert(0, options.path)
    requests, replies = _private_streams()
    return Server(Plugin(options.handler_class), requests, replies).serve()


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Threads of the plugin's must not keep a program alive that nobody talks to.
    os._exit(code)

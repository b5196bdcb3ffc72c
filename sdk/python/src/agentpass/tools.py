"""For those who hand tools to a model: schemas of arguments, and errors as sentences that a model can act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentpass.errors import AgentPassDenied, AgentPassError, AgentPassTimeout

_TYPES = ("string", "integer", "number", "boolean", "array", "object")


def input_schema(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of the arguments of a tool, as `list_tools` returns it."""
    args = tool.get("args")
    known = {str(name): arg for name, arg in args.items() if isinstance(arg, dict)} if isinstance(args, dict) else {}
    return {
        "type": "object",
        "properties": {name: _argument(arg) for name, arg in known.items()},
        "required": [name for name, arg in known.items() if arg.get("required") is True],
    }


def _argument(arg: Mapping[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    kind = arg.get("type")
    if kind == "bytes":
        schema.update(type="string", contentEncoding="base64")
    elif kind in _TYPES:
        schema["type"] = kind
    if isinstance(arg.get("validate"), str):
        # The gateway wants the whole value to match; a schema's pattern may match anywhere.
        schema["pattern"] = f"^(?:{arg['validate']})$"
    if isinstance(arg.get("items"), dict):
        schema["items"] = _argument(arg["items"])
    for name in ("description", "default"):
        if arg.get(name):
            schema[name] = arg[name]
    return schema


def for_model(why: AgentPassError) -> str:
    """What became of a call, for a model: what happened, and whether to try again."""
    if why.reason == "unknown_result":
        return f"{why.message}. It may have been done or not: do not repeat it, look first."
    if why.reason == "denied_by_user":
        return f"Denied by a person{f': {why.note}' if why.note else ''}. Do not retry."
    if isinstance(why, AgentPassDenied):
        again = f" Not before {why.retry_after:g} seconds from now." if why.retry_after else " Do not retry."
        return f"{why}.{again}"
    if isinstance(why, AgentPassTimeout) and why.code == -32002:
        return "Nobody answered in time, and nothing was done."
    if why.retry_after:
        return f"{why.message}. Try again in {why.retry_after:g} seconds."
    return f"{why.message}."

"""The gateway's tools for the OpenAI Agents SDK (package openai-agents)."""

import json
from typing import Any

from agents import FunctionTool
from agents.tool_context import ToolContext

from agentpass import AgentPassClient, AgentPassError
from agentpass.tools import for_model, input_schema


async def tools_of(gw: AgentPassClient) -> list[FunctionTool]:
    """What this agent may ask for. The client stays open as long as the tools are used."""
    return [_tool(gw, tool) for tool in await gw.list_tools()]


def _tool(gw: AgentPassClient, tool: dict[str, Any]) -> FunctionTool:
    async def invoke(_context: ToolContext[Any], arguments: str) -> str:
        try:
            return json.dumps(await gw.call(tool["name"], json.loads(arguments or "{}")))
        except AgentPassError as why:
            return for_model(why)

    return FunctionTool(
        name=tool["name"],
        description=tool["description"],
        params_json_schema=input_schema(tool),
        on_invoke_tool=invoke,
        strict_json_schema=False,
    )

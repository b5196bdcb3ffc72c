"""The gateway's tools for LangChain (package langchain-core)."""

import json
from typing import Any

from langchain_core.tools import StructuredTool, ToolException

from agentpass import AgentPassClient, AgentPassError
from agentpass.tools import for_model, input_schema


async def tools_of(gw: AgentPassClient) -> list[StructuredTool]:
    """What this agent may ask for. The client stays open as long as the tools are used."""
    return [_tool(gw, tool) for tool in await gw.list_tools()]


def _tool(gw: AgentPassClient, tool: dict[str, Any]) -> StructuredTool:
    async def invoke(**arguments: Any) -> str:
        try:
            return json.dumps(await gw.call(tool["name"], arguments))
        except AgentPassError as why:
            raise ToolException(for_model(why)) from why

    return StructuredTool(
        name=tool["name"],
        description=tool["description"] or tool["name"],
        args_schema=input_schema(tool),
        coroutine=invoke,
        handle_tool_error=True,
    )

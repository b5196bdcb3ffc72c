"""agentpass: your agent asks for a tool call, a policy decides, you approve, and the gateway makes the call.

`AgentPassClient` and its twin `SyncAgentPassClient` ask a gateway.
"""

from agentpass.client import AgentPassClient
from agentpass.errors import (
    AgentPassConnectionError,
    AgentPassDenied,
    AgentPassError,
    AgentPassTimeout,
)
from agentpass.results import ToolResult
from agentpass.sync import SyncAgentPassClient

__all__ = [
    "AgentPassClient",
    "AgentPassConnectionError",
    "AgentPassDenied",
    "AgentPassError",
    "AgentPassTimeout",
    "SyncAgentPassClient",
    "ToolResult",
]

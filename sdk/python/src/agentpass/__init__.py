"""agentpass: your agent asks for a tool call, a policy decides, you approve, and the gateway makes the call.

`AgentPassClient` and its twin `SyncAgentPassClient` ask a gateway. `Guard` asks before the agent's own process acts.
"""

from agentpass.approvals import ApprovalRequest, ResolveOutcome
from agentpass.client import AgentPassClient
from agentpass.errors import (
    AgentPassConnectionError,
    AgentPassDenied,
    AgentPassError,
    AgentPassTimeout,
)
from agentpass.guard import ActionDenied, Decision, Guard, classify
from agentpass.results import ToolResult
from agentpass.sync import SyncAgentPassClient

__all__ = [
    "ActionDenied",
    "AgentPassClient",
    "AgentPassConnectionError",
    "AgentPassDenied",
    "AgentPassError",
    "AgentPassTimeout",
    "ApprovalRequest",
    "Decision",
    "Guard",
    "ResolveOutcome",
    "SyncAgentPassClient",
    "ToolResult",
    "classify",
]

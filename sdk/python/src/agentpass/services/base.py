"""The interface of a plugin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class ServiceHandler(ABC):
    """A service that the gateway reaches through Python.

    It is constructed on a running event loop with ``(config, tools)``: a `ServiceConfig`, a list of `ToolDefinition`.
    Methods may also be plain functions, which run in a thread of their own and may block.
    """

    @abstractmethod
    async def execute(self, tool_name: str, args: dict[str, Any]) -> dict[str, Any]:
        """Carries out an approved call. Several may run at once. An exception's text is what the agent is told."""

    @abstractmethod
    async def health_check(self) -> bool:
        """Whether the service can be reached."""

    @abstractmethod
    async def close(self) -> None:
        """Called once, before the end."""

"""What can go wrong with a call, as exceptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class AgentPassError(Exception):
    """A call that did not end well.

    Attributes:
        code: The JSON-RPC error code; -1 for errors of the client itself.
        message: For people, as the gateway said it.
        data: Everything else that the gateway said.
    """

    def __init__(self, code: int, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data: dict[str, Any] = dict(data or {})

    @property
    def reason(self) -> str | None:
        """For programs: ``denied_by_user``, ``service_error``, ``limit_reached`` and so on."""
        return self._text("reason")

    @property
    def reasons(self) -> list[Any]:
        """All reasons of a denial, where there are several."""
        found = self.data.get("reasons")
        return list(found) if isinstance(found, list) else []

    @property
    def note(self) -> str | None:
        """What the person who denied the call wrote."""
        return self._text("note")

    @property
    def rule(self) -> str | None:
        """The description of the rule that decided."""
        return self._text("rule")

    @property
    def request_id(self) -> str | None:
        """The gateway's id of the call, if the call is in its record."""
        return self._text("request_id")

    @property
    def argument(self) -> str | None:
        """The argument that is wrong."""
        return self._text("argument")

    @property
    def retry_after(self) -> float | None:
        """Seconds after which another attempt makes sense, where waiting helps."""
        seconds = self.data.get("retry_after")
        return float(seconds) if isinstance(seconds, (int, float)) and seconds >= 0 else None

    def _text(self, name: str) -> str | None:
        value = self.data.get(name)
        return value if isinstance(value, str) else None

    def __str__(self) -> str:
        more = self.note or self.rule
        return f"{self.message} ({more})" if more else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.code, self.message, self.data))


class AgentPassDenied(AgentPassError):
    """A person (-32001) or a rule (-32003) said no, or the call was withdrawn. Nothing was done."""


class AgentPassTimeout(AgentPassError):
    """Nobody answered in time.

    With code -32002 the question is over and nothing was done. With code -1 the caller's own ``timeout`` is over: the
    call goes on, and ``get_pending_results`` returns its outcome.
    """


class AgentPassConnectionError(AgentPassError, ConnectionError):
    """No connection, not authenticated (-32005), or the connection was lost and the call cannot be picked up."""


def from_wire(error: object) -> AgentPassError:
    """The exception for the ``error`` member of a reply, whatever it holds."""
    if not isinstance(error, dict):
        return AgentPassError(-1, "The gateway's error cannot be read")
    code, message, data = error.get("code"), error.get("message"), error.get("data")
    number = code if isinstance(code, int) else -1
    text = message if isinstance(message, str) else "Unknown error"
    kind = _KINDS.get(number, AgentPassError)
    return kind(number, text, data if isinstance(data, dict) else None)


_KINDS: dict[int, type[AgentPassError]] = {
    -32001: AgentPassDenied,
    -32002: AgentPassTimeout,
    -32003: AgentPassDenied,
    -32005: AgentPassConnectionError,
}

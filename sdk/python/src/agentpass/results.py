"""What came of a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ToolResult:
    """A call that was carried out, or that the agent may carry out itself."""

    status: str
    """``executed``, or ``permitted`` for tools that the agent performs itself."""
    data: Any
    """What the service returned; None if that was lost."""
    request_id: str
    """The gateway's id of the call."""
    replayed: bool = False
    """The outcome of an earlier call with the same idempotency key: nothing was done now."""
    data_lost: str | None = None
    """Why there is no data, in one word: the service did it, but its answer cannot be used."""
    data_note: str | None = None
    """What was changed in the data or is missing from it, for people."""
    edited: tuple[str, ...] = ()
    """Arguments that a person changed before approving."""
    expires_in: float | None = None
    """Seconds for which a permit counts, from the moment of receipt."""

    @classmethod
    def read(cls, reply: Mapping[str, Any]) -> ToolResult:
        """Reads a reply leniently: a member that is missing or of another type counts as absent."""
        edited, left = reply.get("edited"), reply.get("expires_in")
        return cls(
            status=_text(reply, "status") or "executed",
            data=reply.get("data"),
            request_id=_text(reply, "request_id") or "",
            replayed=reply.get("replayed") is True,
            data_lost=_text(reply, "data_lost"),
            data_note=_text(reply, "data_note"),
            edited=tuple(name for name in edited if isinstance(name, str)) if isinstance(edited, list) else (),
            expires_in=float(left) if isinstance(left, (int, float)) else None,
        )


def _text(reply: Mapping[str, Any], name: str) -> str | None:
    value = reply.get(name)
    return value if isinstance(value, str) else None

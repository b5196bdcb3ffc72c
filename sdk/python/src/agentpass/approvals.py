"""Questions that wait for a person, for programs that hold the token of an API channel."""

from __future__ import annotations

import enum
import json
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from typing import Any

from agentpass.errors import AgentPassConnectionError, AgentPassError
from agentpass.trust import tls_context

_LIMIT = 30.0


@dataclass(frozen=True)
class ApprovalRequest:
    """A question as the gateway puts it to people."""

    request_id: str
    tool: str
    params: dict[str, Any]
    risk: str | None
    agent_id: str
    session_id: str | None
    reason: str | None
    timestamp: str
    deadline: str
    digest: str | None = None
    """Names the call that was shown; an answer with it counts for no other."""

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)


class ResolveOutcome(str, enum.Enum):
    """What became of an answer."""

    RESOLVED = "RESOLVED"
    ALREADY_RESOLVED = "ALREADY_RESOLVED"
    UNKNOWN = "UNKNOWN"
    EXPIRED = "EXPIRED"
    COUNTED = "COUNTED"
    """One of several yeses that the question needs."""
    NOT_APPROVER = "NOT_APPROVER"
    """The rule wants somebody else's answer."""
    STALE = "STALE"
    """The call was changed since it was shown: look again."""


class Approvals:
    """The API channel of a gateway, on its admin listener."""

    def __init__(self, url: str, token: str, *, pin: str | None = None, ca_file: str | None = None) -> None:
        """Prepares it; nothing is sent yet.

        Args:
            url: ``http(s)://host:port`` of the admin pages.
            token: The channel's token.
            pin: As for the client.
            ca_file: As for the client.
        """
        if not url.lower().startswith(("http://", "https://")):
            raise ValueError("the address of the admin pages begins with http:// or https://")
        self._url, self._token = url.rstrip("/"), token
        self._tls = tls_context(url, pin=pin, ca_file=ca_file) if url.lower().startswith("https:") else None
        self._shown: dict[str, str] = {}

    def pending(self) -> list[ApprovalRequest]:
        """The open questions, oldest first."""
        found = self._fetch("pending").get("approvals")
        questions = [_question(one) for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        self._shown = {question.request_id: question.digest for question in questions if question.digest}
        return questions

    def resolve(
        self, request_id: str, approved: bool, *, actor: str | None = None, note: str | None = None
    ) -> ResolveOutcome:
        """Answers a question. It counts only for the call that `pending` has shown, if that has shown it.

        Args:
            request_id: The question's.
            approved: Yes or no.
            actor: Who says so, as far as this program knows.
            note: Why, for the agent.
        """
        body: dict[str, Any] = {"request_id": request_id, "approved": approved}
        optional = {"actor": actor, "note": note, "digest": self._shown.get(request_id)}
        body.update({name: value for name, value in optional.items() if value is not None})
        word = str(self._fetch("resolve", body).get("outcome", "")).upper()
        try:
            return ResolveOutcome(word)
        except ValueError:
            raise AgentPassError(-1, f"The gateway answers with an unknown outcome: {word}") from None

    def _fetch(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(f"{self._url}/approvals/api/{path}")  # noqa: S310
        request.add_header("Authorization", f"Bearer {self._token}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=self._tls))
        try:
            with opener.open(request, timeout=_LIMIT) as response:
                found = json.load(response)
        except urllib.error.HTTPError as why:
            found = _refused(why)
        except (OSError, ValueError) as why:
            raise AgentPassConnectionError(-1, f"Cannot reach the admin listener: {why}") from why
        return found if isinstance(found, dict) else {}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes to the address that was given, and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _refused(why: urllib.error.HTTPError) -> Any:
    """An answer that is none of 200 but says what became of it; anything else is an error."""
    with why:
        try:
            found = json.load(why)
        except ValueError:
            found = None
    if isinstance(found, dict) and isinstance(found.get("outcome"), str) and found["outcome"].upper() == "STALE":
        return found
    message = found.get("error") or found.get("message") if isinstance(found, dict) else None
    text = f"The admin listener answers {why.code}" + (f": {message}" if isinstance(message, str) else "")
    if why.code == 401:
        raise AgentPassConnectionError(-32005, text, {"reason": "not_authenticated"})
    raise AgentPassError(-1, text, {"status": why.code})


def _question(found: dict[str, Any]) -> ApprovalRequest:
    def text(name: str) -> str | None:
        value = found.get(name)
        return value if isinstance(value, str) else None

    args = found.get("args")
    return ApprovalRequest(
        request_id=text("request_id") or "",
        tool=text("tool") or "",
        params=args if isinstance(args, dict) else {},
        risk=text("risk"),
        agent_id=text("agent_id") or "",
        session_id=text("session_id"),
        reason=text("reason"),
        timestamp=text("created_at") or "",
        deadline=text("expires_at") or "",
        digest=text("digest"),
    )

"""What a plugin is told about its service and its tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

T = TypeVar("T")


class ConfigError(Exception):
    """A plugin that cannot be loaded."""


@dataclass
class ArgDefinition:
    """One argument of a tool."""

    required: bool = False
    validate: str | None = None
    """The pattern that the whole value matches."""
    type: str | None = None
    description: str = ""


@dataclass
class RequestDefinition:
    """The HTTP request of a tool; plugins have none."""

    method: str
    path: str
    body_exclude: list[str] | None = None


@dataclass
class ResponseDefinition:
    """What becomes of an HTTP response; plugins have none."""

    wrap: str | None = None


@dataclass
class ToolDefinition:
    """One tool of the service, as its tool file describes it."""

    name: str
    service_name: str
    description: str = ""
    signature: str = ""
    args: dict[str, ArgDefinition] = field(default_factory=dict)
    request: RequestDefinition | None = None
    response: ResponseDefinition | None = None


@dataclass
class AuthConfig:
    """The credentials of the service: ``type`` is bearer, header, query, basic or none."""

    type: str
    token: str = field(default="", repr=False)
    header_name: str = ""
    query_param: str = ""
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass
class HealthCheckConfig:
    """How the service is looked at."""

    method: str = "GET"
    path: str = "/"
    expect_status: int = 200


@dataclass
class ErrorMapping:
    """A message for an HTTP status."""

    status: int
    message: str


@dataclass
class ServiceConfig:
    """One service of the gateway's configuration."""

    name: str
    url: str
    auth: AuthConfig
    handler: str = "http"
    handler_class: str = ""
    health: HealthCheckConfig = field(default_factory=HealthCheckConfig)
    tools_file: str = ""
    tools: list[ToolDefinition] = field(default_factory=list)
    errors: list[ErrorMapping] = field(default_factory=list)

    @classmethod
    def read(cls, service: Mapping[str, Any], tools: Iterable[Mapping[str, Any]]) -> ServiceConfig:
        """Reads what a gateway says of a service. Members that this version does not know are left out."""
        name = str(service.get("name", ""))
        return cls(
            name=name,
            url=str(service.get("url") or ""),
            auth=_read(AuthConfig, service.get("auth"), type="none"),
            handler="python",
            handler_class=str(service.get("handler_class") or ""),
            health=_read(HealthCheckConfig, service.get("health")),
            tools_file=str(service.get("tools_file") or ""),
            tools=[_tool(name, tool) for tool in tools],
            errors=[_read(ErrorMapping, error, status=0, message="") for error in service.get("errors") or []],
        )


def _tool(service_name: str, tool: Mapping[str, Any]) -> ToolDefinition:
    args = tool.get("args")
    return ToolDefinition(
        name=str(tool.get("name", "")),
        service_name=service_name,
        description=str(tool.get("description") or ""),
        signature=str(tool.get("signature") or ""),
        args={str(name): _read(ArgDefinition, arg) for name, arg in args.items()} if isinstance(args, dict) else {},
    )


def _read(kind: type[T], members: object, **defaults: Any) -> T:
    known = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    given = members if isinstance(members, dict) else {}
    return kind(**{**defaults, **{name: value for name, value in given.items() if name in known and value is not None}})

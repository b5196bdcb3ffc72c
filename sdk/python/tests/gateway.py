"""The real gateway in a folder of its own, a service behind it that records every call, and a wire that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from agentpass import AgentPassClient

T = TypeVar("T")

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = pathlib.Path(os.environ.get("AGENTPASS_PROGRAM", REPOSITORY / "target/debug/agentpass")).resolve()
TOKEN = "a-token-of-the-default-agent"
LAPTOP = "a-token-of-the-laptop-agent"
BOARD = "a-token-of-the-board-0123456789"

CONFIG = """
gateway: {{host: 127.0.0.1, port: {port}, health_port: {health}, control_socket: control.sock{tls}}}
agents:
  default: {{token: a-token-of-the-default-agent}}
  laptop: {{token: a-token-of-the-laptop-agent, may_explain: true}}
messenger: {{type: local}}
channels:
  board: {{type: api, token: a-token-of-the-board-0123456789}}
services:
  home:
    url: "{url}"
    auth: {{type: bearer, token: the-token-of-the-service}}
    timeout: 45
    max_response_bytes: 8388608
    tools: tools.yaml
  shell: {{handler: permit, permit_ttl: {permit_ttl}, tools: shell.yaml}}
storage: {{path: data/agentpass.db}}
approval_timeout: {approval_timeout}
approvals: {{cool_down: off}}
rate_limit: {{max_pending_approvals: 100, max_requests_per_minute: 1000000}}
"""
TOOLS = """
tools:
  ha_get_state:
    description: "Reads a state"
    signature: "{entity_id}"
    args: {entity_id: {required: true}}
    request: {method: GET, path: "/api/states/{entity_id}"}
  ha_call_service:
    description: "Calls a service"
    signature: "{domain}.{service}, {entity_id}"
    args:
      domain: {required: true, validate: "^[a-z_]+$"}
      service: {required: true, validate: "^[a-z_]+$"}
      entity_id: {}
    extra_args: allow
    request: {method: POST, path: "/api/services/{domain}/{service}", body_exclude: [domain, service]}
  write:
    description: "Writes something down"
    args: {text: {required: true, free_text: true}, reason: {free_text: true}, session: {free_text: true}}
    extra_args: refuse
    request: {method: POST, path: "/api/write"}
  drop_all:
    description: "Never"
    request: {method: POST, path: "/api/drop"}
    extra_args: refuse
"""
SHELL = """
tools:
  delete_file:
    description: "Deletes a file on the agent's machine"
    kind: delete
    args: {path: {required: true, free_text: true}}
  read_file:
    description: "Reads a file on the agent's machine"
    kind: read
    args: {path: {required: true, free_text: true}}
  wipe_disk: {description: "Never", kind: delete}
"""
PERMISSIONS = """
rules:
  - {pattern: "ha_call_service(lock.*)", action: deny, description: "Locks are for people"}
  - {pattern: "drop_all", action: deny}
  - {pattern: "wipe_disk", action: deny, description: "Disks stay"}
  - {pattern: "write*", action: allow}
  - {pattern: "read_file*", action: allow}
defaults:
  - {pattern: "ha_get_*", action: allow}
  - {pattern: "*", action: ask}
"""


def eventually(what: str, attempt: Callable[[], T | None], seconds: float = 60) -> T:
    """The first truthy value of `attempt`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := attempt():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s for: {what}")


def quick(client: AgentPassClient) -> None:
    """Has the client come back sooner than people's clients do."""

    async def wait(_: float) -> None:
        await asyncio.sleep(random.uniform(0.01, 0.05))

    setattr(client, "_backoff_sleep", wait)  # noqa: B010


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """Answers with what it was asked, and keeps it. `delay` is how long it takes."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, Any]] = []
        self.delay = 0.0
        self.filler = 0
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                service.seen.append((self.command, self.path, json.loads(body) if body else None))
                time.sleep(service.delay)
                if self.path == "/api/states/sensor.none":
                    return self.reply(404, {"message": "Entity not found"})
                return self.reply(200, {"state": "21.5", "path": self.path, "filler": "x" * service.filler})

            def reply(self, status: int, value: Any) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def calls(self, path: str) -> list[Any]:
        return [body for _, where, body in list(self.seen) if where == path]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Gateway:
    """The program itself; `kill` and `start` as often as a test likes, always at the same address."""

    def __init__(self, *, tls: bool = False, approval_timeout: float = 60, permit_ttl: int = 60) -> None:
        self.service = Service()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="agentpass-sdk-"))
        self.port, self.health = free_port(), free_port()
        self.is_tls, self.pin = tls, ""
        part = ", tls: {cert: cert.pem, key: key.pem}" if tls else ""
        if tls:
            self._certificate()
        self._write(
            "config.yaml",
            CONFIG.format(
                port=self.port,
                health=self.health,
                tls=part,
                url=self.service.url,
                approval_timeout=approval_timeout,
                permit_ttl=permit_ttl,
            ),
        )
        self._write("tools.yaml", TOOLS)
        self._write("shell.yaml", SHELL)
        self._write("permissions.yaml", PERMISSIONS)
        self.log = self.folder / "log"
        self.start()

    def _certificate(self) -> None:
        done = subprocess.run([PROGRAM, "init", "made"], cwd=self.folder, check=True, capture_output=True, text=True)
        for name in ("cert.pem", "key.pem"):
            shutil.copy(self.folder / "made" / name, self.folder / name)
        found = re.search(r"sha256:[0-9a-f]{64}", done.stdout + done.stderr)
        assert found, done.stdout + done.stderr
        self.pin = found[0]

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)

    @property
    def url(self) -> str:
        return (
            f"{'wss' if self.is_tls else 'ws'}://localhost:{self.port}"
            if self.is_tls
            else f"ws://127.0.0.1:{self.port}"
        )

    @property
    def site(self) -> str:
        return f"http://127.0.0.1:{self.health}"

    def start(self) -> None:
        with self.log.open("a") as log:
            where = log.tell()
            command = [str(PROGRAM), "serve", *([] if self.is_tls else ["--insecure"])]
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=log)

        def listens() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return "listening on ws" in self.log.read_text()[where:]

        eventually("the gateway listens", listens)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        self.process.terminate()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        self.service.close()
        shutil.rmtree(self.folder)

    def cli(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run([PROGRAM, *arguments], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def questions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.cli("approvals", "--json"))
        return found

    def question(self) -> dict[str, Any]:
        return eventually("a question", lambda: next(iter(self.questions()), None))

    def approve(self) -> str:
        request_id = str(self.question()["request_id"])
        self.cli("approve", request_id)
        return request_id

    def deny(self, note: str = "") -> str:
        request_id = str(self.question()["request_id"])
        self.cli("deny", request_id, *(["--note", note] if note else []))
        return request_id

    def row(self, request_id: str) -> dict[str, Any]:
        for line in self.cli("audit", "list", "--json").splitlines():
            found: dict[str, Any] = json.loads(line)
            if found["request_id"] == request_id:
                return found
        raise AssertionError(f"no record of {request_id}")


class Proxy:
    """A wire to a gateway that can be cut at any moment, on both sides."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self.listener.getsockname()[1]}"
        self.open: list[socket.socket] = []
        self.connections = 0
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            with self.lock:
                self.open += [near, far]
                self.connections += 1
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        self._shut(source, sink)

    def _shut(self, *sockets: socket.socket) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def cut(self) -> None:
        with self.lock:
            sockets, self.open = self.open, []
        self._shut(*sockets)

    def close(self) -> None:
        self.listener.close()
        self.cut()

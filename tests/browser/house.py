"""A gateway in its own folder with a fake service behind it, and agents: the program's command line, and one that knows
only the protocol."""
import base64
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "packaging"))
from harness import Agent, Service, run  # noqa: E402

TOOLS = pathlib.Path(__file__).resolve().parent.parent.parent / "tools"
PASSWORD = "a fairly long password"

CONFIG = """
gateway: {{host: 127.0.0.1, port: 0, health_port: 0, control_socket: control.sock, admin_password_hash: "{hash}"}}
agents:
  laptop: {{token: the-token-of-the-laptop}}
  kitchen: {{token: the-token-of-the-kitchen}}
  cloud: {{token: the-token-of-the-cloud}}
messenger: {{type: local}}
services:
  homeassistant:
    url: "{url}"
    auth: {{type: bearer, token: the-token-of-home-assistant}}
    health: {{path: /api/}}
    tools: "{tools}/homeassistant.yaml"
  ntfy: {{url: "{url}", auth: {{type: none}}, tools: "{tools}/ntfy.yaml"}}
  paperless:
    url: "{url}"
    auth: {{type: header, header_name: X-Token, token: the-token-of-paperless}}
    tools: "{tools}/paperless.yaml"
storage: {{path: data/agentpass.db}}
approval_timeout: {timeout}
approvals: {{max_question_chars: 200000, cool_down: off}}
rate_limit: {{max_pending_approvals: 300, max_requests_per_minute: 100000}}
"""
PERMISSIONS = """
rules:
  - {pattern: "ha_call_service(lock.*)", action: deny, description: "Locks are for people"}
  - {pattern: "ha_call_service*", any_value: "lock.*", action: deny, description: "Locks are for people"}
  - {pattern: "paperless_delete_*", action: deny, description: "Documents stay"}
  - {pattern: "ha_call_service(light.turn_off*", action: allow}
  - {pattern: "ha_fire_event*", action: ask, description: "Events start automations"}
defaults:
  - {pattern: "*_get_*", action: allow}
  - {pattern: "paperless_search", action: allow}
  - {pattern: "*", action: ask, description: "Ask for the rest"}
"""


class House:
    """The gateway. Its output goes to the file `log`."""

    def __init__(self, binary, timeout=120, environment=None):
        self.binary, self.environment = pathlib.Path(binary).resolve(), {**os.environ, **(environment or {})}
        self.service = Service()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="agentpass-house-"))
        made = run(self.binary, "web", "--hash-password", input=PASSWORD + "\n").stdout.strip()
        config = CONFIG.format(url=self.service.url, tools=TOOLS, timeout=timeout, hash=made)
        (self.folder / "config.yaml").write_text(config)
        (self.folder / "config.yaml").chmod(0o600)
        (self.folder / "permissions.yaml").write_text(PERMISSIONS)

    def __enter__(self):
        self.log = open(self.folder / "log", "w", buffering=1)
        self.process = subprocess.Popen(
            [self.binary, "serve", "--insecure"], cwd=self.folder, env=self.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for line in self.process.stderr:
            self.log.write(line)
            if found := re.search(r"listening on ws://([0-9.]+):(\d+)", line):
                self.address = (found[1], int(found[2]))
                break
        else:
            sys.exit("failed: the gateway does not start\n" + (self.folder / "log").read_text())
        # From here on, somebody has to read, or the gateway blocks on the pipe.
        self.reader = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=self.log)
        self.site = json.loads(self.cli("status", "--json"))["admin"][0]
        return self

    def __exit__(self, kind, *_):
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait()
        self.reader.wait()
        self.log.close()
        if kind is not None:
            print((self.folder / "log").read_text(), file=sys.stderr)
        shutil.rmtree(self.folder)

    def cli(self, *arguments):
        return run(self.binary, *arguments, cwd=self.folder, env=self.environment).stdout

    def control(self, **command):
        """A command to the control socket and its answer, without starting a process."""
        with socket.socket(socket.AF_UNIX) as plug:
            plug.connect(str(self.folder / "control.sock"))
            plug.sendall(json.dumps(command).encode() + b"\n")
            return json.loads(plug.makefile().readline())

    def link(self):
        return self.cli("web").strip()

    def questions(self):
        return json.loads(self.cli("approvals", "--json"))

    def agent(self, name="laptop"):
        """The program itself on an agent's device."""
        return Agent([self.binary], "ws://%s:%s" % self.address, f"the-token-of-the-{name}")

    def wire(self, name="laptop"):
        return Wire(self.address, f"the-token-of-the-{name}")

    def hold(self):
        """Stops the gateway's process until `go_on`."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)


class Wire:
    """An agent that knows only the protocol: RFC 6455 as far as it is needed, and JSON texts."""

    def __init__(self, address, token):
        self.socket = socket.create_connection(address, timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        head = [
            "GET / HTTP/1.1", "Host: %s:%s" % address, "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", f"Authorization: Bearer {token}", "", "",
        ]
        self.socket.sendall("\r\n".join(head).encode())
        self.stream = self.socket.makefile("rb")
        if b" 101 " not in self.stream.readline():
            sys.exit("failed: the gateway does not upgrade")
        while self.stream.readline().strip():
            pass
        self.last, self.kept = 0, []

    def send(self, tool, **more):
        """Sends a call; `reply` waits for its outcome."""
        self.last += 1
        message = {"jsonrpc": "2.0", "method": "tool_request", "params": {"tool": tool, **more}, "id": self.last}
        payload = json.dumps(message).encode()
        if len(payload) < 126:
            size = bytes([0x80 | len(payload)])
        elif len(payload) < 65536:
            size = b"\xfe" + struct.pack(">H", len(payload))
        else:
            size = b"\xff" + struct.pack(">Q", len(payload))
        # A mask of zeros is fine here, and leaves the payload unchanged.
        self.socket.sendall(b"\x81" + size + bytes(4) + payload)
        return self.last

    def _receive(self):
        while True:
            kind, size = self.stream.read(2)
            if size == 126:
                size, = struct.unpack(">H", self.stream.read(2))
            elif size == 127:
                size, = struct.unpack(">Q", self.stream.read(8))
            payload = self.stream.read(size)
            if kind & 15 == 9:
                self.socket.sendall(bytes([0x8A, 0x80 | size]) + bytes(4) + payload)
            if kind & 15 == 1:
                return json.loads(payload)

    def _until(self, fits):
        for n, message in enumerate(self.kept):
            if fits(message):
                return self.kept.pop(n)
        while not fits(message := self._receive()):
            self.kept.append(message)
        return message

    def asked(self):
        """The id of the next question about this agent's calls."""
        message = self._until(lambda m: m.get("method") == "approval_pending" or m.get("id") == self.last)
        return message["params"]["request_id"] if "method" in message else sys.exit(f"failed: nobody is asked: {message}")

    def reply(self, number):
        return self._until(lambda m: m.get("id") == number)

    def ask(self, tool, **more):
        """Sends a call that a person must answer; returns its number and the id of the question."""
        return self.send(tool, **more), self.asked()

    def request(self, tool, **more):
        return self.reply(self.send(tool, **more))

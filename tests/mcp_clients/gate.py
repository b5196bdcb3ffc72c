"""A gateway with TLS in front of a service that counts: what MCP clients talk to."""
import collections
import http.server
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "packaging"))
from harness import eventually, free_port, run, stop  # noqa: E402

CONFIG = """
gateway:
  host: 127.0.0.1
  port: {port}
  health_port: off
  control_socket: control.sock
  tls: {{cert: cert.pem, key: key.pem}}
  mcp: {{hold: {hold}, keep_alive: {keep_alive}}}
agents:
  pi: {{token: the-token-of-the-pi, may_explain: true}}
messenger: {{type: local}}
services:
  fixture: {{url: "{url}", auth: {{type: none}}, tools: tools.yaml}}
storage: {{path: data/agentpass.db}}
approvals: {{cool_down: off}}
rate_limit: {{max_pending_approvals: 100, max_requests_per_minute: 100000}}
"""
TOKEN = "the-token-of-the-pi"


class Fixture:
    """Answers what each path says, and counts what it was asked for."""

    def __init__(self):
        fixture = self
        self.counted, self.lock, self.on_change = collections.Counter(), threading.Lock(), None

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Sends head and body together: the second packet would wait for the acknowledgement of the first.
            wbufsize = -1

            def answer(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with fixture.lock:
                    fixture.counted[self.path] += 1
                if self.path == "/slow":
                    time.sleep(4)
                if self.path == "/change":
                    fixture.on_change()
                reply = json.dumps({"path": self.path}).encode()
                self.send_response(500 if self.path == "/broken" else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            do_GET = do_POST = answer

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%s" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def times(self, path):
        with self.lock:
            return self.counted[path]


class Gate:
    """The gateway. Its output goes to the file `log`; it can be stopped and started again in the same place."""

    def __init__(self, program, tools, permissions, hold=50, keep_alive=15):
        self.program, self.fixture, self.port = pathlib.Path(program).resolve(), Fixture(), free_port()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="agentpass-mcp-"))
        config = CONFIG.format(port=self.port, hold=hold, keep_alive=keep_alive, url=self.fixture.url)
        for name, text in {"config.yaml": config, "tools.yaml": tools, "permissions.yaml": permissions}.items():
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o600)
        self.authority = self.folder / "cert.pem"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", self.folder / "key.pem", "-out", self.authority)
        (self.folder / "key.pem").chmod(0o600)
        self.url = f"https://127.0.0.1:{self.port}/mcp"

    def start(self):
        self.log = open(self.folder / "log", "a", buffering=1)
        self.process = subprocess.Popen([self.program, "serve"], cwd=self.folder, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        eventually("the gateway's port", self._listens)

    def _listens(self):
        if self.process.poll() is not None:
            sys.exit("failed: the gateway does not start\n" + (self.folder / "log").read_text())
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        stop(self.process, 15)
        self.log.close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        self.stop()
        if kind is not None:
            print((self.folder / "log").read_text()[-8000:], file=sys.stderr)
        shutil.rmtree(self.folder)

    def cli(self, *arguments):
        return run(self.program, *arguments, cwd=self.folder).stdout

    def questions(self):
        return json.loads(self.cli("approvals", "--json"))

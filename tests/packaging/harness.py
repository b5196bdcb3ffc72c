"""Shared by the tests that are not Rust: steps, checks and waiting, a fake service that records every call, the real
command line as an agent, and Debian in a container."""
import contextlib
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
BEGAN = time.monotonic()


def step(text):
    print(f"[{time.monotonic() - BEGAN:5.1f}s] {text}", flush=True)


def check(condition, text):
    if not condition:
        sys.exit(f"failed: {text}")


def equal(found, expected, what):
    check(found == expected, f"{what}: expected {expected!r}, found {found!r}")


def run(*command, code=0, **options):
    """The finished command; any other exit code than `code` ends the test (None: all are fine)."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if code is not None and done.returncode != code:
        sys.exit(f"failed: {' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def eventually(what, attempt, seconds=30):
    """The first truthy value of `attempt`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := attempt():
            return value
        time.sleep(0.05)
    sys.exit(f"failed: waited {seconds} s for: {what}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop(process, seconds):
    """Terminates a process, and kills it if it does not end in time."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Service:
    """A service that answers like Home Assistant and keeps the requests it gets."""

    def __init__(self, address="127.0.0.1"):
        seen = self.seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Sends head and body together: the second packet would wait for the acknowledgement of the first.
            wbufsize = -1

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                seen.append((self.command, self.path, self.headers.get("Authorization"), body.decode()))
                reply = json.dumps({"state": "21.5", "path": self.path}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            do_GET = do_POST = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.url = f"http://{address}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def calls(self, path):
        return [call for call in self.seen if call[1] == path]

    def writes(self):
        """Calls that may have done something."""
        return [call for call in self.seen if call[0] != "GET"]


class Agent:
    """The command line on the agent's device. `command` starts it, for example with an emulator in front."""

    def __init__(self, command, url, token, *trust):
        self.command, self.trust = [str(c) for c in command], list(trust)
        self.environment = {"AGENTPASS_URL": url, "AGENT_TOKEN": token, "PATH": os.environ["PATH"]}

    def _line(self, *arguments):
        return [*self.command, *arguments, *self.trust]

    def request(self, *arguments, code=0):
        return run(*self._line("request", *arguments), code=code, env=self.environment)

    def tools(self, code=0):
        return run(*self._line("tools"), code=code, env=self.environment)

    def ask(self, *arguments):
        """A request in the background; `answer` waits for its end."""
        return subprocess.Popen(
            self._line("request", *arguments),
            env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )


def answer(asking, code=0):
    out, err = asking.communicate(timeout=60)
    equal((asking.returncode, err if asking.returncode != code else ""), (code, ""), f"the answer, {out!r}")
    return out


def whole_round(agent, service, owner):
    """An allowed call, a denied one, one that a person approves, the record. `owner` runs a command on the gateway."""
    check("21.5" in agent.request("ha_get_state", "entity_id=sensor.attic").stdout, "an allowed call")
    agent.request("ha_call_service", "domain=lock", "service=unlock", code=1)
    asking = agent.ask("ha_call_service", "domain=light", "service=turn_on", "entity_id=light.desk", "brightness:=128")
    asked = eventually("the question", lambda: json.loads(owner("approvals", "--json")))[0]
    owner("approve", asked["request_id"])
    answer(asking)
    called = [(token, json.loads(body)) for _, _, token, body in service.calls("/api/services/light/turn_on")]
    equal(called, [("Bearer the-token-of-home-assistant", {"entity_id": ["light.desk"], "brightness": 128})],
          "the approved call")
    owner("audit", "verify")


class Container:
    """Debian with systemd as its first process, on a private network with this machine."""

    OUTSIDE, INSIDE = "10.213.87.1", "10.213.87.2"

    def __init__(self, architecture="amd64"):
        tar = run(HERE / "rootfs", architecture).stdout.strip()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="agentpass-container-"))
        self.root, self.log = self.folder / "root", self.folder / "log"
        self.root.mkdir()
        run("tar", "-C", self.root, "-xf", tar)
        self.nspawn = None

    def boot(self):
        run(HERE.parent.parent / ".ci/install", "systemd-nspawn:systemd-container", "ip:iproute2")
        name = f"ap{os.getpid()}"
        self.nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--network-veth",
             f"--machine={name}", f"--directory={self.root}", "--console=pipe"],
            stdin=subprocess.DEVNULL, stdout=self.log.open("w"), stderr=subprocess.STDOUT,
        )
        self.first = eventually("the first process", self._first)
        booted = ("running", "degraded")
        state = lambda: self.run("systemctl", "is-system-running", code=None).stdout.strip()
        eventually("the system", lambda: state() in booted, 180)
        run("ip", "address", "add", f"{self.OUTSIDE}/30", "dev", f"ve-{name}")
        run("ip", "link", "set", f"ve-{name}", "up")
        self.run("ip", "address", "add", f"{self.INSIDE}/30", "dev", "host0")
        self.run("ip", "link", "set", "host0", "up")

    def _first(self):
        check(self.nspawn.poll() is None, "systemd-nspawn goes on")
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                pid, _, rest = stat.read_text().partition(" (")
                if int(rest.rpartition(") ")[2].split()[1]) == self.nspawn.pid:
                    return int(pid)
        return None

    def _enter(self, command):
        return ["nsenter", f"--target={self.first}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
                "--root", "--wdns=/", "--", *map(str, command)]

    def run(self, *command, code=0, **options):
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
        return run(*self._enter(command), code=code, env=environment, **options)

    def as_user(self, user, *command, code=0):
        return self.run("runuser", "--login", user, "--command", " ".join(command), code=code)

    def show(self, unit, *names):
        shown = self.run("systemctl", "show", unit, "--property", ",".join(names)).stdout
        values = dict(line.split("=", 1) for line in shown.splitlines())
        return values[names[0]] if len(names) == 1 else [values[name] for name in names]

    def write(self, path, text, mode=0o644):
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def read(self, path):
        return (self.root / path.lstrip("/")).read_text()

    def copy(self, source, path):
        shutil.copy(source, self.root / path.lstrip("/"))

    def close(self):
        if self.nspawn and self.nspawn.poll() is None:
            self.run("systemctl", "poweroff", code=None)
            try:
                self.nspawn.wait(20)
            except subprocess.TimeoutExpired:
                self.nspawn.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            self.boot()
        except BaseException:
            print(self.log.read_text())
            self.close()
            raise
        return self

    def __exit__(self, failed, *_):
        if failed:
            print(self.run("journalctl", "--no-pager", "--lines=40", "--unit=agentpass", code=None).stdout)
        self.close()

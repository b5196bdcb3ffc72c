"""What agents' programs do with the gateway: list, call, wait for a person, leave and come back."""
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

from gate import TOKEN, Gate
from harness import check, equal, eventually, run, step

HERE = pathlib.Path(__file__).resolve().parent
HOLD = 2
TOOLS = """
tools:
  get_state:
    description: Reads the state of a thing
    kind: read
    signature: "{id}"
    args: {id: {required: true, validate: "^[a-z0-9.]+$"}}
    request: {method: GET, path: "/get/{id}"}
  set_state:
    description: Sets the state of a thing
    signature: "{id}"
    extra_args: refuse
    args: {id: {required: true, validate: "^[a-z0-9.]+$"}, level: {type: integer, default: 3}}
    request: {method: POST, path: "/set/{id}"}
  drop: {description: Never, extra_args: refuse, request: {method: POST, path: /drop}}
"""
PERMISSIONS = """
rules:
  - {pattern: "set_state(lock*", action: deny, description: Locks are for people}
  - {pattern: "set_state(free*", action: allow}
  - {pattern: drop, action: deny}
defaults: [{pattern: "get_state*", action: allow}, {pattern: "*", action: ask}]
"""
LISTED = ["get_state", "set_state", "agentpass_wait", "agentpass_pending", "agentpass_explain"]


class Driver:
    """A process that drives one client."""

    def __init__(self, gate, client, url=None, token=TOKEN, trust=True):
        self.name, self.is_modern, command, environment = client
        environment = {**environment, "HOME": str(gate.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        if trust:
            environment |= {"NODE_EXTRA_CA_CERTS": str(gate.authority), "SSL_CERT_FILE": str(gate.authority)}
        place = [url or gate.url, token]
        command = [part if part is not Ellipsis else None for part in command]
        command = sum(([part] if part else place for part in command), [])
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=open(gate.folder / "driver.log", "a"), text=True)

    def tell(self, do, **command):
        self.told = {"do": do, **command}
        self.process.stdin.write(json.dumps(self.told) + "\n")
        self.process.stdin.flush()

    def line(self):
        late = threading.Timer(90, self.process.kill)
        late.start()
        line = self.process.stdout.readline()
        late.cancel()
        check(line, f"{self.name} answers {self.told}")
        return json.loads(line)

    def waits(self):
        """The call that was told last has come to the gateway and goes on."""
        check("waiting" in self.line(), f"{self.name} waits for {self.told}")

    def hear(self):
        while "waiting" in (answer := self.line()):
            pass
        return answer

    def ask(self, do, **command):
        self.tell(do, **command)
        return self.hear()

    def call(self, tool, **more):
        return self.ask("call", tool=tool, **more)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def opened(gate, client):
    driver = Driver(gate, client)
    version = driver.ask("open").get("version")
    expected = "2026-07-28" if client[1] else "2025-11-25"
    check(version in (expected, None), f"{client[0]} speaks {expected}, not {version}")
    return driver


def data(answer, path):
    equal((answer.get("is_error"), answer.get("data")), (False, {"path": path}), f"the answer {answer}")


def refused(answer, *words):
    equal((answer.get("is_error"), answer.get("data")), (True, None), f"a refusal {answer}")
    check(all(word in answer["text"] for word in words), f"{words} in {answer}")


def asked(gate, count=1):
    eventually(f"{count} questions", lambda: len(gate.questions()) == count)
    return gate.questions()[0]["request_id"]


def waiting_goes_on(driver, pending):
    """The id of the request that a result which is not there yet names. Waiting once more changes nothing."""
    refused(pending, "pending", "agentpass_wait")
    request = re.search(r'request_id "([0-9a-f-]+)"', pending["text"])[1]
    refused(driver.call("agentpass_wait", args={"request_id": request}), "pending", request)
    return request


def once(gate, path):
    equal(gate.fixture.times(path), 1, f"how often {path} was asked of the service")


def list_allowed_denied(gate, client):
    with opened(gate, client) as driver:
        equal(driver.ask("list").get("tools"), LISTED, "the tools")
        data(driver.call("get_state", args={"id": "attic"}), "/get/attic")
        refused(driver.call("set_state", args={"id": "lock.door"}), "Locks are for people", "denied_by_policy")
        refused(driver.call("get_state", args={"id": "No"}), "id")
        refused(driver.call("drop", args={}), "denied_by_policy")
    once(gate, "/get/attic")
    equal([gate.fixture.times(path) for path in ("/set/lock.door", "/drop")], [0, 0], "what is denied")


def approved_while_it_waits(gate, client):
    """A person answers a little after one leg; of an old client without a stream, after the second time that it waited."""
    for wants_progress in (False, True):
        thing = "lamp" if wants_progress else "light"
        with opened(gate, client) as driver:
            driver.tell("call", tool="set_state", args={"id": thing}, wants_progress=wants_progress)
            question = asked(gate)
            if client[1] or wants_progress:
                time.sleep(HOLD + 1.5)
                gate.cli("approve", question)
                answer = driver.hear()
            else:
                request = waiting_goes_on(driver, driver.hear())
                driver.tell("call", tool="agentpass_wait", args={"request_id": request})
                gate.cli("approve", question)
                answer = driver.hear()
            data(answer, f"/set/{thing}")
            check(bool(answer["progress"]) == wants_progress, f"progress in {answer}")
        once(gate, f"/set/{thing}")


def denied_by_a_person(gate, client):
    with opened(gate, client) as driver:
        driver.tell("call", tool="set_state", args={"id": "night"}, wants_progress=True)
        gate.cli("deny", asked(gate), "--note", "not at night")
        refused(driver.hear(), "Denied by a person: not at night. Do not retry.", "denied_by_user")
    equal(gate.fixture.times("/set/night"), 0, "what a person denied")


def gone_and_back(gate, client):
    """A new client takes its question with it; that of an old one stays, and is the one that it finds again."""
    with opened(gate, client) as driver:
        driver.tell("call", tool="set_state", args={"id": "gone"}, wants_progress=True)
        first = asked(gate)
    if client[1]:
        asked_nothing(gate)
    with opened(gate, client) as driver:
        driver.tell("call", tool="set_state", args={"id": "gone"}, wants_progress=True)
        driver.waits()
        second = asked(gate)
        equal(first == second, not client[1], "whether it is the same question")
        gate.cli("approve", second)
        data(driver.hear(), "/set/gone")
    once(gate, "/set/gone")


def asked_nothing(gate):
    eventually("the question to be taken back", lambda: not gate.questions())


def restarted(gate, client):
    """The gateway is stopped and started between two calls, and again while one waits."""
    with opened(gate, client) as driver:
        data(driver.call("get_state", args={"id": "before"}), "/get/before")
        gate.stop()
        gate.start()
        answer = driver.call("get_state", args={"id": "after"})
        if "failed" in answer:
            print(f"        after a restart: {answer['failed'][:150]}")
            check("version" in driver.ask("open"), "a new connection")
            answer = driver.call("get_state", args={"id": "after"})
        data(answer, "/get/after")
        once(gate, "/get/after")
        driver.tell("call", tool="set_state", args={"id": "restart"}, wants_progress=True)
        asked(gate)
        gate.stop()
        gate.start()
    with opened(gate, client) as driver:
        driver.tell("call", tool="set_state", args={"id": "restart"}, wants_progress=True)
        driver.waits()
        gate.cli("approve", asked(gate))
        data(driver.hear(), "/set/restart")
    once(gate, "/set/restart")


def equal_ids(gate, client):
    """Each connection counts its requests from the same number."""
    calls = [{"tool": "set_state", "args": {"id": f"free{n}"}} for n in range(8)]
    with opened(gate, client) as driver:
        answer = driver.ask("together", calls=calls)
        check("results" in answer, f"the results: {answer}")
        for n, result in enumerate(answer["results"]):
            data(result, f"/set/free{n}")
            once(gate, f"/set/free{n}")


SCENARIOS = (list_allowed_denied, approved_while_it_waits, denied_by_a_person, gone_and_back, restarted, equal_ids)


def sdks(clients):
    """Name, whether it is of 2026-07-28, how it is started (the place of address and token is left open), environment."""
    shutil.copy(HERE / "drivers/typescript.mjs", clients.folder)
    (one, environment_1), (two, environment_2) = clients.python(1), clients.python(2)
    typescript = [str(clients.node), str(clients.folder / "typescript.mjs"), ...]
    python_2 = [*two, str(HERE / "drivers/python_2.py"), ...]
    return [
        ("Python 1", False, [*one, str(HERE / "drivers/python_1.py"), ...], environment_1),
        ("Python 2, legacy", False, [*python_2, "legacy"], environment_2),
        ("Python 2, auto", True, [*python_2, "auto"], environment_2),
        ("TypeScript 1", False, [*typescript, "1"], dict(os.environ)),
        ("TypeScript 2, legacy", False, [*typescript, "2"], dict(os.environ)),
        ("TypeScript 2, auto", True, [*typescript, "2-auto"], dict(os.environ)),
    ]


def with_a_client(program, client):
    with Gate(program, TOOLS, PERMISSIONS, hold=HOLD, keep_alive=1) as gate:
        for scenario in SCENARIOS:
            scenario(gate, client)
            step(f"{client[0]}: {scenario.__name__.replace('_', ' ')}")
        gate.cli("audit", "verify")


def inspector(clients, gate, era, *arguments, code=0):
    """The Inspector's command line: what it prints. Of a list it also says what other clients may not understand."""
    done = run(clients.node, clients.script("mcp-inspector"), "--cli", gate.url, "--transport", "http", "--header",
               f"Authorization: Bearer {TOKEN}", "--protocol-era", era, "--format", "json", *arguments, code=code,
               env={**os.environ, "HOME": str(gate.folder), "NODE_EXTRA_CA_CERTS": str(gate.authority)},
               stdin=subprocess.DEVNULL, timeout=90)
    if code == 0:
        equal(done.stderr, "", "the Inspector's complaints")
    return json.loads(done.stdout)["result"]


def approve_after_a_leg(gate):
    question = asked(gate)
    time.sleep(HOLD + 1.5)
    gate.cli("approve", question)


def with_the_inspector(program, clients):
    tool_is_error = 5
    with Gate(program, TOOLS, PERMISSIONS, hold=HOLD, keep_alive=1) as gate:
        for era in ("legacy", "modern", "auto"):
            ask = lambda *arguments, **more: inspector(clients, gate, era, *arguments, **more)
            call = lambda tool, args, **more: ask(
                "--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(args), **more)
            listed = ask("--method", "tools/list", "--strict")["tools"]
            equal([tool["name"] for tool in listed], LISTED, "the tools")
            equal(call("get_state", {"id": era})["structuredContent"], {"path": f"/get/{era}"}, "an allowed call")
            denied = call("set_state", {"id": "lock"}, code=tool_is_error)
            check("denied_by_policy" in denied["content"][0]["text"], f"a denied call: {denied}")
            if era == "legacy":
                pending = call("set_state", {"id": era}, code=tool_is_error)
                request = re.search(r'request_id "([0-9a-f-]+)"', pending["content"][0]["text"])[1]
                gate.cli("approve", request)
                result = call("agentpass_wait", {"request_id": request})
            else:
                later = threading.Thread(target=approve_after_a_leg, args=(gate,))
                later.start()
                result = call("set_state", {"id": era})
                later.join()
            equal(result["structuredContent"], {"path": f"/set/{era}"}, "an approved call")
            once(gate, f"/get/{era}")
            once(gate, f"/set/{era}")
        equal(gate.fixture.times("/set/lock"), 0, "what is denied")
        step("Inspector")


def real_clients(program, clients):
    """Each with a gateway of its own; most of the time they wait."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        trials = [pool.submit(with_a_client, program, client) for client in sdks(clients)]
        trials.append(pool.submit(with_the_inspector, program, clients))
        for trial in trials:
            trial.result()

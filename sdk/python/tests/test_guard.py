"""Actions that the agent performs itself, with permits of the real gateway."""

from __future__ import annotations

import asyncio
import concurrent.futures
import http.server
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from agentpass import (
    ActionDenied,
    AgentPassConnectionError,
    AgentPassError,
    Guard,
    ResolveOutcome,
    classify,
)
from gateway import BOARD, LAPTOP, TOKEN, Gateway, Proxy, eventually, free_port, quick


class Disk:
    """Keeps what was really done."""

    def __init__(self) -> None:
        self.done: list[tuple[str, dict[str, Any]]] = []

    def run(self, name: str, params: dict[str, Any]) -> str:
        self.done.append((name, params))
        if params.get("path") == "/no/such":
            raise FileNotFoundError("no such file")
        return f"ran {name}"


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def guard(gateway: Gateway) -> Iterator[Guard]:
    with Guard(gateway.url, token=TOKEN, approvals_url=gateway.site, approvals_token=BOARD) as made:
        yield made


@pytest.fixture
def pool() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    with concurrent.futures.ThreadPoolExecutor(40) as made:
        yield made


Pool = concurrent.futures.ThreadPoolExecutor


def test_what_is_permitted_is_done_once_and_reported(gateway: Gateway, guard: Guard, disk: Disk, pool: Pool) -> None:
    assert guard.execute("read_file", {"path": "notes.txt"}, disk.run) == "ran read_file"
    params = {"path": "notes.txt"}
    asking = pool.submit(
        guard.execute, "delete_file", params, disk.run, reason="Not needed", agent_id="bot", session_id="s-1"
    )
    [question] = eventually("the question", guard.pending)
    assert (question.tool, question.params, question.reason, question.session_id) == (
        "delete_file",
        {"path": "notes.txt"},
        "Not needed",
        "s-1",
    )
    assert (question.agent_id, question.risk) == ("default", "irreversible")
    assert question.to_dict()["deadline"] == question.deadline
    assert question.timestamp < question.deadline
    # What was approved is what runs, whatever the caller's object holds by then.
    params["path"] = "/etc/passwd"
    assert guard.resolve(question.request_id, True, actor="carol") is ResolveOutcome.RESOLVED
    assert asking.result() == "ran delete_file"
    assert disk.done == [("read_file", {"path": "notes.txt"}), ("delete_file", {"path": "notes.txt"})]
    row = gateway.row(question.request_id)
    assert (row["outcome"], row["resolved_by"], row["reported_ok"]) == ("permitted", "board:carol", True)
    assert guard.resolve(question.request_id, False) is ResolveOutcome.ALREADY_RESOLVED
    assert guard.resolve("6b0177e7-44b6-441f-a1bd-f4b51bf581b5", True) is ResolveOutcome.UNKNOWN
    gateway.cli("audit", "verify")


def test_what_fails_is_reported_as_failed(gateway: Gateway, guard: Guard, disk: Disk, pool: Pool) -> None:
    asking = pool.submit(guard.execute, "delete_file", {"path": "/no/such"}, disk.run)
    request_id = gateway.approve()
    with pytest.raises(FileNotFoundError):
        asking.result()
    row = gateway.row(request_id)
    assert (row["outcome"], row["reported_ok"], row["reported_detail"]) == (
        "permitted",
        False,
        "FileNotFoundError: no such file",
    )


def test_what_is_denied_is_not_done(gateway: Gateway, guard: Guard, disk: Disk, pool: Pool) -> None:
    asking = pool.submit(guard.execute, "delete_file", {"path": "a"}, disk.run)
    request_id = gateway.deny("keep it")
    denied = asking.result()
    assert isinstance(denied, ActionDenied)
    assert not denied
    assert (denied.reason, denied.tool, denied.request_id, denied.note) == (
        "denied_by_user",
        "delete_file",
        request_id,
        "keep it",
    )
    assert str(denied) == "Denied by user (keep it)"
    by_rule = guard.execute("wipe_disk", {}, disk.run)
    assert (by_rule.reason, by_rule.message) == ("denied_by_policy", "Denied by policy (Disks stay)")
    assert guard.execute("no_such_tool", {}, disk.run).reason == "unknown_tool"
    assert guard.execute("read_file", {"path": object}, disk.run).reason == "invalid_request"
    assert disk.done == []


def test_what_is_shown_cannot_stand_for_something_else(guard: Guard) -> None:
    done: list[object] = []

    @guard.gate(name="delete_file")
    def delete(path: str, /, **options: object) -> None:
        done.append(path)

    @guard.gate(name="delete_file")
    def run(*args: str, **options: object) -> None:
        done.append(args)

    with pytest.raises(TypeError, match=r"must not name a parameter \(path\)"):
        delete("/etc", path="/tmp/scratch")
    with pytest.raises(TypeError, match=r"must not name a parameter \(args\)"):
        run("rm", "-rf", "/home", args=["ls"])
    assert done == []


def test_without_an_answer_nothing_is_done(disk: Disk) -> None:
    gateway = Gateway(approval_timeout=0.3)
    try:
        with Guard(gateway.url, TOKEN, approvals_url=gateway.site, approvals_token=BOARD) as guard:
            denied = guard.execute("delete_file", {"path": "a"}, disk.run)
            assert denied.reason == "approval_timed_out"
            assert guard.resolve(denied.request_id, True) is ResolveOutcome.EXPIRED
    finally:
        gateway.close()
    assert disk.done == []


def test_a_guard_that_waits_no_longer_withdraws_its_question(gateway: Gateway, disk: Disk) -> None:
    with Guard(gateway.url, TOKEN, timeout=0.5) as guard:
        denied = guard.execute("delete_file", {"path": "a"}, disk.run)
        assert denied.reason == "client_timeout"
        eventually("the question is withdrawn", lambda: not gateway.questions())
        assert gateway.row(denied.request_id)["resolution"] == "withdrawn"
    assert disk.done == []


def test_a_gateway_that_cannot_be_reached_permits_nothing(disk: Disk) -> None:
    with Guard(f"ws://127.0.0.1:{free_port()}", TOKEN) as guard:
        denied = guard.execute("read_file", {"path": "a"}, disk.run)
        assert (denied.reason, denied.request_id) == ("unreachable", None)
        with pytest.raises(PermissionError):
            guard.require("read_file", {"path": "a"})
        with pytest.raises(ValueError, match="approvals_url"):
            guard.pending()
    assert disk.done == []


def test_a_guard_comes_back(gateway: Gateway, disk: Disk) -> None:
    with Guard(gateway.url, TOKEN, max_retries=0) as guard:
        assert guard.execute("read_file", {"path": "a"}, disk.run)
        gateway.kill()
        eventually("the loss", lambda: not guard.execute("read_file", {"path": "b"}, disk.run))
        gateway.start()
        assert eventually("the guard", lambda: guard.execute("read_file", {"path": "c"}, disk.run)) == "ran read_file"
    with guard:
        assert guard.execute("read_file", {"path": "d"}, disk.run)


async def test_many_wait_at_once_without_threads(gateway: Gateway, guard: Guard, disk: Disk) -> None:
    async def run(name: str, params: dict[str, Any]) -> str:
        await asyncio.sleep(0)
        return disk.run(name, params)

    before = threading.active_count()
    asking = [asyncio.create_task(guard.aexecute("delete_file", {"path": str(n)}, run)) for n in range(20)]
    await asyncio.to_thread(eventually, "all questions", lambda: len(guard.pending()) == 20)
    # The guard's own, and one or two for `to_thread`.
    assert threading.active_count() <= before + 8
    for question in await asyncio.to_thread(guard.pending):
        is_even = int(question.params["path"]) % 2 == 0
        outcome = await asyncio.to_thread(guard.resolve, question.request_id, is_even)
        assert outcome is ResolveOutcome.RESOLVED
    found = await asyncio.gather(*asking)
    assert [bool(one) for one in found] == [n % 2 == 0 for n in range(20)]
    assert sorted(int(params["path"]) for _, params in disk.done) == list(range(0, 20, 2))

    # Who is cancelled while somebody is asked takes the question back.
    waiting = asyncio.create_task(guard.aexecute("delete_file", {"path": "late"}, run))
    await asyncio.to_thread(gateway.question)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.to_thread(eventually, "the question is withdrawn", lambda: not gateway.questions())


def test_a_gated_function_always_asks(gateway: Gateway, guard: Guard, pool: Pool) -> None:
    done: list[Any] = []

    @guard.gate
    def delete_file(path: str) -> str:
        """Deletes."""
        done.append(path)
        return "gone"

    class Files:
        @guard.gate(name="delete_file", reason="a method")
        def drop(self, path: str = "default.txt") -> str:
            done.append((self, path))
            return "dropped"

    assert (delete_file.__name__, delete_file.__doc__) == ("delete_file", "Deletes.")
    asking = pool.submit(delete_file, "notes.txt")
    assert gateway.question()["args"] == {"path": "notes.txt"}
    gateway.approve()
    assert asking.result() == "gone"
    files = Files()
    asking = pool.submit(files.drop)
    question = gateway.question()
    assert (question["args"], question["reason"]) == ({"path": "default.txt"}, "a method")
    gateway.deny()
    assert not asking.result()
    assert done == ["notes.txt"]

    @guard.gate
    async def read_file(path: str) -> str:
        done.append(path)
        return "read"

    assert asyncio.run(read_file("b")) == "read"
    assert done == ["notes.txt", "b"]


def test_what_the_rules_say(gateway: Gateway) -> None:
    with Guard(gateway.url, LAPTOP) as guard:
        asked, denied, allowed = (
            guard.check(name, {"path": "a"}) for name in ("delete_file", "wipe_disk", "read_file")
        )
        assert [decision.decision for decision in (asked, denied, allowed)] == ["ask", "invalid", "allow"]
        assert [bool(decision) for decision in (asked, denied, allowed)] == [False, False, True]
        denied = guard.check("wipe_disk")
        assert (denied.decision, (denied.rule or {})["description"]) == ("deny", "Disks stay")
        with pytest.raises(PermissionError, match="Disks stay"):
            guard.require("wipe_disk")
        request_id = guard.require("read_file", {"path": "a"})
        assert guard.report(request_id, True, "read") == "reported"
        assert guard.report(request_id, False) == "already_reported"
    assert gateway.row(request_id)["reported_detail"] == "read"
    assert gateway.questions() == []


def test_a_tool_of_the_gateway_runs_there(gateway: Gateway, guard: Guard, disk: Disk) -> None:
    assert guard.execute("write", {"text": "a"}, disk.run)["state"] == "21.5"
    assert len(gateway.service.calls("/api/write")) == 1
    assert disk.done == []


def test_a_permit_survives_a_lost_connection(gateway: Gateway, proxy: Proxy, disk: Disk, pool: Pool) -> None:
    with Guard(proxy.url, TOKEN) as guard:
        quick(guard._client)
        asking = pool.submit(guard.execute, "delete_file", {"path": "a"}, disk.run)
        gateway.question()
        gateway.kill()
        gateway.start()
        gateway.approve()
        assert asking.result() == "ran delete_file"
    assert len(disk.done) == 1


def test_a_permit_that_arrives_too_late_permits_nothing(disk: Disk, pool: Pool) -> None:
    gateway = Gateway(permit_ttl=1)
    proxy = Proxy(gateway.port)
    may_return = threading.Event()

    async def wait(_: float) -> None:
        await asyncio.to_thread(may_return.wait)

    try:
        with Guard(proxy.url, TOKEN) as guard:
            setattr(guard._client, "_backoff_sleep", wait)  # noqa: B010
            asking = pool.submit(guard.execute, "delete_file", {"path": "a"}, disk.run)
            gateway.question()
            proxy.cut()
            request_id = gateway.approve()
            threading.Event().wait(2)
            may_return.set()
            denied = asking.result()
            assert (denied.reason, denied.request_id) == ("permit_expired", request_id)
    finally:
        proxy.close()
        gateway.close()
    assert disk.done == []


def test_only_the_right_token_answers(gateway: Gateway) -> None:
    with Guard(gateway.url, TOKEN, approvals_url=gateway.site, approvals_token="another-token-0123456789") as guard:
        with pytest.raises(AgentPassConnectionError) as refused:
            guard.pending()
        assert refused.value.code == -32005
        with pytest.raises(AgentPassError):
            guard.resolve("6b0177e7-44b6-441f-a1bd-f4b51bf581b5", True)
    with pytest.raises(ValueError, match="admin pages"):
        Guard(gateway.url, TOKEN, approvals_url="ws://gateway")


def test_the_pin_holds_for_the_admin_pages_too() -> None:
    gateway = Gateway(tls=True)
    seen: list[str | None] = []

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(302 if "moved" in self.path else 200)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(b'{"approvals": []}')

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(gateway.folder / "cert.pem", gateway.folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    site = f"https://127.0.0.1:{server.server_address[1]}"
    try:
        with Guard(gateway.url, TOKEN, approvals_url=site, approvals_token=BOARD, pin=gateway.pin) as guard:
            assert guard.pending() == []
        moved = Guard(gateway.url, TOKEN, approvals_url=site + "/moved", approvals_token=BOARD, pin=gateway.pin)
        with moved, pytest.raises(AgentPassError, match="302"):
            moved.pending()
        assert seen == [f"Bearer {BOARD}"] * 2
        for trust in ({"pin": "sha256:" + "0" * 64}, {}):
            guard = Guard(gateway.url, TOKEN, approvals_url=site, approvals_token=BOARD, pin=trust.get("pin"))
            with guard, pytest.raises(AgentPassConnectionError):
                guard.pending()
        assert len(seen) == 2
    finally:
        server.shutdown()
        server.server_close()
        gateway.close()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("delete_file", "delete"),
        ("wipeDisk", "delete"),
        ("send_email", "send"),
        ("run_tool", "execute"),
        ("write_file", "write"),
        ("update_email", "send"),
        ("delete_customer", "delete"),
        ("charge_card", "pay"),
        ("grant_admin", "admin"),
        ("transfer_funds", "pay"),
        ("deploy", "deploy"),
        ("read_secrets", "admin"),
        ("export", "export"),
        ("disable", "admin"),
        ("reset", "delete"),
        ("create_api_key", "admin"),
        ("revoke", "delete"),
        ("read_customer", None),
        ("evaluate_model", None),
        ("running_total", None),
        ("ha_get_state", None),
        ("", None),
    ],
)
def test_what_a_name_suggests(name: str, kind: str | None) -> None:
    assert classify(name) == kind

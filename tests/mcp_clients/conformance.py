"""The official conformance runner, which speaks neither TLS nor tokens, against the gateway's port through a shim."""
import json
import os
import pathlib
import re
import sys

from gate import TOKEN, Gate
from harness import run, step
from shim import Shim

HERE = pathlib.Path(__file__).resolve().parent
REQUIREMENTS = ("2025-11-25", "2026-07-28")
TOOLS = """
tools:
  test_simple_text: {description: Answers, kind: read, request: {method: GET, path: /text}}
  test_error_handling: {description: Fails, kind: read, request: {method: GET, path: /broken}}
  test_tool_with_progress: {description: Takes its time, kind: read, request: {method: GET, path: /slow}}
  test_logging_tool: {description: Answers, kind: read, request: {method: GET, path: /text}}
  test_streaming_elicitation: {description: Answers, kind: read, request: {method: GET, path: /text}}
  test_trigger_tool_change: {description: The gateway is reloaded, kind: read, request: {method: GET, path: /change}}
"""
PERMISSIONS = """
defaults: [{pattern: "test_*", action: allow}]
"""


def failures(results):
    """Of each scenario what did not pass, as the lists of expected failures name it, and why."""
    found = {}
    for file in sorted(results.glob("*/checks.json")):
        scenario = re.sub(r"^server-|-\d{4}-\d\d-\d\dT[^/]*$", "", file.parent.name)
        bad = [check for check in json.loads(file.read_text()) if check["status"] in ("FAILURE", "WARNING")]
        found[scenario] = [f"{scenario}:{check['id']} {check.get('errorMessage', '')}" for check in bad]
    return found


def conformance(program, clients):
    with Gate(program, TOOLS, PERMISSIONS, keep_alive=1) as gate:
        gate.fixture.on_change = lambda: gate.cli("reload")
        shim = Shim(gate, TOKEN)
        for version in REQUIREMENTS:
            step(f"the conformance suite's requirements of {version}")
            results = gate.folder / version
            done = run(clients.node, clients.script("conformance"), "server", "--url", shim.url,
                       "--requirements", version, "--expected-failures", HERE / f"expected-failures-{version}.yaml",
                       "--output-dir", results, code=None, cwd=gate.folder,
                       env={**os.environ, "NO_COLOR": "1", "HOME": str(gate.folder)})
            found = failures(results)
            if done.returncode:
                said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
                sys.exit("\n".join([f"failed: conformance with {version}", said, done.stderr, *sum(found.values(), [])]))
            print("passed:", ", ".join(scenario for scenario, bad in found.items() if not bad))

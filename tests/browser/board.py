"""The page of etc/examples on an origin of its own, over the API of a channel."""
import functools
import http.server
import json
import pathlib
import threading

from house import House
from webdriver import Browser

from harness import answer, check, equal, eventually

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent.parent / "etc/examples"
TOKEN = "the-token-of-the-board-0123456789"
LAMP = ("ha_call_service", "domain=light", "service=turn_on", "entity_id=light.desk")


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def served():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=EXAMPLES))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def with_board(binary, origin, timeout):
    house = House(binary, timeout)
    file = house.folder / "config.yaml"
    channel = f"channels:\n  board: {{type: api, token: {TOKEN}, allowed_origins: ['{origin}']}}\n"
    file.write_text(file.read_text() + channel)
    return house


def connect(browser, house, origin, token=TOKEN):
    browser.go(f"{origin}/board.html")
    browser.type("#url", house.site)
    browser.type("#token", token)
    browser.type("#actor", "anna")
    browser.click("#connect button")


def card(question, rest=""):
    return f"#q-{question['request_id']} {rest}"


def first(house):
    return eventually("the question", house.questions)[0]


def resolve(browser, question, approved="true"):
    return browser.js(f"return resolve({{request_id: arguments[0]}}, {approved});", question["request_id"])


def a_page_of_ones_own(driver, binary):
    origin = served()
    with with_board(binary, origin, 120) as house, Browser(driver) as browser:
        waiting = house.agent().ask(*LAMP, "--reason", "<b>It is dark</b>")
        listed = first(house)
        connect(browser, house, origin)
        browser.wait_text("#state", "Connected")
        browser.wait_text(card(listed), "ha_call_service for laptop", "<b>It is dark</b>", "light.desk", "s left")
        left = browser.text(card(listed, ".left"))
        eventually("the countdown to go on", lambda: browser.text(card(listed, ".left")) != left)
        browser.click(card(listed, "button:nth-of-type(2)"))
        browser.wait_text(card(listed, ".said"), "RESOLVED")
        check("21.5" in answer(waiting), "the agent has its result")
        browser.wait_text(card(listed, ".left"), "executed")
        equal(resolve(browser, listed), "ALREADY_RESOLVED", "a second answer")
        row = json_of(house, "audit", "show", listed["request_id"], "--json")
        equal(row["resolved_by"], "board:anna", "who is recorded")

        waiting = house.agent().ask(*LAMP)
        streamed = first(house)
        browser.wait(card(streamed))
        browser.click(card(streamed, "button:nth-of-type(1)"))
        answer(waiting, code=1)
        browser.wait_text(card(streamed, ".left"), "denied by board:anna")
        equal(resolve(browser, {"request_id": "00000000-0000-4000-8000-000000000000"}), "UNKNOWN", "no such question")
        connect(browser, house, origin, "a-wrong-token-of-the-same-length-0")
        browser.wait_text("#state", "this needs a token")
        complaints = browser.complaints()
        check(all("401" in line for line in complaints), f"a refusal is all that the console tells: {complaints}")
    with with_board(binary, origin, 1) as house, Browser(driver) as browser:
        connect(browser, house, origin)
        browser.wait_text("#state", "Connected")
        waiting = house.agent().ask(*LAMP)
        browser.wait("article")
        answer(waiting, code=2)
        shown = browser.js("return document.querySelector('article').id.slice(2);")
        equal(resolve(browser, {"request_id": shown}), "EXPIRED", "an answer that comes too late")


def json_of(house, *arguments):
    return json.loads(house.cli(*arguments))

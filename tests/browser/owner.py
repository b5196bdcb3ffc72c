"""What an owner does beyond yes and no, on a phone: grants, the kill switch, two people, changed calls, several at once.
Each with a finger, with the keyboard alone, and without scripts."""
import json

from house import House
from webdriver import ENTER, PHONE, SPACE, TAB, Browser

from harness import answer, check, equal, eventually, step

PEOPLE = "people: {anna: {web: anna}, ben: {web: ben}}\n"
RULES = """
rules:
  - {pattern: "ha_call_service(lock.*)", action: deny, description: "Locks are for people"}
  - {pattern: "ha_call_service(light.*)", action: ask, grant: {for: [15m, 1h], uses: 20, scope: signature}}
  - {pattern: "ha_call_service(cover.*)", action: ask, approvals: 2, approvers: [anna, ben]}
  - {pattern: "ha_call_service(climate.*)", action: ask, approvals: 2}
defaults:
  - {pattern: "*_get_*", action: allow}
  - {pattern: "*", action: ask}
"""
LAMP = {"domain": "light", "service": "turn_on", "entity_id": "light.desk", "brightness": 180}
TURN_ON, OPEN = "/api/services/light/turn_on", "/api/services/cover/open_cover"
READ, READ_AT = ("ha_get_state", {"entity_id": "sensor.attic"}), "/api/states/sensor.attic"


class Hand:
    """How a person uses a page. `browser` is signed in, as `name` if there is one."""

    has_scripts = True

    def __init__(self, browser, house, name=None):
        self.browser, self.house = browser, house
        browser.look(PHONE)
        if not self.has_scripts:
            browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
        browser.go(house.cli("web", *(("--as", name) if name else ())).strip())
        if not self.has_scripts:
            browser.click("button")
        eventually("the overview after signing in", lambda: browser.url == house.site + "/")

    def go(self, path):
        self.browser.go(self.house.site + path)

    def press(self, selector):
        self.browser.click(selector)

    def choose(self, selector):
        self.press(selector)

    def write(self, selector, text):
        self.browser.js("document.querySelector(arguments[0]).value = '';", selector)
        self.browser.type(selector, text)

    def hears(self, question, *parts):
        """What the page says of a question after an answer that ended it."""
        self.browser.wait_text(f"#q-{question} .ended" if self.has_scripts else "p.notice", *parts)


class Finger(Hand):
    """Taps."""


class Keys(Hand):
    """The keyboard alone."""

    def reach(self, selector):
        self.browser.js("document.activeElement?.blur();")
        for _ in range(60):
            self.browser.press(TAB)
            if self.browser.js("return document.activeElement.matches(arguments[0]);", selector):
                outline = self.browser.js("return getComputedStyle(document.activeElement).outlineStyle;")
                return equal(outline, "solid", f"the outline of {selector}, which has the focus")
        check(False, f"{selector} is reached with Tab")

    def press(self, selector):
        self.reach(selector)
        self.browser.press(ENTER)

    def choose(self, selector):
        self.reach(selector)
        self.browser.press(SPACE)

    def write(self, selector, text):
        # A field that is reached with Tab is selected as a whole.
        self.reach(selector)
        for character in text:
            self.browser.press(character)


class Plain(Hand):
    """Scripts are switched off."""

    has_scripts = False


def fits(browser, where):
    wide = browser.js("return document.documentElement.scrollWidth - document.documentElement.clientWidth;")
    equal(wide, 0, f"what is wider than the phone: {where}")


def grants(hand, house):
    browser, wire = hand.browser, house.wire()
    number, question = wire.ask("ha_call_service", args=LAMP)
    hand.go("/approvals/")
    card = f"#q-{question}"
    browser.wait_text(card, "Approve for 15 min", "Approve for 1 h", "every ha_call_service(light.turn_on, light.desk)", "at most 20")
    fits(browser, "a card that offers grants")
    hand.press(f"{card} button[value='approve:900']")
    check("result" in wire.reply(number), "the call was approved")
    hand.hears(question, "Approved by you")
    brighter = wire.request("ha_call_service", args={**LAMP, "brightness": 200})
    equal(brighter["result"]["grant"]["uses_left"], 19, "uses left after one")
    hand.go("/grants/")
    browser.wait_text("article", "every ha_call_service(light.turn_on, light.desk) of laptop", "19 of 20", "until")
    fits(browser, "the page of grants")
    hand.press("article button.danger")
    browser.wait_text("main", "Nothing is granted", "ended: revoked")
    number, question = wire.ask("ha_call_service", args={**LAMP, "brightness": 201})
    hand.go("/approvals/")
    hand.press(f"#q-{question} button[value=deny]")
    equal(wire.reply(number)["error"]["data"]["reason"], "denied_by_user", "after the grant was revoked")


def kill_switch(hand, house):
    browser, wire = hand.browser, house.wire()
    number, question = wire.ask("ha_call_service", args=LAMP)
    before = len(house.service.calls(READ_AT))
    hand.go("/")
    equal(browser.count("[role=alert]"), 0, "alerts while nothing is stopped")
    hand.press("a.button.danger")
    browser.wait_text("form.card", "Every new call is denied", "Everything")
    fits(browser, "the page that asks once more")
    hand.write("#reason", "odd calls")
    equal(wire.request(READ[0], args=READ[1])["result"]["status"], "executed", "a call before the second tap")
    hand.press("form.card button.danger")
    eventually("the overview after stopping", lambda: browser.url == house.site + "/")
    equal(wire.reply(number)["error"]["data"]["reason"], "kill_switch", "what the open question's agent hears")
    equal(wire.request(READ[0], args=READ[1])["error"]["data"]["reason"], "kill_switch", "what a new call hears")
    for path in ("/grants/", "/approvals/", "/audit/", f"/audit/call/{question}", "/kill/", "/nowhere", "/"):
        hand.go(path)
        browser.wait_text("main > [role=alert]", "Everything is stopped by web:", "odd calls")
        fits(browser, f"the red line on {path}")
    hand.press("form[action$='/kill/resume'] button")
    eventually("the end of the line", lambda: not browser.count("[role=alert]"))
    equal(wire.request(READ[0], args=READ[1])["result"]["status"], "executed", "a call after resuming")
    equal(len(house.service.calls(READ_AT)) - before, 2, "calls that were made")


def two_people(driver, how, house):
    with Browser(driver) as one, Browser(driver) as two, Browser(driver) as third:
        anna, ben, other = how(one, house, "anna"), how(two, house, "ben"), how(third, house)
        wire = house.wire()
        args = {"domain": "cover", "service": "open_cover", "entity_id": "cover.garage"}
        before = len(house.service.calls(OPEN))
        number, question = wire.ask("ha_call_service", args=args)
        card, notice = f"#q-{question}", "#live" if how.has_scripts else "p.notice"
        for hand in (anna, ben, other):
            hand.go("/approvals/")
            hand.browser.wait_text(card, "cover.garage", "2 different people", "only these count: anna, ben")
            fits(hand.browser, "a card for two people")
        yes = f"{card} button[value=approve]"
        other.press(yes)
        third.wait_text(notice, "not among those")
        check(all("403" in line for line in third.complaints()), "nothing but the refused answer is complained of")
        for _ in range(2):
            anna.press(yes)
            one.wait_text(notice, "Your yes counts: 1 of 2")
            anna.go("/approvals/")
        if not how.has_scripts:
            ben.go("/approvals/")
        two.wait_text(card, "1 of 2", "anna")
        equal(len(house.service.calls(OPEN)) - before, 0, "calls after one of two has said yes")
        ben.press(yes)
        check("result" in wire.reply(number), "two people have approved")
        ben.hears(question, "Approved by")
        equal(len(house.service.calls(OPEN)) - before, 1, "calls after both have said yes")


def place_of(browser, argument):
    return browser.js("""
        return [...document.querySelectorAll(".argument > label")].find((l) => l.innerText === arguments[0]).htmlFor;
        """, argument)


def edits(hand, house):
    browser, wire = hand.browser, house.wire()
    number, question = wire.ask("ha_call_service", args=LAMP)
    before = len(house.service.calls(TURN_ON))

    def change(argument, text):
        hand.go("/approvals/")
        hand.press(f"#q-{question} a.change")
        fits(browser, "the form of a change")
        hand.write("#" + place_of(browser, argument), text)
        hand.press("form.edit .answer button")

    change("domain", "lock")
    browser.wait_text("[role=alert]", "Not like this", "Locks are for people")
    equal([q["request_id"] for q in house.questions()], [question], "a change that is denied leaves the question open")
    change("brightness", "60")
    browser.wait_text("h1", "Approve the changed call?")
    browser.wait_text("article", "light.desk", "brightness", "60", "180")
    fits(browser, "the changed call")
    equal(len(house.service.calls(TURN_ON)) - before, 0, "calls before the changed one is approved")
    hand.press("form.answer button[value=approve]")
    result = wire.reply(number)["result"]
    equal(result["edited"], ["brightness"], "what the agent hears of the change")
    browser.wait_text("p.notice", "Approved by you")
    bodies = [json.loads(body) for _, _, _, body in house.service.calls(TURN_ON)[before:]]
    equal(bodies, [{"entity_id": ["light.desk"], "brightness": 60}], "what was called")


def several(hand, house):
    browser, wire = hand.browser, house.wire()
    asked = [wire.ask("ha_fire_event", args={"event_type": f"bell_{n}"}) for n in range(3)]
    hand.go("/approvals/")
    for _, question in asked[:2]:
        hand.choose(f"#q-{question} .choose input")
    fits(browser, "chosen questions")
    hand.press("#many button[value=approve]")
    for number, _ in asked[:2]:
        check("result" in wire.reply(number), "a chosen call was approved")
    eventually("a line for each", lambda: browser.count("p.notice") == 2)
    number, question = asked[2]
    equal([q["request_id"] for q in house.questions()], [question], "what was not chosen")
    hand.press(f"#q-{question} button[value=deny]")
    check("error" in wire.reply(number), "the other was denied")


def open_pages_hear_of_it(driver, house):
    with Browser(driver) as browser, Browser(driver) as other:
        watching, asking = Finger(browser, house), Finger(other, house)
        wire = house.wire("kitchen")
        args = {"domain": "climate", "service": "set_temperature", "entity_id": "climate.hall", "temperature": 21}
        number, question = wire.ask("ha_call_service", args=args)
        watching.go("/audit/")
        asking.go("/approvals/")
        for page in (browser, other):
            page.js("window.same = true;")
        usable = f"#q-{question} button[value=approve]:enabled"
        other.wait(usable)
        # One agent is stopped; the cards of others move down, and their buttons wait a moment.
        house.cli("kill", "--agent", "laptop", "--reason", "<b>odd</b>")
        for page in (browser, other):
            page.wait_text("main > [role=alert]", "Agent laptop is stopped by local:", "<b>odd</b>")
            check("RECORDED" not in page.text("[role=alert]"), "what is on disk is not said to be missing")
        other.wait(usable)
        # A card whose call is changed elsewhere shows the new one, which an old button does not approve.
        digest = f"return document.querySelector('#q-{question} input[name=digest]').value;"
        old = other.js(digest)
        house.cli("approve", question, "--set", "temperature:=19")
        other.wait_text(f"#q-{question}", "19", "1 of 2")
        check(other.js(digest) != old, "the card carries the changed call")
        other.wait(usable)
        said = other.js("""
            const form = document.querySelector(arguments[0]), body = new URLSearchParams([...new FormData(form)]);
            body.set("choice", "approve");
            body.set("digest", arguments[1]);
            return fetch(form.action, {method: "POST", body, headers: {accept: "application/json"}}).then((r) => r.json());
            """, f"#q-{question} form", old)
        equal((said["outcome"], said["is_over"]), ("stale", False), "a button of the old card")
        house.cli("kill")
        equal(wire.reply(number)["error"]["data"]["reason"], "kill_switch", "what the open question's agent hears")
        for page in (browser, other):
            page.wait_text("main > [role=alert]", "Everything is stopped by local:")
        eventually("no card to answer", lambda: not other.count("article form"))
        equal(house.service.calls("/api/services/climate/set_temperature"), [], "calls that were made")
        house.cli("resume")
        house.cli("resume", "--agent", "laptop")
        for page in (browser, other):
            eventually("the end of the line", lambda: not page.count("[role=alert]"))
            check(page.js("return window.same;"), "the page was never loaded again")


def house_of(binary):
    house = House(binary)
    (house.folder / "permissions.yaml").write_text(RULES)
    config = house.folder / "config.yaml"
    config.write_text(PEOPLE + config.read_text())
    return house


def pictures(driver, binary, folder):
    """What docs/admin-pages.md shows."""
    with house_of(binary) as house, Browser(driver) as browser:
        hand, wire = Finger(browser, house), house.wire()
        browser.look((390, 800), "light", 1.5)
        number, question = wire.ask("ha_call_service", args=LAMP, reason="It is getting dark and you are reading.")
        hand.go("/approvals/")
        browser.picture(folder / "grant.png", 1300)
        hand.press(f"#q-{question} a.change")
        hand.write("#" + place_of(browser, "brightness"), "60")
        hand.press("form.edit .answer button")
        browser.wait_text("h1", "Approve the changed call?")
        browser.picture(folder / "changed.png", 800)
        house.cli("kill", "--reason", "The laptop was left on the train")
        hand.go("/kill/")
        browser.picture(folder / "stopped.png", 420)
        wire.reply(number)


def owner(driver, binary, only=None):
    with house_of(binary) as house:
        for how in (Finger, Keys, Plain):
            for test in (grants, kill_switch, edits, several):
                if only in (None, test.__name__):
                    step(f"{test.__name__.replace('_', ' ')}: {how.__doc__.lower().rstrip('.')}")
                    with Browser(driver) as browser:
                        test(how(browser, house), house)
                        complaints = [line for line in browser.complaints() if "404" not in line and "400" not in line]
                        equal(complaints, [], "what the console complains of")
            if only in (None, "two_people"):
                step(f"two people: {how.__doc__.lower().rstrip('.')}")
                two_people(driver, how, house)
        if only in (None, "open_pages_hear_of_it"):
            step("open pages hear of stops")
            open_pages_hear_of_it(driver, house)
        house.cli("audit", "verify")

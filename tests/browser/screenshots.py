"""Makes the pictures of the documentation: days in a house, recorded by the program itself under a faster clock. Needs a
dynamically linked program, and Debian's faketime, pngquant and optipng."""
import pathlib
import random
import subprocess

from house import House
from webdriver import Browser, eventually

from harness import run, step

HERE = pathlib.Path(__file__).resolve().parent.parent.parent
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
HOUR, DAYS = 3600, 12
READS = [
    ("laptop", "ha_get_state", {"entity_id": "sensor.living_room"}), ("kitchen", "ha_get_state", {"entity_id": "sensor.oven"}),
    ("kitchen", "ha_get_states", {}), ("laptop", "paperless_search", {"query": "electricity"}),
    ("cloud", "ha_get_state", {"entity_id": "weather.home"}), ("laptop", "paperless_get_document", {"id": 4711}),
    ("kitchen", "ha_call_service", {"domain": "light", "service": "turn_off", "entity_id": "light.kitchen"}),
]
DENIED = [
    ("cloud", "ha_call_service", {"domain": "lock", "service": "unlock", "entity_id": "lock.front_door"}),
    ("laptop", "paperless_delete_document", {"id": 17}),
]
ASKED = [
    ("laptop", "ha_call_service", {"domain": "light", "service": "turn_on", "entity_id": "light.desk", "brightness": 180},
     "It is getting dark and you are reading."),
    ("kitchen", "ha_call_service", {"domain": "climate", "service": "set_temperature", "entity_id": "climate.living_room",
                                    "temperature": 21}, "You come home in half an hour."),
    ("laptop", "ntfy_publish", {"topic": "house-family", "title": "Dinner", "message": "Dinner is at seven, bring Ben."},
     "You asked me to tell the others."),
    ("cloud", "ha_call_service", {"domain": "cover", "service": "open_cover", "entity_id": "cover.garage"},
     "A parcel is waiting in front of the garage."),
]
NOTES = ["Not while we are asleep", "Only when somebody is at home", None]


class Clock:
    """The gateway's wall clock; its monotonic clock runs as usual."""

    def __init__(self, folder):
        self.file = pathlib.Path(folder) / "clock"
        self.at = -DAYS * 24 * HOUR
        self.environment = {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
                            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DISABLE_SHM": "1"}
        self.set(self.at)

    def set(self, at):
        self.at = min(at, 0)
        fresh = self.file.with_suffix(".next")
        fresh.write_text(f"{self.at:+.0f}\n")
        fresh.rename(self.file)


def live(house, clock, dice):
    """Days of calls: more in the morning and in the evening, none in the small hours."""
    wires = {name: house.wire(name) for name in ("laptop", "kitchen", "cloud")}
    while clock.at < -HOUR:
        hour = (clock.at // HOUR) % 24
        busy = 1 + 4 * (hour in (6, 7, 18, 19, 20)) + 2 * (hour in range(8, 18)) if hour >= 5 else 0
        for _ in range(dice.randrange(2 * busy + 1)):
            kind = dice.random()
            if kind < .72:
                agent, tool, args = dice.choice(READS)
                wires[agent].request(tool, args=args)
            elif kind < .78:
                agent, tool, args = dice.choice(DENIED)
                wires[agent].request(tool, args=args)
            else:
                asked(house, clock, dice, wires)
        clock.set(clock.at + HOUR * dice.uniform(.6, 1.4))
    clock.set(0)
    return wires


def asked(house, clock, dice, wires):
    agent, tool, args, reason = dice.choice(ASKED)
    number, question = wires[agent].ask(tool, args=args, reason=reason)
    clock.set(clock.at + dice.choice([4, 9, 20, 25, 45, 50, 110, 200, 420]))
    if dice.random() < .8:
        house.control(command="approve", id=question)
    else:
        house.control(command="deny", id=question, note=dice.choice(NOTES))
    wires[agent].reply(number)


def make(driver, program, folder):
    run(HERE / ".ci/install", f"{FAKETIME}:faketime", "pngquant", "optipng")
    folder.mkdir(parents=True, exist_ok=True)
    house = House(program, timeout=900)
    clock = Clock(house.folder)
    house.environment.update(clock.environment)
    with house, Browser(driver) as browser:
        step("a few days in a house")
        wires = live(house, clock, random.Random(5))
        for agent, tool, args, reason in (ASKED[0], ASKED[3], ASKED[2]):
            wires[agent].ask(tool, args=args, reason=reason)
        browser.go(house.link())
        eventually("the overview", lambda: browser.url == house.site + "/")
        for name, path, size, scheme, height, scale in SHOTS:
            browser.look(size, scheme, scale)
            browser.go(house.site + path)
            browser.picture(folder / f"{name}.png", height)
    for picture in sorted(folder.glob("*.png")):
        run("pngquant", "--force", "--skip-if-larger", "--quality", "80-98", "--ext", ".png", picture, code=None)
        subprocess.run(["optipng", "-quiet", "-o4", picture], check=True)
        print(f"{picture} {picture.stat().st_size / 1000:.0f} kB")


# Name, page, window, colours, height of the picture, pixels per unit.
SHOTS = [
    ("approvals-light", "/approvals/", (390, 800), "light", 790, 1.5),
    ("approvals-dark", "/approvals/", (390, 800), "dark", 790, 1.5),
    ("overview", "/", (1000, 760), "light", 760, 1.25),
    ("record", "/audit/", (1000, 1180), "light", 1180, 1.25),
]

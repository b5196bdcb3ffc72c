"""What the owner's rules, flows and limits say to calls that follow each other, in the slowest and plainest way.

Written from the description of permissions.yaml, not from the gateway's code. One JSON line with a policy and calls comes
in, one JSON line with the verdicts goes out.
"""

import datetime
import fnmatch
import json
import re
import sys
import unicodedata
import zoneinfo
from decimal import ROUND_UP, Decimal, getcontext

UNKNOWN = "unknown"
NOTHING = object()
STRICTNESS = {"deny": 0, "ask": 1, "allow": 2}
# Sums are exact.
getcontext().prec = 60
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def kind_of(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def negated(truth):
    return truth if truth == UNKNOWN else not truth


def all_of(truths):
    truths = list(truths)
    if any(t is False for t in truths):
        return False
    return UNKNOWN if UNKNOWN in truths else True


def any_of(truths):
    return negated(all_of(negated(t) for t in truths))


def equal(a, b):
    if kind_of(a) != kind_of(b):
        return UNKNOWN
    if kind_of(a) == "array":
        return all_of(equal(x, y) for x, y in zip(a, b)) if len(a) == len(b) else False
    if kind_of(a) == "object":
        return all_of(equal(a[k], b[k]) for k in a) if set(a) == set(b) else False
    return a == b


def number_text(number):
    """RFC 8785, that is, what JavaScript writes."""
    if number == int(number) and abs(number) < 10**21:
        return str(int(number))
    sign, digits, exponent = Decimal(repr(float(number))).normalize().as_tuple()
    digits = "".join(map(str, digits))
    point = len(digits) + exponent
    if 0 < point <= 21:
        text = digits[:point] + "." + digits[point:]
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        text = digits[0] + ("." + digits[1:] if digits[1:] else "") + "e%+d" % (point - 1)
    return "-" * sign + text


def text_of(value):
    kind = kind_of(value)
    if kind == "string":
        return value
    if kind == "number":
        return number_text(value)
    return str(value).lower() if kind == "boolean" else None


def name_of(text):
    """A host name in the form of DNS, or None."""
    text = text.lower()
    if text.endswith("."):
        text = text[:-1]
    labels = []
    for label in text.split("."):
        if not label or not re.fullmatch(r"[a-z0-9_\u00e0-\uffff-]+", label) or len(label) > 63:
            return None
        if unicodedata.normalize("NFKC", label) != label or "ß" in label:
            return None
        if any(unicodedata.category(c)[0] != "L" for c in label if not c.isascii()):
            return None
        if not label.isascii():
            label = "xn--" + label.encode("punycode").decode()
        elif label.startswith("xn--"):
            try:
                if label[4:].encode().decode("punycode").isascii():
                    return None
            except UnicodeError:
                return None
        labels.append(label)
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        return None
    return ".".join(labels)


def host_of(text):
    match = re.fullmatch(r"([^:]*)(?::([0-9]*))?", text)
    if not match or (match[2] and int(match[2]) > 65535):
        return None
    return name_of(match[1])


def domain_of(text):
    if any(c == "\\" or c.isspace() or unicodedata.category(c) == "Cc" for c in text):
        return None
    url = re.match(r"(?P<scheme>.*?)://(?P<authority>[^/?#]*)", text)
    if url:
        return host_of(url["authority"]) if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", url["scheme"]) else None
    if "@" in text:
        mailbox, _, domain = text.partition("@")
        return name_of(domain) if re.fullmatch(r'[^%/:?#,;<>()\[\]"]+', mailbox) else None
    return host_of(text)


def within(domain, known):
    return any(domain == k or domain.endswith("." + k) for k in known)


def keys_in(value):
    if isinstance(value, dict):
        return set(k.strip().lower() for k in value).union(*(keys_in(v) for v in value.values()))
    if isinstance(value, list):
        return set().union(*(keys_in(v) for v in value))
    return set()


def says(operator, operand, value, strict):
    if operator == "exists":
        return (value is not NOTHING) == operand
    if value is NOTHING:
        return UNKNOWN
    kind = kind_of(value)
    if operator == "eq":
        return equal(operand, value)
    if operator == "ne":
        return negated(equal(operand, value))
    if operator == "in":
        return any_of(equal(one, value) for one in operand)
    if operator == "not_in":
        return negated(any_of(equal(one, value) for one in operand))
    if operator in ("gt", "ge", "lt", "le"):
        if kind != "number":
            return UNKNOWN
        return {"gt": value > operand, "ge": value >= operand, "lt": value < operand, "le": value <= operand}[operator]
    if operator in ("matches", "not_matches", "regex"):
        text = text_of(value)
        if text is None:
            return UNKNOWN
        if operator == "regex":
            return re.fullmatch(operand, text) is not None
        return fnmatch.fnmatchcase(text, operand) == (operator == "matches")
    if operator in ("domain_in", "domain_not_in"):
        domain = domain_of(value) if kind == "string" else None
        if domain is None:
            return UNKNOWN
        return within(domain, [name_of(one) for one in operand]) == (operator == "domain_in")
    if operator in ("count_gt", "count_le"):
        if kind not in ("array", "object"):
            return UNKNOWN
        return (len(value) > operand) == (operator == "count_gt")
    if operator in ("length_gt", "length_le"):
        if kind != "string":
            return UNKNOWN
        return (len(value) > operand) == (operator == "length_gt")
    assert operator in ("keys_in", "keys_not_in"), operator
    if kind not in ("array", "object"):
        return UNKNOWN
    fitting = [(key in operand) == (operator == "keys_in") for key in keys_in(value)]
    return any(fitting) if strict else bool(fitting) and all(fitting)


def steps_of(path):
    if path == ".":
        return []
    steps = []
    for name in path.split("."):
        bare = name.rstrip("[]")
        steps.append(("any", None) if bare == "*" else ("member", bare))
        steps += [("elements", None)] * ((len(name) - len(bare)) // 2)
    return steps


def reached(value, steps):
    """Everything a path leads to; NOTHING for each end that leads nowhere."""
    if value is None:
        return [NOTHING]
    if not steps:
        return [value]
    (step, name), rest = steps[0], steps[1:]
    if step == "member":
        below = [value[name]] if isinstance(value, dict) and name in value else []
    elif step == "any":
        below = list(value.values()) if isinstance(value, dict) else []
    else:
        below = value if isinstance(value, list) else []
    return [end for one in below for end in reached(one, rest)] if below else [NOTHING]


def condition_holds(condition, args, each, strict):
    """True, False, or UNKNOWN where it counts as true only for want of knowing better."""
    steps = steps_of(condition["path"])
    operator, operand = condition["operator"], condition["operand"]
    wants_list = operator.startswith("count") or steps[1:2] == [("elements", None)]
    if each and not wants_list and steps:
        args = {**args, each["name"]: each["element"]}
    truths = [says(operator, operand, value, strict) for value in reached(args, steps)]
    if not strict:
        return all(t is True for t in truths)
    if True in truths:
        return True
    return UNKNOWN if UNKNOWN in truths else False


def in_window(window, facts):
    zone = zoneinfo.ZoneInfo(window["zone"] or facts["zone"])
    wall = datetime.datetime.fromtimestamp(facts["now"] / 1000, zone).replace(tzinfo=None)
    minute = wall.hour * 60 + wall.minute
    day = wall.date()
    if window["from"] < window["to"]:
        inside = window["from"] <= minute < window["to"]
    else:
        inside = minute >= window["from"] or minute < window["to"]
        if minute < window["to"] and minute < window["from"]:
            day -= datetime.timedelta(days=1)
    return inside and (not window["days"] or DAYS[day.weekday()] in window["days"])


def values_of(value):
    if isinstance(value, dict):
        return list(value) + [text for one in value.values() for text in values_of(one)]
    if isinstance(value, list):
        return [text for one in value for text in values_of(one)]
    text = text_of(value)
    return [] if text is None else [text]


def any_value_fits(rule, call, each):
    folding = rule["action"] == "deny" or rule["always"]
    undeclared = [name for name in call["args"] if name not in call["declared"]]
    texts = list(undeclared)
    for name, value in call["args"].items():
        if each and name == each["name"] and not folding:
            value = each["element"]
        texts += values_of(value)
    if folding:
        texts += [text.strip().lower() for text in texts]
    return any(fnmatch.fnmatchcase(text, rule["any_value"]) for text in texts)


def fits(rule, call, facts, signature, each):
    strict = rule["action"] != "allow"
    if not fnmatch.fnmatchcase(signature, rule["pattern"]):
        return False
    if rule["agents"] is not None and call["agent"] not in rule["agents"]:
        return False
    if rule["kinds"] and call["kind"] not in rule["kinds"]:
        return False
    if rule["risks"] and call["risk"] not in rule["risks"]:
        return False
    doubt = False
    if rule["time"] is not None:
        if not facts["clock_set"]:
            if not strict:
                return False
            doubt = True
        elif not in_window(rule["time"], facts):
            return False
    known = set(call["data"]["labels"] if call["data"] else []).union(*(source["labels"] for source in facts["read"]))
    if not set(rule["after"]) <= known:
        return False
    if rule["any_value"] is not None and not any_value_fits(rule, call, each):
        return False
    for condition in rule["when"]:
        holds = condition_holds(condition, call["args"], each, strict)
        if holds is False:
            return False
        doubt = doubt or holds == UNKNOWN
    return UNKNOWN if doubt else True


def order_of(rule):
    if rule["action"] == "ask":
        return 1 if rule["always"] else 3
    return {"deny": 0, "allow": 2}[rule["action"]]


def judge_one(policy, call, facts, signature, each):
    rules = sorted(policy["rules"], key=order_of) + policy["defaults"]
    doubted = None
    for rule in rules:
        found = fits(rule, call, facts, signature, each)
        if found is False:
            continue
        # Doubt asks, but spares nothing that would have been denied without it.
        if found == UNKNOWN and rule["action"] == "ask":
            doubted = doubted or rule
        elif doubted is None or rule["action"] == "deny":
            return rule
        else:
            return doubted
    return doubted


def strictest(decisions):
    return min(decisions, key=STRICTNESS.get, default="allow")


def by_rules(policy, call, facts):
    if call["each"] is None:
        found = [judge_one(policy, call, facts, call["signature"], None)]
    else:
        found = [judge_one(policy, call, facts, part, each) for part, each in elements(call)]
    rule = min(found, key=lambda rule: STRICTNESS[rule["action"] if rule else "ask"])
    if rule is None:
        return "ask", [{"reason": "asked_by_default"}]
    code = {
        "deny": "denied_by_policy",
        "ask": "asked_by_rule" if rule in policy["rules"] else "asked_by_default",
        "allow": None,
    }[rule["action"]]
    return rule["action"], [] if code is None else [{"reason": code, "rule": rule["name"]}]


def elements(call):
    parts = zip(call["parts"], call["args"][call["each"]])
    return [(part, {"name": call["each"], "element": element}) for part, element in parts]


def fields_of(call):
    """The names of the fields that go out; None when nobody knows them."""
    name = call["data"]["fields"]
    if name is None:
        fields = keys_in(call["args"])
    else:
        listed = call["args"].get(name)
        if not isinstance(listed, list) or any(not isinstance(one, str) for one in listed):
            return None
        fields = set(one.strip().lower() for one in listed)
    return fields or None


def keeps(flow, call):
    data, args = call["data"], call["args"]
    if flow["domains"] is not None:
        receivers = args.get(data["domain"], [])
        receivers = receivers if isinstance(receivers, list) else [receivers]
        domains = [domain_of(one) if isinstance(one, str) else None for one in receivers]
        known = [name_of(one) for one in flow["domains"]]
        if not domains or any(one is None or not within(one, known) for one in domains):
            return False
    for bound in ("blocked_fields", "allowed_fields"):
        if flow[bound] is not None:
            fields = fields_of(call)
            if fields is None:
                return False
            if fields & set(flow[bound]) if bound == "blocked_fields" else fields - set(flow[bound]):
                return False
    if flow["max_records"] is not None:
        records = args.get(data["records"])
        if isinstance(records, list) and call["declared"].get(data["records"]) == "array":
            records = len(records)
        if kind_of(records) != "number" or not 0 <= records <= flow["max_records"]:
            return False
    return True


def own_source(call):
    data = call["data"]
    if data is None or (data["from"] is None and not data["labels"]):
        return None
    return {"from": data["from"] or call["tool"], "labels": sorted(data["labels"])}


def by_flows(policy, call, facts):
    if call["data"] is None or call["data"]["to"] is None:
        return "allow", []
    to = call["data"]["to"]
    sources = [] if own_source(call) is None else [own_source(call)]
    sources += [source for source in facts["read"] if source not in sources]
    found = []
    for source in sources:
        labels = set(source["labels"])
        for flow in policy["flows"]:
            fitting = fnmatch.fnmatchcase(source["from"], flow["from"]) and fnmatch.fnmatchcase(to, flow["to"])
            if fitting and (not flow["labels"] or labels & set(flow["labels"])):
                decision = flow["action"] if keeps(flow, call) else "deny"
                found.append((decision, flow["description"] or flow["from"] + " → " + flow["to"]))
                break
        else:
            data = policy["data"]
            if labels & set(data["sensitive_labels"]) and to in data["sensitive_destinations"]:
                found.append((data["otherwise"], source["from"] + " → " + to))
    codes = {"deny": "flow_denied", "ask": "asked_by_flow"}
    reasons = []
    for decision, name in found:
        reason = {"reason": codes.get(decision), "flow": name}
        if decision != "allow" and reason not in reasons:
            reasons.append(reason)
    return strictest(decision for decision, _ in found), reasons


def amount_of(number):
    """A decimal with nine digits behind the point, finer ones rounded up; None when it cannot be counted."""
    if kind_of(number) != "number" or number < 0 or number > 10**29:
        return None
    exact = Decimal(number) if isinstance(number, int) else Decimal(repr(number))
    return exact.quantize(Decimal("1e-9"), rounding=ROUND_UP)


def counts_how_often(limit, call, facts):
    rule = {**limit, "action": "deny", "always": False}
    if call["each"] is None:
        return 1 if fits(rule, call, facts, call["signature"], None) is not False else 0
    return sum(fits(rule, call, facts, part, each) is not False for part, each in elements(call))


def adds(limit, call, times, asked):
    count = limit["count"]
    if count == "calls":
        return Decimal(times)
    if count == "questions":
        return Decimal(1 if asked else 0)
    if count == "seconds":
        return Decimal(0)
    what = {"arg": count[4:]} if count.startswith("arg:") else call[count]
    one = amount_of(call["args"].get(what["arg"]) if isinstance(what, dict) else what)
    return None if one is None else one * times


def canonical(value):
    if isinstance(value, dict):
        return tuple(sorted((name, canonical(one)) for name, one in value.items()))
    if isinstance(value, list):
        return ["list"] + [canonical(one) for one in value]
    return (kind_of(value), text_of(value))


class World:
    """What the gateway remembers: which calls it has made, which sessions live, what agents have read."""

    def __init__(self, policy):
        self.policy = policy
        self.claims = []
        self.sessions = {}
        self.begun = 0
        self.readings = list(policy["read"])
        self.read_in = {}
        for reading in self.readings:
            self.read_in[(reading["agent"], reading["session"])] = reading["at"]

    def lives(self, who, now):
        return who in self.sessions and self.sessions[who]["last"] + self.policy["idle"] > now

    def called(self, who, now):
        if self.lives(who, now):
            self.sessions[who]["last"] = now
        if who in self.read_in:
            if self.read_in[who] + self.policy["idle"] > now:
                self.read_in[who] = now
            else:
                del self.read_in[who]
                for reading in self.readings:
                    if (reading["agent"], reading["session"]) == who:
                        reading["ended"] = True

    def carried(self, who, now):
        remember = self.policy["remember"]
        if remember == "off":
            return []
        found = []
        for reading in self.readings:
            if remember == "session":
                counts = (reading["agent"], reading["session"]) == who and not reading.get("ended")
            else:
                counts = reading["agent"] == who[0] and reading["at"] + remember > now
            source = {"from": reading["from"], "labels": sorted(reading["labels"])}
            if counts and source not in found:
                found.append(source)
        return sorted(found, key=lambda source: (source["from"], source["labels"]))

    def key(self, limit, call, who, now):
        per = limit["per"]
        by_session = "session" in per or limit["window"] == "session"
        session = None
        if by_session:
            session = self.sessions[who]["number"] if self.lives(who, now) else object()
        return (
            limit["name"],
            who[0] if by_session or "agent" in per else None,
            who[1] if by_session else None,
            session,
            call["tool"] if "tool" in per else None,
            (call["tool"], repr(canonical(call["args"]))) if "call" in per else None,
        )

    def ends(self, limit, at):
        """When a call that was made at this moment counts no more."""
        window = limit["window"]
        if window == "session":
            return None
        if isinstance(window, int):
            part = window // 60
            return (at // part + 1) * part + window
        zone = zoneinfo.ZoneInfo(self.policy["zone"])
        day = datetime.datetime.fromtimestamp(at / 1000, zone).date()
        if window == "day":
            day += datetime.timedelta(days=1)
        elif window == "week":
            day += datetime.timedelta(days=7 - day.weekday())
        else:
            day = (day.replace(day=28) + datetime.timedelta(days=4)).replace(day=1)
        return round(datetime.datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)

    def counted(self, limit, key, now):
        """The claims that count, and what they come to."""
        claims = [
            claim
            for claim in self.claims
            if claim["key"] == key and (claim["ends"] is None or claim["ends"] > now)
        ]
        if limit["count"] == "seconds":
            return claims, Decimal(now - min([claim["at"] for claim in claims], default=now)) / 1000
        return claims, sum((claim["amount"] for claim in claims), Decimal(0))

    def retry_after(self, limit, key, added, now):
        if added is None or limit["deny_above"] is None:
            return None
        most = amount_of(limit["deny_above"])
        ends = [claim["ends"] for claim in self.counted(limit, key, now)[0] if claim["ends"] is not None]
        for end in sorted(ends):
            if self.counted(limit, key, end)[1] + added <= most:
                return max(1, -((now - end) // 1000))
        return None

    def by_limits(self, call, facts, who, before, asked):
        """Decision, reasons with their times, and what the call counts."""
        now = facts["now"]
        found = {}
        for questions in (False, True):
            others = strictest([before] + [decision for decision, _, _, _ in found.values()])
            is_asked = asked or others == "ask"
            for place, limit in enumerate(self.policy["limits"]):
                times = counts_how_often(limit, call, facts)
                if (limit["count"] == "questions") != questions or times == 0:
                    continue
                key = self.key(limit, call, who, now)
                added = adds(limit, call, times, is_asked)
                after = None if added is None else self.counted(limit, key, now)[1] + added
                above = {
                    bound: limit[bound] is not None and (after is None or after > amount_of(limit[bound]))
                    for bound in ("ask_above", "deny_above")
                }
                decision = "deny" if above["deny_above"] else "ask" if above["ask_above"] else "allow"
                time = self.retry_after(limit, key, added, now)
                found[place] = (decision, limit, time, added)
        reasons = []
        for place in sorted(found):
            decision, limit, time, _ = found[place]
            if decision == "deny":
                reasons.append({"reason": "limit_reached", "limit": limit["name"], "time": time})
            elif decision == "ask":
                reasons.append({"reason": "asked_by_limit", "limit": limit["name"]})
        charges = [(limit, added) for _, limit, _, added in found.values()]
        return strictest(decision for decision, _, _, _ in found.values()), reasons, charges

    def judge(self, call, facts, who, asked):
        facts = {**facts, "read": self.carried(who, facts["now"])}
        rules, rule_reasons = by_rules(self.policy, call, facts)
        flows, flow_reasons = by_flows(self.policy, call, facts)
        before = strictest([rules, flows])
        limits, limit_reasons, charges = self.by_limits(call, facts, who, before, asked)
        decision = strictest([before, limits])
        said = {"denied_by_policy": "deny", "flow_denied": "deny", "limit_reached": "deny"}
        reasons = rule_reasons + flow_reasons + limit_reasons
        reasons = [reason for reason in reasons if said.get(reason["reason"], "ask") == decision]
        times = [reason.pop("time", None) for reason in reasons]
        healed = decision == "deny" and None not in times
        return {"decision": decision, "reasons": reasons, "retry_after": max(times) if healed else None}, charges

    def claim(self, call, who, now, charges):
        if not self.lives(who, now):
            self.begun += 1
            self.sessions[who] = {"number": self.begun, "last": now}
        self.sessions[who]["last"] = now
        for limit, added in charges:
            if added is not None:
                claim = {"key": self.key(limit, call, who, now), "at": now, "amount": added}
                self.claims.append({**claim, "ends": self.ends(limit, now)})

    def step(self, step):
        call, who = step["call"], (step["call"]["agent"], step["session"])
        facts = {"now": step["now"], "clock_set": step["clock_set"], "zone": self.policy["zone"]}
        self.called(who, step["now"])
        verdict, charges = self.judge(call, facts, who, False)
        claimed = verdict["decision"] == "allow"
        if "meanwhile" in step:
            verdict["meanwhile"] = self.step(step["meanwhile"])
        if verdict["decision"] == "ask" and "approved_at" in step:
            facts["now"] = step["approved_at"]
            again, charges = self.judge(call, facts, who, True)
            claimed = again["decision"] != "deny"
            verdict["forbidden"] = None if claimed else {**again, "decision": None}
        if claimed:
            self.claim(call, who, facts["now"], charges)
            source = own_source(call)
            if source is not None and step["succeeds"]:
                self.readings.append({"agent": who[0], "session": who[1], "at": facts["now"], **source})
                self.read_in[who] = facts["now"]
        return verdict


def main():
    for line in sys.stdin.buffer:
        case = json.loads(line)
        world = World(case["policy"])
        sys.stdout.write(json.dumps([world.step(step) for step in case["steps"]]) + "\n")
        sys.stdout.flush()


main()

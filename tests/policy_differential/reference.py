"""What the owner's rules say to a call, in the slowest and plainest way.

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
from decimal import Decimal

UNKNOWN = "unknown"
NOTHING = object()
STRICTNESS = {"deny": 0, "ask": 1, "allow": 2}
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
    known = set(call["labels"]).union(*(source["labels"] for source in facts["read"]))
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


def judge(policy, call, facts):
    if call["each"] is None:
        found = [judge_one(policy, call, facts, call["signature"], None)]
    else:
        parts = zip(call["parts"], call["args"][call["each"]])
        found = [
            judge_one(policy, call, facts, part, {"name": call["each"], "element": element})
            for part, element in parts
        ]
    rule = min(found, key=lambda rule: STRICTNESS[rule["action"] if rule else "ask"])
    if rule is None:
        return {"decision": "ask", "reasons": [{"reason": "asked_by_default"}]}
    code = {
        "deny": "denied_by_policy",
        "ask": "asked_by_rule" if rule in policy["rules"] else "asked_by_default",
        "allow": None,
    }[rule["action"]]
    reasons = [] if code is None else [{"reason": code, "rule": rule["name"]}]
    return {"decision": rule["action"], "reasons": reasons}


def main():
    for line in sys.stdin.buffer:
        case = json.loads(line)
        verdicts = [judge(case["policy"], call, call["facts"]) for call in case["calls"]]
        sys.stdout.write(json.dumps(verdicts) + "\n")
        sys.stdout.flush()


main()

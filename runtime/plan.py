"""Decides which step of a job comes next: a graph of steps with control points before and after each.

Pure: no process, no clock. A control point is a list of rules, `{"if": CONDITION, "count": NAME, "go": WHERE}`, each part
optional. The first rule whose condition holds and that says where to go decides; `count` adds 1 to a counter on the way.

WHERE: the name of a step; "next"; "end" (no more steps, the output goes out); "fail"; and before a step "run".
CONDITION: {"exit_code": N or [N, ...], "of": STEP}, {"file_exists": NAME}, {"counter": NAME, "below": N},
{"all": [...]}, {"any": [...]}, {"not": CONDITION}.
"""

from typing import Any, Callable, Dict, List, Optional

MOST_STEPS = 1000
"""A job that has run so many is going round in a circle."""
PLACES = ("next", "end", "fail")
FAIL = "fail"


class Plan(object):
    """Where a job stands in its steps. `exists` says whether a file is in the working directory."""

    def __init__(self, steps: List[Dict[str, Any]], exists: Callable[[str], bool]) -> None:
        self._steps = steps
        self._exists = exists
        self._names = [name_of(steps, place) for place in range(len(steps))]
        self._codes: Dict[str, int] = {}
        self._counters: Dict[str, int] = {}
        self._at = 0
        self._visits = 0

    def name(self) -> str:
        """Return the name of the step that is next or runs."""
        return self._names[self._at]

    def step(self) -> Optional[Dict[str, Any]]:
        """Return the next step to run, or None when there is none left. Raise LookupError when it should fail here."""
        while self._at < len(self._steps):
            self._visits += 1
            if self._visits > MOST_STEPS:
                raise LookupError("more than {} steps: the control points lead round in a circle".format(MOST_STEPS))
            where = self._decide(self._steps[self._at].get("before") or [], "run")
            if where == "run":
                return self._steps[self._at]
            if where == FAIL:
                raise LookupError("the control point before {} says fail".format(self.name()))
            self._go(where)
        return None

    def ended(self, code: int) -> bool:
        """Take note of how the step ended (128 plus the signal that killed it); False if the job fails by that."""
        self._codes[self.name()] = code
        where = self._decide(self._steps[self._at].get("then") or [], FAIL if code else "next")
        if where == FAIL:
            return False
        self._go(where)
        return True

    def _go(self, where: str) -> None:
        if where == "end":
            self._at = len(self._steps)
        elif where == "next":
            self._at += 1
        else:
            self._at = self._names.index(where)

    def _decide(self, rules: List[Dict[str, Any]], otherwise: str) -> str:
        for rule in rules:
            if not self._holds(rule.get("if") or {}):
                continue
            if rule.get("count"):
                self._counters[rule["count"]] = self._counters.get(rule["count"], 0) + 1
            if rule.get("go"):
                return str(rule["go"])
        return otherwise

    def _holds(self, condition: Dict[str, Any]) -> bool:
        if "exit_code" in condition:
            wanted = condition["exit_code"]
            found = self._codes.get(condition.get("of") or self.name())
            return found in wanted if isinstance(wanted, list) else found == wanted
        if "file_exists" in condition:
            return self._exists(condition["file_exists"])
        if "counter" in condition:
            return bool(self._counters.get(condition["counter"], 0) < condition["below"])
        if "all" in condition:
            return all(self._holds(part) for part in condition["all"])
        if "any" in condition:
            return any(self._holds(part) for part in condition["any"])
        if "not" in condition:
            return not self._holds(condition["not"])
        return True


def name_of(steps: List[Any], place: int) -> str:
    """Return the name of a step; one without is called by its number."""
    step = steps[place]
    given = step.get("name") if isinstance(step, dict) else None
    return str(given or "step{}".format(place + 1))


def faults(steps: List[Any]) -> List[str]:
    """Return what is wrong with the control points of some steps, as sentences."""
    names = [name_of(steps, place) for place in range(len(steps))]
    found = []
    for place, step in enumerate(steps):
        for point in ("before", "then") if isinstance(step, dict) else ():
            rules = step.get(point) or []
            where = "steps[{}].{}".format(place, point)
            if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
                found.append("{} is {!r}, expected a list of rules".format(where, rules))
                continue
            for rule in rules:
                found += _rule_faults(where, rule, list(PLACES) + (["run"] if point == "before" else []) + names)
    controlled = any(isinstance(step, dict) and (step.get("before") or step.get("then")) for step in steps)
    if controlled and len(set(names)) != len(names):
        found.append("steps are named {}, expected unique names where there are control points".format(names))
    return found


def _rule_faults(where: str, rule: Dict[str, Any], places: List[str]) -> List[str]:
    found = []
    if set(rule) - {"if", "count", "go"}:
        found.append("{}: {!r}, expected if, count, go".format(where, rule))
    if rule.get("go") is not None and rule["go"] not in places:
        found.append("{}.go is {!r}, expected one of {}".format(where, rule["go"], ", ".join(places)))
    if rule.get("count") is not None and not isinstance(rule["count"], str):
        found.append("{}.count is {!r}, expected the name of a counter".format(where, rule["count"]))
    if rule.get("if") and not _is_condition(rule["if"], places):
        found.append("{}.if is {!r}, expected a condition".format(where, rule["if"]))
    return found


def _is_condition(condition: Any, places: List[str]) -> bool:
    if not isinstance(condition, dict):
        return False
    keys = set(condition)
    if keys and keys <= {"exit_code", "of"}:
        codes = condition.get("exit_code")
        codes = codes if isinstance(codes, list) else [codes]
        return all(type(code) is int for code in codes) and condition.get("of", places[0]) in places
    if keys == {"file_exists"}:
        name = condition["file_exists"]
        return isinstance(name, str) and not name.startswith("/") and ".." not in name.split("/")
    if keys == {"counter", "below"}:
        return isinstance(condition["counter"], str) and type(condition["below"]) is int
    if keys in ({"all"}, {"any"}):
        (parts,) = condition.values()
        return isinstance(parts, list) and all(_is_condition(part, places) for part in parts)
    return keys == {"not"} and _is_condition(condition["not"], places)

"""Why a call is refused, as the client sees it."""

import msgspec

from config.faults import Fault


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is wrong with a call: `code` for programs, `text` for people; the first fault in `field`, `got`, `expected`,
    all of them in `faults`."""

    code: str
    text: str
    field: str = ""
    got: str = ""
    expected: str = ""
    faults: list[Fault] = []


class ProblemAnswer(msgspec.Struct, frozen=True, kw_only=True):
    error: Problem


class Refusal(Exception):
    """A call that changes nothing."""

    def __init__(self, status: int, code: str, text: str, faults: list[Fault] | None = None) -> None:
        super().__init__(text)
        first = faults[0] if faults else Fault(where="", key="", got="", expected="")
        self.status = status
        self.problem = Problem(
            code=code, text=text, field=first.key, got=first.got, expected=first.expected, faults=faults or []
        )


def bad_input(faults: list[Fault]) -> Refusal:
    """Values that will not do."""
    return Refusal(400, "bad_input", "; ".join(str(fault) for fault in faults), faults)


def bad_value(field: str, got: object, expected: str, nearest: str | None = None) -> Refusal:
    """One value that will not do."""
    return bad_input([Fault(where="call", key=field, got=repr(got)[:100], expected=expected, nearest=nearest)])


def not_found(text: str) -> Refusal:
    return Refusal(404, "not_found", text)

"""Why a call is refused."""

from enum import StrEnum

from backends.prodmgr.wire import Problem


class Code(StrEnum):
    """The words for problems, with what a client does about each in docs/reference/prodmgr-api.md."""

    BAD_INPUT = "bad_input"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    WORKFLOW_GONE = "workflow_gone"
    REQUEST_FINISHED = "request_finished"
    ILLEGAL_MOVE = "illegal_move"
    LEASE_ENDED = "lease_ended"
    ALREADY_RETURNED = "already_returned"
    WRONG_FENCE = "wrong_fence"
    CALL_CONFLICT = "call_conflict"
    TOO_LARGE = "too_large"
    COOL_OFF = "cool_off"
    INTERNAL = "internal"
    AWAY = "away"


STATUS = {
    Code.BAD_INPUT: 400,
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.WORKFLOW_GONE: 410,
    Code.TOO_LARGE: 413,
    Code.COOL_OFF: 429,
    Code.INTERNAL: 500,
    Code.AWAY: 503,
}
"""HTTP status by code; every other code is a conflict, 409."""


class Refusal(Exception):
    """A call that changes nothing; the text goes to the client."""

    def __init__(self, code: Code, text: str, *, field: str = "", got: str = "", expected: str = "") -> None:
        super().__init__(text)
        self.problem = Problem(code=code.value, text=text, field=field, got=got, expected=expected)
        self.code = code
        self.status = STATUS.get(code, 409)
        self.retry_after: float | None = None


def bad_input(field: str, got: object, expected: str) -> Refusal:
    """A value that will not do: which, what it was, what was expected."""
    shown = repr(got)
    shown = shown if len(shown) <= 100 else shown[:99] + "…"
    return Refusal(
        Code.BAD_INPUT, f"{field}: got {shown}, expected {expected}", field=field, got=shown, expected=expected
    )


def not_found(what: str, number: object) -> Refusal:
    return Refusal(Code.NOT_FOUND, f"there is no {what} {number}")

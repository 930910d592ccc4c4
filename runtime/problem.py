"""The ways in which a job ends before its time."""

import errno

from runtime import codes

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a system call says where a disk is full, or a quota used up."""


class Problem(Exception):  # noqa: N818 -- the word of the reports
    """A job cannot go on: `code` and `text` say why, `step` where."""

    def __init__(self, code: int, text: str, step: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.step = step


class Stopped(BaseException):
    """Somebody told the runtime to stop; raised wherever it is."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def explain(fault: BaseException, step: str) -> Problem:
    """Return the problem that an unforeseen exception amounts to."""
    if isinstance(fault, Problem):
        return fault
    if isinstance(fault, Stopped):
        return Problem(fault.code, fault.text, step)
    if isinstance(fault, OSError) and fault.errno in FULL:
        return Problem(codes.NODE_DISK_FULL, "no space left on the node: {}".format(fault), step)
    import traceback  # noqa: PLC0415 -- slow to load and seldom needed

    lines = traceback.format_exception(type(fault), fault, fault.__traceback__)
    return Problem(codes.RUNTIME_FAILED, "the runtime failed: " + "".join(lines)[-4000:], step)

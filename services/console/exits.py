"""What the exit codes of all commands mean."""

from enum import IntEnum


class Exit(IntEnum):
    """One table; docs/reference/commands.md shows the same."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_AGENT = 3
    NO_STORE = 4
    SHORT = 5
    BAD_CONFIG = 78


MEANING: dict[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILED: "what was asked for failed, is not there, or was refused",
    Exit.USAGE: "bad usage or bad input: nothing was tried",
    Exit.NO_AGENT: "the agent does not run, or does not answer",
    Exit.NO_STORE: "the store cannot be used",
    Exit.SHORT: "`simulate`: every law held, but something is unfinished or waits for a person",
    Exit.BAD_CONFIG: "the configuration cannot be used (EX_CONFIG of sysexits.h)",
}


class Stop(Exception):
    """End with a sentence for people and a code for programs."""

    def __init__(self, code: Exit, text: str) -> None:
        super().__init__(text)
        self.code = code

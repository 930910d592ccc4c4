"""The contract of a batch system that can empty what jobs left without forgetting them; one that cannot lacks the method."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class Trimming(Protocol):
    """A batch system whose job directories the agent can reach."""

    async def trim(self, tokens: Sequence[str], most_bytes: int) -> dict[str, int]:
        """Empty the directories of ended attempts that take more, but for specification and report; return bytes freed by token.

        Repeatable; unknown and live tokens are skipped. One call whatever the number of tokens. Raise BatchError.
        """

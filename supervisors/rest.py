"""What is left of a handler that was begun outside its task."""

import asyncio
from collections.abc import Generator
from types import CodeType, CoroutineType, FrameType
from typing import Any, Final

OVER: Final[Any] = object()


class Rest(Generator[Any, Any, Any]):
    """A coroutine that already waits for something: the task that awaits this waits for the same, then drives it on.

    asyncio's tasks take what a coroutine yields (a future, or None for a turn of the loop), so the first of these is handed
    to the task unchanged when it comes to it. Looks like a coroutine to who shows where a task stands.
    """

    __slots__ = ("_cancel", "_first", "_handler")

    def __init__(self, handler: "CoroutineType[Any, Any, Any]", first: Any) -> None:
        self._handler = handler
        self._first = first
        self._cancel: asyncio.CancelledError | None = None

    @property
    def cr_frame(self) -> FrameType | None:
        """Where the handler stands."""
        return self._handler.cr_frame

    @property
    def cr_code(self) -> CodeType:
        """The handler's code."""
        return self._handler.cr_code

    @property
    def cr_await(self) -> Any:
        """What the handler awaits."""
        return self._handler.cr_await

    def cancel(self, error: asyncio.CancelledError) -> None:
        """Note a cancel of the task that came before it got here."""
        self._cancel = error

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def send(self, value: Any) -> Any:
        """Go on, until the handler waits for the next thing; the first time, return what it waits for already."""
        first, self._first = self._first, OVER
        if first is OVER:
            return self._handler.send(value)
        if self._cancel is not None:  # as Task.cancel does: what is waited for is cancelled, or else who waits
            if asyncio.isfuture(first) and first.cancel(*self._cancel.args):
                return first
            return self._handler.throw(self._cancel)
        if first is None:  # one turn of the loop: it was had
            return self._handler.send(None)
        return first

    def throw(self, *error: Any) -> Any:
        """Go on with an exception."""
        self._first = OVER
        return self._handler.throw(*error)

    def close(self) -> None:
        """End the handler."""
        self._handler.close()

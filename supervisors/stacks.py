"""Shows where code stands: in a suspended task, or in every thread."""

import asyncio
import linecache
import sys
import threading
import traceback
from typing import Any


def coroutine_stack(task: asyncio.Task[Any]) -> str:
    """Return the chain of awaits a task is suspended in, outermost first."""
    lines: list[str] = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is None:
            if not hasattr(awaited, "cr_await"):
                lines.append(f"  waits for {awaited!r}\n")
            break
        code = frame.f_code
        source = linecache.getline(code.co_filename, frame.f_lineno).strip()
        lines.append(f'  File "{code.co_filename}", line {frame.f_lineno}, in {code.co_qualname}\n    {source}\n')
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return "".join(lines)


def thread_stacks() -> str:
    """Return where every thread of the process stands."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():
        parts.append(f"Thread {names.get(ident, ident)}:\n" + "".join(traceback.format_stack(frame)))
    return "\n".join(parts)

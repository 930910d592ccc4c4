"""Watches the event loop from a thread: its lag, who blocks it; ends the process when it stays blocked."""

import asyncio
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable

import msgspec

from supervisors.stacks import thread_stacks

logger = logging.getLogger("prodagent.loop")

EXIT_FROZEN = 70  # EX_SOFTWARE; the service manager restarts


class LoopWatchOptions(msgspec.Struct, frozen=True):
    """Limits in seconds of real time."""

    every: float = 1.0  # between two samples
    warn: float = 0.5  # lag that is logged
    alert: float = 2.0  # lag that is an alert, with the culprit's stack
    end: float | None = 60.0  # a loop frozen for so long ends the process; None: never


class LoopWatch:
    """A timer on the loop that notes its own delay, and a thread that looks whether it still does."""

    def __init__(
        self,
        options: LoopWatchOptions,
        on_alert: Callable[[str], None],
        *,
        end_process: Callable[[int], None] = os._exit,
    ) -> None:
        self.options = options
        self.lag = 0.0
        self.lag_max = 0.0
        self._on_alert = on_alert
        self._end_process = end_process
        self._beat = 0.0  # real monotonic time of the last sample
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, on the loop to be watched."""
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._schedule()
        self._thread = threading.Thread(target=self._watch, name="loop watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _schedule(self) -> None:
        self._beat = time.monotonic()
        self._timer = self._loop.call_later(self.options.every, self._sample)

    def _sample(self) -> None:
        self.lag = max(0.0, time.monotonic() - self._beat - self.options.every)
        self.lag_max = max(self.lag_max, self.lag)
        if self.lag > self.options.warn:
            logger.warning("the event loop was blocked for %.2f s", self.lag)
        self._schedule()

    def _watch(self) -> None:
        shown = 0.0
        while not self._stopping.wait(self.options.every / 4):
            beat = self._beat
            frozen = time.monotonic() - beat - self.options.every
            if frozen > self.options.alert and shown != beat:
                shown = beat
                self._show_culprit(frozen)
            if self.options.end is not None and frozen > self.options.end:
                logger.critical("the event loop is frozen for %.0f s: the process ends\n%s", frozen, thread_stacks())
                self._end_process(EXIT_FROZEN)
                return

    def _show_culprit(self, frozen: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        text = f"the event loop is blocked for {frozen:.1f} s by\n{stack}"
        logger.error(text)
        self._loop.call_soon_threadsafe(self._on_alert, text)

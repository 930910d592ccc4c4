"""Tells systemd that the service is ready, alive, stopping."""

import asyncio
import os
import socket
from collections.abc import Callable


class Notifier:
    """Sends the messages of sd_notify(3); silent where no service manager listens."""

    def __init__(self, address: str | None = None) -> None:
        self.address = os.environ.get("NOTIFY_SOCKET", "") if address is None else address

    def send(self, state: str) -> bool:
        """Send one message; False when nobody listens."""
        if not self.address:
            return False
        path = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            try:
                sender.connect(path)
                sender.sendall(state.encode())
            except OSError:
                return False
        return True


class Heartbeat:
    """Pings the service manager's watchdog for as long as everything that matters beats."""

    def __init__(self, notifier: Notifier, beats: Callable[[], list[str]], every: float = 5.0) -> None:
        self._notifier = notifier
        self._beats = beats  # returns the names of those that do not
        self._every = every
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Say that the service is ready, begin to ping."""
        self._notifier.send("READY=1")
        self._ping()

    def stop(self) -> None:
        """Say that the service is stopping; pings go on for the shutdown through the service manager's own time-out."""
        if self._timer is not None:
            self._timer.cancel()
        self._notifier.send("STOPPING=1")

    def _ping(self) -> None:
        silent = self._beats()
        if silent:
            self._notifier.send("STATUS=no beat of: " + ", ".join(silent))
        else:
            self._notifier.send("WATCHDOG=1")
        self._timer = asyncio.get_running_loop().call_later(self._every, self._ping)

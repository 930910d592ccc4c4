"""Says how much a host may be asked: calls within an hour, and fewer at once when its answers slow down."""

from collections import deque

HOUR_S = 3600.0
SLOT_S = 60.0
"""Calls are counted by the minute."""

SLOW_S = 2.0
"""An answer within this is never slow, in seconds."""
SLOW_TIMES = 4.0
"""An answer is slow when it takes so many times what the same program usually takes."""
FORGET = 1.02
"""A program's usual time grows by this factor with each answer that is slower: a host may become slow for good."""
LONGEST_REST_S = 30.0


class Hour:
    """Counts calls, and says how many there were within the last hour. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.all = 0
        self._minutes: deque[tuple[float, float, int]] = deque()
        """The first and the last call of a minute, and how many: they are forgotten together, an hour after the last."""

    def called(self, now: float) -> None:
        """Count a call."""
        self.all += 1
        if self._minutes and now < self._minutes[-1][0] + SLOT_S:
            first, _, count = self._minutes.pop()
            self._minutes.append((first, now, count + 1))
        else:
            self._minutes.append((now, now, 1))

    def calls(self, now: float) -> int:
        """Return how many there were within an hour."""
        while self._minutes and self._minutes[0][1] + HOUR_S <= now:
            self._minutes.popleft()
        return sum(count for _, _, count in self._minutes)

    def next_s(self, now: float) -> float:
        """Return the seconds until the oldest of them are no longer within the hour."""
        return min(HOUR_S, self._minutes[0][1] + HOUR_S - now) if self._minutes else 0.0


class Pace:
    """Pure arithmetic; times are monotonic seconds. `slots` is how many commands may run at once now.

    A slow answer halves the slots, a good one adds a fraction (as TCP does); at one slot, further slow answers make us
    rest between calls, 1 s and then twice as long each time.
    """

    def __init__(self, most: int, per_hour: int | None = None) -> None:
        self.most = most
        self.per_hour = per_hour
        self.rest_s = 0.0
        self._slots = float(most)
        self._usual: dict[str, float] = {}
        self._hour = Hour()

    @property
    def slots(self) -> int:
        return int(self._slots)

    def calls_last_hour(self, now: float) -> int:
        return self._hour.calls(now)

    def wait_s(self, now: float) -> float:
        """Return 0 if a call is within the budget, else the seconds until one is."""
        if self.per_hour is None or self._hour.calls(now) < self.per_hour:
            return 0.0
        return self._hour.next_s(now)

    def called(self, now: float) -> None:
        """Count a call."""
        self._hour.called(now)

    def answered(self, program: str, seconds: float) -> None:
        """Learn from how long an answer took, or from a deadline that passed without one."""
        usual = self._usual.get(program)
        self._usual[program] = seconds if usual is None or seconds < usual else min(seconds, usual * FORGET)
        if usual is not None and seconds > max(SLOW_S, SLOW_TIMES * usual):
            if self._slots < 2:
                self.rest_s = min(LONGEST_REST_S, max(1.0, 2 * self.rest_s))
            self._slots = max(1.0, self._slots / 2)
        else:
            self.rest_s = 0.0
            self._slots = min(float(self.most), self._slots + 1 / self._slots)

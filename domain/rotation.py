"""Which snapshots are worth keeping."""

from collections.abc import Iterable

DAY_S = 86_400


def kept(times: Iterable[float], last: int, days: int) -> set[float]:
    """Return the `last` newest of the times (UTC epoch seconds), and the newest of each of the last `days` days that have one."""
    newest = sorted(times, reverse=True)
    by_day: dict[int, float] = {}
    for moment in newest:
        by_day.setdefault(int(moment // DAY_S), moment)
    return {*newest[:last], *list(by_day.values())[:days]}

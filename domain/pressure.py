"""Stop releasing while a later stage is behind (PA-209)."""

from typing import NamedTuple


class Backlog(NamedTuple):
    """What waits for one stage: how many items, for how long the first of them, in seconds. `target`: only what came from
    there, "" = all."""

    stage: str
    items: int
    oldest_s: float
    target: str = ""


def presses(backlog: Backlog, *, items: int, age_s: float, before: bool) -> bool:
    """Whether release has to stop: above `items` or `age_s`; once stopped (`before`), until both are below half."""
    part = 0.5 if before else 1.0
    return backlog.items > part * items or (backlog.items > 0 and backlog.oldest_s > part * age_s)


def words(backlog: Backlog) -> str:
    """Name the stage that is behind."""
    where = f" of {backlog.target}" if backlog.target else ""
    return f"{backlog.items} items{where} wait for {backlog.stage}, the first for {backlog.oldest_s:.0f} s"

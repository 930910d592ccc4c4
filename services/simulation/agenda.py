"""What happens in a simulated world and when: requests, faults that begin and end, kills, looks at how it goes."""

import heapq
from collections.abc import Callable
from random import Random

from domain.spans import seconds
from services.simulation.outside import MANAGER, Outside, at_once
from services.simulation.scenario import Happening

Act = Callable[[], None]
NEVER = float("inf")


class Agenda:
    """Acts by time, in seconds from the beginning; those of one time happen in the order in which they were put."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Act]] = []
        self._count = 0

    def put(self, at: float, act: Act) -> None:
        """Plan an act; one of the infinite future is forgotten."""
        if at < NEVER:
            self._count += 1
            heapq.heappush(self._heap, (at, self._count, act))

    @property
    def next(self) -> float:
        """When the next act is due; infinite if there is none."""
        return self._heap[0][0] if self._heap else NEVER

    def happen(self, now: float) -> None:
        """Let everything happen that is due by now."""
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()


class Fate:
    """What the world does to the agent: `kill` the process, or keep it `off` until a time."""

    def __init__(self, kill: Act, off: Callable[[float], None]) -> None:
        self.kill = kill
        self.off = off


def plan(outside: Outside, agenda: Agenda, fate: Fate) -> None:
    """Put everything of a scenario on the agenda."""
    for order in outside.scenario.requests:
        agenda.put(seconds(order.at), lambda order=order: at_once(outside.ask_for(order)))  # type: ignore[misc]
    for number, happening in enumerate(outside.scenario.happens):
        if happening.what == "agent-kills":
            _kills(happening, agenda, fate, Random(f"{outside.seed} kills {number}"))  # noqa: S311
        elif happening.what == "agent-down":
            agenda.put(happening.begins, lambda ends=happening.ends: fate.off(ends))  # type: ignore[misc]
        else:
            begin, end = _acts(happening, outside)
            agenda.put(happening.begins, begin)
            agenda.put(happening.ends, end)


def _kills(happening: Happening, agenda: Agenda, fate: Fate, chance: Random) -> None:
    """Kill again and again; the time between two kills is exponential around `every`."""
    assert happening.every is not None
    mean = seconds(happening.every)

    def strike(at: float) -> None:
        fate.kill()
        follow(at)

    def follow(after: float) -> None:
        at = after + chance.expovariate(1 / mean)
        if at < happening.ends:
            agenda.put(at, lambda: strike(at))

    follow(happening.begins)


def _acts(happening: Happening, outside: Outside) -> tuple[Act, Act]:
    """Return what is done when something begins and when it ends."""
    match happening.what:
        case "site-down":
            return _site_down(happening, outside)
        case "storage-full":
            assert happening.site is not None
            storage = outside.storages[happening.site]
            return lambda: storage.fill(full=True), lambda: storage.fill(full=False)
        case "site-mode":
            assert happening.site is not None
            assert happening.mode is not None
            site, mode = happening.site, happening.mode
            return lambda: outside.operator.use(site, mode), lambda: outside.operator.use(site, "enabled")
        case "target-slow":
            assert happening.takes is not None
            name, takes = f"target {happening.target}", seconds(happening.takes)
            return lambda: outside.takes.update({name: takes}), lambda: outside.takes.update({name: 0.0})
        case "clock-jump":
            assert happening.by is not None
            by = seconds(happening.by)
            return lambda: outside.clock.set_wrong(by), lambda: outside.clock.set_wrong(-by)
        case "black-holes" | "failures":
            return _worse(happening, outside)
    away = {
        "target-away": f"target {happening.target}",
        "storage-away": f"storage {happening.site}",
        "prodmgr-away": MANAGER,
        "store-away": "store",
    }[happening.what]
    return lambda: outside.away.add(away), lambda: outside.away.discard(away)


def _site_down(happening: Happening, outside: Outside) -> tuple[Act, Act]:
    site = happening.site
    assert site is not None
    targets = list(outside.scenario.sites[site].targets)
    names = {f"storage {site}", *(f"target {name}" for name in targets)}

    def begin() -> None:
        outside.away |= names
        for name in targets:
            outside.batches[name].cut_power()

    def end() -> None:
        outside.away -= names
        for name in targets:
            outside.batches[name].power_up()

    return begin, end


def _worse(happening: Happening, outside: Outside) -> tuple[Act, Act]:
    """Let a cluster be worse than its model for a while."""
    target = happening.target
    assert target is not None
    batch, model = outside.batches[target], outside.scenario.targets[target][1]
    if happening.what == "black-holes":
        return lambda: batch.change(black_holes=happening.nodes), lambda: batch.change(black_holes=0)
    assert happening.share is not None
    success = 1.0 - happening.share
    return lambda: batch.change(success=success), lambda: batch.change(success=model.success)

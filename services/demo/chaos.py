"""When which thing goes wrong: drawn from a seed, so that a run can be broken again at the same points."""

import random

from services.demo.faults import ActorCrashed, AgentKilled, BadExit, Fault, OutputTruncated, PayloadKilled
from services.demo.options import DemoError
from services.demo.scene import Scene


def plan(chance: random.Random) -> list[Fault]:
    """Return everything that goes wrong in one run, in order, at moments drawn at random."""
    kills = [AgentKilled(chance.uniform(low, low + 0.15), chance) for low in (0.05, 0.25, 0.45)]
    early = [BadExit(chance.uniform(0.0, 0.1), chance), PayloadKilled(chance.uniform(0.02, 0.15), chance)]
    other = [OutputTruncated(chance.uniform(0.03, 0.15), chance), ActorCrashed(chance.uniform(0.1, 0.5), chance)]
    return sorted([*kills, *early, *other], key=lambda fault: fault.moment)


class Chaos:
    """Lets the faults of a plan happen, one at a time, when their moment has come."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.faults = plan(random.Random(seed))  # noqa: S311 - which moment it is protects nothing

    @property
    def over(self) -> bool:
        return all(fault.done for fault in self.faults)

    async def step(self, scene: Scene, progress: float) -> None:
        """Bring about what is due and possible now."""
        for fault in self.faults:
            if fault.done or fault.moment > progress:
                continue
            try:
                if not await fault.inject(scene):
                    continue
            except DemoError:
                continue  # the agent is on its way up: it has no occasion yet
            scene.announce(f"broken on purpose: {fault.what}: {fault.done}")
            return

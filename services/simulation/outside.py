"""Everything that lives on when the agent is killed: clusters, storages, the ProdMgr, the true time."""

import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from backends.batch.base import JobDescription, Verdict
from backends.batch.simulated import SimulatedBatch
from backends.batch.simulated_model import SimulatedSettings
from backends.prodmgr.fake import FakeBooks, FakeProdMgr
from backends.storage_element.base import Birth, Checksums, Landed, StorageError
from backends.storage_element.memory import MemorySettings, MemoryStorage
from domain.exit_codes import OK, STAGE_OUT, STORAGE_FULL
from domain.policy import RequestState
from domain.report import OutputReport
from domain.spans import seconds
from domain.spec import Merge, Resources, Retry, Step, WorkflowSpec
from services.simulation.scenario import Order, Scenario, SimulatedTarget

T = TypeVar("T")

EPOCH = 1_200_000_000.0
"""When every simulation begins: 10 January 2008, UTC epoch seconds."""
MANAGER = "prodmgr"
KB, GB = 1000, 10**9
CLOSED = (RequestState.COMPLETE, RequestState.FAILED)


class TrueTime:
    """The clock of the world; it stands where the loop of the present life stands."""

    def __init__(self) -> None:
        self.look: Callable[[], float] = lambda: 0.0

    def time(self) -> float:
        """UTC epoch seconds."""
        return EPOCH + self.look()

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self.look()


class AgentClock:
    """The clock of the agent's machine; its wall clock may be set wrong by `wrong_by` seconds."""

    def __init__(self, truth: TrueTime) -> None:
        self._truth = truth
        self.wrong_by = 0.0

    def time(self) -> float:
        """What that machine takes for UTC epoch seconds."""
        return self._truth.time() + self.wrong_by

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self._truth.monotonic()

    def set_wrong(self, by: float) -> None:
        """Let the wall clock jump."""
        self.wrong_by += by


class SimulatedStorage(MemoryStorage):
    """A storage element that copies from the others by name: its paths are /site/lfn, and nothing lies there."""

    def __init__(self, site: str, capacity: int | None, others: Mapping[str, "SimulatedStorage"]) -> None:
        super().__init__(MemorySettings(capacity=capacity))
        self.site = site
        self.own_capacity = capacity
        self._others = others

    def fill(self, *, full: bool) -> None:
        """Let nothing more go in, or as much as before."""
        self.capacity = self.used if full else self.own_capacity

    def local_path(self, lfn: str) -> Path | None:
        self.pfn(lfn)
        return Path(f"/{self.site}{lfn}")

    async def receive(self, source: Path, lfn: str, fence: str, birth: Birth | None = None) -> Landed:
        _, site, *parts = source.parts
        return self.copy_from(self._others[site], "/" + "/".join(parts), lfn, fence, birth)


class SimulatedCluster(SimulatedBatch):
    """A batch system that remembers which tokens it was given, and which of them twice (design, law 3)."""

    given: set[str]
    twice: list[str]

    async def submit(self, jobs: Sequence[JobDescription]) -> list[Verdict]:
        tokens = {job.token for job in jobs}
        self.twice += sorted(tokens & self.given)
        self.given |= tokens
        return await super().submit(jobs)


class Operator:
    """Who sets sites to modes. What was said while no agent lived, or just before it died, is said again at the next start,
    as somebody would who has had no answer. `set_mode` is how the agent of today is told: by site and mode."""

    def __init__(self) -> None:
        self.set_mode: Callable[[str, str], None] | None = None
        self._modes: dict[str, str] = {}
        self._heard = False

    def use(self, site: str, mode: str) -> None:
        """Set a site to a mode."""
        self._modes[site] = mode
        if self._heard and self.set_mode is not None:
            self.set_mode(site, mode)

    def hear(self, *, lives: bool) -> None:
        """An agent has started, or none lives any more."""
        self._heard = lives
        for site, mode in self._modes.items() if lives else ():
            self.use(site, mode)


class Outside:
    """The world of one history. All chance in it comes from the seed."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed
        self.truth = TrueTime()
        self.clock = AgentClock(self.truth)
        self.chance = Random(f"{seed} outside")  # noqa: S311
        self.away: set[str] = set()
        self.takes: dict[str, float] = {}
        self.operator = Operator()
        self.storages: dict[str, SimulatedStorage] = {}
        for name, site in scenario.sites.items():
            capacity = int(site.capacity_gb * GB) or None
            self.storages[name] = SimulatedStorage(name, capacity, self.storages)
        self.batches = {name: self._cluster(name, site, target) for name, (site, target) in scenario.targets.items()}
        self.books = FakeBooks(self.truth.time)
        self.desk = FakeProdMgr(self.books, "people")

    def _cluster(self, name: str, site: str, model: SimulatedTarget) -> SimulatedCluster:
        cluster = SimulatedCluster(
            _settings(model, self.seed, name),
            clock=self.truth,
            on_output=lambda output: self._write(site, output),
            has=lambda lfn: f"storage {site}" not in self.away and self.storages[site].holds(lfn),
        )
        cluster.given, cluster.twice = set(), []
        return cluster

    def _write(self, site: str, output: OutputReport) -> int:
        """Let a job leave its output; return what it fails with when the storage does not take it."""
        if f"storage {site}" in self.away:
            return STAGE_OUT
        try:
            self.storages[site].put(output.lfn, output.size, Checksums(output.adler32, output.sha256))
        except StorageError as error:
            return STORAGE_FULL if error.kind == "space" else STAGE_OUT
        return OK

    async def ask_for(self, order: Order) -> None:
        """Make a request at the ProdMgr."""
        await self.desk.make(f"request-{order.name}", workflow_of(order), settings=order.policy)

    @property
    def all_closed(self) -> bool:
        """Whether every request of the scenario was made and is over."""
        made = self.books.requests.values()
        return len(made) == len(self.scenario.requests) and all(request.state in CLOSED for request in made)


def workflow_of(order: Order) -> WorkflowSpec:
    """Return the workflow that a request asks for."""
    size = int(order.event_kb * KB)
    merged = order.merge_files * order.events_per_job
    return WorkflowSpec(
        name=order.name,
        events=order.events,
        events_per_job=order.events_per_job,
        priority=order.priority,
        sites=order.sites,
        max_sites=order.max_sites,
        group=order.group,
        deliver_to=order.deliver_to,
        steps=[Step(command=["simulated"])],
        merge=Merge(max_events=merged, max_bytes=2 * merged * size, max_files=order.merge_files, min_fraction=1.0),
        retry=Retry(processing=order.attempts),
        resources=Resources(wall_s=int(seconds(order.wall))),
    )


def _settings(model: SimulatedTarget, seed: int, name: str) -> SimulatedSettings:
    own = Random(f"{seed} {name}").getrandbits(32)  # noqa: S311
    same = ("slots", "nodes", "success", "full_events", "lost", "held", "duplicated", "late", "lying")
    return SimulatedSettings(
        seed=own,
        run_s=seconds(model.run),
        merge_run_s=seconds(model.merge_run),
        run_sigma=model.spread,
        hold_s=seconds(model.hold),
        late_s=seconds(model.late_by),
        event_bytes=100 * KB,
        **{key: getattr(model, key) for key in same},
    )


def ahead(model: SimulatedTarget) -> int:
    """Return how many jobs the agent may keep at a target."""
    return math.ceil(model.slots * model.ahead)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing, outside of any loop."""
    try:
        work.send(None)
    except StopIteration as end:
        answer: T = end.value
        return answer
    work.close()
    raise RuntimeError("it waits for something; expected a call that is done at once")

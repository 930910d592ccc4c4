"""Match queued jobs with free capacity, and say why a job waits (PA-204, PA-206, PA-207, PA-215, PA-218)."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from domain.job import JobType

NOTHING: Mapping[JobType, str] = MappingProxyType({})


class Candidate(NamedTuple):
    """A queued job, in queue order. `sites` empty = any; `pinned` = the one site that holds its input; `avoid`: the site
    where it has failed, or the target that refused it, and others may take it ("" = nowhere); `releases`: tags of
    the software that it needs."""

    id: int
    type: JobType
    sites: frozenset[str]
    pinned: str | None
    cores: int = 1
    memory_mb: int = 0
    avoid: str = ""
    releases: frozenset[str] = frozenset()


class Place(NamedTuple):
    """A target: free places by job type, of any type (`jobs`), cores and memory; None = without limit.

    `closed` says why it takes no jobs of a type, as "code: text". `picky`: only workflows that name the site get there.
    Of places with as much room the one with the higher `score` is taken. `releases`: tags of the software that is there, None
    = not known.
    """

    target: str
    site: str
    free: Mapping[JobType, int]
    closed: Mapping[JobType, str] = NOTHING
    jobs: int | None = None
    cores: int | None = None
    memory_mb: int | None = None
    picky: bool = False
    score: float = 1.0
    releases: frozenset[str] | None = None

    def room(self, job: Candidate) -> int:
        """Return how many jobs like this one fit in."""
        if job.type in self.closed or not (may_run(job, self) and self.suits(job)):
            return 0
        room = self.free.get(job.type, 0)
        for limit, need in ((self.jobs, 1), (self.cores, job.cores), (self.memory_mb, job.memory_mb)):
            if limit is not None and need:
                room = min(room, limit // need)
        return max(0, room)

    def wanted_by(self, job: Candidate) -> bool:
        """Whether the workflow names the site, where that is asked for; merges stay where their inputs lie."""
        return not self.picky or self.site in job.sites or job.pinned is not None

    def equips(self, job: Candidate) -> bool:
        """Whether the software that the job needs is there, as far as that is known."""
        return self.releases is None or job.releases <= self.releases

    def suits(self, job: Candidate) -> bool:
        """Whether the site has what the job needs, and is meant for it."""
        return self.wanted_by(job) and self.equips(job)

    def less(self, job: Candidate) -> "Place":
        """Return what is left when a job like this one has taken its room."""
        return self._replace(
            free={**self.free, job.type: self.free[job.type] - 1},
            jobs=None if self.jobs is None else self.jobs - 1,
            cores=None if self.cores is None else self.cores - job.cores,
            memory_mb=None if self.memory_mb is None else self.memory_mb - job.memory_mb,
        )


class Choice(NamedTuple):
    """Where jobs go, and the second best place for them ("" = there was none)."""

    target: str
    runner_up: str


def match(candidates: Iterable[Candidate], places: Sequence[Place]) -> dict[Choice, list[int]]:
    """Return the jobs to release, by choice. Jobs go in queue order, each to its allowed place of most worth.

    Worth is room times score: places of one score fill evenly, a better one gets more.
    """
    left = list(places)
    groups: dict[tuple[object, ...], _Alike] = {}
    released: dict[Choice, list[int]] = {}
    for job in candidates:
        mine = groups.get(job[1:])
        if mine is None:
            mine = groups[job[1:]] = _Alike(job, left)
        first, second = mine.best()
        if first < 0:
            continue
        left[first] = left[first].less(job)
        for group in groups.values():
            group.changed(first, left[first])
        choice = Choice(left[first].target, left[second].target if second >= 0 else "")
        released.setdefault(choice, []).append(job.id)
    return released


class _Alike:
    """Jobs that differ in nothing that matters here, and what each place is worth for the next of them."""

    def __init__(self, job: Candidate, places: Sequence[Place]) -> None:
        self._job = job
        self._worth = [place.room(job) * place.score for place in places]

    def best(self) -> tuple[int, int]:
        """Return the numbers of the best place and of the second best; -1 = none."""
        worth = self._worth
        most = max(worth, default=0.0)
        if most <= 0:
            return -1, -1
        first = worth.index(most)
        worth[first] = 0.0
        next_most = max(worth)
        second = worth.index(next_most) if next_most > 0 else -1
        worth[first] = most
        return first, second

    def changed(self, number: int, place: Place) -> None:
        """A place has less room."""
        if self._worth[number]:
            self._worth[number] = place.room(self._job) * place.score


def room_for(job: Candidate, places: Iterable[Place]) -> int:
    """Return how many jobs like this one could be released now."""
    return sum(place.room(job) for place in places)


def shunning(job: Candidate, avoid: str, places: Iterable[Place]) -> Candidate:
    """Return the job as one that avoids a site or a target, if another one that takes its type may run it (PA-409)."""
    shy = job._replace(avoid=avoid)
    for place in places:
        if job.type not in place.closed and may_run(shy, place) and place.suits(job):
            return shy
    return job


def shut(place: Place) -> str:
    """Return why a place takes no jobs of any type, "" if it takes some."""
    return next(iter(place.closed.values())) if all(kind in place.closed for kind in JobType) else ""


def may_run(job: Candidate, place: Place) -> bool:
    """Whether a job is allowed at a target."""
    if job.avoid and job.avoid in (place.site, place.target):
        return False
    if job.pinned is not None:
        return place.site == job.pinned
    return not job.sites or place.site in job.sites


def wait_reason(job: Candidate, places: Iterable[Place]) -> str:
    """Return the one code why a queued job is not released, with a text; `places` are all targets, closed ones too."""
    reason = _wait_reason(job, places)
    return f"{reason}; it keeps away from {job.avoid} after a failure there" if job.avoid else reason


def _wait_reason(job: Candidate, places: Iterable[Place]) -> str:
    allowed = [place for place in places if may_run(job, place)]
    if not allowed and job.pinned is not None:
        return f"no-data: its input lies at {job.pinned}, which has no batch target"
    if not allowed:
        return f"no-site: none of {', '.join(sorted(job.sites)) or 'the sites'} has a batch target"
    if any(place.room(job) for place in allowed):
        return "next-sweep: a place is free, the queue has not come to it yet"
    open_ones = [place for place in allowed if job.type not in place.closed]
    if not open_ones:
        return _closed([place.closed[job.type] for place in allowed])
    equipped = [place for place in open_ones if place.equips(job)]
    if not equipped:
        return f"no-release: {_names(open_ones)} without {', '.join(sorted(job.releases))}"
    wanted = [place for place in equipped if place.wanted_by(job)]
    if not wanted:
        return f"site-test: {_names(equipped)} in test, only workflows that name the site run there"
    if all(place.free.get(job.type, 0) <= 0 for place in wanted):
        return f"no-slot: {_names(wanted)} full for {job.type} jobs"
    probing = [place for place in wanted if place.jobs is not None]
    if len(probing) == len(wanted):
        return f"breaker-open: {_names(probing)} under probation, the probes are under way"
    return f"quota: {job.cores} cores and {job.memory_mb} MB are not free at {_names(wanted)}"


def _names(places: Sequence[Place]) -> str:
    return ", ".join(sorted(place.target for place in places))


def _closed(reasons: Sequence[str]) -> str:
    """Return the code that most places give, and what each of them says."""
    codes = [reason.partition(": ")[0] for reason in reasons]
    code = max(dict.fromkeys(codes), key=codes.count)
    texts = dict.fromkeys(reason.partition(": ")[2] for reason in reasons)
    return f"{code}: {'; '.join(texts)}"

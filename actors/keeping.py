"""Keeps what attempts were and said, and removes it when its time is over (PA-414). Used by report and cleanup.

A volume is written before its attempts are booked, and named by the first of them: whoever dies in between writes it again.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from actors import staging
from actors.describing import surroundings
from actors.world import World
from backends.storage_element.base import StorageError
from config.site_settings import Target
from domain.archive import Archived, Kind, Model, Models, Term, reported
from domain.job import JobType
from domain.jobspec import kept_names
from domain.ranges import Range
from domain.report import decode_report
from storage import archives, courses, jobs, merges, workflows
from storage.archives import OWN, Kept, Old, Volume
from storage.courses import Course
from storage.engine import Connection
from storage.jobs import Job
from storage.merges import Input
from storage.volumes import VolumeGone, Volumes
from storage.workflows import Workflow

FAILED = ("failed", "lost")
"""Outcomes of attempts that are failures."""


class Ended(NamedTuple):
    """An attempt that is over: where it was, what is known of its end, the raw report if it left one."""

    id: int
    number: int
    token: str
    site: str
    target: str
    job: Job
    kind: Kind
    code: int = 0
    cause: str = ""
    log: str = ""
    node: str = ""
    raw: bytes | None = None


class Around(NamedTuple):
    """What specifications are made of besides jobs: workflows, members of merges, what holds at each target."""

    known: dict[int, Workflow]
    members: dict[int, list[Input]]
    courses: dict[str, Course]


def keeping(world: World) -> "Keeping | None":
    """Return what keeps archives, None where none are wanted."""
    return Keeping(world, world.volumes) if world.volumes is not None and world.settings.archives.enabled else None


class Keeping:
    """Of one stage."""

    def __init__(self, world: World, volumes: Volumes) -> None:
        self._world = world
        self._volumes = volumes

    async def keep(self, ended: Sequence[Ended]) -> list[Volume]:
        """Write volumes for these attempts; return what is to be booked with them. Raises OSError."""
        around = await self._world.store.read(lambda c: self._around(c, ended))
        made: list[Volume] = []
        for kind in Kind:
            if mine := [one for one in ended if one.kind is kind]:
                name = self._volumes.name(kind, mine[0].token)
                size = await asyncio.to_thread(self._put, name, mine, around)
                made.append(Volume(name, kind, size, [one.id for one in mine]))
        return made + [each for one in ended for each in self._at_site(one, around.known[one.job.workflow_id])]

    async def lacking(self, attempt_ids: Sequence[int]) -> list[Ended]:
        """Return those of closed attempts that failed and have no archive, since they left no report."""
        found = await self._world.store.read(lambda c: archives.lacking(c, attempt_ids))
        owners = await self._world.store.read(lambda c: jobs.load(c, [one.job for one in found])) if found else []
        by_id = {job.id: job for job in owners}
        return [
            Ended(
                one.id, one.number, one.token, one.site, one.target, by_id[one.job], Kind.FAILURE,
                one.code or 0, one.cause or "", one.log or "", one.node,
            )
            for one in found
        ]  # fmt: skip

    async def same(self, found: Sequence[Job], kept: Sequence[Kept]) -> list[int]:
        """Return the jobs of which the archive of the last failure can be read and is of the same range and type."""
        last = {one.job: one for one in kept if one.place == OWN and one.outcome in FAILED}
        names = sorted({one.name for one in last.values()})
        read = await asyncio.to_thread(self._read, names)
        return [
            job.id for job in found if job.id in last and read.get(last[job.id].token) == (job.id, job.type, job.range)
        ]

    def _read(self, names: Sequence[str]) -> dict[str, tuple[int, JobType, Range]]:
        found: dict[str, tuple[int, JobType, Range]] = {}
        for name in names:
            with suppress(VolumeGone):
                found |= {one.token: (one.job, one.type, one.range) for one in self._volumes.read(name)[1]}
        return found

    async def old(self, limit: int) -> list[Old]:
        """Return volumes that may go."""
        given = self._world.settings.archives
        term = Term(given.success_s, given.failure_s, given.total_gb * 1e9)
        now = self._world.clock.time()
        return await self._world.store.read(lambda c: archives.old(c, term, now, limit))

    async def remove(self, old: Sequence[Old]) -> list[int]:
        """Remove the files of volumes; return the ids of those that are gone. Raises OSError."""
        own = [one for one in old if one.site == OWN]
        await asyncio.to_thread(self._volumes.remove, [one.name for one in own])
        gone = [one.id for one in own]
        for one in old:
            storage = self._world.storages.get(one.site)
            if one.site == OWN or storage is None:  # of a site that is no longer configured: it waits for it
                continue
            with suppress(StorageError):  # it is tried again
                await storage.delete(one.name)
                gone.append(one.id)
        return gone

    async def sweep(self) -> int:
        """Remove the volumes of earlier lives that nobody booked; return how many. Does it once in a life. Raises OSError."""
        names = await asyncio.to_thread(self._volumes.strays)
        known = await self._world.store.read(lambda c: archives.booked(c, names)) if names else set()
        strays = [name for name in names if name not in known]
        await asyncio.to_thread(self._volumes.sweep, strays)
        return len(strays)

    def _around(self, connection: Connection, ended: Sequence[Ended]) -> Around:
        merging = [one.job.id for one in ended if one.job.type is JobType.MERGE]
        by_target: dict[str, list[int]] = {}
        for one in ended:
            by_target.setdefault(one.target, []).append(one.job.id)
        now, places = self._world.clock.time(), self._world.targets()
        held = {
            target: courses.load(connection, places[target][0], target, ids, now)
            for target, ids in by_target.items()
            if target in places
        }
        return Around(workflows.load(connection), merges.inputs(connection, merging) if merging else {}, held)

    def _put(self, name: str, ended: Sequence[Ended], around: Around) -> int:
        places, now = self._world.targets(), self._world.clock.time()
        models: Models = {}
        archived = []
        for one in ended:
            given = self._given(one, around, models, places.get(one.target))
            report, unread = reported(one.raw, read=one.kind is Kind.SUCCESS)
            archived.append(
                Archived(
                    job=one.job.id, attempt=one.number, token=one.token, type=one.job.type, range=one.job.range,
                    workflow=around.known[one.job.workflow_id].name, site=one.site, target=one.target, node=one.node,
                    code=one.code, cause=one.cause, log=one.log, closed_at=now, report=report, unread=unread, **given,
                )
            )  # fmt: skip
        return self._volumes.put(name, models, archived)

    def _given(self, one: Ended, around: Around, models: Models, place: tuple[str, Target] | None) -> dict[str, Any]:
        """Return what specifies an attempt besides its range; what it has in common with others is put into the models."""
        job, course = one.job, around.courses.get(one.target)
        if place is None or course is None:
            return {}
        workflow = around.known[job.workflow_id]
        key = f"{job.workflow_id} {job.type} {one.target}"
        try:
            if key not in models:
                shared = surroundings(self._world, *place, workflow, job.type, course)
                models[key] = Model(workflow=workflow.name, spec=workflow.spec, surroundings=shared)
            given: dict[str, Any] = {"model": key, "need": course.need(job, workflow.spec.resources)}
            if members := around.members.get(job.id):
                given["inputs"] = tuple(staging.inputs(self._world, place[0], members))
        except (LookupError, ValueError, StorageError):  # nor could it be specified when it was submitted
            return {}
        return given

    def _at_site(self, one: Ended, workflow: Workflow) -> list[Volume]:
        """Return what the node has kept at a site: the whole log, the output of a failed attempt."""
        wanted = workflow.spec.keep_failed or workflow.spec.keep_logs or self._world.settings.archives.logs
        if one.raw is None or not wanted:
            return []
        try:
            report = decode_report(one.raw)
        except (msgspec.DecodeError, ValueError):
            return []
        names, sites = kept_names(workflow.spec, one.job.id, one.token), self._world.settings.sites
        return [
            Volume(kept.lfn, one.kind, kept.size, [one.id], kept.site or one.site)
            for kept in (report.log_archive, report.kept)
            if kept is not None and not kept.problem and kept.lfn in names and (kept.site or one.site) in sites
        ]

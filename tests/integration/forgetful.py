"""A batch system that can be made to forget: what it was given, what it lists, what it was told to end."""

from collections.abc import Sequence

import msgspec

from backends.batch.base import (
    BatchError,
    BatchState,
    Capabilities,
    Evidence,
    JobDescription,
    JobStatus,
    Poll,
    Verdict,
)


class ForgetfulSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`forgets`: it lists no job from the first submission."""

    forgets: bool = False


class Forgetful:
    """`hidden`: nothing is listed, and `find` has no proof of anything. `go`: jobs run and end when they are polled."""

    capabilities = Capabilities()

    def __init__(self, settings: ForgetfulSettings) -> None:
        self.hidden = settings.forgets
        self.go = True
        self.busy = False
        self.cancelled: list[str] = []
        self.jobs: dict[str, JobDescription] = {}
        self.reason = "Priority"

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def submit(self, jobs: Sequence[JobDescription]) -> list[Verdict]:
        if self.busy:
            return [Verdict(token=job.token, accepted=False, reason="too many jobs", transient=True) for job in jobs]
        for job in jobs:
            if job.token in self.jobs:
                raise BatchError(f"{job.token} comes twice", transient=False)
            self.jobs[job.token] = job
        return [Verdict(token=job.token, accepted=True, batch_id=job.token[:4]) for job in jobs]

    async def find(self, tokens: Sequence[str]) -> dict[str, JobStatus]:
        return {token: self._status(token) for token in tokens if token in self.jobs}

    async def poll(self, cursor: str) -> Poll:
        listed = [] if self.hidden else [self._status(token) for token in self.jobs if token not in self.cancelled]
        return Poll(statuses=listed, cursor="", complete=True)

    async def cancel(self, tokens: Sequence[str]) -> None:
        self.cancelled += tokens

    async def release(self, tokens: Sequence[str]) -> None: ...

    async def fetch(self, tokens: Sequence[str]) -> dict[str, bytes]:
        raise BatchError("reports are for later", transient=True)

    async def clean(self, tokens: Sequence[str]) -> None: ...

    def _status(self, token: str) -> JobStatus:
        if self.hidden:
            return JobStatus(token=token, state=BatchState.UNKNOWN)
        if not self.go:
            return JobStatus(token=token, state=BatchState.PENDING, reason=self.reason)
        return JobStatus(token=token, state=BatchState.ENDED, exit_code=0, evidence=Evidence.SENTINEL)

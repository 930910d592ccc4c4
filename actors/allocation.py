"""Allocation: asks one ProdMgr for event ranges, keeps their leases alive and reports what became of them.

Every call that moves events is in the outbox with its own id before it is made; after a crash it is repeated with
that id, and the manager answers as it did the first time. A range of a request that cannot run here is given back.
Follows: AllocationsDone. Woken by: JobsReleased. Asks: injector.
Writes: AllocationsAcquired, AllocationsReported, AllocationsRevoked and with it JobsRevoked, JobsKilled,
FilesInvalidated; WorkflowsResumed.
Settings: the [[prodmgr]] table.
"""

import asyncio

import msgspec
import pykka

from actors.brakes import Work
from actors.messages import Refused, Submitted, SubmitWorkflow, Wake
from actors.stage import NOTHING, Effect, Stage
from actors.world import World
from backends.prodmgr.base import Allocation as Lease
from backends.prodmgr.base import DeliveredFile, Offer, ProdMgr, ProdMgrError, Progress
from config.settings import ProdMgrSettings
from domain import events as e
from domain.allocation import AllocationState
from domain.events import AllocationsDone, JobsReleased
from domain.job import JobType
from domain.ranges import Range, intersect, union
from domain.workflow import WorkflowState
from storage import alerts, allocations, datasets, housing, jobs, outbox, workflows
from storage.log import Logged
from storage.outbox import Call
from storage.revoking import revoke
from storage.store import Tx

LIVE = (AllocationState.ACTIVE, AllocationState.CUT, AllocationState.DONE)

GONE = ("lease_ended", "wrong_fence", "request_finished")
"""The ProdMgr's own words for "this range is not yours any more"; a wrong token or a proxy's 404 is none of them."""
UNFIT_S = 3600.0
"""A request that cannot run here is not asked for again for this long, in seconds: its workflow or our sites may change."""


class Acquire(msgspec.Struct, frozen=True):
    """Arguments of a call, kept as they are: the same call id always carries the same body."""

    max_events: int
    sites: list[str]
    without: list[int] = []


class Release(msgspec.Struct, frozen=True):
    """Arguments of a release: the whole of an allocation."""

    allocation: int
    fence: int


class Result(msgspec.Struct, frozen=True):
    """Arguments of a report."""

    allocation: int
    fence: int
    done: list[Range]
    lost: list[Range]
    files: list[DeliveredFile]


class Allocation(Stage):
    emits = (
        e.AllocationsAcquired,
        e.AllocationsReported,
        e.AllocationsRevoked,
        e.JobsRevoked,
        e.JobsKilled,
        e.FilesInvalidated,
        e.FilesReturned,
        e.WorkflowsResumed,
    )
    follows = (AllocationsDone,)
    woken_by = (JobsReleased,)

    def __init__(self, world: World, settings: ProdMgrSettings) -> None:
        super().__init__(world)
        self.settings = settings
        self.manager: ProdMgr = world.managers[settings.name]
        self._renew_at = 0.0
        self._silences = 0
        self._ask_again_at = 0.0
        self._unfit: dict[int, float] = {}

    @property
    def sweep_s(self) -> float:
        return min(self.settings.poll_s, self.world.settings.events.sweep_s)

    async def on_fact(self, logged: Logged) -> Effect:
        done = await self.store.read(lambda c: allocations.by_id(c, logged.fact.ids))
        ours = await self._workflows()
        mine = [item for item in done if item.workflow_id in ours]
        if not mine:
            return NOTHING

        bodies = {item.id: msgspec.json.encode(await self._result(item)).decode() for item in mine}

        def ask(tx: Tx) -> None:
            for item in mine:
                outbox.put(
                    tx, self.settings.name, "report", f"report-{item.id:08d}-{item.fence}", bodies[item.id], item.id
                )

        return ask

    async def _result(self, item: allocations.Allocation) -> Result:
        merged, lost = await self.store.read(lambda c: allocations.ledger(c, item.id))
        files = await self.store.read(lambda c: datasets.files_of_allocation(c, item.id))
        delivered = [
            DeliveredFile(
                lfn=file.lfn,
                events=file.events,
                size=file.size,
                adler32=file.adler32,
                sha256=file.sha256,
                site=file.site,
            )
            for file in files
        ]
        return Result(_number(item), item.fence, union(merged), union(lost), delivered)

    async def _workflows(self) -> dict[int, workflows.Workflow]:
        every = await self.store.read(workflows.load)
        return {key: item for key, item in every.items() if item.manager == self.settings.name}

    async def work(self) -> bool:
        now = self.clock.time()
        if now >= self._ask_again_at and await self._wants_more():
            self._ask_again_at = now + self.settings.poll_s
            await self._ask_for_more()
        await self._make_due("release", now)
        if not await self._waits_for("release"):  # a late report counts only if its range is nobody's
            await self._make_due("report", now)
        if not await self._lapsed():
            await self._make_due("acquire", now)
        if self.clock.monotonic() >= self._renew_at:
            await self._renew()
        return False

    async def _wants_more(self) -> bool:
        if self.world.brakes.held(Work.INTAKE):
            return False
        if await self._waits_for("acquire"):
            return False
        if any(item.state is AllocationState.ACTIVE for item in await self._held()):
            return False  # held, aborted, or further ahead than the window: what we have comes first
        return not await self._lapsed() and await self.store.read(jobs.waiting_count) < self.settings.low

    async def _held(self) -> list[allocations.Allocation]:
        mine = await self._workflows()
        return [
            item for item in await self.store.read(lambda c: allocations.load(c, *LIVE)) if item.workflow_id in mine
        ]

    async def _lapsed(self) -> bool:
        """Whether a lease has ended and is neither renewed nor gone: the manager would give us again what we have."""
        now = self.clock.time()
        return any(item.lease_until is not None and item.lease_until <= now for item in await self._held())

    async def _ask_for_more(self) -> None:
        sites = [name for name, site in self.world.configured.sites.items() if site.enabled and site.targets]
        now = self.clock.monotonic()
        self._unfit = {request: until for request, until in self._unfit.items() if until > now}
        body = msgspec.json.encode(Acquire(self.settings.max_events, sites, sorted(self._unfit))).decode()
        call_id = f"acquire-{self.world.chance.getrandbits(96):024x}"
        await self.write(lambda tx: outbox.put(tx, self.settings.name, "acquire", call_id, body))

    async def _waits_for(self, kind: str) -> bool:
        waiting = await self.store.read(lambda c: outbox.unanswered(c, self.settings.name))
        return any(call.kind == kind for call in waiting)

    async def _make_due(self, kind: str, now: float) -> None:
        due = await self.store.read(lambda c: outbox.unanswered(c, self.settings.name, now))
        for call in due:
            if call.kind == kind:
                await self._make(call)

    async def _make(self, call: Call) -> None:
        try:
            async with asyncio.timeout(self.settings.call_deadline_s):
                await {"acquire": self._acquire, "release": self._release, "report": self._report}[call.kind](call)
        except (ProdMgrError, TimeoutError, pykka.Timeout, pykka.ActorDeadError, Refused) as error:
            await self._failed(call, error)

    async def _failed(self, call: Call, error: Exception) -> None:
        """Put the call off, or give it up with an alert if repeating cannot help."""
        self.log.warning("%s %s: %s", call.kind, call.call_id, error)
        gone = isinstance(error, ProdMgrError) and error.code in GONE
        pause = min(self.settings.retry_cap_s, self.settings.retry_base_s * 2.0**call.tries)
        retry_after = getattr(error, "retry_after", None)

        def book(tx: Tx) -> None:
            alerts.raise_alert(
                tx, "error" if gone else "warning", f"prodmgr-{call.kind}", self.settings.name, str(error)
            )
            if gone:
                outbox.answered(tx, call, f"refused: {error}")
                if call.subject is not None:
                    revoke(tx, call.subject, str(error))
            else:
                outbox.postponed(tx, call, tx.now + (retry_after or pause))

        await self.write(book)

    async def _acquire(self, call: Call) -> None:
        asked = msgspec.json.decode(call.body, type=Acquire)
        offer = await self.manager.acquire(
            call.call_id, max_events=asked.max_events, sites=asked.sites, without=asked.without
        )
        owners: dict[int, int] = {}
        unfit: dict[int, str] = {}
        for lease in offer.allocations:
            if lease.request not in owners and lease.request not in unfit:
                try:
                    owners[lease.request] = await self._workflow_of(lease)
                except Refused as error:
                    unfit[lease.request] = str(error)
        await self.write(lambda tx: self._book(tx, call, offer, owners, unfit))
        for lease in offer.allocations:
            self._renew_in(lease.lease_until - self.clock.time())
        self._unfit |= dict.fromkeys(unfit, self.clock.monotonic() + UNFIT_S)
        if offer.allocations:
            self._ask_again_at = 0.0

    def _book(self, tx: Tx, call: Call, offer: Offer, owners: dict[int, int], unfit: dict[int, str]) -> None:
        if not outbox.answered(tx, call, msgspec.json.encode(offer).decode()):
            return
        if not offer.allocations:
            outbox.forget(tx, call)
        for lease in offer.allocations:
            if lease.request not in owners or not self._keep(tx, owners[lease.request], lease):
                body = msgspec.json.encode(Release(lease.id, lease.fence)).decode()
                outbox.put(tx, self.settings.name, "release", f"release-{lease.id:08d}-{lease.fence}", body)
        for request, why in unfit.items():
            text = f"request {request} cannot run here and its ranges are given back: {why}"
            alerts.raise_alert(tx, "error", "request-unfit", f"{self.settings.name}:{request}", text)
        workflows.open_intake(tx, list(owners.values()))
        if offer.exhausted:
            workflows.close_intake(tx, self.settings.name)
        for request in owners:
            alerts.close_alert(tx, "request-unfit", f"{self.settings.name}:{request}")
        alerts.close_alert(tx, "prodmgr-acquire", self.settings.name)

    def _keep(self, tx: Tx, owner: int, lease: Lease) -> bool:
        """Book a range; False = we have events of it already, and their late report counts once this lease is given back."""
        name = f"{self.settings.name}:{lease.id}.{lease.fence}"
        span = Range(lease.first_event, lease.events)
        held = [item for item in allocations.load(tx.connection, *LIVE) if item.workflow_id == owner]
        if any(item.remote_id != name and intersect([item.range], [span]) for item in held):
            return False
        allocations.acquire(tx, owner, name, span, fence=lease.fence, lease_until=lease.lease_until)
        return True

    async def _workflow_of(self, lease: Lease) -> int:
        """Return our workflow for a request; fetch it and have it injected if it is new. Raises Refused."""
        for item in (await self._workflows()).values():
            if item.request == str(lease.request):
                if item.state is WorkflowState.ABORTED:
                    raise Refused(f"workflow {item.name} was aborted: {item.reason}")
                if reason := housing.unhoused(self.world.configured, item.spec, JobType.PROCESSING, None):
                    raise Refused(f"workflow {item.name}: {reason}")
                return item.id
        fetched = await self.manager.workflow(lease.request)
        if fetched.spec_checksum != lease.spec_checksum:
            raise Refused(
                f"its workflow has the checksum {fetched.spec_checksum[:12]}, expected {lease.spec_checksum[:12]} as leased"
            )
        archive = await self.manager.sandbox(fetched.sandbox_sha256) if fetched.sandbox_sha256 else b""
        origin = f"{self.settings.name}-" if len(self.world.managers) > 1 else ""
        order = SubmitWorkflow(
            spec=fetched.spec,
            sandbox=archive,
            name=f"{fetched.spec.name}-{origin}r{lease.request}",
            manager=self.settings.name,
            request=str(lease.request),
        )
        assert self.system is not None
        taken: Submitted = await self.system.ref("injector").ask(order)
        return taken.workflow

    async def _release(self, call: Call) -> None:
        told = msgspec.json.decode(call.body, type=Release)
        try:
            await self.manager.release(call.call_id, told.allocation, told.fence)
        except ProdMgrError as error:
            if error.code not in (*GONE, "already_returned"):
                raise

        def book(tx: Tx) -> None:
            outbox.answered(tx, call, "given back")
            alerts.close_alert(tx, "prodmgr-release", self.settings.name)

        await self.write(book)

    async def _report(self, call: Call) -> None:
        assert call.subject is not None
        identity = call.subject
        told = msgspec.json.decode(call.body, type=Result)
        try:
            decision = await self.manager.report(
                call.call_id, told.allocation, told.fence, done=told.done, lost=told.lost, files=told.files
            )
        except ProdMgrError as error:
            if error.code != "already_returned":
                raise
            answer, refused = str(error), []
        else:
            answer, refused = msgspec.json.encode(decision).decode(), decision.refused
            self.log.info(
                "allocation %d of %s: %s, %s", told.allocation, self.settings.name, decision.verdict, decision.reason
            )

        def book(tx: Tx) -> None:
            if outbox.answered(tx, call, answer):
                allocations.reported(tx, identity)
                alerts.close_alert(tx, "prodmgr-report", self.settings.name)
                if refused:
                    text = f"allocation {told.allocation}: events {refused} were given to somebody else after its lease ended"
                    alerts.raise_alert(tx, "critical", "events-refused", self.settings.name, text)

        await self.write(book)
        self._ask_again_at = 0.0

    def _renew_in(self, left_s: float) -> None:
        """Look at the leases again long before one ends that has `left_s` seconds to live."""
        due = self.clock.monotonic() + max(1.0, min(self.settings.renew_s, left_s / 3))
        if due < self._renew_at:
            self._renew_at = due
            self.after(due - self.clock.monotonic(), Wake(), key="renew")

    async def _renew(self) -> None:
        self._renew_at = self.clock.monotonic() + self.settings.renew_s
        for item in await self._held():
            if not await self._renew_one(item):
                pause = min(self.settings.retry_cap_s, self.settings.retry_base_s * 2.0 ** min(self._silences, 30))
                self._silences += 1
                self._renew_in(3 * pause)
                return  # the others would wait for the same silence
        self._silences = 0

    async def _renew_one(self, item: allocations.Allocation) -> bool:
        """Prolong one lease; False = the manager does not answer."""
        call_id = f"renew-{self.world.chance.getrandbits(96):024x}"
        progress = Progress(
            done=item.merged_events,
            queued=item.cut_events - item.merged_events - item.lost_events,
            failed=item.lost_events,
        )
        try:
            async with asyncio.timeout(self.settings.call_deadline_s):
                lease = await self.manager.renew(call_id, _number(item), item.fence, progress)
        except (ProdMgrError, TimeoutError) as error:
            await self._not_renewed(item, error)
            return isinstance(error, ProdMgrError) and not error.transient

        def book(tx: Tx) -> None:
            allocations.renewed(tx, item.id, lease.lease_until)
            alerts.close_alert(tx, "prodmgr-renew", self.settings.name)

        await self.write(book)
        self._renew_in(lease.lease_until - self.clock.time())
        return True

    async def _not_renewed(self, item: allocations.Allocation, error: Exception) -> None:
        gone = isinstance(error, ProdMgrError) and error.code in GONE

        def book(tx: Tx) -> None:
            alerts.raise_alert(
                tx,
                "warning",
                "prodmgr-renew",
                self.settings.name,
                f"allocation {item.remote_id}: {error or 'no answer in time'}",
            )
            if gone:
                revoke(tx, item.id, f"the lease of allocation {item.remote_id} is gone: {error}")

        await self.write(book)


def _number(item: allocations.Allocation) -> int:
    """Return the manager's own id of an allocation."""
    return int(item.remote_id.rpartition(":")[2].partition(".")[0])

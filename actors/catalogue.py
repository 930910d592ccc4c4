"""Catalogue: books merged files in datasets and blocks, and asks for their transfer, in one transaction.

Follows: MergedRegistered. Writes: FilesCatalogued, BlocksOpened, BlocksClosed, JobsSucceeded, AllocationsDone, TransfersWanted.
Settings: the [catalogue] table; the workflow's deliver_to.
"""

from collections.abc import Sequence

from actors.stage import Effect, Stage
from domain import events as e
from domain.events import MergedRegistered, WorkflowsCompleted
from domain.workflow import WorkflowState
from storage import datasets, transfers, workflows
from storage.datasets import BlockLimits
from storage.log import Logged
from storage.store import Tx


class Catalogue(Stage):
    emits = (e.FilesCatalogued, e.BlocksOpened, e.BlocksClosed, e.JobsSucceeded, e.AllocationsDone, e.TransfersWanted)
    follows = (MergedRegistered,)
    woken_by = (WorkflowsCompleted,)
    together = 500
    """Files; the jobs whose events are in them are some twenty times as many, and succeed with them."""

    @property
    def sweep_s(self) -> float:
        return self.world.settings.catalogue.sweep_s

    @property
    def limits(self) -> BlockLimits:
        settings = self.world.settings.catalogue
        return BlockLimits(
            settings.block_max_files, settings.block_max_bytes, settings.block_max_events, settings.block_max_age_s
        )

    async def on_facts(self, facts: Sequence[Logged]) -> Effect:
        ids = [identity for logged in facts for identity in logged.fact.ids]
        known = await self.store.read(workflows.load)

        def book(tx: Tx) -> None:
            booked = datasets.book(tx, ids, self.limits)
            wanted = [
                (place.file_id, place.site, destination)
                for place in datasets.places(tx.connection, booked)
                for destination in known[place.workflow_id].spec.deliver_to
            ]
            transfers.want(tx, wanted)

        return book

    async def work(self) -> bool:
        adding = await self.store.read(lambda c: workflows.load(c, WorkflowState.ACTIVE, WorkflowState.PAUSED))
        busy = {workflow.spec.dataset_name for workflow in adding.values()}
        await self.write(lambda tx: datasets.close_aged(tx, self.limits.age_s, busy))
        return False
